"""What running processes hold in memory."""

from __future__ import annotations

import os
import signal
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

STEP: Final = 1 << 22
"""Bytes that are read at once."""

AROUND: Final = 16


class Held(NamedTuple):
    """A byte string that was found.

    Args:
        needle: the string.
        before, after: up to 16 bytes that stand beside it.
    """

    needle: bytes
    before: bytes
    after: bytes


def search(pid: int, needles: Collection[bytes]) -> list[Held]:
    """Find byte strings in the memory that a process can write to. It is stopped meanwhile."""
    overlap = max(map(len, needles), default=0) + AROUND
    found = []
    with _stopped(pid), Path(f"/proc/{pid}/mem").open("rb", 0) as memory:
        for begin, end in _writable(pid):
            for at in range(begin, end, STEP):
                start = max(begin, at - AROUND)
                with suppress(OSError):  # not there, though it is mapped
                    memory.seek(start)
                    data = memory.read(min(end, at + STEP + overlap) - start)
                    found += [held for needle in needles for held in _within(data, needle)]
    return found


def holders(pids: Collection[int], needle: bytes) -> list[int]:
    """The processes that hold a byte string."""
    return [pid for pid in pids if search(pid, [needle])]


@contextmanager
def _stopped(pid: int) -> Iterator[None]:
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


def _writable(pid: int) -> Iterator[tuple[int, int]]:
    for line in Path(f"/proc/{pid}/maps").read_text().splitlines():
        span, rights, *_ = line.split()
        if rights.startswith("rw") and not line.endswith(("[vvar]", "[vsyscall]")):
            begin, end = (int(part, 16) for part in span.split("-"))
            yield begin, end


def _within(data: bytes, needle: bytes) -> Iterator[Held]:
    at = data.find(needle)
    while at >= 0:
        end = at + len(needle)
        yield Held(needle, data[max(0, at - AROUND) : at], data[end : end + AROUND])
        at = data.find(needle, at + 1)
