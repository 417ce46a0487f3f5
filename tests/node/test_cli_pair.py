"""`macrovpn pair` and `macrovpn dashboard`, beside a running node and without one."""

from __future__ import annotations

import re
import stat
import urllib.request
import webbrowser
from typing import TYPE_CHECKING

import pytest

from node.client import NodeClient
from node.control.pairing import PAIRINGS_NAME, Pairings
from tests.node.commands import answer, call
from tests.node.test_cli import running
from tests.node.test_control import Node
from tests.node.test_control_access import CHROMIUM, FIREFOX

if TYPE_CHECKING:
    from pathlib import Path


def test_a_code_names_the_port(tmp_path: Path) -> None:
    with running(tmp_path, Node()):
        port = NodeClient(tmp_path).url.rpartition(":")[2]
        shown = call("pair", "--home", tmp_path).stdout
        assert re.fullmatch(rf"{port}-[0-9A-Z]{{4}}-[0-9A-Z]{{4}}\nType this code .* 120 seconds.*\n", shown)
        told = answer("pair", "--home", tmp_path)
        assert told.keys() == {"code", "valid_s"}
        assert told["code"] not in shown


@pytest.mark.parametrize("runs", [True, False])
def test_pairings_are_listed_and_revoked(tmp_path: Path, runs: bool) -> None:
    home = tmp_path / "home"
    home.mkdir()
    pairings = Pairings(home)
    one, two, three = (pairings.add(origin)[0] for origin in (CHROMIUM, FIREFOX, CHROMIUM))

    def check() -> None:
        assert (
            call("pair", "--list", "--home", home).stdout
            == f"{one}  {CHROMIUM}\n{two}  {FIREFOX}\n{three}  {CHROMIUM}\n"
        )
        assert call("pair", "--revoke", one, "--home", home).exit_code == 0
        unknown = call("pair", "--revoke", one, "--revoke", two, "--home", home)
        assert (unknown.exit_code, "pair --list" in unknown.stderr) == (1, True)
        left = answer("pair", "--list", "--home", home)["pairings"]
        assert [paired["id"] for paired in left] == [two, three], "all or none"
        assert answer("pair", "--revoke", "all", "--home", home) == {"pairings": [], "revoked": ["all"]}
        assert call("pair", "--list", "--home", home).stdout == "No browser is paired.\n"

    if runs:
        with running(home, Node()):
            check()
    else:
        check()
    assert (home / PAIRINGS_NAME).read_text() == "[]\n"


def test_what_cannot_be_done_is_told(tmp_path: Path) -> None:
    for command in ("pair", "dashboard"):
        result = call(command, "--home", tmp_path)
        assert (result.exit_code, "No node runs" in result.stderr) == (1, True)
    assert call("pair", "--list", "--revoke", "x", "--home", tmp_path).exit_code == 2


def test_the_dashboard_opens_by_a_file_that_only_the_user_reads(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[str] = []
    starts = [True, False]

    def start(url: str) -> bool:
        opened.append(url)
        return starts.pop(0)

    monkeypatch.setattr(webbrowser, "open", start)
    with running(tmp_path, Node()):
        own = NodeClient(tmp_path).url
        result = call("dashboard", "--home", tmp_path)
        assert "opens in a browser" in result.stdout
        page = tmp_path / "dashboard.html"
        assert opened == [page.as_uri()]
        assert stat.S_IMODE(page.stat().st_mode) == 0o600
        addresses = re.findall(r"http://[^\"]+", page.read_text())
        assert [re.fullmatch(rf"{own}/#[0-9A-Z]{{26}}", address) is not None for address in addresses] == [True, True]
        assert addresses[0].partition("#")[2] not in opened[0]
        result = call("dashboard", "--home", tmp_path)
        assert re.fullmatch(rf"{own}/#[0-9A-Z]{{26}}\n", result.stdout)
        assert "No browser could be started" in result.stderr
        for arguments in (("--print",), ("--print", "--json"), ("--json",)):
            assert f"{own}/#" in call("dashboard", *arguments, "--home", tmp_path).stdout
    assert len(opened) == 2
    assert urllib.request.url2pathname(opened[0].removeprefix("file://")) == str(page)
