"""What counts as a false alarm."""

from __future__ import annotations

from bench.alarms import alarms


def test_only_circuits_that_were_given_up_count_and_only_the_new_ones() -> None:
    before = {"circuit timed_out": 2, "circuit done": 1, "build busy": 1}
    after = {"circuit timed_out": 5, "circuit done": 9, "circuit closed": 1, "build busy": 7, "exit given up": 1}
    assert alarms(before, after) == {"timed_out": 3, "closed": 1, "exit given up": 1}


def test_nothing_new_is_no_alarm() -> None:
    assert alarms({"circuit timed_out": 2}, {"circuit timed_out": 2}) == {}
