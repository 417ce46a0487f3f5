"""`config get` and `set`: one value changes, and nothing else of the file."""

from __future__ import annotations

import stat
import tomllib
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.errors import ConfigError
from node.config import load
from node.config_edit import edit, format_file, format_value, get_value, list_values, set_value
from node.settings import Settings

if TYPE_CHECKING:
    from pathlib import Path

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


def test_get_and_list() -> None:
    settings = Settings()
    assert get_value(settings, "node.roles") == ["client"]
    assert list_values(settings)["proxy.password"] == ""
    with pytest.raises(ConfigError, match=r"there is no setting proxy\.passwort; proxy\.password is the nearest"):
        get_value(settings, "proxy.passwort")


def test_list_hides_secrets(tmp_path: Path) -> None:
    settings = load(tmp_path, {"proxy.password": "long and secret"}, {})
    assert list_values(settings)["proxy.password"] == "[redacted]"
    assert get_value(settings, "proxy.password") == "long and secret"


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
