"""A new connection, until it is known what it wants."""

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
    """

    def __init__(self, owner: IntakeOwner, limit_bytes: int) -> None:
        self._owner = owner
        self._limit_bytes = limit_bytes
        self._taken_bytes = 0
        self._leaving = False
        self._timer: asyncio.TimerHandle | None = None
        self.task: asyncio.Task[None] | None = None
        self.eof = False
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
        self.reader.feed_data(self._owner.scratch[:nbytes])
        self._taken_bytes += nbytes
        if self._taken_bytes >= self._limit_bytes:
            self.transport.pause_reading()

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
        """Send last words, if any, and close at once."""
        self.write(data)
        self.transport.close()

    def leave(self, data: bytes) -> None:
        """Send last words, and hang up once they can be taken for read. What the client still sends is thrown away:
        closing a socket with unread bytes may take back what was sent (RFC 9112, section 9.6)."""
        if self.transport.is_closing():
            return
        if self.eof or not data:
            self.hang_up(data)
            return
        self._leaving = True
        self.transport.write(data)
        self.transport.write_eof()
        self.transport.resume_reading()
        self._timer = asyncio.get_running_loop().call_later(LINGER_S, self.transport.abort)
