"""`macrovpn completion`, in a real bash, and what is offered."""

from __future__ import annotations

import subprocess
import sys
from shlex import quote
from typing import TYPE_CHECKING

from click.shell_completion import ShellComplete

from node.cli import cli
from node.config import Settings
from node.control.pairing import Pairings
from tests.harness.demo import ROOT
from tests.node.commands import answer, call
from tests.node.fake_node import FakeNode
from tests.node.test_cli import running

if TYPE_CHECKING:
    from pathlib import Path

SCRIPT = """\
eval "$({program} completion bash)"
complete -p macrovpn
COMP_WORDS=(macrovpn config get tunnel.m)
COMP_CWORD=3
_macrovpn_completion "{launcher}"
printf '%s\\n' "${{COMPREPLY[@]}}"
"""


def test_bash_completes(tmp_path: Path) -> None:
    launcher = tmp_path / "macrovpn"
    launcher.write_text(f'#!/bin/sh\ncd {quote(str(ROOT))} && exec {quote(sys.executable)} -m node "$@"\n')
    launcher.chmod(0o700)
    script = SCRIPT.format(program=launcher, launcher=launcher)
    found = subprocess.run(["bash", "-c", script], capture_output=True, text=True, timeout=60, check=True)
    binding, *words = found.stdout.splitlines()
    assert binding == "complete -o nosort -F _macrovpn_completion macrovpn"
    assert words == ["tunnel.mode", "tunnel.min_tariff", "tunnel.max_tariff"]
    assert found.stderr == ""


def offered(*words: object) -> list[str]:
    """What a shell may offer for the last word."""
    *before, last = map(str, words)
    return [item.value for item in ShellComplete(cli, {}, "macrovpn", "_X").get_completions(before, last)]


def test_words_that_are_the_same_everywhere() -> None:
    assert offered("st") == ["status"]
    assert offered("network", "") == ["create", "invite", "join", "leave", "list"]
    assert offered("config", "set", "tunnel.mode", "") == ["speed", "balanced", "privacy"]
    assert offered("config", "set", "peers.dht", "") == ["true", "false"]
    assert offered("config", "set", "peers.port", "") == []
    assert offered("bypass", "add", "--preset", "b") == ["banking"]
    assert offered("up", "--mode", "p") == ["privacy"]
    assert offered("completion", "") == ["bash", "zsh", "fish"]


def test_words_of_a_home(tmp_path: Path) -> None:
    home = ("--home", tmp_path)
    answer("network", "create", "work", *home)
    answer("bypass", "add", "a.example", "block .ads.example", *home)
    paired, _ = Pairings(tmp_path).add("chrome-extension://" + "a" * 32)
    assert offered("network", "leave", *home, "") == ["work"]
    assert offered("status", *home, "--network", "") == ["work"]
    assert offered("bypass", "remove", *home, "") == ["a.example", ".ads.example"]
    assert offered("bypass", "remove", *home, "--preset", "") == ["local"]
    assert offered("bypass", "remove", *home, "--network", "work", "") == []
    assert offered("pair", *home, "--revoke", "") == [paired, "all"]


def test_words_of_a_running_node(tmp_path: Path) -> None:
    home = ("--home", tmp_path)
    assert offered("up", *home, "--region", "") == offered("wallet", "close", *home, "") == []
    with running(tmp_path, FakeNode(Settings(), "")):
        assert offered("up", *home, "--region", "") == ["NL"]
        assert offered("wallet", "close", *home, "") == ["87bd316b"]


def test_where_nothing_can_be_found_out_nothing_is_said(tmp_path: Path) -> None:
    (tmp_path / "config.toml").write_text("this is not TOML")
    (tmp_path / "networks").write_text("")
    for words in (("bypass", "remove"), ("trust", "remove"), ("bypass", "remove", "--preset"), ("status", "--network")):
        command = [word for word in words if not word.startswith("--")]
        assert offered(*command, "--home", tmp_path, *words[len(command) :], "") == []


def test_each_shell_gets_its_own_script() -> None:
    scripts = {shell: answer("completion", shell)["script"] for shell in ("bash", "zsh", "fish")}
    assert len(set(scripts.values())) == 3
    for shell, script in scripts.items():
        assert f"_MACROVPN_COMPLETE={shell}_complete" in script
        assert call("completion", shell).stdout.strip() == script.strip()
