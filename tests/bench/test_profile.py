"""CPU by thread."""

from __future__ import annotations

from collections import Counter

from bench.profile import by_thread, payments_percent, used_since
from bench.stacks import Recording

MAINS = {"relay": 7, "exit": 9}


def test_cpu_is_what_was_added_per_unit_of_work() -> None:
    used = used_since({"relay": {7: 1.0, 8: 5.0}}, {"relay": {7: 2.0, 8: 8.0, 11: 1.0}})
    assert used == {"relay": {7: 1.0, 8: 3.0, 11: 1.0}}
    assert by_thread(used, MAINS, 2.0) == {"relay": {"main": 0.5, "others": 2.0}}


def test_what_payments_take_of_all_cpu() -> None:
    recording = Recording()
    recording.stacks = {
        "relay": Counter({("run (loop.py:1)",): 90, ("run (loop.py:1)", "due (ledger/payer.py:2)"): 10}),
        "exit": Counter({("run (loop.py:1)",): 10}),
    }
    recording.beside = {
        "relay": {8: Counter({("run (aiosqlite/core.py:1)",): 10}), 10: Counter({("run (x.py:1)",): 7})},
        "exit": {},
    }
    used = {"relay": {7: 2.0, 8: 0.3, 10: 4.7}, "exit": {9: 3.0}}
    assert payments_percent(recording, used, MAINS) == 5.0  # a tenth of 2 seconds and 0.3, out of 10
