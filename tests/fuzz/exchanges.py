"""Whole talks of a client and sites through the proxy, in plain HTTP: what a site gets, another parser must take for
one request at most."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from aiohttp.base_protocol import BaseProtocol
from aiohttp.http import HttpRequestParser
from aiohttp.http_exceptions import BadHttpMethod

from core.errors import Reason
from proxy import http
from proxy.ask import Answer
from proxy.pac_server import PacSite
from tests.fuzz.target import Target, in_loop, joined, parts
from tests.proxy.harness import MemoryFlow

if TYPE_CHECKING:
    from core.flow import Buffer
    from proxy.ask import Ask, Wrapped

_HEAD_BYTES = 1024
_SITE = PacSite(8080, "/secret.pac", lambda: "function FindProxyForURL() {}")


class _Client:
    """The pump of a client that takes everything at once."""

    def __init__(self, exchange: Wrapped) -> None:
        self._exchange = exchange
        self.data = bytearray()
        self.closed: Reason | None = None

    def flow_data(self, data: Buffer) -> None:
        assert self.closed is None
        self.data += data
        self._exchange.consumed(len(data))

    def flow_eof(self) -> None: ...

    def flow_writable(self) -> None: ...

    def flow_closed(self, reason: Reason) -> None:
        assert self.closed is None
        self.closed = reason


def _is_whole(raw: bytes) -> bool:
    """Read what a site got, and tell whether it is a whole request. A method that the parser does not know is nobody's
    fault, and counts as whole."""
    loop = asyncio.get_running_loop()
    parser = HttpRequestParser(BaseProtocol(loop), loop, 1 << 20, auto_decompress=False)
    try:
        messages, _, _ = parser.feed_data(raw)
    except BadHttpMethod:
        return True
    assert len(messages) <= 1, "one request of a client became two"
    return bool(messages) and messages[0][1].is_eof()


def _carry(ask: Ask, sent: bytes, early: bytes, pieces: list[bytes]) -> tuple[bytes, bool] | None:
    """Carry one request.

    Args:
        ask: for it.
        sent: by the client so far.
        early: the end of that, which nobody has read yet.
        pieces: what comes next; the lowest bit of the first byte says from whom.

    Returns:
        What was sent behind it and whether that was all, if the connection goes on.
    """
    assert ask.wrap is not None
    flow = MemoryFlow()
    exchange = ask.wrap(flow)
    client = _Client(exchange)
    exchange.write(early)
    exchange.attach(client)
    while pieces and client.closed is None:
        piece = pieces.pop(0)
        if not piece[:1] or piece[0] & 1:
            sent += piece[1:]
            exchange.write(piece[1:])
        elif flow.ended is None:
            flow.heard.flow_data(piece[1:])
    if client.closed is None and flow.ended is None:
        flow.heard.flow_eof()
    if client.closed is None:
        exchange.finish()
    if client.closed is None and flow.ended is None:
        flow.heard.flow_closed(Reason.DONE)
    assert client.closed is not None, "a client that waits for ever"
    assert not client.data or client.data.startswith(b"HTTP/1.1 ")
    whole = _is_whole(bytes(flow.written))
    if exchange.rest is None:
        return None
    assert whole, "an answer to half a request"
    assert sent.endswith(exchange.rest)
    return exchange.rest, exchange.eof


def talk(data: bytes) -> None:
    """The first piece begins a request; the others are the client's or a site's."""

    async def run() -> None:
        pieces = list(parts(data))
        rest, eof, requests = (pieces.pop(0) if pieces else b""), False, 0
        while not eof and requests < 4:
            requests += 1
            while not rest and pieces:
                rest = pieces.pop(0)[1:]
            reader = asyncio.StreamReader()
            reader.feed_data(rest)
            reader.feed_eof()
            try:
                first = await http.first_byte(reader)
                heard = await http.hear(reader, first, _HEAD_BYTES, _SITE, None)
            except asyncio.IncompleteReadError:
                return
            if isinstance(heard, Answer) or heard.wrap is None:
                return
            went_on = _carry(heard, rest, await reader.read(), pieces)
            if went_on is None:
                return
            rest, eof = went_on

    in_loop(run())


_HOST = b" HTTP/1.1\r\nHost: a\r\n"
_GET = b"GET http://a/" + _HOST + b"\r\n"
_OK = b"\0HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi"

TARGETS = (
    Target(
        "http-talk",
        talk,
        (
            joined(_GET, _OK, b"\1" + _GET, _OK),
            joined(_GET + _GET, _OK, _OK),
            joined(b"POST http://a/" + _HOST + b"Content-Length: 5\r\n\r\nhel", b"\1lo", _OK),
            joined(
                b"POST http://a/" + _HOST + b"Transfer-Encoding: chunked\r\n\r\n5;x\r\nhello\r\n",
                b"\x010\r\nX: 1\r\n\r\n",
                b"\0HTTP/1.1 100 Continue\r\n\r\n",
                b"\0HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\nX: 1\r\n\r\n",
            ),
            joined(
                b"GET http://a/" + _HOST + b"Connection: upgrade\r\nUpgrade: websocket\r\n\r\n",
                b"\0HTTP/1.1 101 x\r\nUpgrade: websocket\r\nConnection: upgrade\r\n\r\n",
                b"\1\xff",
                b"\0\xff",
            ),
            joined(b"HEAD http://a/" + _HOST + b"\r\n", b"\0HTTP/1.0 200 OK\r\n\r\n"),
        ),
    ),
)
