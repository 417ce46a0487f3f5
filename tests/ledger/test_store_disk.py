"""In which order the store asks the system to write: no answer before the disk has it."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from typing import TYPE_CHECKING, Final

import pytest

if TYPE_CHECKING:
    from pathlib import Path

WRITER: Final = """
import asyncio, os, pathlib, sys
from ledger.store import Store
from tests.ledger.rows import name, payee, payer, signature

async def main(path):
    store = await Store.open(path)
    await asyncio.gather(store.cap(100), store.add_payer(payer(1)), store.add_payee(payee(2)))
    for paid in range(1, 6):
        await store.raise_paid(name(1), paid, 0)
        os.write(1, b"answered")
        await store.take_voucher(name(2), paid, signature(paid), 0)
        os.write(1, b"answered")
    await store.aclose()

asyncio.run(main(pathlib.Path(sys.argv[1])))
"""


def steps(trace: str) -> str:
    """One letter for each step: W written to the log, S the log synced, A answered, M the books written themselves,
    B the books synced, D the log removed or emptied."""
    kinds = {
        "W": r"pwrite64\(\d+<.*/books-wal>",
        "S": r"fd?a?t?a?sync\(\d+<.*/books-wal>",
        "A": r"write\(1<.*answered",
        "M": r"pwrite64\(\d+<.*/books>",
        "B": r"fd?a?t?a?sync\(\d+<.*/books>",
        "D": r"(unlink\(.*/books-wal|ftruncate\(\d+<.*/books-wal>)",
    }
    found = (
        letter
        for line in trace.splitlines()
        for letter, kind in kinds.items()
        if re.match(rf"\d+ +{kind}", line) and not line.endswith("unfinished ...>")
    )
    return "".join(found)


@pytest.mark.skipif(shutil.which("strace") is None, reason="needs strace")
def test_no_answer_before_the_disk_has_it(tmp_path: Path) -> None:
    trace = tmp_path / "trace"
    calls = "trace=write,pwrite64,fsync,fdatasync,ftruncate,unlink"
    watch = ["strace", "-f", "-y", "-e", calls, "-o", str(trace)]
    subprocess.run([*watch, sys.executable, "-c", WRITER, tmp_path / "books"], check=True, stdout=subprocess.DEVNULL)
    done = steps(trace.read_text())
    first = done.index("A")
    assert re.fullmatch(r".*W+S", done[:first])
    assert re.fullmatch(r"A(W+SA){9}S?M+BD", done[first:]), "nor is the log gone before the books are synced"
