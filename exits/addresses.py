"""Which addresses are public: the special-purpose registries, through every way to write one address inside another.

A public address may still be inside the house; who asks the `AddressFilter` learns that as well. It is told the way to
an address by `routes`, and the node's own public addresses by whoever knows them.

The table is our own, since `ipaddress.is_global` differs between versions of Python. Every block of both IANA
registries is refused, also the few that are reachable worldwide (anycast for protocols): no web site is there. The one
exception is the well-known NAT64 prefix, which stands for the IPv4 address inside it: behind NAT64 it is the only way
to IPv4.

Source: IANA IPv4 and IPv6 Special-Purpose Address Registries (RFC 6890, RFC 8190); IANA IPv6 Address Space (RFC 4291).
"""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass
from enum import Enum
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_network
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator

type Address = IPv4Address | IPv6Address
type Network = IPv4Network | IPv6Network


class Way(Enum):
    """Where packets to an address would go."""

    OUT = "out"
    """By the default route."""

    INSIDE = "inside"
    """To this machine, to a connected network or by any other route; or nobody can tell."""

    NONE = "none"
    """Nowhere: there is no route."""


@dataclass(frozen=True, slots=True)
class Block:
    """A range of addresses that is no public destination.

    Args:
        network: the range.
        name: a short constant name.
        source: the document that set the range apart.
    """

    network: Network
    name: str
    source: str


_TABLE: Final = (
    ("0.0.0.0/32", "this host", "RFC 1122, section 3.2.1.3"),
    ("0.0.0.0/8", "this network", "RFC 791, section 3.2"),
    ("10.0.0.0/8", "private use", "RFC 1918"),
    ("100.64.0.0/10", "shared address space", "RFC 6598"),
    ("127.0.0.0/8", "loopback", "RFC 1122, section 3.2.1.3"),
    ("169.254.0.0/16", "link local", "RFC 3927"),
    ("172.16.0.0/12", "private use", "RFC 1918"),
    ("192.0.0.0/24", "protocol assignments", "RFC 6890, section 2.1"),
    ("192.0.0.0/29", "service continuity prefix", "RFC 7335"),
    ("192.0.0.8/32", "dummy address", "RFC 7600"),
    ("192.0.0.9/32", "port control anycast", "RFC 7723"),
    ("192.0.0.10/32", "TURN anycast", "RFC 8155"),
    ("192.0.0.170/31", "NAT64 discovery", "RFC 8880"),
    ("192.0.2.0/24", "documentation", "RFC 5737"),
    ("192.31.196.0/24", "AS112", "RFC 7535"),
    ("192.52.193.0/24", "AMT", "RFC 7450"),
    ("192.88.99.0/24", "6to4 relay anycast", "RFC 7526"),
    ("192.88.99.2/32", "6a44 relay anycast", "RFC 6751"),
    ("192.168.0.0/16", "private use", "RFC 1918"),
    ("192.175.48.0/24", "AS112", "RFC 7534"),
    ("198.18.0.0/15", "benchmarking", "RFC 2544"),
    ("198.51.100.0/24", "documentation", "RFC 5737"),
    ("203.0.113.0/24", "documentation", "RFC 5737"),
    ("224.0.0.0/4", "multicast", "RFC 5771"),
    ("240.0.0.0/4", "reserved", "RFC 1112, section 4"),
    ("255.255.255.255/32", "limited broadcast", "RFC 919, section 7"),
    ("::/128", "unspecified", "RFC 4291, section 2.5.2"),
    ("::1/128", "loopback", "RFC 4291, section 2.5.3"),
    ("::/96", "IPv4-compatible", "RFC 4291, section 2.5.5.1"),
    ("::ffff:0:0:0/96", "IPv4-translated", "RFC 2765, section 2.1"),
    ("64:ff9b:1::/48", "local-use NAT64", "RFC 8215"),
    ("100::/64", "discard only", "RFC 6666"),
    ("100:0:0:1::/64", "dummy prefix", "RFC 9780"),
    ("2001::/23", "protocol assignments", "RFC 2928"),
    ("2001::/32", "Teredo", "RFC 4380"),
    ("2001:1::1/128", "port control anycast", "RFC 7723"),
    ("2001:1::2/128", "TURN anycast", "RFC 8155"),
    ("2001:1::3/128", "service registration anycast", "RFC 9665"),
    ("2001:2::/48", "benchmarking", "RFC 5180"),
    ("2001:3::/32", "AMT", "RFC 7450"),
    ("2001:4:112::/48", "AS112", "RFC 7535"),
    ("2001:10::/28", "ORCHID", "RFC 4843"),
    ("2001:20::/28", "ORCHIDv2", "RFC 7343"),
    ("2001:30::/28", "drone identifiers", "RFC 9374"),
    ("2001:db8::/32", "documentation", "RFC 3849"),
    ("2002::/16", "6to4", "RFC 7526"),
    ("2620:4f:8000::/48", "AS112", "RFC 7534"),
    ("3fff::/20", "documentation", "RFC 9637"),
    ("5f00::/16", "segment routing", "RFC 9602"),
    ("fc00::/7", "unique local", "RFC 4193"),
    ("fe80::/10", "link local", "RFC 4291, section 2.5.6"),
    ("fec0::/10", "site local", "RFC 3879"),
    ("ff00::/8", "multicast", "RFC 4291, section 2.7"),
)

SPECIAL_BLOCKS: Final = tuple(
    sorted(
        (Block(ip_network(network), name, source) for network, name, source in _TABLE),
        key=lambda block: -block.network.prefixlen,
    )
)
"""Every block that is refused, the smallest first, so that the first match has the most exact name."""

_NAT64: Final = IPv6Network("64:ff9b::/96")
_GLOBAL_UNICAST: Final = IPv6Network("2000::/3")
_ISATAP_IDS: Final = frozenset({0x0000_5EFE, 0x0200_5EFE})
"""Upper half of an interface id that embeds an IPv4 address (RFC 5214, section 6.1)."""

_6OVER4_NETWORKS: Final = tuple(
    IPv4Network(text)
    for text in ("10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12", "192.168.0.0/16")
)
"""An interface id with an IPv4 address behind 32 zero bits looks like any low number. It is only looked into where it
would lead into a house (RFC 2529, section 4)."""

OUTSIDE_UNICAST: Final = "outside global unicast"
SCOPED: Final = "scoped"


def normalise(address: Address) -> Address:
    """Turn an IPv4-mapped address into the IPv4 address it stands for; leave any other as it is.

    What is returned is what has to be checked and dialled. A scoped address stays as it is, and is refused.
    """
    if isinstance(address, IPv6Address) and address.scope_id is None and address.ipv4_mapped is not None:
        return address.ipv4_mapped
    return address


def is_public(address: Address) -> bool:
    """Tell whether an address is an ordinary destination on the Internet."""
    return refusal(address) is None


def refusal(address: Address) -> str | None:
    """Name what stands against an address.

    Returns:
        The name of the special block that it or an address embedded in it lies in; None for a public one.
    """
    if _is_scoped(address):
        return SCOPED
    return next((name for layer in _layers(address) if (name := _special_name(layer))), None)


def _out(_: Address) -> Way:
    return Way.OUT


class AddressFilter:
    """Decide which addresses may be dialled: the public ones outside this house, plus what is opened.

    Args:
        allow: ranges to open, whatever stands against them but the two `deny`. An address embedded in another has to be
            open as well. Write an IPv4 range as IPv4: mapped addresses are checked as what they stand for.
        deny: addresses and networks that are refused even if public or opened.
        deny_endpoints: addresses that are refused on one port (1 to 65535).
        way_to: where packets to an address would go now, asked anew each time. What is dialled has to go out, and an
            IPv4 address inside it must not be here.
        own: the addresses under which others see this node, asked anew each time.
    """

    def __init__(
        self,
        allow: Iterable[Network] = (),
        deny: Iterable[Address | Network] = (),
        deny_endpoints: Iterable[tuple[Address, int]] = (),
        way_to: Callable[[Address], Way] = _out,
        own: Callable[[], Collection[Address]] = tuple,
    ) -> None:
        self._allow = tuple(allow)
        self._deny = tuple(_as_network(entry) for entry in deny)
        self._deny_endpoints = frozenset((normalise(address), port) for address, port in deny_endpoints)
        self._way_to = way_to
        self._own = own

    def allows(self, address: Address, port: int | None = None) -> bool:
        """Tell whether an address may be dialled now; to be asked at the moment of dialling.

        Args:
            address: an address as it will be dialled, see `normalise`.
            port: 1 to 65535; None to ask for the address alone.
        """
        return self.may_allow(address, port) and self.leads_out(address)

    def may_allow(self, address: Address, port: int | None = None) -> bool:
        """Tell what `allows` would, as far as it never changes: a True may be a False at the moment of dialling."""
        if _is_scoped(address):
            return False
        return all(self._allows_layer(layer, port) for layer in _layers(address))

    def _allows_layer(self, address: Address, port: int | None) -> bool:
        if address.is_unspecified:  # the system would dial itself
            return False
        if any(address in network for network in self._deny):
            return False
        if (address, port) in self._deny_endpoints:
            return False
        return _special_name(address) is None or self._is_open(address)

    def leads_out(self, address: Address) -> bool:
        """Tell the rest of what `allows` would: where an address leads now that `may_allow` has let pass."""
        for place, layer in enumerate(_layers(address)):
            if self._is_open(layer):
                continue
            if layer in self._own():
                return False
            way = self._way_to(layer)
            # Behind NAT64 there is often no IPv4 here; then only the translator's house is at stake.
            if way is Way.INSIDE or (way is Way.NONE and place == 0):
                return False
        return True

    def _is_open(self, address: Address) -> bool:
        return any(address in network for network in self._allow)


def _layers(address: Address) -> Iterator[Address]:
    """Yield an address without a scope, then the IPv4 address embedded in it, if there is one."""
    address = normalise(address)
    yield address
    if isinstance(address, IPv6Address) and (embedded := _embedded(address)) is not None:
        yield embedded


def _embedded(address: IPv6Address) -> IPv4Address | None:
    """Find the IPv4 address that a packet to this IPv6 address may be handed to.

    An operator's own NAT64 prefix cannot be told from any other prefix, and is not found.

    Source: RFC 6052, section 2.2 (NAT64); RFC 3056, section 2 (6to4); RFC 5214, section 6.1 (ISATAP); RFC 4291,
    section 2.5.5.1 (IPv4-compatible); RFC 2529, section 4 (6over4). Teredo and local-use NAT64 are refused whole and
    not looked into.
    """
    number = int(address)
    if number >> 32 == 0 and number > 1:
        return IPv4Address(number)
    if number >> 32 == int(_NAT64.network_address) >> 32 or (number >> 32) & 0xFFFF_FFFF in _ISATAP_IDS:
        return IPv4Address(number & 0xFFFF_FFFF)
    if number >> 112 == 0x2002:
        return IPv4Address((number >> 80) & 0xFFFF_FFFF)
    if (number >> 32) & 0xFFFF_FFFF == 0:
        low = IPv4Address(number & 0xFFFF_FFFF)
        return low if any(low in network for network in _6OVER4_NETWORKS) else None
    return None


def _special_name(address: Address) -> str | None:
    """Name the special block that one address, taken by itself, lies in."""
    starts, names = _SPANS[address.version]
    return names[bisect_right(starts, int(address)) - 1]


def _find_name(address: Address) -> str | None:
    for block in SPECIAL_BLOCKS:
        if address in block.network:
            return block.name
    if isinstance(address, IPv6Address) and address not in _GLOBAL_UNICAST and address not in _NAT64:
        return OUTSIDE_UNICAST
    return None


def _cut(whole: Network, *others: Network) -> tuple[list[int], list[str | None]]:
    """Cut all addresses of a version of IP wherever a block or another network begins or ends.

    Returns:
        Where each piece begins, the first at 0, and what `_find_name` says to all its addresses.
    """
    networks = [whole, *others, *(block.network for block in SPECIAL_BLOCKS if block.network.version == whole.version)]
    firsts = {int(network.network_address) for network in networks}
    behind = {int(network.broadcast_address) + 1 for network in networks}
    starts = sorted(firsts | behind)[:-1]
    return starts, [_find_name(whole[start]) for start in starts]


_SPANS: Final = {4: _cut(IPv4Network("0.0.0.0/0")), 6: _cut(IPv6Network("::/0"), _GLOBAL_UNICAST, _NAT64)}


def _is_scoped(address: Address) -> bool:
    return isinstance(address, IPv6Address) and address.scope_id is not None


def _as_network(entry: Address | Network) -> Network:
    if isinstance(entry, IPv4Address | IPv6Address):
        return ip_network(normalise(entry))
    return entry
