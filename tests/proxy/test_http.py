"""Heads of HTTP requests."""

from __future__ import annotations

import asyncio
import base64

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proxy import http
from proxy.ask import Answer, Ask
from proxy.pac_server import PacSite

SITE = PacSite(1080, "/token/proxy.pac", lambda: "list")
HEAD_BYTES = 2048

PIECES = [
    *(b"GET ", b"CONNECT ", b"http://", b"/", b"a", b":", b"80", b"[", b"]", b" HTTP/1.1", b"\r\n", b"Host: a"),
    *(b"\r\n\r\n", b"Content-Length: ", b"Transfer-Encoding: chunked", b"Connection: ", b"\n", b"\0", b" "),
]


async def hear(data: bytes, password: str | None = None) -> Ask | Answer:
    reader = asyncio.StreamReader()
    reader.feed_data(data[1:])
    reader.feed_eof()
    return await http.hear(reader, data[:1], HEAD_BYTES, SITE, password)


def wish(heard: Ask | Answer) -> tuple[str, int]:
    assert isinstance(heard, Ask), heard.data
    return heard.request.host, heard.request.port


def status(heard: Ask | Answer) -> int:
    assert isinstance(heard, Answer)
    return int(heard.data.split(b" ", 2)[1])


@pytest.mark.parametrize(
    ("target", "found"),
    [
        (b"Example.com:443", ("example.com", 443)),
        (b"10.0.0.1:8080", ("10.0.0.1", 8080)),
        (b"[2001:db8::1]:443", ("2001:db8::1", 443)),
    ],
)
async def test_connect(target: bytes, found: tuple[str, int]) -> None:
    heard = await hear(b"CONNECT " + target + b" HTTP/1.1\r\nHost: other\r\n\r\nearly\r\n")
    assert wish(heard) == found
    assert isinstance(heard, Ask)
    assert heard.early == b"early\r\n"
    assert heard.granted == b"HTTP/1.1 200 Connection established\r\n\r\n"
    assert heard.scheme == ("https" if found[1] == 443 else None)


@pytest.mark.parametrize(
    ("target", "found"),
    [
        (b"http://example.com/a?b", ("example.com", 80)),
        (b"HTTP://example.com:8080", ("example.com", 8080)),
        (b"http://example.com?q", ("example.com", 80)),
        (b"http://[::1]:81/", ("::1", 81)),
    ],
)
async def test_plain_request(target: bytes, found: tuple[str, int]) -> None:
    heard = await hear(b"GET " + target + b" HTTP/1.1\r\nHost: x\r\n\r\n")
    assert wish(heard) == found
    assert isinstance(heard, Ask)
    assert heard.scheme == "http"
    assert heard.granted == b""


@pytest.mark.parametrize(
    "head",
    [
        b"CONNECT example.com HTTP/1.1\r\nHost: a",
        b"CONNECT example.com:0 HTTP/1.1\r\nHost: a",
        b"CONNECT user@example.com:1 HTTP/1.1\r\nHost: a",
        b"CONNECT http://example.com:1/ HTTP/1.1\r\nHost: a",
        b"CONNECT a:1 HTTP/1.1\r\nHost: a\r\nContent-Length: 3",
        b"CONNECT a:1 HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked",
        b"CONNECT a:1 HTTP/1.1",
        b"GET https://example.com/ HTTP/1.1\r\nHost: a",
        b"GET ftp://example.com/ HTTP/1.1\r\nHost: a",
        b"GET http:///path HTTP/1.1\r\nHost: a",
        b"GET http://user:word@example.com/ HTTP/1.1\r\nHost: a",
        b"GET http://example.com/#part HTTP/1.1\r\nHost: a",
        b"GET http://exa%6dple.com/ HTTP/1.1\r\nHost: a",
        b"GET http://example.com\\@evil.example/ HTTP/1.1\r\nHost: a",
        b"OPTIONS * HTTP/1.1\r\nHost: a",
        b"GET http://a/ HTTP/1.1\r\nHost: a\r\nHost: b",
        b"GET http://a/ HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nTransfer-Encoding: chunked",
        b"GET http://a/ HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 2",
        b"GET http://a/ HTTP/1.1\r\nHost: a\r\nContent-Length: +1",
        b"GET http://a/ HTTP/1.1\r\nHost: a\r\nContent-Length : 1",
        b"GET http://a/ HTTP/1.0\r\nTransfer-Encoding: chunked",
        b"GET http://a/ HTTP/1.1\r\nHost: a\r\nBad Name: x",
        b"GET http://a/ HTTP/1.1\r\nHost: a\r\nProxy-Authorization: Basic \xff",
        b"GET http://a/ HTTP/1.1\r\nHost: a\r\nProxy-Authorization: Basic !!!",
        b"GET  http://a/ HTTP/1.1\r\nHost: a",
        b"GET http://a/\r\nHost: a",
    ],
)
async def test_malformed_request(head: bytes) -> None:
    assert status(await hear(head + b"\r\n\r\n")) == 400


@pytest.mark.parametrize("coding", [b"gzip, chunked", b"identity", b"chunked\r\nTransfer-Encoding: chunked"])
async def test_unknown_coding(coding: bytes) -> None:
    head = b"POST http://a/ HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: " + coding + b"\r\n\r\n"
    assert status(await hear(head)) == 501


async def test_head_has_a_limit() -> None:
    start = b"GET http://a/ HTTP/1.1\r\nHost: a\r\nX: "
    fits = start + b"x" * (HEAD_BYTES - len(start) - 4) + b"\r\n\r\n"
    assert len(fits) == HEAD_BYTES
    assert wish(await hear(fits)) == ("a", 80)
    assert status(await hear(fits.replace(b"X: ", b"X: x"))) == 431
    assert status(await hear(start + b"x" * 10 * HEAD_BYTES)) == 431


async def test_user_name_is_the_isolation_key() -> None:
    code = base64.b64encode("José:word:s".encode())
    for form in (b"CONNECT a:1", b"GET http://a/"):
        head = form + b" HTTP/1.1\r\nHost: a\r\nProxy-Authorization: basic " + code + b"\r\n\r\n"
        for password in (None, "word:s"):
            heard = await hear(head, password)
            assert isinstance(heard, Ask)
            assert heard.request.isolation == "José"
        assert status(await hear(head, "word")) == 407


async def test_password_is_asked_for() -> None:
    heard = await hear(b"CONNECT a:1 HTTP/1.1\r\nHost: a\r\n\r\n", "secret")
    assert status(heard) == 407
    assert isinstance(heard, Answer)
    assert b"\r\nProxy-Authenticate: Basic " in heard.data


@pytest.mark.parametrize(
    "host", [b"127.0.0.1:1080", b"localhost:1080", b"LOCALHOST:1080", b"[::1]:1080", b"127.0.0.2:1080"]
)
async def test_pac_is_served_under_loopback_names(host: bytes) -> None:
    heard = await hear(
        b"GET /token/proxy.pac HTTP/1.1\r\nHost: " + host + b"\r\nSec-Fetch-Site: none\r\n\r\n", "secret"
    )
    assert isinstance(heard, Answer)
    head, _, body = heard.data.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200 OK\r\nContent-Type: application/x-ns-proxy-autoconfig\r\n")
    assert b"\r\nCache-Control: max-age=60\r\n" in head
    assert body == b"list"


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (b"GET /token/proxy.pac HTTP/1.1\r\nHost: evil.example:1080", 403),
        (b"GET /token/proxy.pac HTTP/1.1\r\nHost: localhost.evil.example:1080", 403),
        (b"GET /token/proxy.pac HTTP/1.1\r\nHost: a.localhost:1080", 403),
        (b"GET /token/proxy.pac HTTP/1.1\r\nHost: 127.0.0.1:1081", 403),
        (b"GET /token/proxy.pac HTTP/1.1\r\nHost: 127.0.0.1", 403),
        (b"GET /token/proxy.pac HTTP/1.1\r\nHost: 10.0.0.1:1080", 403),
        (b"GET /token/proxy.pac HTTP/1.1\r\nHost: 0.0.0.0:1080", 403),
        (b"GET /token/proxy.pac HTTP/1.1\r\nHost: ", 403),
        (b"GET /token/proxy.pac HTTP/1.0", 403),
        (b"GET /token/proxy.pac HTTP/1.1\r\nHost: localhost:1080\r\nSec-Fetch-Site: cross-site", 403),
        (b"GET /token/proxy.pac HTTP/1.1\r\nHost: localhost:1080\r\nSec-Fetch-Site: same-origin", 403),
        (
            b"GET /token/proxy.pac HTTP/1.1\r\nHost: [::1]:1080\r\nSec-Fetch-Site: none\r\nSec-Fetch-Site: same-site",
            403,
        ),
        (b"GET / HTTP/1.1\r\nHost: localhost:1080", 404),
        (b"GET /proxy.pac HTTP/1.1\r\nHost: localhost:1080", 404),
        (b"GET /token/proxy.pac?x HTTP/1.1\r\nHost: localhost:1080", 404),
        (b"GET /Token/proxy.pac HTTP/1.1\r\nHost: localhost:1080", 404),
        (b"POST /token/proxy.pac HTTP/1.1\r\nHost: localhost:1080", 405),
        (b"HEAD / HTTP/1.1\r\nHost: localhost:1080", 404),
    ],
)
async def test_pac_is_refused(words: bytes, code: int) -> None:
    heard = await hear(words + b"\r\n\r\n")
    assert status(heard) == code
    assert isinstance(heard, Answer)
    assert not heard.data.endswith(b"list")
    assert heard.data.endswith(b"\r\n\r\n") is words.startswith(b"HEAD ")


async def test_pac_answer_to_head_has_no_body() -> None:
    heard = await hear(b"HEAD /token/proxy.pac HTTP/1.1\r\nHost: localhost:1080\r\n\r\n")
    assert isinstance(heard, Answer)
    assert heard.data.endswith(b"\r\n\r\n")
    assert b"Content-Length: 4\r\n" in heard.data


async def test_nothing_is_echoed() -> None:
    for words in (
        b"CONNECT canary:x HTTP/1.1",
        b"GET /canary HTTP/1.1\r\nHost: localhost:1080",
        b"GET canary HTTP/1.1",
    ):
        heard = await hear(words + b"\r\ncanary: <canary>\r\n\r\n")
        assert isinstance(heard, Answer)
        assert b"canary" not in heard.data.lower()


async def test_cut_at_every_byte() -> None:
    words = b"CONNECT example.com:443 HTTP/1.1\r\nHost: a\r\n\r\n"
    for end in range(1, len(words)):
        with pytest.raises(asyncio.IncompleteReadError):
            await hear(words[:end])


@given(
    st.binary(min_size=1, max_size=300)
    | st.lists(
        st.sampled_from(PIECES),
        min_size=1,
        max_size=30,
    ).map(b"".join)
)
@settings(max_examples=500, deadline=None)
def test_any_bytes_end_as_documented(data: bytes) -> None:
    async def run() -> None:
        try:
            heard = await hear(data)
        except asyncio.IncompleteReadError:
            return
        assert isinstance(heard, Ask | Answer)

    asyncio.run(run())
