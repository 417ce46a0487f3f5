"""The experiment with guards that lie, small."""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache
from typing import TYPE_CHECKING

import pytest

from bench.eclipse import summary
from bench.eclipse.client import ALL, DEFENCES, Client, Defence, Tried
from bench.eclipse.crowd import Crowd

if TYPE_CHECKING:
    from collections.abc import Iterable

HOURS = 3
CROWD = Crowd(public=100, hostile=0.2, hidden=150, junk=0.2)


@lru_cache
def tried(defence: Defence, guards: int) -> tuple[Tried, ...]:
    return tuple(path for number in range(6) for path in Client(CROWD, defence, guards, f"{number}").live(HOURS))


def share(flags: Iterable[bool]) -> float:
    flags = list(flags)
    return sum(flags) / len(flags)


def test_the_crowd_is_what_it_shall_be() -> None:
    assert len(CROWD.honest) == 80
    assert len(CROWD.hostile) == 20 + 150


@pytest.mark.parametrize("guards", [0, 1, 2])
def test_with_all_defences_paths_keep_honest_peers_in_proportion(guards: int) -> None:
    paths = tried(ALL, guards)
    assert share(path.exit for path in paths) == pytest.approx(0.8, abs=0.15)
    assert share(path.middle for path in paths) > 0.55


def test_without_vouching_a_lying_guard_fills_the_paths() -> None:
    paths = tried(DEFENCES["all but vouching"], 1)
    assert share(path.exit for path in paths) < 0.4


def test_one_honest_guard_is_found() -> None:
    """The circuits that are built stand on it; and as who accuses comes last, so do most that are tried."""
    built = [path for path in tried(ALL, 1) if path.built]
    assert share(path.guard for path in built) > 0.8
    assert share(path.exit for path in built) == pytest.approx(0.8, abs=0.2)
    without = tried(replace(ALL, accusers=False), 1)
    assert share(path.guard for path in without) < 0.5 < share(path.guard for path in tried(ALL, 1))


def test_a_seed_decides_everything() -> None:
    assert Client(CROWD, ALL, 1, "7").live(2) == Client(CROWD, ALL, 1, "7").live(2)


def test_a_summary_counts_paths_and_circuits() -> None:
    paths = [
        Tried(0, True, True, True, False),
        Tried(0, False, False, True, True),
        Tried(30, True, False, False, False),
    ]
    found = summary(paths, 48)
    assert found["first hour"] == {
        "circuits": 1,
        "tried_middle": 100.0,
        "tried_exit": 50.0,
        "middle": 100.0,
        "exit": 0.0,
        "both_ends_hostile": 0.0,
    }
    assert found["first day"]["circuits"] == 0
    assert found["later"]["both_ends_hostile"] == 100.0
