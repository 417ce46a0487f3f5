"""Numbers out of numbers."""

from __future__ import annotations

import pytest

from bench.figures import last_half_rate, longest_pause, quantile, spread, tail


def test_spread_rounds_and_orders() -> None:
    assert spread([3.0, 1.004, 2.0]) == {"min": 1.0, "median": 2.0, "max": 3.0}
    assert spread([1.25], 1) == {"min": 1.2, "median": 1.2, "max": 1.2}


@pytest.mark.parametrize(("share", "value"), [(0.0, 1), (0.5, 2), (0.51, 3), (0.75, 3), (0.76, 4), (1.0, 4)])
def test_quantile_is_the_nearest_rank(share: float, value: float) -> None:
    assert quantile([4, 1, 3, 2], share) == value


def test_tail_names_its_quantiles() -> None:
    assert tail(list(range(1, 101))) == {"p50": 50, "p95": 95, "p99": 99}
    assert tail([]) == {}


@pytest.mark.parametrize(
    ("start", "end", "pause"),
    [
        (0.0, 10.0, 4.0),
        (1.0, 3.0, 1.0),
        (3.5, 6.0, 2.5),  # began before and ends after: the window's share
        (6.5, 10.0, 2.0),  # nothing after the last progress
        (2.0, 2.5, 0.5),
        (20.0, 21.0, 1.0),  # no progress at all
        (5.0, 5.0, 0.0),
    ],
)
def test_the_longest_pause_of_a_window(start: float, end: float, pause: float) -> None:
    assert longest_pause([1.0, 2.0, 3.0, 7.0, 8.0], start, end) == pause


def test_a_pause_without_any_progress_is_the_whole_window() -> None:
    assert longest_pause([], 1.0, 4.0) == 3.0


def test_the_last_half_counts_from_the_middle_byte() -> None:
    assert last_half_rate([(0.0, 10), (4.0, 50), (5.0, 90), (6.0, 100)]) == 25.0


def test_a_transfer_in_one_piece_has_no_second_half() -> None:
    with pytest.raises(ValueError, match="second half"):
        last_half_rate([(1.0, 100)])
