"""What the Linux kernel says of the way out, in a namespace with a router beside it."""

from __future__ import annotations

import asyncio
import itertools
import json
import os
from ipaddress import ip_address
from typing import TYPE_CHECKING

import pytest

from node.trust.kernel import KernelChanges, WayOut, way_out
from tests.harness.namespaces import Built, add, delete, inside, ip, put_up, run, why_not
from tests.harness.waiting import until

if TYPE_CHECKING:
    from collections.abc import Iterator

MAC = "02:00:00:00:00:07"
GATEWAY = ip_address("11.7.0.1")
_numbers = itertools.count()


class Machine(Built):
    """A machine with a device and a router behind it, of which it knows nothing yet."""

    def __init__(self) -> None:
        self.name = f"tk{os.getpid() % 100000}n{next(_numbers)}"

    def _build(self) -> None:
        add(self.name)
        self.ip("link", "add", "up0", "type", "veth", "peer", "name", "far0")
        for device in ("up0", "far0"):
            self.ip("link", "set", device, "addrgenmode", "none")  # the kernel changes nothing by itself
        self.ip("link", "set", "far0", "up", "address", MAC)
        put_up(self.name, "up0", "11.7.0.2/24")
        asyncio.run(until(self._is_up))

    def _is_up(self) -> bool:
        """Whether the kernel has told, a moment later, of all that came of the devices' signals."""
        states = json.loads(run("ip", "-j", "-n", self.name, "link", "show", "type", "veth"))
        return all(device["operstate"] == "UP" for device in states)

    def _tear_down(self) -> None:
        delete(self.name)

    def ip(self, *arguments: str) -> None:
        ip("-n", self.name, *arguments)

    def way(self) -> WayOut | None:
        return inside(self.name, way_out)


@pytest.fixture
def machine() -> Iterator[Machine]:
    if reason := why_not():
        pytest.skip(reason)
    with Machine() as built:
        yield built


def test_the_router_and_its_hardware(machine: Machine) -> None:
    assert machine.way() is None
    machine.ip("route", "add", "default", "via", "11.7.0.1")
    found = machine.way()
    assert found is not None
    assert (found.link.name, found.gateway, found.mac, found.gateways) == ("up0", GATEWAY, "", (GATEWAY,))
    machine.ip("neigh", "replace", "11.7.0.1", "dev", "up0", "lladdr", MAC)
    assert machine.way() == found._replace(mac=MAC)


def test_a_signal_that_was_away_shows(machine: Machine) -> None:
    machine.ip("route", "add", "default", "via", "11.7.0.1")
    before = machine.way()
    machine.ip("link", "set", "far0", "down")
    assert machine.way() is None
    machine.ip("link", "set", "far0", "up")
    after = machine.way()
    assert before is not None
    assert after is not None
    assert after.link.carrier_changes > before.link.carrier_changes
    assert after.gateway == before.gateway


def test_two_families_by_one_device_and_by_two(machine: Machine) -> None:
    machine.ip("route", "add", "default", "via", "11.7.0.1")
    machine.ip("address", "add", "2a07:7::2/64", "dev", "up0", "nodad")
    machine.ip("route", "add", "default", "via", "fe80::1", "dev", "up0")
    found = machine.way()
    assert found is not None
    assert found.gateways == (GATEWAY, ip_address("fe80::1"))
    machine.ip("link", "add", "up1", "type", "veth", "peer", "name", "far1")
    machine.ip("link", "set", "far1", "up")
    put_up(machine.name, "up1", "11.8.0.2/24")
    machine.ip("route", "replace", "default", "via", "11.8.0.1", "dev", "up1")
    assert machine.way() is None


def test_ways_without_a_router_are_none(machine: Machine) -> None:
    machine.ip("route", "add", "default", "dev", "up0")
    assert machine.way() is None
    machine.ip("route", "replace", "blackhole", "default", "metric", "1")
    assert machine.way() is None


def test_the_half_routes_of_a_vpn_count(machine: Machine) -> None:
    machine.ip("route", "add", "default", "via", "11.7.0.1")
    machine.ip("link", "add", "tun7", "type", "bridge")
    machine.ip("link", "set", "tun7", "up")
    machine.ip("route", "add", "128.0.0.0/1", "dev", "tun7")
    assert machine.way() is None


@pytest.mark.parametrize(
    "change",
    [
        ("route", "add", "11.9.0.0/16", "via", "11.7.0.1"),
        ("address", "add", "11.7.0.3/24", "dev", "up0"),
        ("address", "add", "2a07:7::3/64", "dev", "up0"),
        ("-6", "route", "add", "2a07:9::/64", "dev", "up0"),
        ("link", "set", "far0", "down"),
        ("link", "add", "up9", "type", "bridge"),
    ],
)
def test_there_is_word_of_every_change(machine: Machine, change: tuple[str, ...]) -> None:
    async def hear() -> int:
        heard: list[None] = []
        changes = KernelChanges(lambda: heard.append(None))
        await asyncio.to_thread(machine.ip, *change)
        await until(lambda: heard)
        changes.close()
        count = len(heard)
        await asyncio.to_thread(machine.ip, "link", "set", "far0", "address", "02:00:00:00:00:08")
        return len(heard) - count

    assert inside(machine.name, lambda: asyncio.run(hear())) == 0, "nothing after the end"
