"""A connection until it is known what it wants: a new one, or one whose last request is answered."""

from __future__ import annotations

import asyncio
from ipaddress import ip_address
from typing import TYPE_CHECKING, Protocol, cast

if TYPE_CHECKING:
    from collections.abc import Buffer

LINGER_S = 1.0
"""How long a refused client may take to read its answer and hang up."""


class IntakeOwner(Protocol):
    """Who is told of the connection's beginning and end."""

    @property
    def scratch(self) -> memoryview:
        """Where bytes of all connections of one event loop land before they are copied."""

    def intake_opened(self, intake: Intake) -> None:
        """The connection can be read."""

    def intake_lost(self, intake: Intake) -> None:
        """The connection is gone, and was not handed over before."""


class Intake(asyncio.BufferedProtocol):
    """Feed a reader with a client's first bytes, and never hold more of them than twice the limit.

    Args:
        owner: told of the connection's beginning and end.
        limit_bytes: after this many bytes no more is read until another protocol takes over.

    Attributes:
        first: its first byte; empty before that.
        eof: the client has sent its end of stream.
        kept: an earlier request of the connection has been answered; see `take_over`.
    """

    def __init__(self, owner: IntakeOwner, limit_bytes: int) -> None:
        self._owner = owner
        self._limit_bytes = limit_bytes
        self._taken_bytes = 0
        self._leaving = False
        self._timer: asyncio.TimerHandle | None = None
        self.task: asyncio.Task[None] | None = None
        self._drained: asyncio.Event | None = None
        self.eof = False
        self.kept = False
        self.first = b""

    # -- the TCP side

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)
        self.reader = asyncio.StreamReader(limit=self._limit_bytes)
        self._owner.intake_opened(self)

    def get_buffer(self, sizehint: int) -> Buffer:
        return self._owner.scratch

    def buffer_updated(self, nbytes: int) -> None:
        if self._leaving:
            return
        self._feed(self._owner.scratch[:nbytes])
        if self._taken_bytes >= self._limit_bytes:
            self.transport.pause_reading()

    def _feed(self, data: bytes | memoryview) -> None:
        self.reader.feed_data(data)
        self._taken_bytes += len(data)

    def resume_writing(self) -> None:
        if self._drained is not None:
            self._drained.set()

    def eof_received(self) -> bool:
        self.eof = True
        self.reader.feed_eof()
        return not self._leaving

    def connection_lost(self, exc: Exception | None) -> None:
        if self._timer is not None:
            self._timer.cancel()
        if self.task is not None:
            self.task.cancel()
        self._owner.intake_lost(self)

    # -- its owner's calls

    def take_over(self, transport: asyncio.Transport, rest: bytes, *, eof: bool) -> None:
        """Hear the next request of a connection.

        Args:
            transport: of the client; the answer before may still wait in it.
            rest: what was read from it beyond the request before.
            eof: its end of stream was already seen.
        """
        self.transport, self.kept, self.eof = transport, True, eof
        self.reader = asyncio.StreamReader(limit=self._limit_bytes)
        transport.pause_reading()  # as in `Pump.join`
        transport.set_protocol(self)
        self._drained = asyncio.Event()
        transport.set_write_buffer_limits(high=0)
        self._feed(rest)
        if eof:
            self.reader.feed_eof()
        elif self._taken_bytes < self._limit_bytes:
            transport.resume_reading()

    async def drained(self) -> None:
        """Wait until all of the answer before is on its way, so that answers to requests in a row do not pile up."""
        if self._drained is not None and self.transport.get_write_buffer_size():
            await self._drained.wait()

    def write(self, data: bytes) -> None:
        """Send bytes of the handshake."""
        if data and not self.transport.is_closing():
            self.transport.write(data)

    @property
    def client_host(self) -> str:
        """The client's own address; empty when the connection was gone at once."""
        name = self.transport.get_extra_info("peername")
        return str(name[0]) if name else ""

    def is_from_this_machine(self) -> bool:
        """Tell whether the client's own address is loopback."""
        host = self.client_host.partition("%")[0]
        return bool(host) and ip_address(host).is_loopback

    async def take_rest(self) -> bytes:
        """Stop reading, and get what was read beyond the handshake. The transport may then get another protocol."""
        if not self.eof:
            self.transport.pause_reading()
            self.reader.feed_eof()
        return await self.reader.read(-1)

    def hang_up(self, data: bytes) -> None:
        """Send last words, if any, and close at once. Who has not read the answer before gets no more words."""
        if self.transport.get_write_buffer_size():
            self.transport.abort()
        else:
            self.write(data)
            self.transport.close()

    def leave(self, data: bytes) -> None:
        """Send last words, and hang up once they can be taken for read. What the client still sends is thrown away:
        closing a socket with unread bytes may take back what was sent (RFC 9112, section 9.6)."""
        if self.transport.is_closing():
            return
        if not data and self.transport.get_write_buffer_size():
            self.transport.abort()
            return
        if self.eof or not data:
            self.write(data)
            self.transport.close()
            return
        self._leaving = True
        self.transport.write(data)
        self.transport.write_eof()
        self.transport.resume_reading()
        self._timer = asyncio.get_running_loop().call_later(LINGER_S, self.transport.abort)
