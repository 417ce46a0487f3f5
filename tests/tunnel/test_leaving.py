"""Hops that are about to stop: who hears of it, what a client does, and what a lie wins."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from core.errors import FlowError, Reason
from core.flow import FlowRequest
from core.ids import PeerKey
from tests.harness.bare import bare, circuit_of
from tests.harness.linked import Linked, Owner
from tests.harness.network import Came, Collect, Echo, Network, blamed, chain
from tests.harness.waiting import turns, until
from tests.harness.wire import Board
from tests.tunnel.test_circuit import built
from tests.tunnel.test_link import control
from tests.tunnel.test_rescue import ALL, EXIT, Talk, four_relays
from tunnel import building
from tunnel import pool as pool_module
from tunnel.control import Kind, encode_circuit
from tunnel.creation import ANSWER_BYTES, CREATION_BYTES
from tunnel.frames import Frame, frame
from tunnel.leaving import Leavers
from tunnel.limits import BUILD_S, LEAVING_S, MAX_HOPS, MAX_LEAVERS, MAX_LEAVINGS, REBUILDS_WITHIN_S
from tunnel.rate import Rate

if TYPE_CHECKING:
    from tunnel.hop_circuit import HopCircuit
    from tunnel.path import Path
    from tunnel.service import Tunnel

ONE, TWO, LAST = (PeerKey(bytes([number]) * 32) for number in (1, 2, 9))


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pool_module, "_TICK_S", 0.01)


class Told:
    """A witness of how circuits end and are not built."""

    def __init__(self) -> None:
        self.ends: list[Reason] = []
        self.failures: list[Reason] = []

    def built(self, path: Path) -> None: ...

    def build_failed(self, path: Path, reporter: int, reason: Reason) -> None:
        self.failures.append(reason)

    def answered(self, path: Path, link_rtt_s: float | None, rtt_s: float) -> None: ...

    def carried(self, path: Path, bytes_per_s: float) -> None: ...

    def ended(self, path: Path, reason: Reason, guard_lost: bool) -> None:
        self.ends.append(reason)

    def flow_tried(self, path: Path, reason: Reason | None) -> None: ...


def leave(node: Tunnel) -> None:
    """Let a node begin to leave, as whoever runs it does."""
    node.relay._admits = lambda link: Reason.LEAVING
    node.relay.leave()


def held(node: Tunnel) -> list[HopCircuit]:
    """The circuits that lead over a node."""
    return node.relay._held()


# -- who is believed, and how often


def test_who_leaves_is_left_out_for_a_while() -> None:
    leavers = Leavers()
    assert leavers.says(ONE, 100.0)
    assert leavers.avoided(100.0 + LEAVING_S - 1) == [ONE]
    assert leavers.avoided(100.0 + LEAVING_S) == []
    assert not leavers.leaves(TWO, 100.0)


def test_who_says_so_again_and_again_is_not_excused_for_ever() -> None:
    leavers, at = Leavers(), 0.0
    for _ in range(MAX_LEAVINGS):
        assert leavers.says(ONE, at)
        assert leavers.says(ONE, at + LEAVING_S / 2), "the same word, said to another circuit"
        at += LEAVING_S
    assert not leavers.says(ONE, at)
    assert leavers.avoided(at) == []
    assert not leavers.says(ONE, REBUILDS_WITHIN_S - 1)
    assert leavers.says(ONE, REBUILDS_WITHIN_S)


def test_few_relays_leave_from_circuits_to_one_exit() -> None:
    leavers = Leavers()
    relays = [PeerKey(bytes([number]) * 32) for number in range(20, 21 + MAX_LEAVINGS)]
    heeded = [leavers.is_said(relay, LAST, 0.0, float(at)) for at, relay in enumerate(relays)]
    assert heeded == [True] * MAX_LEAVINGS + [False]
    assert leavers.is_said(relays[0], LAST, 1.0, 5.0), "that one is left already"
    assert not leavers.is_said(relays[0], LAST, BUILD_S, 5.0), "it was taken although that was known"
    assert leavers.is_said(relays[-1], TWO, 0.0, 5.0), "another exit"
    assert relays[-1] in leavers.avoided(5.0)
    assert leavers.is_said(ONE, LAST, 0.0, REBUILDS_WITHIN_S)


def test_what_is_remembered_is_bounded() -> None:
    leavers = Leavers()
    for number in range(MAX_LEAVERS + 10):
        peer = PeerKey(number.to_bytes(32))
        leavers.says(peer, float(number) / 100)
        leavers.is_said(TWO, peer, 0.0, REBUILDS_WITHIN_S * number)
    assert len(leavers) == MAX_LEAVERS
    assert len(leavers._exits) == MAX_LEAVERS


# -- on links


async def created(linked: Linked) -> tuple[Owner, Owner]:
    """A circuit between two neighbours: who made it, and who answered."""
    maker, owner = Owner(), Owner()
    creating = asyncio.ensure_future(linked.near.create(bytes(CREATION_BYTES), maker, 1))
    await turns()
    linked.far.answer(0, bytes(ANSWER_BYTES), owner)
    await creating
    return maker, owner


async def test_who_made_a_circuit_is_told_once() -> None:
    linked = await Linked.up()
    maker, _ = await created(linked)
    for hops in (1, 0, 2):
        linked.far.go_away(0, hops)
        linked.far.go_away(8, hops)
    await turns()
    assert maker.hops == [1]
    assert await linked.alive()


async def test_nobody_is_told_of_a_circuit_that_is_over() -> None:
    linked = await Linked.up()
    maker, _ = await created(linked)
    linked.near.destroy(0, Reason.DONE)
    linked.far.go_away(0, 0)
    await turns()
    assert maker.hops == []
    assert await linked.alive()


@pytest.mark.parametrize(
    "body", [encode_circuit(1, bytes([MAX_HOPS - 1])), encode_circuit(1, b""), b"\0" * 6], ids=repr
)
async def test_more_hops_than_a_path_has_cost_the_link(body: bytes) -> None:
    linked = await Linked.up()
    await control(linked, Kind.GOAWAY, body)
    assert linked.far.closed


async def test_the_side_of_the_client_does_not_leave() -> None:
    linked = await Linked.up()
    _, owner = await created(linked)
    await control(linked, Kind.GOAWAY, encode_circuit(0, b"\0"))
    assert linked.far.closed
    assert owner.hops == []


# -- along a circuit


@pytest.mark.parametrize("place", range(5))
async def test_a_client_learns_which_hop_leaves(place: int) -> None:
    async with chain(5, Board().engine) as (network, client, _):
        circuit, ended = await built(network, client)
        network.nodes[place].relay.leave()
        await until(lambda: ended.leaving)
        assert ended.leaving == [place]
        assert not circuit.over


async def test_a_circuit_that_is_being_made_is_told_afterwards() -> None:
    async with chain(3, Board().engine) as (network, client, _):
        for place in (0, 1, 2):
            network.nodes[place].relay._leaving = True
            _, ended = await built(network, client)
            heard = ended.leaving
            await until(heard.__len__)
            assert heard == [place]
            network.nodes[place].relay._leaving = False


async def test_a_count_beyond_the_path_is_not_passed_on() -> None:
    """Else a hop could make the one before it say what costs that one its link."""
    async with chain(3, Board().engine) as (network, client, _):
        circuit, ended = await built(network, client)
        for hop in held(network.nodes[1]):
            hop._link.go_away(hop._number, MAX_HOPS - 2)
        await turns()
        assert not ended.leaving
        assert circuit.link.is_up
        assert (await client.pool.dial(FlowRequest("echo.example", 80))).opened.done()


async def test_a_relay_cannot_speak_for_the_exit() -> None:
    async with chain(3, Board().engine) as (network, client, _):
        await Talk.on(client)
        for circuit in held(network.nodes[0]):
            circuit._link.go_away(circuit._number, 2)
        await turns()
        assert all(circuit.leaver is None for circuit in client.pool.circuits)
        assert client.pool.ready >= 2


async def test_only_an_exit_says_so_on_flow_0() -> None:
    async with chain(1, Board().engine) as (network, client, _):
        circuit, ended = await built(network, client)
        circuit._send_frames(frame(Frame.GOAWAY))
        await until(lambda: circuit.over)
        assert ended.leaving == []


# -- what a client does


@pytest.mark.parametrize("place", [0, 1])
async def test_flows_leave_a_hop_that_leaves_before_it_is_gone(place: int) -> None:
    async with four_relays(*ALL) as (network, client, echo):
        talk = await Talk.on(client)
        gone = talk.places[place]
        leave(network.nodes[gone])
        await until(lambda: not network.nodes[gone].relay.circuit_count)
        assert not network.nodes[gone].relay.at_work
        assert gone not in talk.places
        assert talk.flow.lost_at is None or talk.flow.opened.done()
        await talk.goes_on()
        assert len(echo.asked) == 1
        assert blamed(network, client) == []
        assert not [word for word in client.pool.counters if word.startswith("circuit") and word != "circuit done"]
        await until(lambda: client.pool.ready >= 2)
        assert not any(network.keys[gone] in [hop.peer for hop in found.path] for found in client.pool.circuits)


async def test_an_exit_that_leaves_keeps_its_flows_and_gets_no_new_ones() -> None:
    network = Network(Board().engine)
    echoes = Echo(), Echo()
    try:
        for echo in (None, *echoes):
            await network.add(echo)
        network.paths = [[0, 1], [0, 2]]
        client = network.client()
        await client.start(0, client=True)
        await until(lambda: client.pool.ready >= 2)
        Talk.client_places = {key: place for place, key in enumerate(network.keys)}
        talk = await Talk.on(client)
        assert talk.places == [0, 1]
        leave(network.nodes[1])
        await until(lambda: talk.circuit.leaver is not None)
        other = await Talk.on(client)
        assert other.places == [0, 2]
        await talk.goes_on()
        assert talk.places == [0, 1]
        await until(lambda: network.nodes[1].relay.circuit_count == 1)
        assert network.nodes[1].relay.at_work
        assert not talk.circuit.moving
        talk.flow.reset(Reason.LOCAL)
        await until(lambda: not network.nodes[1].relay.circuit_count)
        assert not network.nodes[1].relay.at_work
        assert blamed(network, client) == []
        assert len(echoes[0].asked) == 1
    finally:
        await network.close()


async def test_flows_of_an_exit_that_is_gone_are_not_looked_for() -> None:
    async with four_relays(*ALL) as (network, client, _):
        talk = await Talk.on(client)
        leave(network.nodes[EXIT])
        await until(lambda: talk.circuit.leaver is not None)
        builds = len(client.pool._under_way)
        await network.nodes[EXIT].close()
        await until(lambda: talk.heard.reason is not None, 1)
        assert client.pool.builder.tolerance._exits.get(network.keys[EXIT]) is None
        assert builds <= 2


async def test_at_the_limit_both_sides_of_every_flow_hear_why() -> None:
    async with chain(2, Board().engine) as (network, client, echo):
        talk = await Talk.on(client)
        datagrams = await client.pool.dial_datagrams()
        came = Came(datagrams)
        relay = network.nodes[1].relay
        assert len(relay.table) == 2
        relay.table.end(Reason.LEAVING)
        await until(lambda: talk.heard.reason is not None and came.reason is not None)
        assert (talk.heard.reason, came.reason) == (Reason.LEAVING, Reason.LEAVING)
        assert echo.listeners[0].reason is Reason.LEAVING
        assert echo.associations[0].reason is Reason.LEAVING
        assert not relay.table


async def test_who_turns_circuits_down_because_it_leaves_is_left_out_and_not_blamed() -> None:
    told = Told()
    network = Network(Board().engine)
    try:
        for acceptor in (None, None, Echo()):
            await network.add(acceptor)
        leave(network.nodes[0])
        network.paths = [[0, 2], [1, 2]]
        client = network.client(told)
        await client.start(0, client=True)
        await until(lambda: client.pool.ready >= 2)
        now = asyncio.get_running_loop().time()
        assert client.pool.builder.leavers.avoided(now) == [network.keys[0]]
        assert blamed(network, client) == []
        assert told.failures == []
    finally:
        await network.close()


async def test_the_end_of_a_circuit_that_was_told_is_held_against_nobody() -> None:
    async with four_relays(*ALL) as (network, client, _):
        circuit = (await Talk.on(client)).circuit
        network.nodes[EXIT].relay.leave()
        await until(lambda: circuit.leaver is not None)
        circuit.destroyed(Reason.CLOSED)
        now = asyncio.get_running_loop().time()
        assert client.pool.builder.held_against(circuit.path) == 0
        assert circuit not in client.pool._rescue._explained
        assert not client.pool.builder.blame.avoided(now)


async def test_flows_do_not_move_to_circuits_over_who_leaves() -> None:
    async with four_relays([0, 1, EXIT]) as (network, client, _):
        first, other = client.pool.circuits
        assert client.pool.candidates(first) == [other]
        client.pool.builder.leavers.says(network.keys[1], asyncio.get_running_loop().time())
        assert client.pool.candidates(first) == []


def test_a_guard_that_leaves_is_not_at_fault() -> None:
    assert building._verdict(0, Reason.LEAVING) == (0, False)
    assert building._verdict(0, Reason.BUSY) == (0, True)


# -- what lies win


async def test_to_end_circuits_with_that_reason_excuses_nobody() -> None:
    told = Told()
    network = Network(Board().engine)
    try:
        for acceptor in (None, Echo()):
            await network.add(acceptor)
        network.paths = [[0, 1]]
        client = network.client(told)
        await client.start(0, client=True)
        talk = await Talk.on(client)
        now = asyncio.get_running_loop().time
        for circuit in held(network.nodes[0]):
            circuit.close(Reason.LEAVING)
        await until(lambda: told.ends)
        assert set(told.ends) == {Reason.CLOSED}
        assert all(client.pool.builder.blame.weight(peer, now()) > 0 for peer in network.keys)
        await talk.goes_on()
        assert client.pool.builder.tolerance._exits[network.keys[1]].ends
    finally:
        await network.close()


async def test_a_guard_cannot_make_a_client_draw_relays_for_ever() -> None:
    network, relays = Network(Board().engine), range(1, MAX_LEAVINGS + 4)
    try:
        for _ in (0, *relays):
            await network.add()
        await network.add(Echo())
        network.paths = [[0, relay, relays.stop] for relay in relays]
        client = network.client()
        await client.start(0, client=True)
        Talk.client_places = {key: place for place, key in enumerate(network.keys)}
        talk = await Talk.on(client)
        seen: list[int] = []
        while not client.pool.counters["leaving not heeded"]:
            assert len(seen) <= MAX_LEAVINGS
            seen.append(talk.places[1])
            guard = network.nodes[0]
            for circuit in held(guard):
                circuit.next_leaving(0)
            await until(lambda: talk.places[1] != seen[-1] or client.pool.counters["leaving not heeded"])
        assert seen == [1, 2, 3, 4]
        assert talk.places[1] == 4
        await talk.goes_on()
    finally:
        await network.close()


async def test_an_exit_that_leaves_too_often_is_blamed() -> None:
    async with chain(2, Board().engine) as (network, client, _):
        builder, now = client.pool.builder, asyncio.get_running_loop().time()
        exit_ = network.keys[1]
        for ago in range(MAX_LEAVINGS, 0, -1):
            assert builder.leavers.says(exit_, now - ago * LEAVING_S)
        network.nodes[1].relay.leave()
        await until(lambda: blamed(network, client) == [1])


async def test_no_new_flow_without_another_exit() -> None:
    async with chain(2, Board().engine) as (network, client, _):
        leave(network.nodes[1])
        await until(lambda: not client.pool.ready)
        with pytest.raises(FlowError) as raised:
            await client.pool.dial(FlowRequest("echo.example", 80))
        assert raised.value.reason is Reason.NO_PATH
        assert client.pool.failure is Reason.LEAVING


# -- shedding


async def test_the_newest_circuits_are_shed_first() -> None:
    async with chain(1, Board().engine) as (network, client, _):
        relay = network.nodes[0].relay
        client.pool.builder._budget = Rate(0, 0, 0.0)  # none are built again
        old = held(network.nodes[0])
        new = [await bare(network, client) for _ in range(4)]
        assert relay.shed(3) == 3
        await until(lambda: sum(len(each.owner.reasons) for each in new) == 3)
        assert [each.owner.reasons for each in new] == [[], *[[Reason.BUSY]] * 3]
        assert set(old) < set(held(network.nodes[0]))
        assert relay.counters["shed"] == 3
        assert relay.shed(100) == len(old) + 1
        assert relay.shed(1) == 0


async def test_collected_data_is_whole_over_a_change() -> None:
    """Bytes that are under way when the relay says that it leaves arrive once."""
    async with four_relays(*ALL) as (network, client, _):
        flow = await client.pool.dial(FlowRequest("echo.example", 80))
        heard = Collect(flow)
        flow.attach(heard)
        sent = bytes(range(256)) * 4000
        flow.write(sent)
        path = circuit_of(client, flow).path
        leave(network.nodes[network.keys.index(path[1].peer)])
        await until(lambda: len(heard.data) >= len(sent) or heard.reason is not None)
        assert (bytes(heard.data), heard.reason) == (sent, None)
        assert circuit_of(client, flow).path[1].peer != path[1].peer
