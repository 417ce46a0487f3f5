"""DNS servers over TLS and HTTPS for tests, on loopback, with certificates of an authority made for the test."""

from __future__ import annotations

import asyncio
import ssl
from typing import TYPE_CHECKING, Self

import trustme
from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.events import DataReceived, RequestReceived, StreamEnded
from h2.exceptions import ProtocolError, StreamClosedError

from exits.name_server import NameServer
from tests.exits.fakes import DnsServer

if TYPE_CHECKING:
    from exits.name_server import Scheme
    from tests.exits.fakes import Reply

SERVER_NAME = "dns.example.net"

AUTHORITY = trustme.CA()


def trust() -> ssl.SSLContext:
    """What a resolver needs to believe the servers of this module, and nobody else."""
    context = ssl.create_default_context(cafile=None, cadata=AUTHORITY.cert_pem.bytes().decode())
    assert context.verify_mode is ssl.CERT_REQUIRED
    return context


class EncryptedServer:
    """A DNS server over TLS or HTTPS.

    Args:
        scheme: which.
        script: see `DnsServer`.
        names: what its certificate says.
        authority: who signed that.
        alpn: what it wants to speak instead.
    """

    def __init__(
        self,
        scheme: Scheme,
        script: dict[tuple[str, str], list[Reply]],
        names: tuple[str, ...] = (SERVER_NAME,),
        authority: trustme.CA = AUTHORITY,
        alpn: str = "",
    ) -> None:
        self._scheme = scheme
        self._mind = DnsServer(script)
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        authority.issue_cert(*names).configure_cert(self._context)
        self._context.set_alpn_protocols([alpn or ("dot" if scheme == "tls" else "h2")])
        self._writers: list[asyncio.StreamWriter] = []
        self._work: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None
        self.queries: list[bytes] = []
        self.connections = 0
        self.cut: int = 0
        """So many queries from now on end their connection instead of being answered."""
        self.silent = False
        self.instead: bytes | None = None
        """Sent in the place of every answer."""
        self.gather = 1
        """Answers are held until there are so many, and then sent last first."""
        self.status = b"200"
        self.media_type = b"application/dns-message"
        self.requests: list[dict[bytes, bytes]] = []
        self._held: list[tuple[asyncio.StreamWriter, bytes]] = []

    @property
    def address(self) -> NameServer:
        assert self._server is not None
        port = self._server.sockets[0].getsockname()[1]
        return NameServer(self._scheme, "127.0.0.1", port, SERVER_NAME, "/dns-query" if self._scheme == "https" else "")

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._connected, "127.0.0.1", 0, ssl=self._context)
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._server is not None
        self._server.close()
        self.cut_all()
        for task in self._work:
            task.cancel()
        await asyncio.gather(*self._work, return_exceptions=True)
        await self._server.wait_closed()

    def cut_all(self) -> None:
        """End every connection now."""
        for writer in self._writers:
            writer.transport.abort()

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self._writers.append(writer)
        task = asyncio.current_task()
        assert task is not None
        self._work.add(task)
        serve = self._serve_tls if self._scheme == "tls" else self._serve_http2
        try:
            await serve(reader, writer)
        except (OSError, asyncio.IncompleteReadError, asyncio.CancelledError, ProtocolError):
            pass
        finally:
            writer.close()
            self._work.discard(task)

    def _answer(self, query: bytes, writer: asyncio.StreamWriter) -> bytes | None:
        self.queries.append(query)
        if self.cut:
            self.cut -= 1
            writer.transport.abort()
            return None
        if self.silent:
            return None
        return self.instead if self.instead is not None else next(iter(self._mind.answers(query)), None)

    async def _serve_tls(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            length = int.from_bytes(await reader.readexactly(2), "big")
            answer = self._answer(await reader.readexactly(length), writer)
            if answer is not None:
                self._held.append((writer, len(answer).to_bytes(2, "big") + answer))
            if len(self._held) >= self.gather:
                for asker, message in reversed(self._held):
                    asker.write(message)
                self._held.clear()

    async def _serve_http2(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connection = H2Connection(H2Configuration(client_side=False))
        connection.initiate_connection()
        bodies: dict[int, bytearray] = {}
        held: list[tuple[int, bytes]] = []
        unsent: dict[int, bytes] = {}
        while not writer.is_closing():
            writer.write(connection.data_to_send())
            data = await reader.read(65536)
            if not data:
                return
            for event in connection.receive_data(data):
                if isinstance(event, RequestReceived) and event.stream_id is not None:
                    bodies[event.stream_id] = bytearray()
                    self.requests.append({bytes(name): bytes(value) for name, value in event.headers or ()})
                elif isinstance(event, DataReceived) and event.stream_id is not None:
                    bodies[event.stream_id] += event.data or b""
                elif isinstance(event, StreamEnded) and event.stream_id is not None:
                    answer = self._answer(bytes(bodies.pop(event.stream_id)), writer)
                    if answer is not None:
                        held.append((event.stream_id, answer))
                if len(held) >= self.gather:
                    for stream_id, answer in reversed(held):
                        self._respond(connection, stream_id)
                        unsent[stream_id] = answer
                    held.clear()
            rests = [(stream_id, send(connection, stream_id, body)) for stream_id, body in unsent.items()]
            unsent = {stream_id: rest for stream_id, rest in rests if rest}

    def _respond(self, connection: H2Connection, stream_id: int) -> None:
        headers = [(b":status", self.status), (b"content-type", self.media_type), (b"set-cookie", b"seen=1")]
        connection.send_headers(stream_id, headers)


def send(connection: H2Connection, stream_id: int, body: bytes) -> bytes:
    """Send as much of a body as the client takes, and return the rest, if it wants that."""
    try:
        while (room := min(connection.local_flow_control_window(stream_id), 16384)) or not body:
            connection.send_data(stream_id, body[:room], end_stream=room >= len(body))
            body = body[room:]
            if not body:
                break
    except StreamClosedError:
        return b""
    return body
