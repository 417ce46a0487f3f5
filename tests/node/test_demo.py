"""The demo's plan; and its processes, really started, with a small program in the place of the node."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import tomllib
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import pytest

from node.config import load, parse
from node.demo_plan import DemoOptions, MemberSetting, plan, settings_text
from node.files import lock_holder
from peers.identity import Identity
from tests.node.answers import PEER_ID

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

ROOT: Final = Path(__file__).resolve().parents[2]
LIMIT_S: Final = 30.0
END_S: Final = 10.0
"""For all processes to end in order, while other tests run: more than the demo waits before it kills one."""


def test_plan() -> None:
    members = plan(DemoOptions(relays=3, exits=2), Path("/d"), range(1, 12))
    assert [(member.name, member.multiaddr, member.egress, str(member.home)) for member in members] == [
        ("relay-1", "/ip4/127.20.0.1/udp/1/quic-v1", "", "/d/relay-1"),
        ("relay-2", "/ip4/127.21.0.1/udp/2/quic-v1", "", "/d/relay-2"),
        ("relay-3", "/ip4/127.23.0.1/udp/3/quic-v1", "", "/d/relay-3"),
        ("exit-1", "/ip4/127.24.0.1/udp/4/quic-v1", "127.22.0.1", "/d/exit-1"),
        ("exit-2", "/ip4/127.25.0.1/udp/5/quic-v1", "127.22.0.2", "/d/exit-2"),
        ("client", "", "", "/d"),
    ]


def test_the_largest_plan_has_addresses_of_their_own() -> None:
    members = plan(DemoOptions(relays=150, exits=50), Path("/d"), range(1, 402))
    assert len({member.address for member in members}) == 201
    assert "127.22.0.1" not in {member.address for member in members}


def test_regions_of_exits_and_of_the_client() -> None:
    options = DemoOptions(relays=1, exits=3, exit_regions=("NL", "DE"), regions=("DE", "NL"))
    members = plan(options, Path("/d"), range(1, 10))
    read = [tomllib.loads(settings_text(member, options, "", "")) for member in members]
    assert [settings["node"].get("region", "") for settings in read] == ["", "NL", "DE", "NL", ""]
    assert read[-1]["tunnel"]["regions"] == ["DE", "NL"]


def test_what_exits_serve_goes_by_turns(tmp_path: Path) -> None:
    options = DemoOptions(
        relays=0, exits=3, hops=1, exit_policies=("web", "default"), exit_rules=("reject *:9", "", "")
    )
    members = plan(options, tmp_path, range(1, 8))
    read = [tomllib.loads(settings_text(member, options, "", "")).get("exit", {}) for member in members]
    assert [found.get("policy") for found in read] == ["web", "default", "web", None]
    assert [found.get("rules") for found in read] == [["reject *:9"], None, None, None]
    assert not any(member.region for member in plan(DemoOptions(relays=1, exits=1), Path("/d"), range(1, 6)))


def test_settings_of_a_role_and_of_one_node() -> None:
    chosen = (
        MemberSetting("relay", "sharing.up_mbit", 5.0),
        MemberSetting("relay-2", "sharing.hours", ("1:00-2:00",)),
        MemberSetting("exit", "exit.rules", ("reject *:25",)),
    )
    options = DemoOptions(relays=2, exits=1, settings=chosen)
    members = plan(options, Path("/d"), range(1, 10))
    read = [parse(settings_text(member, options, "", "127.20.0.1:7"), Path("/d"))[0] for member in members]
    assert [settings.get("sharing.up_mbit") for settings in read] == [5.0, 5.0, None, None]
    assert [settings.get("sharing.hours") for settings in read] == [None, ("1:00-2:00",), None, None]
    assert [settings.get("exit.rules") for settings in read] == [None, None, ("reject *:25",), None]


def test_engines_of_members() -> None:
    def engines(engine: str) -> list[str]:
        options = DemoOptions(relays=3, exits=1, engine=engine)
        members = plan(options, Path("/d"), range(1, 10))
        read = [tomllib.loads(settings_text(member, options, "", "")) for member in members]
        return [settings["node"]["engine"] for settings in read]

    assert engines("auto") == ["auto"] * 5
    assert engines("aioquic") == ["aioquic"] * 5
    assert engines("mixed") == ["aiopquic", "aioquic", "aiopquic", "aioquic", "aiopquic"]


def test_settings_of_members() -> None:
    options = DemoOptions(
        1,
        1,
        bypass=(".direct.example",),
        mode="speed",
        hops=1,
        engine="aioquic",
        listen="::1",
        port=8,
        resolver="127.0.0.1:53",
        allow_destinations=("127.0.0.0/8",),
    )
    relay, exit_, client = plan(options, Path("/d"), range(1, 6))
    peer = f"{relay.multiaddr}/p2p/{PEER_ID}"
    read = [tomllib.loads(settings_text(member, options, peer, relay.dht_endpoint)) for member in (exit_, client)]
    for member in (relay, exit_, client):
        parse(settings_text(member, options, peer, relay.dht_endpoint), Path("x"))
    assert read[0] == {
        "node": {"roles": ["exit"], "engine": "aioquic", "log_level": "info"},
        "peers": {
            "port": 2,
            "bootstrap": [peer],
            "allow_addresses": ["127.0.0.0/8"],
            "gossip": True,
            "dht_listen": "127.21.0.1:4",
            "dht_nodes": ["127.20.0.1:3"],
            "address": "127.21.0.1",
        },
        "control": {"port": 0},
        "payments": {"settlement": "local", "ledger": "/d/shared-ledger.db", "tariff": 2},
        "exit": {
            "allow_destinations": ["127.0.0.0/8"],
            "resolver": "127.0.0.1:53",
            "egress_address": "127.22.0.1",
        },
    }
    assert read[1]["proxy"] == {"listen": "[::1]:8"}
    assert read[1]["payments"] == {"settlement": "local", "ledger": "/d/shared-ledger.db"}
    assert read[1]["tunnel"] == {"mode": "speed", "hops": 1, "allow_destinations": ["127.0.0.0/8"]}
    assert read[1]["bypass"] == {"rules": [".direct.example"], "presets": []}, "loopback goes through the network"
    assert read[1]["peers"]["dht_listen"] == "127.19.0.1:5"
    first = tomllib.loads(settings_text(relay, options, "", relay.dht_endpoint))["peers"]
    assert first["bootstrap"] == first["dht_nodes"] == []


def test_exits_leave_from_loopback_only_where_they_stay_on_this_machine() -> None:
    """From there nothing gets out."""
    for allowed, leaves_from in ((), ""), (("127.0.0.0/8",), "127.22.0.1"):
        options = DemoOptions(1, 1, allow_destinations=allowed)
        _, member, _ = plan(options, Path("/d"), range(1, 6))
        assert tomllib.loads(settings_text(member, options, "", ""))["exit"]["egress_address"] == leaves_from


def test_without_a_tariff_nobody_pays() -> None:
    options = DemoOptions(1, 1, tariff=0)
    for member in plan(options, Path("/d"), range(1, 6)):
        assert "payments" not in tomllib.loads(settings_text(member, options, "", ""))


def test_what_members_tell_of_themselves() -> None:
    options = DemoOptions(1, 1, log_level="debug", metrics=True)
    read = [tomllib.loads(settings_text(member, options, "", "")) for member in plan(options, Path("/d"), range(1, 6))]
    assert [settings["node"]["log_level"] for settings in read] == ["debug"] * 3
    assert [settings.get("sharing") for settings in read] == [{"metrics": "127.0.0.1:0"}] * 2 + [None]


def test_gossip_is_off_when_the_dht_alone_shall_find_peers() -> None:
    for find, gossip in (("dht", False), ("gossip", True), ("both", True)):
        options = DemoOptions(1, 1, find=find)
        member, *_ = plan(options, Path("/d"), range(1, 6))
        assert tomllib.loads(settings_text(member, options, "", ""))["peers"]["gossip"] is gossip


@pytest.fixture(params=["forks", "programs"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FAKE_DEMO", request.param)


in_both_ways = pytest.mark.usefixtures("way")


class Running:
    """A demo process and what it said."""

    def __init__(self, process: subprocess.Popen[str], folder: Path) -> None:
        self.process = process
        self.folder = folder
        self.facts: dict[str, Any] = {}

    def ready(self) -> dict[str, Any]:
        assert self.process.stdout is not None
        self.facts = json.loads(self.process.stdout.readline())
        return self.facts

    def pid(self, role: str) -> int:
        return next(int(process["pid"]) for process in self.facts["processes"] if process["role"] == role)

    def homes(self) -> list[Path]:
        return [Path(process["home"]) for process in self.facts.get("processes", [])]

    def end(self, number: signal.Signals) -> tuple[int, str, float]:
        """Send a signal; return the exit code, what stood on stderr, and how long it took in seconds."""
        start = time.monotonic()
        self.process.send_signal(number)
        _, errors = self.process.communicate(timeout=LIMIT_S)
        return self.process.returncode, errors, time.monotonic() - start


@contextmanager
def demo(tmp_path: Path, relays: int, exits: int, *home: str, **environ: str) -> Iterator[Running]:
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.node.fake_demo", str(relays), str(exits), *home],
        cwd=ROOT,
        env=os.environ | {"TMPDIR": str(tmp_path), "FAKE_NODE_PEERS": str(relays + exits - 1)} | environ,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    with process:
        running = Running(process, tmp_path)
        try:
            yield running
        finally:
            process.kill()
            for folder in running.homes():
                if pid := lock_holder(folder):
                    with suppress(ProcessLookupError):
                        os.kill(pid, signal.SIGKILL)


def until(condition: Callable[[], bool], limit_s: float = LIMIT_S) -> None:
    """Wait for something that another process does."""
    deadline = time.monotonic() + limit_s
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.02)


def gone(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    return False


@in_both_ways
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_ready_line_and_clean_end(tmp_path: Path, number: signal.Signals) -> None:
    with demo(tmp_path, 2, 1, MACROVPN_TUNNEL_HOPS="nonsense that must not reach the nodes") as running:
        facts = running.ready()
        assert list(facts) == ["proxy", "pac", "control", "token_file", "home", "tariff", "engine", "processes"]
        assert facts["proxy"] == "127.0.0.1:4"
        assert facts["pac"].endswith("/proxy.pac")
        assert facts["engine"] == "fake"
        assert facts["token_file"] == f"{facts['home']}/control.token"
        assert Path(facts["token_file"]).exists()
        assert [process["role"] for process in facts["processes"]] == ["relay", "relay", "exit", "client"]
        relay, second, _, client = facts["processes"]
        assert set(relay) == {"role", "pid", "peer_id", "address", "home", "engine"}
        assert relay["peer_id"] == PEER_ID
        assert client["home"] == facts["home"]
        bootstrap = load(Path(second["home"]), environ={}).peers.bootstrap
        name = Identity.load(Path(relay["home"]) / "keys").peer_id
        assert bootstrap == (f"{relay['address']}/p2p/{name}",)
        assert all(lock_holder(home) for home in running.homes())
        pids = [process["pid"] for process in facts["processes"]]

        code, errors, took_s = running.end(number)
        assert code == 0, errors
        assert took_s < END_S
        assert all(map(gone, pids))
        assert list(tmp_path.iterdir()) == []


@in_both_ways
def test_a_child_that_does_not_listen_is_killed(tmp_path: Path) -> None:
    with demo(tmp_path, 1, 1, FAKE_NODE="stubborn") as running:
        facts = running.ready()
        code, _, took_s = running.end(signal.SIGTERM)
        assert code == 0
        assert took_s < LIMIT_S / 2
        assert all(gone(process["pid"]) for process in facts["processes"])
        assert list(tmp_path.iterdir()) == []


@in_both_ways
def test_children_end_when_the_demo_is_killed(tmp_path: Path) -> None:
    with demo(tmp_path, 1, 1) as running:
        running.ready()
        running.end(signal.SIGKILL)
        until(lambda: not any(lock_holder(home) for home in running.homes()))


@in_both_ways
def test_the_network_outlives_a_relay_and_not_its_client(tmp_path: Path) -> None:
    with demo(tmp_path, 2, 1) as running:
        running.ready()
        relay, client = running.pid("relay"), running.pid("client")
        os.kill(relay, signal.SIGKILL)
        assert running.process.stderr is not None
        reported = f"relay-1 (process {relay}) was ended by signal 9.\n"
        until(lambda: running.process.stderr is not None and running.process.stderr.readline() == reported)
        assert not gone(client)
        assert running.process.poll() is None

        os.kill(client, signal.SIGTERM)
        _, errors = running.process.communicate(timeout=LIMIT_S)
        assert running.process.returncode == 1
        assert f"client (process {client}) ended with exit status 0." in errors
        assert list(tmp_path.iterdir()) == []


def test_a_signal_while_it_stops_leaves_nothing_behind(tmp_path: Path) -> None:
    with demo(tmp_path, 1, 1, FAKE_NODE="stubborn") as running:
        facts = running.ready()
        os.kill(running.pid("client"), signal.SIGKILL)
        assert running.process.stderr is not None
        until(lambda: running.process.stderr is not None and "by signal 9" in running.process.stderr.readline())
        code, _, took_s = running.end(signal.SIGINT)
        assert code == 1
        assert took_s < END_S
        assert all(gone(process["pid"]) for process in facts["processes"])
        assert list(tmp_path.iterdir()) == []


@in_both_ways
def test_a_node_that_cannot_start_ends_the_demo(tmp_path: Path) -> None:
    with demo(tmp_path, 2, 1, FAKE_NODE="broken", FAKE_NODE_ONLY="relay-2") as running:
        out, errors = running.process.communicate(timeout=LIMIT_S)
        assert running.process.returncode == 1
        assert out == ""
        assert errors.endswith("Error: relay-2 ended with exit status 1. this node is broken on purpose\n")
        assert list(tmp_path.iterdir()) == []


def test_a_signal_before_it_is_ready(tmp_path: Path) -> None:
    with demo(tmp_path, 1, 1, FAKE_NODE_PEERS="0") as running:
        homes: list[Path] = []

        def started() -> bool:
            homes[:] = [path.parent for path in tmp_path.rglob("control.json")]
            return len(homes) == 3

        until(started)
        code, errors, took_s = running.end(signal.SIGINT)
        assert code == 1
        assert took_s < END_S
        assert "Stopped before the network was ready." in errors
        assert list(tmp_path.iterdir()) == []


def test_a_named_home_is_kept_and_can_be_used_again(tmp_path: Path) -> None:
    folder = tmp_path / "network"
    for _ in range(2):
        with demo(tmp_path, 1, 1, str(folder)) as running:
            assert running.ready()["home"] == str(folder)
            assert running.end(signal.SIGINT)[0] == 0
        assert (folder / "relay-1" / "node.log").exists()
        assert not list(folder.rglob("control.json"))


def test_a_folder_of_others_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "config.toml").write_text("")
    with demo(tmp_path, 1, 1, str(tmp_path)) as running:
        _, errors = running.process.communicate(timeout=LIMIT_S)
        assert running.process.returncode == 1
        assert "is not empty" in errors
        assert [path.name for path in tmp_path.iterdir()] == ["config.toml"]
