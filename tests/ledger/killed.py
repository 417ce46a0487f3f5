"""A node that does nothing but write to its store, in a process that is killed: at a named place, or from outside.

`python -m tests.ledger.killed BOOKS` has imported all it needs and forks, so that a kill costs milliseconds. For each
line `POINT;COUNT` that it reads, a child opens the books and, on each of some channels, pays or takes one voucher after
the other. It writes the line `pid PID`, then `CHANNEL UNITS` for each that was acknowledged; when it has died, its
parent writes `end STATUS`.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from unittest import mock

import aiosqlite

from ledger import store as store_module
from ledger.store import Store
from ledger.voucher import SigningKey
from tests.ledger.rows import UNIT, name, payee, payer

if TYPE_CHECKING:
    from collections.abc import Callable

PAYERS: Final = (1, 2, 3)
PAYEES: Final = (4, 5, 6)
KEY: Final = SigningKey(bytes([7]) * 32)
STEP: Final = 3
"""Units from one voucher to the next."""

LOG_BYTES: Final = 100_000
"""The log is emptied after some ten commits."""

CAP: Final = 1 << 100
POINTS: Final = {
    "before the write": ("executemany", "before"),
    "between write and commit": ("commit", "before"),
    "between commit and answer": ("commit", "after"),
    "before the log is emptied": ("execute_fetchall", "before"),
    "after the log was emptied": ("execute_fetchall", "after"),
}
"""By name: which call of the connection, and on which side of it."""


def sign(number: int, paid: int) -> bytes:
    """The voucher of a channel."""
    return KEY.sign(bytes([3]) * 32, name(number), paid)


async def make(path: Path) -> None:
    """Begin books with all channels."""
    store = await Store.open(path)
    changes = [store.add_payer(payer(number, 1 << 90)) for number in PAYERS]
    changes += [store.add_payee(payee(number, 1 << 90)) for number in PAYEES]
    await asyncio.gather(*changes, store.cap(CAP))
    await store.aclose()


def run(path: Path, point: str, count: int) -> None:
    """Work until killed.

    Args:
        path: the books.
        point: one of `POINTS`, or empty.
        count: how often that place is passed before.
    """
    if point:
        _kill_at(*POINTS[point], count)
    with mock.patch.object(store_module, "LOG_BYTES", LOG_BYTES):
        asyncio.run(_work(path))


def _say(text: str) -> None:
    os.write(1, f"{text}\n".encode())


def _kill_at(call: str, side: str, count: int) -> None:
    real: Callable[..., Any] = getattr(aiosqlite.Connection, call)
    left = count

    async def passed(connection: aiosqlite.Connection, *arguments: Any) -> Any:
        nonlocal left
        left -= 1
        if left < 0 and side == "before":
            os.kill(os.getpid(), signal.SIGKILL)
        result = await real(connection, *arguments)
        if left < 0:
            os.kill(os.getpid(), signal.SIGKILL)
        return result

    setattr(aiosqlite.Connection, call, passed)


async def _work(path: Path) -> None:
    store = await Store.open(path)
    async with asyncio.TaskGroup() as group:
        for number in PAYERS:
            group.create_task(_pay(store, number))
        for number in PAYEES:
            group.create_task(_earn(store, number))


async def _pay(store: Store, number: int) -> None:
    paid = store.payers[number - PAYERS[0]].paid
    while True:
        paid += STEP
        await store.raise_paid(name(number), paid, paid * UNIT - 1)
        _say(f"{number} {paid}")


async def _earn(store: Store, number: int) -> None:
    paid = store.payees[number - PAYEES[0]].paid
    while True:
        paid += STEP
        assert await store.take_voucher(name(number), paid, sign(number, paid), paid * UNIT - 1)
        _say(f"{number} {paid}")


def main() -> None:
    for line in sys.stdin:
        point, _, count = line.partition(";")
        if (pid := os.fork()) == 0:
            try:
                _say(f"pid {os.getpid()}")
                run(Path(sys.argv[1]), point, int(count))
            finally:
                os._exit(1)
        _, status = os.waitpid(pid, 0)
        _say(f"end {os.waitstatus_to_exitcode(status)}")


if __name__ == "__main__":
    main()
