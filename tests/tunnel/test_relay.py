"""What a hop does with streams, in a network over engines in memory: forwarding, and what it takes from nobody."""

from __future__ import annotations

import asyncio
import secrets
from typing import TYPE_CHECKING

import pytest

from core.errors import CircuitError, FlowError, LinkError, Reason
from core.flow import FlowRequest
from core.ids import PeerKey
from tests.harness.bare import Bare, bare, check_alive, circuit_of, counts, creation_for, path_of
from tests.harness.entropy import flipped
from tests.harness.linked import Owner, Receiver, record
from tests.harness.network import Collect, Echo, Network, chain, three_hops
from tests.harness.waiting import turns, until
from tests.harness.wire import Board, WireEngine
from tunnel import hop_circuit, queues
from tunnel import link as link_module
from tunnel import terminal as terminal_module
from tunnel.apart import ApartCarrier
from tunnel.engines.seam import MAX_STREAMS
from tunnel.frames import Frame, frame
from tunnel.lane import LaneCarrier
from tunnel.layers import MAX_FLOW_NUMBER, Layers

if TYPE_CHECKING:
    from tunnel.link import Link
    from tunnel.service import Tunnel


# -- streams that belong nowhere


async def cut_off(network: Network, link: Link, body: bytes) -> Receiver:
    """Send a message on a stream of its own, and see the stream cut and the link live."""
    receiver = Receiver()
    link.open_stream(receiver).send(record(body))
    await until(lambda: receiver.ends)
    assert link.is_up
    return receiver


async def test_messages_that_belong_to_no_circuit() -> None:
    async with three_hops(Board().engine) as (network, client, _):
        link = await client.links.to(path_of(network)[0])
        before = counts(network)
        header = b"\4\0\0\0" + secrets.token_bytes(4) + bytes(8)
        for body in (b"", b"\4", bytes(32), header + bytes(16), secrets.token_bytes(100), header + bytes(500)):
            await cut_off(network, link, body)
        await turns()
        assert network.nodes[0].relay.counters["no such circuit"] == 2
        assert counts(network) == before
        await check_alive(client)


@pytest.mark.parametrize("again", [4, 5, 6, 2000])
async def test_a_flow_number_that_was_used(again: int) -> None:
    async with three_hops(Board().engine) as (network, client, echo):
        circuit = await bare(network, client)
        flows = [circuit.open(number)[2] for number in (6, 4, 5, 2000)]
        await until(lambda: all(receiver.messages for receiver in flows))
        _, _, receiver = circuit.open(again)
        await until(lambda: receiver.ends)
        assert not receiver.messages
        _, _, last = circuit.open(2001)
        await until(lambda: last.messages)
        assert circuit.link.is_up
        assert len(echo.asked) == 5
        assert [node.relay.flow_count for node in network.nodes[:3]] == [0, 0, 5]
        assert not any(flow.ends for flow in flows)


async def test_a_flow_number_of_the_wrong_kind() -> None:
    async with chain(1, Board().engine) as (network, client, echo):
        circuit = await bare(network, client)
        _, _, receiver = circuit.open(1 << 23)
        await until(lambda: receiver.ends)
        assert not echo.asked
        _, _, good = circuit.open(MAX_FLOW_NUMBER)
        await until(lambda: good.messages)


async def test_numbers_are_used_up_by_the_circuits_own_client_only() -> None:
    """Whoever guesses an index can write its header, but not seal for it."""
    async with three_hops(Board().engine) as (network, client, _):
        circuit = await bare(network, client)
        index = circuit.sessions[0].remote_index
        counter = MAX_FLOW_NUMBER << 40
        forged = b"\4\0\0\0" + index.to_bytes(4, "little") + counter.to_bytes(8, "little") + bytes(100)
        await cut_off(network, circuit.link, forged)
        _, _, receiver = circuit.open(1)
        await until(lambda: receiver.messages)


@pytest.mark.parametrize("place", [0, 1, 2])
async def test_a_forged_index_behind_honest_hops_costs_only_its_flow(place: int) -> None:
    """A client seals junk for the hop at `place`, in good layers for those before it."""
    async with three_hops(Board().engine) as (network, client, _):
        circuit = await bare(network, client)
        victim = await bare(network, client)
        before = [{*node.links} for node in network.nodes]
        header = b"\4\0\0\0" + victim.sessions[place].remote_index.to_bytes(4, "little")
        for body in (header + (MAX_FLOW_NUMBER << 40).to_bytes(8, "little") + bytes(80), bytes(200), header + bytes(9)):
            await junk(circuit, place, body)
        assert [{*node.links} for node in network.nodes] == before
        _, _, receiver = victim.open(1)
        await until(lambda: receiver.messages)
        await check_alive(client)


async def junk(circuit: Bare, place: int, body: bytes) -> None:
    number = secrets.randbelow(1000) + 1000 * (circuit.link.stream_count + 1)
    if place == 0:
        receiver = Receiver()
        circuit.link.open_stream(receiver).send(record(body))
    else:
        receiver = Receiver()
        stream = circuit.link.open_stream(receiver)
        stream.send(Layers(circuit.sessions[:place], [number] * place).seal(body))
    await until(lambda: receiver.ends)


@pytest.mark.usefixtures("impatient")
async def test_junk_in_a_running_flow_costs_only_that_flow() -> None:
    async with three_hops(Board().engine) as (network, client, echo):
        start = counts(network)
        circuit = await bare(network, client)
        before = [{*node.links} for node in network.nodes]
        streams = [circuit.open(number) for number in (1, 2, 3, 4)]
        await until(lambda: all(receiver.messages for _, _, receiver in streams))
        for place, (stream, layers, _) in enumerate(streams[:3]):
            inner = Layers(circuit.sessions[: place + 1], [place + 1] * (place + 1))
            inner._sealed = layers._sealed
            stream.send(inner.seal(secrets.token_bytes(15) + b"\0" + secrets.token_bytes(84)))  # not of kind datagram
        await until(lambda: all(receiver.ends for _, _, receiver in streams[:2]))
        await until(lambda: len(streams[2][2].messages) > 1)
        assert not streams[3][2].ends
        assert [node.relay.counters["message does not open"] for node in network.nodes] == [0, 1, 0, 0]
        await until(lambda: [heard.reason for heard in echo.listeners[:2]] == [Reason.CLOSED, Reason.PROTOCOL])
        for stream, _, _ in streams[2:]:
            stream.reset()
        circuit.link.destroy(circuit.number, Reason.DONE)
        await until(lambda: counts(network) == start)
        assert [{*node.links} for node in network.nodes] == before
        await check_alive(client)


async def test_many_flows_of_junk_do_not_cost_the_guard_its_link() -> None:
    """More flows than a hop remembers individually, each cut, each still sending."""
    async with three_hops(Board().engine) as (network, client, _):
        circuit = await bare(network, client)
        before = [{*node.links} for node in network.nodes]
        flows = []
        for number in range(1500):
            stream = circuit.link.open_stream(Receiver())
            flows.append((stream, Layers(circuit.sessions[:1], [number + 1])))
        for _ in range(2):
            for stream, layers in flows:
                stream.send(layers.seal(bytes(100)))
            await turns(1)
        await turns()
        assert [{*node.links} for node in network.nodes] == before
        await check_alive(client)


# -- limits


async def test_a_relay_holds_so_many_flows_of_a_circuit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hop_circuit, "MAX_FLOWS_PER_CIRCUIT", 3)
    async with chain(2, Board().engine) as (network, client, echo):
        circuit = await bare(network, client)
        flows = [circuit.open(number) for number in range(1, 6)]
        await until(lambda: flows[3][2].ends and flows[4][2].ends)
        assert len(echo.asked) == 3
        assert circuit.link.is_up


async def test_an_exit_takes_so_many_flows_of_a_circuit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(terminal_module, "MAX_FLOWS_PER_CIRCUIT", 3)
    async with chain(2, Board().engine) as (network, client, echo):
        circuit = await bare(network, client)
        flows = [circuit.open(number) for number in range(1, 6)]
        await until(lambda: all(receiver.messages for _, _, receiver in flows))
        assert len(echo.asked) == 3
        assert [bytes(layers.open(memoryview(r.messages[0]))) for _, layers, r in flows[3:]] == [b"\5\0\0\1\7"] * 2


@pytest.mark.parametrize("direction", ["out", "back"])
async def test_more_than_honest_ends_have_under_way_ends_the_circuit(
    direction: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(queues, "CIRCUIT_QUEUE", 2_000_000)
    async with three_hops(Board().engine) as (network, client, _):
        other = await client.pool.dial(FlowRequest("echo.example", 80, "other"))
        victim = await bare(network, client)
        stream, layers, receiver = victim.open(1, "sink.example" if direction == "out" else "echo.example")
        await until(lambda: receiver.messages)
        guard = network.nodes[0]
        assert isinstance(guard.engine, WireEngine)
        accepted, dialled = guard.engine.connections[0], guard.engine.connections[-1]
        assert (accepted._next, dialled._next % 4) == (1, 0)
        (dialled if direction == "out" else accepted).stalled = True
        piece = frame(Frame.DATA, bytes(32_000))
        for _ in range(50):
            if direction == "out":
                stream.send(layers.seal(piece))
            else:
                backward(guard, piece)
        await turns()
        assert guard.relay.counters["over budget"] == 0
        for _ in range(40):
            if direction == "out":
                stream.send(layers.seal(piece))
            else:
                backward(guard, piece)
        await turns()
        assert guard.relay.counters["over budget"] == 1
        for connection in (dialled, accepted):
            connection.go_on()
        await until(lambda: victim.owner.reasons == [Reason.BUSY])
        assert not other.opened.cancelled()
        await check_alive(client)


def backward(guard: Tunnel, piece: bytes, stream: int | None = None) -> None:
    """Let one of the guard's relayed streams, or the newest, hear something from the next hop."""
    flows = [flow for held in guard.relay._circuits.values() for circuit in held.values() for flow in circuit.flows]
    if flows:
        max(flows, key=lambda flow: (flow._near.id == stream, flow._near.id)).backward(memoryview(piece))


# -- ending


@pytest.mark.usefixtures("impatient")
async def test_a_destroyed_circuit_ends_its_flows_at_the_exit() -> None:
    """Also when the hop before says only that it is over, and leaves the streams open."""
    async with chain(1, Board().engine) as (network, client, echo):
        circuit = await bare(network, client)
        stream, layers, receiver = circuit.open(1)
        await until(lambda: receiver.messages)
        circuit.link.destroy(circuit.number, Reason.DONE)
        stream.send(layers.seal(frame(Frame.DATA, b"late")))
        await until(lambda: echo.listeners[-1].reason is Reason.CLOSED)
        assert not echo.listeners[-1].data
        assert receiver.ends
        assert circuit.link.is_up
        await check_alive(client)


@pytest.mark.usefixtures("impatient")
async def test_the_end_of_the_clients_link_ends_all_behind_it() -> None:
    async with three_hops(Board().engine) as (network, client, echo):
        for number in range(3):
            circuit = await bare(network, client)
            circuit.open(number + 1)
        await until(lambda: len(echo.listeners) == 3)
        await client.close()
        await until(lambda: [listener.reason for listener in echo.listeners] == [Reason.CLOSED] * 3)
        assert [count[:2] for count in counts(network)] == [(0, 0)] * 4
        assert [count[2] for count in counts(network)] == [[0], [0, 0], [0], []]


async def test_all_is_given_back_when_flows_end() -> None:
    async with three_hops(Board().engine) as (network, client, _):
        before = counts(network)
        for _ in range(20):
            await check_alive(client)
        await until(lambda: client.pool.ready >= 2)
        await turns()
        idle = [count for count in counts(network)]
        extra = idle[0][0] - before[0][0]
        assert extra <= 1
        for (was_circuits, was_flows, was_streams), (circuits, flows, streams) in zip(before, idle, strict=True):
            assert circuits - was_circuits in (0, extra)
            # A circuit that was used keeps its lane.
            assert 0 <= flows - was_flows <= extra + circuits
            assert 0 <= sum(streams) - sum(was_streams) <= 2 * (extra + circuits)


@pytest.mark.parametrize("apart", [False, True], ids=["lane", "apart"])
async def test_junk_from_a_next_hop_does_not_reach_the_client_as_bytes(apart: bool) -> None:
    async with chain(2, Board().engine) as (network, client, _):
        flow = await client.pool.dial(FlowRequest("echo.example", 80))
        heard = Collect(flow)
        flow.attach(heard)
        lane_part = flow.carrier
        assert isinstance(lane_part, LaneCarrier)
        stream = lane_part._lane._stream
        if apart:
            circuit_of(client, flow).set_apart(flow)
            await turns()
            assert isinstance(flow.carrier, ApartCarrier)
            stream = flow.carrier._stream
        backward(network.nodes[0], secrets.token_bytes(100), stream.id)
        if apart:
            await until(lambda: heard.reason is not None)
            assert (bytes(heard.data), heard.reason) == (b"", Reason.PROTOCOL)
        else:  # the lane is over, and its flows go on elsewhere
            await until(lambda: client.pool.counters["flow lost"] == 1)
            flow.write(b"text")
            await until(lambda: heard.data == b"text")
        await check_alive(client)


async def test_a_neighbour_between_guard_and_relay_who_flips_bits_ends_that_link() -> None:
    async with three_hops(Board().engine) as (network, client, echo):
        flow = await client.pool.dial(FlowRequest("echo.example", 80))
        heard = Collect(flow)
        flow.attach(heard)
        guard = network.nodes[0]
        assert isinstance(guard.engine, WireEngine)
        onward = guard.engine.connections[-1]
        onward.tamper = lambda stream, data: flipped(data, 150) if stream else data
        flow.write(b"text")
        await until(lambda: heard.data)
        # That link is gone, and the flow has gone on over another one: nothing is changed, nothing is missing.
        assert heard.data == echo.listeners[0].data == b"text"
        assert network.nodes[1].links.counters["record: link tag does not verify"] == 1
        await until(lambda: client.pool.ready >= 1)
        await check_alive(client)


async def test_a_client_offers_nothing() -> None:
    """A guard asks its own client for a circuit, and opens streams to it."""
    async with chain(1, Board().engine) as (network, client, _):
        link = await client.links.to(path_of(network)[0])
        (accepted,) = network.nodes[0].links
        creation = creation_for(path_of(network))
        _, answer = await accepted.create(creation.message, Owner(), 1)
        with pytest.raises(CircuitError):
            creation.consume_answer(answer)
        await cut_off(network, accepted, bytes(100))
        assert client.relay.circuit_count == 0
        assert link.is_up
        await check_alive(client)


async def test_flow_errors_carry_the_exits_reason() -> None:
    async with three_hops(Board().engine) as (_, client, _):
        with pytest.raises(FlowError) as caught:
            await client.pool.dial(FlowRequest("refused.example", 80))
        assert caught.value.reason is Reason.REFUSED


async def test_a_peer_that_nobody_knows() -> None:
    async with chain(1, Board().engine) as (network, client, _):
        with pytest.raises(LinkError) as caught:
            await network.nodes[0].relay._next(PeerKey(bytes(32)))
        assert caught.value.reason is Reason.UNKNOWN_PEER
        await check_alive(client)


async def test_a_closing_node_lets_its_neighbours_know(caplog: pytest.LogCaptureFixture) -> None:
    async with three_hops(Board().engine) as (network, client, _):
        circuit = await bare(network, client)
        await network.nodes[1].close()
        await until(lambda: circuit.owner.reasons)
        assert not [entry for entry in caplog.records if entry.levelname == "ERROR"]


def test_the_link_remembers_as_many_streams_as_can_be_open() -> None:
    assert link_module.MAX_CUT >= MAX_STREAMS


async def test_echo_counts(caplog: pytest.LogCaptureFixture) -> None:
    """The network under test is a real one: five hops, many flows, nothing logged as an error."""
    async with chain(5, Board().engine) as (_, client, echo):
        await asyncio.gather(*(check_alive(client) for _ in range(30)))
        assert isinstance(echo, Echo)
        assert len(echo.asked) == 30
        assert not [entry for entry in caplog.records if entry.levelname == "ERROR"]
