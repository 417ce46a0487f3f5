"""The plan is a function of its seed, and keeps its bounds."""

from __future__ import annotations

from itertools import pairwise

import pytest

from tests.chaos.plan import FILES, QUIET_S, Disturbance, Kind, make_plan, role_of

SEEDS = range(50)
LONG_S = 600.0


@pytest.fixture(scope="module")
def plans() -> list[tuple[Disturbance, ...]]:
    return [make_plan(seed, LONG_S) for seed in SEEDS]


def test_a_seed_gives_the_same_plan_again_and_another_seed_another(plans: list[tuple[Disturbance, ...]]) -> None:
    assert [make_plan(seed, LONG_S) for seed in SEEDS] == plans
    assert len(set(plans)) == len(plans)


def test_a_plan_that_was_written_down() -> None:
    """So that a seed means the same on every machine and with every build."""
    told = [f"{each.at_s} {each.lasts_s} {each.text}" for each in make_plan(3, 30)]
    assert told == WRITTEN


def test_a_longer_run_begins_as_a_shorter_one() -> None:
    short = make_plan(3, 60)
    assert make_plan(3, LONG_S)[: len(short)] == short


def test_every_kind_has_its_turn(plans: list[tuple[Disturbance, ...]]) -> None:
    for plan in plans:
        for start in range(0, len(plan) - len(Kind) + 1, len(Kind)):
            assert {each.kind for each in plan[start : start + len(Kind)]} == set(Kind)


def test_what_may_be_disturbed_at_once(plans: list[tuple[Disturbance, ...]]) -> None:
    for plan in plans:
        assert all(first.at_s < second.at_s for first, second in pairwise(plan))
        assert max(each.ends_s for each in plan) <= LONG_S - QUIET_S
        for each in plan:
            beside = [other for other in plan if other.at_s <= each.at_s < other.ends_s]
            assert len(beside) <= 3
            assert len({other.node for other in beside}) == len(beside)
            assert sum(role_of(other.node) == "exit" for other in beside) <= 2


def test_a_disturbance_says_all_that_its_kind_needs(plans: list[tuple[Disturbance, ...]]) -> None:
    for each in (each for plan in plans for each in plan):
        assert (each.file in FILES[role_of(each.node)]) is (each.kind is Kind.DAMAGE)
        assert (each.wound is not None) is (each.kind is Kind.DAMAGE)
        assert bool(each.clock_s) is (each.kind is Kind.CLOCK)
        assert bool(each.share) is (each.kind is Kind.SLOW)
        assert bool(each.strength) is (each.kind in (Kind.FAR, Kind.SHUFFLE, Kind.GARBLE))


WRITTEN = [
    "2.0 3.07 slow to 39% relay-3",
    "4.337 3.474 garble client-2",
    "6.493 3.432 damage node.lock cut in half relay-5",
    "9.634 7.963 far exit-2",
    "11.821 4.081 stop relay-1",
    "14.318 1.956 clock -600 s relay-4",
    "17.067 4.09 kill relay-4",
]
