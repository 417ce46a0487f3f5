"""Ask a DNS server over TLS: one connection, kept, with many questions on it at once.

There is no way back to plain DNS: a server that cannot be reached, or that cannot prove its name, answers nothing.

Source: RFC 7858 (DNS over TLS); RFC 7766, section 6.2.1 (many questions at once, answered in any order).
"""

from __future__ import annotations

import asyncio
import contextlib
import secrets
from typing import TYPE_CHECKING, Final

import dns.exception
import dns.message
import dns.rdatatype

from core.tasks import Tasks
from exits.dns_message import Answer, make_query, read_answer, read_response

if TYPE_CHECKING:
    import ssl

    from exits.name_server import NameServer

IDLE_S: Final = 30.0
"""A connection without questions is closed after so many seconds."""

SUSPECT_S: Final = 2.0
"""A kept connection that stays silent for so many seconds after a question is taken for dead, and replaced."""

MAX_QUESTIONS: Final = 1024
"""Questions on one connection at once."""

_CLOSE_S: Final = 0.5


class TlsTransport:
    """DNS over TLS.

    Args:
        server: where it is, and what its certificate must say.
        context: whom to trust.
    """

    def __init__(self, server: NameServer, context: ssl.SSLContext) -> None:
        context.set_alpn_protocols(["dot"])
        self._server = server
        self._context = context
        self._connection: _Connection | None = None
        self._connecting = asyncio.Lock()
        self._tasks = Tasks()

    async def ask(self, name: str, kind: dns.rdatatype.RdataType) -> Answer:
        """See `sources.Transport.ask`. What a connection took with it when it broke is asked once more."""
        connection, is_new = await self._connected()
        if not is_new:
            with contextlib.suppress(ConnectionError):
                return await connection.ask(name, kind, SUSPECT_S)
            connection, _ = await self._connected()
        return await connection.ask(name, kind, None)

    async def close(self) -> None:
        """End the connection; what is being asked fails."""
        if self._connection is not None:
            self._connection.abort()
        await self._tasks.cancel()

    async def _connected(self) -> tuple[_Connection, bool]:
        """Give the connection, and whether it was made just now.

        Raises:
            OSError: the server cannot be reached, or is another.
        """
        async with self._connecting:
            if self._connection is not None and self._connection.is_usable:
                return self._connection, False
            server = self._server
            reader, writer = await asyncio.open_connection(
                server.host, server.port, ssl=self._context, server_hostname=server.name, ssl_shutdown_timeout=_CLOSE_S
            )
            connection = _Connection(writer)
            self._connection = connection
            self._tasks.spawn(connection.read(reader), "name server")
            return connection, True


class _Connection:
    """One connection and the questions that wait on it, by their ids."""

    def __init__(self, writer: asyncio.StreamWriter) -> None:
        self._writer = writer
        self._waiting: dict[int, asyncio.Future[bytes]] = {}
        self._heard = 0
        self._idle: asyncio.TimerHandle | None = None

    @property
    def is_usable(self) -> bool:
        return not self._writer.is_closing()

    async def ask(self, name: str, kind: dns.rdatatype.RdataType, suspect_s: float | None) -> Answer:
        """Ask, and wait for the answer.

        Args:
            name: an ASCII name without a trailing dot.
            kind: `A` or `AAAA`.
            suspect_s: give the connection up if nothing at all came on it in so many seconds; None to wait on.

        Raises:
            ConnectionError: the connection broke, or was given up.
            DNSException: the answer cannot be read, or answers something else.
        """
        if not self.is_usable or len(self._waiting) >= MAX_QUESTIONS:
            raise ConnectionResetError
        number = self._free_number()
        query = make_query(name, kind, number, padded=True)
        answered: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        self._waiting[number] = answered
        heard = self._heard
        self._stop_idling()
        try:
            self._writer.write(query.to_wire(prepend_length=True))
            await asyncio.wait({answered}, timeout=suspect_s)
            if not answered.done() and self._heard == heard:
                self.abort()
            response = read_response(await answered, query)
        except dns.message.Truncated:
            response = None
        finally:
            del self._waiting[number]
            if not self._waiting and self.is_usable:
                self._idle = asyncio.get_running_loop().call_later(IDLE_S, self.abort)
        if response is None:
            raise dns.exception.FormError
        return read_answer(response)

    async def read(self, reader: asyncio.StreamReader) -> None:
        """Hand each message to the question it answers, until the connection ends."""
        try:
            while True:
                length = int.from_bytes(await reader.readexactly(2), "big")
                message = await reader.readexactly(length)
                self._heard += 1
                answered = self._waiting.get(int.from_bytes(message[:2], "big"))
                if answered is not None and not answered.done():
                    answered.set_result(message)
        except (OSError, asyncio.IncompleteReadError):
            pass
        finally:
            self.abort()

    def abort(self) -> None:
        """End the connection now; who waits on it gets `ConnectionResetError`."""
        self._stop_idling()
        self._writer.transport.abort()
        for answered in self._waiting.values():
            if not answered.done():
                answered.set_exception(ConnectionResetError())

    def _stop_idling(self) -> None:
        if self._idle is not None:
            self._idle.cancel()
            self._idle = None

    def _free_number(self) -> int:
        while (number := secrets.randbelow(1 << 16)) in self._waiting:
            pass
        return number
