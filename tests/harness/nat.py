"""Homes behind routers: network namespaces with real NATs between them and one public segment.

Public machines and routers stand on one wire, each with an address in a /16 of its own, and every one of them takes
the whole Internet to be on that wire. A router translates with nftables. Of what comes from outside it lets in only
answers: where a router let everything in, its own kernel would take a stranger's packet for the beginning of a
connection, and give the next one of the home another port.
"""

from __future__ import annotations

import itertools
import os
from enum import StrEnum
from typing import Final

from tests.harness.namespaces import Built, add, delete, enter, ip, put_up, run

PUBLIC: Final = ("198.18.0.0/15", "198.51.100.0/24", "203.0.113.0/24", "192.0.2.0/24", "11.0.0.0/8")
"""Where this module's public addresses are from; all but the last are set apart for tests and documents."""

_HOSTS: Final = (
    "198.18.0.1",
    "198.19.0.1",
    "198.51.100.1",
    "203.0.113.1",
    "192.0.2.1",
    *(f"11.{network}.0.1" for network in range(16)),
)
"""Public addresses, each in a /16 of its own. Nobody outside the namespaces is ever asked."""

_INSIDE: Final = "192.168.1"
_WIRE: Final = "wire"
_numbers = itertools.count()


class Mapping(StrEnum):
    """How a router chooses the public port of a home's socket."""

    SAME = "masquerade"
    """The socket's own port, towards everybody."""

    RANDOM = "masquerade fully-random"
    """Another port towards each."""


class Machine:
    """A namespace in which programs run.

    Attributes:
        name: of the namespace.
        address: its own IPv4 address, which at home nobody outside knows.
        seen_as: the address from which others see it.
    """

    def __init__(self, name: str, address: str, seen_as: str) -> None:
        self.name = name
        self.address = address
        self.seen_as = seen_as

    def inside(self, *command: str) -> list[str]:
        """The words of a command that runs there."""
        return [*enter(self.name), *command]


class Town(Built):
    """The wire, and what is built on it. Leaving the context removes all of it; who runs programs ends them before."""

    def __init__(self) -> None:
        self.name = f"nt{os.getpid() % 100000}n{next(_numbers)}"
        self._hosts = iter(_HOSTS)
        self._places = itertools.count()
        self._made: list[str] = []

    def _build(self) -> None:
        self._namespace(self.name)
        ip("-n", self.name, "link", "add", _WIRE, "type", "bridge")
        ip("-n", self.name, "link", "set", _WIRE, "up")

    def _tear_down(self) -> None:
        for name in reversed(self._made):
            delete(name)

    def public(self) -> Machine:
        """Build a machine on the wire."""
        name, address = self._on_the_wire()
        return Machine(name, address, address)

    def home(self, mapping: Mapping) -> Machine:
        """Build a router on the wire, and a machine behind it."""
        router, outside = self._on_the_wire()
        name = f"{router}in"
        self._namespace(name)
        ip("link", "add", "lan", "netns", router, "type", "veth", "peer", "name", "up0", "netns", name)
        put_up(router, "lan", f"{_INSIDE}.1/24")
        put_up(name, "up0", f"{_INSIDE}.2/24")
        ip("-n", name, "route", "add", "default", "via", f"{_INSIDE}.1")
        run(*enter(router), "sysctl", "-q", "-w", "net.ipv4.ip_forward=1")
        run(*enter(router), "nft", "-f", "-", text=_rules(mapping))
        return Machine(name, f"{_INSIDE}.2", outside)

    def _on_the_wire(self) -> tuple[str, str]:
        """Make a namespace with an interface `up0` on the wire, and return its name and address."""
        place, address = next(self._places), next(self._hosts)
        name, end = f"{self.name}p{place}", f"p{place}"
        self._namespace(name)
        ip("link", "add", "up0", "netns", name, "type", "veth", "peer", "name", end, "netns", self.name)
        ip("-n", self.name, "link", "set", end, "master", _WIRE, "up")
        put_up(name, "up0", f"{address}/32")
        ip("-n", name, "route", "add", "default", "dev", "up0")
        return name, address

    def _namespace(self, name: str) -> None:
        self._made.append(name)
        add(name)


def _rules(mapping: Mapping) -> str:
    return f"""
        table ip home {{
            chain translate {{
                type nat hook postrouting priority srcnat;
                oifname "up0" {mapping.value}
            }}
            chain in {{
                type filter hook input priority filter;
                iifname "up0" ct state != {{ established, related }} drop
            }}
            chain through {{
                type filter hook forward priority filter;
                iifname "up0" ct state != {{ established, related }} drop
            }}
        }}
    """
