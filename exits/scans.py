"""Notice who looks for hosts and ports, and let it go on no further. Nothing is told to anybody.

What gives a search away is how many different destinations do not answer: a browser meets a few dead sites, and asks
them again; a search asks each once. So different pairs of address and port that failed are counted, for each circuit,
and for each network over all circuits. Where there are too many, *new* destinations are refused for a while; what
answered this circuit before stays open to it. A network is closed only to circuits that failed there themselves: nobody
can close a network to others by failing there.

Addresses are kept as keyed hashes, for as long as they count.

Source: Jung, Paxson, Berger and Balakrishnan, "Fast Portscan Detection Using Sequential Hypothesis Testing" (IEEE S&P
2004), section 3: the share of failed connections tells scanners from others. The counts here are plain ones.
"""

from __future__ import annotations

from hashlib import blake2b
from typing import TYPE_CHECKING, Final, NamedTuple

from core.errors import Reason

if TYPE_CHECKING:
    from collections import Counter

    from exits.addresses import Address
    from exits.limits import ScanLimits

KEY_BYTES: Final = 16
_MARK_BYTES: Final = 8

_SITE_BYTES: Final = {4: 3, 6: 6}
"""Bytes at the beginning of an address that name its network: the smallest that is routed by itself (IPv4), or a site
(RFC 6177, section 2)."""


class Probe(NamedTuple):
    """A destination, as it is remembered.

    Args:
        mark: keyed hash of address and port.
        network: keyed hash of the address's network.
    """

    mark: bytes
    network: bytes


class _Failures:
    """Different destinations that failed lately, and until when new ones are refused for it.

    Args:
        most: so many in `window_s` seconds are a search.
    """

    __slots__ = ("_at", "_most", "_window_s", "closed_until")

    def __init__(self, most: int, window_s: float) -> None:
        self._most = most
        self._window_s = window_s
        self._at: dict[bytes, float] = {}
        self.closed_until = float("-inf")

    def add(self, mark: bytes, now: float, closed_s: float) -> bool:
        """Count a failure; returns whether this is a search from now on."""
        self._at.pop(mark, None)
        self._at[mark] = now
        while now - self._at[eldest := next(iter(self._at))] >= self._window_s:
            del self._at[eldest]
        if len(self._at) < self._most:
            return False
        self._at.clear()
        self.closed_until = now + closed_s
        return True

    def forget(self, mark: bytes) -> None:
        """It answered after all."""
        self._at.pop(mark, None)


class Trail:
    """What one circuit has tried.

    Args:
        limits: the exit's.
    """

    __slots__ = ("_limits", "failures", "failures_in", "known", "pending", "pending_in")

    def __init__(self, limits: ScanLimits) -> None:
        self._limits = limits
        self.known: dict[bytes, None] = {}
        self.failures = _Failures(limits.failed, limits.window_s)
        self.failures_in: dict[bytes, float] = {}
        self.pending: dict[bytes, int] = {}
        self.pending_in: dict[bytes, int] = {}

    def begun(self, probe: Probe) -> None:
        for counter, key in ((self.pending, probe.mark), (self.pending_in, probe.network)):
            counter[key] = counter.get(key, 0) + 1

    def ended(self, probe: Probe) -> None:
        for counter, key in ((self.pending, probe.mark), (self.pending_in, probe.network)):
            counter[key] -= 1
            if not counter[key]:
                del counter[key]

    def learn(self, probe: Probe) -> None:
        """A destination answered."""
        self.known.pop(probe.mark, None)
        self.known[probe.mark] = None
        self.failures.forget(probe.mark)
        if len(self.known) > self._limits.known:
            del self.known[next(iter(self.known))]

    def failed_in(self, network: bytes, now: float) -> None:
        """A destination in a network failed."""
        self.failures_in.pop(network, None)
        self.failures_in[network] = now
        if len(self.failures_in) > self._limits.failed:
            del self.failures_in[next(iter(self.failures_in))]


class Scans:
    """All searches at one exit.

    Args:
        limits: the exit's.
        key: `KEY_BYTES` random bytes, the same as long as the exit runs.
        counters: where it is counted as `search` that a circuit or a network was closed.
    """

    def __init__(self, limits: ScanLimits, key: bytes, counters: Counter[str]) -> None:
        self._limits = limits
        self._key = key
        self._networks: dict[bytes, _Failures] = {}
        self._counters = counters

    def probe(self, address: Address, port: int) -> Probe:
        """Make of a destination what is remembered of it."""
        packed = address.packed
        return Probe(self._hash(b"%b %d" % (packed, port)), self._hash(packed[: _SITE_BYTES[address.version]]))

    def _hash(self, data: bytes) -> bytes:
        return blake2b(data, digest_size=_MARK_BYTES, key=self._key).digest()

    def refusal(self, trail: Trail, probe: Probe, now: float) -> Reason | None:
        """Say why a circuit may not try a destination now.

        Returns:
            `NOT_ALLOWED` for a search, `BUSY` while too many are being tried at once, None if it may.
        """
        if probe.mark in trail.known:
            return None
        if now < trail.failures.closed_until or self._is_closed(trail, probe.network, now):
            return Reason.NOT_ALLOWED
        if probe.mark in trail.pending:
            return None
        return Reason.BUSY if len(trail.pending) >= self._limits.trying else None

    def _is_closed(self, trail: Trail, network: bytes, now: float) -> bool:
        found = self._networks.get(network)
        if found is None or now >= found.closed_until:
            return False
        failed_at = trail.failures_in.get(network, float("-inf"))
        return now - failed_at < self._limits.window_s + self._limits.closed_s or network in trail.pending_in

    def failed(self, trail: Trail, probe: Probe, now: float, *, whole: bool = True) -> None:
        """A destination did not answer a circuit.

        Args:
            whole: False to count it for its network alone, since that the whole family fails is no search.
        """
        if probe.mark in trail.known:
            return
        trail.failed_in(probe.network, now)
        if whole and trail.failures.add(probe.mark, now, self._limits.closed_s):
            self._counters["search"] += 1
        network = self._networks.pop(probe.network, None)
        if network is None:
            network = _Failures(self._limits.failed_in_network, self._limits.window_s)
        self._networks[probe.network] = network
        if network.add(probe.mark, now, self._limits.closed_s):
            self._counters["search"] += 1
        if len(self._networks) > self._limits.networks:
            del self._networks[next(iter(self._networks))]
