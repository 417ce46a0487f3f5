"""What NetworkManager and iwd say over a real bus, and what is made of it."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

import pytest
from dbus_fast import Variant

from core.errors import DecodeError
from node.trust.managers import NOTHING, Joined, Managers
from pac.trusted import Security
from tests.harness.manager import IWD, NM, PROFILE, SSID, Bus, cable, iwd, manager, network_manager, wifi

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.harness.manager import Answers

DEVICE = "wlan0"
AUTHORITY = {"ca_cert": b"file:///etc/office.pem\0"}
SERVER = AUTHORITY | {"domain_suffix_match": "radius.office.example"}


@pytest.fixture
def bus(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Bus]:
    if shutil.which("dbus-daemon") is None:
        pytest.skip("not installed: dbus-daemon")
    with Bus(tmp_path / "bus") as running:
        monkeypatch.setenv("DBUS_SYSTEM_BUS_ADDRESS", running.address)
        yield running


async def ask(bus: Bus, name: str, answers: Answers, device: str = DEVICE) -> Joined:
    managers = Managers()
    try:
        async with manager(bus.address, name, answers):
            return await managers.joined(device)
    finally:
        managers.close()


@pytest.mark.parametrize(
    ("profile", "security"),
    [
        (wifi("wpa-psk"), Security.WPA),
        (wifi("sae"), Security.WPA),
        (wifi(""), Security.NONE),
        (wifi("none"), Security.NONE),  # WEP
        (wifi("ieee8021x"), Security.NONE),  # WEP with changing keys
        (wifi("owe"), Security.NONE),  # hidden from others, and anybody's
        (wifi("something-new"), Security.NONE),
        (wifi("wpa-eap", **SERVER), Security.ENTERPRISE),
        (wifi("wpa-eap-suite-b-192", **SERVER), Security.ENTERPRISE),
        (wifi("wpa-eap", system_ca_certs=True, altsubject_matches=["DNS:radius.example"]), Security.ENTERPRISE),
        (wifi("wpa-eap"), Security.NONE),
        (wifi("wpa-eap", eap=["peap"]), Security.NONE),
        (wifi("wpa-eap", **AUTHORITY), Security.NONE),
        (wifi("wpa-eap", system_ca_certs=True), Security.NONE),
        (wifi("wpa-eap", domain_suffix_match="radius.office.example"), Security.NONE),
        (wifi("", **SERVER), Security.NONE),
    ],
)
async def test_what_a_profile_of_a_wifi_proves(
    bus: Bus, profile: dict[str, dict[str, Variant]], security: Security
) -> None:
    joined = await ask(bus, NM, network_manager(DEVICE, profile))
    assert (joined.ssid, joined.security, joined.profile) == (SSID, security, PROFILE)


@pytest.mark.parametrize(
    ("profile", "security"),
    [
        (cable(), Security.NONE),
        (cable(**SERVER), Security.ENTERPRISE),
        (cable(**SERVER, optional=True), Security.NONE),
        (cable(**AUTHORITY), Security.NONE),
    ],
)
async def test_what_a_profile_of_a_cable_proves(
    bus: Bus, profile: dict[str, dict[str, Variant]], security: Security
) -> None:
    joined = await ask(bus, NM, network_manager(DEVICE, profile))
    assert (joined.ssid, joined.security, joined.profile) == (b"", security, PROFILE)


async def test_another_access_point_is_another_stay_only_where_nothing_was_proved(bus: Bus) -> None:
    for key_mgmt, differs in (("wpa-psk", False), ("", True)):
        here, there = [
            await ask(bus, NM, network_manager(DEVICE, wifi(key_mgmt), point=f"{end}0:00:00:00:00:00"))
            for end in ("1", "2")
        ]
        assert (here != there) is differs
        anew = await ask(bus, NM, network_manager(DEVICE, wifi(key_mgmt), active=8, point="10:00:00:00:00:00"))
        assert anew != here


async def test_a_device_that_nobody_manages_proves_nothing(bus: Bus) -> None:
    assert await ask(bus, NM, network_manager("eth7", wifi("wpa-psk"))) == NOTHING
    unmanaged: Answers = network_manager(DEVICE, wifi("wpa-psk"))
    place = next(key for key in unmanaged if key[1].endswith("ActiveConnection"))
    unmanaged[place] = ("v", Variant("o", "/"))
    assert await ask(bus, NM, unmanaged) == NOTHING


async def test_nobody_on_the_bus_and_no_bus(bus: Bus, monkeypatch: pytest.MonkeyPatch) -> None:
    managers = Managers()
    assert await managers.joined(DEVICE) == NOTHING
    managers.close()
    monkeypatch.setenv("DBUS_SYSTEM_BUS_ADDRESS", "unix:path=/nowhere")
    assert await Managers().joined(DEVICE) == NOTHING


async def test_a_connection_that_is_still_made_proves_nothing(bus: Bus) -> None:
    answers = network_manager(DEVICE, wifi("wpa-psk"))
    for place, (signature, facts) in answers.items():
        if place[1].startswith("GetAll") and isinstance(facts, dict):
            answers[place] = (signature, facts | {"State": Variant("u", 1)})
    assert await ask(bus, NM, answers) == NOTHING


async def test_a_service_that_refuses_or_has_gone_is_no_answer(bus: Bus) -> None:
    answers = network_manager(DEVICE, wifi("wpa-psk"))
    for missing in list(answers):
        if missing[1].startswith("GetDevice"):
            continue
        with pytest.raises(DecodeError):
            await ask(bus, NM, {place: found for place, found in answers.items() if place != missing})


async def test_the_bus_may_come_back(bus: Bus) -> None:
    managers = Managers()
    answers = network_manager(DEVICE, wifi("sae"))
    async with manager(bus.address, NM, answers):
        first = await managers.joined(DEVICE)
    assert await managers.joined(DEVICE) == NOTHING
    async with manager(bus.address, NM, answers):
        assert await managers.joined(DEVICE) == first
    managers.close()


@pytest.mark.parametrize(
    ("kind", "security"),
    [("psk", Security.WPA), ("open", Security.NONE), ("wep", Security.NONE), ("8021x", Security.NONE)],
)
async def test_iwd(bus: Bus, kind: str, security: Security) -> None:
    joined = await ask(bus, IWD, iwd(DEVICE, kind))
    assert (joined.ssid, joined.security, joined.profile) == (SSID, security, "")
    assert await ask(bus, IWD, iwd("wlan9", kind)) == NOTHING
    assert await ask(bus, IWD, iwd(DEVICE, kind, "roaming")) == NOTHING
