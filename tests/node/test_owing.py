"""What a hop is ready to owe others for a payer."""

from __future__ import annotations

import pytest

from ledger.account import window_units
from ledger.amounts import PARTS_PER_UNIT
from node.owing import most_owed, wary_from

RATE = 6
PAID = [0, 1, 4, 8, 16, 24, 100, 1_000, 100_000]


def test_who_has_paid_next_to_nothing_is_trusted_with_less_than_a_third_of_the_first_window() -> None:
    assert wary_from(0, RATE) == 562_500
    assert most_owed(0, RATE, 0) == 750_000
    assert wary_from(4, RATE) == 1_312_500
    assert most_owed(4, RATE, 0) == 1_750_000


@pytest.mark.parametrize("paid", PAID)
def test_a_part_of_the_window_is_left_for_what_is_under_way(paid: int) -> None:
    window = window_units(paid, RATE) * PARTS_PER_UNIT
    assert 0 < wary_from(paid, RATE) < most_owed(paid, RATE, 0) <= window * 3 // 4


def test_more_is_owed_for_who_has_paid_more_up_to_three_quarters_of_a_window() -> None:
    owed = [most_owed(paid, RATE, 0) for paid in PAID]
    assert owed == sorted(owed)
    assert most_owed(100, RATE, 0) == window_units(100, RATE) * PARTS_PER_UNIT * 3 // 4


def test_what_came_late_is_excused_up_to_half_as_much_again() -> None:
    ready = most_owed(4, RATE, 0)
    assert most_owed(4, RATE, 1_000) == ready + 1_000
    assert most_owed(4, RATE, 10 * ready) == ready * 3 // 2


@pytest.mark.parametrize("paid", PAID)
def test_nothing_makes_it_a_whole_window(paid: int) -> None:
    window = window_units(paid, RATE) * PARTS_PER_UNIT
    assert most_owed(paid, RATE, window) <= window * 7 // 8
