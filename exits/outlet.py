"""The TCP side of a flow at the exit: a pump whose end is known, and what holds the first bytes until it takes over."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from core.pump import Pump

if TYPE_CHECKING:
    from collections.abc import Callable

    from core.errors import Reason
    from core.flow import Flow


class FirstBytes(asyncio.Protocol):
    """Keep what a destination sends between its connection and the pump.

    Some event loops read once before a pause takes effect, so there may be bytes, or the end, already.
    """

    def __init__(self) -> None:
        self._transport: asyncio.Transport | None = None
        self.data = bytearray()
        self.eof = False
        self.lost = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        if isinstance(transport, asyncio.Transport):
            self._transport = transport
            transport.pause_reading()

    def data_received(self, data: bytes) -> None:
        self.data += data
        if self._transport is not None:
            self._transport.pause_reading()

    def eof_received(self) -> bool:
        self.eof = True
        return True

    def connection_lost(self, exc: Exception | None) -> None:
        self.lost = True


class EgressPump(Pump):
    """A pump that tells when its socket is closed, and closes it even if the destination takes no more bytes.

    Args:
        flow: the flow to join.
        on_done: see `Pump`.
        on_gone: called once, when the socket is closed.
        linger_s: time for the last bytes after the flow has ended, in seconds.
    """

    def __init__(
        self,
        flow: Flow,
        on_done: Callable[[Reason, int, int], None],
        on_gone: Callable[[EgressPump], None],
        linger_s: float,
    ) -> None:
        super().__init__(flow, on_done)
        self._on_gone = on_gone
        self._linger_s = linger_s
        self._linger: asyncio.TimerHandle | None = None

    @property
    def over(self) -> bool:
        """Whether `on_done` was called."""
        return self._flow_over

    def end(self, reason: Reason) -> None:
        """Close both sides now."""
        self._flow.reset(reason)
        self.flow_closed(reason)

    def flow_closed(self, reason: Reason) -> None:
        super().flow_closed(reason)
        if self._transport is not None and self._linger is None:
            self._linger = asyncio.get_running_loop().call_later(self._linger_s, self._transport.abort)

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        if self._linger is not None:
            self._linger.cancel()
        self._on_gone(self)
