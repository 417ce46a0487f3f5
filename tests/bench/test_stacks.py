"""Samples of a profiler."""

from __future__ import annotations

from bench.stacks import parse, samples_in, top

SAMPLES = """\
thread (7);main (a.py:1);work (a.py:9) 6
thread (7): MainThread;main (a.py:1);work (a.py:9);work (a.py:9) 2
thread (7): MainThread;main (a.py:1) 2
thread (17): helper;main (a.py:1) 50
"""


def test_each_thread_has_its_own() -> None:
    assert {thread: stacks.total() for thread, stacks in parse(SAMPLES).items()} == {7: 10, 17: 50}
    assert not parse("")


def test_a_function_that_calls_itself_counts_once_in_all() -> None:
    assert top(parse(SAMPLES)[7], 5) == [
        {"function": "work (a.py:9)", "own_percent": 80.0, "all_percent": 80.0},
        {"function": "main (a.py:1)", "own_percent": 20.0, "all_percent": 100.0},
    ]


def test_only_the_first_few() -> None:
    assert [row["function"] for row in top(parse(SAMPLES)[7], 1)] == ["work (a.py:9)"]
    assert top({}, 3) == []


def test_samples_in_files_and_in_what_those_called() -> None:
    stacks = {
        ("run (loop.py:1)", "pay (money/a.py:3)"): 1,
        ("run (loop.py:1)", "pay (money/a.py:3)", "sign (library.py:9)"): 10,
        ("send (wire.py:1)", "count (money/b.py:3)"): 100,
        ("run (loop.py:1)", "go_on (money/b.py:7)", "send (wire.py:1)"): 1000,
        ("run (loop.py:1)", "money (other/a.py:3)"): 10_000,
    }
    assert samples_in(stacks, ("money/",)) == 1111
    assert samples_in(stacks, ("money/",), ("wire",)) == 111
    assert samples_in(stacks, ("none/",)) == 0
