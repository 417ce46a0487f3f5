"""`--system-proxy` and what `status` and `down` say about it; with a desktop in memory."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from typing import TYPE_CHECKING, Any

from node import background
from node.files import lock_holder
from node.settings import ProxySettings, Settings
from node.system_proxy import Held
from tests.harness.desk import BEFORE, Desk, crash
from tests.node.commands import Started, answer, call
from tests.node.test_cli import Telling, running

if TYPE_CHECKING:
    from pathlib import Path

    import pytest


def test_up_passes_it_on_and_says_so(tmp_path: Path, started: Started) -> None:
    result = call("up", "--system-proxy", "--home", tmp_path)
    assert started.away == [(["up", "--system-proxy"], tmp_path)]
    assert "The system's proxy settings point here until the node stops." in result.stdout
    assert call("up", "--system-proxy", "--foreground", "--home", tmp_path).exit_code == 3
    assert call("up", "--foreground", "--home", tmp_path).exit_code == 3
    assert started.system_proxy == [True, False]


def test_a_node_runs_between_setting_and_putting_back(
    tmp_path: Path, desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[str] = []

    class App:
        @staticmethod
        def run(settings: Settings, home: Path, *, ready_fd: int | None, **more: object) -> int:
            assert lock_holder(home) == os.getpid()
            seen.append(desk.values["http"])
            if isinstance(ours := more["system_proxy"], Held):
                ours.give_back()
                seen.append(desk.values["http"])
                ours.take()
            return 5

    monkeypatch.setitem(sys.modules, "node.app", App)
    chosen = Settings(proxy=ProxySettings(listen=f"127.0.0.1:{desk.port}"))
    assert background.run_here(chosen, tmp_path, lambda status: None, system_proxy=True) == 5
    assert background.run_here(chosen, tmp_path, lambda status: None) == 5
    assert seen == [f"127.0.0.1:{desk.port}", BEFORE["http"], BEFORE["http"]]
    assert desk.values == BEFORE


def test_after_a_crash_status_says_it_and_down_puts_back(desk: Desk) -> None:
    assert answer("status", "--home", desk.home)["system_proxy"] == ""
    crash(desk)
    assert answer("status", "--home", desk.home)["system_proxy"] == "left"
    assert "system    the system's proxy settings point to" in call("status", "--home", desk.home).stdout
    result = call("down", "--home", desk.home)
    assert result.exit_code == 0
    assert result.stdout.splitlines() == [
        f"No node runs in {desk.home}.",
        "The system's proxy settings are as they were before the node set them.",
    ]
    assert desk.values == BEFORE
    assert answer("down", "--home", desk.home) == {"state": "down", "stopped": False}


def test_after_a_crash_the_next_node_puts_back(desk: Desk, started: Started) -> None:
    crash(desk)
    result = call("up", "--home", desk.home)
    assert result.exit_code == 0
    assert "are as they were before" in result.stderr
    assert desk.values == BEFORE


def test_after_a_crash_a_node_with_it_goes_on_without_a_gap(desk: Desk, started: Started) -> None:
    crash(desk)
    assert call("up", "--system-proxy", "--home", desk.home).exit_code == 0
    assert desk.values["mode"] == "manual"


def test_what_cannot_be_put_back_keeps_no_node_from_starting(desk: Desk, started: Started) -> None:
    crash(desk)
    desk.fails = True
    result = call("up", "--home", desk.home)
    assert result.exit_code == 0
    assert "The desktop is away." not in result.stdout
    assert "could not be put back: The desktop is away." in result.stderr
    result = call("down", "--home", desk.home)
    assert result.exit_code == 1
    assert f"`macrovpn down --home {desk.home}` tries again; until then browsers reach nothing." in result.stderr


def test_status_of_a_node_that_has_set_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from node import system_proxy

    sentence = "the system's proxy settings point to 127.0.0.1:1080"
    monkeypatch.setattr(system_proxy, "left", lambda: (system_proxy.Left.SET, sentence))
    with running(tmp_path, Telling()):
        assert answer("status", "--home", tmp_path)["system_proxy"] == "set"
        assert call("status", "--home", tmp_path).stdout.splitlines()[-1] == f"system    {sentence}"


def test_lines_for_a_shell(tmp_path: Path) -> None:
    with running(tmp_path, Telling()):
        lines = call("env", "--home", tmp_path).stdout
        values = answer("env", "--home", tmp_path)
    script = lines + 'echo "$http_proxy|$HTTPS_PROXY|$ALL_PROXY|$no_proxy"'
    done = subprocess.run(["sh", "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout == (
        "http://127.0.0.1:1080|http://127.0.0.1:1080|socks5h://127.0.0.1:1080|localhost,127.0.0.1,::1\n"
    )
    assert [line.removeprefix("export ") for line in lines.splitlines()] == [
        f"{name}={shlex.quote(value)}" for name, value in values.items()
    ]
    assert "HTTP_PROXY" not in values, "a web server sets it from a request's header"


class Serving(Telling):
    """A node without a proxy."""

    def status(self) -> dict[str, Any]:
        return super().status() | {"proxy": ""}


def test_lines_for_a_shell_need_a_proxy(tmp_path: Path) -> None:
    with running(tmp_path, Serving()):
        result = call("env", "--home", tmp_path)
    assert result.exit_code == 1
    assert "has no proxy: it only serves others" in result.stderr
    assert call("env", "--home", tmp_path).exit_code == 1
