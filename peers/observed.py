"""Where this node is seen: what neighbours say, and what is believed of it.

Whoever was dialled by this node has a say, so that nobody gets one by coming. A network (the /16 of IPv4, the /32 of
IPv6) has one voice, however many neighbours are in it. An address is believed when enough networks name it, and more
than half of those that name any of its kind. What is believed is still to be tried by a dial-back.
"""

from __future__ import annotations

from collections import defaultdict
from enum import StrEnum
from typing import TYPE_CHECKING, Final

from peers.addresses import network_of

if TYPE_CHECKING:
    from collections.abc import Hashable

    from peers.addresses import Address

NETWORKS_NEEDED: Final = 3
"""Networks that have to agree where anybody may be a neighbour."""

MAX_NEIGHBOURS: Final = 256
"""Neighbours whose word is kept; beyond, the oldest goes."""


class Ports(StrEnum):
    """Which port the neighbours see, as far as they agree on the host."""

    UNKNOWN = "unknown"
    SAME = "same"
    """At least two networks see the same."""

    VARYING = "varying"
    """At least two networks told, and each sees another."""


class Observed[Neighbour: Hashable]:
    """The words of the neighbours that are there.

    Args:
        needed: networks that have to agree; 1 where all neighbours were chosen by people.
    """

    def __init__(self, needed: int = NETWORKS_NEEDED) -> None:
        self._needed = needed
        self._said: dict[Neighbour, tuple[bytes, Address]] = {}
        self._hosts: frozenset[str] | None = None

    def tell(self, neighbour: Neighbour, host: str, address: Address) -> None:
        """Take a neighbour's word, in place of what it said before.

        Args:
            neighbour: who speaks.
            host: the IP literal at which this node dialled it.
            address: where it sees this node.

        Raises:
            DecodeError: `host` is no IP literal.
        """
        network = network_of(host)
        self._hosts = None
        self._said.pop(neighbour, None)
        self._said[neighbour] = network, address
        if len(self._said) > MAX_NEIGHBOURS:
            del self._said[next(iter(self._said))]

    def forget(self, neighbour: Neighbour) -> None:
        """Let go of a neighbour that is gone."""
        self._hosts = None
        self._said.pop(neighbour, None)

    @property
    def networks(self) -> set[bytes]:
        """The networks that have said something."""
        return {network for network, _ in self._said.values()}

    def _voices(self, version: int) -> dict[Address, set[bytes]]:
        """The networks that name each address of IPv4 or IPv6."""
        voices: dict[Address, set[bytes]] = defaultdict(set)
        for network, address in self._said.values():
            if (":" in address[0]) == (version == 6):
                voices[address].add(network)
        return voices

    @property
    def believed(self) -> Address | None:
        """The address that is believed; IPv4 where there are both."""
        return self._believed(4) or self._believed(6)

    def _believed(self, version: int) -> Address | None:
        voices = self._voices(version)
        if voices:
            address, agreeing = max(voices.items(), key=lambda item: len(item[1]))
            if len(agreeing) >= self._needed and 2 * len(agreeing) > len(set().union(*voices.values())):
                return address
        return None

    @property
    def hosts(self) -> frozenset[str]:
        """The hosts that may be this node: of IPv4 and of IPv6 the one that is believed, or else all that are named."""
        if self._hosts is None:
            self._hosts = frozenset().union(*map(self._hosts_of, (4, 6)))
        return self._hosts

    def _hosts_of(self, version: int) -> set[str]:
        believed = self._believed(version)
        return {host for host, _ in self._voices(version)} if believed is None else {believed[0]}

    @property
    def ports(self) -> Ports:
        """What IPv4 neighbours say about the port of the host that most of them see."""
        hosts: dict[str, dict[int, set[bytes]]] = defaultdict(lambda: defaultdict(set))
        for (host, port), networks in self._voices(4).items():
            hosts[host][port] |= networks
        seen = max(hosts.values(), key=lambda ports: len(set().union(*ports.values())), default={})
        most = max((len(networks) for networks in seen.values()), default=0)
        if most >= 2:
            return Ports.SAME
        return Ports.VARYING if len(seen) >= 2 else Ports.UNKNOWN

    def seeing(self, host: str) -> list[Neighbour]:
        """One neighbour of each network that sees this node at a host, whatever the port."""
        found: dict[bytes, Neighbour] = {}
        for neighbour, (network, said) in self._said.items():
            if said[0] == host:
                found.setdefault(network, neighbour)
        return list(found.values())
