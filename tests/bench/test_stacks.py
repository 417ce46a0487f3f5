"""Samples of a profiler."""

from __future__ import annotations

from bench.stacks import parse, top

SAMPLES = """\
thread (7);main (a.py:1);work (a.py:9) 6
thread (7): MainThread;main (a.py:1);work (a.py:9);work (a.py:9) 2
thread (7): MainThread;main (a.py:1) 2
thread (17): helper;main (a.py:1) 50
"""


def test_other_threads_are_left_out() -> None:
    assert sum(parse(SAMPLES, 7).values()) == 10
    assert sum(parse(SAMPLES, 17).values()) == 50
    assert not parse("", 7)


def test_a_function_that_calls_itself_counts_once_in_all() -> None:
    assert top(parse(SAMPLES, 7), 5) == [
        {"function": "work (a.py:9)", "own_percent": 80.0, "all_percent": 80.0},
        {"function": "main (a.py:1)", "own_percent": 20.0, "all_percent": 100.0},
    ]


def test_only_the_first_few() -> None:
    assert [row["function"] for row in top(parse(SAMPLES, 7), 1)] == ["work (a.py:9)"]
    assert top({}, 3) == []
