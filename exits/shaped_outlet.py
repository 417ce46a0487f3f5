"""The TCP side of a flow at an exit whose operator has set a limit: bytes go on piece by piece, each in its turn."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from core.ends import cut
from core.errors import Reason
from exits.outlet import EgressPump

if TYPE_CHECKING:
    from collections.abc import Callable

    from core.flow import Buffer, IncomingFlow
    from exits.shaping import Shaper


class _Direction:
    """Bytes of one direction that wait for their turns. A `tunnel.gate.Waiter`.

    Args:
        shaper: says when.
        flow: whose circuit they belong to.
        may_go: whether a turn is of use now.
        carry: called with each piece.
    """

    __slots__ = ("_asked", "_carry", "_flow", "_may_go", "_shaper", "held")

    def __init__(
        self, shaper: Shaper, flow: IncomingFlow, may_go: Callable[[], bool], carry: Callable[[bytearray], None]
    ) -> None:
        self._shaper = shaper
        self._flow = flow
        self._may_go = may_go
        self._carry = carry
        self._asked = 0
        self.held = bytearray()

    def ask(self) -> None:
        """Carry what may go now, and wait for the next turn with the rest."""
        while self.held and not self._asked and self._may_go():
            count = min(len(self.held), self._shaper.piece_bytes)
            if self._shaper.passes(self._flow.circuit, self, count):
                self._cut(count)
            else:
                self._asked = count

    def go(self) -> bool:
        count, self._asked = self._asked, 0
        if len(self.held) < count or not self._may_go():
            return False
        self._cut(count)
        self.ask()
        return True

    def _cut(self, count: int) -> None:
        piece = self.held[:count]
        del self.held[:count]
        self._carry(piece)


class ShapedPump(EgressPump):
    """A pump both of whose directions pass a shaper.

    What the destination sends is kept, one piece or little more, and nothing more is read meanwhile. For what the flow
    brings no credit is returned until it is written, so the flow's own credit bounds it.

    Args:
        flow, on_done, on_gone, linger_s: as for `EgressPump`.
        shaper: says when.
    """

    def __init__(
        self,
        flow: IncomingFlow,
        on_done: Callable[[Reason, int, int], None],
        on_gone: Callable[[EgressPump], None],
        linger_s: float,
        shaper: Shaper,
    ) -> None:
        super().__init__(flow, on_done, on_gone, linger_s)
        self._room = self._room[: shaper.piece_bytes]
        self._back = _Direction(shaper, flow, self._flow_takes, self._to_flow)
        self._forth = _Direction(shaper, flow, self._socket_takes, self._to_socket)
        self._last_read = False
        self._last_written = False
        self._closing = False

    # -- from the destination

    def _came(self, data: Buffer) -> None:
        self._back.held += data
        self._back.ask()
        if self._back.held and self._transport is not None and not self._transport.is_closing():
            self._transport.pause_reading()

    def _flow_takes(self) -> bool:
        return not (self._reading_paused or self._flow_over)

    def _to_flow(self, piece: bytearray) -> None:
        super()._came(piece)
        if not self._back.held:
            self._back_is_empty()

    def _back_is_empty(self) -> None:
        if self._last_read:
            self._last_read = False
            super().eof_received()
        elif not self._reading_paused:
            self._read_on()

    def _read_on(self) -> None:
        if not self._back.held:
            super()._read_on()

    def eof_received(self) -> bool:
        if not self._back.held:
            return super().eof_received()
        self._last_read = True
        return True

    def flow_writable(self) -> None:
        super().flow_writable()
        self._back.ask()

    # -- to the destination

    def flow_data(self, data: Buffer) -> None:
        self.received_bytes += len(data)
        if self._socket_open():
            self._forth.held += data
            self._forth.ask()

    def _socket_open(self) -> bool:
        return self._transport is not None and not self._transport.is_closing()

    def _socket_takes(self) -> bool:
        return self._socket_open() and not self._tcp_full

    def _to_socket(self, piece: bytearray) -> None:
        self._write(piece)
        if self._closing:
            self._wait_for_last()
        if not self._forth.held:
            self._forth_is_empty()

    def _forth_is_empty(self) -> None:
        if self._closing:
            self._closing = False
            super().flow_closed(Reason.DONE)
        elif self._last_written:
            self._last_written = False
            super().flow_eof()

    def _write_held(self) -> None:
        self._forth.ask()

    def flow_eof(self) -> None:
        if self._forth.held:
            self._last_written = True
        else:
            super().flow_eof()

    # -- the end

    def flow_closed(self, reason: Reason) -> None:
        if reason is Reason.DONE and self._forth.held and self._socket_open():
            self._closing = True
            self._wait_for_last()
            return
        self._forth.held.clear()
        super().flow_closed(reason)

    def _wait_for_last(self) -> None:
        """The flow has ended, and its last bytes have not had their turn. The destination's time runs from each."""
        if self._linger is not None:
            self._linger.cancel()
        if self._transport is not None:
            self._linger = asyncio.get_running_loop().call_later(self._linger_s, cut, self._transport)
