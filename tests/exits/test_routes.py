"""Where packets would go: what the kernel says in namespaces with all kinds of routes, and what is made of it."""

from __future__ import annotations

import itertools
import json
import os
import socket
import subprocess
import sys
from ipaddress import IPv6Address, ip_address, ip_network
from typing import TYPE_CHECKING, Final

import pytest

from exits import routes as routes_module
from exits.addresses import AddressFilter, Way
from exits.netlink import encode_route_question
from exits.routes import READ_S, InterfaceRoutes, KernelRoutes, is_of_a_site, system_routes
from tests.harness.demo import ROOT
from tests.harness.namespaces import Built, add, delete, enter, ip, put_up, why_not

if TYPE_CHECKING:
    from collections.abc import Iterator

    from exits.addresses import Address

NOBODY: Final = 65534
DEFAULT_ROUTE: Final = bytes.fromhex("1c000000 18000000 01000000 00000000 02000000 fe030001 00000000")
"""The kernel's answer to the first question: unicast, no bits."""
OUT, INSIDE, NONE = "out", "inside", "none"
_numbers = itertools.count()


class Machine(Built):
    """A machine with a router beside it, public addresses of both kinds, and routes."""

    def __init__(self) -> None:
        self.name = f"rt{os.getpid() % 100000}n{next(_numbers)}"

    def _build(self) -> None:
        add(self.name)
        self.ip("link", "add", "up0", "type", "veth", "peer", "name", "far0")
        self.ip("link", "set", "far0", "up")
        put_up(self.name, "up0", "11.7.0.2/24")
        self.ip("address", "add", "2a07:7::2/64", "dev", "up0", "nodad")

    def _tear_down(self) -> None:
        delete(self.name)

    def ip(self, *arguments: str) -> None:
        ip("-n", self.name, *arguments)

    def default_routes(self) -> None:
        self.ip("route", "add", "default", "via", "11.7.0.1")
        self.ip("route", "add", "default", "via", "2a07:7::1")

    def ways(self, *arguments: str) -> dict[str, str]:
        """Ask from inside; the last arguments are addresses."""
        command = [*enter(self.name), sys.executable, "-m", "tests.harness.ways", *arguments]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=20, check=False)
        assert done.returncode == 0, done.stderr
        found: dict[str, str] = json.loads(done.stdout)
        return found

    def way(self, *arguments: str) -> str:
        (found,) = self.ways(*arguments).values()
        return found


@pytest.fixture
def machine() -> Iterator[Machine]:
    if reason := why_not():
        pytest.skip(reason)
    with Machine() as built:
        yield built


@pytest.mark.parametrize("user", [0, NOBODY])
def test_only_the_default_route_leads_out(machine: Machine, user: int) -> None:
    machine.default_routes()
    machine.ip("route", "add", "11.9.0.0/16", "via", "11.7.0.1")
    machine.ip("route", "add", "11.10.0.0/16", "via", "11.7.0.1", "dev", "up0", "onlink")
    machine.ip("route", "add", "blackhole", "11.11.0.0/16")
    machine.ip("route", "add", "unreachable", "11.12.0.0/16")
    machine.ip("route", "add", "2a07:9::/48", "via", "2a07:7::1")
    expected = {
        "8.8.8.8": OUT,
        "200.1.1.1": OUT,
        "11.7.0.2": INSIDE,  # itself
        "11.7.0.1": INSIDE,  # its router
        "11.7.0.255": INSIDE,  # everybody beside it
        "11.9.0.1": INSIDE,
        "11.10.0.1": INSIDE,
        "11.11.0.1": INSIDE,
        "11.12.0.1": NONE,
        "127.0.0.1": INSIDE,
        "2600::1": OUT,
        "2a07:7::2": INSIDE,
        "2a07:7::1": INSIDE,
        "2a07:9::1": INSIDE,
        "2a07:7:0:8000::1": INSIDE,  # the same site, behind the default route
        "2a07:7:1::1": OUT,  # the next site
        "::1": INSIDE,
        "fe80::1": INSIDE,
    }
    assert machine.ways("--user", str(user), *expected) == expected


def test_without_a_default_route_nothing_leads_out(machine: Machine) -> None:
    assert machine.ways("8.8.8.8", "2600::1", "11.7.0.9") == {"8.8.8.8": NONE, "2600::1": NONE, "11.7.0.9": INSIDE}


def test_halves_of_everything_are_the_default_route(machine: Machine) -> None:
    for network in ("0.0.0.0/1", "128.0.0.0/1"):
        machine.ip("route", "add", network, "via", "11.7.0.1")
    for network in ("::/1", "8000::/1"):
        machine.ip("route", "add", network, "via", "2a07:7::1")
    assert set(machine.ways("8.8.8.8", "200.1.1.1", "2600::1").values()) == {OUT}
    machine.ip("route", "add", "2000::/3", "via", "2a07:7::1")
    machine.ip("route", "add", "0.0.0.0/2", "via", "11.7.0.1")
    assert machine.ways("8.8.8.8", "200.1.1.1", "2600::1") == {"8.8.8.8": INSIDE, "200.1.1.1": OUT, "2600::1": OUT}


def test_a_default_route_to_this_machine_itself_leads_nowhere(machine: Machine) -> None:
    """As where everything is caught by a proxy on the machine."""
    machine.ip("route", "add", "local", "default", "dev", "lo")
    machine.ip("route", "add", "local", "::/0", "dev", "lo")
    assert set(machine.ways("8.8.8.8", "2600::1").values()) == {INSIDE}


def test_other_tables_are_looked_into_as_for_a_connection(machine: Machine) -> None:
    machine.default_routes()
    machine.ip("rule", "add", "to", "12.0.0.0/8", "lookup", "77")
    machine.ip("route", "add", "default", "via", "11.7.0.1", "table", "77")
    machine.ip("route", "add", "12.5.0.0/16", "via", "11.7.0.1", "table", "77")
    assert machine.ways("12.1.0.1", "12.5.0.1") == {"12.1.0.1": OUT, "12.5.0.1": INSIDE}
    machine.ip("rule", "add", "uidrange", f"{NOBODY}-{NOBODY}", "lookup", "78")
    machine.ip("route", "add", "9.9.0.0/16", "via", "11.7.0.1", "table", "78")
    assert machine.way("9.9.9.9") == OUT
    machine.ip("rule", "add", "fwmark", "5", "lookup", "79")  # packets of this program have no mark
    machine.ip("route", "add", "8.8.0.0/16", "via", "11.7.0.1", "table", "79")
    assert machine.way("8.8.8.8") == OUT


def test_a_tables_rule_for_a_source_counts_for_that_source(machine: Machine) -> None:
    machine.default_routes()
    machine.ip("address", "add", "11.7.0.3/24", "dev", "up0")
    machine.ip("rule", "add", "from", "11.7.0.3", "lookup", "80")
    machine.ip("route", "add", "8.8.0.0/16", "via", "11.7.0.1", "table", "80")
    assert machine.way("8.8.8.8") == OUT
    assert machine.way("--source", "11.7.0.3", "8.8.8.8") == INSIDE
    assert machine.way("--source", "11.7.0.3", "2600::1") == OUT


def test_many_own_addresses_are_all_looked_at(machine: Machine) -> None:
    machine.default_routes()
    lines = "\n".join(f"address add 2a08:{number:x}::1/64 dev up0 nodad" for number in range(1, 901))
    subprocess.run(["ip", "-n", machine.name, "-batch", "-"], input=lines, text=True, check=True, timeout=20)
    assert set(machine.ways("2a08:1:0:7::1", "2a08:384:0:7::1", "2a08:200:0:7::1").values()) == {INSIDE}
    assert machine.way("2a08:385::1") == OUT


def test_the_networks_of_interfaces_where_nobody_is_asked(machine: Machine) -> None:
    expected = {
        "8.8.8.8": OUT,
        "11.7.0.1": INSIDE,
        "127.0.0.1": INSIDE,
        "2600::1": OUT,
        "2a07:7::9": INSIDE,
        "2a07:7:0:8000::1": INSIDE,
    }
    assert machine.ways("--interfaces", *expected) == expected


def test_linux_is_asked() -> None:
    assert isinstance(system_routes(), KernelRoutes if sys.platform == "linux" else InterfaceRoutes)
    assert system_routes().way_to(ip_address("127.0.0.1")) is Way.INSIDE


@pytest.mark.parametrize("text", ["8.8.8.8", "2600::1"])
def test_a_kernel_that_does_not_answer_leads_nowhere(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    ours.setblocking(False)
    with ours, theirs:
        monkeypatch.setattr(routes_module, "open_netlink", lambda: ours)
        assert KernelRoutes().way_to(ip_address(text)) is Way.INSIDE
        assert theirs.recv(1000) == encode_route_question(ip_address(text), None, 1)
        assert ours.fileno() == -1  # what comes late is not taken for the next answer


def test_an_answer_that_is_not_the_kernels_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    class Netlink:
        """A socket on which somebody else answers."""

        sender = 4711
        send = close = staticmethod(lambda *data: None)

        def recvmsg(self, size: int) -> tuple[bytes, list[object], int, tuple[int, int]]:
            return DEFAULT_ROUTE[:size], [], 0, (self.sender, 0)

    monkeypatch.setattr(routes_module, "open_netlink", Netlink)
    assert KernelRoutes().way_to(ip_address("8.8.8.8")) is Way.INSIDE
    monkeypatch.setattr(Netlink, "sender", 0)
    assert KernelRoutes().way_to(ip_address("8.8.8.8")) is Way.OUT


def test_without_a_socket_nothing_leads_out_until_there_is_one(monkeypatch: pytest.MonkeyPatch) -> None:
    opened = routes_module.open_netlink

    def refuse() -> socket.socket:
        raise OSError("no more descriptors")

    monkeypatch.setattr(routes_module, "open_netlink", refuse)
    kernel = KernelRoutes()
    assert kernel.way_to(ip_address("8.8.8.8")) is Way.INSIDE
    monkeypatch.setattr(routes_module, "open_netlink", opened)
    assert kernel.way_to(ip_address("127.0.0.1")) is Way.INSIDE
    assert kernel._socket is not None
    kernel.close()


class Interfaces:
    """What stands for the interfaces of a machine."""

    def __init__(self, *found: tuple[str, int]) -> None:
        self.found = list(found)
        self.now = 100.0
        self.reads = 0
        self.broken = False

    def read(self) -> list[tuple[Address, int]]:
        self.reads += 1
        if self.broken:
            raise OSError
        return [(ip_address(text), length) for text, length in self.found]

    def clock(self) -> float:
        return self.now


def test_interfaces_are_read_every_few_seconds_and_fail_closed() -> None:
    machine = Interfaces(("11.7.0.2", 24))
    routes = InterfaceRoutes(machine.read, machine.clock)
    near, far = ip_address("11.7.0.9"), ip_address("11.8.0.9")
    assert (routes.way_to(near), routes.way_to(far)) == (Way.INSIDE, Way.OUT)
    machine.found = [("11.8.0.2", 24)]
    assert (routes.way_to(near), machine.reads) == (Way.INSIDE, 1)
    machine.now += READ_S
    assert (routes.way_to(near), routes.way_to(far), machine.reads) == (Way.OUT, Way.INSIDE, 2)
    machine.broken = True
    machine.now += READ_S
    assert (routes.way_to(near), routes.way_to(far)) == (Way.INSIDE, Way.INSIDE)
    machine.broken = False
    machine.now += READ_S
    assert routes.way_to(near) is Way.OUT


def test_a_site_is_what_is_around_global_addresses() -> None:
    own = [IPv6Address(text) for text in ("::1", "fe80::1", "fd00::2", "2a07:7:1:2::3")]
    assert is_of_a_site(IPv6Address("2a07:7:1:ffff::1"), own)
    assert not is_of_a_site(IPv6Address("2a07:7:2::1"), own)
    assert not is_of_a_site(IPv6Address("fd00:0:0:9::1"), own)


def test_the_filter_needs_a_way_out_of_what_is_dialled() -> None:
    ways = {"8.8.8.8": Way.OUT, "11.7.0.9": Way.INSIDE, "64:ff9b::808:808": Way.OUT, "64:ff9b::b07:9": Way.OUT}
    ways["64:ff9b::909:909"] = Way.OUT
    ways |= {"8.8.4.4": Way.OUT, "64:ff9b::808:404": Way.OUT}
    asked: list[str] = []

    def way_to(address: Address) -> Way:
        asked.append(str(address))
        return ways.get(str(address), Way.NONE)

    guarded = AddressFilter(way_to=way_to, own=lambda: {ip_address("8.8.4.4")})
    verdicts = {
        "8.8.8.8": True,
        "::ffff:8.8.8.8": True,
        "11.7.0.9": False,
        "9.9.9.9": False,  # no route
        "8.8.4.4": False,  # itself
        "64:ff9b::8.8.8.8": True,
        "64:ff9b::9.9.9.9": True,  # no IPv4 here, so only the translator's
        "64:ff9b::11.7.0.9": False,
        "64:ff9b::8.8.4.4": False,
    }
    assert {text: guarded.allows(ip_address(text), 443) for text in verdicts} == verdicts
    assert all(guarded.may_allow(ip_address(text)) for text in verdicts)
    asked.clear()
    assert not guarded.allows(ip_address("10.0.0.1"))
    assert asked == []  # what is refused anyway is no question


def test_what_is_opened_needs_no_way_out() -> None:
    opened = AddressFilter(
        allow=[ip_network("11.7.0.0/24")],
        way_to=lambda address: Way.INSIDE,
        own=lambda: {ip_address("11.7.0.2")},
    )
    assert opened.allows(ip_address("11.7.0.9"))
    assert opened.allows(ip_address("11.7.0.2"))
    assert not opened.allows(ip_address("11.8.0.9"))
