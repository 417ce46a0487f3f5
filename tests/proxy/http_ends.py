"""A front between a client and a site without sockets, for plain HTTP: bytes in, bytes out, as small as one wishes.

The site reads by another parser (llhttp, by way of aiohttp) than the proxy does (h11), and so does the client.
"""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from aiohttp.base_protocol import BaseProtocol
from aiohttp.http import HttpProcessingError, HttpRequestParser, HttpResponseParser
from aiohttp.http_exceptions import BadHttpMethod

from proxy.front import Front, FrontLimits
from proxy.intake import Intake
from tests.proxy.harness import TcpOnly

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from aiohttp.http import RawRequestMessage, RawResponseMessage
    from aiohttp.streams import StreamReader

    from core.errors import Reason
    from core.flow import Buffer, Flow, FlowListener, FlowRequest

HEAD_BYTES = 1024
SETTLING_TURNS = 40
"""Turns of the event loop after which nothing without a clock is left to do: no row below needs 20."""

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nDate: x\r\n\r\nhi"


async def turns(count: int) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


class _Socket:
    """What a pump asks for of a socket."""

    def setsockopt(self, level: int, name: int, value: bytes) -> None: ...


class MemoryTransport(asyncio.Transport):
    """The client's connection, as the front sees it."""

    def __init__(self) -> None:
        super().__init__({"peername": ("127.0.0.1", 5), "socket": _Socket()})
        self.protocol: asyncio.BaseProtocol | None = None
        self.written = bytearray()
        self.paused = False
        self.closing = False
        self.aborted = False
        self.finished = False

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        self.protocol = protocol

    def is_reading(self) -> bool:
        return not (self.paused or self.closing)

    def pause_reading(self) -> None:
        self.paused = True

    def resume_reading(self) -> None:
        self.paused = False

    def is_closing(self) -> bool:
        return self.closing

    def write(self, data: bytes | bytearray | memoryview) -> None:
        assert not self.finished, "nothing may follow the end"
        self.written += data

    def write_eof(self) -> None:
        self.finished = True

    def get_write_buffer_size(self) -> int:
        return 0

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None: ...

    def close(self) -> None:
        if not self.closing:
            self.closing = self.finished = True
            asyncio.get_running_loop().call_soon(self._lost)

    def abort(self) -> None:
        self.aborted = True
        self.close()

    def _lost(self) -> None:
        assert self.protocol is not None
        self.protocol.connection_lost(None)

    @property
    def is_over(self) -> bool:
        """The client sees the end."""
        return self.finished or self.closing

    def feed(self, data: bytes) -> None:
        """Let the front read bytes of the client."""
        protocol = self.protocol
        assert isinstance(protocol, asyncio.BufferedProtocol)
        while data:
            room = memoryview(protocol.get_buffer(-1))
            count = min(len(room), len(data))
            room[:count] = data[:count]
            protocol.buffer_updated(count)
            data = data[count:]


@dataclass(slots=True)
class Seen:
    """A request as the site's parser has read it."""

    message: RawRequestMessage
    payload: StreamReader

    @property
    def is_complete(self) -> bool:
        return self.payload.is_eof()

    @property
    def body(self) -> bytes:
        return self.payload.read_nowait()


@dataclass(slots=True)
class Script:
    """What a site says: `interim` after a head, `answer` after a whole request, and then the end if `ends`."""

    answer: bytes = OK
    interim: bytes = b""
    ends: bool = False
    pieces: int = 1 << 20


class SiteFlow:
    """The flow to a site that reads what it gets, and answers by its script."""

    def __init__(self, script: Script) -> None:
        loop = asyncio.get_running_loop()
        self._script = script
        self._parser = HttpRequestParser(BaseProtocol(loop), loop, 1 << 20, auto_decompress=False)
        self._listener: FlowListener | None = None
        self._waiting: list[bytes | None] = []
        self.is_answered = False
        self.raw = bytearray()
        self.seen: list[Seen] = []
        self.broken = ""
        self.is_unknown = False
        self.switched = False
        self.finished = False
        self.ended: Reason | None = None

    def attach(self, listener: FlowListener) -> None:
        self._listener = listener
        asyncio.get_running_loop().call_soon(self._deliver)

    def write(self, data: Buffer) -> bool:
        self.raw += data
        if not (self.switched or self.broken or self.is_unknown):
            self._read(bytes(data))
        return True

    def _read(self, data: bytes) -> None:
        try:
            messages, self.switched, _ = self._parser.feed_data(data)
        except BadHttpMethod:  # it knows a few only
            self.is_unknown = True
            return
        except HttpProcessingError as error:
            self.broken = str(error)
            return
        self.seen += [Seen(*message) for message in messages]
        if messages:
            self._say(self._script.interim)
        if self.seen and self.seen[0].is_complete and not self.is_answered:
            self.is_answered = True
            self._say(self._script.answer)
            if self._script.ends:
                self._waiting.append(None)

    def _say(self, data: bytes) -> None:
        size = self._script.pieces
        self._waiting += [data[at : at + size] for at in range(0, len(data), size)]
        asyncio.get_running_loop().call_soon(self._deliver)

    def _deliver(self) -> None:
        while self._waiting and self._listener is not None and self.ended is None:
            piece = self._waiting.pop(0)
            if piece is None:
                self._listener.flow_eof()
            else:
                self._listener.flow_data(piece)

    def say(self, data: bytes) -> None:
        """Send bytes now."""
        assert self._listener is not None
        self._listener.flow_data(data)

    def finish(self) -> None:
        self.finished = True

    def reset(self, reason: Reason) -> None:
        self.ended = reason

    def consumed(self, count: int) -> None: ...


class ScriptedDialer(TcpOnly):
    """Leads every request to a site of its own."""

    def __init__(self, script: Script) -> None:
        self._script = script
        self.requests: list[FlowRequest] = []
        self.flows: list[SiteFlow] = []

    async def dial(self, request: FlowRequest, *, early: bool) -> Flow:
        self.requests.append(request)
        self.flows.append(SiteFlow(self._script))
        return self.flows[-1]


@dataclass(slots=True)
class Talk:
    """A client's connection to a front, and the sites behind it."""

    front: Front
    dialer: ScriptedDialer
    transport: MemoryTransport = field(default_factory=MemoryTransport)

    @property
    def got(self) -> bytes:
        """What the client got."""
        return bytes(self.transport.written)

    @property
    def raw(self) -> bytes:
        """What all sites got."""
        return b"".join(bytes(flow.raw) for flow in self.dialer.flows)

    @property
    def seen(self) -> list[Seen]:
        return [seen for flow in self.dialer.flows for seen in flow.seen if seen.is_complete]

    async def send(self, data: bytes, pieces: int = 1 << 20) -> None:
        """Send bytes, as far as they are read, and let everybody have their say."""
        for at in range(0, len(data), pieces):
            for _ in range(SETTLING_TURNS):
                if self.transport.is_reading():
                    break
                await asyncio.sleep(0)
            else:
                break
            self.transport.feed(data[at : at + pieces])
            await turns(3)
        await turns(SETTLING_TURNS)


@dataclass(frozen=True, slots=True)
class Read:
    """An answer as llhttp has read it."""

    status: int
    body: bytes


def read_answers(data: bytes, *methods: str, ended: bool) -> list[Read]:
    """Read the answers to requests with these methods, interim ones too, and require that nothing stands behind them.

    Args:
        data: what a client got.
        methods: of its requests, as far as they got an answer.
        ended: whether its connection is over, which ends an answer without a length.
    """
    loop, found, waiting = asyncio.get_running_loop(), [], list(methods)
    at = 0
    while waiting:
        parser = HttpResponseParser(
            BaseProtocol(loop), loop, 1 << 20, response_with_body=waiting[0] != "HEAD", read_until_eof=True
        )
        messages: list[tuple[RawResponseMessage, StreamReader]] = []
        while not (messages and messages[0][1].is_eof()) and at < len(data):
            messages += parser.feed_data(data[at : at + 1])[0]
            at += 1
        if ended and messages and not messages[0][1].is_eof():
            parser.feed_eof()
        assert messages, "there are fewer answers than requests"
        message, payload = messages[0]
        assert payload.is_eof(), "the answer is cut"
        found.append(Read(message.code, payload.read_nowait()))
        if message.code >= 200:
            waiting.pop(0)
    assert data[at:] == b"", "nothing may follow the last answer"
    return found


@asynccontextmanager
async def talking(script: Script | None = None) -> AsyncIterator[Talk]:
    """Connect a client."""
    dialer = ScriptedDialer(script or Script())
    front = Front(dialer, limits=FrontLimits(head_bytes=HEAD_BYTES))
    await front.start("127.0.0.1", 0)
    talk = Talk(front, dialer)
    intake = Intake(front, HEAD_BYTES)
    talk.transport.set_protocol(intake)
    intake.connection_made(talk.transport)
    try:
        yield talk
    finally:
        talk.transport.abort()
        await front.stop()
