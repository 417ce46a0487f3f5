"""What a hop makes of creations, in a whole network over engines in memory: replays, refusals, limits, and ends."""

from __future__ import annotations

import asyncio
import secrets
import time
from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

import pytest

from core.errors import CircuitError, Reason
from tests.harness.bare import Bare, bare, check_alive, counts, creation_for, path_of
from tests.harness.entropy import flipped
from tests.harness.linked import Owner
from tests.harness.network import Network, chain, three_hops
from tests.harness.waiting import turns, until
from tests.harness.wire import Board, WireEngine
from tests.tunnel.wireguard.reference import mac1
from tunnel import relay as relay_module
from tunnel.creation import ANSWER_BYTES, CREATION_BYTES, Creation
from tunnel.wireguard.noise import NO_PSK
from tunnel.wireguard.primitives import private_key, public_bytes

if TYPE_CHECKING:
    from core.ids import PeerKey
    from tunnel.link import Link
    from tunnel.path import Hop, Path
    from tunnel.service import Tunnel


async def test_a_next_hop_that_is_not_known_is_looked_for() -> None:
    async with three_hops(Board().engine) as (network, client, _):
        path = path_of(network)
        looked: list[bytes] = []

        async def find(peer: PeerKey) -> None:
            looked.append(peer)
            network.hops[peer] = path[2]

        network.nodes[1].relay._find = find
        del network.hops[path[2].peer]
        link = await client.links.to(path[0])
        creation = creation_for(path)
        _, answer = await link.create(creation.message, Owner(), 1)
        creation.consume_answer(answer)
        assert looked == [path[2].peer]
        again = creation_for(path)
        _, answer = await link.create(again.message, Owner(), 1)
        again.consume_answer(answer)
        assert len(looked) == 1


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


PATIENCE_S = 10.0
"""Longer than a busy machine may let a test stand still."""


async def refused(network: Network, client: Tunnel, path: Path) -> Case:
    """Create a circuit in vain; give the place and the reason. Nothing of it may stay anywhere."""
    link = await client.links.to(path[0])
    await turns()
    before = [len(one._owners) for node in network.nodes for one in node.links]
    creation = creation_for(path)
    _, answer = await link.create(creation.message, Owner(), PATIENCE_S)
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
