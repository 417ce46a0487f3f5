"""Chains that are paid: both ends of each link count the same, and nothing moves that is not paid."""

from __future__ import annotations

import asyncio
import os
from functools import partial
from typing import TYPE_CHECKING

import pytest

from core.errors import Reason
from core.flow import FlowRequest
from tests.harness.barrier import Barrier
from tests.harness.network import blamed, held_against
from tests.harness.paid import Paid, heard, paid_chain
from tests.harness.tolls import PLENTY, Purse
from tests.harness.waiting import turns, until
from tests.harness.wire import Board, WireEngine
from tunnel import circuit, pulse, queues
from tunnel.datagram_tags import DATAGRAM_BYTES
from tunnel.engines import load_engine
from tunnel.limits import APART_BYTES, CIRCUIT_WINDOW, MAX_MESSAGE, PAID_WINDOW
from tunnel.padding import Shape

if TYPE_CHECKING:
    from tests.harness.network import Collect
    from tunnel.service import Tunnel

LARGE = os.urandom(APART_BYTES + 300_000)
"""A flow that leaves its lane, where lanes are not even."""

SINK = FlowRequest("sink.example", 80)


async def download(paid: Paid, data: bytes) -> None:
    """Let the exit send some bytes, and both ends finish."""
    listener = await paid.open(SINK)
    assert listener.flow is not None
    listener.flow.write(b"please")
    source = paid.echo.listeners[-1].flow
    assert source is not None
    source.write(data)
    source.finish()
    listener.flow.finish()
    await heard(listener, data)
    await until(lambda: listener.reason is Reason.DONE)


async def upload(paid: Paid, data: bytes) -> None:
    listener = await paid.open(SINK)
    assert listener.flow is not None
    listener.flow.write(data)
    listener.flow.finish()
    sink = paid.echo.listeners[-1]
    await heard(sink, data)
    assert sink.flow is not None
    sink.flow.finish()
    await until(lambda: listener.reason is Reason.DONE)


# -- counts


@pytest.mark.parametrize("count", [1, 2, 3, 4, 5])
async def test_both_ends_of_each_link_count_the_same(count: int) -> None:
    async with paid_chain(count) as paid:
        await upload(paid, LARGE)
        await download(paid, LARGE)
        await until(lambda: paid.agreed)
        assert [ours for ours, _ in paid.books] == [paid.crossed(place) for place in range(count)]
        assert min(ours for ours, _ in paid.books) > 2 * len(LARGE)
        assert all(till.rates == [paid.rate(place + 1)] * len(till.rates) for place, till in enumerate(paid.tills[:-2]))


@pytest.mark.parametrize("shape", list(Shape))
async def test_padding_counts(shape: Shape) -> None:
    async with paid_chain(2, shape=shape) as paid:
        for _ in range(5):
            await download(paid, b"little")
        await until(lambda: paid.agreed)
        assert [ours for ours, _ in paid.books] == [paid.crossed(place) for place in range(2)]
        least, most = {Shape.FREE: (0, 20_000), Shape.STEPS: (20_000, 100_000), Shape.EVEN: (160_000, 400_000)}[shape]
        assert least < paid.books[1][0] < most
        assert paid.books[0][0] > paid.books[1][0], "one layer more"


@pytest.mark.parametrize(("name", "size"), [("aioquic", 60_000), ("aiopquic", len(LARGE))])
async def test_counts_over_real_engines(name: str, size: int) -> None:
    async with paid_chain(2, partial(load_engine, name)) as paid:
        await download(paid, LARGE[:size])
        await upload(paid, LARGE[:size])
        await until(lambda: paid.agreed)
        assert min(ours for ours, _ in paid.books) > 2 * size


async def test_datagrams_count() -> None:
    async with paid_chain(2) as paid:
        association = await paid.client.pool.dial_datagrams()
        await until(lambda: paid.echo.associations)
        association.send("192.0.2.1", 53, bytes(500))
        await until(lambda: all(paid.payer(place).datagrams > 1_000 * paid.rate(place) for place in range(2)))
        await until(lambda: paid.agreed)
        assert [ours for ours, _ in paid.books] == [paid.crossed(place) for place in range(2)]
        assert all(500 < paid.payee(place).datagrams // paid.rate(place) < 700 for place in range(2)), "those sent back"
        assert all(1000 < paid.payer(place).datagrams // paid.rate(place) < 1400 for place in range(2)), "both ways"


@pytest.mark.parametrize("place", [0, 1])
async def test_the_payer_counts_datagrams_that_came_and_the_payee_those_that_it_sent(place: int) -> None:
    async with paid_chain(2) as paid:
        association = await paid.client.pool.dial_datagrams()
        await until(lambda: paid.echo.associations)
        await until(lambda: paid.agreed)
        payee = paid.network.nodes[place].engine
        assert isinstance(payee, WireEngine)
        (end,) = [connection for connection in payee.connections if not connection.dialled]
        lost: list[bytes] = []

        def lose(data: bytes) -> bool:
            lost.append(data)
            return True

        end.lose = lose
        association.send("192.0.2.1", 53, bytes(500))
        await until(lambda: lost)
        await until(lambda: [ours == theirs for ours, theirs in paid.books] == [place == 1, place == 0])
        ours, theirs = paid.books[place]
        assert theirs - ours == len(lost[0]) - DATAGRAM_BYTES


# -- what is not paid


async def begun(paid: Paid) -> tuple[Collect, Collect]:
    """A flow that has carried something, at both ends."""
    listener = await paid.open(SINK)
    assert listener.flow is not None
    listener.flow.write(b"begin")
    await until(lambda: paid.echo.listeners and paid.echo.listeners[-1].data)
    await until(lambda: paid.agreed)
    paid.echo.listeners[-1].data.clear()
    return listener, paid.echo.listeners[-1]


@pytest.mark.parametrize("place", range(3))
@pytest.mark.parametrize(
    ("way", "who"), [("down", "payee"), ("up", "payee"), ("up", "payer"), ("down", "both"), ("up", "both")]
)
async def test_service_stops_at_what_is_paid_and_goes_on(place: int, way: str, who: str) -> None:
    """Whichever end has had enough, at whichever link. Then it is paid bit by bit, and everything comes, in order."""
    async with paid_chain(3) as paid:
        near, far = await begun(paid)
        source, target = (near, far) if way == "up" else (far, near)
        rate, before = paid.rate(place), paid.crossed(place)
        ends = {"payer": [paid.payer(place)], "payee": [paid.payee(place)]}
        purses = ends.get(who, [*ends["payer"], *ends["payee"]])
        for purse in purses:
            purse.stop(100_000 * rate)
        assert source.flow is not None
        source.flow.write(LARGE)
        source.flow.finish()
        await until(lambda: any(purse.waiting for purse in purses))
        await turns(200)
        assert all(purse.used <= purse.paid for purse in purses)
        assert 30_000 < len(target.data) < 100_000
        assert bytes(target.data) == LARGE[: len(target.data)]
        if who != "payee":  # else the payer sends what the payee keeps
            assert paid.crossed(place) - before <= 100_000
        while not target.eof:
            for purse in purses:
                purse.pay(50_000 * rate)
            await turns(20)
        assert bytes(target.data) == LARGE
        for purse in purses:
            purse.pay(PLENTY)
        await until(lambda: paid.agreed)
        assert paid.crossed(place) == paid.books[place][0]


async def test_flows_wait_by_the_thousand() -> None:
    async with paid_chain(2) as paid:
        listeners = [await paid.open() for _ in range(1000)]
        await until(lambda: all(circuit.rtt_s for circuit in paid.client.pool.circuits))
        paid.payer(0).stop()
        for number, listener in enumerate(listeners):
            assert listener.flow is not None
            listener.flow.write(number.to_bytes(2) * 50)
        await until(lambda: paid.payer(0).waiting)
        await turns()
        assert not any(listener.data for listener in listeners)
        paid.payer(0).pay(PLENTY)
        for number, listener in enumerate(listeners):
            await heard(listener, number.to_bytes(2) * 50)


def has_dropped(node: Tunnel) -> bool:
    return sum(link.counters["datagram unpaid"] for link in node.links) == 1


async def test_datagrams_that_are_not_paid_are_dropped() -> None:
    async with paid_chain(2) as paid:
        association = await paid.client.pool.dial_datagrams()
        await until(lambda: paid.echo.associations)
        await until(lambda: paid.agreed)
        for purse, node in ((paid.payer(0), paid.client), (paid.payee(1), paid.network.nodes[1])):
            purse.stop()
            association.send("192.0.2.1", 53, b"lost")
            await until(partial(has_dropped, node))
            purse.pay(PLENTY)
        association.send("192.0.2.1", 53, b"comes")
        await until(lambda: paid.echo.associations[0].datagrams == [("192.0.2.1", 53, b"comes")])


# -- bounds and ends


async def test_what_waits_for_money_at_a_hop_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    async with paid_chain(2) as paid:
        listeners = [await paid.open(SINK) for _ in range(20)]
        await until(lambda: paid.agreed)
        monkeypatch.setattr(queues, "CIRCUIT_QUEUE", 400_000)
        monkeypatch.setattr(queues, "QUEUE_STEP", 20_000)
        relay = paid.network.nodes[0].relay
        paid.network.early = True
        paid.payee(0).stop()
        for listener in listeners:
            assert listener.flow is not None
            listener.flow.write(bytes(60_000))
        await until(lambda: relay.counters["over budget"] == 1)
        await until(lambda: paid.client.pool.counters["circuit unpaid"] == 1)
        assert relay.queues.held_bytes < 1_000, "the pings of the other circuit"
        assert all(held in relay._held() for held in relay.queues._held_up)


async def test_a_hop_does_not_pay_on_for_a_payer_that_does_not_pay() -> None:
    """Whichever of its circuits goes too far ends, and what moves goes on."""
    async with paid_chain(3) as paid:
        near, far = await begun(paid)
        paid.network.early = True
        guard, income = paid.network.nodes[0].relay, paid.payee(0)
        income.stop()
        income.advances = 10_000
        assert far.flow is not None
        far.flow.write(LARGE)
        await until(lambda: guard.counters["over budget"] and paid.client.pool.counters["circuit unpaid"])
        assert not near.data
        assert income.owed == paid.payer(1).used
        longest = MAX_MESSAGE * paid.rate(1)
        # One message goes too far, and one was under way.
        assert income.advances < income.owed - income.used <= income.advances + 2 * longest
        assert income.calls == guard.counters["over budget"]


async def test_who_cannot_pay_the_next_hop_keeps_no_more_than_for_a_slow_one(monkeypatch: pytest.MonkeyPatch) -> None:
    async with paid_chain(2) as paid:
        listeners = [await paid.open(SINK) for _ in range(20)]
        await until(lambda: paid.agreed)
        monkeypatch.setattr(queues, "CIRCUIT_QUEUE", 400_000)
        monkeypatch.setattr(queues, "QUEUE_STEP", 20_000)
        relay = paid.network.nodes[0].relay
        paid.network.early = True
        paid.payer(1).stop()
        for listener in listeners:
            assert listener.flow is not None
            listener.flow.write(bytes(60_000))
        await until(lambda: relay.counters["over budget"] == 1)
        await turns()
        assert all(held in relay._held() for held in relay.queues._held_up)


async def test_what_waits_for_money_at_the_client_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    async with paid_chain(2) as paid:
        near, _ = await begun(paid)
        monkeypatch.setattr(circuit, "UNPAID_QUEUE", 10_000)
        paid.payer(0).stop()
        assert near.flow is not None
        near.flow.write(bytes(60_000))
        await until(lambda: paid.client.pool.counters["circuit unpaid"])
        assert held_against(paid.network, paid.client) == [], "it was this node that did not pay"


@pytest.mark.parametrize(("stops", "at_fault"), [(True, []), (False, [0, 1])])
async def test_a_guard_that_is_not_paid_may_say_so(stops: bool, at_fault: list[int]) -> None:
    async with paid_chain(2) as paid:
        near, _ = await begun(paid)
        paid.network.early = True
        assert near.flow is not None
        if stops:
            paid.payer(0).stop()
            near.flow.write(b"waits")
            await until(lambda: paid.payer(0).waiting)
        max(paid.network.nodes[0].relay._held(), key=lambda held: len(held.flows)).close(Reason.UNPAID)
        await until(lambda: paid.client.pool.counters["circuit unpaid"])
        assert held_against(paid.network, paid.client) == at_fault


@pytest.mark.parametrize("place", range(2))
async def test_what_never_left_is_not_counted_when_the_link_dies(place: int) -> None:
    async with paid_chain(2) as paid:
        _, far = await begun(paid)
        payee, engine = paid.payee(place), paid.network.nodes[place].engine
        assert isinstance(engine, WireEngine)
        (end,) = [connection for connection in engine.connections if not connection.dialled]
        before, end.stalled = payee.used, True
        assert far.flow is not None
        far.flow.write(bytes(20_000))
        await until(lambda: end.queued_bytes > 20_000)
        assert payee.used - before > 20_000 * paid.rate(place)
        end.close()
        await until(lambda: payee.given_back)
        assert abs(payee.used - before) < 100 * paid.rate(place), "but for the mean size of what was queued"


@pytest.mark.parametrize("who", ["payer", "payee"])
@pytest.mark.parametrize("place", range(3))
async def test_a_circuit_that_ends_leaves_nothing_waiting(place: int, who: str) -> None:
    async with paid_chain(3) as paid:
        near, far = await begun(paid)
        purse = getattr(paid, who)(place)
        purse.stop()
        for listener in (near, far):
            assert listener.flow is not None
            listener.flow.write(bytes(60_000))
        await until(lambda: purse.waiting)
        await turns()
        paid.network.early = True
        for node in paid.network.nodes:
            node.relay.end_circuits(Reason.LIMIT)
        await until(lambda: not any(node.relay.circuit_count for node in paid.network.nodes[:2]))
        await turns()
        assert not any(node.relay.queues.held_bytes for node in paid.network.nodes)
        used = purse.used
        purse.pay(PLENTY)
        assert purse.used == used, "nothing of it moves any more"


async def test_a_flow_that_is_reset_while_it_waits() -> None:
    """The reset waits behind what was said before, and the flow is over at both ends when it is paid."""
    async with paid_chain(2) as paid:
        near, far = await begun(paid)
        paid.payer(0).stop()
        assert near.flow is not None
        near.flow.write(b"last words")
        await until(lambda: paid.payer(0).waiting)
        near.flow.reset(Reason.LOCAL)
        await turns()
        assert far.reason is None
        paid.payer(0).pay(PLENTY)
        await until(lambda: far.reason is Reason.LOCAL)
        assert bytes(far.data) == b"last words"


# -- beside an operator's limit


async def test_what_is_paid_waits_for_its_turn_and_what_has_its_turn_is_paid() -> None:
    async with paid_chain(2) as paid:
        barrier = Barrier()
        paid.network.nodes[0].relay.gate = barrier
        old = set(paid.client.pool.circuits)
        paid.client.pool.hop()
        await until(lambda: paid.client.pool.ready == 2 and not old & set(paid.client.pool.circuits))
        near, far = await begun(paid)
        barrier.open = False
        paid.payer(1).stop(20_000)
        assert near.flow is not None
        near.flow.write(LARGE[:60_000])
        await until(lambda: barrier.waiting)
        assert not far.data, "it is paid and has not had its turn"
        barrier.let_all_go()
        await until(lambda: paid.payer(1).waiting)
        await turns()
        assert len(far.data) < 20_000, "it has had its turn and is not paid"
        assert paid.payer(1).used <= paid.payer(1).paid
        paid.payer(1).pay(PLENTY)
        await heard(far, LARGE[:60_000])


# -- a client that does not pay


async def test_a_client_that_has_not_paid_takes_nobody_for_silent(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in (("PING_EVERY_S", 0.05), ("UNEASY_S", 0.1), ("SUSPECT_S", 0.2)):
        monkeypatch.setattr(pulse, name, value)
    async with paid_chain(2) as paid:
        near, _ = await begun(paid)
        carrying = next(found for found in paid.client.pool.circuits if found.flows)
        paid.payer(0).stop()
        assert near.flow is not None
        near.flow.write(b"waits")
        await until(lambda: paid.payer(0).waiting)
        since = asyncio.get_running_loop().time()
        await until(lambda: asyncio.get_running_loop().time() > since + 0.6)
        assert not carrying.over
        paid.payer(0).pay(PLENTY)
        await until(lambda: paid.echo.listeners[-1].data == b"waits")
        assert carrying.pulse.rtt_s is not None
        paid.payee(0).stop()
        await until(lambda: carrying.over)
        assert blamed(paid.network, paid.client), "the guard is paid and does nothing"


@pytest.mark.parametrize(
    ("advance", "least", "most"), [(0, PAID_WINDOW, PAID_WINDOW), (PLENTY, 2 * PAID_WINDOW, CIRCUIT_WINDOW)]
)
async def test_more_may_soon_be_under_way_on_a_circuit_whose_guard_is_paid_far_ahead(
    advance: int, least: int, most: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The delay is that of a line of some length: only then does a window make a difference."""
    monkeypatch.setattr(Purse, "window", property(lambda _: advance))
    async with paid_chain(3, Board(0.01).engine) as paid:
        await download(paid, os.urandom(1_000_000))
        [credit] = {found.credit for found in paid.client.pool.circuits if found.credit.moved_bytes > 1_000_000}
        assert least <= credit._window.window <= most
