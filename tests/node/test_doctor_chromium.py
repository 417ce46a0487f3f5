"""What is read of Chromium and its kin, and what is said of it."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING, Any, Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from node import chromium_settings
from node.chromium_settings import (
    MAX_POLICY_BYTES,
    ChromiumProfile,
    Chromiums,
    Extension,
    parse_command,
    parse_extensions,
    read_all,
)
from node.doctor_chromium import SHUT, judge
from node.findings import Finding, Level, OwnProxy
from pac.pac import pac_data_url

if TYPE_CHECKING:
    from pathlib import Path

OWN: Final = OwnProxy("127.0.0.1", 1080)
PROGRAM: Final = "/usr/lib/chromium/chromium"
SERVER: Final = "--proxy-server=socks5://127.0.0.1:1080"
CLOSED: Final = f"--webrtc-ip-handling-policy={SHUT}"
PAC: Final = pac_data_url('function FindProxyForURL(url, host) { return "PROXY 127.0.0.1:1080"; }')
ID: Final = "kdohcephdndhdjfjfmenipngiagelcke"


def seen(found: list[Finding]) -> list[tuple[str, str]]:
    assert all(each.remedy for each in found if each.level is not Level.OK)
    assert all(each.area for each in found)
    return [(each.check, each.level.value) for each in found]


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ([SERVER, CLOSED], [("chromium", "ok")]),
        ([SERVER], [("chromium_webrtc", "problem")]),
        ([SERVER, "--webrtc-ip-handling-policy=default"], [("chromium_webrtc", "problem")]),
        (["--proxy-server=http://localhost:1080", CLOSED], [("chromium", "ok")]),
        (["--proxy-server=127.0.0.1:1080", CLOSED], [("chromium", "ok")]),
        (["--proxy-server=http=corp:1;https=127.0.0.1:1080", CLOSED], [("chromium", "ok")]),
        ([f"--proxy-pac-url={PAC}", CLOSED], [("chromium", "ok")]),
        (
            ["--proxy-pac-url=http://127.0.0.1:1080/x/proxy.pac", CLOSED],
            [("chromium_pac", "warning"), ("chromium", "ok")],
        ),
        (["--proxy-pac-url=http://corp.example/x.pac"], [("chromium_pac", "warning")]),
        (["--proxy-auto-detect"], [("chromium_pac", "warning")]),
        (["--no-proxy-server", SERVER], [("chromium_direct", "warning")]),
        (["--proxy-server=corp.example:3128"], [("chromium_other", "ok")]),
        (["--proxy-server=http://[::1"], [("chromium_other", "ok")]),
        ([SERVER, CLOSED, "--proxy-bypass-list=localhost;<local>"], [("chromium", "ok")]),
        ([SERVER, CLOSED, "--proxy-bypass-list=*.corp.example"], [("chromium_exceptions", "warning")]),
        ([], []),
    ],
)
def test_a_browser_that_runs(options: list[str], expected: list[tuple[str, str]]) -> None:
    running = parse_command([PROGRAM, "--no-first-run", *options, "https://secret.example/"])
    assert running is not None
    found = judge(Chromiums((running,)), OWN, (), system_is_ours=False)
    assert seen(found) == expected
    assert "secret" not in str(found)


@pytest.mark.parametrize(
    "words",
    [[], [""], ["/usr/bin/python3", SERVER], [PROGRAM, "--type=renderer", SERVER], [f"{PROGRAM} --type=zygote"]],
)
def test_what_is_no_such_browser(words: list[str]) -> None:
    assert parse_command(words) is None


def profile(*, proxy: Any = None, webrtc: str = "", disabled: bool = False) -> str:
    """A profile's file, as Chromium 156 writes it, with one extension."""
    set_ = ({"proxy": proxy} if proxy else {}) | ({"webrtc.ip_handling_policy": webrtc} if webrtc else {})
    entry = {"preferences": set_, "disable_reasons": [1] if disabled else []}
    return json.dumps({"extensions": {"settings": {ID: entry}}, "profile": {"name": "secret"}})


ON: Final = {"mode": "pac_script", "pac_mandatory": True, "pac_url": PAC}


@pytest.mark.parametrize(
    ("text", "paired", "expected"),
    [
        (profile(proxy=ON, webrtc=SHUT), True, [("chromium_button", "ok")]),
        (profile(proxy=ON, webrtc=SHUT), False, [("chromium_button", "ok")]),
        (profile(proxy=ON), True, [("chromium_webrtc", "problem")]),
        (
            profile(proxy=ON | {"pac_mandatory": False}, webrtc=SHUT),
            True,
            [("chromium_pac", "warning"), ("chromium_button", "ok")],
        ),
        (profile(), True, [("chromium_button", "warning")]),
        (profile(), False, [("chromium_system", "warning")]),
        (profile(proxy=ON, webrtc=SHUT, disabled=True), True, [("chromium_system", "warning")]),
        (profile(proxy={"mode": "fixed_servers"}), False, [("chromium_other", "ok")]),
        (profile(proxy={"mode": "direct"}), False, [("chromium_system", "warning")]),
        ("{}", False, [("chromium_unclear", "warning")]),
        ("no JSON", False, [("chromium_unclear", "warning")]),
    ],
)
def test_a_profile(tmp_path: Path, text: str, paired: bool, expected: list[tuple[str, str]]) -> None:
    folder = tmp_path / ".config/chromium/Default"
    folder.mkdir(parents=True)
    (folder / "Preferences").write_text(text)
    found = judge(read_all(tmp_path, tmp_path, ()), OWN, [ID] if paired else [], system_is_ours=False)
    assert seen(found) == expected
    assert all("Chromium (Default)" in each.sentence and "secret" not in each.sentence for each in found)


def test_the_systems_proxy_counts_where_no_extension_decides() -> None:
    plain, shut = ChromiumProfile("one"), ChromiumProfile("two", (Extension("x", "", False, False, SHUT),))
    found = judge(Chromiums(profiles=(plain, shut)), OWN, (), system_is_ours=True)
    assert seen(found) == [("chromium_webrtc", "problem"), ("chromium", "ok")]


@pytest.mark.parametrize(
    ("policies", "expected"),
    [
        ({}, []),
        ({"ProxyMode": "direct"}, [("chromium_policies", "warning")]),
        ({"ProxySettings": {"ProxyMode": "auto_detect"}}, [("chromium_pac", "warning")]),
        ({"ProxyMode": "pac_script", "ProxyPacUrl": "http://corp/x.pac"}, [("chromium_pac", "warning")]),
        ({"ProxyMode": "pac_script", "ProxyPacUrl": "data:,x"}, []),
        ({"ProxyMode": "fixed_servers", "ProxyServer": "127.0.0.1:1080"}, [("chromium_policies", "ok")]),
        ({"ProxyMode": ["x"], "ProxySettings": 7}, []),
    ],
)
def test_policies(tmp_path: Path, policies: dict[str, Any], expected: list[tuple[str, str]]) -> None:
    (tmp_path / "one.json").write_text(json.dumps(policies | {"HomepageLocation": "secret"}))
    found = read_all(tmp_path, tmp_path / "none", [str(tmp_path)])
    assert found.policies == policies
    assert seen(judge(found, OWN, (), system_is_ours=False)) == expected


def test_a_policy_can_shut_webrtc() -> None:
    running = parse_command([PROGRAM, SERVER])
    assert running is not None
    found = judge(Chromiums((running,), {"WebRtcIPHandling": SHUT}), OWN, (), system_is_ours=False)
    assert seen(found) == [("chromium", "ok")]


def test_what_runs_is_found_and_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(7):
        (tmp_path / str(number)).mkdir()
        (tmp_path / str(number) / "cmdline").write_bytes("\0".join([PROGRAM, SERVER, ""]).encode())
    (tmp_path / "self").mkdir()
    (tmp_path / "8").mkdir()
    monkeypatch.setattr(chromium_settings, "MAX_BROWSERS", 5)
    assert [each.options for each in read_all(tmp_path, tmp_path, ()).running] == [
        {"proxy-server": "socks5://127.0.0.1:1080"}
    ] * 5
    monkeypatch.setattr(os, "getuid", lambda: 12345)
    assert read_all(tmp_path, tmp_path, ()).running == (), "those of others are not looked at"


def test_files_without_end_are_not_read(tmp_path: Path) -> None:
    with (tmp_path / "one.json").open("wb") as file:
        file.truncate(MAX_POLICY_BYTES + 1)
    folder = tmp_path / ".config/chromium/Default"
    folder.mkdir(parents=True)
    os.mkfifo(folder / "Preferences")
    found = read_all(tmp_path, tmp_path / "none", [str(tmp_path)])
    assert (found.policies, [each.clear for each in found.profiles]) == ({}, [False])


_VALUES: Final = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["extensions", "settings", ID, "preferences", "proxy", "mode", "pac_url", "state"])
            | st.text(),
            inner,
            max_size=4,
        )
    ),
)


@given(_VALUES)
def test_any_json_is_survived(value: Any) -> None:
    found = tuple(parse_extensions(json.dumps(value)))
    judge(Chromiums(profiles=(ChromiumProfile("x", found),)), OWN, [ID], system_is_ours=False)


@given(st.text() | st.just("[" * 100_000))
def test_any_text_is_survived(text: str) -> None:
    assert not list(parse_extensions(text))
