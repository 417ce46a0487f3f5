"""The small HTTP server, over real sockets: what it answers, and whom it cuts off."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import pytest

from node import pages
from node.pages import MAX_CONNECTIONS, MAX_HEAD_BYTES, Asked, Page, PageServer

if TYPE_CHECKING:
    from asyncio import StreamReader
    from collections.abc import AsyncIterator

WAIT_S = 10.0
PROMPT_S = 2.0
"""Shorter than a connection may last."""
BODY = b"hello\n" * 100


@asynccontextmanager
async def serving(body: bytes = BODY) -> AsyncIterator[tuple[int, list[Asked]]]:
    asked: list[Asked] = []

    def answer(what: Asked) -> Page:
        asked.append(what)
        return Page(body)

    server = PageServer(answer)
    port = await server.start("127.0.0.1", 0)
    try:
        yield port, asked
    finally:
        async with asyncio.timeout(PROMPT_S):
            await server.stop()


async def rest(reader: StreamReader) -> bytes:
    """All that comes until the end, which may be a reset."""
    try:
        return await reader.read()
    except ConnectionResetError:
        return b""


async def say(port: int, data: bytes) -> bytes:
    """Send bytes and return all that comes back until the end."""
    async with asyncio.timeout(WAIT_S):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(data)
        try:
            return await rest(reader)
        finally:
            writer.close()


async def test_get_and_head() -> None:
    async with serving() as (port, asked):
        got = await say(port, b"GET /a?b=c HTTP/1.1\r\nHost: x:1\r\n\r\n")
        head, _, body = got.partition(b"\r\n\r\n")
        assert body == BODY
        assert head.startswith(b"HTTP/1.1 200")
        assert b"\r\nContent-Length: 600" in head
        assert b"server:" not in head.lower()
        assert await say(port, b"HEAD /a HTTP/1.1\r\nHost: x:1\r\n\r\n") == head + b"\r\n\r\n"
        assert asked == [Asked("/a", "x:1", from_page=False)] * 2
        await say(port, b"GET / HTTP/1.1\r\nHost: x\r\nSec-Fetch-Site: none\r\n\r\n")
        await say(port, b"GET / HTTP/1.1\r\nHost: x\r\nOrigin: http://evil.example\r\n\r\n")
        assert [what.from_page for what in asked[2:]] == [True, True]


@pytest.mark.parametrize(
    ("request_bytes", "status"),
    [
        (b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 40000\r\n\r\n" + b"y" * 40000, b"405"),
        (b"DELETE / HTTP/1.1\r\nHost: x\r\n\r\n", b"405"),
        (b"nonsense\r\n\r\n", b"400"),
        (b"GET / HTTP/1.1\r\n\r\n", b"400"),
        (b"GET / HTTP/1.1\r\nHost: x\r\nA: " + b"y" * 2 * MAX_HEAD_BYTES, b"431"),
    ],
    ids=["post", "delete", "nonsense", "no host", "large"],
)
async def test_what_is_refused(request_bytes: bytes, status: bytes) -> None:
    async with serving() as (port, asked):
        got = await say(port, request_bytes)
        assert got.startswith(b"HTTP/1.1 " + status)
        assert (b"\r\nAllow: GET, HEAD" in got) == (status == b"405")
        assert not asked


async def test_a_page_that_fills_every_buffer_arrives_whole() -> None:
    large = bytes(16 << 20)
    async with serving(large) as (port, _):
        got = await say(port, b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        assert got.partition(b"\r\n\r\n")[2] == large


async def test_who_is_slow_is_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pages, "LIMIT_S", 0.1)
    async with serving() as (port, asked), asyncio.timeout(PROMPT_S):
        assert await say(port, b"GET / HTTP/1.1\r\nHost:") == b""
        assert not asked


async def test_connections_are_bounded_and_a_stop_ends_them() -> None:
    async with asyncio.timeout(WAIT_S):
        async with serving() as (port, _):
            held = [await asyncio.open_connection("127.0.0.1", port) for _ in range(MAX_CONNECTIONS)]
            for _, writer in held:
                writer.write(b"GET")
            assert await say(port, b"GET / HTTP/1.1\r\nHost: x\r\n\r\n") == b""
            held[0][1].close()
            await held[0][1].wait_closed()
            while not (await say(port, b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")).endswith(BODY):
                pass  # the place of who left is free in a moment
        for reader, writer in held[1:]:
            assert await rest(reader) == b""
            writer.close()
