"""Addresses that strangers say are peers': bounded, deduplicated, and taken so that no network can crowd out others.

Whoever answers in a public table can name as many addresses as he likes. So a host counts for two addresses, a network
(IPv4 /16, IPv6 /32) for sixteen, and the next one comes from a network drawn at random, not from the longest list.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Protocol

from core.errors import DecodeError
from peers.addresses import format_address, network_of, parse_address

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from peers.addresses import Address

MAX_PER_HOST: Final = 2
MAX_PER_NETWORK: Final = 16
MAX_WAITING: Final = 512
MAX_TRIED: Final = 4096
TRIED_AGAIN_S: Final = 60.0
"""An address that was taken is not taken again for so long, whatever came of it."""


class Chooser(Protocol):
    """What is needed of `random.Random`."""

    def choice[T](self, seq: Sequence[T], /) -> T:
        """Return one of a sequence that is not empty."""


class Hints:
    """Addresses that wait to be tried.

    Args:
        address_ok: whether a peer may be dialled at a host.
        rng: where chance comes from.
    """

    def __init__(self, address_ok: Callable[[str], bool], rng: Chooser) -> None:
        self._address_ok = address_ok
        self._rng = rng
        self._waiting: dict[bytes, dict[Address, None]] = {}
        self._tried: dict[Address, float] = {}
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def add(self, addresses: Iterable[Address], now: float) -> int:
        """Take what was said.

        Args:
            addresses: anything; what is no canonical address of one host, or may not be dialled, is left out.
            now: seconds that only rise.

        Returns:
            How many were new.
        """
        return sum(self._add(address, now) for address in addresses)

    def _add(self, address: Address, now: float) -> bool:
        host, port = address
        if self._count >= MAX_WAITING or now - self._tried.get(address, -TRIED_AGAIN_S) < TRIED_AGAIN_S:
            return False
        try:
            if parse_address(format_address(host, port)) != (host, port, None) or not self._address_ok(host):
                return False
        except DecodeError:
            return False
        there = self._waiting.setdefault(network_of(host), {})
        same_host = sum(host == other for other, _ in there)
        if address in there or same_host >= MAX_PER_HOST or len(there) >= MAX_PER_NETWORK:
            return False
        there[address] = None
        self._count += 1
        return True

    def take(self, now: float) -> Address | None:
        """Take one out: any of a network drawn at random.

        Args:
            now: as for `add`.
        """
        if not self._waiting:
            return None
        network = self._rng.choice(list(self._waiting))
        there = self._waiting[network]
        address = self._rng.choice(list(there))
        del there[address]
        if not there:
            del self._waiting[network]
        self._count -= 1
        self._tried.pop(address, None)
        while len(self._tried) >= MAX_TRIED:
            del self._tried[next(iter(self._tried))]
        self._tried[address] = now
        return address
