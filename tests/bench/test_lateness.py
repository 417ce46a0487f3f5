"""What nodes said of their lateness, put together."""

from __future__ import annotations

from bench.lateness import summary


def test_the_worst_and_the_median_count_and_who_refused() -> None:
    said = [{"late_ms": late, "refuses": word} for late, word in ((3, ""), (900, "flows"), (1, ""), (300, "circuits"))]
    assert summary(said) == {"looks": 4, "late_ms": {"median": 300, "max": 900}, "refusing": 2}


def test_nodes_that_said_nothing() -> None:
    assert summary([]) == {"looks": 0, "late_ms": None, "refusing": 0}
