"""The description of the control interface, beside the documentation and what goes wrong."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

import pytest

from node.control.access import Who
from node.control.openapi import describe
from node.control.routes import TABLE
from tests.harness.demo import ROOT
from tests.node.test_control import Rig, rig

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["rig"]

DOCUMENT = (ROOT / "docs/control.md").read_text()
SIGNS = {Who.PROGRAM: "p", Who.EXTENSION: "e", Who.PAGE: "d", Who.NEW_EXTENSION: "new e", Who.NEW_PAGE: "new d"}


def references(value: Any) -> Iterator[str]:
    """All `$ref` in a JSON value."""
    if isinstance(value, dict):
        yield from (found for found in [value.get("$ref")] if found)
        for part in value.values():
            yield from references(part)
    elif isinstance(value, list):
        for part in value:
            yield from references(part)


async def test_the_description_is_whole(rig: Rig) -> None:
    status, text = await rig.ask("GET", "/v1/openapi.json")
    found = json.loads(text)
    assert (status, found) == (200, describe(found["info"]["version"]))
    names = {reference.removeprefix("#/components/schemas/") for reference in references(found)}
    assert names == set(found["components"]["schemas"])
    operations = [operation for path in found["paths"].values() for operation in path.values()]
    assert len(operations) == len(TABLE) == len({operation["operationId"] for operation in operations})
    assert all(set(schema) >= {"properties", "required"} for schema in found["components"]["schemas"].values())
    assert all(schema["additionalProperties"] is False for schema in found["components"]["schemas"].values())


async def test_every_route_answers_where_it_is_said_to(rig: Rig) -> None:
    for route in TABLE:
        path = route.path.replace("{what}", "claim")
        assert (await rig.ask(route.method, path, {"Authorization": ""}))[0] in (401, 403)
        if route.who & Who.PROGRAM and "events" not in path:
            assert (await rig.ask(route.method, path, data=b"[]" if route.body else None))[0] in (200, 400)


@pytest.mark.parametrize("route", TABLE, ids=lambda route: f"{route.method} {route.path}")
def test_the_documentation_has_every_route(route: Any) -> None:
    line = re.search(rf"^\| `{route.method} {re.escape(route.path)}` \| ([a-z, ]+) \|", DOCUMENT, re.MULTILINE)
    assert line is not None
    assert line[1] == ", ".join(sign for who, sign in SIGNS.items() if who in route.who)


def test_the_documentation_has_no_other_route() -> None:
    assert len(re.findall(r"^\| `[A-Z]+ /v1/", DOCUMENT, re.MULTILINE)) == len(TABLE)


async def test_a_mistake_of_the_node_is_told_without_its_words(
    rig: Rig, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken() -> dict[str, Any]:
        raise ValueError("secret.example")

    monkeypatch.setattr(rig.node, "route", broken)
    status, text = await rig.ask("GET", "/v1/route")
    assert (status, set(json.loads(text))) == (500, {"error"})
    assert "ValueError" in caplog.text
    assert "secret.example" not in caplog.text + text
    assert (await rig.ask("GET", "/v1/status"))[0] == 200
