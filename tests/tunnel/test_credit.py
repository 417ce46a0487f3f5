"""Credit of flows and circuits: what may come, how windows grow, and what a circuit's flows share."""

from __future__ import annotations

from itertools import chain

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.errors import DecodeError, Reason
from tests.harness.joined import Clock, Ends, Later, Listener
from tunnel.credit import CircuitCredit, Growth, ReceiveWindow
from tunnel.flow import FlowEnd
from tunnel.frames import decode_credit
from tunnel.limits import (
    CIRCUIT_GROWTH,
    CIRCUIT_KEPT,
    CIRCUIT_WINDOW,
    DATA_COST,
    FLOW_COST,
    FLOW_WINDOW,
    LEAST_CIRCUIT_WINDOW,
    LEAST_RTT_S,
    MAX_CIRCUIT_WINDOW,
    MAX_FLOW_WINDOW,
    PAID_WINDOW,
    PROVEN_BYTES,
    PROVEN_WINDOW,
)
from tunnel.memory import Memory

RTT_S = 0.1


def read(window: ReceiveWindow, rate: float, seconds: float, now: float = 1.0) -> float:
    """Receive and deal with `rate` bytes per second, telling when it is time; returns the time after."""
    end = now + seconds
    while now < end:
        count = min(int(rate * 0.01), window.window - window.received + window.consumed)
        window.came(count)
        if window.dealt_with(count):
            window.tell(now, RTT_S)
        now += 0.01
    return now


def test_a_window_grows_to_six_times_what_a_round_trip_carries() -> None:
    window = ReceiveWindow(FLOW_WINDOW, MAX_FLOW_WINDOW)
    read(window, 10e6, 5)
    assert 6 * 0.8 * 10e6 * RTT_S < window.window < 6 * 1.2 * 10e6 * RTT_S


def test_flows_that_are_read_no_further_leave_half_of_the_growth_to_those_that_are() -> None:
    growth = Growth()
    for _ in range(400):
        stuck = ReceiveWindow(FLOW_WINDOW, MAX_FLOW_WINDOW, growth)
        read(stuck, 5e6, PROVEN_BYTES / 2 / 5e6)
    window = ReceiveWindow(FLOW_WINDOW, MAX_FLOW_WINDOW, growth)
    read(window, 10e6, 5)
    assert window.window > CIRCUIT_GROWTH // 8


@pytest.mark.parametrize(
    ("covered", "first"),
    [
        (0, PAID_WINDOW),
        (4 * PAID_WINDOW, PAID_WINDOW),
        (6 * PAID_WINDOW, PAID_WINDOW * 3 // 2),
        (4 * CIRCUIT_WINDOW, CIRCUIT_WINDOW),
        (64 * CIRCUIT_WINDOW, CIRCUIT_WINDOW),
    ],
)
def test_what_is_paid_for_is_asked_for_up_to_a_quarter_of_what_is_covered_and_then_of_what_came(
    covered: int, first: int
) -> None:
    told: list[int] = []
    clock = Clock()
    credit: CircuitCredit[FlowEnd] = CircuitCredit(Memory(), clock, Later(), covered=covered)
    credit.tell_with(lambda frames: told.append(decode_credit(memoryview(frames)[-12:])[1]))
    credit.measured(RTT_S)
    assert not told, "however long the path is"
    came, seen = 0, False
    while came < 5 * MAX_CIRCUIT_WINDOW:
        clock.now += 0.01 if came < 4 * CIRCUIT_WINDOW else 0.001
        credit.came(64_000)
        came += 64_000 + DATA_COST
        assert told[-1:] <= [max(PAID_WINDOW, min(came, first), came // 4)]
        seen |= told[-1:] == [first]
    assert seen, "what is covered is made use of"
    assert told[-1] > MAX_CIRCUIT_WINDOW // 2


def test_what_is_paid_for_is_sent_no_further_ahead_than_has_arrived_whatever_was_told() -> None:
    credit: CircuitCredit[FlowEnd] = CircuitCredit(Memory(), Clock(), Later(), paid=True)
    credit.credit_came(0, MAX_CIRCUIT_WINDOW)
    sent, ahead = 0, PAID_WINDOW
    for _ in range(8):
        assert credit.room(0) == ahead - DATA_COST
        credit.sent(ahead - DATA_COST)
        sent += ahead
        assert credit.room(0) <= 0
        credit.credit_came(sent, MAX_CIRCUIT_WINDOW)
        ahead = min(sent, MAX_CIRCUIT_WINDOW)


def test_it_never_exceeds_the_most() -> None:
    window = ReceiveWindow(FLOW_WINDOW, MAX_FLOW_WINDOW)
    read(window, 1e9, 5)
    assert window.window == MAX_FLOW_WINDOW


def test_it_does_not_grow_before_it_is_known_to_be_read() -> None:
    window = ReceiveWindow(FLOW_WINDOW, MAX_FLOW_WINDOW)
    read(window, 4 * FLOW_WINDOW / 0.5, 0.5)
    assert window.window == FLOW_WINDOW
    read(window, PROVEN_BYTES / 2, 1.0, now=2.0)
    assert FLOW_WINDOW < window.window <= PROVEN_WINDOW


def test_it_shrinks_when_little_comes_and_takes_no_promise_back() -> None:
    growth = Growth()
    window = ReceiveWindow(FLOW_WINDOW, MAX_FLOW_WINDOW, growth)
    now = read(window, 100e6, 5)
    assert window.window > 4 * PROVEN_WINDOW
    edge = sum(window.tell(now, RTT_S))
    for second in range(20):
        window.came(1)
        window.dealt_with(1)
        told = window.tell(now + 1 + second, RTT_S)
        assert sum(told) >= edge
        edge = sum(told)
    assert PROVEN_WINDOW <= window.window <= 4 * PROVEN_WINDOW
    window.leave()
    assert growth.take(1 << 40, proven=True) == CIRCUIT_GROWTH // 2


def test_more_than_the_credit_is_refused_and_counts_nothing() -> None:
    window = ReceiveWindow(1000, 5000)
    window.came(1000)
    with pytest.raises(DecodeError):
        window.came(1)
    assert window.received == 1000
    window.dealt_with(400)
    assert window.tell(1.0, RTT_S) == (400, 1000)
    window.came(400)


@given(st.lists(st.tuples(st.integers(0, 1 << 25), st.booleans())))
def test_growth_is_shared_and_never_runs_out_of_all(asked: list[tuple[int, bool]]) -> None:
    growth = Growth(1 << 20)
    given_out = [growth.take(wanted, proven=proven) for wanted, proven in asked]
    assert sum(given_out) <= 1 << 20
    for count in given_out:
        growth.give_back(count)
    assert growth.take(1 << 30, proven=True) == 1 << 19


def test_flows_that_are_not_known_to_be_read_leave_half_of_it() -> None:
    growth = Growth(1 << 20)
    for _ in range(100):
        growth.take(1 << 20, proven=False)
    assert growth.take(1 << 20, proven=True) >= 1 << 18


def test_a_long_path_begins_wider_and_says_so() -> None:
    credit: CircuitCredit[FlowEnd] = CircuitCredit(Memory(), Clock(), Later())
    assert credit.flow_window().window == FLOW_WINDOW
    told: list[bytes] = []
    credit.tell_with(told.append)
    credit.measured(LEAST_RTT_S / 2)
    assert credit.flow_window().window == FLOW_WINDOW
    assert told == []
    far: CircuitCredit[FlowEnd] = CircuitCredit(Memory(), Clock(), Later())
    far.tell_with(told.append)
    far.measured(0.3)
    assert far.flow_window().window > FLOW_WINDOW
    assert len(told) == 1


@pytest.mark.parametrize(
    ("circuit_window", "words"), [(CIRCUIT_WINDOW, [1, 2, 3, 4]), (LEAST_CIRCUIT_WINDOW, [0, 1, 1, 2])]
)
def test_a_flow_tells_credit_half_as_often_on_a_slow_path(circuit_window: int, words: list[int]) -> None:
    ends = Ends(hungry=False)
    ends.near.flow.write(bytes(FLOW_WINDOW))
    ends.run()
    ends.far.credit._window.window = circuit_window
    said = []
    for _ in range(4):
        ends.far.flow.consumed(FLOW_WINDOW // 4)
        said.append(len(ends.far.stream.sent))
    assert said == words


# -- circuits


def test_a_flow_that_is_not_read_takes_nothing_from_the_circuit() -> None:
    """What arrived counts, not what was read: many times the circuit's window passes beside a stuck flow."""
    ends = Ends(hungry=False)
    ends.near.flow.write(bytes(FLOW_WINDOW))
    ends.run()
    for _ in range(3 * CIRCUIT_WINDOW // 10_000):
        ends.near.credit.sent(10_000)
        ends.far.credit.came(10_000)
    assert ends.near.credit.room(0) > CIRCUIT_WINDOW // 2


def test_a_circuit_out_of_credit_holds_its_flows_and_wakes_them_in_turn() -> None:
    ends = Ends()
    credit = ends.near.credit
    while credit.room(0) > 0:
        credit.sent(min(10_000, credit.room(0)))
    assert not ends.near.flow.write(b"held up")
    assert not ends.near.stream.sent
    credit.credit_came(CIRCUIT_WINDOW // 2, CIRCUIT_WINDOW)
    ends.run()
    assert ends.far.heard.data == b"held up"
    assert ends.near.heard.writable == 1


def test_more_than_the_circuits_credit_ends_the_flow() -> None:
    ends = Ends()
    for _ in range(CIRCUIT_WINDOW // (10_000 + DATA_COST)):
        ends.far.credit._window.came(10_000 + DATA_COST)
    ends.near.flow.write(bytes(20_000))
    ends.run()
    assert ends.far.heard.closed == [Reason.PROTOCOL]


@pytest.mark.parametrize(("consumed", "window"), [(1, CIRCUIT_WINDOW), (0, CIRCUIT_WINDOW - 1), ((1 << 64) - 1, 1)])
def test_lies_about_a_circuits_credit_are_refused(consumed: int, window: int) -> None:
    credit: CircuitCredit[FlowEnd] = CircuitCredit(Memory(), Clock(), Later())
    with pytest.raises(DecodeError):
        credit.credit_came(consumed, window)
    assert credit.room(0) == CIRCUIT_WINDOW - DATA_COST


def test_a_sender_short_of_memory_asks_for_news_and_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    """The receiver's window is wide, so it would say nothing for long; but the sender may not keep more."""
    monkeypatch.setattr("tunnel.credit.CIRCUIT_KEPT", 0)
    ends = Ends()
    ends.far.flow._window._resize(MAX_FLOW_WINDOW, proven=True)
    ends.far.say(ends.far.flow._credit_frame())
    ends.run()
    ends.near.flow.write(bytes(3 * FLOW_WINDOW))
    ends.run()
    assert len(ends.far.heard.data) == 3 * FLOW_WINDOW


def test_flows_that_keep_little_take_nothing_from_one_that_keeps_much() -> None:
    credit: CircuitCredit[FlowEnd] = CircuitCredit(Memory(), Clock(), Later())
    for _ in range(500):
        credit.keep(0, FLOW_WINDOW)
    assert credit.room(0) > FLOW_WINDOW
    credit.keep(0, FLOW_WINDOW + CIRCUIT_KEPT)
    assert credit.room(0) == FLOW_WINDOW - DATA_COST
    assert credit.room(FLOW_WINDOW) <= 0
    credit.keep(FLOW_WINDOW + CIRCUIT_KEPT, 0)
    assert credit.room(FLOW_WINDOW) > 0


# -- memory


def test_what_is_held_is_counted_and_freed() -> None:
    ends = Ends(hungry=False)
    ends.near.flow.write(bytes(1000))
    assert ends.near.credit.memory.held_bytes == 1000 + DATA_COST
    ends.run()
    assert ends.far.credit.memory.held_bytes == 1000
    ends.far.flow.consumed(1000)
    assert ends.far.credit.memory.held_bytes == 0
    ends.far.flow.finish()
    ends.near.flow.finish()
    ends.run()
    assert ends.near.heard.closed == ends.far.heard.closed == [Reason.DONE]
    assert ends.near.credit.memory.held_bytes == 0


class Crowd:
    """Flows of one node that hold what the test says.

    Args:
        limit: of the node's memory, beside what its flows are counted as.
        sizes: bytes that the flows of each circuit hold.
    """

    def __init__(self, limit: int, *sizes: list[int]) -> None:
        self.clock = Clock()
        self.memory = Memory(limit + FLOW_COST * sum(map(len, sizes)))
        credits: list[CircuitCredit[FlowEnd]] = [CircuitCredit(self.memory, self.clock, Later()) for _ in sizes]
        self.flows = [FlowEnd(credit) for credit, held in zip(credits, sizes, strict=True) for _ in held]
        self.heard = [Listener(flow, hungry=False) for flow in self.flows]
        for flow, heard, size in zip(self.flows, self.heard, chain(*sizes), strict=True):
            flow._credit.join(flow)
            flow.attach(heard)
            self.hold(flow, size)

    def hold(self, flow: FlowEnd, count: int) -> None:
        flow._window.came(count)
        flow._credit.hold(count)

    @property
    def shed(self) -> list[int]:
        """Numbers of the flows that were ended."""
        self.memory._shed()
        return [number for number, one in enumerate(self.heard) if one.closed == [Reason.BUSY]]


async def test_the_largest_flow_of_the_largest_circuit_is_shed() -> None:
    crowd = Crowd(100_000, [30_000], [20_000, 25_000])
    assert crowd.shed == []
    crowd.clock.now += 1
    crowd.hold(crowd.flows[0], 30_000)
    assert crowd.shed == [0]
    assert (crowd.memory.shed, crowd.memory.held_bytes) == (1, 45_000)


async def test_a_flow_that_is_not_read_is_shed_before_one_that_is() -> None:
    crowd = Crowd(100_000, [30_000, 10_000, 60_000, 0])
    crowd.clock.now += 10
    crowd.flows[2].consumed(100)
    crowd.clock.now += 1
    crowd.hold(crowd.flows[2], 1000)
    assert crowd.shed == [0]
    assert crowd.memory.shed == 1
    crowd.clock.now += 100
    crowd.hold(crowd.flows[1], 40_000)
    assert crowd.shed == [0, 2], "one that is read no more is soon like any other"


async def test_where_all_move_the_largest_is_shed() -> None:
    crowd = Crowd(100_000, [30_000, 40_000, 20_000])
    crowd.hold(crowd.flows[2], 11_000)
    assert crowd.shed == [1]


async def test_flows_that_hold_nothing_count_and_are_not_shed() -> None:
    crowd = Crowd(-FLOW_COST, [0] * 9 + [10])
    assert crowd.shed == [9], "nine fit"
    crowd.hold(crowd.flows[0], 1)
    assert crowd.shed == [0, 9]
    assert Crowd(-FLOW_COST, [0] * 10).shed == []
