"""The pump between a real TCP connection on loopback and a flow that the test plays."""

from __future__ import annotations

import asyncio
import secrets
import socket
import struct
import tracemalloc
from contextlib import AsyncExitStack, asynccontextmanager
from typing import TYPE_CHECKING, Any
from unittest.mock import Mock

import pytest
import uvloop

from core.errors import Reason
from core.pump import READ_BYTES, Pump
from tests.core.fakes import FakeFlow
from tests.harness.waiting import until
from tunnel.limits import FLOW_WINDOW

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from core.flow import Buffer

CHUNK = bytes(range(256)) * 256


class Rig:
    """A pump, its flow, and the far end of its TCP connection as a blocking-free socket."""

    def __init__(self, room: int) -> None:
        self.flow = FakeFlow(room)
        self.done: list[tuple[Reason, int, int]] = []
        self.pump = Pump(self.flow, lambda *args: self.done.append(args))
        self.reader: asyncio.StreamReader
        self.writer: asyncio.StreamWriter
        self.transport: asyncio.Transport

    def has_written(self, data: bytes) -> bool:
        return bytes(self.flow.written) == data


@asynccontextmanager
async def rig(room: int = 1 << 30, early: bytes = b"", early_eof: bool = False) -> AsyncIterator[Rig]:
    made = Rig(room)
    loop = asyncio.get_running_loop()
    accepted: asyncio.Future[asyncio.Transport] = loop.create_future()

    class Accept(asyncio.Protocol):
        def connection_made(self, transport: Any) -> None:
            transport.pause_reading()
            accepted.set_result(transport)

    server = await loop.create_server(Accept, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    made.reader, made.writer = await asyncio.open_connection("127.0.0.1", port)
    made.transport = await accepted
    made.pump.join(made.transport, early, early_eof)
    try:
        yield made
    finally:
        made.writer.transport.abort()
        made.transport.abort()
        server.close()
        await until(lambda: made.transport.is_closing())
        await asyncio.sleep(0)


async def test_bytes_go_both_ways() -> None:
    async with rig() as made:
        made.writer.write(b"request")
        await until(lambda: made.has_written(b"request"))
        made.flow.heard.flow_data(b"answer")
        assert await made.reader.readexactly(6) == b"answer"
        assert made.flow.returned == 6
        assert (made.pump.sent_bytes, made.pump.received_bytes) == (7, 6)


async def test_early_bytes_come_first() -> None:
    async with rig(early=b"early ") as made:
        made.writer.write(b"late")
        await until(lambda: made.has_written(b"early late"))
        assert made.pump.sent_bytes == 10


async def test_an_early_end_of_stream() -> None:
    async with rig(early=b"all", early_eof=True) as made:
        assert (bytes(made.flow.written), made.flow.finished) == (b"all", 1)
        made.flow.heard.flow_data(b"answer")
        assert await made.reader.readexactly(6) == b"answer"


async def test_half_close_from_tcp_leaves_the_way_back_open() -> None:
    async with rig() as made:
        made.writer.write(b"all")
        made.writer.write_eof()
        await until(lambda: made.flow.finished)
        assert made.has_written(b"all")
        made.flow.heard.flow_data(CHUNK)
        assert await made.reader.readexactly(len(CHUNK)) == CHUNK
        assert not made.done


async def test_half_close_from_the_flow_leaves_the_way_out_open() -> None:
    async with rig() as made:
        made.flow.heard.flow_data(b"all")
        made.flow.heard.flow_eof()
        assert await made.reader.read() == b"all"
        made.writer.write(b"more")
        await until(lambda: made.has_written(b"more"))
        assert not made.flow.finished


async def test_both_ends_finished() -> None:
    async with rig() as made:
        made.flow.heard.flow_data(CHUNK)
        made.flow.heard.flow_eof()
        made.writer.write(b"x")
        made.writer.write_eof()
        await until(lambda: made.flow.finished)
        made.flow.heard.flow_closed(Reason.DONE)
        assert await made.reader.read() == CHUNK
        assert made.done == [(Reason.DONE, 1, len(CHUNK))]
        assert not made.flow.reset_with


async def test_what_the_flow_delivered_before_it_ended_still_arrives() -> None:
    async with rig() as made:
        for _ in range(16):
            made.flow.heard.flow_data(CHUNK)
        made.flow.heard.flow_eof()
        made.flow.heard.flow_closed(Reason.DONE)
        assert await made.reader.read() == CHUNK * 16


async def test_a_reset_flow_resets_tcp() -> None:
    async with rig() as made:
        made.flow.heard.flow_data(b"a part")
        assert await made.reader.readexactly(6) == b"a part"
        made.flow.heard.flow_closed(Reason.CLOSED)
        assert made.transport.is_closing()
        with pytest.raises(ConnectionResetError):  # a clean end would say that this was all
            await made.reader.read()
        assert made.done == [(Reason.CLOSED, 0, 6)]
        await asyncio.sleep(0)
        assert not made.flow.reset_with


async def test_a_connection_that_goes_down_with_its_owner_is_reset() -> None:
    async with rig() as made:
        made.flow.heard.flow_data(b"a part")
        assert await made.reader.readexactly(6) == b"a part"
        made.transport.abort()
        with pytest.raises(ConnectionResetError):
            await made.reader.read()


async def test_a_reset_connection_resets_the_flow() -> None:
    async with rig() as made:
        made.writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        made.writer.transport.abort()
        await until(lambda: made.flow.reset_with)
        assert made.flow.reset_with == [Reason.RESET]
        assert made.done == [(Reason.RESET, 0, 0)]
        made.flow.heard.flow_closed(Reason.RESET)
        assert len(made.done) == 1


async def test_a_transport_closed_here_resets_the_flow() -> None:
    async with rig() as made:
        made.transport.abort()
        await until(lambda: made.flow.reset_with)
        assert made.flow.reset_with == [Reason.LOCAL]


async def test_a_full_flow_stops_the_reading() -> None:
    async with rig(room=1000) as made:
        writing = asyncio.ensure_future(flood(made.writer))
        await until(lambda: len(made.flow.written) > 1000)
        assert not made.transport.is_reading()
        held = len(made.flow.written)
        for _ in range(50):
            await asyncio.sleep(0)
        assert len(made.flow.written) == held
        made.flow.room = 1 << 30
        made.flow.heard.flow_writable()
        await until(lambda: len(made.flow.written) > held)
        writing.cancel()
        await asyncio.gather(writing, return_exceptions=True)


async def flood(writer: asyncio.StreamWriter) -> None:
    while True:
        writer.write(CHUNK)
        await writer.drain()


async def test_more_early_bytes_than_the_flow_takes_stop_the_reading() -> None:
    async with rig(room=3, early=b"early") as made:
        assert not made.transport.is_reading()
        made.flow.heard.flow_writable()
        assert made.transport.is_reading()


async def test_a_connection_that_is_not_read_returns_no_credit() -> None:
    async with rig() as made:
        made.reader._transport.pause_reading()  # type: ignore[attr-defined]
        sent = 0
        while made.flow.returned == sent:
            made.flow.heard.flow_data(CHUNK)
            sent += len(CHUNK)
            await asyncio.sleep(0)
            assert sent < 64 << 20
        for _ in range(20):
            made.flow.heard.flow_data(CHUNK)
            sent += len(CHUNK)
        assert sent - made.flow.returned >= 20 * len(CHUNK)
        assert 0 < made.transport.get_write_buffer_size() <= len(CHUNK), "the rest waits in the pump, joined"
        made.reader._transport.resume_reading()  # type: ignore[attr-defined]
        assert await made.reader.readexactly(sent) == CHUNK * (sent // len(CHUNK))
        await until(lambda: made.flow.returned == sent)


@pytest.mark.parametrize("used", [100, 1000, READ_BYTES // 3, READ_BYTES])
def test_what_nobody_reads_takes_no_more_memory_than_is_counted(used: int) -> None:
    """Of each message so much is the flow's; the rest is padding, or other flows'."""

    async def taken() -> float:
        counted = 0
        async with AsyncExitStack() as stack:
            rigs = [await stack.enter_async_context(rig()) for _ in range(5)]
            tracemalloc.start()
            stack.callback(tracemalloc.stop)
            for made in rigs:
                made.transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 12)
                made.writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 12)
                made.reader._transport.pause_reading()  # type: ignore[attr-defined]
                while (held := made.pump.received_bytes - made.flow.returned) < FLOW_WINDOW:
                    made.flow.heard.flow_data(memoryview(bytearray(READ_BYTES))[:used])
                counted += held
            return tracemalloc.get_traced_memory()[0] / counted

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        assert 0.9 < runner.run(taken()) < 1.15


async def test_what_is_written_at_once_is_not_copied_unless_it_is_a_small_part() -> None:
    message = memoryview(bytearray(READ_BYTES))
    parts = [message, message[1:], message[READ_BYTES // 2 :], message[:1]]
    async with rig() as made:
        written: list[Buffer] = []
        made.pump._transport = Mock(made.transport, write=written.append, is_closing=lambda: False)
        for part in parts:
            made.flow.heard.flow_data(part)
    assert [data is part for data, part in zip(written, parts, strict=True)] == [True, True, False, False]
    assert list(map(bytes, parts)) == list(map(bytes, written))


async def test_a_flow_that_is_over_when_joined() -> None:
    class Over(FakeFlow):
        def attach(self, listener: object) -> None:
            listener.flow_closed(Reason.CLOSED)  # type: ignore[attr-defined]

    loop = asyncio.get_running_loop()
    server = await loop.create_server(asyncio.Protocol, "127.0.0.1", 0)
    transport, _ = await loop.create_connection(asyncio.Protocol, *server.sockets[0].getsockname())
    done: list[Reason] = []
    Pump(Over(), lambda reason, sent, received: done.append(reason)).join(transport)
    assert transport.is_closing()
    assert done == [Reason.CLOSED]
    server.close()
    await asyncio.sleep(0)


@pytest.mark.parametrize("reason", [Reason.DONE, Reason.CLOSED])
async def test_the_end_is_told_once(reason: Reason) -> None:
    async with rig() as made:
        made.flow.heard.flow_closed(reason)
        made.flow.heard.flow_closed(Reason.CLOSED)
        await until(lambda: made.transport.is_closing())
        made.pump.connection_lost(None)
        assert made.done == [(reason, 0, 0)]


async def test_data_after_the_connection_closed_is_dropped() -> None:
    async with rig() as made:
        made.transport.abort()
        made.flow.heard.flow_data(CHUNK)
        made.flow.heard.flow_eof()
        made.flow.heard.flow_writable()
        await until(lambda: made.flow.reset_with)
        assert made.flow.returned == 0


async def test_pumps_share_what_they_read_into_and_not_what_they_read() -> None:
    async with rig() as one, rig(room=10) as other:
        first, second = secrets.token_bytes(5 * READ_BYTES), secrets.token_bytes(5 * READ_BYTES)
        for at in range(0, len(first), 1000):
            one.writer.write(first[at : at + 1000])
            other.writer.write(second[at : at + 1000])
        await until(lambda: one.has_written(first))
        assert second.startswith(other.flow.written)
        assert len(other.flow.written) <= READ_BYTES
