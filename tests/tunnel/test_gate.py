"""A hop whose operator has set a limit: what waits, in which order, what never does, and what is counted."""

from __future__ import annotations

from contextlib import asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING, cast

import pytest

from core.errors import Reason
from core.flow import FlowRequest
from tests.harness.barrier import Barrier
from tests.harness.network import Collect, Network, chain
from tests.harness.waiting import turns, until
from tests.harness.wire import Board, WireEngine
from tunnel import queues
from tunnel.gate import Line, Order
from tunnel.limits import APART_BYTES

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.harness.network import Echo
    from tunnel.circuit import Circuit
    from tunnel.link_stream import LinkStream
    from tunnel.queues import CircuitQueue
    from tunnel.service import Tunnel

ECHO = FlowRequest("echo.example", 80)


@asynccontextmanager
async def gated(count: int = 2) -> AsyncIterator[tuple[Network, Tunnel, Echo, Barrier]]:
    """A chain in memory whose guard has a barrier."""
    barrier = Barrier()
    async with chain(count, Board().engine) as (network, client, echo):
        network.nodes[0].relay.gate = barrier
        old = set(client.pool.circuits)
        client.pool.hop()
        await until(lambda: client.pool.ready == 2 and not old & set(client.pool.circuits))
        await until(lambda: all(circuit.rtt_s is not None for circuit in client.pool.circuits))
        yield network, client, echo, barrier


async def opened(client: Tunnel, *, hungry: bool = True) -> Collect:
    flow = await client.pool.dial(ECHO)
    listener = Collect(flow, hungry=hungry)
    flow.attach(listener)
    return listener


def heard(listener: Collect, data: bytes) -> bool:
    return bytes(listener.data) == data


async def test_what_waits_goes_in_order_and_the_end_comes_last() -> None:
    data = bytes(range(256)) * 800
    async with gated() as (_, client, _echo, barrier):
        listener = await opened(client)
        assert listener.flow is not None
        barrier.open = False
        listener.flow.write(data)
        listener.flow.finish()
        await until(lambda: barrier.waiting)
        assert not listener.data
        while listener.reason is None:
            await until(lambda: barrier.waiting or listener.reason is not None)
            if barrier.waiting:
                barrier.let_one_go()
        assert listener.reason is Reason.DONE
        assert bytes(listener.data) == data
        assert barrier.passed > 2 * len(data)


async def test_pings_and_credit_never_wait() -> None:
    async with gated() as (network, client, _, barrier):
        listener = await opened(client)
        barrier.open = False
        before, counters = barrier.urgent, dict(network.nodes[0].relay.counters)
        circuits = set(client.pool.circuits)
        assert listener.flow is not None
        listener.flow.write(b"waits")
        await until(lambda: barrier.urgent > before + 500, 10)  # several pings of circuits that carry flows
        assert circuits <= set(client.pool.circuits)
        assert network.nodes[0].relay.counters == counters
        barrier.let_all_go()
        await until(lambda: listener.data == b"waits")


async def test_what_goes_one_way_does_not_wait_for_what_goes_the_other_way() -> None:
    """Else credit of flows would wait behind all that it gives leave for."""
    async with gated() as (_, client, echo, barrier):
        listener = await opened(client)
        assert listener.flow is not None
        listener.flow.write(b"begin")
        await until(lambda: listener.data)
        barrier.open = False
        listener.flow.write(bytes(60_000))
        await until(lambda: barrier.waiting == 1)
        source = echo.listeners[0].flow
        assert source is not None
        source.write(b" and more")
        await until(lambda: barrier.waiting == 2)
        barrier.let_last_wait_first()
        barrier.let_one_go()
        await until(lambda: listener.data == b"begin and more")
        assert barrier.waiting


async def test_too_many_pings_wait_like_everything_else() -> None:
    async with gated() as (_, client, _echo, barrier):
        await opened(client)
        barrier.urgent_passes = barrier.open = False
        await until(lambda: barrier.waiting)
        barrier.urgent_passes = True
        barrier.let_all_go()
        listener = await opened(client)
        assert listener.flow is not None
        listener.flow.write(b"after")
        await until(lambda: listener.data == b"after")


async def test_datagrams_are_dropped() -> None:
    async with gated() as (network, client, echo, barrier):
        association = await client.pool.dial_datagrams()
        await until(lambda: echo.associations)
        barrier.datagrams_pass = False
        association.send("192.0.2.1", 53, b"lost")
        await until(lambda: network.nodes[0].relay.counters["datagram over the limit"] == 1)
        barrier.datagrams_pass = True
        association.send("192.0.2.1", 53, b"comes")
        await until(lambda: echo.associations[0].datagrams == [("192.0.2.1", 53, b"comes")])


async def test_shares_are_circuits() -> None:
    async with gated() as (_, client, _echo, barrier):
        barrier.shares.clear()
        for isolation in ("one", "one", "other"):
            flow = await client.pool.dial(FlowRequest("echo.example", 80, isolation))
            listener = Collect(flow)
            flow.attach(listener)
            flow.write(b"x")
            await until(partial(heard, listener, b"x"))
        assert len(barrier.shares) == 2


@pytest.mark.parametrize("bound", ["CIRCUIT_QUEUE", "RELAY_BYTES"])
async def test_what_waits_for_its_turn_is_bounded(bound: str, monkeypatch: pytest.MonkeyPatch) -> None:
    async with gated() as (network, client, _, barrier):
        monkeypatch.setattr(queues, bound, 600_000)
        monkeypatch.setattr(queues, "QUEUE_STEP", 50_000)
        relay = network.nodes[0].relay
        listeners = [await opened(client) for _ in range(30)]
        barrier.open = False
        for listener in listeners:
            assert listener.flow is not None
            listener.flow.write(bytes(60_000))
        await until(lambda: relay.counters["over budget"] == 1)
        await turns()
        assert relay.queues.held_bytes < 100_000
        barrier.let_all_go()
        await until(lambda: not relay.queues.held_bytes)


async def test_a_circuit_that_ends_leaves_nothing_waiting() -> None:
    async with gated() as (network, client, _, barrier):
        listener = await opened(client)
        barrier.open = False
        assert listener.flow is not None
        listener.flow.write(bytes(60_000))
        await until(lambda: barrier.waiting)
        assert network.nodes[0].relay.queues.held_bytes
        network.nodes[0].relay.end_circuits(Reason.LIMIT)
        assert not network.nodes[0].relay.queues.held_bytes
        passed = barrier.passed
        barrier.let_all_go()
        assert barrier.passed == passed


async def test_what_is_forwarded_is_counted() -> None:
    async with gated() as (network, client, _, _barrier):
        relay = network.nodes[0].relay
        before = relay.forwarded_bytes
        listener = await opened(client)
        assert listener.flow is not None
        listener.flow.write(bytes(50_000))
        await until(lambda: len(listener.data) == 50_000)
        after = relay.forwarded_bytes
        relay.end_circuits(Reason.LIMIT)
        assert all(50_000 <= late - early < 60_000 for late, early in zip(after, before, strict=True))
        assert all(late >= early for late, early in zip(relay.forwarded_bytes, after, strict=True))


async def test_what_waits_is_not_counted_yet() -> None:
    async with gated() as (network, client, _, barrier):
        relay = network.nodes[0].relay
        listener = await opened(client)
        barrier.open = False
        before = relay.forwarded_bytes
        assert listener.flow is not None
        listener.flow.write(bytes(50_000))
        await until(lambda: relay.queues.held_bytes > 50_000)
        assert all(late - early < 5_000 for late, early in zip(relay.forwarded_bytes, before, strict=True))
        barrier.let_all_go()
        await until(lambda: len(listener.data) == 50_000)
        assert all(late - early >= 50_000 for late, early in zip(relay.forwarded_bytes, before, strict=True))


# -- flows that are cancelled


def streams_at(node: Tunnel) -> int:
    """Streams of all links of a node that are not over in both directions."""
    return sum(link.stream_count for link in node.links)


def carrying(client: Tunnel) -> Circuit:
    return max(client.pool.circuits, key=lambda circuit: len(circuit.flows))


@pytest.mark.parametrize("limited", [False, True])
async def test_a_cancelled_flow_takes_no_credit_from_its_circuit(limited: bool) -> None:
    """What is under way to it still arrives, so that both ends of the circuit count the same."""
    async with gated() as (network, client, echo, barrier):
        listener = await opened(client, hungry=False)
        assert listener.flow is not None
        listener.flow.write(b"begin")
        await until(lambda: listener.data)
        listener.hungry = True
        listener.flow.consumed(len(listener.data))
        source = echo.listeners[0].flow
        assert source is not None
        streams = [streams_at(node) for node in network.nodes]
        source.write(bytes(APART_BYTES + 100_000))
        await until(lambda: len(listener.data) >= APART_BYTES + 100_000)
        assert [streams_at(node) for node in network.nodes] == [streams[0] + 2, streams[1] + 1, streams[2] + 1]
        circuit = carrying(client)
        terminal = next(
            held.terminal
            for circuits in network.nodes[1].relay._circuits.values()
            for held in circuits.values()
            if held.terminal is not None and held.terminal.flow_count
        )
        for node in network.nodes:
            assert isinstance(node.engine, WireEngine)
            for connection in node.engine.connections:
                connection.delay_s = 0.05
        barrier.open = not limited
        listener.hungry = False
        source.write(bytes(300_000))
        sent = terminal.credit._sent
        assert sent > circuit.credit._window.received
        listener.flow.reset(Reason.LOCAL)
        await until(lambda: terminal.flow_count == 0 or barrier.waiting)
        barrier.let_all_go()
        await until(lambda: terminal.flow_count == 0)
        await until(lambda: circuit.credit._window.received == terminal.credit._sent)
        await until(lambda: [streams_at(node) for node in network.nodes] == streams)


class Held:
    """A circuit's count of bytes that wait."""

    def __init__(self) -> None:
        self.held = 0

    def holds(self, count: int) -> None:
        self.held += count


class Sent:
    """A stream that takes everything."""

    def __init__(self) -> None:
        self.records: list[bytearray] = []

    def send(self, record: bytearray) -> bool:
        self.records.append(record)
        return True


def test_what_waits_for_cut_flows_is_skipped_and_does_not_pile_up() -> None:
    barrier, queue, sent = Barrier(), Held(), Sent()
    barrier.open = False
    order = Order(barrier, "circuit", cast("CircuitQueue", queue))

    def line() -> Line:
        return Line(order, cast("LinkStream", sent), cast("CircuitQueue", queue), lambda: None, lambda size: None)

    kept = line()
    for number in range(1, 51):
        kept.send(bytearray([number] * 3))
        for _ in range(20):
            cut = line()
            cut.send(bytearray(3))
            cut.send(bytearray(5))
            cut.clear()
    assert queue.held == 50 * 3
    assert len(order._waiting) < 3 * 50, "what was cut is let go of"
    barrier.let_all_go()
    assert [record[0] for record in sent.records] == list(range(1, 51))
    assert queue.held == 0


def test_the_piece_that_was_asked_for_is_cut_and_another_size_follows() -> None:
    barrier, queue, sent = Barrier(), Held(), Sent()
    barrier.open = False
    order = Order(barrier, "circuit", cast("CircuitQueue", queue))
    first, second = (
        Line(order, cast("LinkStream", sent), cast("CircuitQueue", queue), lambda: None, lambda size: None)
        for _ in range(2)
    )
    first.send(bytearray(9))
    second.send(bytearray(4))
    first.clear()
    barrier.let_one_go()
    assert barrier.passed == 0, "nothing of that size waits any more"
    assert not sent.records
    barrier.let_one_go()
    assert [len(record) for record in sent.records] == [4]
