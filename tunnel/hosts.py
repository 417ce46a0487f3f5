"""Whom a node's limits take for one: a host, or a network of hosts, since keys and links cost nothing."""

from __future__ import annotations

import ipaddress
from typing import TYPE_CHECKING, Final

from tunnel.rate import Rate

if TYPE_CHECKING:
    from collections.abc import Callable

    from tunnel.engines.seam import Connection

_HOST_BYTES: Final = {4: 4, 6: 8}
_NETWORK_BYTES: Final = {4: 3, 6: 6}


def host_of(connection: Connection) -> bytes:
    """Where a connection comes from: an IPv4 address, or an IPv6 /64. Nothing if it does not say."""
    remote = connection.peer_address
    return b"" if remote is None else _prefix(remote[0], _HOST_BYTES)


def network_around(host: str) -> bytes:
    """The network that an IP literal is in: an IPv4 /24, or an IPv6 /48."""
    return _prefix(host, _NETWORK_BYTES)


def _prefix(host: str, sizes: dict[int, int]) -> bytes:
    address = ipaddress.ip_address(host)
    return address.packed[: sizes[address.version]]


class Rates:
    """How often something may happen, for each of many hosts or networks.

    Args:
        burst, per_s: as for `Rate`, of each.
        most: how many are remembered; who was looked at longest ago is forgotten.
        clock: seconds that only rise.
    """

    def __init__(self, burst: int, per_s: float, most: int, clock: Callable[[], float]) -> None:
        self._burst = burst
        self._per_s = per_s
        self._most = most
        self._clock = clock
        self._rates: dict[bytes, Rate] = {}

    def take(self, name: bytes) -> bool:
        """Take a permit of one, if there is one."""
        now = self._clock()
        rate = self._rates.pop(name, None) or Rate(self._burst, self._per_s, now)
        self._rates[name] = rate
        if len(self._rates) > self._most:
            del self._rates[next(iter(self._rates))]
        return rate.take(now)

    def give_back(self, name: bytes) -> None:
        """Return a permit that turned out not to be needed."""
        if (rate := self._rates.get(name)) is not None:
            rate.give_back()
