"""`macrovpn trust`: what is written, what is shown, and what a running node is told."""

from __future__ import annotations

import json
import tomllib
from typing import TYPE_CHECKING, Any, Final

import pytest

from node.trust import reader
from node.trust.watch import NothingToConfirmError
from pac.trusted import Attachment, Security
from tests.node.commands import Started, answer, call
from tests.node.test_cli import running
from tests.node.test_control import Node

if TYPE_CHECKING:
    from pathlib import Path

PROFILE: Final = "2815492f-7e56-435e-b2e9-246bd7cdc664"
WIFI: Final = Attachment("wlan0", "192.168.1.1", "00:11:22:aa:bb:cc", b"My Wifi\x1b", Security.WPA, PROFILE, (3, 1))
CABLE: Final = Attachment("eth0", "10.0.0.1", "00:11:22:aa:bb:cc", period=(2, 1))


@pytest.fixture
def here(monkeypatch: pytest.MonkeyPatch) -> list[Attachment | None]:
    """The network that this machine is on: the last one of the list."""
    networks: list[Attachment | None] = [CABLE]

    async def read_once() -> Attachment | None:
        return networks[-1]

    monkeypatch.setattr(reader, "read_once", read_once)
    return networks


def saved(home: Path) -> list[str]:
    found: list[str] = tomllib.loads((home / "config.toml").read_text())["trust"]["networks"]
    return found


def test_networks_are_added_listed_and_removed(tmp_path: Path, here: list[Attachment | None]) -> None:
    assert call("trust", "list", "--home", tmp_path).stdout == "No network is trusted.\n"
    office = "office: gateway=10.0.0.1 mac=00:11:22:aa:bb:cc"
    assert answer("trust", "add", "office", "--home", tmp_path) == {"name": "office", "text": office, "asks": True}
    here.append(WIFI)
    home = f"home: ssid=My%20Wifi%1B security=wpa profile={PROFILE}"
    result = call("trust", "add", "home", "--home", tmp_path)
    assert result.stdout == f"Trusted: {home}\n", "it is not asked about, and no byte of it goes to the terminal"
    assert saved(tmp_path) == [office, home]
    assert call("trust", "list", "--home", tmp_path).stdout == f"{office}   (asks)\n{home}\n"
    listed = answer("trust", "list", "--home", tmp_path)["networks"]
    assert [(row["name"], row["asks"]) for row in listed] == [("office", True), ("home", False)]
    assert answer("trust", "remove", "office", "--home", tmp_path) == {"name": "office"}
    assert saved(tmp_path) == [home]


def test_what_can_be_imitated_is_said_to_be(tmp_path: Path, here: list[Attachment | None]) -> None:
    assert "macrovpn trust confirm" in call("trust", "add", "office", "--home", tmp_path).stdout


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("add", "office"), "two networks have the same name"),
        (("add", "a:b"), "NAME: a network's name has"),
        (("add", ""), "NAME: a network's name has"),
        (("remove", "home"), "No trusted network is called home"),
        (("confirm",), "No node runs"),
    ],
)
def test_what_cannot_be_done_is_told(
    tmp_path: Path, here: list[Attachment | None], arguments: tuple[str, ...], words: str
) -> None:
    answer("trust", "add", "office", "--home", tmp_path)
    result = call("trust", *arguments, "--home", tmp_path)
    assert result.exit_code == (2 if words.startswith("NAME") else 1)
    assert words in result.stderr
    assert len(saved(tmp_path)) == 1


def test_no_network_is_not_added(tmp_path: Path, here: list[Attachment | None]) -> None:
    here.append(None)
    result = call("trust", "add", "office", "--home", tmp_path)
    assert result.exit_code == 1
    assert "It cannot be told which network this is" in result.stderr
    assert not (tmp_path / "config.toml").exists()
    assert answer("trust", "here", "--home", tmp_path) == {"looks_like": "", "proved": False, "network": None}


def test_here(tmp_path: Path, here: list[Attachment | None]) -> None:
    answer("trust", "add", "office", "--home", tmp_path)
    found = answer("trust", "here", "--home", tmp_path)
    assert (found["looks_like"], found["proved"]) == ("office", False)
    assert found["network"] == {
        "interface": "eth0",
        "gateway": "10.0.0.1",
        "mac": "00:11:22:aa:bb:cc",
        "ssid": "",
        "security": "none",
        "profile": "",
    }
    here.append(WIFI)
    text = call("trust", "here", "--home", tmp_path).stdout
    assert "My Wifi�" in text
    assert "This" not in text
    answer("trust", "add", "home", "--home", tmp_path)
    assert "This is home." in call("trust", "here", "--home", tmp_path).stdout


def test_a_running_node_is_told(tmp_path: Path, here: list[Attachment | None]) -> None:
    node = Node()
    with running(tmp_path, node):
        answer("trust", "add", "office", "--home", tmp_path)
        assert node.reloads == 1
        confirmed = call("trust", "confirm", "--home", tmp_path)
        assert "On the trusted network home, as you confirmed: what no rule names goes direct" in confirmed.stdout
        answer("trust", "remove", "office", "--home", tmp_path)
        assert node.reloads == 2
        node.trust_error = NothingToConfirmError()
        refused = call("trust", "confirm", "--home", tmp_path)
        assert refused.exit_code == 1
        assert f"`macrovpn trust add NAME --home {tmp_path}` trusts it." in refused.stderr
        refused = call("trust", "add", "office", "--home", tmp_path)
        assert refused.exit_code == 1
        assert "The trusted networks are written, but the running node does not go by them yet." in refused.stderr


class Direct(Node):
    """A node on a trusted network."""

    def __init__(self, state: str) -> None:
        super().__init__()
        self._trust = {"state": state, "name": "home\x1b", "confirmed": False}

    def status(self) -> dict[str, Any]:
        because = "On home." if self._trust["state"] == "trusted" else ""
        return {"state": "up", "proxy": "127.0.0.1:1080", "trust": self._trust, "direct_because": because}


@pytest.mark.parametrize(
    ("state", "line"),
    [
        ("trusted", "DIRECT    On the trusted network home�, which proved itself"),
        ("asking", "here      This looks like home�, which anybody can imitate."),
        ("elsewhere", "here      This is none of your trusted networks."),
    ],
)
def test_status_shows_it_at_the_top(tmp_path: Path, state: str, line: str) -> None:
    with running(tmp_path, Direct(state)):
        lines = call("status", "--home", tmp_path).stdout.splitlines()
    assert lines[0] == "up"
    assert lines[1].startswith(line)


def test_going_direct_shows_at_the_start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    started = Started(monkeypatch)
    assert "You go" not in call("up", "--home", tmp_path).stdout
    started.status = started.status | {"direct_because": "You go direct.\x1b"}
    assert "You go direct.�" in call("up", "--home", tmp_path).stdout
    assert json.loads(call("up", "--home", tmp_path, "--json").stdout)["state"] == "up"
