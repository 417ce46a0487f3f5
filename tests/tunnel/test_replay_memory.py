"""The memory of creations against one that forgets nothing."""

from __future__ import annotations

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from tunnel.limits import CLOCK_SKEW_S
from tunnel.replay_memory import BUCKET_S, ReplayMemory, Verdict

NOW = 1_700_000_000.0
ONE, OTHER = b"1" * 16, b"2" * 16


def test_a_creation_is_accepted_once() -> None:
    memory = ReplayMemory()
    assert memory.admit(ONE, NOW, NOW) is Verdict.FRESH
    assert memory.admit(ONE, NOW, NOW) is Verdict.REPEATED
    assert memory.admit(OTHER, NOW, NOW) is Verdict.FRESH
    assert len(memory) == 2


@pytest.mark.parametrize("made_at_s", [NOW - CLOCK_SKEW_S, NOW + CLOCK_SKEW_S])
def test_a_creation_is_remembered_for_as_long_as_it_is_in_time(made_at_s: float) -> None:
    memory = ReplayMemory()
    assert memory.admit(ONE, made_at_s, NOW) is Verdict.FRESH
    assert memory.admit(ONE, made_at_s, made_at_s + CLOCK_SKEW_S) is Verdict.REPEATED
    assert memory.admit(ONE, made_at_s, made_at_s + CLOCK_SKEW_S + 0.1) is Verdict.OUT_OF_TIME
    assert memory.admit(OTHER, made_at_s - BUCKET_S * 100, NOW + 2 * CLOCK_SKEW_S + BUCKET_S + 1) is Verdict.OUT_OF_TIME
    assert len(memory) == 0


@pytest.mark.parametrize("off_s", [-CLOCK_SKEW_S - 0.1, CLOCK_SKEW_S + 0.1, -1e12, 1e12])
def test_a_creation_out_of_time_is_not_remembered(off_s: float) -> None:
    memory = ReplayMemory()
    assert memory.admit(ONE, NOW + off_s, NOW) is Verdict.OUT_OF_TIME
    assert len(memory) == 0


def test_a_full_memory_refuses_and_forgets_nothing() -> None:
    memory = ReplayMemory(capacity=3)
    marks = [bytes([number]) * 16 for number in range(5)]
    assert [memory.admit(mark, NOW, NOW) for mark in marks] == [Verdict.FRESH] * 3 + [Verdict.FULL] * 2
    assert [memory.admit(mark, NOW, NOW) for mark in marks] == [Verdict.REPEATED] * 3 + [Verdict.FULL] * 2
    later = NOW + CLOCK_SKEW_S + BUCKET_S + 1
    assert memory.admit(marks[4], later, later) is Verdict.FRESH
    assert len(memory) == 1


def test_a_clock_that_is_set_back_opens_nothing_again() -> None:
    memory = ReplayMemory()
    assert memory.admit(ONE, NOW, NOW) is Verdict.FRESH
    year = NOW + 365 * 86_400
    assert memory.admit(OTHER, year + 5, year) is Verdict.FRESH
    assert memory.admit(ONE, NOW, NOW) is Verdict.OUT_OF_TIME


def test_a_clock_that_was_wrong_for_a_while_does_not_close_the_hop() -> None:
    memory = ReplayMemory()
    memory.admit(ONE, NOW, NOW)
    assert memory.admit(OTHER, NOW, NOW + 365 * 86_400) is Verdict.OUT_OF_TIME
    assert memory.admit(OTHER, NOW + BUCKET_S, NOW + BUCKET_S) is Verdict.FRESH


class Flood(RuleBasedStateMachine):
    """Creations of any time, repeats, a clock that jumps: checked against the whole history."""

    CAPACITY = 12

    def __init__(self) -> None:
        super().__init__()
        self._memory = ReplayMemory(capacity=self.CAPACITY)
        self._now = NOW
        self._latest = NOW
        self._accepted: dict[bytes, float] = {}
        self._next = 0

    @rule(by_s=st.floats(0, 2.5 * CLOCK_SKEW_S))
    def go_on(self, by_s: float) -> None:
        self._now += by_s
        self._latest = max(self._latest, self._now)

    @rule(by_s=st.floats(0, 2 * CLOCK_SKEW_S))
    def set_back(self, by_s: float) -> None:
        self._now -= by_s

    @rule(off_s=st.floats(-1.2 * CLOCK_SKEW_S, 1.2 * CLOCK_SKEW_S), count=st.integers(1, 6))
    def create(self, off_s: float, count: int) -> None:
        for _ in range(count):
            self._next += 1
            mark, made_at_s = self._next.to_bytes(16), self._now + off_s
            verdict = self._memory.admit(mark, made_at_s, self._now)
            if verdict is Verdict.FRESH:
                self._accepted[mark] = made_at_s
            in_time = abs(made_at_s - self._now) <= CLOCK_SKEW_S
            held = sum(at >= self._now - CLOCK_SKEW_S - BUCKET_S for at in self._accepted.values())
            if not in_time:
                assert verdict is Verdict.OUT_OF_TIME
            elif self._now == self._latest and held < self.CAPACITY:
                # With a clock that only went on, nothing that is in time and new is turned away while there is room.
                assert verdict is Verdict.FRESH

    @rule(data=st.data())
    def repeat(self, data: st.DataObject) -> None:
        if self._accepted:
            mark = data.draw(st.sampled_from(sorted(self._accepted)))
            verdict = self._memory.admit(mark, self._accepted[mark], self._now)
            assert verdict in (Verdict.REPEATED, Verdict.OUT_OF_TIME)

    @invariant()
    def it_is_bounded(self) -> None:
        assert len(self._memory) <= self.CAPACITY
        assert len(self._memory) == sum(map(len, self._memory._buckets.values()))


Flood.TestCase.settings = settings(max_examples=200, stateful_step_count=40, deadline=None)
TestFlood = Flood.TestCase
