"""CPU by thread."""

from __future__ import annotations

from bench.profile import by_thread


def test_cpu_is_what_was_added_per_unit_of_work() -> None:
    before = {"relay": {"main": 1.0, "others": 5.0}}
    after = {"relay": {"main": 2.0, "others": 8.0}}
    assert by_thread(before, after, 2.0) == {"relay": {"main": 0.5, "others": 1.5}}
