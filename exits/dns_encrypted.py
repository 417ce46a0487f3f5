"""Ask a DNS server over encrypted connections, which are kept, each with many questions on it at once.

There is no way back to plain DNS: a server that cannot be reached, or that cannot prove its name, answers nothing.

Source: RFC 7858, section 3; RFC 7766, section 6.2 (many questions at once, connections kept).
"""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from typing import TYPE_CHECKING, Final

import dns.exception
import dns.message
import dns.rdatatype

from core.errors import DecodeError, FlowError, Reason
from core.tasks import Tasks
from exits.dns_framing import HttpFraming, LengthFraming
from exits.dns_message import Answer, read_answer, read_response

if TYPE_CHECKING:
    from exits.dns_framing import Framing
    from exits.name_server import NameServer

IDLE_S: Final = 30.0
"""A connection without questions is closed after so many seconds."""

SUSPECT_S: Final = 2.0
"""A kept connection that stays silent for so many seconds after a question is taken for dead, and replaced."""

MAX_CONNECTIONS: Final = 4
"""Connections at once. One does, unless names that are slow to look up fill it."""

_READ_BYTES: Final = 65536


class EncryptedTransport:
    """DNS over TLS or HTTPS.

    Args:
        server: where it is, and what its certificate must say.
        context: whom to trust; it becomes this transport's own.
    """

    def __init__(self, server: NameServer, context: ssl.SSLContext) -> None:
        self._alpn = "dot" if server.scheme == "tls" else "h2"
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.set_alpn_protocols([self._alpn])
        self._server = server
        self._context = context
        self._connections: list[_Connection] = []
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
        """End the connections; what is being asked fails."""
        for connection in self._connections:
            connection.abort()
        await self._tasks.cancel()

    async def _connected(self) -> tuple[_Connection, bool]:
        """Give a connection with room, and whether it was made just now.

        Raises:
            FlowError: `BUSY` if all are full.
            OSError: the server cannot be reached, or is another.
        """
        async with self._connecting:
            self._connections = [connection for connection in self._connections if not connection.is_over]
            for connection in self._connections:
                if connection.framing.has_room:
                    return connection, False
            if len(self._connections) >= MAX_CONNECTIONS:
                raise FlowError(Reason.BUSY)
            connection = await self._connect()
            self._connections.append(connection)
            return connection, True

    async def _connect(self) -> _Connection:
        server = self._server
        reader, writer = await asyncio.open_connection(
            server.host, server.port, ssl=self._context, server_hostname=server.name
        )
        chosen = writer.get_extra_info("ssl_object").selected_alpn_protocol()
        if chosen != self._alpn and (chosen is not None or server.scheme == "https"):
            writer.transport.abort()
            raise ConnectionRefusedError
        connection = _Connection(writer, LengthFraming() if server.scheme == "tls" else HttpFraming(server))
        self._tasks.spawn(connection.read(reader), "name server")
        return connection


class _Connection:
    """One connection, and the questions that wait on it."""

    def __init__(self, writer: asyncio.StreamWriter, framing: Framing) -> None:
        self.framing = framing
        self._writer = writer
        self._waiting: dict[int, asyncio.Future[bytes]] = {}
        self._heard = 0
        self._idle: asyncio.TimerHandle | None = None
        writer.write(framing.begin())

    @property
    def is_over(self) -> bool:
        """Nothing can be asked here any more."""
        return self._writer.is_closing()

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
        try:
            number, query = self.framing.ask(name, kind)
        except DecodeError:
            self.abort()
            raise ConnectionResetError from None
        answered: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        self._waiting[number] = answered
        heard = self._heard
        self._stop_idling()
        try:
            self._send()
            await asyncio.wait({answered}, timeout=suspect_s)
            if not answered.done() and self._heard == heard:
                self.abort()
            response = read_response(await answered, query)
        except dns.message.Truncated:
            response = None
        finally:
            del self._waiting[number]
            self._forget(number)
        if response is None:
            raise dns.exception.FormError
        return read_answer(response)

    async def read(self, reader: asyncio.StreamReader) -> None:
        """Hand each answer to its question, until the connection ends."""
        try:
            while data := await reader.read(_READ_BYTES):
                self._heard += 1
                for number, answer in self.framing.receive(data):
                    if (answered := self._waiting.get(number)) is not None and not answered.done():
                        answered.set_result(answer)
                self._send()
        except (OSError, DecodeError):
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

    def _forget(self, number: int) -> None:
        if self.is_over:
            return
        self.framing.forget(number)
        self._send()
        if not self._waiting:
            self._idle = asyncio.get_running_loop().call_later(IDLE_S, self.abort)

    def _send(self) -> None:
        if data := self.framing.data_to_send():
            self._writer.write(data)

    def _stop_idling(self) -> None:
        if self._idle is not None:
            self._idle.cancel()
            self._idle = None
