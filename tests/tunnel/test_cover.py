"""The budget of messages that carry nothing."""

from __future__ import annotations

import random
import statistics
from itertools import pairwise

import pytest

from tunnel.cover import LONGEST_WAIT_S, Cover
from tunnel.limits import COVER_RATE, COVER_SHARE, LANE_BYTES


def run(rate: float, seconds: float, seed: int = 7) -> list[float]:
    """The moments at which messages are due while so many bytes per second are carried."""
    draws, cover = random.Random(seed), Cover(0.0)
    now, moments = 0.0, []
    while now < seconds:
        due, wait_s = cover.next(now, draws.random())
        assert 0 <= wait_s <= LONGEST_WAIT_S
        if due:
            moments.append(now)
        now += wait_s
        cover.carried(int(rate * wait_s))
    return moments


@pytest.mark.parametrize("rate", [0, 50_000, 2_000_000, 20_000_000])
def test_the_budget_is_kept_and_used(rate: float) -> None:
    seconds = 400.0 if rate < 1_000_000 else 40.0
    allowed = (COVER_RATE + COVER_SHARE * rate) * seconds
    spent = len(run(rate, seconds)) * LANE_BYTES
    assert 0.5 * allowed < spent <= allowed + LANE_BYTES


def test_no_gap_tells_the_next() -> None:
    """The spread of exponential gaps is as large as their mean; a clock's would be zero."""
    moments = run(0, 4000.0)
    gaps = [after - before for before, after in pairwise(moments)]
    assert 0.6 < statistics.pstdev(gaps) / statistics.mean(gaps) < 1.3


def test_what_was_not_spent_is_not_saved_up() -> None:
    cover = Cover(0.0)
    cover.carried(10**9)
    cover.next(3600.0, 0.0)
    assert sum(cover.next(3600.0, 0.0)[0] for _ in range(100)) <= 4


def test_nothing_is_due_at_the_start() -> None:
    assert not Cover(0.0).next(0.0, 0.5)[0]
