"""What the machine did besides the work that is measured: how far figures can be trusted."""

from __future__ import annotations

import os
import resource
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from bench.processes import parse_parent, parse_stat

if TYPE_CHECKING:
    from collections.abc import Iterator

_TICKS: Final = os.sysconf("SC_CLK_TCK")


def parse_machine(text: str) -> tuple[float, float]:
    """Read /proc/stat: CPU seconds that were used by anybody, and those that the host gave to other machines."""
    user, nice, system, _, _, hard, soft, stolen = (int(word) for word in text.split("\n", 1)[0].split()[1:9])
    return (user + nice + system + hard + soft) / _TICKS, stolen / _TICKS


def _machine() -> tuple[float, float]:
    return parse_machine(Path("/proc/stat").read_text())


def _own() -> float:
    """CPU seconds of this process and all that it started, also of those that have ended and were waited for."""
    parents: dict[int, int] = {}
    used: dict[int, float] = {}
    for file in Path("/proc").glob("[0-9]*/stat"):
        try:
            text = file.read_text()
        except (FileNotFoundError, ProcessLookupError):
            continue
        pid = int(file.parent.name)
        parents[pid] = parse_parent(text)
        used[pid] = parse_stat(text)[2] / _TICKS
    total = 0.0
    for pid, seconds in used.items():
        above = pid
        while above in parents and above != os.getpid():
            above = parents[above]
        if above == os.getpid():
            total += seconds
    ended = resource.getrusage(resource.RUSAGE_CHILDREN)
    return total + ended.ru_utime + ended.ru_stime


@contextmanager
def noise(result: dict[str, Any]) -> Iterator[None]:
    """Put into `result` what else the machine did while the block ran.

    Args:
        result: gets `noise`: `others_cpu_s`, CPU seconds of processes that are not ours; `stolen_s`, CPU seconds that
            the host gave to others; and `load`, how many processes ran or wanted to at the beginning.
    """
    load, (busy, stolen), own = os.getloadavg()[0], _machine(), _own()
    yield
    (busy_then, stolen_then), own_then = _machine(), _own()
    others = max(0.0, busy_then - busy - (own_then - own))
    result["noise"] = {
        "others_cpu_s": round(others, 1),
        "stolen_s": round(stolen_then - stolen, 1),
        "load": round(load, 2),
    }
