"""Where packets to an address would go: out, by the default route, or to a machine of this house.

A public address may be inside all the same: a LAN with public addresses, a prefix that is routed to another segment,
the machine's own addresses. Linux is asked about each address at the moment of dialling, so that nothing that is
remembered can be out of date. Elsewhere the networks of the interfaces are read every few seconds.
"""

from __future__ import annotations

import atexit
import itertools
import socket
import sys
import time
from contextlib import suppress
from functools import lru_cache
from ipaddress import IPv4Address, IPv6Address, ip_network
from typing import TYPE_CHECKING, Final, Protocol

from core.errors import DecodeError
from exits.addresses import Way
from exits.netlink import (
    UNICAST,
    decode_addresses,
    decode_route,
    encode_addresses_question,
    encode_route_question,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from exits.addresses import Address, Network

READ_S: Final = 3.0
"""Where the system is not asked about each address, its interfaces are read anew after so long, in seconds."""

SITE_BITS: Final = 48
"""A site gets up to a /48, and its other segments lie behind the default route of each of its machines. Source: RFC
6177, section 2."""

_DEFAULTS: Final = frozenset({(4, 0, 0), (4, 1, 0), (4, 1, 1), (6, 0, 0), (6, 1, 0), (6, 1, 1), (6, 3, 1)})
"""Prefixes that count as the default route, as version, length and leading bits: everything, its two halves (which VPNs
set so that the default route stays below them), and 2000::/3, which is all of the IPv6 Internet."""

_ANSWER_BYTES: Final = 1 << 16
"""Room for one datagram of the kernel, which makes them of at most 32 KiB."""

_MAX_DATAGRAMS: Final = 64
"""Most datagrams of one answer. A kernel that says more is taken for one that does not answer."""

_GLOBAL_PREFIX: Final = 0b001
"""The leading three bits of a global unicast address. Source: RFC 4291, section 2.4."""


class Routes(Protocol):
    """Whoever knows the routes."""

    def way_to(self, address: Address) -> Way:
        """Tell where packets to an address would go now."""


class KernelRoutes:
    """Linux, asked over a socket that is open all the time, so that running out of descriptors takes nothing away.

    Whatever goes wrong reads as `Way.INSIDE`.

    Args:
        source: own address that connections of its family are made from; None for the system's choice.
    """

    def __init__(self, source: Address | None = None) -> None:
        self._source = source
        self._socket: socket.socket | None = None
        self._sequences = itertools.cycle(range(1, 1 << 32))
        with suppress(OSError):
            self._socket = open_netlink()

    def way_to(self, address: Address) -> Way:
        """See `Routes.way_to`."""
        try:
            return self._ask(address)
        except (OSError, DecodeError):
            self.close()
            return Way.INSIDE

    def close(self) -> None:
        """Give the socket back; the next question opens another."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def _ask(self, address: Address) -> Way:
        source = self._source if self._source is not None and self._source.version == address.version else None
        sequence = next(self._sequences)
        route = decode_route(self._exchange(encode_route_question(address, source, sequence)), address, sequence)
        if route is None:
            return Way.NONE
        leading = int(address) >> (address.max_prefixlen - route.prefix_length)
        if route.kind != UNICAST or (address.version, route.prefix_length, leading) not in _DEFAULTS:
            return Way.INSIDE
        if isinstance(address, IPv6Address) and is_of_a_site(address, self._own_addresses()):
            return Way.INSIDE
        return Way.OUT

    def _own_addresses(self) -> list[IPv6Address]:
        sequence = next(self._sequences)
        data = self._exchange(encode_addresses_question(sequence))
        found: list[IPv6Address] = []
        for _ in range(_MAX_DATAGRAMS):
            addresses, is_last = decode_addresses(data, sequence)
            found += addresses
            if is_last:
                return found
            data = self._receive()
        raise DecodeError("netlink", "too many addresses")

    def _exchange(self, question: bytes) -> bytes:
        if self._socket is None:
            self._socket = open_netlink()
        self._socket.send(question)
        return self._receive()

    def _receive(self) -> bytes:
        """Take what the kernel has said. It answers while it is asked, so there is no waiting."""
        assert self._socket is not None
        data, _, flags, sender = self._socket.recvmsg(_ANSWER_BYTES)
        if flags & socket.MSG_TRUNC or sender[0] != 0:
            raise DecodeError("netlink", "cut, or not from the kernel")
        return data


class InterfaceRoutes:
    """The networks of this machine's interfaces, for systems that are not asked about each address.

    It knows no other routes than those to the interfaces' own networks.

    Args:
        read: lists the addresses of this machine with the lengths of their prefixes; may raise anything.
        clock: seconds that do not jump.
    """

    def __init__(
        self,
        read: Callable[[], Iterable[tuple[Address, int]]] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._read = read or _interface_addresses
        self._clock = clock
        self._due_at = clock()
        self._networks: tuple[Network, ...] | None = None
        self._own: tuple[IPv6Address, ...] = ()

    def way_to(self, address: Address) -> Way:
        """See `Routes.way_to`. Nothing leads out while the interfaces cannot be read."""
        if self._clock() >= self._due_at:
            self._due_at = self._clock() + READ_S
            self._read_anew()
        if self._networks is None or any(address in network for network in self._networks):
            return Way.INSIDE
        if isinstance(address, IPv6Address) and is_of_a_site(address, self._own):
            return Way.INSIDE
        return Way.OUT

    def _read_anew(self) -> None:
        try:
            found = list(self._read())
            networks = tuple(ip_network((address, length), strict=False) for address, length in found)
        except Exception:  # whatever the library trips over: nothing is known then
            self._networks = None
            return
        self._networks = networks
        self._own = tuple(address for address, _ in found if isinstance(address, IPv6Address))


def is_of_a_site(address: IPv6Address, own: Iterable[IPv6Address]) -> bool:
    """Tell whether an address may be of the site that one of this machine's own global addresses is of."""
    shift = 128 - SITE_BITS
    site = int(address) >> shift
    return any(int(mine) >> shift == site for mine in own if int(mine) >> 125 == _GLOBAL_PREFIX)


@lru_cache(maxsize=8)
def system_routes(source: Address | None = None) -> Routes:
    """Choose what this system offers; there is one for the whole process, and it lives as long.

    Args:
        source: see `KernelRoutes`.
    """
    if sys.platform != "linux":
        return InterfaceRoutes()
    routes = KernelRoutes(source)
    atexit.register(routes.close)
    return routes


def open_netlink() -> socket.socket:
    """Open a socket to the kernel's routing tables, those of the namespace that this process is in.

    Raises:
        OSError: the system gives none.
    """
    found = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, socket.NETLINK_ROUTE)
    try:
        found.setblocking(False)
        found.bind((0, 0))
    except OSError:
        found.close()
        raise
    return found


def _interface_addresses() -> Iterable[tuple[Address, int]]:
    import ifaddr  # it looks for the C library with programs of its own, which Linux can do without

    for adapter in ifaddr.get_adapters():
        for entry in adapter.ips:
            text = entry.ip if isinstance(entry.ip, str) else entry.ip[0]
            yield IPv4Address(text) if entry.is_IPv4 else IPv6Address(text), entry.network_prefix
