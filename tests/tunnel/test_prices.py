"""What circuits cost when they are made: rates in slots, margins, and who is to blame if somebody is not paid."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from core.errors import CircuitError, FlowError, Reason
from core.flow import FlowRequest
from core.tariffs import RATES
from tests.harness.network import Network, blamed, chain, held_against
from tests.harness.paid import paid_chain
from tests.harness.tolls import Till
from tests.harness.waiting import turns, until
from tests.harness.wire import Board
from tunnel import toll
from tunnel.path import rates_of
from tunnel.toll import NO_TOLL

if TYPE_CHECKING:
    from core.ids import PeerKey
    from tests.harness.paid import Paid
    from tests.harness.tolls import Purse
    from tunnel.link import Link


async def build(paid: Paid) -> CircuitError | None:
    """Build one more circuit; returns what stood against it."""
    path = paid.network.choose((), None)
    try:
        built = await paid.client.pool.builder.build(path)
    except CircuitError as error:
        return error
    built.close(Reason.DONE)
    return None


@pytest.mark.parametrize("count", [1, 3, 5])
async def test_each_hop_reads_what_it_is_paid_and_pays(count: int) -> None:
    async with paid_chain(count) as paid:
        assert await build(paid) is None
        for place, till in enumerate(paid.tills[:-1]):
            assert set(till.offered) == {(count - place, count - place - 1)}


async def test_a_path_is_reckoned_at_the_highest_step() -> None:
    async with paid_chain(3) as paid:
        path = list(paid.network.choose((), None))
        path[1] = replace(path[1], tariff=4)
        assert rates_of(tuple(path)) == (3 * RATES[4], 2 * RATES[4], RATES[4], 0)


async def test_step_0_costs_nothing_and_asks_nobody() -> None:
    tills: list[Till] = []

    def till() -> Till:
        tills.append(Till())
        return tills[-1]

    async with chain(3, Board().engine, toll=till):
        assert all(not found.rates and not found.paid for found in tills)
        assert {offer for found in tills for offer in found.offered} == {(0, 0)}


@pytest.mark.parametrize("place", range(3))
async def test_a_hop_that_asks_more_refuses(place: int) -> None:
    async with paid_chain(3) as paid:
        paid.tills[place].asks = 2
        error = await build(paid)
        assert error is not None
        assert (error.reason, error.hop) == (Reason.PRICE, place)
        assert blamed(paid.network, paid.client) == [place]


@pytest.mark.parametrize("place", range(3))
async def test_a_hop_without_money_takes_no_part_in_what_costs(place: int) -> None:
    async with paid_chain(3) as paid:
        paid.network.nodes[place].relay._toll = NO_TOLL
        error = await build(paid)
        assert error is not None
        assert (error.reason, error.hop) == (Reason.NO_CHANNEL, place)
        assert blamed(paid.network, paid.client) == []


async def test_a_client_without_money_builds_nothing_that_costs() -> None:
    network = Network(Board().engine, tariff=1)
    try:
        await network.add()
        network.paths = [[0]]
        client = network.client()
        await client.start(0, client=True)
        await until(lambda: client.pool.failure is Reason.NO_CHANNEL)
        assert network.nodes[0].relay.counters.total() == 0
        assert blamed(network, client) == []
    finally:
        await network.close()


@pytest.mark.parametrize(
    ("refuses", "told", "at_fault"),
    [
        (Reason.NO_CHANNEL, Reason.NO_CHANNEL, []),
        (Reason.SPENDING_CAP, Reason.NO_CHANNEL, []),
        (Reason.COUNTS_DIFFER, Reason.COUNTS_DIFFER, [2]),
    ],
)
async def test_a_relay_that_cannot_pay_says_so(refuses: Reason, told: Reason, at_fault: list[int]) -> None:
    async with paid_chain(3) as paid:
        paid.tills[1].refuses = refuses
        error = await build(paid)
        assert error is not None
        assert (error.reason, error.hop) == (told, 1)
        assert blamed(paid.network, paid.client) == at_fault


class Slow(Till):
    """Whose money is not taken."""

    async def paying(self, link: Link, peer: PeerKey, rate: int) -> Purse:
        await asyncio.Event().wait()
        raise AssertionError


@pytest.mark.parametrize("place", [-1, 0])
async def test_a_next_hop_that_takes_no_money_in_time(place: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(toll, "PAYING_S", 0.05)
    async with paid_chain(2) as paid:
        payer = paid.client.pool.builder if place < 0 else paid.network.nodes[place].relay
        monkeypatch.setattr(payer, "_toll", Slow())
        error = await build(paid)
        assert error is not None
        assert (error.reason, error.hop) == (Reason.NO_CHANNEL, place)
        assert not blamed(paid.network, paid.client), "once is nobody's fault"
        for _ in range(6):
            await build(paid)
        assert place + 1 in blamed(paid.network, paid.client), "who never takes money is of no use"


async def test_a_spending_cap_reaches_the_user(monkeypatch: pytest.MonkeyPatch) -> None:
    async with paid_chain(2) as paid:
        paid.tills[-1].refuses = Reason.SPENDING_CAP
        for node in paid.network.nodes[:-1]:
            node.relay.end_circuits(Reason.LIMIT)
        await until(lambda: not paid.client.pool.circuits)
        await until(lambda: paid.client.pool.builder.cannot_pay is Reason.SPENDING_CAP)
        monkeypatch.setattr("tunnel.opening.PATH_S", 0.1)
        with pytest.raises(FlowError) as caught:
            await paid.client.pool.dial(FlowRequest("echo.example", 80))
        assert caught.value.reason is Reason.SPENDING_CAP
        paid.tills[-1].refuses = None
        monkeypatch.setattr("tunnel.opening.PATH_S", 5.0)
        flow = await paid.client.pool.dial(FlowRequest("echo.example", 80))
        assert paid.client.pool.builder.cannot_pay is None
        flow.reset(Reason.LOCAL)


@pytest.mark.parametrize(
    ("reason", "at_fault"), [(Reason.SPENDING_CAP, []), (Reason.COUNTS_DIFFER, [0]), (Reason.UNPAID, [0])]
)
async def test_a_client_that_stops_paying_ends_its_circuits(reason: Reason, at_fault: list[int]) -> None:
    async with paid_chain(2) as paid:
        circuits = paid.client.pool.circuits
        paid.network.early = True
        paid.client.end_paid(circuits[0].link, reason, pays=True)
        assert all(circuit.over for circuit in circuits)
        assert held_against(paid.network, paid.client) == at_fault
        await until(lambda: paid.network.nodes[1].relay.circuit_count == 0)
        assert blamed(paid.network, paid.client) == at_fault


@pytest.mark.parametrize("pays", [True, False])
async def test_a_relay_ends_what_is_not_paid_on_a_link_and_nothing_else(pays: bool) -> None:
    async with paid_chain(2) as paid:
        guard = paid.network.nodes[0]
        near, far = next(iter(paid.tills[0].paid)), next(iter(paid.tills[0].pays))
        paid.network.early = True
        guard.end_paid(near if pays else far, Reason.UNPAID, pays=pays)
        await turns()
        assert guard.relay.circuit_count == 2
        guard.end_paid(far if pays else near, Reason.UNPAID, pays=pays)
        await until(lambda: paid.client.pool.counters["circuit unpaid"] == 2)
        assert guard.relay.circuit_count == 0


async def test_tolls_hear_of_links_that_are_gone() -> None:
    async with paid_chain(2) as paid:
        near, far = next(iter(paid.tills[0].paid)), next(iter(paid.tills[0].pays))
        far.close()
        near.close()
        await until(lambda: {near, far} <= set(paid.tills[0].downs))
        await until(lambda: len(paid.tills[1].downs) == 1)


async def test_messages_about_money_reach_the_neighbours_toll() -> None:
    async with paid_chain(1) as paid:
        link = paid.client.pool.circuits[0].link
        link.send_payment(b"voucher")
        await until(lambda: paid.tills[0].payments == [b"voucher"])
        link.send_payment(b"wrong")
        await until(lambda: link.closed)
