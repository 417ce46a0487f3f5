"""Load, by curl processes."""

from __future__ import annotations

import os
import subprocess
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Sequence

_FORMAT: Final = "%{http_code} %{time_starttransfer} %{time_total} %{size_download} %{speed_download}\\n"
_READ: Final = 1 << 18


@dataclass(frozen=True, slots=True)
class Got:
    """One request as curl saw it: status, seconds to the first byte, seconds, bytes, bytes per second."""

    code: int
    first_s: float
    total_s: float
    size: int
    speed: float


def parse(text: str) -> list[Got]:
    """Read what curl wrote, a line per request; lines of another form are left out."""
    rows = [line.split() for line in text.splitlines()]
    return [Got(int(r[0]), float(r[1]), float(r[2]), int(r[3]), float(r[4])) for r in rows if len(r) == 5]


class Way:
    """How curl reaches the origin.

    Args:
        proxy: `HOST:PORT` of a SOCKS5 proxy; empty to go directly.
        origin: `http://HOST:PORT` of `bench.origin`.
        prefix: words before `curl`, such as those that enter a network namespace.
        limit_s: how long one request may take.
    """

    def __init__(self, proxy: str, origin: str, prefix: Sequence[str] = (), limit_s: float = 60) -> None:
        through = ["--socks5-hostname", proxy] if proxy else []
        self._curl = [*prefix, "curl", "-s", "--noproxy", "", "-H", "Connection: close", *through]
        self._limit = ["--max-time", str(limit_s)]
        self._origin = origin

    def get(self, size: int) -> Got:
        """Download so many bytes."""
        return self._finish(self._start(size))

    def together(self, size: int, count: int) -> tuple[float, list[Got]]:
        """`count` downloads at once; returns seconds for all and each one's."""
        started = time.monotonic()
        running = [self._start(size) for _ in range(count)]
        got = [self._finish(process) for process in running]
        return time.monotonic() - started, got

    def many(self, size: int, count: int, at_once: int) -> tuple[float, list[Got]]:
        """`count` small requests, each on a new connection, in one curl; returns seconds for all and each one's."""
        config = "".join(f'url = "{self._origin}/{size}"\noutput = "/dev/null"\n' for _ in range(count))
        parallel = ["-Z", "--parallel-immediate", "--parallel-max", str(at_once)] if at_once > 1 else []
        started = time.monotonic()
        done = subprocess.run(
            [*self._curl, *self._limit, "-w", _FORMAT, *parallel, "-K", "-"],
            input=config,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        return time.monotonic() - started, parse(done.stdout)

    def watched(self, size: int) -> list[tuple[float, int]]:
        """Download so many bytes; returns moments and how much had come by then."""
        command = [*self._curl, *self._limit, "-N", f"{self._origin}/{size}"]
        samples, total = [], 0
        with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
            assert process.stdout is not None
            while part := os.read(process.stdout.fileno(), _READ):
                total += len(part)
                samples.append((time.monotonic(), total))
        return samples

    def slow(self, size: int, rate: int, user: str) -> subprocess.Popen[bytes]:
        """Start a download at a limited rate, in bytes per second, as one user of the proxy."""
        slow = ["--limit-rate", str(rate), "--proxy-user", f"{user}:x", "-o", "/dev/null"]
        return subprocess.Popen([*self._curl, *slow, f"{self._origin}/{size}"])

    def _start(self, size: int) -> subprocess.Popen[str]:
        command = [*self._curl, *self._limit, "-w", _FORMAT, "-o", "/dev/null", f"{self._origin}/{size}"]
        return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)

    @staticmethod
    def _finish(process: subprocess.Popen[str]) -> Got:
        return parse(process.communicate()[0])[0]
