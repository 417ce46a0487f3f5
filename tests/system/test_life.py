"""The demo's life and end, and nodes that join it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from bench.network import Network
from tests.harness.demo import ROOT, Demo, alive, command, until

if TYPE_CHECKING:
    from tests.harness.origin import Origin

pytestmark = pytest.mark.system

SMALL = ["--relays", "2", "--exits", "1", "--allow-destination", "127.0.0.0/8"]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_everything_within_five_seconds(tmp_path: Path, number: signal.Signals) -> None:
    demo = Demo(*SMALL, log=tmp_path / "log")
    started = time.monotonic()
    assert demo.stop(number) == 0
    assert time.monotonic() - started < 5
    assert not any(alive(pid) for pid in demo.pids())
    assert not demo.home.exists()


def test_the_children_end_when_the_demo_is_killed(tmp_path: Path) -> None:
    demo = Demo(*SMALL, log=tmp_path / "log")
    demo.stop(signal.SIGKILL)
    until("the end of all children", lambda: not any(alive(pid) for pid in demo.pids()), 5)


def test_a_child_that_dies_is_reported(tmp_path: Path) -> None:
    with Demo(*SMALL, log=tmp_path / "log") as demo:
        os.kill(demo.pids("relay")[1], signal.SIGKILL)
        until("the report", lambda: "relay-2" in demo.log.read_text())
        assert demo.process.poll() is None


def test_the_line_has_what_scripts_rely_on(demo: Demo) -> None:
    facts = demo.facts
    assert {"proxy", "pac", "control", "token_file", "home", "engine", "processes"} <= facts.keys()
    assert facts["pac"].startswith(f"http://{facts['proxy']}/")
    assert [entry["role"] for entry in facts["processes"]].count("relay") == 4
    for entry in facts["processes"]:
        assert {"role", "pid", "peer_id", "address", "home"} <= entry.keys()
        if entry["role"] != "client":
            assert entry["peer_id"].startswith("12D3Koo")
            assert entry["address"].startswith("/ip4/127.")
    assert Network(facts).pids == [entry["pid"] for entry in facts["processes"]]  # measurements read it as well
    status = command("status", home=demo.home)
    assert {"state", "reason", "exit_region", "exit_regions", "mode", "hops", "flows"} <= status.keys()
    assert status["counters"].keys() == {"circuits", "exit", "guards", "holding", "links", "load", "memory", "relay"}


def test_the_nodes_are_forks_of_the_demo(demo: Demo) -> None:
    command_lines = {Path(f"/proc/{pid}/cmdline").read_bytes() for pid in (demo.process.pid, *demo.pids())}
    assert len(command_lines) == 1, "a program of its own has its own arguments"


def test_another_node_joins_by_one_address(demo: Demo, origin: Origin, tmp_path: Path) -> None:
    first = demo.facts["processes"][0]
    bootstrap = f"{first['address']}/p2p/{first['peer_id']}"
    home = tmp_path / "home"
    command("config", "set", "tunnel.allow_destinations", "127.0.0.0/8", home=home)
    options = ["--bootstrap", bootstrap, "--allow-address", "127.0.0.0/8", "--port", "0"]
    status = command("up", *options, home=home)
    try:
        assert status["state"] == "up"
        assert command("status", home=home)["hops"] == 3
        assert "FindProxyForURL" in command("pac", home=home)["pac"]
        done = subprocess.run(
            ["curl", "-s", "--noproxy", "", "-x", f"http://{status['proxy']}", f"http://127.0.0.1:{origin.http}/"],
            capture_output=True,
            text=True,
            timeout=20,
            check=True,
        )
        # The rule for loopback is on by default: this goes past the tunnel, as it would without it.
        assert "127.0.0.1</p>" in done.stdout
        named = subprocess.run(
            ["curl", "-s", "--noproxy", "", "--socks5-hostname", status["proxy"], f"http://site.test:{origin.http}/"],
            capture_output=True,
            text=True,
            timeout=20,
            check=True,
        )
        assert "127.22.0." in named.stdout
    finally:
        command("down", home=home)
    assert command("status", home=home)["state"] == "down"


def test_a_relay_joins_and_leaves(tmp_path: Path) -> None:
    with Demo(*SMALL, log=tmp_path / "log") as demo:
        first = demo.facts["processes"][0]
        bootstrap = f"{first['address']}/p2p/{first['peer_id']}"
        options = ["--role", "relay", "--bootstrap", bootstrap, "--address", "127.99.0.1"]
        with (tmp_path / "share.log").open("wb") as log:
            relay = subprocess.Popen(
                [
                    sys.executable,
                    "-m",
                    "node",
                    "share",
                    *options,
                    "--allow-address",
                    "127.0.0.0/8",
                    "--home",
                    str(tmp_path / "relay"),
                ],
                cwd=ROOT,
                stdout=log,
                stderr=log,
            )
        try:
            until("the fourth peer", lambda: demo.status()["peers"] == 4, 15)
        finally:
            relay.terminate()
            assert relay.wait(10) == 0
