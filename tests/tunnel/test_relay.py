"""A hop's service, in a whole network over engines in memory: creation, forwarding, and what it takes from nobody."""

from __future__ import annotations

import asyncio
import secrets
import time
from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

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
from tests.tunnel.wireguard.reference import mac1
from tunnel import link as link_module
from tunnel import queues
from tunnel import relay as relay_module
from tunnel import terminal as terminal_module
from tunnel.apart import ApartCarrier
from tunnel.creation import ANSWER_BYTES, CREATION_BYTES, Creation
from tunnel.engines.seam import MAX_STREAMS
from tunnel.frames import Frame, frame
from tunnel.lane import LaneCarrier
from tunnel.layers import MAX_FLOW_NUMBER, Layers
from tunnel.wireguard.noise import NO_PSK
from tunnel.wireguard.primitives import private_key, public_bytes

if TYPE_CHECKING:
    from tunnel.link import Link
    from tunnel.path import Hop, Path
    from tunnel.service import Tunnel

# -- creation


async def test_a_replayed_creation_is_answered_with_noise() -> None:
    async with three_hops(Board().engine) as (network, client, _):
        path = path_of(network)
        link = await client.links.to(path[0])
        creation = creation_for(path)
        _, answer = await link.create(creation.message, Owner(), 1)
        creation.consume_answer(answer)
        before = counts(network)
        _, noise = await link.create(creation.message, Owner(), 1)
        with pytest.raises(CircuitError) as caught:
            creation.consume_answer(noise)
        assert (caught.value.reason, caught.value.hop) == (Reason.PROTOCOL, 0)
        assert network.nodes[0].relay.counters["creation repeated"] == 1
        await turns()
        assert counts(network) == before
        await check_alive(client)


async def test_a_replay_with_other_filling_is_a_replay_and_one_under_another_index_is_not_read() -> None:
    """A peer that sees the message and knows the hop's key can make mac1 anew, but the index is absorbed."""
    async with chain(1, Board().engine) as (network, client, _):
        path = path_of(network)
        link = await client.links.to(path[0])
        creation = creation_for(path)
        await link.create(creation.message, Owner(), 1)
        head = mac1(flipped(creation.message[:1332], 8 * 5), path[0].onion_key, NO_PSK)
        await link.create(head + creation.message[1332:], Owner(), 1)
        await link.create(flipped(creation.message, 8 * CREATION_BYTES - 1), Owner(), 1)
        assert network.nodes[0].relay.counters["creation not readable"] == 1
        assert network.nodes[0].relay.counters["creation repeated"] == 1


async def test_a_creation_of_another_network_is_not_read_though_the_link_stands() -> None:
    async with chain(2, Board().engine, preshared=bytes([1] * 32)) as (network, client, _):
        await check_alive(client)
        link = await client.links.to(path_of(network)[0])
        await link.create(creation_for(path_of(network)).message, Owner(), 1)
        assert network.nodes[0].relay.counters["creation not readable"] == 1
        await check_alive(client)


@pytest.mark.parametrize("off_s", [-400, 400])
async def test_a_creation_out_of_time_is_refused(off_s: float) -> None:
    async with chain(1, Board().engine) as (network, client, _):
        path = path_of(network)
        link = await client.links.to(path[0])
        creation = Creation(path, [1], time.time() + off_s, secrets.token_bytes)
        _, answer = await link.create(creation.message, Owner(), 1)
        with pytest.raises(CircuitError):
            creation.consume_answer(answer)
        assert network.nodes[0].relay.counters["creation out of time"] == 1


async def test_a_full_memory_refuses_so_that_the_client_can_read_why(monkeypatch: pytest.MonkeyPatch) -> None:
    async with chain(2, Board().engine) as (network, client, _):
        path = path_of(network)
        link = await client.links.to(path[0])
        first = creation_for(path)
        await link.create(first.message, Owner(), 1)
        end = network.nodes[1].relay
        for onion in end._onions.values():
            monkeypatch.setattr(onion.memory, "_capacity", len(onion.memory))
        assert await refused(network, client, path) == (1, Reason.BUSY)
        assert end.counters["creation not remembered"] == 1
        # What was accepted before is still known.
        await link.create(first.message, Owner(), 1)
        assert network.nodes[0].relay.counters["creation repeated"] == 1
        await check_alive(client)


# -- onion keys that change


async def test_keys_change_and_circuits_go_on() -> None:
    async with chain(1, Board().engine) as (network, client, _):
        (hop,) = path_of(network)
        relay = network.nodes[0].relay
        (old,) = network.onion_privates
        today, tomorrow = (private_key(secrets.token_bytes(32)) for _ in range(2))
        circuit = await bare(network, client)
        relay.use_onion_keys([today, old])
        for key in (today, old):
            await created(client, replace(hop, onion_key=public_bytes(key)))
        relay.use_onion_keys([tomorrow, today])
        for key in (tomorrow, today):
            await created(client, replace(hop, onion_key=public_bytes(key)))
        _, _, receiver = circuit.open(7)
        await until(lambda: receiver.messages)


async def test_what_was_accepted_with_a_key_is_remembered_when_another_comes() -> None:
    async with chain(1, Board().engine) as (network, client, _):
        relay = network.nodes[0].relay
        path = path_of(network)
        link = await client.links.to(path[0])
        creation = creation_for(path)
        await link.create(creation.message, Owner(), 1)
        relay.use_onion_keys([private_key(secrets.token_bytes(32)), *network.onion_privates])
        await link.create(creation.message, Owner(), 1)
        assert relay.counters["creation repeated"] == 1


async def test_a_key_that_was_erased_looks_like_one_that_never_was() -> None:
    async with chain(1, Board().engine) as (network, client, _):
        path = path_of(network)
        link = await client.links.to(path[0])
        network.nodes[0].relay.use_onion_keys([private_key(secrets.token_bytes(32))])
        stranger = replace(path[0], onion_key=public_bytes(private_key(secrets.token_bytes(32))))
        junk = secrets.token_bytes(CREATION_BYTES)
        owners, sizes = [], []
        for message in (creation_for(path).message, creation_for((stranger,)).message, junk):
            owners.append(Owner())
            _, answer = await link.create(message, owners[-1], 1)
            sizes.append(len(answer))
        await turns()
        assert sizes == [ANSWER_BYTES] * 3
        assert [owner.reasons for owner in owners] == [[Reason.PROTOCOL]] * 3
        assert network.nodes[0].relay.counters["creation not readable"] == 3


async def created(client: Tunnel, hop: Hop) -> None:
    link = await client.links.to(hop)
    creation = creation_for((hop,))
    _, answer = await link.create(creation.message, Owner(), 1)
    creation.consume_answer(answer)


async def test_garbage_is_answered_in_the_one_size_and_forgotten() -> None:
    async with chain(1, Board().engine) as (network, client, _):
        link = await client.links.to(path_of(network)[0])
        owner = Owner()
        before = counts(network)
        for _ in range(10):
            await link.create(secrets.token_bytes(CREATION_BYTES), owner, 1)
        await turns()
        assert owner.reasons == [Reason.PROTOCOL] * 10
        assert network.nodes[0].relay.counters["creation not readable"] == 10
        assert counts(network) == before
        await check_alive(client)


class Case(NamedTuple):
    place: int
    reason: Reason


async def refused(network: Network, client: Tunnel, path: Path) -> Case:
    """Create a circuit in vain; give the place and the reason. Nothing of it may stay anywhere."""
    link = await client.links.to(path[0])
    await turns()
    before = [len(one._owners) for node in network.nodes for one in node.links]
    creation = creation_for(path)
    _, answer = await link.create(creation.message, Owner(), 2)
    with pytest.raises(CircuitError) as caught:
        creation.consume_answer(answer)
    await turns()
    after = [len(one._owners) for node in network.nodes for one in node.links]
    assert sum(after) == sum(before)
    assert caught.value.hop is not None
    return Case(caught.value.hop, caught.value.reason)


async def test_a_hop_that_is_no_exit() -> None:
    async with three_hops(Board().engine) as (network, client, _):
        guard, relay, _ = path_of(network)
        assert await refused(network, client, (guard, relay)) == (1, Reason.NOT_ALLOWED)
        assert await refused(network, client, (guard,)) == (0, Reason.NOT_ALLOWED)
        await check_alive(client)


async def test_a_hop_that_does_not_relay() -> None:
    async with three_hops(Board().engine) as (network, client, _):
        await network.add(relays=False)
        guard, relay, _ = path_of(network)
        loner = network.hops[network.keys[3]]
        assert await refused(network, client, (guard, loner, relay)) == (1, Reason.NOT_ALLOWED)


async def test_a_hop_that_knows_not_the_next() -> None:
    async with three_hops(Board().engine) as (network, client, _):
        guard, relay, end = path_of(network)
        del network.hops[end.peer]
        assert await refused(network, client, (guard, relay, end)) == (1, Reason.UNKNOWN_PEER)


async def test_a_hop_that_cannot_reach_the_next() -> None:
    async with three_hops(Board().engine) as (network, client, _):
        await network.nodes[2].close()
        await turns()
        assert await refused(network, client, path_of(network)) == (1, Reason.NEXT_HOP)


@pytest.mark.usefixtures("quick_signs")
async def test_a_next_hop_that_is_silent() -> None:
    async with chain(2, Board().engine) as (network, client, _):
        engine = network.nodes[1].engine
        assert isinstance(engine, WireEngine)
        engine.connections[0].deaf = True
        assert await refused(network, client, path_of(network)) == (0, Reason.NEXT_HOP)


@pytest.mark.usefixtures("quick_signs")
async def test_a_next_hop_that_lives_and_does_not_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    """It shows signs of life, so it is not called silent; whoever is to blame is behind it."""
    monkeypatch.setattr(relay_module, "CREATION_S", 0.3)
    async with chain(2, Board().engine) as (network, client, _):
        monkeypatch.setattr(network.nodes[1].relay, "creation", lambda *_: None)
        assert await refused(network, client, path_of(network)) == (0, Reason.TIMED_OUT)


@pytest.mark.usefixtures("quick_signs")
async def test_the_hop_before_the_silent_one_reports() -> None:
    """The guard waits as well, and hears from the relay meanwhile; only the relay hears nothing."""
    async with three_hops(Board().engine) as (network, client, _):
        engine = network.nodes[2].engine
        assert isinstance(engine, WireEngine)
        engine.connections[0].deaf = True
        assert await refused(network, client, path_of(network)) == (1, Reason.NEXT_HOP)


async def test_a_link_holds_so_many_circuits(monkeypatch: pytest.MonkeyPatch) -> None:
    async with chain(1, Board().engine) as (network, client, _):
        monkeypatch.setattr(relay_module, "MAX_CIRCUITS_PER_LINK", network.nodes[0].relay.circuit_count + 1)
        await bare(network, client)
        for _ in range(3):
            assert await refused(network, client, path_of(network)) == (0, Reason.BUSY)


async def test_so_many_creations_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(relay_module, "MAX_CREATIONS_PER_LINK", 3)
    async with chain(2, Board().engine) as (network, client, _):
        engine = network.nodes[1].engine
        assert isinstance(engine, WireEngine)
        engine.connections[0].deaf = True
        link = await client.links.to(path_of(network)[0])
        waiting = [asyncio.ensure_future(bare(network, client)) for _ in range(3)]
        await turns()
        assert await refused(network, client, path_of(network)) == (0, Reason.BUSY)
        link.close()
        await asyncio.gather(*waiting, return_exceptions=True)
        await turns()
        assert not network.nodes[0].relay._creating or client.pool._under_way


async def test_a_circuit_that_is_destroyed_while_it_is_made_is_not_made() -> None:
    async with three_hops(Board().engine) as (network, client, _):
        before = counts(network)
        for give_up_after in range(40):
            making = asyncio.ensure_future(bare(network, client))
            await turns(give_up_after)
            making.cancel()
            made = await asyncio.gather(making, return_exceptions=True)
            await turns(80)
            if isinstance(made[0], Bare):
                break
            assert counts(network) == before, give_up_after
        else:
            pytest.fail("the creation never came to its end")


async def test_a_link_that_goes_while_a_circuit_is_made_leaves_nothing() -> None:
    async with three_hops(Board().engine) as (network, _, _):
        for turn in range(30):
            other = network.client()
            await other.start(0, client=False)
            making = asyncio.ensure_future(bare(network, other))
            await turns(turn)
            await other.close()
            await asyncio.gather(making, return_exceptions=True)
            await turns(80)
            network.nodes.remove(other)
            links = {link for node in network.nodes for link in node.links}
            for node in network.nodes:
                assert {*node.relay._circuits} <= links
                assert not node.relay._creating
        assert [circuits for circuits, _, _ in counts(network)] == [2, 2, 2, 0]


async def test_a_next_hop_that_destroys_at_once_is_heard() -> None:
    """Its word may come together with its answer, before this hop has taken the answer in."""
    async with chain(2, Board().engine) as (network, client, _):
        end = network.nodes[1].relay
        extend = end._extend

        async def extend_and_destroy(link: Link, number: int, asked: object) -> None:
            await extend(link, number, asked)  # type: ignore[arg-type]
            link.destroy(number, Reason.BUSY)

        before = counts(network)
        end._extend = extend_and_destroy  # type: ignore[method-assign]
        made = await bare(network, client)
        await turns()
        assert made.owner.reasons == [Reason.BUSY]
        end._extend = extend  # type: ignore[method-assign]
        await until(lambda: counts(network)[0] == before[0])


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
    monkeypatch.setattr(relay_module, "MAX_FLOWS_PER_CIRCUIT", 3)
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
