"""When the tunnel is not there, nothing leaves."""

from __future__ import annotations

import os
import signal
import time
from typing import TYPE_CHECKING

import pytest

from tests.harness.demo import Demo, alive, until

if TYPE_CHECKING:
    import subprocess
    from pathlib import Path

    from tests.harness.origin import Origin

pytestmark = pytest.mark.system


def refusal(demo: Demo, url: str, way: str) -> subprocess.CompletedProcess[str]:
    """What curl gets, and in time."""
    started = time.monotonic()
    done = demo.curl("-i", url, way=way)
    assert time.monotonic() - started < 3.0
    return done


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSTOP])
def test_without_exits_connections_are_refused_in_time_and_nothing_goes_directly(
    origin: Origin, tmp_path: Path, number: signal.Signals
) -> None:
    url = f"http://127.0.0.1:{origin.http}/page"
    with Demo("--allow-destination", "127.0.0.0/8", log=tmp_path / "log") as demo:
        assert demo.curl(url).returncode == 0
        for pid in demo.pids("exit"):
            os.kill(pid, number)
        before = len(origin.seen)
        try:
            # On a path that was there a moment ago a flow is granted before the exit has answered, and ends.
            for _ in range(2):
                assert refusal(demo, url, "--socks5-hostname").returncode in {52, 56, 97}  # no answer, reset, refused
                assert refusal(demo, url, "-x").stdout.startswith("HTTP/1.1 503 ")
            until("blocked", lambda: demo.status()["state"] == "blocked")
            assert refusal(demo, url, "--socks5-hostname").returncode == 97
            assert "X-MacroVPN-Reason: no_path" in refusal(demo, url, "-x").stdout
            assert len(origin.seen) == before
            if number is signal.SIGKILL:
                until("the report", lambda: "exit-1" in demo.log.read_text())
        finally:
            if number is signal.SIGSTOP:
                for pid in demo.pids("exit"):
                    os.kill(pid, signal.SIGCONT)
        if number is signal.SIGSTOP:
            until("up again", lambda: demo.status()["state"] == "up", 40)
            assert demo.curl(url).returncode == 0


def test_a_dead_relay_is_replaced(origin: Origin, tmp_path: Path) -> None:
    url = f"http://127.0.0.1:{origin.http}/page"
    with Demo("--relays", "5", "--allow-destination", "127.0.0.0/8", log=tmp_path / "log") as demo:
        os.kill(demo.pids("relay")[1], signal.SIGKILL)
        os.kill(demo.pids("relay")[2], signal.SIGKILL)
        until("a page", lambda: demo.curl(url).returncode == 0, 60)
        assert alive(demo.process.pid)
