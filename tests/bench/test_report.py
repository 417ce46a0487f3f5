"""The table that people read."""

from __future__ import annotations

from bench.report import table


def test_spreads_and_quantiles_take_one_line_and_lists_none() -> None:
    result = {
        "name": "x",
        "one": {"MBps": {"min": 1, "median": 2, "max": 3}, "first": {"p50": 4, "p95": 5, "p99": 6}},
        "runs": [{"a": 1}],
    }
    assert table(result).splitlines() == [
        "name       x",
        "one.MBps   2 [1 … 3]",
        "one.first  4 / 5 / 6",
    ]


def test_an_empty_table() -> None:
    assert table({}) == ""
