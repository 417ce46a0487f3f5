"""Which address family is tried first: IPv6, unless this machine's own IPv6 is a poor one.

What is remembered is one number and one time for all destinations, none of which is named.

Source: RFC 8305, section 4 (order, and what was seen before); RFC 6724, section 6 (rules 1, 2 and 5).
"""

from __future__ import annotations

import contextlib
import socket
from ipaddress import IPv6Address, IPv6Network
from itertools import chain, zip_longest
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from exits.addresses import Address

LOST_RACES: Final = 3
"""IPv6 is second after it lost so many races in a row: one site whose IPv6 is broken says little about this machine."""

SECOND_FOR_S: Final = 600.0
"""How long it is second, in seconds (RFC 6555, section 4.2: in the order of ten minutes)."""

_ANY_PORT: Final = 9
_KINDS: Final = tuple(map(IPv6Network, ("::1/128", "fe80::/10", "fc00::/7", "2001::/32", "2002::/16")))
"""Loopback, link-local, unique local, Teredo, 6to4: they suit destinations of their own kind (RFC 6724, sections 2.1
and 3.1)."""


class Families:
    """What was seen of this machine's IPv6 lately."""

    def __init__(self) -> None:
        self._lost = 0
        self._second_until = 0.0

    def order(self, addresses: Iterable[Address], now: float) -> list[Address]:
        """Order addresses for dialling.

        Args:
            addresses: any number, in each family in the order of preference.
            now: seconds of a monotonic clock.
        """
        addresses = list(addresses)
        v6 = next((address for address in addresses if isinstance(address, IPv6Address)), None)
        if v6 is None or all(address.version == 6 for address in addresses):
            return addresses
        v6_first = now >= self._second_until and suits(source_for(v6), v6)
        return interleave(addresses, 6 if v6_first else 4)

    def v6_won(self) -> None:
        """A connection was made over IPv6."""
        self._lost = 0
        self._second_until = 0.0

    def v6_lost(self, now: float) -> None:
        """IPv4 connected although IPv6 had been tried before it, and had had its time."""
        self._lost += 1
        if self._lost >= LOST_RACES:
            self._lost = LOST_RACES - 1  # when the time is over, one more is enough
            self._second_until = now + SECOND_FOR_S


def interleave(addresses: Sequence[Address], first: int = 6) -> list[Address]:
    """Order addresses: the families in turn, each in the order given.

    Args:
        addresses: any number.
        first: the family to begin with, 4 or 6.
    """
    leading = [address for address in addresses if address.version == first]
    others = [address for address in addresses if address.version != first]
    return [address for address in chain.from_iterable(zip_longest(leading, others)) if address is not None]


def source_for(address: Address) -> IPv6Address | None:
    """Ask the system from which address it would send to an IPv6 address. Nothing is sent.

    Returns:
        None if there is no route.
    """
    with contextlib.suppress(OSError), socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as sock:
        sock.connect((str(address), _ANY_PORT))
        return IPv6Address(sock.getsockname()[0])
    return None


def suits(source: IPv6Address | None, destination: IPv6Address) -> bool:
    """Tell whether IPv6 from this address is as good as IPv4: a global one to a global destination, and no tunnel."""
    return source is not None and _kind(source) == _kind(destination)


def _kind(address: IPv6Address) -> IPv6Network | None:
    return next((kind for kind in _KINDS if address in kind), None)
