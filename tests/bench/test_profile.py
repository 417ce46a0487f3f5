"""CPU by thread."""

from __future__ import annotations

from collections import Counter

from bench.profile import by_thread, payments_percent
from bench.stacks import Recording


def test_cpu_is_what_was_added_per_unit_of_work() -> None:
    before = {"relay": {"main": 1.0, "others": 5.0}}
    after = {"relay": {"main": 2.0, "others": 8.0}}
    assert by_thread(before, after, 2.0) == {"relay": {"main": 0.5, "others": 1.5}}


def test_what_payments_take_of_all_cpu() -> None:
    recording = Recording()
    recording.stacks = {
        "relay": Counter({("run (loop.py:1)",): 90, ("run (loop.py:1)", "due (ledger/payer.py:2)"): 10}),
        "exit": Counter({("run (loop.py:1)",): 10}),
    }
    recording.beside = {"relay": Counter({("run (aiosqlite/core.py:1)",): 10, ("run (x.py:1)",): 7}), "exit": Counter()}
    cpu = {"relay": {"main": 2.0, "others": 5.0}, "exit": {"main": 3.0, "others": 0.0}}
    assert payments_percent(recording, cpu) == 4.0  # a fifth of 2 seconds, out of 10
