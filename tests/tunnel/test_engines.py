"""What every engine must do, on real UDP."""

from __future__ import annotations

import asyncio
import os
import socket
import time
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import pytest

from core.errors import ConfigError, LinkError
from tests.harness.waiting import until
from tunnel.engines import load_engine
from tunnel.limits import MAX_DATAGRAM

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tunnel.engines.seam import Connection, Engine

HOST = "127.0.0.1"


class Heard:
    """A handler that keeps what it is told, and echoes if asked to."""

    def __init__(self, connection: Connection, echo: bool = False) -> None:
        self.connection = connection
        self.echo = echo
        self.data: dict[int, bytearray] = {}
        self.ended: set[int] = set()
        self.reset: list[int] = []
        self.datagrams: list[bytes] = []
        self.drained = 0
        self.closed = 0

    def stream_received(self, stream: int, data: memoryview, end: bool) -> None:
        self.data.setdefault(stream, bytearray()).extend(data)
        if end:
            self.ended.add(stream)
        if self.echo:
            self.connection.write(stream, bytes(data), end)

    def stream_reset(self, stream: int) -> None:
        self.reset.append(stream)

    def stream_drained(self, stream: int) -> None:
        self.drained += 1

    def datagram_received(self, data: memoryview) -> None:
        self.datagrams.append(bytes(data))
        if self.echo:
            self.connection.send_datagram(bytes(data))

    def connection_closed(self) -> None:
        self.closed += 1


class Pair:
    """Two engines that both listen."""

    def __init__(self, first: Engine, second: Engine) -> None:
        self.engines = (first, second)
        self.accepted: list[Heard] = []
        self.echo = True
        self.ports: list[int] = []

    def accept(self, connection: Connection) -> Heard:
        self.accepted.append(Heard(connection, self.echo))
        return self.accepted[-1]

    async def dial(self, start: int = 0) -> tuple[Connection, Heard]:
        made: list[Heard] = []

        def handle(connection: Connection) -> Heard:
            made.append(Heard(connection))
            return made[0]

        connection = await self.engines[start].dial((HOST, self.ports[1 - start]), handle, 5)
        return connection, made[0]


@asynccontextmanager
async def pair() -> AsyncIterator[Pair]:
    both = Pair(load_engine("auto"), load_engine("auto"))
    try:
        for engine in both.engines:
            both.ports.append(await engine.listen(0, both.accept))
        yield both
    finally:
        for engine in both.engines:
            await engine.close()


async def test_bytes_come_back_exactly_on_many_streams() -> None:
    async with pair() as both:
        connection, heard = await both.dial()
        sent = {connection.open_stream(): os.urandom(200_000 + place) for place in range(20)}
        for stream, data in sent.items():
            connection.write(stream, data, end=True)
        await until(lambda: heard.ended == sent.keys(), 15)
        assert {stream: bytes(data) for stream, data in heard.data.items()} == sent


async def test_both_sides_open_streams() -> None:
    async with pair() as both:
        connection, heard = await both.dial()
        first = connection.open_stream()
        connection.write(first, b"hello")
        await until(lambda: both.accepted and both.accepted[0].data)
        other = both.accepted[0].connection.open_stream()
        assert other % 4 != first % 4
        both.accepted[0].connection.write(other, b"back", end=True)
        await until(lambda: other in heard.ended)
        assert heard.data[other] == b"back"


async def test_a_full_stream_says_so_and_then_says_when_it_is_empty() -> None:
    async with pair() as both:
        both.echo = False
        connection, heard = await both.dial()
        stream, size = connection.open_stream(), 0
        while connection.write(stream, bytes(1 << 16)):
            size += 1 << 16
        size += 1 << 16
        assert connection.queued(stream) > 0
        await until(lambda: heard.drained, 10)
        assert connection.queued(stream) == 0
        await until(lambda: len(both.accepted[0].data.get(stream, b"")) == size, 10)


async def test_a_reset_is_heard_and_the_connection_goes_on() -> None:
    async with pair() as both:
        connection, heard = await both.dial()
        stream, other = connection.open_stream(), connection.open_stream()
        connection.write(stream, b"first")
        await until(lambda: stream in heard.data)
        connection.reset(stream)
        await until(lambda: stream in both.accepted[0].reset)
        connection.write(other, b"second", end=True)
        await until(lambda: other in heard.ended)


async def test_datagrams_pass_up_to_their_limit_and_no_further() -> None:
    async with pair() as both:
        connection, heard = await both.dial()
        largest = os.urandom(MAX_DATAGRAM)
        assert not connection.send_datagram(largest + b"x")
        assert connection.send_datagram(largest)
        await until(lambda: heard.datagrams == [largest])
        assert connection.send_datagram(b"small")
        await until(lambda: heard.datagrams == [largest, b"small"])
        connection.close()
        assert not connection.send_datagram(b"late")


async def test_a_close_is_heard_once_on_each_side() -> None:
    async with pair() as both:
        connection, heard = await both.dial()
        connection.write(connection.open_stream(), b"x")
        await until(lambda: both.accepted)
        connection.close()
        connection.close()
        await until(lambda: both.accepted[0].closed)
        assert (heard.closed, both.accepted[0].closed) == (1, 1)
        assert connection.write(connection.open_stream(), b"late") in (True, False)


async def test_nobody_there_is_a_link_error_in_time() -> None:
    async with pair() as both:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as silent:
            silent.bind((HOST, 0))
            started = time.monotonic()
            with pytest.raises(LinkError):
                await both.engines[0].dial((HOST, silent.getsockname()[1]), Heard, 0.5)
            assert time.monotonic() - started < 2
        await both.dial()


async def test_a_dial_is_known_as_one_although_the_loop_is_late() -> None:
    """The handshake may be over before the loop hears that the connection exists."""
    async with pair() as both:
        for _ in range(3):
            dialling = asyncio.create_task(both.dial())
            for _ in range(3):
                await asyncio.sleep(0)
            time.sleep(0.2)  # noqa: ASYNC251  # what a busy machine does to the loop
            connection, heard = await dialling
            stream = connection.open_stream()
            connection.write(stream, b"x", end=True)
            await until(lambda heard=heard, stream=stream: stream in heard.ended)  # type: ignore[misc]
        assert len(both.accepted) == 3


async def test_both_dial_each_other_at_once() -> None:
    async with pair() as both:
        for connection, heard in await asyncio.gather(both.dial(0), both.dial(1), both.dial(0), both.dial(1)):
            stream = connection.open_stream()
            connection.write(stream, b"x", end=True)
            await until(lambda heard=heard, stream=stream: stream in heard.ended)  # type: ignore[misc]
        assert len(both.accepted) == 4


async def test_a_taken_port_is_said() -> None:
    async with pair() as both:
        engine = load_engine("auto")
        with pytest.raises(ConfigError, match="is taken"):
            await engine.listen(both.ports[0], both.accept)


def test_an_unknown_engine_is_said() -> None:
    with pytest.raises(ConfigError, match="no engine"):
        load_engine("steam")
