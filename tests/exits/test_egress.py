"""Flows that leave: real connections on loopback, which is opened for them."""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import socket
import struct
from typing import TYPE_CHECKING, Any

import pytest

from core.errors import ConfigError, Reason
from exits.limits import EgressLimits
from tests.exits.fakes import (
    LIMIT_S,
    WINDOW_BYTES,
    FakeFlow,
    FixedResolver,
    Origin,
    SilentListener,
    open_sockets_to,
)
from tests.exits.stage import NAME, connect, outcome, wait_idle

if TYPE_CHECKING:
    from exits.resolver import Resolver
    from tests.exits.stage import MakeEgress

FIVE_MB = os.urandom(5_000_000)


@pytest.mark.parametrize("host", ["127.0.0.1", "::ffff:127.0.0.1", "::ffff:7f00:1", NAME, "WWW.Example.ORG."])
async def test_there_and_back(make_egress: MakeEgress, host: str) -> None:
    egress = make_egress()
    async with Origin() as origin:
        flow = await connect(egress, host, origin.port)
        assert egress.open_flows == 1
        await flow.send(b"hello")
        assert await flow.wait_received(5) == b"hello"
        assert flow.used_credit == 0
        flow.client_finish()
        assert await flow.wait_closed() is Reason.DONE
        await wait_idle(egress)
    assert egress.counters == {"done": 1}


async def test_five_megabytes_both_ways_at_once(make_egress: MakeEgress) -> None:
    egress = make_egress()
    async with Origin() as origin:
        flow = await connect(egress, "127.0.0.1", origin.port)
        await flow.send(FIVE_MB)
        flow.client_finish()
        assert await flow.wait_received(len(FIVE_MB)) == FIVE_MB
        assert await flow.wait_closed() is Reason.DONE
        assert flow.used_credit == 0


async def test_destination_that_is_slow_holds_the_client_back(make_egress: MakeEgress) -> None:
    go_on = asyncio.Event()
    received = bytearray()

    async def slow(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await go_on.wait()
        while data := await reader.read(65536):
            received.extend(data)

    egress = make_egress()
    async with Origin(slow) as origin:
        flow = await connect(egress, "127.0.0.1", origin.port)
        sending = asyncio.create_task(flow.send(FIVE_MB * 4))
        async with asyncio.timeout(5):
            while flow.used_credit < WINDOW_BYTES:  # noqa: ASYNC110
                await asyncio.sleep(0.001)
        assert not sending.done()
        go_on.set()
        await sending
        flow.client_finish()
        assert await flow.wait_closed() is Reason.DONE
        assert received == FIVE_MB * 4
        assert flow.used_credit == 0


async def test_client_that_is_slow_holds_the_destination_back(make_egress: MakeEgress) -> None:
    async def pour(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(FIVE_MB)
        await writer.drain()

    egress = make_egress()
    async with Origin(pour) as origin:
        flow = FakeFlow()
        flow.reading = False
        egress.flow_requested(flow, "127.0.0.1", origin.port)
        received = await flow.wait_received(WINDOW_BYTES)
        assert len(received) < 3 * WINDOW_BYTES
        flow.read_again()
        assert await flow.wait_received(len(FIVE_MB)) == FIVE_MB
        await flow.wait_eof()
        flow.client_finish()
        assert await flow.wait_closed() is Reason.DONE


async def test_client_finishes_first(make_egress: MakeEgress) -> None:
    async def answer_after_the_end(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        question = await reader.read()
        writer.write(b"answer to " + question)

    egress = make_egress()
    async with Origin(answer_after_the_end) as origin:
        flow = await connect(egress, "127.0.0.1", origin.port)
        await flow.send(b"question")
        flow.client_finish()
        await flow.wait_eof()
        assert flow.received == b"answer to question"
        assert await flow.wait_closed() is Reason.DONE


async def test_destination_finishes_first(make_egress: MakeEgress) -> None:
    received = asyncio.get_running_loop().create_future()

    async def greet_and_listen(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"greeting")
        writer.write_eof()
        received.set_result(await reader.read())

    egress = make_egress()
    async with Origin(greet_and_listen) as origin:
        flow = await connect(egress, "127.0.0.1", origin.port)
        await flow.wait_eof()
        assert flow.received == b"greeting"
        assert not flow.closed.done()
        await flow.send(b"late ")
        await flow.send(b"words")
        flow.client_finish()
        assert await received == b"late words"
        assert await flow.wait_closed() is Reason.DONE


async def test_client_sends_before_it_is_accepted(make_egress: MakeEgress) -> None:
    egress = make_egress()
    async with Origin() as origin:
        flow = FakeFlow()
        egress.flow_requested(flow, "127.0.0.1", origin.port)
        await flow.send(b"early")
        flow.client_finish()
        assert await flow.wait_closed() is Reason.DONE
        assert flow.received == b"early"


async def test_destination_resets(make_egress: MakeEgress) -> None:
    async def slam(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readexactly(1)
        writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        writer.transport.abort()

    egress = make_egress()
    async with Origin(slam) as origin:
        flow = await connect(egress, "127.0.0.1", origin.port)
        await flow.send(b"x")
        assert await flow.wait_closed() is Reason.RESET
        await wait_idle(egress)
    assert egress.counters == {"reset": 1}


async def test_destination_resets_at_once(make_egress: MakeEgress) -> None:
    async def slam(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        writer.transport.abort()

    egress = make_egress()
    async with Origin(slam) as origin:
        for _ in range(50):
            flow = FakeFlow()
            egress.flow_requested(flow, "127.0.0.1", origin.port)
            assert await flow.wait_closed() is Reason.RESET
        await wait_idle(egress)


async def test_connection_that_is_lost_before_it_is_joined(
    make_egress: MakeEgress, monkeypatch: pytest.MonkeyPatch
) -> None:
    loop = asyncio.get_running_loop()
    create_connection = loop.create_connection

    async def create_and_lose(*args: Any, **options: Any) -> Any:
        transport, protocol = await create_connection(*args, **options)
        transport.abort()
        for _ in range(3):
            await asyncio.sleep(0)
        return transport, protocol

    monkeypatch.setattr(loop, "create_connection", create_and_lose)
    egress = make_egress()
    async with Origin() as origin:
        assert await outcome(egress, "127.0.0.1", origin.port) is Reason.RESET
        assert egress.open_flows == 0


async def test_destination_that_finishes_before_it_is_joined(
    make_egress: MakeEgress, monkeypatch: pytest.MonkeyPatch
) -> None:
    loop = asyncio.get_running_loop()
    create_connection = loop.create_connection
    finished = asyncio.Event()
    heard: asyncio.Future[bytes] = loop.create_future()

    async def finish_at_once(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write_eof()
        finished.set()
        heard.set_result(await reader.read())

    async def create_late(*args: Any, **options: Any) -> Any:
        made = await create_connection(*args, **options)
        await finished.wait()
        for _ in range(5):
            await asyncio.sleep(0)
        return made

    monkeypatch.setattr(loop, "create_connection", create_late)
    egress = make_egress()
    async with Origin(finish_at_once) as origin:
        flow = await connect(egress, "127.0.0.1", origin.port)
        await flow.wait_eof()
        await flow.send(b"late words")
        flow.client_finish()
        assert await flow.wait_closed() is Reason.DONE
        await wait_idle(egress)
        assert await asyncio.wait_for(heard, LIMIT_S) == b"late words"


async def test_client_resets(make_egress: MakeEgress) -> None:
    ended = asyncio.Event()

    async def wait_for_end(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await reader.read()
        finally:
            ended.set()

    egress = make_egress()
    async with Origin(wait_for_end) as origin:
        flow = await connect(egress, "127.0.0.1", origin.port)
        flow.client_reset()
        await asyncio.wait_for(ended.wait(), 5)
        await wait_idle(egress)
    assert egress.counters == {"local": 1}


async def test_client_resets_before_the_connection(make_egress: MakeEgress) -> None:
    egress = make_egress()
    async with Origin() as origin:
        flow = FakeFlow()
        egress.flow_requested(flow, "127.0.0.1", origin.port)
        flow.client_reset()
        await wait_idle(egress)
        assert open_sockets_to(origin.port) == 0


async def test_destination_that_takes_no_more_is_closed_in_the_end(make_egress: MakeEgress) -> None:
    async def finish_and_stop_reading(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.transport.pause_reading()  # type: ignore[attr-defined]
        writer.write_eof()
        await asyncio.sleep(60)

    egress = make_egress(limits=EgressLimits(linger_s=0.2))
    async with Origin(finish_and_stop_reading) as origin:
        flow = await connect(egress, "127.0.0.1", origin.port)
        while flow.used_credit < WINDOW_BYTES:
            flow.send_within_credit(bytes(65536))
            await asyncio.sleep(0)
        flow.client_finish()
        assert await flow.wait_closed() is Reason.DONE
        assert egress.open_flows == 1
        await wait_idle(egress)


async def test_source_address_is_what_the_destination_sees(make_egress: MakeEgress) -> None:
    egress = make_egress(source_address="127.22.0.1")
    async with Origin() as origin:
        flow = await connect(egress, NAME, origin.port)
        await flow.send(b"x")
        await flow.wait_received(1)
        assert origin.clients == ["127.22.0.1"]


async def test_source_address_that_is_none(make_egress: MakeEgress) -> None:
    with pytest.raises(ConfigError, match="source address"):
        make_egress(source_address="eth0")


# -- limits and the end


async def test_too_many_flows(make_egress: MakeEgress) -> None:
    egress = make_egress(limits=EgressLimits(flows=2))
    async with Origin() as origin:
        flows = [await connect(egress, "127.0.0.1", origin.port) for _ in range(2)]
        assert await outcome(egress, "127.0.0.1", origin.port) is Reason.BUSY
        flows[0].client_reset()
        while egress.open_flows == 2:  # noqa: ASYNC110
            await asyncio.sleep(0)
        await connect(egress, "127.0.0.1", origin.port)
    assert egress.counters["busy"] == 1


async def test_too_many_connections_in_progress(make_egress: MakeEgress) -> None:
    egress = make_egress(limits=EgressLimits(connecting=2, setup_s=0.3))
    with SilentListener("127.0.0.1") as silent:
        waiting = [FakeFlow(), FakeFlow()]
        for flow in waiting:
            egress.flow_requested(flow, "127.0.0.1", silent.port)
        assert await outcome(egress, "127.0.0.1", silent.port) is Reason.BUSY
        assert [await flow.wait_closed() for flow in waiting] == [Reason.TIMED_OUT] * 2
    async with Origin() as origin:
        await connect(egress, "127.0.0.1", origin.port)


async def test_stop_ends_everything(make_egress: MakeEgress) -> None:
    egress = make_egress()
    with SilentListener("127.0.0.1") as silent:
        async with Origin() as origin:
            running = await connect(egress, "127.0.0.1", origin.port)
            connecting, not_started = FakeFlow(), FakeFlow()
            egress.flow_requested(connecting, "127.0.0.1", silent.port)
            await asyncio.sleep(0)
            egress.flow_requested(not_started, "127.0.0.1", silent.port)
            await egress.stop()
            assert egress.open_flows == 0
            assert open_sockets_to(origin.port) == 0
            for flow in (running, connecting, not_started):
                assert await flow.wait_closed() is Reason.CLOSED
            assert await outcome(egress, "127.0.0.1", origin.port) is Reason.CLOSED
    assert egress.counters == {"closed": 4}
    gc.collect()


@pytest.mark.parametrize("rounds", range(12))
async def test_stop_at_any_moment(make_egress: MakeEgress, rounds: int) -> None:
    egress = make_egress()
    async with Origin() as origin:
        flow = FakeFlow()
        egress.flow_requested(flow, NAME, origin.port)
        for _ in range(rounds):
            await asyncio.sleep(0)
        await egress.stop()
        assert await flow.wait_closed() is Reason.CLOSED
        assert egress.open_flows == 0
        assert open_sockets_to(origin.port) == 0
    gc.collect()


async def test_hundreds_at_once(make_egress: MakeEgress) -> None:
    egress = make_egress()
    async with Origin() as origin:

        async def one(number: int) -> None:
            flow = await connect(egress, NAME, origin.port)
            message = b"%d" % number * 100
            await flow.send(message)
            flow.client_finish()
            assert await flow.wait_closed() is Reason.DONE
            assert flow.received == message

        await asyncio.gather(*(one(number) for number in range(300)))
        await wait_idle(egress)
    assert egress.counters == {"done": 300}


async def test_no_log_line_names_a_destination(make_egress: MakeEgress, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    canary = "canary-7f3a.example.org"
    resolver: Resolver = FixedResolver("127.22.0.7")
    egress = make_egress(resolver=resolver, limits=EgressLimits(setup_s=0.2))
    async with await Origin().start("127.22.0.7") as origin:
        port = origin.port
        flow = await connect(egress, canary, port)
        flow.client_reset()
    await outcome(egress, canary, port)
    await outcome(egress, canary + "..", port)
    with SilentListener("127.22.0.7") as silent:
        await outcome(egress, canary, silent.port)
    for trace in ("canary", "127.22.0.7", str(port)):
        assert trace not in caplog.text
    assert not any("canary" in key or "127" in key for key in egress.counters)
