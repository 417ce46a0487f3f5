"""`config get` and `set`: one value changes, and nothing else of the file."""

from __future__ import annotations

import stat
import tomllib
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.errors import ConfigError
from node.config import check, load, load_from
from node.config_edit import as_toml, edit, edited, format_file, format_value, get_value, set_value
from node.settings import FIELDS, Settings

FILE = """\
# my settings
[tunnel]  # paths
# three is enough
hops = 3   # not five
mode = "speed"

[peers]
bootstrap = [
    # the one at home
]
# the end
"""


def test_a_value_is_replaced_and_comments_stay(tmp_path: Path) -> None:
    (tmp_path / "config.toml").write_text(FILE)
    assert set_value(tmp_path, "tunnel.hops", "4") == 4
    expected = FILE.replace("hops = 3   # not five", "hops = 4  # not five")
    assert (tmp_path / "config.toml").read_text() == expected
    assert load(tmp_path, environ={}).tunnel.hops == 4


def test_comments_inside_a_list_are_kept() -> None:
    changed = edit(FILE, "peers.bootstrap", [])
    assert "# the one at home" in changed
    assert tomllib.loads(changed) == tomllib.loads(FILE)


def test_all_comments_of_a_list_are_kept() -> None:
    text = '[bypass]\nrules = [\n  # first\n  "a.example",  # second\n]  # third\n'
    assert edit(text, "bypass.rules", ["b.example"]) == '[bypass]\n# first\n# second\nrules = ["b.example"]  # third\n'


def test_a_hash_in_a_text_is_no_comment() -> None:
    text = '[proxy]\npassword = "a # b"  # mine\n'
    assert edit(text, "proxy.password", "c # d") == '[proxy]\npassword = "c # d"  # mine\n'


def test_a_key_is_added_below_its_section() -> None:
    assert edit("[tunnel]\nhops = 3\n\n[peers]\n", "tunnel.mode", "speed") == (
        '[tunnel]\nmode = "speed"\nhops = 3\n\n[peers]\n'
    )


def test_a_section_is_added_at_the_end(tmp_path: Path) -> None:
    set_value(tmp_path / "new", "peers.allow_addresses", "127.0.0.0/8, fd00::/8")
    path = tmp_path / "new" / "config.toml"
    assert path.read_text() == '[peers]\nallow_addresses = ["127.0.0.0/8", "fd00::/8"]\n'
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    set_value(tmp_path / "new", "peers.diversity", "false")
    set_value(tmp_path / "new", "control.port", "5")
    assert path.read_text().endswith(
        'diversity = false\nallow_addresses = ["127.0.0.0/8", "fd00::/8"]\n\n[control]\nport = 5\n'
    )


@pytest.mark.parametrize(
    ("name", "text"),
    [("tunnel.hops", "9"), ("tunnel.hop", "3"), ("proxy.listen", "0.0.0.0:1080"), ("peers.diversity", "perhaps")],
)
def test_a_wrong_value_is_not_written(tmp_path: Path, name: str, text: str) -> None:
    (tmp_path / "config.toml").write_text(FILE)
    with pytest.raises(ConfigError):
        set_value(tmp_path, name, text)
    assert (tmp_path / "config.toml").read_text() == FILE
    assert [path.name for path in tmp_path.iterdir()] == ["config.toml"]


@pytest.mark.parametrize("text", ["tunnel.hops = 3\n", "tunnel = {hops = 3}\n", '["tunnel"]\nhops = 3\n'])
def test_a_form_that_cannot_be_edited_is_left_alone(tmp_path: Path, text: str) -> None:
    (tmp_path / "config.toml").write_text(text)
    with pytest.raises(
        ConfigError, match=r"line [12]: this form cannot be changed from here; write the setting as hops"
    ):
        set_value(tmp_path, "tunnel.hops", "4")
    assert (tmp_path / "config.toml").read_text() == text


def test_get() -> None:
    assert get_value(Settings(), "node.roles") == ["client"]
    with pytest.raises(ConfigError, match=r"there is no setting proxy\.passwort; proxy\.password is the nearest"):
        get_value(Settings(), "proxy.passwort")


_VALUES = st.one_of(
    st.booleans(),
    st.integers(-(2**63), 2**63 - 1),
    st.text(st.characters(exclude_categories=["Cs"])),
)


@given(st.one_of(_VALUES, st.lists(st.text(st.characters(exclude_categories=["Cs"])))))
def test_values_round_trip_through_toml(value: Any) -> None:
    assert tomllib.loads(f"x = {format_value(value)}") == {"x": value}


@given(st.text(st.characters(exclude_categories=["Cs"])), st.text(alphabet="#\"'[]\\ \nx"))
def test_editing_changes_one_value_only(value: str, comment: str) -> None:
    line = " ".join(comment.splitlines())
    before = f'# {line}\n[proxy]\npassword = "x" # {line}\nlisten = "y"\n[tunnel]\n# {line}\nhops = 3\n'
    after = edit(before, "proxy.password", value)
    assert tomllib.loads(after) == tomllib.loads(before) | {"proxy": {"password": value, "listen": "y"}}
    assert after.count(f"# {line}".rstrip()) >= 3


def test_a_whole_file() -> None:
    tables: dict[str, dict[str, Any]] = {"node": {"roles": ["relay"]}, "peers": {"port": 0, "diversity": True}}
    text = format_file(tables)
    assert text == '[node]\nroles = ["relay"]\n\n[peers]\nport = 0\ndiversity = true\n'
    assert tomllib.loads(text) == tables


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters(codec=None), max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=2),
    max_leaves=4,
)
_LIKELY = st.sampled_from(
    [
        "",
        "NL",
        "a.example",
        "127.0.0.1:0",
        "127.0.0.0/8",
        "none",
        "0.5",
        "\ud800",
        "x: gateway=192.0.2.1",
        'a"b\\',
        "\x00",
    ]
)


@settings(max_examples=200, deadline=None)
@given(st.sampled_from(sorted(FIELDS)), _JSON | _LIKELY | st.lists(_LIKELY, max_size=3))
def test_any_value_is_refused_or_stands_in_the_file(name: str, value: Any) -> None:
    path = Path("config.toml")
    try:
        new = edited(FILE, path, {name: value})
    except ConfigError:
        return
    assert get_value(load_from(new, path, environ={}).settings, name) == as_toml(check(name, value, name))
