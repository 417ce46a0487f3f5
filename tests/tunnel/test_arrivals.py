"""How fast bytes come, and the windows and turns of circuits on slow paths."""

from __future__ import annotations

import pytest

from core.errors import Reason
from tests.harness.joined import Clock, Later
from tunnel.arrivals import SPAN_S, Arrivals
from tunnel.credit import PIECES_PER_WINDOW, CircuitCredit
from tunnel.frames import decode_credit, split
from tunnel.limits import (
    CIRCUIT_WINDOW,
    DATA_COST,
    LEAST_CIRCUIT_WINDOW,
    LEAST_TURN,
    MAX_CIRCUIT_WINDOW,
    QUEUE_S,
)
from tunnel.memory import Memory


def feed(arrivals: Arrivals, rate: float, seconds: float, now: float, step_s: float = 0.05) -> float:
    end = now + seconds
    while now < end:
        arrivals.came(int(rate * step_s), now)
        now += step_s
    return now


@pytest.mark.parametrize("rate", [300_000, 2_000_000])
def test_a_second_of_what_comes_is_enough(rate: int) -> None:
    arrivals = Arrivals()
    feed(arrivals, rate, 3, 100.0)
    assert arrivals.enough(0.06) == pytest.approx(rate * QUEUE_S, rel=0.1)
    assert arrivals.enough(3.0) == pytest.approx(rate * 3, rel=0.1)


def test_it_is_never_less_than_the_least() -> None:
    arrivals = Arrivals()
    feed(arrivals, 10_000, 3, 100.0)
    assert arrivals.enough(0.06) == LEAST_CIRCUIT_WINDOW


def test_nothing_is_known_in_the_first_second_and_after_a_pause() -> None:
    arrivals = Arrivals()
    now = feed(arrivals, 200_000, SPAN_S * 0.9, 100.0)
    assert arrivals.enough(0.06) is None
    now = feed(arrivals, 200_000, 2, now)
    assert arrivals.enough(0.06) is not None
    arrivals.came(1000, now + SPAN_S + 0.1)
    assert arrivals.enough(0.06) is None


class Circuit:
    """The receiving end of a circuit whose sender uses all of its credit, over a path of some rate."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.credit: CircuitCredit[Nobody] = CircuitCredit(Memory(), self.clock, Later())
        self.credit.tell_with(self.told)
        self.credit.measured(0.01)
        self.limit = CIRCUIT_WINDOW
        self.window = CIRCUIT_WINDOW
        self.came = 0

    def told(self, frames: bytes) -> None:
        for _, content in split(memoryview(frames)):
            consumed, self.window = decode_credit(content)
            assert consumed + self.window >= self.limit  # what was given is never taken back
            self.limit = consumed + self.window

    def run(self, rate: int, seconds: float) -> None:
        for _ in range(round(seconds / 0.01)):
            self.clock.now += 0.01
            count = min(int(rate * 0.01), self.limit - self.came)
            if count > DATA_COST:
                self.credit.came(count - DATA_COST)
                self.came += count

    @property
    def under_way(self) -> int:
        return self.limit - self.came


class Nobody:
    """Stands for a type."""

    held_bytes = kept_bytes = 0
    moved_at = 0.0

    def go_on(self) -> None: ...

    def shed(self) -> None: ...


def test_what_waits_on_a_slow_path_shrinks_to_a_second_and_grows_again() -> None:
    circuit = Circuit()
    circuit.run(125_000, 20)
    assert circuit.under_way <= 1.1 * LEAST_CIRCUIT_WINDOW
    circuit.run(20_000_000, 1)
    assert circuit.window >= CIRCUIT_WINDOW


def test_a_fast_path_never_has_less_than_the_first_window() -> None:
    circuit = Circuit()
    for _ in range(5):
        circuit.run(5_000_000, 2)
        assert circuit.window >= CIRCUIT_WINDOW
        circuit.clock.now += 30


class Greedy:
    """A flow that sends as much as it may."""

    held_bytes = kept_bytes = 0
    moved_at = 0.0

    def __init__(self, credit: CircuitCredit[Greedy]) -> None:
        self.credit = credit
        self.sent = 0
        self.largest = 0

    def go_on(self) -> None:
        while (room := min(self.credit.room(0), 32_756)) > 0:
            self.largest = max(self.largest, room)
            self.sent += self.credit.sent(room)
        self.credit.wait(self)

    def shed(self) -> None:
        raise AssertionError(Reason.BUSY)


@pytest.mark.parametrize("window", [LEAST_CIRCUIT_WINDOW, CIRCUIT_WINDOW])
def test_credit_is_shared_out_evenly(window: int) -> None:
    credit: CircuitCredit[Greedy] = CircuitCredit(Memory(), Clock(), Later())
    flows = [Greedy(credit) for _ in range(20)]
    for flow in flows:
        flow.go_on()
    before = [flow.sent for flow in flows]
    sent = CIRCUIT_WINDOW
    for _ in range(100):
        sent += window // 4
        credit.credit_came(sent - window, window)
    got = [flow.sent - old for flow, old in zip(flows, before, strict=True)]
    mean = sum(got) / len(got)
    assert sum(got) > 0.9 * 25 * window
    assert max(abs(count - mean) for count in got) < 0.05 * mean


def test_each_credit_that_comes_is_shared_out_among_all() -> None:
    credit: CircuitCredit[Greedy] = CircuitCredit(Memory(), Clock(), Later())
    flows = [Greedy(credit) for _ in range(20)]
    for flow in flows:
        flow.go_on()
    before = [flow.sent for flow in flows]
    credit.credit_came(CIRCUIT_WINDOW // 4, CIRCUIT_WINDOW)
    got = [flow.sent - old for flow, old in zip(flows, before, strict=True)]
    assert max(got) - min(got) <= LEAST_TURN


def test_pieces_are_small_on_a_slow_path() -> None:
    credit: CircuitCredit[Greedy] = CircuitCredit(Memory(), Clock(), Later())
    flow = Greedy(credit)
    flow.go_on()
    flow.largest = 0
    credit.credit_came(CIRCUIT_WINDOW, LEAST_CIRCUIT_WINDOW)
    assert LEAST_TURN < flow.largest <= LEAST_CIRCUIT_WINDOW // PIECES_PER_WINDOW
    credit.credit_came(CIRCUIT_WINDOW + LEAST_CIRCUIT_WINDOW, MAX_CIRCUIT_WINDOW)
    assert flow.largest == 32_756
