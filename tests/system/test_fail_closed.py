"""When the tunnel is not there, nothing leaves."""

from __future__ import annotations

import os
import signal
import time
from typing import TYPE_CHECKING

import pytest

from tests.harness.demo import Demo, alive, until

if TYPE_CHECKING:
    from pathlib import Path

    from tests.harness.origin import Origin

pytestmark = pytest.mark.system


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
            for way in ("--socks5-hostname", "-x") * 2:
                started = time.monotonic()
                done = demo.curl("-i", url, way=way)
                assert time.monotonic() - started < 3.0
                if way == "-x":
                    assert "503" in done.stdout.splitlines()[0]
                    assert "X-MacroVPN-Reason: no_path" in done.stdout
                else:
                    assert done.returncode == 97, done.stderr
            assert len(origin.seen) == before
            until("blocked", lambda: demo.status()["state"] == "blocked")
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
