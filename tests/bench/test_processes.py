"""What processes used, as the kernel tells it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import pytest

from bench.processes import (
    cpu_s,
    hogs,
    memory_mb,
    parse_peak_mb,
    parse_stat,
    peak_mb,
    reset_peak,
    runs,
    thread_cpu_s,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="this reads /proc, which only Linux has")

LINE = "7 (a (b) c) S 1 7 7 0 -1 4194560 10 20 30 40 150 25 3 4 20 0 2 0 99 1000 200 18446744073709551615\n"


def test_a_stat_line_with_parentheses_in_its_name() -> None:
    assert parse_stat(LINE) == ("a (b) c", "S", 175)


def test_the_peak_is_in_mb() -> None:
    assert parse_peak_mb("Name:\tx\nVmHWM:\t   1000 kB\nVmRSS:\t 900 kB\n") == pytest.approx(1.024)


@pytest.fixture
def sleeper() -> Iterator[subprocess.Popen[bytes]]:
    with subprocess.Popen(["sleep", "60"]) as process:
        yield process
        process.kill()


def _until(check: Callable[[], bool]) -> None:
    end = time.monotonic() + 5
    while not check():
        assert time.monotonic() < end
        time.sleep(0.01)


def test_a_stopped_process_does_not_run(sleeper: subprocess.Popen[bytes]) -> None:
    assert runs(sleeper.pid)
    os.kill(sleeper.pid, signal.SIGSTOP)
    _until(lambda: not runs(sleeper.pid))
    os.kill(sleeper.pid, signal.SIGCONT)
    _until(lambda: runs(sleeper.pid))


def test_a_dead_process_does_not_run_before_nor_after_it_was_waited_for(sleeper: subprocess.Popen[bytes]) -> None:
    sleeper.kill()
    _until(lambda: not runs(sleeper.pid))
    sleeper.wait()
    assert not runs(sleeper.pid)


def test_a_busy_process_uses_cpu_in_its_main_thread() -> None:
    with hogs(1) as busy:
        _until(lambda: cpu_s(busy) > 0.05)
        assert thread_cpu_s(busy[0])[busy[0]] > 0
        assert len(thread_cpu_s(busy[0])) == 1
    assert not runs(busy[0])


def test_the_peak_remembers_what_was_given_back() -> None:
    script = "block = bytes([1]) * 64_000_000; print(flush=True); input(); del block; print(flush=True); input()"
    with subprocess.Popen([sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdout.readline()
        reset_peak(process.pid)
        process.stdin.write(b"\n")
        process.stdin.flush()
        process.stdout.readline()
        assert peak_mb(process.pid) > 60 > memory_mb(process.pid)
        process.kill()
