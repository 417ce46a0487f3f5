"""Whole networks over real engines: real UDP on loopback, nothing replaced."""

from __future__ import annotations

import asyncio
import secrets
from typing import TYPE_CHECKING

import pytest

from core.errors import FlowError, Reason
from core.flow import FlowRequest
from tests.harness.bare import check_alive, counts
from tests.harness.network import Collect, Network, chain, far_apart, three_hops
from tests.harness.waiting import until
from tunnel.engines.aiopquic import AiopquicEngine
from tunnel.limits import FLOW_WINDOW, PING_EVERY_S, SUSPECT_S

if TYPE_CHECKING:
    from core.flow import Buffer, IncomingDatagrams, IncomingFlow
    from tunnel.client_flow import ClientFlow
    from tunnel.service import Tunnel

ECHO = FlowRequest("echo.example", 80)
MB = 1_000_000


class Source:
    """An acceptor that answers every flow with `size` bytes, as fast as it is let."""

    def __init__(self, size: int) -> None:
        self.size = size
        self.flows: list[Sending] = []

    def datagrams_requested(self, flow: IncomingDatagrams) -> None:
        flow.close(Reason.NOT_ALLOWED)

    def flow_requested(self, flow: IncomingFlow, host: str, port: int) -> None:
        flow.accept()
        self.flows.append(Sending(flow, self.size))


class Sending:
    """One flow of a `Source`."""

    def __init__(self, flow: IncomingFlow, left: int) -> None:
        self.flow = flow
        self.left = left
        self.reason: Reason | None = None
        flow.attach(self)
        self.flow_writable()

    def flow_writable(self) -> None:
        while self.left:
            piece = bytes(min(self.left, 60_000))
            self.left -= len(piece)
            if not self.flow.write(piece):
                return
        self.flow.finish()

    def flow_data(self, data: Buffer) -> None:
        self.flow.consumed(len(data))

    def flow_eof(self) -> None: ...

    def flow_closed(self, reason: Reason) -> None:
        self.reason = reason


class Count:
    """A listener that counts bytes, and returns credit if it is hungry."""

    def __init__(self, flow: ClientFlow, *, hungry: bool = True) -> None:
        self.flow = flow
        self.hungry = hungry
        self.bytes = 0
        self.eof = False
        self.reason: Reason | None = None
        flow.attach(self)

    def flow_data(self, data: Buffer) -> None:
        self.bytes += len(data)
        if self.hungry:
            self.flow.consumed(len(data))

    def flow_eof(self) -> None:
        self.eof = True
        self.flow.finish()

    def flow_writable(self) -> None: ...

    def flow_closed(self, reason: Reason) -> None:
        self.reason = reason


async def talk(client: Tunnel) -> tuple[ClientFlow, Collect]:
    flow = await client.pool.dial(ECHO)
    heard = Collect(flow)
    flow.attach(heard)
    return flow, heard


def hang(node: Tunnel) -> None:
    """Let a node's event loop go deaf, while its network thread lives on."""
    assert isinstance(node.engine, AiopquicEngine)
    assert node.engine._quic is not None
    asyncio.get_running_loop().remove_reader(node.engine._quic.eventfd)


async def test_exact_bytes_both_ways() -> None:
    async with three_hops() as (_, client, echo):
        flow, heard = await talk(client)
        sent = secrets.token_bytes(5 * MB)
        flow.write(sent)
        flow.finish()
        await until(lambda: heard.reason is not None, 10)
        assert heard.reason is Reason.DONE
        assert heard.data == echo.listeners[0].data == sent


@pytest.mark.parametrize("hops", [1, 2, 4, 5])
async def test_other_numbers_of_hops(hops: int) -> None:
    async with chain(hops) as (network, client, echo):
        await check_alive(client)
        assert echo.asked == [("echo.example", 80)]
        await until(lambda: [node.relay.circuit_count for node in network.nodes[:-1]] == [3] * hops)


async def first_byte_s(client: Tunnel, *, early: bool) -> float:
    """How long a client waits for the first byte of an answer."""
    loop = asyncio.get_running_loop()
    start = loop.time()
    flow = await client.pool.dial(ECHO, early=early)
    heard = Collect(flow)
    flow.attach(heard)
    flow.write(b"request")
    await until(lambda: heard.data)
    return loop.time() - start


async def test_the_first_byte_takes_one_trip_of_the_chain() -> None:
    async with far_apart() as (client, trip_s):
        assert trip_s <= await first_byte_s(client, early=True) < 1.7 * trip_s


async def test_whoever_waits_for_the_exit_waits_for_two() -> None:
    async with far_apart() as (client, trip_s):
        assert await first_byte_s(client, early=False) >= 2 * trip_s


async def test_an_answer_after_the_half_close() -> None:
    async with three_hops() as (_, client, echo):
        flow = await client.pool.dial(FlowRequest("sink.example", 80))
        heard = Collect(flow)
        flow.attach(heard)
        flow.write(b"request")
        flow.finish()
        await until(lambda: echo.listeners[0].eof)
        exit_flow = echo.listeners[0].flow
        assert exit_flow is not None
        exit_flow.write(b"answer")
        exit_flow.finish()
        await until(lambda: heard.reason is not None)
        assert (bytes(heard.data), heard.eof, heard.reason) == (b"answer", True, Reason.DONE)


async def test_a_refused_destination_and_a_reset() -> None:
    async with three_hops() as (_, client, echo):
        with pytest.raises(FlowError) as caught:
            await client.pool.dial(FlowRequest("refused.example", 80))
        assert caught.value.reason is Reason.REFUSED
        _, heard = await talk(client)
        exit_flow = echo.listeners[-1].flow
        assert exit_flow is not None
        exit_flow.reset(Reason.RESET)
        await until(lambda: heard.reason is Reason.RESET)
        flow, _ = await talk(client)
        flow.reset(Reason.LOCAL)
        await until(lambda: echo.listeners[-1].reason is Reason.LOCAL)
        await check_alive(client)


async def test_a_destination_that_never_answers_does_not_hold_up_the_others() -> None:
    async with three_hops() as (_, client, echo):
        waiting = asyncio.ensure_future(client.pool.dial(FlowRequest("silent.example", 80)))
        await until(lambda: echo.asked)
        await check_alive(client)
        assert not waiting.done()
        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)


async def refused_in_time(client: Tunnel) -> None:
    loop = asyncio.get_running_loop()
    start = loop.time()
    with pytest.raises(FlowError):
        await client.pool.dial(ECHO)
    assert loop.time() - start <= 3.0


@pytest.mark.usefixtures("impatient")
async def test_without_its_relay_all_is_refused() -> None:
    async with three_hops() as (network, client, _):
        _, heard = await talk(client)
        await network.nodes[1].close()
        await until(lambda: heard.reason is Reason.CLOSED, 10)
        await refused_in_time(client)


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize("place", [0, 2])
async def test_a_hop_that_hangs_is_found_out(place: int) -> None:
    async with three_hops() as (network, client, _):
        _, heard = await talk(client)
        hang(network.nodes[place])
        await until(lambda: heard.reason is Reason.CLOSED, PING_EVERY_S + 2 * SUSPECT_S + 1)
        assert client.pool.counters["circuit timed_out"] >= 1


async def test_another_relay_takes_over() -> None:
    async with three_hops() as (network, client, _):
        await network.add()
        network.paths.append([0, 3, 2])
        flow, heard = await talk(client)
        await network.nodes[1].close()
        flow.write(b" and more")
        await until(lambda: heard.data.endswith(b" and more"))
        await until(lambda: {circuit.path[1].peer for circuit in client.pool.circuits} == {network.keys[3]}, 15)
        await check_alive(client)


async def test_hop_and_isolation() -> None:
    async with three_hops() as (_, client, _):
        flow, heard = await talk(client)
        other = await client.pool.dial(FlowRequest("echo.example", 80, "other"))
        (first,) = {circuit for circuit in client.pool.circuits if flow in circuit.flows}
        assert other not in first.flows
        client.pool.hop()
        await until(lambda: client.pool.ready, 10)
        again, _ = await talk(client)
        assert again not in first.flows
        flow.write(b"still there")
        await until(lambda: heard.data == b"still there")
        flow.finish()
        await until(lambda: first.over)


async def test_eight_flows_get_equal_shares() -> None:
    source = Source(40 * MB)
    network = Network()
    try:
        await network.add()
        await network.add()
        await network.add(source)
        network.paths = [[0, 1, 2]]
        client = network.client()
        await client.start(0, client=True)
        await until(lambda: client.pool.ready, 15)
        flows = [await client.pool.dial(ECHO) for _ in range(8)]
        counted = [Count(flow) for flow in flows]
        await until(lambda: any(one.eof for one in counted), 40)
        # On a busy machine the windows grow one after the other, which makes the shares uneven at first.
        assert min(one.bytes for one in counted) > 40 * MB / 3
        await until(lambda: all(one.reason is Reason.DONE for one in counted), 40)
        assert {one.bytes for one in counted} == {40 * MB}
    finally:
        await network.close()


@pytest.mark.usefixtures("first_windows")
async def test_a_reader_that_never_reads_holds_up_only_itself() -> None:
    source = Source(8 * MB)
    network = Network()
    try:
        for acceptor in (None, None, source):
            await network.add(acceptor)
        network.paths = [[0, 1, 2]]
        client = network.client()
        await client.start(0, client=True)
        await until(lambda: client.pool.ready, 15)
        stuck = Count(await client.pool.dial(ECHO), hungry=False)
        await until(lambda: stuck.bytes == FLOW_WINDOW)
        for _ in range(2):
            flow = await client.pool.dial(ECHO)
            assert {*client.pool.circuits[0].flows} >= {flow, stuck.flow}
            good = Count(flow)
            await until(lambda good=good: good.reason is not None, 15)  # type: ignore[misc]
            assert (good.bytes, good.reason) == (8 * MB, Reason.DONE)
        assert stuck.bytes == FLOW_WINDOW
        assert source.flows[0].left > 8 * MB - FLOW_WINDOW - 200_000
        queues = [stream.queued for node in network.nodes for link in node.links for stream in link._streams.values()]
        assert sum(queues) == 0
        stuck.hungry = True
        stuck.flow.consumed(FLOW_WINDOW)
        await until(lambda: stuck.reason is Reason.DONE, 15)
        assert stuck.bytes == 8 * MB
    finally:
        await network.close()


async def test_nothing_leaks() -> None:
    async with three_hops() as (network, client, _):
        await check_alive(client)
        await until(lambda: len(client.pool.circuits) == 3)
        await asyncio.gather(*(circuit.pulse.proof() for circuit in client.pool.circuits))
        before, tasks = counts(network), len(asyncio.all_tasks())
        for _ in range(3):
            await asyncio.gather(*(check_alive(client) for _ in range(30)))
        flows = [await client.pool.dial(ECHO) for _ in range(20)]
        for flow in flows:
            flow.reset(Reason.LOCAL)
        await until(lambda: counts(network) == before)
        await until(lambda: len(asyncio.all_tasks()) <= tasks)


async def test_flows_that_open_together_may_overtake_each_other() -> None:
    """Each has a stream of its own; none may be refused because a neighbour arrived first."""
    async with three_hops() as (network, client, echo):
        for _ in range(5):
            flows = await asyncio.gather(*(client.pool.dial(ECHO) for _ in range(100)))
            for flow in flows:
                flow.reset(Reason.LOCAL)
        assert len(echo.asked) == 500
        assert not any(link.counters for node in network.nodes for link in node.links)
