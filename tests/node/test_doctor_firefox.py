"""What is said of a Firefox profile, setting by setting."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final

import pytest

from node.cli_common import browser_lines
from node.doctor_firefox import judge
from node.findings import Finding, Level, OwnProxy
from node.firefox_profiles import profiles
from pac.pac import pac_data_url
from tests.harness import firefox
from tests.harness.firefox import profile_at

if TYPE_CHECKING:
    from pathlib import Path

HOST: Final = "213f919c-b58b-46c4-b573-9911c3dc778b"
OWN: Final = OwnProxy("127.0.0.1", 1080)
CLOSED: Final[dict[str, Any]] = firefox.SAFE
ASKING: Final[dict[str, Any]] = firefox.CLOSED | firefox.UNTOLD | firefox.SHUT
OPEN: Final[dict[str, Any]] = firefox.UNASKED | firefox.UNTOLD | firefox.SHUT
CONNECTIVITY, TRR = firefox.UNASKED
(RECORD,) = firefox.UNTOLD
(WEBRTC,) = firefox.SHUT
SOCKS: Final = CLOSED | {"type": 1, "socks": "127.0.0.1", "socks_port": 1080}
HTTP: Final = CLOSED | {"type": 1, "http": "localhost", "http_port": 1080, "ssl": "127.0.0.1", "ssl_port": 1080}
SCRIPT: Final = 'function FindProxyForURL(url, host) { return "PROXY 127.0.0.1:1080; SOCKS5 127.0.0.1:1080"; }'


def judged(home: Path, prefs: dict[str, Any], version: str = "153.8.0", *, system: bool = False) -> list[Finding]:
    profile_at(home, prefs, version=version)
    (profile,) = profiles(home)
    return judge(profile, OWN, system_is_ours=system)


def seen(found: list[Finding]) -> list[tuple[str, str]]:
    assert all(finding.remedy for finding in found if finding.level is not Level.OK)
    assert all("work" in finding.sentence for finding in found)
    return [(finding.check, finding.level.value) for finding in found]


@pytest.mark.parametrize(
    ("prefs", "expected"),
    [
        (SOCKS, ("firefox", "ok")),
        (HTTP, ("firefox", "ok")),
        (HTTP | {"ssl": ""}, ("firefox_partly", "problem")),
        (HTTP | {"ssl_port": 0}, ("firefox_partly", "problem")),
        (HTTP | {"http": ""}, ("firefox_partly", "problem")),
        (HTTP | {"ssl": "", "socks": "127.0.0.1", "socks_port": 1080}, ("firefox", "ok")),
        (SOCKS | {"socks_port": 9050}, ("firefox_other", "ok")),
        (SOCKS | {"socks": "127.0.0.2"}, ("firefox_other", "ok")),
        (SOCKS | {"socks": "evil.example"}, ("firefox_other", "ok")),
        (CLOSED | {"type": 1}, ("firefox_direct", "warning")),
        (CLOSED | {"type": 0}, ("firefox_direct", "warning")),
        (CLOSED | {"type": 3}, ("firefox_direct", "warning")),
        (CLOSED | {"type": 4}, ("firefox_pac", "warning")),
        (CLOSED, ("firefox_system", "warning")),
        (CLOSED | {"type": True}, ("firefox_system", "warning")),
        (SOCKS | {"socks_version": 4}, ("firefox_dns", "problem")),
        (SOCKS | {"no_proxies_on": "localhost, 127.0.0.1"}, ("firefox", "ok")),
        (SOCKS | {"no_proxies_on": "localhost, .example.com"}, ("firefox_exceptions", "warning")),
        (SOCKS | {"network.proxy.allow_bypass": True}, ("firefox_closed", "warning")),
        (HTTP | {"network.proxy.failover_direct": "false"}, ("firefox_closed", "warning")),
        (SOCKS | {TRR: 0}, ("firefox_unasked", "warning")),
        (SOCKS | {TRR: "5"}, ("firefox_unasked", "warning")),
        (HTTP | {CONNECTIVITY: True}, ("firefox_unasked", "warning")),
        (HTTP | {CONNECTIVITY: 0}, ("firefox_unasked", "warning")),
        (HTTP | {CONNECTIVITY: True, TRR: 3, "http_port": 9050, "ssl_port": 9050}, ("firefox_other", "ok")),
        (SOCKS | {WEBRTC: False}, ("firefox_webrtc", "problem")),
        (HTTP | {WEBRTC: 1}, ("firefox_webrtc", "problem")),
        (HTTP | {WEBRTC: False, "media.peerconnection.enabled": False}, ("firefox", "ok")),
        (SOCKS | {RECORD: True}, ("firefox_https_record", "problem")),
        (HTTP | {RECORD: "false"}, ("firefox_https_record", "problem")),
        (CLOSED | {"type": 2, "autoconfig_url": "http://127.0.0.1:1080/x/proxy.pac"}, ("firefox_pac", "warning")),
        (CLOSED | {"type": 2, "autoconfig_url": "https://corp.example/x.pac"}, ("firefox_pac", "warning")),
        (CLOSED | {"type": 2, "autoconfig_url": "http://[::1"}, ("firefox_pac", "warning")),
        (CLOSED | {"type": 2}, ("firefox_pac", "warning")),
        (CLOSED | {"type": 2, "autoconfig_url": pac_data_url(SCRIPT)}, ("firefox", "ok")),
        (OPEN | {"type": 2, "autoconfig_url": pac_data_url(SCRIPT)}, ("firefox_closed", "warning")),
        (ASKING | {"type": 2, "autoconfig_url": pac_data_url(SCRIPT)}, ("firefox_unasked", "warning")),
        ({"type": 2, "autoconfig_url": pac_data_url(SCRIPT.replace("1080", "9050"))}, ("firefox_other", "ok")),
        ({"type": 2, "autoconfig_url": "data:,ä"}, ("firefox_other", "ok")),
    ],
)
def test_a_profile(tmp_path: Path, prefs: dict[str, Any], expected: tuple[str, str]) -> None:
    assert seen(judged(tmp_path, prefs)) == [expected]


@pytest.mark.parametrize(
    ("version", "prefs", "level"),
    [
        ("153.0", {}, "ok"),
        ("128.0", {}, "ok"),
        ("127.0.2", {}, "problem"),
        ("115.9.0", {"socks_remote_dns": True}, "ok"),
        ("115.9.0", {"socks5_remote_dns": True}, "problem"),
        ("153.0", {"socks5_remote_dns": False}, "problem"),
        ("153.0", {"socks5_remote_dns": False, "socks_remote_dns": True}, "problem"),
        ("", {}, "warning"),
        ("", {"socks_remote_dns": True}, "ok"),
        ("", {"socks5_remote_dns": False}, "problem"),
        ("", {"socks5_remote_dns": False, "socks_remote_dns": True}, "warning"),
    ],
)
def test_who_looks_names_up_depends_on_the_version(
    tmp_path: Path, version: str, prefs: dict[str, Any], level: str
) -> None:
    expected = "firefox" if level == "ok" else "firefox_dns"
    assert seen(judged(tmp_path, SOCKS | prefs, version)) == [(expected, level)]
    assert seen(judged(tmp_path, HTTP | prefs, version)) == [("firefox", "ok")], "an HTTP proxy is given the name"


@pytest.mark.parametrize(("version", "level"), [("153.0", "problem"), ("", "problem"), ("152.0", "warning")])
def test_the_https_record_was_seen_in_one_version(tmp_path: Path, version: str, level: str) -> None:
    assert seen(judged(tmp_path, HTTP | {RECORD: True}, version)) == [("firefox_https_record", level)]


def test_a_profile_with_the_button(tmp_path: Path) -> None:
    """It has no proxy of its own, and files do not tell whether the button is on."""
    addons = {"other@x.example": "1454a4c1-f322-4770-ab08-b25c972877bb", "macro-vpn@macro-vpn.invalid": HOST}
    profile_at(tmp_path, ASKING | {"extensions.webextensions.uuids": json.dumps(addons)}, version="153.0")
    (profile,) = profiles(tmp_path)
    assert profile.addons == set(addons.values())
    assert seen(judge(profile, OWN, system_is_ours=False)) == [("firefox_system", "warning")]
    found = judge(profile, OWN, system_is_ours=False, has_button=True)
    assert seen(found) == [("firefox_button", "ok"), ("firefox_unasked", "warning")]


@pytest.mark.parametrize("text", ["", "no JSON", "[]", '{"a": 1}', "[" * 100_000])
def test_a_list_of_addons_that_is_none(tmp_path: Path, text: str) -> None:
    profile_at(tmp_path, {"extensions.webextensions.uuids": text})
    (profile,) = profiles(tmp_path)
    assert profile.addons == frozenset()


def test_it_says_who_learns_the_names(tmp_path: Path) -> None:
    prefs = SOCKS | {"socks5_remote_dns": False}
    assert "at this machine's name server" in judged(tmp_path, prefs)[0].sentence
    path = profile_at(tmp_path, prefs, version="153.0")
    (path / "user.js").write_text('user_pref("network.trr.mode", 3);\n')
    (profile,) = profiles(tmp_path)
    assert "at a DNS server of its own" in judge(profile, OWN, system_is_ours=False)[0].sentence


def test_the_settings_that_close_it_are_named(tmp_path: Path) -> None:
    (both,) = judged(tmp_path, OPEN | {"type": 5}, system=True)
    assert both.remedy == (
        "In about:config, set network.proxy.allow_bypass to false and network.proxy.failover_direct to false."
    )
    (one,) = judged(tmp_path, OPEN | {"allow_bypass": False}, system=True)
    assert one.remedy == "In about:config, set network.proxy.failover_direct to false."
    assert seen(judged(tmp_path, CLOSED, system=True)) == [("firefox", "ok")]


def test_up_names_them_all() -> None:
    text = browser_lines("127.0.0.1:1080", "")
    assert all(name in text for name in firefox.CLOSED | firefox.UNTOLD | firefox.SHUT)


def test_the_settings_that_keep_it_from_looking_names_up_are_named(tmp_path: Path) -> None:
    (both,) = judged(tmp_path, ASKING, system=True)
    assert both.remedy == (
        "In about:config, set network.connectivity-service.enabled to false and network.trr.mode to 5."
    )
    (one,) = judged(tmp_path, ASKING | {CONNECTIVITY: False}, system=True)
    assert one.remedy == "In about:config, set network.trr.mode to 5."
    (other,) = judged(tmp_path, ASKING | {TRR: 5}, system=True)
    assert other.remedy == "In about:config, set network.connectivity-service.enabled to false."
    path = profile_at(tmp_path, ASKING)
    (path / "user.js").write_text(f'user_pref("{TRR}", 5);\nuser_pref("{CONNECTIVITY}", false);\n')
    (profile,) = profiles(tmp_path)
    assert seen(judge(profile, OWN, system_is_ours=True)) == [("firefox", "ok")]


def test_it_says_whose_script_it_is(tmp_path: Path) -> None:
    ours = judged(tmp_path, CLOSED | {"type": 2, "autoconfig_url": "http://localhost:1080/x/proxy.pac"})
    other = judged(tmp_path, CLOSED | {"type": 2, "autoconfig_url": "http://corp.example:1080/secret"})
    assert "this node's PAC by its address" in ours[0].sentence
    assert "which is not this node's" in other[0].sentence
    assert "secret" not in str(other)


def test_what_cannot_be_read_is_said(tmp_path: Path) -> None:
    path = profile_at(tmp_path, SOCKS, version="153.0")
    (path / "user.js").write_text("user_pref('network.proxy.type', 0);")
    (profile,) = profiles(tmp_path)
    assert seen(judge(profile, OWN, system_is_ours=False)) == [("firefox_unclear", "warning")]


@pytest.mark.parametrize(
    ("own", "host", "port", "expected"),
    [
        (OwnProxy("0.0.0.0", 1080), "127.0.0.1", 1080, True),
        (OwnProxy("0.0.0.0", 1080), "192.0.2.1", 1080, False),
        (OwnProxy("::", 1080), "[::1]", 1080, True),
        (OwnProxy("192.0.2.1", 1080), "localhost", 1080, False),
        (OwnProxy("192.0.2.1", 1080), "192.0.2.1", 1080, True),
        (OwnProxy("127.0.0.1", 0), "127.0.0.1", 0, False),
        (OwnProxy("127.0.0.1", 1080), "LOCALHOST", 1080, True),
        (OwnProxy("127.0.0.1", 1080), "127.0.0.1", None, False),
    ],
)
def test_which_address_is_this_nodes(own: OwnProxy, host: str, port: int | None, expected: bool) -> None:
    assert own.is_at(host, port) is expected


def test_a_proxy_that_listens_everywhere_is_reached_on_loopback() -> None:
    assert OwnProxy("0.0.0.0", 1).reachable == ("127.0.0.1", 1)
    assert OwnProxy("::", 1).reachable == ("::1", 1)
    assert OwnProxy("127.0.0.9", 1).reachable == ("127.0.0.9", 1)
