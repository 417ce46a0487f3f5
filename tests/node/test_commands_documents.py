"""docs/commands.md, the schemas that are shipped, and the shapes that both are made of."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
from jsonschema_rs import Draft202012Validator, meta

from node.cli_answers import ANSWERS, schema_of
from node.control import shapes
from scripts.write_commands import PAGE, SCHEMAS, document, leaves, schema_file, schema_text
from tests.node import answers

if TYPE_CHECKING:
    from collections.abc import Iterator

AGAIN = "run `.venv/bin/python -m scripts.write_commands`"


def objects(value: Any) -> Iterator[dict[str, Any]]:
    """All schemas of objects in a schema."""
    if isinstance(value, dict):
        yield from [value] if value.get("type") == "object" else []
        for part in value.values():
            yield from objects(part)
    elif isinstance(value, list):
        for part in value:
            yield from objects(part)


def test_the_documents_are_what_the_commands_are() -> None:
    assert PAGE.read_text(encoding="utf-8") == document(), AGAIN
    for command in ANSWERS:
        assert schema_file(command).read_text(encoding="utf-8") == schema_text(command), AGAIN
    assert set(SCHEMAS.iterdir()) == {schema_file(command) for command in ANSWERS}


def test_every_command_has_a_schema() -> None:
    assert set(ANSWERS) == {name for name, _ in leaves()}


def test_every_schema_is_strict_and_says_what_each_key_is() -> None:
    for command in ANSWERS:
        schema = schema_of(command)
        meta.validate(schema)
        for shape in objects(schema):
            if "properties" in shape:
                assert shape["additionalProperties"] is False, (command, shape["title"])
                assert shape["description"], (command, shape["title"])
            else:
                assert isinstance(shape["additionalProperties"], dict), command
            for key, kind in shape.get("properties", {}).items():
                assert kind.get("description") or kind.get("$ref"), (command, shape["title"], key)


@pytest.mark.parametrize(
    ("value", "shape"),
    [
        (answers.STATUS, shapes.Status),
        (answers.STATUS | {"sharing": answers.SHARING}, shapes.Status),
        (answers.SECOND, shapes.Second),
        (answers.ROUTE, shapes.Route),
        (answers.EXPLAINED, shapes.ExplainedRoute),
        (answers.PEERS, shapes.Peers),
        ({"regions": answers.REGIONS}, shapes.Regions),
        (answers.TRUST, shapes.Trust),
        (answers.WALLET, shapes.Wallet),
        *((answer, shapes.Done) for answer in answers.ORDERS.values()),
    ],
)
def test_what_the_fake_node_answers_a_real_one_may(value: dict[str, Any], shape: Any) -> None:
    msgspec.convert(value, shape)


def test_a_schema_refuses_what_it_does_not_name() -> None:
    validator = Draft202012Validator(json.loads(schema_file("status").read_text()))
    whole = answers.STATUS | {"system_proxy": ""}
    validator.validate(whole)
    for wrong in (whole | {"more": 1}, whole | {"state": "odd"}, whole | {"hops": -1}, answers.STATUS):
        assert not validator.is_valid(wrong)
