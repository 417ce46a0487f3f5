"""What has a node started at login: the files, what is told to systemd, and the command."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from core.errors import MacroVpnError
from node import login
from node.background import program
from node.files import HomeLock
from node.login import Autostart, Systemd, at_login, name_of
from tests.harness.demo import ROOT
from tests.node.commands import answer, call

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from node.login import AtLogin

ODD = 'a "b" %h $HOME `c` \\d\\ é'
"""A folder's name with everything that must be quoted."""


class Told:
    """Stands in for systemctl."""

    def __init__(self) -> None:
        self.commands: list[list[str]] = []
        self.fails = ""

    def __call__(self, arguments: Sequence[str]) -> str:
        if self.fails in arguments:
            raise MacroVpnError("It says no.")
        self.commands.append(list(arguments))
        return ""


@pytest.fixture
def told() -> Told:
    return Told()


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return tmp_path / "home"


def systemd(tmp_path: Path, told: Told, home: Path) -> AtLogin:
    (tmp_path / "run" / "systemd").mkdir(parents=True, exist_ok=True)
    environment = {"XDG_CONFIG_HOME": str(tmp_path / "config"), "XDG_RUNTIME_DIR": str(tmp_path / "run")}
    return at_login(home, "linux", environment, told)


def test_systemd_where_it_runs_for_the_user_and_else_the_desktop(tmp_path: Path, told: Told, home: Path) -> None:
    assert isinstance(systemd(tmp_path, told, home), Systemd)
    without = {"XDG_CONFIG_HOME": str(tmp_path / "config")}
    for runtime in ("", str(tmp_path / "elsewhere")):
        assert isinstance(at_login(home, "linux", without | {"XDG_RUNTIME_DIR": runtime}, told), Autostart)
    with pytest.raises(MacroVpnError, match="start `macrovpn up`"):
        at_login(home, "darwin", without, told)


def test_each_home_has_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(login, "default_home", lambda: tmp_path)
    names = [name_of(path) for path in (tmp_path, tmp_path / "a", tmp_path / "b")]
    assert names[0] == "macrovpn"
    assert len(set(names)) == 3


# -- systemd


def test_a_unit_comes_and_goes(tmp_path: Path, told: Told, home: Path) -> None:
    found = systemd(tmp_path, told, home)
    assert not found.remove()
    assert told.commands == []
    found.install(system_proxy=False)
    assert found.start()
    unit = found.path.name
    assert found.path.parent == tmp_path / "config" / "systemd" / "user"
    assert [command[2:] for command in told.commands] == [["daemon-reload"], ["enable", unit], ["start", unit]]
    told.commands.clear()
    assert found.remove()
    assert not found.path.exists()
    assert [command[:3] for command in told.commands] == [
        ["systemctl", "--user", "disable"],
        ["systemctl", "--user", "daemon-reload"],
    ]


def settings_of(text: str) -> dict[str, list[str]]:
    """Read a unit: each key with all its values."""
    found: dict[str, list[str]] = {}
    for line in text.splitlines():
        key, equals, value = line.partition("=")
        if equals and not line.startswith("#"):
            found.setdefault(key, []).append(value)
    return found


def test_a_crash_leads_to_a_new_start_in_the_same_way(tmp_path: Path, told: Told, home: Path) -> None:
    found = systemd(tmp_path, told, home)
    found.install(system_proxy=True)
    settings = settings_of(found.path.read_text())
    assert settings["Restart"] == ["on-failure"], "and not after `macrovpn down`"
    (command,) = settings["ExecStart"]
    assert command.endswith(
        f' "up" "--as-left" "--foreground" "--log-level" "warning" "--home" "{home}" "--system-proxy"'
    )
    assert settings["WantedBy"] == settings["After"] == ["graphical-session.target"]
    found.install(system_proxy=False)
    assert "--system-proxy" not in found.path.read_text()
    assert settings_of(found.path.read_text())["WantedBy"] == ["default.target"]


def test_it_is_confined_as_the_unit_of_a_relay_is(tmp_path: Path, told: Told, home: Path) -> None:
    found = systemd(tmp_path, told, home)
    found.install(system_proxy=False)
    own = settings_of(found.path.read_text())
    other = settings_of((ROOT / "packaging" / "systemd" / "user-macrovpn-share.service").read_text())
    for key in other.keys() - {"Description", "ExecStart"}:
        assert own[key] == other[key], key


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd-analyze is not installed")
def test_systemd_takes_the_unit_whatever_the_home_is_called(tmp_path: Path, told: Told) -> None:
    home = tmp_path / ODD
    found = systemd(tmp_path, told, home)
    found.install(system_proxy=True)
    done = subprocess.run(
        ["systemd-analyze", "--user", "verify", str(found.path)],
        capture_output=True,
        text=True,
        env=os.environ | {"XDG_RUNTIME_DIR": str(tmp_path)},
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    (command,) = settings_of(found.path.read_text())["ExecStart"]
    read = [re.sub(r"\\(.)", r"\1", part).replace("%%", "%").replace("$$", "$") for part in parts(command)]
    assert read == [
        *program()[0],
        *("up", "--as-left", "--foreground", "--log-level", "warning", "--home", str(home), "--system-proxy"),
    ]


def parts(command: str) -> list[str]:
    """Take quoted arguments apart, as they are escaped."""
    return re.findall(r'"((?:[^"\\]|\\.)*)"', command)


# -- the desktop


def test_an_entry_comes_and_goes(tmp_path: Path) -> None:
    home = tmp_path / ODD
    found = Autostart(home, tmp_path / "config")
    assert not found.remove()
    found.install(system_proxy=True)
    assert not found.start()
    assert found.path.parent == tmp_path / "config" / "autostart"
    values = dict(line.split("=", 1) for line in found.path.read_text().splitlines()[1:])
    assert values["Type"] == "Application"
    assert values["Path"] == str(program()[1])
    command = values["Exec"].replace("\\\\", "\\")
    read = [re.sub(r"\\(.)", r"\1", part).replace("%%", "%") for part in parts(command)]
    assert read == [*program()[0], "up", "--as-left", "--home", str(home), "--system-proxy"]
    assert found.remove()
    assert not found.path.exists()


@pytest.mark.parametrize("kind", ["systemd", "desktop"])
def test_a_line_cannot_be_broken_out_of(tmp_path: Path, told: Told, kind: str) -> None:
    home = tmp_path / "a\nExecStartPre=x"
    found = systemd(tmp_path, told, home) if kind == "systemd" else Autostart(home, tmp_path / "config")
    with pytest.raises(MacroVpnError, match="has a name that no such file can hold"):
        found.install(system_proxy=False)
    assert not found.path.exists()


def test_what_cannot_be_written_is_said(tmp_path: Path) -> None:
    (tmp_path / "config").write_text("a file")
    with pytest.raises(MacroVpnError, match="cannot be written"):
        Autostart(tmp_path / "home", tmp_path / "config").install(system_proxy=False)


# -- the command


def test_the_command(tmp_path: Path, home: Path, told: Told, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setattr(login, "at_login", lambda home, platform: systemd(tmp_path, told, home))
    where = ("--home", home)
    assert not answer("service", "status", *where)["installed"]
    done = answer("service", "install", *where)
    assert (done["installed"], done["by"], done["started"]) == (True, "systemd", True)
    assert "Each login starts the node, by systemd: " in call("service", "status", *where).stdout
    lock = HomeLock(home)
    lock.acquire()
    try:
        result = call("service", "install", "--system-proxy", *where)
        assert "The next login starts it." in result.stdout, "one runs already"
    finally:
        lock.release()
    assert answer("service", "remove", *where)["removed"]
    assert "No login starts the node of this home." in call("service", "remove", *where).stdout
    told.fails = "enable"
    result = call("service", "install", *where)
    assert (result.exit_code, result.stderr) == (1, "Error: It says no.\n")
