"""Streams that are left: both ends of a link count what is under way when a circuit ends, and nothing stays behind."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import TYPE_CHECKING

import pytest

from core.errors import Reason
from core.flow import FlowRequest
from tests.harness.linked import Linked, Receiver, record
from tests.harness.paid import Paid, paid_chain
from tests.harness.tolls import PLENTY, Purse
from tests.harness.waiting import turns, until
from tests.harness.wire import Board, WireEngine
from tunnel import leftover
from tunnel.creation import ANSWER_BYTES
from tunnel.engines import load_engine
from tunnel.limits import CIRCUIT_WINDOW, LEFT_EXTRA, PAID_WINDOW, READY_CIRCUITS
from tunnel.tally import Tally

if TYPE_CHECKING:
    from collections.abc import Callable

    from tunnel.engines.seam import Engine
    from tunnel.link_stream import LinkStream

RATE = 3
SINK = FlowRequest("sink.example", 80)
MUCH = PAID_WINDOW // 8
FAR_S = 0.01
"""From one neighbour to the next."""


def message(size: int = 1000) -> bytes:
    return bytes(size)


class Ends:
    """Two neighbours, a stream of a circuit that costs something, and what each end has counted."""

    def __init__(self, linked: Linked) -> None:
        self.linked = linked
        self.payer, self.payee = (Purse(pays=pays, paid=PLENTY) for pays in (True, False))
        self.income = Purse(pays=False, paid=0)
        tallies = [
            Tally(self.payer, RATE, lambda _: None, self.income),
            Tally(self.payee, RATE, lambda _: None),
        ]
        self.receiver = Receiver()
        self.near: LinkStream = linked.near.open_stream(self.receiver, tallies[0])
        linked.far_events.tally = tallies[1]

    @classmethod
    async def up(cls, delay_s: float = 0.0) -> Ends:
        ends = cls(await Linked.up())
        ends.near.send(record(message()))
        await turns()
        ends.linked.near_wire.delay_s = ends.linked.far_wire.delay_s = delay_s
        return ends

    @property
    def far(self) -> LinkStream:
        [receiver] = self.linked.far_events.opened
        assert receiver.stream is not None
        return receiver.stream

    @property
    def counted(self) -> tuple[int, int]:
        return self.payer.used // RATE, self.payee.used // RATE

    @property
    def over(self) -> bool:
        return self.linked.near.stream_count == self.linked.far.stream_count == 0


def send_much(*streams: LinkStream, count: int = 50) -> None:
    for _ in range(count):
        for stream in streams:
            stream.send(record(message()))


@pytest.mark.parametrize("who", [("near",), ("far",), ("near", "far")], ids="-".join)
async def test_both_ends_count_what_is_under_way_when_either_leaves(who: tuple[str, ...]) -> None:
    """And the other one when it hears of it."""
    ends = await Ends.up(FAR_S)
    near, far = ends.near, ends.far
    heard = len(ends.receiver.messages), len(ends.linked.far_events.opened[0].messages)
    send_much(near, far)
    for name in who:
        getattr(ends, name).leave()
    send_much(near, far, count=0 if who == ("near", "far") else 1)
    ends.receiver.then_ended = near.leave
    ends.linked.far_events.opened[0].then_ended = far.leave
    await until(lambda: ends.over)
    sent = 1 + 50 + 50 + len({"near", "far"} - set(who))
    assert ends.counted == (sent * 1000, sent * 1000)
    if "near" in who:
        assert (len(ends.receiver.messages), ends.receiver.ends) == (heard[0], 0), "nobody hears what comes late"
    if "far" in who:
        assert len(ends.linked.far_events.opened[0].messages) == heard[1]
    assert not ends.linked.near_wire.resets + ends.linked.far_wire.resets


async def test_what_waits_outside_of_quic_is_dropped_and_not_counted() -> None:
    ends = await Ends.up()
    ends.linked.far_wire.stalled = True
    send_much(ends.far)
    ends.far.leave()
    assert ends.linked.far.connection.queued_bytes == 0
    assert ends.counted == (1000, 1000)
    ends.linked.far_wire.go_on()
    ends.near.leave()
    await turns()
    assert ends.over


async def test_what_comes_for_a_circuit_that_is_over_counts_also_on_streams_that_were_not_left() -> None:
    ends = await Ends.up()
    assert ends.far.tally is not None
    ends.far.tally.clear()
    assert not ends.far.cut
    ends.near.send(record(message()))
    await turns()
    assert ends.counted == (2000, 2000)
    assert len(ends.linked.far_events.opened[0].messages) == 1


async def test_a_stream_that_ended_before_is_over_when_it_is_left() -> None:
    ends = await Ends.up()
    ends.far.finish()
    await turns()
    assert ends.receiver.ends == 1
    assert ends.linked.near.stream_count == 1
    ends.near.leave()
    assert ends.linked.near.stream_count == 0
    ends.far.leave()
    ends.far.leave()
    await turns()
    assert ends.over
    assert ends.linked.far_wire.ended == [ends.near.id], "its end was said before"


async def test_a_stream_that_costs_nothing_is_cut_off_at_once() -> None:
    linked = await Linked.up()
    stream = linked.near.open_stream(Receiver())
    stream.send(record(message()))
    await turns()
    stream.leave()
    assert linked.near_wire.resets == [stream.id]
    assert not len(linked.near.leftovers)
    assert linked.near.stream_count == 0


async def test_a_stream_of_which_nobody_heard_is_forgotten_at_once() -> None:
    ends = await Ends.up()
    stream = ends.linked.near.open_stream(Receiver(), Tally(ends.payer, RATE, lambda _: None))
    stream.leave()
    assert ends.linked.near_wire.resets == [stream.id]
    assert not len(ends.linked.near.leftovers)


# -- limits


@pytest.mark.parametrize("begun", [0, 1])
async def test_a_stream_that_the_other_end_does_not_end_is_reset(begun: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(leftover, "LEFT_S", 0.05)
    ends = await Ends.up()
    far = ends.far
    ends.near.leave()
    if begun:
        ends.linked.far_wire.write(far.id, b"\x10")
    send_much(far, count=0 if begun else 3)
    await turns()
    link = ends.linked.near
    assert (link.stream_count, len(link.leftovers)) == (1, 1)
    assert (link._begun.total_bytes > 0) == bool(begun)
    await until(lambda: ends.linked.near_wire.resets == [far.id])
    assert (link.stream_count, len(link.leftovers), link._begun.total_bytes) == (0, 0, 0)
    assert link.leftovers._timer is None
    before = ends.payer.used
    send_much(far)
    await turns()
    assert ends.payer.used == before
    assert await ends.linked.alive()


async def test_what_this_side_cannot_send_in_time_is_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also when the other end has ended its own direction long ago: it may not read."""
    monkeypatch.setattr(leftover, "LEFT_S", 0.05)
    ends = await Ends.up()
    ends.near.finish()
    await turns()
    ends.far.leave()
    assert ends.linked.far.stream_count == 0
    await until(lambda: ends.linked.far_wire.resets == [ends.near.id])


async def test_one_timer_serves_all_and_streams_end_in_their_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(leftover, "LEFT_S", 0.05)
    ends = await Ends.up()
    link, resets = ends.linked.near, ends.linked.near_wire.resets
    other = link.open_stream(Receiver(), ends.near.tally)
    other.send(record(message()))
    await turns()
    ends.near.leave()
    timer = link.leftovers._timer
    monkeypatch.setattr(leftover, "LEFT_S", 0.1)
    other.leave()
    assert link.leftovers._timer is timer
    await until(lambda: resets)
    assert resets == [ends.near.id]
    await until(lambda: len(resets) == 2)
    assert link.leftovers._timer is None


async def test_of_too_many_the_oldest_is_reset(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(leftover, "MAX_STREAMS", 10)
    ends = await Ends.up()
    link = ends.linked.near
    streams = [ends.near, *(link.open_stream(Receiver(), ends.near.tally) for _ in range(11))]
    for stream in streams:
        stream.send(record(message()))
    for stream in streams:
        stream.leave()
    assert ends.linked.near_wire.resets == [stream.id for stream in streams[:2]]
    assert len(link.leftovers) == link.stream_count == 10


async def test_no_more_counts_than_an_honest_end_can_have_under_way() -> None:
    """A payee that goes on gets nothing for it."""
    ends = await Ends.up()
    ends.near.leave()
    far, most = ends.far, CIRCUIT_WINDOW + LEFT_EXTRA
    for _ in range(2 * most // 30_000):
        far.send(record(message(30_000)))
    await turns()
    assert most - 30_000 < ends.payer.used // RATE - 1000 <= most
    assert ends.linked.near_wire.resets == [far.id]
    assert ends.linked.near.stream_count == 0


async def test_the_link_before_hears_how_much_of_what_is_owed_for_it_came_late() -> None:
    ends = await Ends.up(FAR_S)
    send_much(ends.far, count=3)
    await until(lambda: ends.income.owed == 4 * 1000 * RATE)
    assert ends.income.late == 0
    send_much(ends.far, count=5)
    ends.near.leave()
    await until(lambda: ends.income.owed == 9 * 1000 * RATE)
    assert ends.income.late == 5 * 1000 * RATE


async def test_what_comes_late_counts_until_the_hop_has_lost_all_that_it_is_ready_to() -> None:
    ends = await Ends.up()
    ends.income.most = 100_000 * RATE
    ends.near.leave()
    far = ends.far
    for _ in range(20):
        far.send(record(message(30_000)))
    await turns()
    assert 100_000 * RATE < ends.income.owed <= 130_000 * RATE
    assert ends.income.owed == ends.payer.used
    assert ends.linked.near_wire.resets == [far.id]


async def test_that_grows_with_what_came_before() -> None:
    ends = await Ends.up()
    far, size = ends.far, 3 * CIRCUIT_WINDOW
    for _ in range(size // 30_000):
        far.send(record(message(30_000)))
    await turns()
    ends.near.leave()
    for _ in range(size // 30_000):
        far.send(record(message(30_000)))
    await turns()
    assert ends.counted[0] == ends.counted[1] > 2 * size - 60_000
    assert not ends.linked.near_wire.resets


async def test_a_datagram_for_a_stream_that_was_left_is_one_of_no_stream() -> None:
    ends = await Ends.up()
    ends.near.leave()
    ends.far.send_datagram(bytes(15) + b"\x80" + bytes(84))
    await turns()
    assert ends.linked.near.counters["datagram of no stream"] == 1
    assert ends.payer.used == 1000 * RATE


@pytest.mark.parametrize("which", ["reset", "link"])
async def test_a_reset_or_the_end_of_the_link_ends_it_too(which: str) -> None:
    ends = await Ends.up()
    ends.near.leave()
    ends.linked.far_wire.reset(ends.near.id) if which == "reset" else ends.linked.far.close()
    await turns()
    assert ends.linked.near.stream_count == 0
    assert not ends.near.left
    assert ends.receiver.ends == 0
    if which == "link":
        assert not len(ends.linked.near.leftovers)
        assert ends.linked.near.leftovers._timer is None


# -- whole circuits


async def begin(paid: Paid, flows: int = 16) -> Callable[[], None]:
    """Open flows; returns what has the exit send more on them than comes at once."""
    known = len(paid.echo.listeners)
    for listener in await asyncio.gather(*(paid.open(SINK) for _ in range(flows))):
        assert listener.flow is not None
        listener.flow.write(b"please")
    await until(lambda: len(paid.echo.listeners) == known + flows and all(far.data for far in paid.echo.listeners))
    await until(lambda: paid.client.pool.ready == 1 + READY_CIRCUITS)  # none is being built any more
    sources = [far.flow for far in paid.echo.listeners[known:] if far.flow is not None]

    def send() -> None:
        for source in sources:
            source.write(bytes(200_000))

    return send


def by_client(paid: Paid) -> None:
    paid.network.early = True
    for circuit in list(paid.client.pool.circuits):
        circuit.close(Reason.CLOSED)


def by_hop(place: int, paid: Paid) -> None:
    paid.network.early = True
    paid.network.nodes[place].relay.end_circuits(Reason.BUSY)


def agrees(paid: Paid) -> bool:
    """A payee does not count the first messages of a circuit that it has dropped, pings, and a payer hears that."""
    return all(0 <= ours - theirs < 200 for ours, theirs in paid.books)


ENDINGS = [by_client, partial(by_hop, 0), partial(by_hop, 1), partial(by_hop, 2)]


@pytest.mark.parametrize(
    ("end", "place"),
    [
        pytest.param(end, place, id=f"{name}-{place}")
        for end, name, places in zip(
            ENDINGS, ("client", "guard", "relay", "exit"), ((0, 2), (0, 1), (1, 2), (0, 2)), strict=True
        )
        for place in places
    ],
)
async def test_counts_agree_after_a_circuit_was_ended_while_much_was_under_way(
    end: Callable[[Paid], None], place: int
) -> None:
    """On whichever link."""
    async with paid_chain(3, Board(FAR_S).engine) as paid:
        send = await begin(paid)
        before = paid.books[place][1]
        send()
        await until(lambda: paid.books[place][1] > before + 500_000)
        ours, theirs = paid.books[place]
        assert theirs - ours > MUCH, "that is under way"
        end(paid)
        await until(lambda: not any(link.stream_count for node in paid.network.nodes for link in node.links))
        assert agrees(paid)


@pytest.mark.parametrize("end", [ENDINGS[0], ENDINGS[1], ENDINGS[3]], ids=["client", "guard", "exit"])
@pytest.mark.parametrize("name", ["aioquic", "aiopquic"])
async def test_they_agree_over_real_engines(name: str, end: Callable[[Paid], None]) -> None:
    def engine() -> Engine:
        return load_engine(name)

    async with paid_chain(3, engine) as paid:
        before = paid.books[0][0]
        (await begin(paid))()
        await until(lambda: paid.books[0][0] > before + 100_000)
        end(paid)
        await until(lambda: not any(link.stream_count for node in paid.network.nodes for link in node.links))
        assert agrees(paid)


async def test_leaving_frees_what_a_hop_holds_for_a_circuit() -> None:
    async with paid_chain(2, Board().engine) as paid:
        engine = paid.network.nodes[0].engine
        assert isinstance(engine, WireEngine)
        [end] = [connection for connection in engine.connections if not connection.dialled]
        send = await begin(paid)
        end.stalled = True
        send()
        relay = paid.network.nodes[0].relay
        await until(lambda: end.queued_bytes > 5 * MUCH)
        relay.end_circuits(Reason.BUSY)
        assert end.queued_bytes < 2_000 + ANSWER_BYTES, "what stays is for other circuits"
