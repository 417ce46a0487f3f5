"""How often something may happen."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from tunnel.rate import Rate


def test_a_burst_then_one_at_a_time() -> None:
    rate = Rate(3, 2.0, 0.0)
    assert [rate.take(0.0) for _ in range(4)] == [True, True, True, False]
    assert [rate.take(0.5), rate.take(0.5)] == [True, False]
    assert [rate.take(100.0) for _ in range(4)] == [True, True, True, False]


@given(st.integers(1, 20), st.floats(0.1, 50), st.lists(st.floats(0, 2), max_size=200))
def test_never_more_than_the_burst_and_what_time_allows(burst: int, per_s: float, gaps: list[float]) -> None:
    rate, now, taken = Rate(burst, per_s, 0.0), 0.0, 0
    for gap in gaps:
        now += gap
        taken += rate.take(now)
        assert taken <= burst + now * per_s + 1e-6


def test_what_is_given_back_can_be_taken_again_but_never_more_than_fits() -> None:
    rate = Rate(2, 0.0, 0.0)
    assert [rate.take(0.0) for _ in range(3)] == [True, True, False]
    rate.give_back()
    assert [rate.take(0.0) for _ in range(2)] == [True, False]
    for _ in range(5):
        rate.give_back()
    assert [rate.take(0.0) for _ in range(3)] == [True, True, False]
