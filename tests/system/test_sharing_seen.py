"""What whoever lends a machine sees of it, against what was carried: the live view, `status` and `/metrics`."""

from __future__ import annotations

import re
import subprocess
import sys
import urllib.request
from contextlib import ExitStack
from typing import TYPE_CHECKING, Final

import pytest

from tests.harness.demo import ROOT, Demo, command, until
from tests.harness.share import LOOPBACK, PREFERRING, Share
from tests.harness.terminal import Terminal

if TYPE_CHECKING:
    from pathlib import Path

    from tests.harness.origin import Origin

pytestmark = pytest.mark.system

OPTIONS: Final = ("--relays", "1", "--hops", "2", "--find", "gossip", "--metrics", "--allow-destination", LOOPBACK)
COLUMNS: Final = 80
MBIT: Final = 8
SIZE: Final = 6_000_000
"""Of the download, in bytes: six seconds at that rate."""


def metrics(endpoint: str) -> dict[str, float]:
    with urllib.request.urlopen(f"http://{endpoint}/metrics", timeout=5) as answer:
        lines = answer.read().decode().splitlines()
    return {name: float(value) for name, _, value in (line.rpartition(" ") for line in lines if line[0] != "#")}


def view(terminal: Terminal) -> list[str]:
    """The figures, without what stands above them."""
    frame = terminal.frame
    first = next((place for place, line in enumerate(frame) if line.startswith("node  ")), len(frame))
    return frame[first:]


def rows(lines: list[str]) -> dict[str, str]:
    """The lines of the view by their names; those that go on below another belong to it."""
    found: dict[str, str] = {}
    name = ""
    for line in lines:
        name = line[:9].strip() or name
        found[name] = f"{found.get(name, '')} {line[9:].strip()}".strip()
    return found


def test_an_exit_and_a_relay_show_what_they_carry(tmp_path: Path, origin: Origin) -> None:
    share = Share(tmp_path / "share", up_mbit=MBIT, monthly_gb=1, metrics="127.0.0.1:0")
    with ExitStack() as stack:
        demo = stack.enter_context(Demo(*OPTIONS, *PREFERRING, log=tmp_path / "log"))
        terminal = stack.enter_context(Terminal(COLUMNS, 24))
        stack.callback(share.kill)
        share.start(demo, output=terminal.output, TERM="xterm-256color")
        share.wait_for_circuits(demo)
        relay = next(entry["home"] for entry in demo.facts["processes"] if entry["role"] == "relay")

        url = f"http://127.0.0.1:{origin.http}/bytes/{SIZE}"
        client = stack.enter_context(
            subprocess.Popen(
                ["curl", "-sS", "--noproxy", "", "--socks5-hostname", demo.proxy, "-o", str(tmp_path / "body"), url]
            )
        )
        until("the limit", lambda: "your rate is reached" in rows(view(terminal)).get("sharing", ""))
        until("the speed", lambda: 0.9 * MBIT < _back(terminal) < 1.1 * MBIT)
        print(*view(terminal), sep="\n")
        assert max(map(len, view(terminal))) <= COLUMNS
        during = metrics(share.seen()["metrics"])
        assert during['macrovpn_limit_reached{limit="rate"}'] == 1
        assert during["macrovpn_carried_bytes_total"] % 1_000_000 == 0 < during["macrovpn_carried_bytes_total"] < SIZE

        assert client.wait(20) == 0
        assert (tmp_path / "body").stat().st_size == SIZE
        until("rest", lambda: rows(view(terminal))["sharing"] == "exit; takes new work")
        shown, section = rows(view(terminal)), share.seen()
        print(*view(terminal), section, sep="\n")
        assert shown["carried"] == "6 MB since the start"
        assert shown["month"] == "6 MB of 1 GB"
        assert shown["speed"] == "0.0 Mbit/s to destinations, 0.0 Mbit/s back"
        assert (section["carried_mb"], section["month_mb"], section["back_bytes_s"] % 1000) == (6, 6, 0)
        assert section["biting"] == []

        passed_on = command("status", home=relay)["sharing"]
        # With the exit's layer and credit that the relay sees, and circuits' own messages.
        assert SIZE // 1_000_000 <= passed_on["carried_mb"] <= SIZE * 1.1 // 1_000_000
        assert metrics(passed_on["metrics"])["macrovpn_carried_bytes_total"] == passed_on["carried_mb"] * 1_000_000
        done = subprocess.run(
            [sys.executable, "-m", "node", "status", "--home", relay],
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=True,
        )
        print(done.stdout)
        assert f"carried   {passed_on['carried_mb']} MB since the start" in done.stdout


def _back(terminal: Terminal) -> float:
    """The speed on the way back that stands there, in Mbit/s."""
    found = re.search(r"([0-9.]+) Mbit/s back", rows(view(terminal)).get("speed", ""))
    return float(found[1]) if found else 0.0
