"""What processes used: CPU by thread, and memory. Linux only: everything comes from /proc."""

from __future__ import annotations

import os
import subprocess
import sys
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

_TICKS: Final = os.sysconf("SC_CLK_TCK")
_PAGE: Final = os.sysconf("SC_PAGE_SIZE")
_GONE: Final = (FileNotFoundError, ProcessLookupError)


def parse_stat(text: str) -> tuple[str, str, int]:
    """Read a line of /proc/PID/stat, of a process or a thread.

    Returns:
        The command's name, the state's letter, and the ticks of CPU used so far, user and system together.
    """
    head, _, rest = text.rpartition(")")
    fields = rest.split()
    return head.partition("(")[2], fields[0], int(fields[11]) + int(fields[12])


def parse_parent(text: str) -> int:
    """Read the parent's id out of a line of /proc/PID/stat."""
    return int(text.rpartition(")")[2].split()[1])


def runs(pid: int) -> bool:
    """Whether a process runs. A zombie does not, nor does one that was stopped."""
    try:
        return parse_stat(Path(f"/proc/{pid}/stat").read_text())[1] not in "ZT"
    except _GONE:
        return False


def cpu_s(pids: Iterable[int]) -> float:
    """CPU seconds that processes have used so far, all their threads."""
    return sum(parse_stat(Path(f"/proc/{pid}/stat").read_text())[2] for pid in pids) / _TICKS


def thread_cpu_s(pid: int) -> dict[int, float]:
    """CPU seconds that each thread of a process has used so far. The main thread has the process's number."""
    used = {}
    for stat in Path(f"/proc/{pid}/task").glob("*/stat"):
        with suppress(*_GONE):
            used[int(stat.parent.name)] = parse_stat(stat.read_text())[2] / _TICKS
    return used


def memory_mb(pid: int) -> float:
    """Resident memory in MB."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * _PAGE / 1e6


def parse_peak_mb(status: str) -> float:
    """Read the highest resident memory in MB out of the text of /proc/PID/status."""
    line = next(line for line in status.splitlines() if line.startswith("VmHWM:"))
    return int(line.split()[1]) * 1024 / 1e6


def reset_peak(pid: int) -> None:
    """Let `peak_mb` begin anew (proc(5), clear_refs)."""
    Path(f"/proc/{pid}/clear_refs").write_text("5")


def peak_mb(pid: int) -> float:
    """The highest resident memory in MB since the start or `reset_peak`. The kernel keeps it; no sample misses it."""
    return parse_peak_mb(Path(f"/proc/{pid}/status").read_text())


@contextmanager
def hogs(count: int) -> Iterator[list[int]]:
    """Keep so many processes busy with nothing, and give their ids."""
    running = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(count)]
    try:
        yield [process.pid for process in running]
    finally:
        for process in running:
            process.kill()
            process.wait()
