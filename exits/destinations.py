"""What a destination gets from this exit over all circuits: so that nobody is flooded through it, and no circuit keeps
others out.

A destination that nobody uses is forgotten once its counts are full again, or others need the room. It is known by a
keyed hash alone.
"""

from __future__ import annotations

import contextlib
from ipaddress import ip_address
from typing import TYPE_CHECKING

from core.errors import Reason
from exits.scans import Scans
from exits.shares import Shares
from tunnel.rate import Rate

if TYPE_CHECKING:
    import socket
    from collections import Counter
    from collections.abc import Callable

    from exits.accounts import Account
    from exits.addresses import Address
    from exits.limits import DestinationLimits, ScanLimits
    from exits.scans import Probe

_NOBODYS: frozenset[Reason] = frozenset({Reason.BUSY, Reason.NETWORK_UNREACHABLE, Reason.NOT_ALLOWED})
"""Reasons of a failed attempt that say nothing about the destination: nothing was sent to it."""


class Destination:
    """One address and port.

    Args:
        limits: the exit's.
        now: loop time.
    """

    __slots__ = ("attempts", "flows", "silent")

    def __init__(self, limits: DestinationLimits, now: float) -> None:
        self.flows = Shares(limits.flows)
        self.attempts = Rate(limits.attempts, limits.attempts_per_s, now)
        self.silent = Rate(limits.silent, limits.silent_per_s, now)

    def admits(self, account: Account, now: float) -> bool:
        """Take a permit for one more attempt, if a circuit may have it."""
        return self.flows.may_take(account) and self.silent.take(now) and self.attempts.take(now)


class Destinations:
    """Every destination that is or lately was in use.

    Args:
        limits: the exit's.
        scans: the exit's limits of searches.
        key: random bytes, see `Scans`.
        counters: likewise.
    """

    def __init__(self, limits: DestinationLimits, scans: ScanLimits, key: bytes, counters: Counter[str]) -> None:
        self._limits = limits
        self._destinations: dict[bytes, Destination] = {}
        self.scans = Scans(scans, key, counters)

    def __len__(self) -> int:
        return len(self._destinations)

    def of(self, mark: bytes, now: float) -> Destination:
        """Get a destination, and forget the one that was asked for least lately if there are too many."""
        destination = self._destinations.pop(mark, None) or Destination(self._limits, now)
        self._destinations[mark] = destination
        if len(self._destinations) > self._limits.remembered:
            unused = (mark for mark, old in self._destinations.items() if not len(old.flows) and old is not destination)
            if (oldest := next(unused, None)) is not None:
                del self._destinations[oldest]
        return destination


class Place:
    """A connection's place at its destination.

    Args:
        destination: where.
        account: whose.
        address: of the destination.
        probe: the destination, as it is remembered.
    """

    __slots__ = ("_account", "_destination", "address", "probe")

    def __init__(self, destination: Destination, account: Account, address: Address, probe: Probe) -> None:
        self._destination = destination
        self._account = account
        self.address = address
        self.probe = probe
        destination.flows.take(account)

    def leave(self) -> None:
        """Give the place back, once."""
        self._destination.flows.give(self._account)

    def answered(self) -> None:
        """The destination took the connection."""
        self._destination.silent.give_back()


class Attempt:
    """One flow's way to a connection: the addresses that are tried, and what is learnt from how that ends.

    Call `won` or `failed`, and in any case `end`.

    Args:
        destinations: the exit's.
        account: the circuit's.
        port: 1 to 65535.
        clock: loop time.
    """

    __slots__ = ("_account", "_begun", "_clock", "_destinations", "_port", "_refused")

    def __init__(self, destinations: Destinations, account: Account, port: int, clock: Callable[[], float]) -> None:
        self._destinations = destinations
        self._account = account
        self._port = port
        self._clock = clock
        self._begun: list[Place] = []
        self._refused: Reason | None = None

    def may_begin(self, address: Address) -> bool:
        """Tell whether an address may be tried, which then begins."""
        now = self._clock()
        probe = self._destinations.scans.probe(address, self._port)
        refused = self._destinations.scans.refusal(self._account.trail, probe, now)
        if refused is None:
            destination = self._destinations.of(probe.mark, now)
            if destination.admits(self._account, now):
                self._account.trail.begun(probe)
                self._begun.append(Place(destination, self._account, address, probe))
                return True
            refused = Reason.BUSY
        self._refused = refused
        return False

    def won(self, sock: socket.socket) -> Place:
        """An address took the connection; the others that were tried did not.

        Args:
            sock: connected to one of the addresses; if it was reset already, any of them will do.

        Returns:
            What to `leave` when the connection is closed.
        """
        place = self._begun[-1]
        if len(self._begun) > 1:
            with contextlib.suppress(OSError):
                connected = ip_address(sock.getpeername()[0])
                place = next((begun for begun in self._begun if begun.address == connected), place)
        self._begun.remove(place)
        self._account.trail.ended(place.probe)
        self._account.trail.learn(place.probe)
        place.answered()
        if self._begun:
            self._count_failures(has_v4=place.address.version == 4)
        return place

    def failed(self, reason: Reason) -> Reason:
        """No address took the connection; returns the reason to give."""
        if not self._begun and self._refused is not None:
            return self._refused
        if reason not in _NOBODYS:
            self._count_failures()
        return reason

    def _count_failures(self, *, has_v4: bool = False) -> None:
        """Count what was tried in vain. An address of IPv6 beside one of IPv4 says little: often no IPv6 works."""
        has_v4 = has_v4 or any(place.address.version == 4 for place in self._begun)
        now = self._clock()
        for place in self._begun:
            whole = place.address.version == 4 or not has_v4
            self._destinations.scans.failed(self._account.trail, place.probe, now, whole=whole)

    def end(self) -> None:
        """Nothing more is tried."""
        for place in self._begun:
            self._account.trail.ended(place.probe)
            place.leave()
        self._begun.clear()
