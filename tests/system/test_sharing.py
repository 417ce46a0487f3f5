"""An operator's limits on a whole network of processes: the rate, the month's cap over a kill, and who is served."""

from __future__ import annotations

import os
import signal
from typing import TYPE_CHECKING

import pytest

from bench.steady import measure, unevenness
from tests.harness.demo import Demo, until

if TYPE_CHECKING:
    from pathlib import Path

    from tests.harness.origin import Origin

pytestmark = pytest.mark.system

SMALL = ["--relays", "2", "--exits", "1", "--find", "gossip", "--allow-destination", "127.0.0.0/8"]
MBIT = 125_000
LEAST, MOST = 0.92, 1.05
"""Of the limit. A machine that is busy with other things carries less in some seconds, and a relay's limit is on its
layers, credit and padding as well. `bench sharing` measures for longer."""


def mbit(measured: tuple[float, list[int]]) -> float:
    seconds, counts = measured
    return sum(counts) / MBIT / seconds


def test_an_exit_keeps_its_rate_and_shares_it_out(tmp_path: Path) -> None:
    with Demo(*SMALL, "--set", "exit:sharing.up_mbit=5", log=tmp_path / "log") as demo:
        many = measure(demo.proxy, "download", [""] * 20, 1.0, 4.0)
        users = measure(demo.proxy, "upload", ["one"] + ["other"] * 9, 1.5, 4.0)
    assert LEAST * 5 < mbit(many) < MOST * 5
    assert unevenness(many[1]) < 0.15
    assert LEAST * 5 < mbit(users) < MOST * 5
    assert users[1][0] == pytest.approx(sum(users[1][1:]), rel=0.15)


def test_a_relay_keeps_its_rate(tmp_path: Path) -> None:
    with Demo(*SMALL, "--set", "relay-1:sharing.down_mbit=5", log=tmp_path / "log") as demo:
        measured = measure(demo.proxy, "download", [""] * 3, 2.0, 3.0)
    assert LEAST * 5 < mbit(measured) < MOST * 5


def test_the_month_s_cap_holds_over_a_kill(tmp_path: Path, origin: Origin) -> None:
    """The exit is killed on the way, begins anew with what is on its disk, and stops at the cap."""
    options = [*SMALL, "--set", "exit:sharing.monthly_gb=0.008", "--home", str(tmp_path / "home")]
    got = 0

    def fetch(demo: Demo, size: int) -> int:
        done = demo.curl("-o", str(tmp_path / "body"), f"http://127.0.0.1:{origin.http}/bytes/{size}", timeout=15)
        assert done.returncode in (0, 18, 52, 56, 97), done.stderr
        body = tmp_path / "body"
        count = body.stat().st_size if body.exists() else 0
        body.unlink(missing_ok=True)
        return count

    with Demo(*options, log=tmp_path / "log") as demo:
        got += fetch(demo, 3_300_000)
        assert got == 3_300_000
        os.kill(demo.pids("exit")[0], signal.SIGKILL)
    carried = tmp_path / "home" / "exit-1" / "carried"
    assert int(carried.read_text().split()[-2]) == 4
    with Demo(*options, log=tmp_path / "log") as demo:
        got += fetch(demo, 50_000_000)
        assert 8_000_000 - 1_000_000 - 100_000 < got <= 8_000_000
        until("the end of the offer", lambda: demo.curl(f"http://127.0.0.1:{origin.http}/", timeout=8).returncode, 15)
    assert int(carried.read_text().split()[-2]) == 8


def test_who_serves_friends_alone_is_left_alone(tmp_path: Path, origin: Origin) -> None:
    """Of two exits one is restricted: every path ends at the other."""
    options = ["--relays", "2", "--exits", "2", "--find", "gossip", "--allow-destination", "127.0.0.0/8"]
    with Demo(*options, "--set", "exit-1:sharing.only_friends=true", log=tmp_path / "log") as demo:
        for number in range(6):
            user = f"user{number}:x"
            done = demo.curl("-U", user, f"http://127.0.0.1:{origin.http}/")
            assert "127.22.0.2" in done.stdout, done.stderr
