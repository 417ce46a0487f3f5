"""What one circuit or flow costs."""

from __future__ import annotations

from bench.memory import grown


def test_each_is_the_difference_over_the_count() -> None:
    told = grown({"relay": 50.0, "exit": 40.0}, {"relay": 60.0, "exit": 40.04}, 100)
    assert told["relay"] == {"before_MB": 50.0, "after_MB": 60.0, "each_MB": 0.1}
    assert told["exit"]["each_MB"] == 0.0004
