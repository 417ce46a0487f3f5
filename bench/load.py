"""Load, by curl processes, and what it cost the processes under test."""

from __future__ import annotations

import os
import statistics
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

_TICKS = os.sysconf("SC_CLK_TCK")
_PAGE = os.sysconf("SC_PAGE_SIZE")
_FORMAT = "%{http_code} %{time_starttransfer} %{time_total} %{size_download} %{speed_download}\\n"


def cpu_s(pids: list[int]) -> float:
    """CPU seconds that processes have used so far, all their threads."""
    ticks = 0
    for pid in pids:
        fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
        ticks += int(fields[11]) + int(fields[12])
    return ticks / _TICKS


def memory_mb(pid: int) -> float:
    """Resident memory in MB."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * _PAGE / 1e6


@dataclass(frozen=True, slots=True)
class Got:
    """One request as curl saw it: status, seconds to the first byte, seconds, bytes, bytes per second."""

    code: int
    first_s: float
    total_s: float
    size: int
    speed: float


class Way:
    """How curl reaches the origin: through a proxy, or directly with an empty one."""

    def __init__(self, proxy: str, origin: str) -> None:
        through = ["--socks5-hostname", proxy] if proxy else []
        self._curl = ["curl", "-s", "--noproxy", "", "-H", "Connection: close", "-w", _FORMAT, "--max-time", "60"]
        self._curl += through
        self._origin = origin

    def get(self, size: int) -> Got:
        return self._read(self._start(size).communicate()[0])[0]

    def together(self, size: int, count: int) -> tuple[float, list[Got]]:
        """`count` downloads at once; returns seconds for all and each one's."""
        started = time.monotonic()
        running = [self._start(size) for _ in range(count)]
        got = [self._read(process.communicate()[0])[0] for process in running]
        return time.monotonic() - started, got

    def many(self, size: int, count: int, at_once: int) -> tuple[float, list[Got]]:
        """`count` small requests, each on a new connection, in one curl; returns seconds for all and each one's."""
        config = "".join(f'url = "{self._origin}/{size}"\noutput = "/dev/null"\n' for _ in range(count))
        parallel = ["-Z", "--parallel-immediate", "--parallel-max", str(at_once)] if at_once > 1 else []
        started = time.monotonic()
        done = subprocess.run(
            [*self._curl, *parallel, "-K", "-"], input=config, capture_output=True, text=True, timeout=120, check=False
        )
        return time.monotonic() - started, self._read(done.stdout)

    def _start(self, size: int) -> subprocess.Popen[str]:
        command = [*self._curl, "-o", "/dev/null", f"{self._origin}/{size}"]
        return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)

    @staticmethod
    def _read(text: str) -> list[Got]:
        rows = [line.split() for line in text.splitlines()]
        return [Got(int(r[0]), float(r[1]), float(r[2]), int(r[3]), float(r[4])) for r in rows if len(r) == 5]


def spread(values: list[float], digits: int = 2) -> dict[str, float]:
    """Minimum, median and maximum."""
    return {
        "min": round(min(values), digits),
        "median": round(statistics.median(values), digits),
        "max": round(max(values), digits),
    }


def quantile(values: list[float], share: float) -> float:
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))]
