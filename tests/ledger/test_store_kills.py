"""Real processes are killed while they write: nothing that was acknowledged is lost, and nothing else is there.

`STORE_KILLS=1000 pytest tests/ledger/test_store_kills.py` kills more than the few of every day.
"""

from __future__ import annotations

import asyncio
import os
import random
import signal
import subprocess
import sys
from typing import TYPE_CHECKING, Final

import pytest

from ledger.store_file import open_file
from ledger.voucher import check
from tests.ledger import killed
from tests.ledger.killed import CAP, KEY, PAYEES, PAYERS, POINTS, STEP
from tests.ledger.rows import UNIT, name

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

KILLS: Final = int(os.environ.get("STORE_KILLS", "24"))
OUTSIDE: Final = "from outside"
MOST_ANSWERS: Final = 40
"""After at most so many a process is killed, from outside or at the place it passes then."""


class Forker:
    """Starts children that work until they are killed."""

    def __init__(self, path: Path) -> None:
        command = [sys.executable, "-m", "tests.ledger.killed", str(path)]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def kill(self, point: str, count: int) -> list[tuple[int, int]]:
        """Let a child work until it is killed; what it said was acknowledged: channel's number and units."""
        assert self._process.stdin
        assert self._process.stdout
        self._process.stdin.write(f"{'' if point == OUTSIDE else point};{count}\n")
        self._process.stdin.flush()
        word, pid = self._process.stdout.readline().split()
        assert word == "pid"
        said: list[tuple[int, int]] = []
        while True:
            if point == OUTSIDE and len(said) == count:
                os.kill(int(pid), signal.SIGKILL)
            word, value = self._process.stdout.readline().split()
            if word == "end":
                assert int(value) == -signal.SIGKILL
                return said
            said.append((int(word), int(value)))

    def stop(self) -> None:
        self._process.communicate()


@pytest.fixture
def forker(tmp_path: Path) -> Iterator[Forker]:
    forker = Forker(tmp_path / "books")
    yield forker
    forker.stop()


def stored(path: Path) -> dict[int, int]:
    """What the books say after a kill, by channel; they open, and are right in themselves."""
    connection, books = open_file(path)
    connection.close()
    assert books.signed <= CAP
    rows = {number: books.payers[name(number)] for number in PAYERS} | {
        number: books.payees[name(number)] for number in PAYEES
    }
    for row in rows.values():
        assert row.used == max(0, row.paid * UNIT - 1)
    for number in PAYEES:
        row = books.payees[name(number)]
        if row.paid:
            check(KEY.address, row.separator, row.channel, row.paid, row.signature)
    return {number: row.paid for number, row in rows.items()}


def test_what_was_acknowledged_survives(tmp_path: Path, forker: Forker) -> None:
    path, chance = tmp_path / "books", random.Random()
    seed = chance.randrange(1 << 32)
    chance.seed(seed)
    asyncio.run(killed.make(path))
    before, total = stored(path), 0
    for turn in range(KILLS):
        point = [OUTSIDE, *POINTS][turn % (1 + len(POINTS))]
        count = chance.randrange(3 if "log" in point else MOST_ANSWERS)
        said = forker.kill(point, count)
        after = stored(path)
        for number, was in before.items():
            heard = max((paid for channel, paid in said if channel == number), default=was)
            assert after[number] in (heard, heard + STEP), f"{point}, {count}, seed {seed}"
        before, total = after, total + len(said)
    assert total > KILLS
    print(f"{KILLS} kills, {total} acknowledged, none lost")
