"""What is in a ledger's file when the process that writes it is killed, at each system call that writes.

`python -m tests.ledger.local_kills FOLDER EACH` runs under `strace -f -e inject=CALLS:signal=SIGKILL:when=AT`, which
kills every process when it is about to make its `AT`-th call of a kind. Each victim makes some for nothing first, so
that the first of those that count is its last, or the second, and so on; of the writes to a file only every `EACH`-th
is tried. Prints a line for each step: how many kills left it undone, how many done, how many half done, and its name.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import sqlite3
import sys
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Final

from ledger.local_books import open_books
from ledger.settlement import CLOSE_DELAY_S
from ledger.voucher import SigningKey

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from ledger.local_books import Books

AT: Final = 50
NOTHING: Final[dict[str, Callable[[int], object]]] = {
    "pwrite64": lambda null: os.pwrite(null, b"", 0),
    "fdatasync": lambda null: os.fdatasync(null),
    "unlink": lambda null: os.unlink(f"/dev/fd/{null}/none"),
    "write": lambda null: os.write(null, b""),
}
CALLS: Final = ",".join(NOTHING)

PAYER, PAYEE = b"\x0a" * 20, b"\x0b" * 20
KEY: Final = SigningKey(b"\x01" * 32)
NOW: Final = 1_000_000
UNDONE, DONE, HALF = 10, 11, 12


def _draw(size: int) -> bytes:
    return b"\x55" * size


CHANNEL: Final = _draw(32)


def _claim(books: Books) -> int:
    return books.claim(CHANNEL, 500, KEY.sign(books.domain.separator, CHANNEL, 500))


STEPS: Final[dict[str, Callable[[Books], object]]] = {
    "make the file": lambda books: books.now_s(),
    "faucet": lambda books: books.make(PAYER, 5000),
    "open": lambda books: books.open(PAYER, PAYEE, KEY.address, 1000),
    "top up": lambda books: books.top_up(PAYER, CHANNEL, 100),
    "claim": _claim,
    "start close": lambda books: books.start_close(PAYER, CHANNEL),
    "finish close": lambda books: books.finish_close(CHANNEL),
}
LATE: Final = "finish close"


def _in_child[*Arguments](work: Callable[[*Arguments], int], *arguments: *Arguments) -> int:
    """Exit code of a process that does some work, below 0 for a signal."""
    pid = os.fork()
    if pid == 0:
        with contextlib.ExitStack() as leave:
            leave.callback(os._exit, 1)
            os._exit(work(*arguments))
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def _content(path: Path) -> list[str]:
    """All of a file that is in order."""
    sql = sqlite3.connect(path)
    assert sql.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    lines = list(sql.iterdump())
    sql.close()
    return lines


def _act(path: Path, name: str, call: str, before: int) -> int:
    """Do a step, after some calls for nothing. Its last call tells that it is done, as an acknowledgement would."""
    null = os.open(os.devnull, os.O_WRONLY)
    for _ in range(before):
        with contextlib.suppress(OSError):
            NOTHING[call](null)
    books = open_books(path, lambda: NOW + CLOSE_DELAY_S * (name == LATE), _draw, 5)
    books.transact(lambda: STEPS[name](books))
    os.write(null, b"done")
    return 0


def _seen(path: Path, undone: list[str], done: list[str]) -> int:
    content = _content(path)
    return UNDONE if content == undone else DONE if content == done else HALF


def _kills(start: Path, path: Path, name: str, each: int, undone: list[str], done: list[str]) -> Iterator[int]:
    """Kill a step at its calls; what each left."""
    for call in NOTHING:
        for number in count(1, each if call == "pwrite64" else 1):
            shutil.copy(start, path)
            if _in_child(_act, path, name, call, AT - number) != -signal.SIGKILL:
                break
            yield _in_child(_seen, path, undone, done)


def main(folder: Path, each: int) -> None:
    path, start, end = folder / "coins", folder / "start", folder / "end"
    start.touch(0o600)
    report = []
    for name in STEPS:
        shutil.copy(start, path)
        assert _in_child(_act, path, name, "write", 0) == 0
        shutil.copy(path, end)
        found = list(_kills(start, path, name, each, _content(start), _content(end)))
        report.append(f"{found.count(UNDONE)} {found.count(DONE)} {found.count(HALF)} {name}\n")
        shutil.copy(end, start)
    os.write(1, "".join(report).encode())


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
