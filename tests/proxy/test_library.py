"""What `asyncio-socks-server` does otherwise than we need it (docs/asyncio-socks-server.md), each beside what we do.

When a test of the library fails after an update, it has been mended: take our way around it out.
"""

from __future__ import annotations

import asyncio
import logging
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import pytest
from asyncio_socks_server import Addon
from asyncio_socks_server.core.address import decode_address
from asyncio_socks_server.core.protocol import ProtocolError, parse_request, parse_udp_header, parse_username_password
from asyncio_socks_server.server.server import Server

from core.errors import DecodeError, Reason
from core.pump import READ_BYTES
from proxy.datagrams import read_datagram
from tests.harness.waiting import until
from tests.proxy.harness import LIMIT_S, Client, DatagramDialer, MemoryFlow, TcpOnly, by_name
from tests.proxy.programs import ANY, Program

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from asyncio_socks_server import Direction
    from asyncio_socks_server.core.types import Flow as LibraryFlow

    from core.flow import Buffer, Flow, FlowRequest
    from tests.proxy.harness import Stage

GREETING = b"\5\1\0"
CHOSEN = b"\5\0"


@asynccontextmanager
async def library(*addons: Addon) -> AsyncIterator[Client]:
    """A client of the library's server."""
    ours = Server(host="127.0.0.1", addons=list(addons))
    listening = await asyncio.start_server(ours._handle_client, "127.0.0.1", 0)
    reader, writer = await asyncio.open_connection(*listening.sockets[0].getsockname())
    try:
        yield Client(reader, writer)
    finally:
        writer.close()
        listening.close()
        async with asyncio.timeout(LIMIT_S):
            await listening.wait_closed()


def fed(data: bytes) -> asyncio.StreamReader:
    reader = asyncio.StreamReader()
    reader.feed_data(data)
    reader.feed_eof()
    return reader


def to_loopback(port: int) -> bytes:
    return b"\5\1\0\1\x7f\0\0\1" + port.to_bytes(2)


# -- its relay


class Sizes(Addon):
    """Remembers how large the pieces are that a hook is given."""

    def __init__(self) -> None:
        self.sizes: list[int] = []

    async def on_data(self, direction: Direction, data: bytes, flow: LibraryFlow) -> bytes:
        self.sizes.append(len(data))
        return data


async def test_the_library_copies_4096_bytes_at_a_time(stage: Stage) -> None:
    site, sizes = await stage.site(), Sizes()
    async with library(sizes) as client:
        client.send(GREETING + to_loopback(site.port) + bytes(100_000))
        await client.read(2 + 10 + 100_000)
    assert max(sizes.sizes) == 4096


async def test_we_read_as_much_as_a_message_of_the_tunnel_carries(stage: Stage) -> None:
    class Pieces(MemoryFlow):
        def write(self, data: Buffer) -> bool:
            sizes.append(len(data))
            return super().write(data)

    class Dialer(TcpOnly):
        async def dial(self, request: FlowRequest, *, early: bool) -> Flow:
            return flow

    sizes: list[int] = []
    flow = Pieces()
    client = await stage.client(await stage.front(Dialer()))
    assert await client.socks("site.example", 443) == 0
    client.send(bytes(1_000_000))
    await until(lambda: len(flow.written) == 1_000_000)
    assert max(sizes) == READ_BYTES


async def answer_at_the_end(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(await reader.read() + b" answered")


async def test_the_library_ends_both_directions_with_the_first(stage: Stage) -> None:
    """Ours: `test_front`, where clients and sites finish by turns."""
    site = await stage.site(answer_at_the_end)
    async with library() as client:
        client.send(GREETING + to_loopback(site.port) + b"asked")
        client.writer.write_eof()
        assert b"answered" not in await client.read_all()


# -- its replies and its log


@pytest.mark.parametrize(
    "request_",
    [b"\5\2\0\1" + bytes(6), b"\5\1\0\2" + bytes(6), b"\4\1\0\1" + bytes(6), b"\5\1\0\3\2\xc3\xa9\0\x50"],
    ids=["BIND", "type of address", "version", "not ASCII"],
)
async def test_the_library_hangs_up_where_a_reply_is_due(request_: bytes) -> None:
    """Ours: rows of `conformance`, 1928 4 and 5."""
    async with library() as client:
        assert await client.asks(GREETING + request_) == CHOSEN


async def test_the_library_has_one_error_for_three_replies() -> None:
    """Version (reply 1), command (7) and type of address (8): so we read the first three bytes ourselves."""
    for request in (b"\4\1\0\1", b"\5\2\0\1", b"\5\1\0\2"):
        with pytest.raises(ProtocolError):
            await parse_request(fed(request + bytes(6)))


async def test_a_name_that_is_not_ascii_is_a_value_error_of_the_librarys_too() -> None:
    """Replies 4 and 8 differ, so the narrower error has to be caught first."""
    for address, narrow in ((b"\3\2\xc3\xa9\0\x50", True), (b"\2" + bytes(6), False)):
        with pytest.raises(ValueError) as caught:  # noqa: PT011
            await decode_address(fed(address))
        assert isinstance(caught.value, UnicodeDecodeError) is narrow


class Refusing(Addon):
    async def on_connect(self, flow: LibraryFlow) -> None:
        raise TimeoutError


async def test_the_library_says_not_allowed_whatever_a_hook_fails_with(caplog: pytest.LogCaptureFixture) -> None:
    """Ours: rows of `conformance`, 1928 6, one for each reason; and `test_front`, that no log names anything."""
    caplog.set_level(logging.DEBUG)
    async with library(Refusing()) as client:
        got = await client.asks(GREETING + b"\5\1\0" + by_name("canary.example", 47474))
    assert got[:4] == CHOSEN + b"\5\2"
    assert "dst=canary.example:47474" in caplog.text
    assert "src=127.0.0.1:" in caplog.text


async def test_the_library_takes_no_user_name_where_no_password_is_set() -> None:
    """Ours: rows of `conformance`, 1929 2: a user name is an isolation key, with a password or without."""
    async with library() as client:
        assert await client.asks(b"\5\1\2") == b"\5\xff"


async def test_the_library_reads_utf_8_alone_in_user_names() -> None:
    """Ours: a row of `conformance`, 1929 2."""
    with pytest.raises(UnicodeDecodeError):
        await parse_username_password(fed(b"\1\4Jos\xe9\0"))


# -- its datagrams


def test_the_library_reads_past_the_end_of_a_datagram() -> None:
    with pytest.raises(IndexError):
        parse_udp_header(b"\0\0\0\3")
    with pytest.raises(DecodeError):
        read_datagram(b"\0\0\0\3")


def test_the_library_takes_a_fragment_for_a_whole_datagram() -> None:
    for start in (b"\0\0\1", b"\1\0\0"):
        assert parse_udp_header(start + b"\1\x7f\0\0\1\0\x35part")[2] == b"part"
        with pytest.raises(DecodeError):
            read_datagram(start + b"\1\x7f\0\0\1\0\x35part")


async def test_the_library_relays_datagrams_of_anybody(stage: Stage) -> None:
    site, client, stranger = Program(), Program(), Program()
    datagram = b"\0\0\0\1\x7f\0\0\1" + site.port.to_bytes(2)
    try:
        async with library() as connection:
            connection.send(GREETING + b"\5\3\0" + ANY)
            port = int.from_bytes((await connection.read(12))[-2:])
            for program, word in ((client, b"mine"), (stranger, b"not mine")):
                program.relay = "127.0.0.1", port
                program.send(datagram + word)
                assert await site.heard() == word
        dialer = DatagramDialer()
        front = await stage.front(dialer)
        ours = await stage.client(front)
        ours.send(GREETING + b"\5\3\0" + ANY)
        port = int.from_bytes((await ours.read(12))[-2:])
        for program, word in ((client, b"mine"), (stranger, b"not mine"), (client, b"mine again")):
            program.relay = "127.0.0.1", port
            program.send(datagram + word)
        await until(lambda: len(dialer.flows[0].sent) == 2)
        assert [sent[2] for sent in dialer.flows[0].sent] == [b"mine", b"mine again"]
        assert front.counters == {"datagram_foreign": 1}
        assert dialer.flows[0].ended is not Reason.LOCAL
    finally:
        for program in (site, client, stranger):
            program.socket.close()
