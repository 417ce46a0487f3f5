"""`macrovpn config`, `on` and `off`: without a node in the file alone, else by the node that runs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import pytest

from core.errors import ConfigError, MacroVpnError
from node.config import load
from node.settings import FIELDS
from node.settings_view import rows
from tests.node.commands import Started, answer, call
from tests.node.test_cli import running
from tests.node.test_control import Node

if TYPE_CHECKING:
    from pathlib import Path

WAITS: Final = ("node.engine", "proxy.password")


class Set(Node):
    """A node whose settings wait or count, and come from somewhere."""

    def __init__(self, home: Path) -> None:
        super().__init__()
        self._home = home
        self.problem = ""

    def settings(self) -> dict[str, Any]:
        from node.config import Loaded

        loaded = Loaded(load(self._home, {"proxy.password": "secret"}), {"tunnel.hops": "flag", "node.engine": "file"})
        return {"settings": rows(loaded, WAITS), "file": str(self._home / "config.toml"), "problem": self.problem}

    async def change(self, changes: dict[str, Any]) -> dict[str, Any]:
        await super().change(changes)
        applied = [name for name in changes if name not in WAITS]
        for_new = [name for name in applied if name == "sharing.up_mbit"]
        return {"applied": applied, "for_new": for_new, "after_restart": [name for name in changes if name in WAITS]}


# -- without a node


def test_the_file(tmp_path: Path) -> None:
    home = ("--home", tmp_path)
    assert answer("config", "get", "tunnel.hops", *home) == {"name": "tunnel.hops", "value": 0, "source": "default"}
    path = tmp_path / "config.toml"
    expected = {"name": "node.roles", "value": ["relay", "exit"], "file": str(path), "effect": "next_start"}
    assert answer("config", "set", "node.roles", "relay,exit", *home) == expected
    assert load(tmp_path, environ={}).node.roles == ("relay", "exit")
    listed = answer("config", "list", *home)
    assert listed["file"] == str(path)
    assert listed["settings"].keys() == listed["sources"].keys() == FIELDS.keys()
    assert listed["settings"]["node.roles"] == ["relay", "exit"]
    assert listed["sources"]["node.roles"] == "file"
    assert (listed["after_restart"], listed["problem"]) == ([], "")
    text = call("config", "list", *home).stdout
    assert 'node.roles = ["relay", "exit"]  # the file\n' in text
    assert '\nproxy.listen = "127.0.0.1:1080"\n' in text
    assert call("config", "get", "proxy.listen", *home).stdout == "127.0.0.1:1080\n"
    assert "No node runs here; the next one goes by it." in call("config", "set", "tunnel.hops", "2", *home).stdout


@pytest.mark.parametrize("arguments", [["get", "a.b"], ["set", "a.b", "1"], ["set", "tunnel.hops", "9"]])
def test_what_is_wrong_is_refused(tmp_path: Path, arguments: list[str]) -> None:
    result = call("config", *arguments, "--home", tmp_path)
    assert (result.exit_code, result.stdout) == (2, "")
    assert "Error: " in result.stderr
    assert not list(tmp_path.iterdir())


def test_the_environment_counts_more(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MACROVPN_TUNNEL_HOPS", "4")
    monkeypatch.setenv("MACROVPN_HOME", str(tmp_path))
    assert answer("config", "get", "tunnel.hops") == {
        "name": "tunnel.hops",
        "value": 4,
        "source": "MACROVPN_TUNNEL_HOPS",
    }
    assert "tunnel.hops = 4  # MACROVPN_TUNNEL_HOPS\n" in call("config", "list").stdout
    assert "MACROVPN_TUNNEL_HOPS counts more" in call("config", "set", "tunnel.hops", "3").stdout


# -- with one


def test_the_node_changes_its_settings_itself(tmp_path: Path) -> None:
    node, home = Set(tmp_path), ("--home", tmp_path)
    with running(tmp_path, node):
        now = answer("config", "set", "tunnel.regions", "NL, DE", *home)
        assert (now["value"], now["effect"]) == (["NL", "DE"], "now")
        assert answer("config", "set", "node.engine", "aioquic", *home)["effect"] == "after_restart"
        assert "goes by it now; no connection" in call("config", "set", "tunnel.hops", "2", *home).stdout
        assert "after a restart" in call("config", "set", "node.engine", "auto", *home).stdout
        assert answer("config", "set", "sharing.up_mbit", "5", *home)["effect"] == "for_new"
        assert node.changes == [
            {"tunnel.regions": ["NL", "DE"]},
            {"node.engine": "aioquic"},
            {"tunnel.hops": 2},
            {"node.engine": "auto"},
            {"sharing.up_mbit": 5},
        ]
        assert not (tmp_path / "config.toml").exists()
        for error in (ConfigError("tunnel.hops", "MACROVPN_TUNNEL_HOPS sets it"), MacroVpnError("It cannot be met.")):
            node.change_error = error
            result = call("config", "set", "tunnel.hops", "3", *home)
            assert result.exit_code == 1
            assert str(error) in result.stderr
        assert call("config", "set", "tunnel.hops", "9", *home).exit_code == 2


def test_the_node_tells_what_it_goes_by(tmp_path: Path) -> None:
    node, home = Set(tmp_path), ("--home", tmp_path)
    with running(tmp_path, node):
        listed = answer("config", "list", *home)
        assert listed["sources"]["tunnel.hops"] == "flag"
        assert listed["settings"]["proxy.password"] == "[redacted]"
        assert listed["after_restart"] == list(WAITS)
        text = call("config", "list", *home).stdout
        assert "tunnel.hops = 0  # an option of this run\n" in text
        assert 'node.engine = "auto"  # the file; the node goes by it after a restart\n' in text
        assert answer("config", "get", "tunnel.hops", *home)["source"] == "flag"
        assert answer("config", "get", "proxy.password", *home)["value"] == "", "the file's own"
        node.problem = "config.toml, line 2: this is not TOML."
        assert "The file is wrong" in call("config", "list", *home).stdout


def test_the_switch(tmp_path: Path) -> None:
    node, home = Node(), ("--home", tmp_path)
    assert "No node runs" in call("off", *home).stderr
    with running(tmp_path, node):
        assert answer("off", *home) == {"state": "down", "reason": "", "proxy": ""}
        assert "the proxy refuses everything" in call("off", *home).stdout
        assert answer("on", *home)["state"] == "up"
        node.switch_error = MacroVpnError("There is nothing to switch.")
        result = call("off", *home)
        assert (result.exit_code, "There is nothing to switch." in result.stderr) == (1, True)


def test_options_are_told_from_the_file(tmp_path: Path, started: Started) -> None:
    (tmp_path / "config.toml").write_text("[tunnel]\nspread = 1\n")
    call("up", "--foreground", "--mode", "speed", "--home", tmp_path)
    assert started.overrides == {"tunnel.mode": "speed"}
    assert started.here[0][0].tunnel.spread == 1
    call("share", "--role", "relay", "--limit", "5", "--home", tmp_path)
    assert started.overrides == {"node.roles": ("relay",), "sharing.up_mbit": 5.0, "sharing.down_mbit": 5.0}


def test_status_says_what_waits(tmp_path: Path) -> None:
    node = Node()
    node.facts |= {"restart_to_apply": ["node.engine", "proxy.early"], "settings_problem": "line 3\x1b"}
    with running(tmp_path, node):
        lines = call("status", "--home", tmp_path).stdout.splitlines()
    assert "settings  restart to apply: node.engine, proxy.early" in lines
    assert "settings  the file is wrong: line 3�" in lines
