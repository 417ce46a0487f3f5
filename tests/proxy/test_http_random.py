"""Random requests, whole and damaged: the site's parser sees exactly what the client meant, or no whole request.

`HYPOTHESIS_PROFILE=deep HYPOTHESIS_EXAMPLES=100000` tries more than the few of every day.
"""

from __future__ import annotations

import asyncio
import os
from dataclasses import dataclass
from typing import Final

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.proxy.http_ends import Script, read_answers, talking

DEEP: Final = os.environ.get("HYPOTHESIS_PROFILE") == "deep"
EXAMPLES: Final = settings.get_profile("deep").max_examples if DEEP else 60

pytestmark = pytest.mark.timeout(0 if DEEP else 120)

NAMES = ["X-A", "x-b", "Cookie", "Accept", "Authorization", "Origin"]
VALUES = st.text("abc019 ,;=\"'()<>é\t", max_size=12).map(lambda text: " ".join(text.split()).encode("latin-1"))
HOP_BY_HOP = [
    *(b"Connection: keep-alive", b"Proxy-Connection: keep-alive", b"Keep-Alive: timeout=9", b"TE: gzip"),
    *(b"Connection: X-Gone\r\nX-Gone: 1", b"Proxy-Authorization: Basic YTpi", b"Upgrade: h2c", b"Trailer: X-T"),
]
ANSWERS = [
    Script(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"),
    Script(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nConnection: close\r\n\r\nhello", ends=True),
    Script(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhe\r\n3;x\r\nllo\r\n0\r\nX-T: 1\r\n\r\n"),
    Script(b"HTTP/1.0 200 OK\r\n\r\nhello", ends=True),
    Script(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello", b"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n"),
]


@dataclass(frozen=True)
class Request:
    """What a client means, and how it says so."""

    method: str
    host: str
    path: str
    fields: tuple[tuple[str, bytes], ...]
    body: bytes | None
    chunks: tuple[int, ...]
    noise: tuple[bytes, ...]

    def __bytes__(self) -> bytes:
        lines = [f"{self.method} http://{self.host}{self.path} HTTP/1.1".encode(), b"Host: elsewhere.example"]
        lines += [name.encode() + b": " + value for name, value in self.fields]
        lines += self.noise
        body = b""
        if self.body is not None and self.chunks:
            lines.append(b"Transfer-Encoding: chunked")
            body = self._chunked(self.body)
        elif self.body is not None:
            lines.append(b"Content-Length: %d" % len(self.body))
            body = self.body
        return b"\r\n".join([*lines, b"", body])

    def _chunked(self, body: bytes) -> bytes:
        out, at = b"", 0
        for size in (*self.chunks, len(body)):
            if piece := body[at : at + size]:
                out += b"%x;e=1\r\n" % len(piece) + piece + b"\r\n"
            at += len(piece)
        return out + b"0\r\nX-T: 1\r\n\r\n"


REQUESTS = st.builds(
    Request,
    method=st.sampled_from(["GET", "POST", "PUT", "DELETE", "OPTIONS", "PATCH"]),
    host=st.sampled_from(["a.example", "b.example:81", "[2001:db8::1]"]),
    path=st.text("/a?.%2=&", max_size=8).map(lambda text: "/" + text),
    fields=st.lists(st.tuples(st.sampled_from(NAMES), VALUES), max_size=4).map(tuple),
    body=st.none() | st.binary(max_size=40) | st.just(b"GET http://c.example/ HTTP/1.1\r\nHost: c\r\n\r\n"),
    chunks=st.lists(st.integers(1, 30), max_size=3).map(tuple),
    noise=st.lists(st.sampled_from(HOP_BY_HOP), max_size=3, unique=True).map(tuple),
)


def checked(requests: list[Request], script: Script, pieces: int) -> None:
    async def run() -> None:
        async with talking(script) as talk:
            await talk.send(b"".join(map(bytes, requests)), pieces)
            assert not [flow.broken for flow in talk.dialer.flows if flow.broken]
            assert [len(flow.seen) for flow in talk.dialer.flows] == [1] * len(requests), "one request on each flow"
            for request, seen in zip(requests, talk.seen, strict=True):
                message = seen.message
                assert (message.method, message.path) == (request.method, request.path)
                assert message.raw_headers[0] == (b"Host", request.host.encode())
                names = {name.encode() for name in NAMES}
                kept = tuple((name.decode(), value) for name, value in message.raw_headers if name in names)
                assert kept == request.fields
                assert seen.body == (request.body or b"")
                others = {name.lower() for name, _ in message.raw_headers} - {name.lower() for name in names}
                assert others <= {b"host", b"content-length", b"transfer-encoding", b"connection", b"trailer"}
            answers = read_answers(talk.got, *["GET"] * len(requests), ended=False)
            finals = [(answer.status, answer.body) for answer in answers if answer.status >= 200]
            assert finals == [(200, b"hello")] * len(requests)
            assert not talk.transport.is_over

    asyncio.run(run())


@given(st.lists(REQUESTS, min_size=1, max_size=3), st.sampled_from(ANSWERS), st.sampled_from([1, 2, 7, 64, 1 << 20]))
@settings(max_examples=EXAMPLES, deadline=None)
def test_site_sees_what_the_client_means(requests: list[Request], script: Script, pieces: int) -> None:
    checked(requests, script, pieces)


@st.composite
def damaged(draw: st.DrawFn) -> bytes:
    data = bytearray(b"".join(map(bytes, draw(st.lists(REQUESTS, min_size=1, max_size=2)))))
    for _ in range(draw(st.integers(1, 3))):
        at = draw(st.integers(0, len(data)))
        match draw(st.integers(0, 3)):
            case 0:
                data[at : at + 1] = draw(st.binary(min_size=1, max_size=1))
            case 1:
                del data[at : at + draw(st.integers(1, 6))]
            case 2:
                data[at:at] = draw(
                    st.sampled_from([b"\r\n", b"\n", b"\r", b" ", b"\0", b",", b":", b"\r\n ", b"0\r\n\r\n"])
                )
            case _:
                data[at:at] = draw(
                    st.sampled_from([b"Content-Length: 3\r\n", b"Transfer-Encoding: chunked\r\n", b"Host: c\r\n"])
                )
    return bytes(data)


@given(damaged(), st.sampled_from(ANSWERS))
@settings(max_examples=EXAMPLES, deadline=None)
def test_damaged_requests_never_become_two(data: bytes, script: Script) -> None:
    async def run() -> None:
        async with talking(script) as talk:
            await talk.send(data)
            assert not [flow.broken for flow in talk.dialer.flows if flow.broken]
            assert all(len(flow.seen) <= 1 for flow in talk.dialer.flows)
            assert talk.got.count(b"HTTP/1.1 200 ") <= sum(flow.is_answered for flow in talk.dialer.flows)

    asyncio.run(run())
