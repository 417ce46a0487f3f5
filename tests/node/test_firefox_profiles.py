"""What is read out of Firefox's profiles, and that nothing in them is believed, waited for or read without end."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from node import firefox_profiles
from node.firefox_profiles import FOLDERS, MAX_NAME_CHARACTERS, MAX_PREFS_BYTES, MAX_PROFILES, parse_prefs, profiles
from tests.harness.firefox import profile_at

if TYPE_CHECKING:
    from pathlib import Path


def test_settings_are_read_and_others_are_not() -> None:
    text = """\
// Mozilla User Preferences
user_pref("browser.startup.homepage", "https://secret.example/");
user_pref("network.proxy.http", "127.0.0.1");
user_pref("network.proxy.http_port", 1080);
user_pref("network.proxy.allow_bypass", false);
user_pref("network.proxy.autoconfig_url", "http://a/\\"b\\u0041");
  user_pref("network.trr.mode",   3);  // names
user_pref("network.trr.excluded-domains", "a.example");
user_pref("network.connectivity-service.enabled", false);
user_pref("network.connectivity-service.IPv4.url", "http://secret.example/");
"""
    assert parse_prefs(text) == (
        {
            "network.proxy.http": "127.0.0.1",
            "network.proxy.http_port": 1080,
            "network.proxy.allow_bypass": False,
            "network.proxy.autoconfig_url": 'http://a/"bA',
            "network.trr.mode": 3,
            "network.trr.excluded-domains": "a.example",
            "network.connectivity-service.enabled": False,
        },
        True,
    )


def test_what_is_commented_out_does_not_count() -> None:
    line = 'user_pref("network.proxy.failover_direct", false);'
    for text in (f"// {line}", f"# {line}", f"/* {line} */", f"/*\n{line}\n*/", f"/* 07: proxies ***\n * {line}\n*/"):
        assert parse_prefs(text) == ({}, True), text
    assert parse_prefs(f"/* a */\n{line}") == ({"network.proxy.failover_direct": False}, True)


@pytest.mark.parametrize(
    "line",
    [
        'user_pref("network.proxy.type", 1); user_pref("network.proxy.type", 0);',
        'user_pref("network.proxy.type", 1)',
        'user_pref("network.proxy.type", 01);',
        'user_pref("network.proxy.type", 99999999999);',
        "user_pref('network.proxy.type', 1);",
        'pref("network.proxy.type", 1);',
        'user_pref("network.connectivity-service.enabled", FALSE);',
        'user_pref ( "network.proxy.type" , 1);',
        'user_pref("network.proxy.http", "a\\x41");',
        'user_pref("network.proxy.http", "a" + "b");',
        'user_pref("network.proxy.' + "x" * 101 + '", 1);',
        'if (true) user_pref("network.trr.mode", 3);',
    ],
)
def test_a_line_of_another_form_is_not_guessed_at(line: str) -> None:
    assert parse_prefs(line) == ({}, False)


@given(
    st.text()
    | st.lists(st.sampled_from(['user_pref("network.proxy.', "type", '"', ", ", "1", ");", "\n", "/*", "\\"])).map(
        "".join
    )
)
def test_any_text_is_survived(text: str) -> None:
    found, _ = parse_prefs(text)
    assert all(name.startswith(("network.proxy.", "network.trr.")) for name in found)


@pytest.mark.parametrize("folder", FOLDERS)
def test_profiles_are_found_where_firefox_keeps_them(tmp_path: Path, folder: str) -> None:
    profile_at(tmp_path, {"type": 1}, folder=folder, version="153.8.0")
    (found,) = profiles(tmp_path)
    assert (found.name, found.prefs, found.version, found.clear) == ("work", {"network.proxy.type": 1}, 153, True)


def test_user_js_counts_after_prefs_js(tmp_path: Path) -> None:
    path = profile_at(tmp_path, {"type": 1, "http": "a"})
    (path / "user.js").write_text('user_pref("network.proxy.type", 2);\n')
    (found,) = profiles(tmp_path)
    assert found.prefs == {"network.proxy.type": 2, "network.proxy.http": "a"}
    assert found.version is None
    (path / "prefs.js").unlink()
    assert [each.prefs for each in profiles(tmp_path)] == [{"network.proxy.type": 2}]
    (path / "user.js").unlink()
    assert profiles(tmp_path) == [], "nobody has ever used it"


def test_a_profile_may_lie_elsewhere_and_have_no_name(tmp_path: Path) -> None:
    path = profile_at(tmp_path, {})
    elsewhere = path.rename(tmp_path / "elsewhere")
    ini = tmp_path / FOLDERS[0] / "profiles.ini"
    ini.write_text(f"[Profile7]\nIsRelative=0\nPath={elsewhere}\n[Install4]\nDefault=x\nPath={elsewhere}\n")
    assert [found.name for found in profiles(tmp_path)] == ["Profile7"]
    ini.write_text(f"[Profile7]\nName={'x' * 10_000}\nPath={elsewhere}\n")
    assert [len(found.name) for found in profiles(tmp_path)] == [MAX_NAME_CHARACTERS]


@pytest.mark.parametrize(
    "text", ["no section", "[Profile0", "[Profile0]\nPath=\n", "[Profile0]\nName=x\n", "[Profile0]\nPath=\0\n", "\xff"]
)
def test_a_damaged_list_names_no_profile(tmp_path: Path, text: str) -> None:
    profile_at(tmp_path, {})
    (tmp_path / FOLDERS[0] / "profiles.ini").write_text(text, encoding="latin-1")
    assert profiles(tmp_path) == []


def test_the_number_of_profiles_is_bounded(tmp_path: Path) -> None:
    path = profile_at(tmp_path, {})
    sections = [f"[Profile{number}]\nPath={path}\n" for number in range(MAX_PROFILES + 5)]
    (tmp_path / FOLDERS[0] / "profiles.ini").write_text("".join(sections))
    assert len(profiles(tmp_path)) == MAX_PROFILES


def test_a_file_without_end_is_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = profile_at(tmp_path, {"type": 1})
    with (path / "prefs.js").open("ab") as file:
        file.truncate(MAX_PREFS_BYTES)
    assert [found.clear for found in profiles(tmp_path)] == [True]
    with (path / "prefs.js").open("ab") as file:
        file.truncate(MAX_PREFS_BYTES + 1)
    assert [(found.prefs, found.clear) for found in profiles(tmp_path)] == [({}, False)]
    monkeypatch.setattr(firefox_profiles, "MAX_INI_BYTES", 3)
    assert profiles(tmp_path) == []


def test_what_is_no_file_is_neither_waited_for_nor_read(tmp_path: Path) -> None:
    path = profile_at(tmp_path, {})
    (path / "prefs.js").unlink()
    os.mkfifo(path / "prefs.js")
    assert [(found.prefs, found.clear) for found in profiles(tmp_path)] == [({}, False)]
    (path / "prefs.js").unlink()
    (path / "prefs.js").mkdir()
    assert [found.clear for found in profiles(tmp_path)] == [False]
    (path / "prefs.js").rmdir()
    (path / "prefs.js").symlink_to("prefs.js")
    assert [found.clear for found in profiles(tmp_path)] == [False]
