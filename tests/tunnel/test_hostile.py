"""Hostile peers against nodes with real engines: whatever they do, the node lives and a good dial works."""

from __future__ import annotations

import asyncio
import os
import secrets
import time
from typing import TYPE_CHECKING

import pytest

from core.errors import FlowError, LinkError, Reason
from core.flow import FlowRequest
from tests.harness.bare import bare, check_alive, counts, linked_to, path_of
from tests.harness.linked import Owner, Receiver, record
from tests.harness.network import Collect, three_hops
from tests.harness.waiting import until
from tunnel.creation import Creation
from tunnel.engines import load_engine
from tunnel.layers import Layers
from tunnel.limits import FLOW_WINDOW

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.harness.network import Network
    from tunnel.engines.seam import Connection

ECHO = FlowRequest("echo.example", 80)


class Wild:
    """A connection's owner that keeps to no protocol."""

    def __init__(self) -> None:
        self.closed = False
        self.received = bytearray()

    def stream_received(self, stream: int, data: memoryview, end: bool) -> None:
        self.received += data

    def stream_reset(self, stream: int) -> None: ...

    def stream_drained(self, stream: int) -> None: ...

    def datagram_received(self, data: memoryview) -> None: ...

    def connection_closed(self) -> None:
        self.closed = True


async def attack(network: Network, act: Callable[[Connection], object], then: bytes = b"") -> Wild:
    """Connect to the guard, act, send more after an answer, and wait until it has dropped the connection."""
    engine, wild = load_engine("auto"), Wild()
    await engine.listen(0, lambda connection: Wild())
    try:
        for _ in range(5):
            try:
                connection = await engine.dial(path_of(network)[0].addresses[0], lambda connection: wild, 3)
                break
            except LinkError:
                continue
        assert connection.open_stream() == 0
        act(connection)
        if then:
            await until(lambda: wild.received)
            connection.write(0, then)
        await until(lambda: wild.closed, 8)
    finally:
        await engine.close()
    return wild


GARBAGE: dict[str, Callable[[Connection], object]] = {
    "noise": lambda c: c.write(0, b"\0\x94" + os.urandom(148)),
    "too long": lambda c: c.write(0, b"\xff\xff" + bytes(70_000)),
    "empty record": lambda c: c.write(0, b"\0\0"),
    "response": lambda c: c.write(0, b"\0\x5c\2" + bytes(91)),
    "sealed": lambda c: c.write(0, b"\0\x40\4" + os.urandom(63)),
    "half an initiation, then the end": lambda c: c.write(0, b"\0\x94\1\0\0\0" + bytes(20), end=True),
    "stream before the handshake": lambda c: c.write(4, b"\0\x20" + bytes(32)),
    "the end": lambda c: c.write(0, b"", end=True),
}


@pytest.mark.parametrize("name", GARBAGE)
async def test_garbage_before_the_handshake(name: str) -> None:
    async with three_hops() as (network, client, _):
        before = counts(network)
        wild = await attack(network, GARBAGE[name])
        assert not wild.received
        await until(lambda: counts(network) == before)
        await check_alive(client)


async def test_a_descriptor_is_all_that_a_stranger_gets() -> None:
    async with three_hops() as (network, client, _):
        wild = await attack(network, lambda c: c.write(0, b"\0\1\x10"), b"\0\1\x63")
        assert wild.received == b"\0\x0b\x11descriptor"
        await check_alive(client)


@pytest.mark.parametrize("data", [b"\xff\xff", b"\0\0", b"\0\x40" + bytes(64), b"\0\x0f" + bytes(15)])
@pytest.mark.parametrize("stream", [0, 4000])
async def test_garbage_after_the_handshake_costs_the_link(data: bytes, stream: int) -> None:
    async with three_hops() as (network, client, _):
        other = network.client()
        await other.start(0, client=False)
        circuit = await bare(network, other)
        connection = circuit.link.connection
        connection.write(stream, data)
        await until(lambda: circuit.link.closed, 8)
        assert circuit.owner.reasons == [Reason.NEXT_HOP]
        await check_alive(client)


async def test_a_replayed_creation() -> None:
    async with three_hops() as (network, client, _):
        path = path_of(network)
        link = await linked_to(client, path[0])
        creation = Creation(path, range(3), time.time(), secrets.token_bytes)
        _, answer = await link.create(creation.message, Owner(), 5)
        assert len(creation.consume_answer(answer)) == 3
        await link.create(creation.message, Owner(), 5)
        assert network.nodes[0].relay.counters["creation repeated"] == 1
        await check_alive(client)


async def test_streams_that_belong_nowhere() -> None:
    async with three_hops() as (network, client, _):
        circuit = await bare(network, client)
        header = b"\4\0\0\0" + secrets.token_bytes(4) + bytes(8)
        receivers = []
        for body in (b"", bytes(40), header + bytes(100), secrets.token_bytes(3000)):
            receivers.append(Receiver())
            circuit.link.open_stream(receivers[-1]).send(record(body))
        for number in (5, 5, 3, 3):
            receivers.append(circuit.open(number)[2])
        await until(lambda: sum(bool(receiver.ends) for receiver in receivers) == 6)
        assert circuit.link.is_up
        await check_alive(client)


@pytest.mark.parametrize("place", [1, 2])
async def test_junk_through_honest_hops_costs_only_its_flows(place: int) -> None:
    """Many flows whose inner messages are junk for the hop at `place`, each going on after it was cut."""
    async with three_hops() as (network, client, _):
        circuit = await bare(network, client)
        flow = await client.pool.dial(ECHO)
        heard = Collect(flow)
        flow.attach(heard)
        before = [{*node.links} for node in network.nodes]
        streams = []
        for number in range(200):
            receiver = Receiver()
            stream = circuit.link.open_stream(receiver)
            streams.append((stream, Layers(circuit.sessions[:place], [number + 1] * place), receiver))
        for _ in range(3):
            for stream, layers, _ in streams:
                stream.send(layers.seal(secrets.token_bytes(500)))
            await asyncio.sleep(0)
        await until(lambda: all(receiver.ends for _, _, receiver in streams), 10)
        flow.write(b"still there")
        await until(lambda: heard.data == b"still there")
        assert [{*node.links} for node in network.nodes] == before
        await check_alive(client)


@pytest.mark.usefixtures("first_windows")
async def test_a_client_that_ignores_the_credit_loses_the_flow() -> None:
    async with three_hops() as (network, client, echo):
        flow = await client.pool.dial(FlowRequest("full.example", 80))
        heard = Collect(flow)
        flow.attach(heard)
        flow._may_send = 1 << 60
        for _ in range(10):
            flow.write(bytes(FLOW_WINDOW // 2))
        await until(lambda: heard.reason is not None, 10)
        over_budget = sum(node.relay.counters["over budget"] for node in network.nodes)
        assert heard.reason is (Reason.CLOSED if over_budget else Reason.PROTOCOL)
        assert len(echo.listeners[0].data) <= FLOW_WINDOW
        await until(lambda: network.nodes[2].relay.flow_count == 0)
        await check_alive(client)


async def test_a_guard_that_hangs_up_while_flows_run() -> None:
    async with three_hops() as (network, client, _):
        flow = await client.pool.dial(ECHO)
        heard = Collect(flow)
        flow.attach(heard)
        flow.write(bytes(1_000_000))
        for link in network.nodes[0].links:
            link.close()
        await until(lambda: len(heard.data) == 1_000_000, 15)
        assert heard.reason is None
        await check_alive(client)


@pytest.mark.usefixtures("impatient")
async def test_a_client_that_goes_without_a_word_takes_its_circuits_along() -> None:
    async with three_hops() as (network, client, echo):
        other = network.client()
        await other.start(0, client=False)
        before = [count[:2] for count in counts(network)][:3]
        circuit = await bare(network, other)
        circuit.open(1)
        await until(lambda: echo.listeners)
        await other.close()
        await until(lambda: [count[:2] for count in counts(network)][:3] == before, 5)
        await until(lambda: echo.listeners[0].reason is Reason.CLOSED)
        await check_alive(client)


async def test_a_dead_exit_is_no_success() -> None:
    async with three_hops() as (network, client, _):
        await network.nodes[2].close()
        with pytest.raises(FlowError):
            await client.pool.dial(ECHO)
