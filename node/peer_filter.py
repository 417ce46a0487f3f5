"""Which addresses peers may be dialled at."""

from __future__ import annotations

import ipaddress
from functools import lru_cache
from typing import TYPE_CHECKING, Final

from exits.addresses import AddressFilter
from exits.routes import system_routes

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable

    from exits.addresses import Address
    from exits.routes import Routes
    from peers.networks import Network

HOME_NETWORKS: Final = ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "fc00::/7")
"""In a private network, peers may also be dialled here, and at public addresses inside: its members were chosen, and
often stand in one house."""


def peer_filter(
    allow: Iterable[str], network: Network, routes: Routes | None, own: Callable[[], Collection[Address]]
) -> AddressFilter:
    """Make the filter of addresses that peers name.

    Args:
        allow: special networks in which they may stand all the same.
        network: whose peers they are.
        routes: the way to an address; None to ask the system.
        own: where others see this node, asked each time.
    """
    allowed = [ipaddress.ip_network(text) for text in allow]
    if network.is_private:
        return AddressFilter([*allowed, *map(ipaddress.ip_network, HOME_NETWORKS)])
    return AddressFilter(allowed, way_to=(routes or system_routes()).way_to, own=own)


@lru_cache(maxsize=1)
def read_hosts(hosts: frozenset[str]) -> frozenset[Address]:
    """Read the IP literals under which others see this node: always the same few, and asked for with each connection.

    Raises:
        ValueError: one is no IP literal.
    """
    return frozenset(map(ipaddress.ip_address, hosts))
