"""Settings as they are described: none is forgotten, and each kind is a kind."""

from __future__ import annotations

from pathlib import Path

import pytest

from node.config import Loaded, check, load_from
from node.settings import FIELDS, SECTIONS, Settings
from node.settings_help import HELP, SECTION_HELP
from node.settings_view import choices_of, kind_of, must_be, rows, source_text

KINDS = {"switch": bool, "integer": int, "number": float, "text": str, "choice": str, "list": list}


def test_each_has_words() -> None:
    assert list(HELP) == list(FIELDS)
    assert list(SECTION_HELP) == list(SECTIONS)
    for sentence in (*HELP.values(), *SECTION_HELP.values()):
        assert sentence.endswith(".")
        assert sentence[0].isupper()


def test_each_default_is_of_its_kind_and_one_of_its_choices() -> None:
    for row in rows(Loaded(Settings(), {})):
        assert type(row["default"]) is KINDS[row["kind"]], row["key"]
        assert row["value"] == row["default"]
        assert row["must"] == must_be(row["key"])
        if row["choices"]:
            default = row["default"]
            assert set(default if isinstance(default, list) else [default]) <= set(row["choices"])


@pytest.mark.parametrize("name", [name for name in FIELDS if choices_of(name)])
def test_each_choice_is_right(name: str) -> None:
    for choice in choices_of(name):
        check(name, [choice] if kind_of(name) == "list" else choice, name)


def test_choices_are_named_where_there_are_few() -> None:
    assert choices_of("tunnel.mode") == ["speed", "balanced", "privacy"]
    assert choices_of("node.roles") == ["client", "relay", "exit"]
    assert choices_of("bypass.presets") == ["local", "banking", "streaming"]
    assert choices_of("tunnel.regions") == choices_of("node.operator") == choices_of("tunnel.hops") == []


def test_a_row_says_where_a_value_comes_from_and_hides_secrets() -> None:
    loaded = load_from('[proxy]\npassword = "x"\n', Path("f"), {"tunnel.hops": 2}, {"MACROVPN_TUNNEL_SPREAD": "1"})
    found = {row["key"]: row for row in rows(loaded, ["tunnel.hops"])}
    assert (
        found["proxy.password"] | {"value": "[redacted]", "secret": True, "source": "file"} == found["proxy.password"]
    )
    assert found["tunnel.hops"] | {"value": 2, "source": "flag", "pending": True} == found["tunnel.hops"]
    assert found["tunnel.spread"] | {"value": 1, "source": "MACROVPN_TUNNEL_SPREAD"} == found["tunnel.spread"]
    assert found["tunnel.mode"] | {"source": "default", "live": True, "pending": False} == found["tunnel.mode"]
    assert not found["node.engine"]["live"]
    assert [source_text(source) for source in ("default", "file", "flag", "MACROVPN_X")] == [
        "",
        "the file",
        "an option of this run",
        "MACROVPN_X",
    ]
