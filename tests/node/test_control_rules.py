"""Rules and settings over the control interface: the file, and what the node is told."""

from __future__ import annotations

import asyncio
import json
import tomllib
from typing import TYPE_CHECKING, Any

import pytest

from core.errors import ConfigError, MacroVpnError
from node.control.shapes import Bypass
from pac.rules import MAX_WILDCARDS
from tests.node.test_control import Rig, rig

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["rig"]

FILE = '# mine\n[bypass]\nrules = ["old.example"]  # kept\n'


def saved(home: Path) -> list[str]:
    found: list[str] = tomllib.loads((home / "config.toml").read_text())["bypass"]["rules"]
    return found


async def bypass(rig: Rig, method: str, rule: Any) -> tuple[int, dict[str, Any]]:
    status, text = await rig.ask(method, "/v1/bypass", data=json.dumps({"rule": rule}).encode())
    return status, json.loads(text)


async def test_a_rule_comes_and_goes(rig: Rig) -> None:
    path = rig.home / "config.toml"
    path.write_text(FILE)
    status, answer = await bypass(rig, "POST", "Site.Example")
    assert (status, set(answer)) == (200, set(Bypass.__struct_fields__))
    assert [found["rule"] for found in answer["rules"]] == saved(rig.home) == ["old.example", "site.example"]
    assert rig.node.reloads == 1
    assert json.loads((await rig.ask("GET", "/v1/bypass"))[1]) == answer
    assert (await bypass(rig, "POST", "block site.example"))[0] == 200
    assert saved(rig.home) == ["old.example", "block site.example"], "it replaces the one for the same host"
    assert (await bypass(rig, "DELETE", "site.example"))[0] == 200, "the host is enough"
    assert path.read_text() == FILE
    assert rig.node.reloads == 3


async def test_what_is_not_there_is_not_removed(rig: Rig) -> None:
    status, answer = await bypass(rig, "DELETE", "site.example")
    assert (status, "bypass list" in answer["error"]) == (404, True)
    assert rig.node.reloads == 0


@pytest.mark.parametrize("rule", ["", "a b c", "x" * 1025, "http://", 5, None, ["a.example"], "\ud800"])
@pytest.mark.parametrize("method", ["POST", "DELETE"])
async def test_what_is_no_rule_changes_nothing(rig: Rig, method: str, rule: Any) -> None:
    status, answer = await bypass(rig, method, rule)
    assert (status, set(answer)) == (400, {"error"})
    assert not (rig.home / "config.toml").exists()
    assert rig.node.reloads == 0


async def test_changes_at_the_same_time_lose_none(rig: Rig) -> None:
    names = [f"site{number}.example" for number in range(12)]
    answers = await asyncio.gather(*(bypass(rig, "POST", name) for name in names))
    assert {status for status, _ in answers} == {200}
    assert sorted(saved(rig.home)) == sorted(names)


async def test_a_rule_too_many_changes_nothing(rig: Rig) -> None:
    (rig.home / "rules").mkdir()
    (rig.home / "rules" / "long.txt").write_text("".join(f"a*{number}.example\n" for number in range(MAX_WILDCARDS)))
    text = '[bypass]\nlists = ["long"]\n'
    (rig.home / "config.toml").write_text(text)
    status, answer = await bypass(rig, "POST", "b*.example")
    assert status == 409, answer
    assert (rig.home / "config.toml").read_text() == text
    assert rig.node.reloads == 0


async def test_a_wrong_file_is_told(rig: Rig) -> None:
    (rig.home / "config.toml").write_text("[bypass]\nrules = 5\n")
    for method in ("POST", "DELETE"):
        status, answer = await bypass(rig, method, "site.example")
        assert (status, "line 2" in answer["error"]) == (409, True)


async def test_settings_are_changed_all_or_none(rig: Rig) -> None:
    changes = {"tunnel.mode": "speed", "node.engine": "auto"}
    status, text = await rig.ask("PATCH", "/v1/settings", data=json.dumps(changes).encode())
    assert (status, json.loads(text)) == (200, {"applied": sorted(changes), "for_new": [], "after_restart": []})
    assert rig.node.changes == [changes]
    for error, expected in ((ConfigError("tunnel.mode", "no"), 400), (MacroVpnError("not now"), 409)):
        rig.node.change_error = error
        status, text = await rig.ask("PATCH", "/v1/settings", data=json.dumps(changes).encode())
        assert (status, json.loads(text)) == (expected, {"error": str(error)})
    for body in (b"", b"{}", b"[]", b"{", b"null", b'{"a": 1', b"\xff"):
        assert (await rig.ask("PATCH", "/v1/settings", data=body))[0] == 400
    assert rig.node.changes == [changes]


async def test_the_switch(rig: Rig) -> None:
    for path, state in (("/v1/off", "down"), ("/v1/off", "down"), ("/v1/on", "up")):
        status, text = await rig.ask("POST", path)
        assert (status, json.loads(text)) == (200, {"state": state})
    rig.node.switch_error = MacroVpnError("This node has no proxy.")
    assert await rig.ask("POST", "/v1/off") == (409, '{"error": "This node has no proxy."}')
    assert rig.node.facts == {"state": "up"}
