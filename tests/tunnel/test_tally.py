"""The tally at one end of a link: what it counts, what waits, in which order it moves, and what endings leave."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.harness.linked import Linked, Receiver, record
from tests.harness.tolls import PLENTY, Purse
from tests.harness.waiting import turns
from tunnel.control import MAX_PAYMENT, Kind
from tunnel.limits import MAX_DATAGRAM
from tunnel.tally import ITEM_COST, Tally

if TYPE_CHECKING:
    from collections.abc import Callable

    from tunnel.link_stream import LinkStream

RATE = 3


def message(number: int, size: int = 100) -> bytes:
    """A message of kind stream."""
    return number.to_bytes(2) + bytes(size - 2)


def datagram(number: int, size: int = 100) -> bytes:
    return number.to_bytes(2) + bytes(13) + b"\x80" + bytes(size - 16)


class End:
    """One end's tally, and what it tells."""

    def __init__(self, *, pays: bool) -> None:
        self.purse = Purse(pays=pays, paid=PLENTY)
        self.held = 0
        self.act: Callable[[], None] = lambda: None
        self.income = Purse(pays=False, paid=0)
        self.tally = Tally(self.purse, RATE, self.holds, self.income if pays else None)

    def holds(self, count: int) -> None:
        self.held += count
        self.act()

    @property
    def counted(self) -> int:
        return self.purse.used // RATE


class Ends:
    """A link whose dialling end pays."""

    def __init__(self, linked: Linked) -> None:
        self.linked = linked
        self.payer, self.payee = End(pays=True), End(pays=False)
        linked.far_events.tally = self.payee.tally

    @classmethod
    async def up(cls) -> Ends:
        return cls(await Linked.up())

    def open(self) -> tuple[LinkStream, Receiver]:
        receiver = Receiver()
        return self.linked.near.open_stream(receiver, self.payer.tally), receiver

    @property
    def far(self) -> list[Receiver]:
        return self.linked.far_events.opened

    def back(self, place: int = 0) -> LinkStream:
        stream = self.far[place].stream
        assert stream is not None
        return stream


# -- what is counted


async def test_messages_count_at_both_ends_without_the_record() -> None:
    ends = await Ends.up()
    stream, _ = ends.open()
    assert stream.send(record(message(1)))
    await turns()
    assert ends.back().send(record(message(2, 1000)))
    await turns()
    assert ends.payer.counted == ends.payee.counted == 1100


async def test_datagrams_count_as_such_beside_the_stream_and_as_messages_on_it() -> None:
    ends = await Ends.up()
    stream, receiver = ends.open()
    stream.send(record(message(1)))
    await turns()
    ends.back().send_datagram(datagram(2))
    ends.back().send_datagram(datagram(3, MAX_DATAGRAM))
    stream.send_datagram(datagram(4))
    await turns()
    assert len(receiver.datagrams) == 2
    assert ends.payer.counted == ends.payee.counted == 300 + MAX_DATAGRAM
    assert ends.payee.purse.datagrams == 100 * RATE
    assert ends.payer.purse.datagrams == 2 * 100 * RATE


async def test_a_datagram_that_found_no_room_was_not_sent() -> None:
    ends = await Ends.up()
    stream, _ = ends.open()
    stream.send(record(message(1)))
    await turns()
    ends.linked.near_wire.stalled = ends.linked.far_wire.stalled = True
    for _ in range(100):
        stream.send_datagram(datagram(1))
        ends.back().send_datagram(datagram(1))
    assert ends.payer.counted == 100 + 64 * 100
    assert ends.payee.counted == 100 + 100 * 100, "to the payee they are lost ones"


async def test_a_datagram_that_is_not_paid_is_told_of() -> None:
    ends = await Ends.up()
    stream, _ = ends.open()
    stream.send(record(message(1)))
    await turns()
    told: list[int] = []
    for end, sender in ((ends.payer, stream), (ends.payee, ends.back())):
        end.act = lambda: told.append(0)
        end.purse.stop(50 * RATE)
        sender.send_datagram(datagram(1))
        assert end.held == 0
        end.purse.pay(PLENTY)
        sender.send_datagram(datagram(1))
    assert len(told) == 2


async def test_what_the_engine_still_held_when_a_stream_was_cut_is_given_back() -> None:
    ends = await Ends.up()
    stream, _ = ends.open()
    stream.send(record(message(1)))
    await turns()
    ends.linked.near_wire.stalled = ends.linked.far_wire.stalled = True
    for count in range(1, 20):
        stream.send(record(message(count, 100 * count)))
        ends.back().send(record(message(count, 100 * count)))
    ends.back().reset()
    stream.reset()
    for end in (ends.payer, ends.payee):
        assert 100 <= end.counted < 200, "as exactly as the engine says it"


async def test_what_a_hop_pays_is_owed_by_who_pays_the_hop() -> None:
    ends = await Ends.up()
    stream, _ = ends.open()
    purse, income = ends.payer.purse, ends.payer.income
    stream.send(record(message(1)))
    await turns()
    ends.back().send(record(message(2, 200)))
    ends.back().send_datagram(datagram(3, 50))
    stream.send_datagram(datagram(4, 70))
    await turns()
    assert income.owed == purse.used == 420 * RATE
    purse.stop(50 * RATE)
    stream.send_datagram(datagram(5))
    assert not stream.send(record(message(6)))
    ends.back().send(record(message(7, 10)))
    await turns()
    assert income.owed == purse.used == 430 * RATE, "what came is owed although nothing may leave"
    purse.pay(PLENTY)
    assert income.owed == purse.used == 530 * RATE
    ends.linked.near_wire.stalled = True
    for count in range(9):
        stream.send(record(message(count, 1000)))
    stream.reset()
    assert income.owed == purse.used < (530 + 1000) * RATE, "what never left is not owed"
    assert not income.waiting


# -- what waits


@pytest.mark.parametrize("missing", [0, 1])
async def test_to_the_last_part(missing: int) -> None:
    ends = await Ends.up()
    ends.payer.purse.paid = ends.payee.purse.paid = 100 * RATE - missing
    stream, _ = ends.open()
    assert stream.send(record(message(1))) is not bool(missing)
    ends.payer.purse.pay(missing)
    await turns()
    assert [found.messages for found in ends.far] == [[] if missing else [message(1)]]


async def test_what_waits_goes_in_order_and_nothing_overtakes_it() -> None:
    ends = await Ends.up()
    first, receiver = ends.open()
    other, _ = ends.open()
    ends.payer.purse.paid = 150 * RATE
    assert first.send(record(message(1)))
    assert not first.send(record(message(2)))
    assert not other.send(record(message(3, 20))), "there is room for it, but it would overtake"
    assert not first.send(record(message(4)))
    first.finish()
    await turns()
    assert [found.messages for found in ends.far] == [[message(1)]]
    assert ends.payer.held == 220 + 4 * ITEM_COST
    assert not ends.far[0].ends
    ends.payer.purse.pay(100 * RATE)
    await turns()
    assert [found.messages for found in ends.far] == [[message(1), message(2)], [message(3, 20)]]
    assert ends.payer.counted == 220
    assert not receiver.writables
    ends.payer.purse.pay(PLENTY)
    await turns()
    assert ends.far[0].messages == [message(1), message(2), message(4)]
    assert [found.ends for found in ends.far] == [1, 0]
    assert [receiver.writables] == [1]
    assert ends.payer.held == 0
    assert not ends.payer.tally.waits
    assert not ends.payer.purse.waiting


async def test_what_came_waits_in_order_with_its_end_after_it() -> None:
    ends = await Ends.up()
    stream, receiver = ends.open()
    ends.payee.purse.paid = 150 * RATE
    for number in range(1, 4):
        stream.send(record(message(number)))
    stream.finish()
    await turns()
    (far,) = ends.far
    assert far.messages == [message(1)]
    assert far.ends == 0
    assert not ends.back().send(record(message(9, 10))), "the other direction waits behind it"
    ends.payee.purse.pay(PLENTY)
    await turns()
    assert far.messages == [message(1), message(2), message(3)]
    assert far.ends == 1
    assert receiver.messages == [message(9, 10)]
    assert ends.payer.counted == ends.payee.counted == 310


async def test_the_first_message_of_a_stream_waits_too() -> None:
    ends = await Ends.up()
    stream, _ = ends.open()
    ends.payee.purse.stop()
    stream.send(record(message(1)))
    await turns()
    assert [found.messages for found in ends.far] == [[]]
    ends.payee.purse.pay(PLENTY)
    assert [found.messages for found in ends.far] == [[message(1)]]


async def test_what_is_answered_while_things_move_is_paid_for_like_all_else() -> None:
    """An answer to a message whose turn has come is no part of what was granted."""
    ends = await Ends.up()
    stream, receiver = ends.open()
    stream.send(record(message(1)))
    await turns()
    ends.payee.purse.stop()
    stream.send(record(message(2)))
    await turns()
    (far,) = ends.far
    far.then = lambda: ends.back().send(record(message(3, 1000)))
    ends.payee.purse.pay(100 * RATE)
    await turns()
    assert far.messages[-1] == message(2)
    assert receiver.messages == []
    assert ends.payee.counted == 200
    ends.payee.purse.pay(PLENTY)
    await turns()
    assert receiver.messages == [message(3, 1000)]


async def test_what_is_answered_to_an_end_is_paid_for_too() -> None:
    ends = await Ends.up()
    stream, receiver = ends.open()
    ends.payee.purse.stop()
    stream.send(record(message(1)))
    stream.finish()
    await turns()
    (far,) = ends.far
    far.then_ended = lambda: ends.back().send(record(message(2, 1000)))
    ends.payee.purse.pay(100 * RATE)
    await turns()
    assert far.ends == 1
    assert receiver.messages == []
    assert ends.payee.counted == 100


async def test_an_end_that_the_engine_holds_back_leaves_a_stream_unwritable() -> None:
    ends = await Ends.up()
    stream, receiver = ends.open()
    assert stream.send(record(message(1)))
    ends.payer.purse.stop()
    assert not stream.send(record(message(2)))
    stream.finish()
    ends.linked.near_wire.stalled = True
    ends.payer.purse.pay(PLENTY)
    assert receiver.writables == 0
    ends.linked.near_wire.go_on()
    await turns()
    assert receiver.writables == 1


async def test_a_stream_is_not_writable_while_something_waits_for_it() -> None:
    ends = await Ends.up()
    stream, receiver = ends.open()
    ends.linked.near_wire.stalled = True
    assert not stream.send(record(message(1)))
    ends.payer.purse.stop()
    assert not stream.send(record(message(2)))
    ends.linked.near_wire.go_on()
    await turns()
    assert receiver.writables == 0
    ends.payer.purse.pay(PLENTY)
    await turns()
    assert receiver.writables == 1


async def test_datagrams_do_not_wait() -> None:
    ends = await Ends.up()
    stream, _ = ends.open()
    stream.send(record(message(1)))
    await turns()
    ends.payer.purse.stop(50 * RATE)
    stream.send_datagram(datagram(1))
    stream.send(record(message(2)))
    stream.send_datagram(datagram(2, 40))
    stream.send_datagram(datagram(3, MAX_DATAGRAM))
    assert ends.linked.near.counters["datagram unpaid"] == 2
    assert ends.linked.near.counters["datagram dropped"] == 1
    ends.payer.purse.pay(PLENTY)
    ends.payee.purse.stop()
    stream.send_datagram(datagram(4))
    await turns()
    assert ends.linked.far.counters["datagram unpaid"] == 1
    assert ends.far[0].datagrams == []


# -- endings


async def test_a_cut_stream_leaves_nothing_and_the_others_go_on() -> None:
    ends = await Ends.up()
    streams = [ends.open()[0] for _ in range(100)]
    ends.payer.purse.stop()
    for number, stream in enumerate(streams):
        for _ in range(10):
            stream.send(record(message(number)))
    for stream in streams[:-1]:
        stream.reset()
    assert ends.payer.held == 10 * (100 + ITEM_COST)
    assert len(ends.payer.tally._turns) <= 20, "what was cut is let go of"
    ends.payer.purse.pay(PLENTY)
    await turns()
    assert [found.messages for found in ends.far] == [[message(99)] * 10]
    assert ends.payer.counted == 1000


@pytest.mark.parametrize("how", ["reset", "link"])
async def test_a_stream_that_the_other_side_breaks_ends_at_once(how: str) -> None:
    ends = await Ends.up()
    stream, _ = ends.open()
    ends.payee.purse.stop()
    stream.send(record(message(1)))
    await turns()
    if how == "reset":
        stream.reset()
    else:
        ends.linked.near.close()
    await turns()
    assert ends.far[0].ends == 1
    assert ends.payee.held == 0
    ends.payee.purse.pay(PLENTY)
    assert ends.far[0].messages == []


async def test_after_its_end_a_circuit_moves_nothing() -> None:
    ends = await Ends.up()
    (stream, receiver), (idle, quiet) = ends.open(), ends.open()
    for found in (stream, idle):
        found.send(record(message(1)))
    await turns()
    ends.payee.purse.stop()
    stream.send(record(message(2)))
    ends.back().send(record(message(3)))
    await turns()
    ends.payee.tally.clear()
    assert ends.payee.held == 0
    assert ends.back().cut
    assert not ends.back(1).cut
    ends.payee.purse.pay(PLENTY)
    assert not ends.back(1).send(record(message(4)))
    idle.send(record(message(5)))
    idle.send_datagram(datagram(6))
    ends.back(1).send_datagram(datagram(7))
    await turns()
    assert [found.messages for found in ends.far] == [[message(1)], [message(1)]]
    assert ends.far[1].datagrams == []
    assert receiver.messages == []
    assert quiet.datagrams == []
    assert ends.payee.held == 0


async def test_what_waits_may_end_the_circuit() -> None:
    ends = await Ends.up()
    stream, _ = ends.open()
    ends.payer.purse.stop()
    ends.payer.act = lambda: ends.payer.tally.clear() if ends.payer.held > 1000 else None
    for number in range(20):
        stream.send(record(message(number)))
    assert stream.cut
    assert ends.payer.held == 0


async def test_a_receiver_that_fails_costs_its_link_and_no_other() -> None:
    ends = await Ends.up()
    stream, _ = ends.open()
    ends.payee.purse.stop()
    stream.send(record(message(1)))
    await turns()
    ends.far[0].refusing = True
    ends.payee.purse.pay(PLENTY)
    await turns()
    assert ends.back().cut
    assert await ends.linked.alive()


# -- messages about money


async def test_payment_messages_are_opaque_and_bounded() -> None:
    linked = await Linked.up()
    linked.near.send_payment(bytes(MAX_PAYMENT))
    linked.far.send_payment(b"back")
    await turns()
    assert linked.far_events.payments == [bytes(MAX_PAYMENT)]
    assert linked.near_events.payments == [b"back"]
    linked.near.tell(Kind.PAYMENT, bytes(MAX_PAYMENT + 1))
    await turns()
    assert linked.far.closed
    assert linked.far_events.payments == [bytes(MAX_PAYMENT)]
    linked.far.send_payment(b"late")
