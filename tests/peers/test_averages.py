from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from peers.averages import MAX_EVIDENCE, PRIOR_EVIDENCE, Average

HALF_S = 7200.0

samples = st.lists(st.tuples(st.floats(0, 1000), st.floats(0, 4), st.floats(0.01, 1)), min_size=1, max_size=40)


def test_without_samples_there_is_only_what_is_usual() -> None:
    average = Average(HALF_S)
    assert average.confidence(5.0) == 0
    assert average.blend(7.0, 5.0) == 7.0


def test_samples_at_once_count_alike() -> None:
    average = Average(HALF_S)
    for sample in (1.0, 2.0, 6.0):
        average.add(sample, 10.0)
    assert average.value == pytest.approx(3.0)
    assert average.evidence(10.0) == 3
    assert average.confidence(10.0) == 3 / (3 + PRIOR_EVIDENCE)
    assert average.blend(0.0, 10.0) == pytest.approx(3.0 * 3 / (3 + PRIOR_EVIDENCE))


def test_a_part_of_a_sample_counts_for_a_part() -> None:
    average = Average(HALF_S)
    average.add(0.0, 0.0, 0.75)
    average.add(1.0, 0.0, 0.25)
    assert average.value == pytest.approx(0.25)
    assert average.evidence(0.0) == 1


def test_confidence_fades_without_use_and_the_value_goes_back_to_what_is_usual() -> None:
    average = Average(HALF_S)
    for _ in range(100):
        average.add(9.0, 0.0)
    assert average.evidence(0.0) == MAX_EVIDENCE
    assert average.evidence(HALF_S) == MAX_EVIDENCE / 2
    blends = [average.blend(1.0, hours * 3600.0) for hours in range(60)]
    assert blends == sorted(blends, reverse=True)
    assert blends[0] > 7.5
    assert blends[-1] == pytest.approx(1.0, abs=1e-3)


def test_what_is_new_counts_more_than_what_is_old() -> None:
    average = Average(HALF_S)
    average.add(0.0, 0.0)
    average.add(1.0, 2 * HALF_S)
    assert average.value == pytest.approx(1 / 1.25)


def test_a_change_shows_though_much_was_measured_before() -> None:
    average = Average(HALF_S)
    for _ in range(10_000):
        average.add(0.0, 0.0)
    for _ in range(32):
        average.add(1.0, 0.0)
    assert average.value > 0.8


def test_a_clock_that_goes_back_changes_nothing() -> None:
    average = Average(HALF_S)
    average.add(1.0, 100.0)
    assert average.evidence(0.0) == 1
    average.add(3.0, 0.0)
    assert average.evidence(100.0) == 2


@given(samples, st.floats(0, 1000), st.floats(0, 1e6))
def test_it_stays_between_what_was_measured_and_what_is_usual(
    added: list[tuple[float, float, float]], usual: float, later: float
) -> None:
    average, now = Average(HALF_S), 0.0
    for sample, pause, share in added:
        now += pause * HALF_S
        average.add(sample, now, share)
    values = [sample for sample, _, _ in added]
    assert min(values) - 1e-6 <= average.value <= max(values) + 1e-6
    assert min(*values, usual) - 1e-6 <= average.blend(usual, now + later) <= max(*values, usual) + 1e-6
    assert 0 <= average.evidence(now + later) <= MAX_EVIDENCE
