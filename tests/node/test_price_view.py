"""What paths cost, for people. Why there is none: `test_choosing`, where the sentences meet what is known."""

from __future__ import annotations

import pytest

from core.ids import PeerKey
from node.price_view import dearest, price_per_gb
from tunnel.path import Hop, Path


def path(*steps: int) -> Path:
    return tuple(Hop(PeerKey(bytes(32)), b"", b"", (), step) for step in steps)


@pytest.mark.parametrize(
    ("steps", "each"), [((0,), 0), ((0, 0, 0), 0), ((2, 2, 2), 6_000), ((2, 5, 3), 60_000), ((7,) * 5, 500_000)]
)
def test_what_a_gigabyte_costs(steps: tuple[int, ...], each: int) -> None:
    assert price_per_gb(steps) == each


def test_the_dearest_is_not_the_one_with_the_highest_step_alone() -> None:
    assert dearest([path(0, 0), path(3, 3), path(2, 2, 2), path(0, 0, 0)]) == [3, 3]
    assert dearest([path(0, 0), path(3), path(2, 2, 2)]) == [2, 2, 2]
    assert dearest([]) == []
