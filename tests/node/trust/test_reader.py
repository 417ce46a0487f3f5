"""One network out of two answers: the kernel's, and that of who manages the connection."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_address
from typing import TYPE_CHECKING

import pytest

from node.trust import kernel
from node.trust.kernel import WayOut
from node.trust.managers import NOTHING, Joined, Managers
from node.trust.reader import LinuxReader, NoReader, look, read_once
from node.trust.route_messages import Link
from pac.trusted import Attachment, Security

if TYPE_CHECKING:
    from collections.abc import Callable

GATEWAY = ip_address("192.168.1.1")
WAY = WayOut(Link("wlan0", 5, is_up=True), GATEWAY, "00:11:22:aa:bb:cc", (GATEWAY, ip_address("fe80::1")), 3)
WIFI = Joined(b"home", Security.WPA, "some uuid", ("/active/7",))
HOME = Attachment(
    "wlan0",
    "192.168.1.1",
    "00:11:22:aa:bb:cc",
    b"home",
    Security.WPA,
    "some uuid",
    (3, 5, "192.168.1.1", "fe80::1", "/active/7"),
)


class Machine:
    """What the kernel and the manager say."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.way: WayOut | None = WAY
        self.joined = WIFI
        self.asked: list[str] = []
        self.meanwhile: Callable[[], None] = lambda: None
        monkeypatch.setattr(kernel, "way_out", lambda: self.way)
        monkeypatch.setattr(Managers, "joined", self._joined)

    async def _joined(self, device: str) -> Joined:
        self.asked.append(device)
        self.meanwhile()
        return self.joined

    async def read(self) -> Attachment | None:
        return await LinuxReader(Managers()).read()

    def go_on(self, way: WayOut | None) -> None:
        self.way = way


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Machine:
    return Machine(monkeypatch)


async def test_both_answers_together(machine: Machine) -> None:
    assert await machine.read() == HOME
    assert machine.asked == ["wlan0"]
    machine.joined = NOTHING
    cable = replace(HOME, ssid=b"", security=Security.NONE, profile="", period=(3, 5, "192.168.1.1", "fe80::1"))
    assert await machine.read() == cable


async def test_a_signal_that_was_away_another_router_and_another_device_are_another_stay(machine: Machine) -> None:
    for way in (
        WAY._replace(link=Link("wlan0", 6, is_up=True)),
        WAY._replace(gateways=(GATEWAY,)),
        WAY._replace(gateways=(GATEWAY, ip_address("fe80::2"))),
        WAY._replace(number=4),
    ):
        machine.way = way
        found = await machine.read()
        assert found is not None
        assert not found.is_same_stay(HOME)


async def test_without_a_way_out_nobody_is_asked(machine: Machine) -> None:
    machine.way = None
    assert await machine.read() is None
    assert machine.asked == []


@pytest.mark.parametrize("then", [None, WAY._replace(number=4), WAY._replace(mac="")])
async def test_answers_about_two_networks_are_none(machine: Machine, then: WayOut | None) -> None:
    machine.meanwhile = lambda: machine.go_on(then)
    assert await machine.read() is None


async def test_whatever_goes_wrong_reads_as_no_network(machine: Machine) -> None:
    def break_down() -> None:
        raise OSError("no bus")

    machine.meanwhile = break_down
    assert await look(LinuxReader(Managers())) is None
    assert await read_once() is None
    machine.meanwhile = lambda: None
    assert await read_once() == HOME


async def test_a_system_that_tells_nothing() -> None:
    assert await NoReader().read() is None
