"""Cheats as whole nodes: real tunnels and wallets of a path, and somebody on it who does not keep to the rules.

An exit that sends junk is in `tests/tunnel/test_use.py`.
"""

from __future__ import annotations

import asyncio
import os
from typing import TYPE_CHECKING, Final

import pytest

from core.errors import CircuitError, Reason
from ledger.account import window_units
from ledger.amounts import PARTS_PER_UNIT
from tests.harness.barrier import Barrier
from tests.harness.earning import SINK, earning, rate_of
from tests.harness.network import Collect, held_against
from tests.harness.waiting import turns, until
from tunnel.limits import MAX_MESSAGE

if TYPE_CHECKING:
    from pathlib import Path

    from tests.harness.earning import Earner, Earning

HOPS: Final = 3
CIRCUITS: Final = 3
NEWCOMERS: Final = int(os.environ.get("NEW_KEYS", "20"))
NEW_RELAYS: Final = int(os.environ.get("NEW_RELAYS", "5"))
"""Identities that somebody makes."""


def first_window(hops: int, place: int) -> int:
    """Parts in the first window of the hop at a place."""
    return window_units(0, rate_of(hops, place)) * PARTS_PER_UNIT


async def grab(path: Earning, client: Earner, circuits: int, flows: int) -> int:
    """Ask for much, then pay nothing more, and see what comes; bytes of it."""
    asked, sources = await path.ask(client, circuits, flows)
    client.stop_paying()
    send(sources)
    guard = path.hops[path.way[0]]
    await until(lambda: guard.waits or all(near.reason for near in asked))
    await at_rest(path)
    return sum(len(near.data) for near in asked)


async def at_rest(path: Earning) -> None:
    """Wait until nothing comes any more."""
    before, owed = -1, 0
    while before < owed:
        before = owed
        await turns(200)
        owed = sum(hop.owes for hop in path.hops)


def send(sources: list[Collect]) -> None:
    for source in sources:
        assert source.flow is not None
        source.flow.write(bytes(200_000))


def count_the_same(path: Earning) -> bool:
    """Whether no hop has fallen out with another over what was used."""
    return not any(reason is Reason.COUNTS_DIFFER for hop in path.hops for reason, _ in hop.stops)


def loss(hop: Earner) -> int:
    """Parts that a hop owes others, whether it has signed for them or not, beyond what it was paid."""
    return hop.owes - hop.got * PARTS_PER_UNIT


# -- payers


@pytest.mark.parametrize(("circuits", "flows"), [(1, 60), (2, 30), (8, 8), (50, 2)])
async def test_who_asks_for_much_and_pays_no_more_costs_a_hop_no_more_than_a_window(
    tmp_path: Path, circuits: int, flows: int
) -> None:
    """On a few circuits or on many, whatever credit the exit has, and the next hop nothing: the guard pays."""
    async with earning(tmp_path, HOPS) as path:
        path.greedy = True
        client = await path.client()
        got = await grab(path, client, circuits, flows)
        guard, relay, _ = path.hops
        await until(lambda: not guard.tunnel.relay.circuit_count, 20)
        print(f"{circuits} circuits with {flows} flows cost {loss(guard) / 10**6:.1f}, {loss(relay) / 10**6:.1f} units")
        assert guard.got * PARTS_PER_UNIT // 2 < got * rate_of(HOPS, 0) <= guard.got * PARTS_PER_UNIT
        assert loss(guard) <= first_window(HOPS, 0)
        assert loss(relay) <= first_window(HOPS, 1)


async def test_datagrams_that_nobody_pays_for_cost_a_hop_no_more_than_a_window(tmp_path: Path) -> None:
    """They do not wait, and no credit bounds them: whoever the client writes to may send on and on."""
    async with earning(tmp_path, HOPS) as path:
        client, guard = await path.client(), path.hops[0]
        circuit, ended = await path.circuit(client)
        association = circuit.open_datagrams()
        await association.flow.opened
        association.send("192.0.2.1", 53, b"send on and on")
        await until(lambda: path.echo.associations and path.echo.associations[0].datagrams)
        client.stop_paying()
        while not ended.reason:
            path.echo.associations[0].flow.send("192.0.2.1", 53, bytes(1000))
            await turns(1)
            assert loss(guard) <= first_window(HOPS, 0)
        assert ended.reason is Reason.UNPAID
        assert guard.owes > 0


@pytest.mark.long
async def test_a_link_that_is_dialled_again_costs_no_other_window(tmp_path: Path) -> None:
    """What is owed beyond what the guard is ready to owe is taken from what is paid next."""
    async with earning(tmp_path, HOPS) as path:
        path.greedy = True
        client, guard = await path.client(), path.hops[0]
        refused: set[Reason] = set()
        for _ in range(8):
            try:
                await grab(path, client, 4, 16)
            except CircuitError as error:  # the relay is not ready to owe more for the guard, which is new to it
                refused.add(error.reason)
                break
            for link in client.tunnel.links:
                link.close()
            await until(lambda: not guard.paying._in)
            print(f"dialled again: {loss(guard) / 10**6:.1f} units")
            assert loss(guard) <= window_units(guard.got, rate_of(HOPS, 0)) * PARTS_PER_UNIT
        assert refused <= {Reason.UNPAID}
        assert count_the_same(path)


async def test_new_clients_get_what_they_have_paid_ahead_and_cost_no_more_than_a_window_each(tmp_path: Path) -> None:
    """The guard pays the relay for what comes and goes nowhere, so the two count the same."""
    async with earning(tmp_path, HOPS) as path:
        path.greedy = True
        guard, got = path.hops[0], 0
        for count in range(1, NEWCOMERS + 1):
            client = await path.client()
            got += await grab(path, client, CIRCUITS, 16)
            await path.leave(client)
            assert got * rate_of(HOPS, 0) <= guard.got * PARTS_PER_UNIT <= count * first_window(HOPS, 0)
            assert loss(guard) <= count * first_window(HOPS, 0)
        assert count_the_same(path)
        [to_relay] = [end.session.account for end in guard.paying._out.values() if end.channel]
        assert to_relay.stated - to_relay.counted <= MAX_MESSAGE * rate_of(HOPS, 1)
        assert len(guard.wallet.store.payees) == NEWCOMERS
        assert got * rate_of(HOPS, 0) > NEWCOMERS * first_window(HOPS, 0) // 4, "and that they do get"
        print(f"{NEWCOMERS} clients: {got / 10**6:.1f} MB for {guard.got} units; cost {loss(guard) / 10**6:.1f} units")


async def test_new_relays_get_what_they_have_paid_ahead(tmp_path: Path) -> None:
    """The one before the exit is another each time, and takes the money of an honest client."""
    async with earning(tmp_path, 1) as path:
        exit, client, earned = path.hops[0], await path.client(), 0
        for count in range(1, NEW_RELAYS + 1):
            relay = await path.add_hop(ends=False)
            path.way = [count, 0]
            _, sources = await path.ask(client, 1, 30)
            relay.stop_paying()
            send(sources)
            await until(lambda: exit.waits)
            await at_rest(path)
            await path.leave(relay)
            await until(lambda: not exit.paying._in)
            earned = int(exit.paying.sums()["earned"])
            assert earned <= exit.got <= count * first_window(2, 1) // PARTS_PER_UNIT
        assert count_the_same(path)
        assert earned > NEW_RELAYS * first_window(2, 1) // PARTS_PER_UNIT // 4
        print(f"{NEW_RELAYS} relays: {earned} units used, {exit.got} paid")


async def test_who_stops_paying_gets_no_more_than_a_window_in_a_second(tmp_path: Path) -> None:
    async with earning(tmp_path, HOPS) as path:
        client = await path.client()
        [near], [far] = await path.ask(client, 1, 1)
        assert far.flow is not None
        far.flow.write(bytes(20_000_000))
        await until(lambda: len(near.data) > 5_000_000, 20)
        client.stop_paying()
        before, loop = len(near.data), asyncio.get_running_loop()
        stopped, paid = loop.time(), path.hops[0].got
        await until(lambda: loop.time() > stopped + 1)
        late = len(near.data)
        rate = rate_of(HOPS, 0)
        assert (late - before) * rate <= window_units(client.wallet.store.signed, rate) * PARTS_PER_UNIT
        await until(lambda: near.reason, 10)
        assert len(near.data) == late
        assert path.hops[0].got >= paid
        assert loss(path.hops[0]) <= 0


# -- payees


async def test_a_guard_that_takes_money_and_carries_nothing_is_left(tmp_path: Path) -> None:
    """It costs the client what was paid ahead, at most a window, and the flow goes on over another."""
    async with earning(tmp_path, 2) as path:
        await path.add_hop(ends=False)
        path.network.paths = [[0, 1], [2, 1]]
        barriers = {0: Barrier(), 2: Barrier()}
        for place, barrier in barriers.items():
            path.hops[place].tunnel.relay.gate = barrier
        client = await path.client(starts=True)
        await until(lambda: sum(circuit.rtt_s is not None for circuit in client.tunnel.pool.circuits) == 2)
        flow = await client.tunnel.pool.dial(SINK)
        near = Collect(flow)
        flow.attach(near)
        await until(lambda: path.echo.listeners)
        [carrying] = [circuit for circuit in client.tunnel.pool.circuits if circuit.flows]
        place = path.network.keys.index(carrying.path[0].peer)
        barriers[place].open = barriers[place].urgent_passes = False
        far = path.echo.listeners[0].flow
        assert far is not None
        accused: set[int] = set()

        def came() -> bool:
            accused.update(held_against(path.network, client.tunnel))
            return len(near.data) == 3_000_000

        far.write(bytes(3_000_000))
        await until(came, 20)
        assert place in accused
        [carrying] = [circuit for circuit in client.tunnel.pool.circuits if circuit.flows]
        assert carrying.path[0].peer == path.network.keys[2 - place]
        assert 0 < path.hops[place].got * PARTS_PER_UNIT <= first_window(2, 0)
