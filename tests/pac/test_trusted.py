"""What a trusted network is known by, and what that is worth."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.errors import ConfigError
from pac.trusted import (
    MAX_NETWORKS,
    Attachment,
    Security,
    Standing,
    TrustedNetwork,
    judge,
    parse_networks,
)

PROFILE = "2815492f-7e56-435e-b2e9-246bd7cdc664"
HOME = Attachment("wlan0", "192.168.1.1", "00:11:22:aa:bb:cc", b"My Wifi", Security.WPA, PROFILE, (3, 1))
OPEN = replace(HOME, security=Security.NONE)
CABLE = Attachment("eth0", "10.0.0.1", "00:11:22:aa:bb:cc")


@pytest.mark.parametrize(
    ("text", "standing_at_home"),
    [
        ("home: ssid=My%20Wifi security=wpa", Standing.TRUSTED),
        (f"home: profile={PROFILE} security=wpa", Standing.TRUSTED),
        (f"home: gateway=192.168.1.1 ssid=My%20Wifi security=wpa profile={PROFILE}", Standing.TRUSTED),
        ("home: ssid=My%20Wifi", Standing.ASKING),
        ("home: gateway=192.168.1.1", Standing.ASKING),
        ("home: mac=00:11:22:AA:BB:CC", Standing.ASKING),
        (f"home: profile={PROFILE}", Standing.ASKING),
        ("home: gateway=192.168.1.1 mac=00:11:22:aa:bb:cc ssid=My%20Wifi", Standing.ASKING),
        ("home: ssid=My%20Wifi security=802.1x", Standing.ELSEWHERE),
        ("home: ssid=my%20wifi security=wpa", Standing.ELSEWHERE),
        ("home: gateway=192.168.1.2 ssid=My%20Wifi security=wpa", Standing.ELSEWHERE),
        ("home: gateway=192.168.1.1 mac=00:11:22:aa:bb:cd", Standing.ELSEWHERE),
    ],
)
def test_what_proves_and_what_asks(text: str, standing_at_home: Standing) -> None:
    network = TrustedNetwork.parse(text)
    assert network.judge(HOME) is standing_at_home
    assert network.judge(OPEN) is not Standing.TRUSTED, "without a proof nothing is trusted by itself"


def test_an_open_network_with_the_name_of_a_protected_one_is_not_even_asked_about() -> None:
    network = TrustedNetwork.parse("home: ssid=My%20Wifi security=wpa")
    assert network.judge(OPEN) is Standing.ELSEWHERE


def test_what_is_not_known_of_a_network_does_not_fit() -> None:
    assert TrustedNetwork.parse("office: gateway=10.0.0.1 mac=00:11:22:aa:bb:cc").judge(CABLE) is Standing.ASKING
    for text in ("x: ssid=My%20Wifi", f"x: profile={PROFILE}", "x: mac=00:11:22:aa:bb:cc gateway=10.0.0.1"):
        assert TrustedNetwork.parse(text).judge(replace(CABLE, mac="")) is Standing.ELSEWHERE


def test_the_surest_of_several_counts_and_then_the_first() -> None:
    asks, also_asks = TrustedNetwork.parse("a: gateway=192.168.1.1"), TrustedNetwork.parse("b: ssid=My%20Wifi")
    sure = TrustedNetwork.parse("c: ssid=My%20Wifi security=wpa")
    assert judge([asks, also_asks, sure], HOME) == (Standing.TRUSTED, "c")
    assert judge([asks, also_asks, sure], OPEN) == (Standing.ASKING, "a")
    assert judge([asks, sure], replace(CABLE, gateway="10.0.0.9")) == (Standing.ELSEWHERE, "")
    assert judge([], HOME) == (Standing.ELSEWHERE, "")


def test_a_network_is_described_by_its_best_signs() -> None:
    assert str(TrustedNetwork.of("home", HOME)) == f"home: ssid=My%20Wifi security=wpa profile={PROFILE}"
    assert str(TrustedNetwork.of("home", OPEN)) == "home: gateway=192.168.1.1 mac=00:11:22:aa:bb:cc ssid=My%20Wifi"
    assert str(TrustedNetwork.of("work", CABLE)) == "work: gateway=10.0.0.1 mac=00:11:22:aa:bb:cc"


def test_a_stay_ends_with_any_change() -> None:
    assert HOME.is_same_stay(replace(HOME))
    assert not HOME.is_same_stay(None)
    for changed in (
        replace(HOME, interface="wlan1"),
        replace(HOME, gateway="192.168.1.2"),
        replace(HOME, ssid=b""),
        replace(HOME, profile=""),
        replace(HOME, period=(3, 2)),
    ):
        assert not HOME.is_same_stay(changed)
        assert not changed.is_same_stay(HOME)
    assert not HOME.is_same_stay(OPEN)
    assert not OPEN.is_same_stay(HOME)
    assert HOME.is_same_stay(replace(HOME, mac="")), "it has proved itself"
    assert not OPEN.is_same_stay(replace(OPEN, mac=""))


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "write for example"),
        ("home", "write for example"),
        (": gateway=10.0.0.1", "a network's name has"),
        ("ho\nme: gateway=10.0.0.1", "a network's name has"),
        (f"{'x' * 32}: gateway=10.0.0.1", "a network's name has"),
        ("home: gateway=10.0.0.1 " + " " * 300, "write for example"),
        ("home:", "at least one of"),
        ("home: gateway", "SIGN=VALUE"),
        ("home: gateway=", "SIGN=VALUE"),
        ("home: password=x", "SIGN=VALUE"),
        ("home: gateway=10.0.0.1 gateway=10.0.0.2", "SIGN=VALUE"),
        ("home: gateway=10.0.0.1/24", "gateway is"),
        ("home: gateway=router", "gateway is"),
        ("home: mac=00-11-22-aa-bb-cc", "mac is"),
        ("home: ssid=a%2", "ssid has"),
        ("home: ssid=" + "x" * 33, "ssid has"),
        ("home: ssid=My Wifi", "SIGN=VALUE"),
        ("home: ssid=x security=wep", "security is"),
        ("home: ssid=x security=none", "security is"),
        ("home: gateway=10.0.0.1 security=wpa", "security proves nothing alone"),
        ("home: profile=1", "profile is"),
    ],
)
def test_a_wrong_text_is_refused_with_the_reason(text: str, problem: str) -> None:
    with pytest.raises(ConfigError, match=f"here: .*{re.escape(problem)}"):
        TrustedNetwork.parse(text, "here")


def test_a_list_has_different_names_and_an_end() -> None:
    with pytest.raises(ConfigError, match="same name"):
        parse_networks(["home: gateway=10.0.0.1", "home: gateway=10.0.0.2"])
    texts = [f"n{number}: gateway=10.0.0.1" for number in range(MAX_NETWORKS)]
    assert len(parse_networks(texts)) == MAX_NETWORKS
    with pytest.raises(ConfigError, match="at most"):
        parse_networks([*texts, "more: gateway=10.0.0.1"])


@given(
    st.binary(max_size=32),
    st.ip_addresses().map(str),
    st.one_of(st.just(""), st.binary(min_size=6, max_size=6).map(lambda raw: raw.hex(":"))),
    st.sampled_from(Security),
    st.one_of(st.just(""), st.uuids().map(str)),
)
def test_every_network_can_be_described_and_is_known_again(
    ssid: bytes, gateway: str, mac: str, security: Security, profile: str
) -> None:
    if not ssid and not profile:
        security = Security.NONE
    there = Attachment("wlan0", gateway, mac, ssid, security, profile)
    network = TrustedNetwork.of("home", there)
    assert TrustedNetwork.parse(str(network)) == network
    assert network.judge(there) is (Standing.ASKING if security is Security.NONE else Standing.TRUSTED)


@given(st.text(max_size=60))
def test_any_text_is_read_or_refused(text: str) -> None:
    for candidate in (text, f"home: {text}", f"home: ssid={text}", f"{text}: gateway=10.0.0.1"):
        try:
            network = TrustedNetwork.parse(candidate)
        except ConfigError:
            continue
        assert TrustedNetwork.parse(str(network)) == network
