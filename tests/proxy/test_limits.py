"""Floods, slow clients and garbage: the port stays small and keeps answering."""

from __future__ import annotations

import asyncio
import gc
import random
import resource
import time
import tracemalloc
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.errors import Reason
from proxy import intake as intake_module
from proxy import seats as seats_module
from proxy.front import FrontLimits
from tests.proxy.harness import (
    LIMIT_S,
    FailingDialer,
    LoopbackDialer,
    MemoryFlow,
    SilentDialer,
    Stage,
    by_name,
    connect,
    until,
)

if TYPE_CHECKING:
    from core.flow import Flow, FlowRequest
    from proxy.front import Front

CONNECT = b"CONNECT site.example:443 HTTP/1.1\r\nHost: site.example:443\r\n\r\n"
SHORT = FrontLimits(handshake_s=0.2)


@pytest.mark.parametrize(
    ("words", "answer"),
    [
        (b"", b""),
        (b"\x05", b""),
        (b"\x05\x01\x00\x05\x01\x00", b"\x05\x00"),
        (b"CONNECT site.exam", b"HTTP/1.1 408 "),
        (b"GET http://a/ HTTP/1.1\r\nHost: a\r\n", b"HTTP/1.1 408 "),
    ],
)
async def test_slow_client_is_cut_at_the_deadline(stage: Stage, words: bytes, answer: bytes) -> None:
    front = await stage.front(FailingDialer(Reason.NO_PATH), limits=SHORT)
    client = await stage.client(front)
    began = time.monotonic()
    client.send(words)
    assert (await client.read_all())[: len(answer) or None] == answer
    assert 0.15 < time.monotonic() - began < 3
    assert front.counters == {"slow": 1}


async def test_trickle_does_not_move_the_deadline(stage: Stage) -> None:
    front = await stage.front(FailingDialer(Reason.NO_PATH), limits=SHORT)
    client = await stage.client(front)
    began = time.monotonic()
    for byte in CONNECT[:-2] + b"X: " + b"x" * 200:
        if client.reader.at_eof() or front.counters:
            break
        client.send(bytes([byte]))
        await asyncio.sleep(0.01)
    assert (await client.read_all()).startswith(b"HTTP/1.1 408 ")
    assert time.monotonic() - began < 2


async def test_dial_has_an_outer_limit(stage: Stage) -> None:
    dialer = SilentDialer()
    front = await stage.front(dialer, limits=FrontLimits(dial_s=0.05))
    assert await (await stage.client(front)).socks("site.example", 443) == 6
    assert (await (await stage.client(front)).asks(CONNECT)).startswith(b"HTTP/1.1 504 ")
    assert dialer.cancelled.is_set()
    assert front.counters == {"timed_out": 2}


async def test_head_that_is_too_large(stage: Stage) -> None:
    front = await stage.front(FailingDialer(Reason.NO_PATH))
    client = await stage.client(front)
    client.send(b"GET http://a/ HTTP/1.1\r\nHost: a\r\nX: " + b"x" * 500_000)
    async with asyncio.timeout(LIMIT_S):
        page = await client.reader.read()
    assert page.startswith(b"HTTP/1.1 431 "), "and not a reset, which may take the answer back"


async def test_refused_client_that_does_not_hang_up_is_cut(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(intake_module, "LINGER_S", 0.05)
    front = await stage.front(FailingDialer(Reason.NO_PATH))
    client = await stage.client(front)
    assert await client.socks("site.example", 443) == 1
    await until(lambda: not front._seats.intakes)


async def test_early_bytes_are_not_read_without_end_during_the_dial(stage: Stage) -> None:
    front = await stage.front(SilentDialer())
    client = await stage.client(front)
    client.send(CONNECT)
    client.send(bytes(1 << 24))
    await asyncio.sleep(0.3)
    (intake,) = front._seats.intakes
    assert 0 < intake._taken_bytes <= 2 * FrontLimits().head_bytes
    assert client.writer.transport.get_write_buffer_size() > 1 << 22, "the client must be held back"
    client.writer.transport.abort()


@pytest.mark.parametrize("stopped", [False, True])
async def test_client_that_does_not_read_the_rest_is_cut(
    stage: Stage, monkeypatch: pytest.MonkeyPatch, *, stopped: bool
) -> None:
    class Memory(LoopbackDialer):
        async def dial(self, request: FlowRequest, *, early: bool) -> Flow:
            return flow

    flow = MemoryFlow()
    monkeypatch.setattr(seats_module, "FLUSH_S", 60 if stopped else 0.05)
    front = await stage.front(Memory())
    client = await stage.client(front)
    assert await client.socks("site.example", 443) == 0
    await until(lambda: flow.listener is not None)
    assert flow.listener is not None
    flow.listener.flow_data(bytes(1 << 24))
    flow.listener.flow_closed(Reason.DONE)
    assert (front.open_flows, front._seats.flushing) == (0, 1)
    if stopped:
        await front.stop()
    await until(lambda: not front._seats.flushing)
    assert len(await client.read_all()) < 1 << 24


async def test_silent_connections_do_not_lock_out_the_next_request(stage: Stage) -> None:
    site = await stage.site()
    front = await stage.front(LoopbackDialer(site.port), limits=FrontLimits(connections=50))
    async with AsyncExitStack() as stack:
        for number in range(300):
            client = await stack.enter_async_context(connect(front))
            client.send(b"G" if number % 2 else b"\x05")
        await until(lambda: front.counters["full"] == 250)
        assert len(front._seats.intakes) == 50
        assert await (await stage.client(front)).socks("site.example", 443) == 0


async def test_flood_of_silent_connections_costs_little_memory(stage: Stage) -> None:
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    count = min(1000, (soft - 100) // 2)
    front = await stage.front(FailingDialer(Reason.NO_PATH), limits=FrontLimits(connections=count))
    async with AsyncExitStack() as stack:
        clients = []
        gc.collect()
        for _ in range(count):
            clients.append(await stack.enter_async_context(connect(front)))
        await until(lambda: len(front._seats.intakes) == count)
        tracemalloc.start()
        try:
            for client in clients:
                client.send(b"G")
            await until(lambda: all(intake._taken_bytes for intake in front._seats.intakes))
            assert tracemalloc.get_traced_memory()[0] < count * 4_000
        finally:
            tracemalloc.stop()
        assert (await (await stage.client(front)).asks(CONNECT)).startswith(b"HTTP/1.1 503 ")
    await until(lambda: not front._seats.intakes)


async def test_a_thousand_connections_a_second(stage: Stage) -> None:
    front = await stage.front(FailingDialer(Reason.NO_PATH))

    async def visits(count: int) -> None:
        for _ in range(count):
            async with connect(front) as client:
                assert await client.socks("site.example", 443) == 1

    began = time.process_time()
    async with asyncio.TaskGroup() as group:
        for _ in range(20):
            group.create_task(visits(50))
    each_s = (time.process_time() - began) / 1000
    assert each_s < 0.003, f"{each_s * 1e6:.0f} µs for client and front together"


async def survives(front: Front) -> None:
    """The next good request is answered."""
    async with connect(front) as client:
        assert (await client.asks(CONNECT)).startswith(b"HTTP/1.1 503 ")


async def test_cut_at_every_byte(stage: Stage) -> None:
    front = await stage.front(FailingDialer(Reason.NO_PATH))
    socks = b"\x05\x02\x00\x02" + b"\x01\x01u\x01p" + b"\x05\x01\x00" + by_name("site.example", 443)
    plain = b"POST http://a/ HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\n"
    for words in (socks, CONNECT, plain):
        for end in range(len(words)):
            async with connect(front) as client:
                client.send(words[:end])
                client.writer.write_eof()
                assert len(await client.read_all()) <= 4
    await survives(front)
    assert set(front.counters) == {"gone", "no_path"}


async def test_garbage(stage: Stage) -> None:
    front = await stage.front(FailingDialer(Reason.NO_PATH), limits=FrontLimits(handshake_s=0.05))
    chance = random.Random(1)

    async def throw(data: bytes) -> None:
        async with connect(front) as client:
            await client.asks(data)

    for number in range(256):
        await throw(bytes([number]) + chance.randbytes(chance.randrange(200)))
    for first in (b"\x05", b"\x05\x01\x00", b"\x05\x01\x00\x05\x01\x00", b"G", b"CONNECT "):
        for _ in range(10):
            await throw(first + chance.randbytes(chance.randrange(40)))
    await throw(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03")
    await throw(b"\x04\x01\x00P\x7f\x00\x00\x01\x00")
    await survives(front)


@given(data=st.binary(max_size=200))
@settings(max_examples=40, deadline=None)
def test_any_bytes_leave_the_port_working(data: bytes) -> None:
    async def run() -> None:
        async with Stage() as stage:
            front = await stage.front(FailingDialer(Reason.NO_PATH), limits=FrontLimits(handshake_s=0.1))
            await (await stage.client(front)).asks(data)
            await survives(front)

    asyncio.run(run())
