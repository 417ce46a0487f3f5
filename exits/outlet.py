"""The TCP side of a flow at the exit: a pump whose end is known, and what holds the first bytes until it takes over."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import termios
from array import array
from typing import TYPE_CHECKING

from core.ends import cut
from core.errors import Reason
from core.pump import Pump

if TYPE_CHECKING:
    from collections.abc import Callable

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
        self._client_finished = False
        self._moved = -1
        self._moved_at = 0.0

    def check_idle(self, now: float, idle_s: float, half_closed_s: float) -> None:
        """End the connection if no byte has moved for too long. Call this again and again.

        Args:
            now: loop time.
            idle_s: how long is too long, in seconds, while both sides may send.
            half_closed_s: the same once one side has finished.
        """
        moved = self.sent_bytes + self.received_bytes - self._unsent_bytes()
        if moved != self._moved:
            self._moved, self._moved_at = moved, now
        elif now - self._moved_at >= (half_closed_s if self._finished or self._client_finished else idle_s):
            self.end(Reason.TIMED_OUT)

    def _unsent_bytes(self) -> int:
        """What still lies on this machine for the destination; that may move when nothing comes from the client."""
        if self._transport is None or self._transport.is_closing():
            return 0
        waiting = array("i", [0])
        with contextlib.suppress(OSError):
            fcntl.ioctl(self._transport.get_extra_info("socket").fileno(), termios.TIOCOUTQ, waiting)
        return waiting[0] + len(self._held) + self._transport.get_write_buffer_size()

    def flow_eof(self) -> None:
        self._client_finished = True
        super().flow_eof()

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
            self._linger = asyncio.get_running_loop().call_later(self._linger_s, cut, self._transport)

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        if self._linger is not None:
            self._linger.cancel()
        self._on_gone(self)
