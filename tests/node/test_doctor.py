"""`macrovpn doctor`: the checks of node, port, system and environment, and the command."""

from __future__ import annotations

import json
import socket
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from threading import Event, Thread
from typing import TYPE_CHECKING, Any, Final

import pytest

from core.errors import MacroVpnError
from node import chromium_settings, doctor, system_proxy
from node.desktops import SystemProxyError
from node.doctor import CHECKS, Check, examine, look_at_environment, look_at_port, look_at_system, look_at_trust
from node.doctor_node import node_state
from node.doctor_scene import ask_node, side_by_side
from node.files import HomeLock
from node.findings import CHECKS as WORDS
from node.findings import Area, Finding, Level, OwnProxy
from tests.harness.demo import ROOT
from tests.harness.desk import crash, free_port
from tests.harness.firefox import SAFE, SHUT, profile_at
from tests.node.commands import call
from tests.node.test_cli import running
from tests.node.test_control import Node

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from node.doctor_scene import Scene
    from tests.harness.desk import Desk

OWN: Final = OwnProxy("127.0.0.1", 1080)
SHUT_NOT: Final[dict[str, Any]] = dict.fromkeys(SHUT, False)


def seen(found: list[Finding]) -> list[tuple[str, str]]:
    return [(finding.check, finding.level.value) for finding in found]


class Saying(Node):
    """A node with a status of the test's choice."""

    def __init__(self, **status: Any) -> None:
        super().__init__()
        self._status = status

    def status(self) -> dict[str, Any]:
        return self._status


@contextmanager
def answering(said: bytes) -> Iterator[OwnProxy]:
    """Have a program listen that says something to each who sends it something, and hangs up."""
    over = Event()

    def serve() -> None:
        while not over.is_set():
            connection, _ = server.accept()
            with connection, suppress(ConnectionError):
                if connection.recv(4):
                    connection.sendall(said)

    with socket.create_server(("127.0.0.1", 0)) as server:
        own = OwnProxy("127.0.0.1", server.getsockname()[1])
        thread = Thread(target=serve)
        thread.start()
        try:
            yield own
        finally:
            over.set()
            socket.create_connection(own.reachable).close()
            thread.join()


# -- the node and its port


@pytest.mark.parametrize(
    ("state", "level"),
    [
        *(("up", "ok"), ("connecting", "warning"), ("blocked", "problem"), ("", "problem"), ("down", "warning")),
        ("leaving", "warning"),
    ],
)
def test_the_nodes_state(tmp_path: Path, state: str, level: str) -> None:
    with running(tmp_path, Saying(state=state, reason="no guard answers.", roles=["client"])):
        told = ask_node(tmp_path)
    found = node_state(told, is_starting=True)
    assert seen([found]) == [("node", level)]
    assert told.status["state"] == state
    assert ("no guard answers." in found.sentence) is (state not in ("up", "down"))
    assert bool(found.remedy) is (level != "ok")


def test_a_node_that_is_not_there_or_starts(tmp_path: Path) -> None:
    told = ask_node(tmp_path)
    assert seen([node_state(told, is_starting=False)]) == [("node", "warning")]
    assert node_state(told, is_starting=True).sentence == "The node is starting."


def test_a_node_that_gives_no_status(tmp_path: Path) -> None:
    with running(tmp_path, Saying(state="up")):
        (tmp_path / "control.token").write_text("0" * 64)
        assert seen([node_state(ask_node(tmp_path), is_starting=True)]) == [("node", "problem")]


class Poor(Saying):
    """A node that does not say how its money stands."""

    async def wallet(self) -> dict[str, Any]:
        raise MacroVpnError("The ledger is away.")


def test_a_node_that_says_a_part_of_it(tmp_path: Path) -> None:
    with running(tmp_path, Poor(state="up")):
        told = ask_node(tmp_path)
    assert told.status == {"state": "up"}
    assert told.wallet == {}
    assert told.health["links"] == 2
    assert told.regions == ({"region": "NL", "exits": 3, "wanted": True},)


@pytest.mark.parametrize(("said", "level"), [(b"\x05\x00", "ok"), (b"\x05\xff", "ok"), (b"HTTP/1.1", "problem")])
def test_the_proxy_of_a_node_answers(tmp_path: Path, said: bytes, level: str) -> None:
    with answering(said) as own:
        assert seen(look_at_port(own, tmp_path, {"proxy": "here"})) == [("proxy", level)]
        assert seen(look_at_port(own, tmp_path, {"proxy": "", "state": "up"})) == [("ports", "ok")], "it only serves"


def test_a_port_where_nobody_is(tmp_path: Path) -> None:
    own = OwnProxy("127.0.0.1", free_port())
    assert seen(look_at_port(own, tmp_path, {"proxy": "here"})) == [("proxy", "problem")]
    assert look_at_port(own, tmp_path, {}) == []


def test_somebody_else_at_the_port(tmp_path: Path) -> None:
    with answering(b"\x05\x00") as own:
        (found,) = look_at_port(own, tmp_path, {})
        assert (found.check, found.level) == ("port_taken", Level.PROBLEM)
        assert f"lsof -i :{own.port}" in found.remedy
        assert look_at_port(OwnProxy("127.0.0.1", 0), tmp_path, {}) == []
        lock = HomeLock(tmp_path)
        lock.acquire()
        assert look_at_port(own, tmp_path, {}) == [], "it is the node, which starts"
        lock.release()


# -- what goes direct


def test_a_trusted_network() -> None:
    status = {"direct_because": "On home: direct.", "trust": {"state": "trusted", "name": "home", "confirmed": True}}
    (found,) = look_at_trust(status)
    assert (found.check, found.level, found.sentence) == ("trusted_network", Level.WARNING, "On home: direct.")
    assert "`macrovpn trust remove home`" in found.remedy
    assert look_at_trust(status | {"direct_because": ""}) == []
    assert look_at_trust({}) == []


def fails() -> str:
    raise SystemProxyError("The desktop is away.")


@pytest.mark.parametrize(
    ("script", "expected", "word"),
    [
        (lambda: None, ("system_proxy", "ok"), "no PAC"),
        (lambda: "", ("system_pac", "warning"), "in the network"),
        (lambda: "http://127.0.0.1:1080/x/proxy.pac", ("system_pac", "warning"), "this node's PAC"),
        (lambda: "file:///secret", ("system_pac", "warning"), "not this node's"),
        (lambda: "data:,x", ("system_proxy", "ok"), "no PAC"),
        (fails, ("system_proxy", "warning"), "The desktop is away."),
    ],
)
def test_the_systems_pac(
    desk: Desk,
    monkeypatch: pytest.MonkeyPatch,
    script: Callable[[], str | None],
    expected: tuple[str, str],
    word: str,
) -> None:
    monkeypatch.setattr(doctor, "SCRIPTS", {"gnome": script})
    found, is_ours = look_at_system(OWN)
    assert (seen(found), is_ours) == ([expected], False)
    assert word in found[0].sentence
    assert "secret" not in str(found)


def test_a_session_without_settings(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(system_proxy, "places_here", fails)
    found, is_ours = look_at_system(OWN)
    assert (seen(found), is_ours) == ([("system_proxy", "ok")], False)


def test_settings_of_a_node(desk: Desk) -> None:
    with system_proxy.held("127.0.0.1", desk.port):
        found, is_ours = look_at_system(OWN)
    assert (seen(found), is_ours) == ([("system_proxy", "ok")], True)
    crash(desk)
    found, is_ours = look_at_system(OWN)
    assert (seen(found), is_ours) == ([("system_proxy", "problem")], True)
    assert found[0].sentence.endswith("so browsers reach nothing.")
    assert found[0].remedy.startswith("`macrovpn down` puts back")


@pytest.mark.parametrize(
    ("variables", "expected"),
    [
        ({}, []),
        ({"http_proxy": "http://127.0.0.1:1080", "ALL_PROXY": "socks5h://localhost:1080"}, []),
        ({"http_proxy": "127.0.0.1:1080"}, []),
        ({"http_proxy": ""}, []),
        ({"all_proxy": "socks5://127.0.0.1:1080"}, [("environment_dns", "warning")]),
        ({"HTTPS_PROXY": "socks4://me:x@127.0.0.1:1080"}, [("environment_dns", "warning")]),
        ({"http_proxy": "http://corp.example:3128"}, [("environment", "ok")]),
        ({"http_proxy": "socks5://127.0.0.1:9050"}, [("environment", "ok")]),
        ({"http_proxy": "http://[::1"}, [("environment", "ok")]),
        ({"http_proxy": "http://127.0.0.1:x"}, [("environment", "ok")]),
        ({"no_proxy": "example.com"}, []),
        ({"http_proxy": "http://127.0.0.1:1080", "no_proxy": "localhost,127.0.0.1,::1"}, []),
        ({"http_proxy": "http://127.0.0.1:1080", "NO_PROXY": "*"}, [("environment_exceptions", "warning")]),
    ],
)
def test_the_environment(variables: dict[str, str], expected: list[tuple[str, str]]) -> None:
    found = look_at_environment(variables, OWN)
    assert seen(found) == expected
    assert all(finding.remedy for finding in found)


def test_passwords_in_the_environment_are_not_told() -> None:
    found = look_at_environment({"http_proxy": "http://me:secret@corp:1", "ALL_PROXY": "http://x"}, OWN)
    assert found[0].sentence.startswith("http_proxy and ALL_PROXY are set to another proxy")
    assert "secret" not in str(found)


# -- together


def test_wrong_settings_hide_no_other_check(tmp_path: Path, desk: Desk) -> None:
    (tmp_path / "config.toml").write_text("[proxy]\nlisten = 7\n")
    profile_at(tmp_path, {"type": 0})
    checks = dict(seen(examine(tmp_path, tmp_path, {})))
    assert (checks["settings"], checks["firefox_direct"]) == ("problem", "warning")
    assert "node" in checks


@pytest.mark.parametrize("roles", [None, ["client"], ["relay"], ["relay", "exit"], ["client", "relay"]])
def test_every_area_is_told_of(tmp_path: Path, desk: Desk, roles: list[str] | None) -> None:
    """Whether a node runs or not, and whatever it does."""
    told: list[str] = []
    with suppress_or_run(tmp_path, roles):
        found = examine(tmp_path, tmp_path, {}, told.append)
    areas = [finding.area for finding in found]
    assert set(areas) == set(Area)
    assert areas == sorted(areas, key=[*Area].index), "each stands together"
    assert {"node", *(check.name for check in CHECKS)} == set(told)
    assert all(each.remedy for each in found if each.level in (Level.WARNING, Level.PROBLEM))


@pytest.mark.parametrize(
    ("prefs", "level"),
    [
        ({"type": 0}, "unchecked"),
        (SAFE | {"type": 1, "socks": "127.0.0.1", "socks_port": 1}, "ok"),
        (SHUT | {"type": 1, "socks": "127.0.0.1", "socks_port": 1}, "ok"),
        (SAFE | SHUT_NOT | {"type": 1, "socks": "127.0.0.1", "socks_port": 1}, "problem"),
    ],
)
def test_what_is_said_of_webrtc(
    tmp_path: Path, desk: Desk, monkeypatch: pytest.MonkeyPatch, prefs: dict[str, Any], level: str
) -> None:
    monkeypatch.setenv("MACROVPN_PROXY_LISTEN", "127.0.0.1:1")
    monkeypatch.setattr(chromium_settings, "read_all", lambda user_home: chromium_settings.Chromiums())
    profile_at(tmp_path, prefs, version="153.0")
    (found,) = [each for each in examine(tmp_path, tmp_path, {}) if each.area is Area.WEBRTC]
    assert found.level.value == level


def suppress_or_run(home: Path, roles: list[str] | None) -> AbstractContextManager[None]:
    if roles is None:
        return nullcontext()
    return running(home, Saying(state="up", roles=roles, reachable="unknown", engine="aiopquic"))


def test_a_check_that_fails_or_hangs_hides_no_other(
    tmp_path: Path, desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    over = Event()

    def hangs(scene: Scene) -> list[Finding]:
        over.wait(30)
        return []

    def breaks(scene: Scene) -> list[Finding]:
        raise ValueError("secret")

    monkeypatch.setattr(doctor, "LIMIT_S", 0.5)
    more = Check("a stone", "wallet", hangs), Check("a hole", "clock", breaks)
    monkeypatch.setattr(doctor, "CHECKS", (*CHECKS, *more))
    found = examine(tmp_path, tmp_path, {})
    over.set()
    said = [each.sentence for each in found if each.level is Level.UNCHECKED]
    assert "The look at a stone took more than 0 s." in said
    assert "The look at a hole failed (ValueError)." in said
    assert "secret" not in str(found)
    assert {each.area for each in found} == set(Area)


def test_things_done_at_once_are_all_accounted_for() -> None:
    over = Event()
    works: dict[str, Callable[[], int]] = {"one": lambda: 1, "none": lambda: 1 // 0, "ever": lambda: int(over.wait(30))}
    done: list[str] = []
    found = side_by_side(works, 0.5, done.append)
    over.set()
    assert found["one"] == 1
    assert isinstance(found["none"], ZeroDivisionError)
    assert isinstance(found["ever"], TimeoutError)
    assert sorted(done) == ["none", "one"]


def test_the_documentation_has_every_check() -> None:
    lines = (ROOT / "docs/doctor.md").read_text().splitlines()
    described = [line.split("`")[1] for line in lines if line.startswith("| `")]
    assert described == [word for words in WORDS.values() for word in words]


def test_the_command(tmp_path: Path, desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "SCRIPTS", {})
    monkeypatch.setattr(chromium_settings, "read_all", lambda user_home: chromium_settings.Chromiums())
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in (*doctor.PROXY_VARIABLES, *(name.upper() for name in doctor.PROXY_VARIABLES)):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("MACROVPN_PROXY_LISTEN", f"127.0.0.1:{free_port()}")
    profile_at(tmp_path, {"type": 0}, name="w\x1b[2J")
    result = call("doctor", "--json", "--home", tmp_path)
    assert (result.exit_code, result.stdout.count("\n")) == (0, 1), "what deserves a look is not bad"
    answer = json.loads(result.stdout)
    assert [each["check"] for each in answer["findings"]][:2] == ["node", "ports"]
    assert all(each.keys() == {"area", "check", "level", "sentence", "remedy"} for each in answer["findings"])
    assert answer["counts"].keys() == {level.value for level in Level}
    assert sum(answer["counts"].values()) == len(answer["findings"])
    text = call("doctor", "--home", tmp_path).stdout
    assert text.startswith(f"node\n  look         No node runs in {tmp_path}"[:80])
    assert "\n               Start one with `macrovpn up`.\nports\n  ok           Nobody" in text
    assert "  not checked  " in text
    assert "\x1b" not in text
    assert f"look: {answer['counts']['warning']}, bad: 0," in text.splitlines()[-1]
    crash(desk)
    result = call("doctor", "--home", tmp_path)
    assert result.exit_code == 1
    assert "\n  bad          The system's proxy settings point to" in result.stdout
