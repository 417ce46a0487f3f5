"""Flows of an exit with a limit, over real connections on loopback: every byte, in order, at the rate, to the end."""

from __future__ import annotations

import asyncio
import os
from typing import TYPE_CHECKING

import pytest

from core.errors import Reason
from exits.limits import EgressLimits
from exits.shaped_outlet import ShapedPump
from exits.shaping import Shaper
from tests.exits.fakes import FakeFlow, Origin
from tests.exits.stage import connect, wait_idle
from tests.harness.waiting import until

if TYPE_CHECKING:
    from exits.egress import Egress
    from tests.exits.stage import MakeEgress

DATA = os.urandom(200_000)
RATE = 400_000


def shaped(make_egress: MakeEgress, rate: float = RATE, **options: object) -> Egress:
    loop = asyncio.get_running_loop()
    return make_egress(shaper=Shaper(rate, loop.time, loop.call_later), **options)


async def test_both_ways_share_one_rate(make_egress: MakeEgress) -> None:
    egress = shaped(make_egress)
    loop = asyncio.get_running_loop()
    async with Origin() as origin:
        flow = await connect(egress, "127.0.0.1", origin.port)
        started = loop.time()
        async with asyncio.TaskGroup() as group:
            group.create_task(flow.send(DATA))
            received = group.create_task(flow.wait_received(len(DATA)))
        assert received.result() == DATA
        took = loop.time() - started
        assert took > 0.9 * 2 * len(DATA) / RATE
        flow.client_finish()
        assert await flow.wait_closed() is Reason.DONE
        await wait_idle(egress)
    assert egress.carried_bytes == (len(DATA), len(DATA))


async def test_what_the_destination_says_last_comes_before_its_end(make_egress: MakeEgress) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(DATA)
        writer.write_eof()
        await reader.read()

    egress = shaped(make_egress)
    async with Origin(serve) as origin:
        flow = await connect(egress, "127.0.0.1", origin.port)
        await flow.wait_eof()
        assert bytes(flow.received) == DATA
        flow.client_finish()
        assert await flow.wait_closed() is Reason.DONE
        await wait_idle(egress)


@pytest.mark.parametrize("close", [False, True], ids=["half", "both"])
async def test_what_the_client_says_last_comes_before_its_end(make_egress: MakeEgress, close: bool) -> None:
    """With `both`, the flow is over while most of its bytes still wait, for longer than the destination has time."""
    got = bytearray()
    ended = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if close:
            writer.write_eof()
        while data := await reader.read(65536):
            got.extend(data)
        ended.set()

    egress = shaped(make_egress, limits=EgressLimits(linger_s=0.2))
    async with Origin(serve) as origin:
        flow = await connect(egress, "127.0.0.1", origin.port)
        if close:
            await flow.wait_eof()
        assert flow.send_within_credit(DATA) == len(DATA)
        flow.client_finish()
        if close:
            assert await flow.wait_closed() is Reason.DONE
            assert len(got) < len(DATA) // 2
        await asyncio.wait_for(ended.wait(), 5)
        assert bytes(got) == DATA
        if not close:
            await flow.wait_closed()
        await wait_idle(egress)


async def test_a_destination_that_takes_nothing_is_cut_off_in_the_end(make_egress: MakeEgress) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write_eof()
        await asyncio.Event().wait()

    egress = shaped(make_egress, rate=100e6, limits=EgressLimits(linger_s=0.2))
    async with Origin(serve) as origin:
        flow = await connect(egress, "127.0.0.1", origin.port)
        await flow.wait_eof()
        while flow.used_credit < 100_000:  # until the sockets between have taken what they take
            flow.send_within_credit(DATA)
            await asyncio.sleep(0)
        flow.client_finish()
        await wait_idle(egress)


async def test_nothing_is_read_ahead_of_the_turn(make_egress: MakeEgress) -> None:
    """So a slow exit slows the destination down, and holds a piece or two of each flow."""
    egress = shaped(make_egress, rate=50_000)
    sent = 0

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal sent
        while True:
            writer.write(bytes(65536))
            await writer.drain()
            sent += 65536

    async with Origin(serve) as origin:
        flow = await connect(egress, "127.0.0.1", origin.port)
        await flow.wait_received(30_000)
        pump = next(iter(egress._pumps))
        assert isinstance(pump, ShapedPump)
        assert len(pump._back.held) <= 2 * 65536
        assert sent < 8_000_000  # what sockets on one machine take
        egress.end_flows(Reason.LIMIT)
        assert await flow.wait_closed() is Reason.LIMIT
        await wait_idle(egress)


async def test_a_flow_that_is_not_read_holds_up_no_other(make_egress: MakeEgress) -> None:
    egress = shaped(make_egress)
    async with Origin() as origin:
        stuck, good = await connect(egress, "127.0.0.1", origin.port), await connect(egress, "127.0.0.1", origin.port)
        stuck.reading = False
        async with asyncio.TaskGroup() as group:
            group.create_task(stuck.send(DATA))
            group.create_task(good.send(DATA))
            received = group.create_task(good.wait_received(len(DATA)))
        assert received.result() == DATA
        stuck.read_again()
        assert await stuck.wait_received(len(DATA)) == DATA


async def test_flows_that_end_while_they_wait_leave_nothing(make_egress: MakeEgress) -> None:
    egress = shaped(make_egress, rate=20_000)
    async with Origin() as origin:
        flows = [await connect(egress, "127.0.0.1", origin.port) for _ in range(20)]
        for flow in flows:
            flow.send_within_credit(DATA)
        await until(lambda: any(flow.received for flow in flows))
        for flow in flows[1:]:
            flow.client_reset()
        before = len(flows[0].received)
        await flows[0].wait_received(before + 10_000)  # nobody waits behind those who are gone
        flows[0].client_reset()
        await wait_idle(egress)


class Circuit:
    """What stands for a circuit."""


async def test_circuits_are_what_turns_go_round(make_egress: MakeEgress) -> None:
    egress = shaped(make_egress, rate=200_000)
    one, other = Circuit(), Circuit()

    async def opened(origin: Origin, circuit: object) -> FakeFlow:
        flow = FakeFlow(circuit)
        egress.flow_requested(flow, "127.0.0.1", origin.port)
        await flow.wait_accepted()
        return flow

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            writer.write(bytes(65536))
            await writer.drain()

    async with Origin(serve) as origin:
        many = [await opened(origin, other) for _ in range(9)]
        alone = await opened(origin, one)
        before = sum(len(flow.received) for flow in many)
        await alone.wait_received(150_000)
        others = sum(len(flow.received) for flow in many) - before
        assert others == pytest.approx(150_000, rel=0.2)
        egress.end_flows(Reason.LIMIT)
