"""How stalls are told."""

from __future__ import annotations

from typing import Any

from bench.survive import stall_s, summary


def test_a_flow_counts_until_its_last_progress() -> None:
    assert stall_s([[1.0, 2.0, 5.0, 6.0]], 2.5, 20.0) == [2.5]


def test_flows_that_were_over_before_the_window_have_no_stall() -> None:
    assert stall_s([[1.0, 2.0], [], [1.0, 4.0]], 3.0, 5.0) == [1.0]


def _run(right: bool, connections: int, *stalls: tuple[str, float]) -> dict[str, Any]:
    return {
        "right": right,
        "connections": connections,
        "connections_expected": 1,
        "reference_pause_s": 0.01,
        "events": [{"what": what, "stall_s": stall} for what, stall in stalls] + [{"what": "hop"}],
    }


def test_a_run_is_right_only_with_one_connection() -> None:
    told = summary([_run(True, 1), _run(True, 2), _run(False, 1)])
    assert (told["runs"], told["right"]) == (3, 1)
    assert told["death_stall_s"] is told["hop_stall_s"] is told["all_stall_s"] is None


def test_deaths_and_hops_are_told_apart() -> None:
    told = summary([_run(True, 1, ("kill guard", 2.0), ("hop", 0.5)), _run(True, 1, ("stop guard", 4.0))])
    assert told["death_stall_s"] == {"min": 2.0, "median": 3.0, "max": 4.0}
    assert told["hop_stall_s"]["median"] == 0.5
    assert told["all_stall_s"]["median"] == 2.0
