"""The peers of a simulation: where they stand, what they carry, when they are there, and which of them are hostile."""

from __future__ import annotations

import math
import random
from dataclasses import dataclass
from enum import Enum
from functools import cache
from typing import TYPE_CHECKING, Final, NamedTuple

from core.ids import PeerKey
from peers.countries import Disc, distance_km
from peers.descriptor import Descriptor, Role
from peers.places import Place, read_database

if TYPE_CHECKING:
    from collections.abc import Iterator

    from peers.countries import Countries

CITIES: Final = (
    # latitude, longitude, share of peers, country: home and rented machines, mostly in Europe and North America
    (52.4, 4.9, 12, "NL"),
    (50.1, 8.7, 14, "DE"),
    (51.5, -0.1, 8, "GB"),
    (48.9, 2.4, 8, "FR"),
    (59.3, 18.1, 4, "SE"),
    (52.2, 21.0, 4, "PL"),
    (40.4, -3.7, 3, "ES"),
    (44.4, 26.1, 3, "RO"),
    (40.7, -74.0, 10, "US"),
    (37.4, -122.1, 8, "US"),
    (41.9, -87.6, 5, "US"),
    (43.7, -79.4, 3, "CA"),
    (-23.5, -46.6, 3, "BR"),
    (1.4, 103.8, 4, "SG"),
    (35.7, 139.7, 4, "JP"),
    (19.1, 72.9, 3, "IN"),
    (-33.9, 151.2, 2, "AU"),
    (-26.2, 28.0, 2, "ZA"),
)
"""Guessed: no such network has been counted."""

SPREAD_DEGREES: Final = 4.0
DETOUR: Final = 1.5
"""Cables are longer than great circles by about this factor."""
KM_PER_S: Final = 200_000.0
"""Light in glass."""
ACCESS_S: Final = 0.006
"""Mean of what the line of a peer adds to a round trip; exponentially distributed."""

LEAST_KB_S: Final = 250.0
MOST_KB_S: Final = 60_000.0
TAIL: Final = 1.1
"""Capacities follow a Pareto distribution with this exponent, cut at both ends: a few peers carry most."""

EXITS: Final = 0.25
ONLINE: Final = 0.9
"""Part of the time that a peer is there."""
LEAVES_PER_DAY: Final = 0.1
FOREVER_PER_DAY: Final = 0.002
"""Part of the peers that is gone for good each day. Nobody comes in their place."""

CHANGES_PER_DAY: Final = 0.1
"""Part of the peers whose line becomes a busy one, or is what it was again, each day."""
BUSY: Final = 0.25
QUEUES_S: Final = (0.1, 0.3)
"""A busy line adds so much to a round trip, and so many of those that change become busy. Without such changes, what
was measured once would be worth most if it were kept for ever."""

EXPIRY: Final = 1 << 40


class Kind(Enum):
    """Whose a peer is."""

    HONEST = "honest"
    MANY = "many small"
    """An attacker with a share of the peers, as good as any."""
    STRONG = "few strong"
    """An attacker with few peers that carry a share of all there is."""
    LIAR = "liars"
    """An attacker with a fifth of that share of the peers, of the weakest kind, which claim to be the strongest."""


class Spot(NamedTuple):
    """Where somebody is, and behind what line.

    Args:
        where: a disc without radius.
        country: where the database has it: that of the city, also for those around it who are beyond a border.
        access_s: what the line adds to a round trip.
    """

    where: Disc
    country: str
    access_s: float


@dataclass(slots=True)
class Peer:
    """One peer.

    Args:
        descriptor: what it says of itself.
        spot: where it is, and behind what line.
        kb_s: what it carries.
        kind: whose it is.
    """

    descriptor: Descriptor
    spot: Spot
    kb_s: float
    kind: Kind


MIDDLE: Final = Spot(Disc(50.1, 8.7, 0.0), "DE", 0.0)
"""Where most peers are near: who wants to be preferred by distance would stand there."""


def rtt_s(one: Spot, other: Spot) -> float:
    """The round trip between two spots."""
    return 2 * DETOUR * distance_km(one.where, other.where) / KM_PER_S + one.access_s + other.access_s


class World:
    """All peers, over days.

    Args:
        count: how many peers.
        share: what each attacker holds, from 0 to 1.
        seed: of chance.
        in_middle: whether all the many small peers of an attacker stand at one place in the middle.
    """

    def __init__(self, count: int, share: float, seed: int, *, in_middle: bool = False) -> None:
        self.seed = seed
        self._in_middle = in_middle
        self._rng = random.Random(f"world {seed}")
        self._count = count
        kinds = [Kind.MANY] * round(share * count) + [Kind.LIAR] * round(share * count / 5)
        kinds += [Kind.HONEST] * (count - len(kinds))
        self.peers = {peer.descriptor.peer: peer for peer in map(self._make, range(count), kinds)}
        self._add_strong(share)
        self.countries = _countries()
        self._usual = {name: peer.spot for name, peer in self.peers.items()}
        self._places = {peer.descriptor.addresses[0][0]: Place(peer.spot.country) for peer in self.peers.values()}

    def lookup(self, host: str) -> Place:
        """Say where an address is. With `countries`, implements `peers.regions.Locator`."""
        return self._places[host]

    def _add_strong(self, share: float) -> None:
        wanted = share / (1 - share) * sum(peer.kb_s for peer in self.peers.values())
        for number in range(math.ceil(wanted / MOST_KB_S)):
            peer = self._make(self._count + number, Kind.STRONG)
            self.peers[peer.descriptor.peer] = peer

    def spot(self, rng: random.Random) -> Spot:
        """Where somebody might be."""
        latitude, longitude, _, country = rng.choices(CITIES, [share for *_, share, _ in CITIES])[0]
        here = Disc(
            max(-89.0, min(89.0, rng.gauss(latitude, SPREAD_DEGREES))), rng.gauss(longitude, SPREAD_DEGREES), 0.0
        )
        return Spot(here, country, rng.expovariate(1 / ACCESS_S))

    def _make(self, number: int, kind: Kind) -> Peer:
        rng = self._rng
        roles = Role.RELAY | Role.EXIT if rng.random() < EXITS else Role.RELAY
        kb_s = min(MOST_KB_S, LEAST_KB_S * rng.paretovariate(TAIL))
        if kind is Kind.STRONG:
            roles, kb_s = Role.RELAY | Role.EXIT, MOST_KB_S
        if kind is Kind.LIAR:
            roles, kb_s = Role.RELAY | Role.EXIT, LEAST_KB_S
        claimed = int(MOST_KB_S) if kind is Kind.LIAR else 0
        descriptor, spot = _descriptor(number, roles, claimed, rng), self.spot(rng)
        if kind is Kind.MANY and self._in_middle:
            spot = MIDDLE._replace(access_s=spot.access_s)
        return Peer(descriptor, spot, kb_s, kind)

    def days(self, count: int) -> Iterator[set[PeerKey]]:
        """Who is there, day by day, and how their lines are; the same in every call."""
        rng = random.Random(f"days {self.seed}")
        lines = random.Random(f"lines {self.seed}")
        for peer, spot in self._usual.items():
            self.peers[peer].spot = spot
        there = {peer: rng.random() < ONLINE for peer in self.peers}
        comes = LEAVES_PER_DAY * ONLINE / (1 - ONLINE)
        gone: set[PeerKey] = set()
        for _ in range(count):
            for peer, spot in self._usual.items():
                if lines.random() < CHANGES_PER_DAY:
                    slower_s = lines.uniform(*QUEUES_S) if lines.random() < BUSY else 0.0
                    self.peers[peer].spot = spot._replace(access_s=spot.access_s + slower_s)
            yield {peer for peer, is_there in there.items() if is_there}
            for peer, is_there in there.items():
                if rng.random() < FOREVER_PER_DAY:
                    gone.add(peer)
                there[peer] = peer not in gone and rng.random() < (1 - LEAVES_PER_DAY if is_there else comes)

    def attackers(self) -> dict[str, dict[str, float]]:
        """What each attacker holds, in percent of peers and of what all carry."""
        kb_s = sum(peer.kb_s for peer in self.peers.values())
        shares = {}
        for kind in list(Kind)[1:]:
            own = [peer.kb_s for peer in self.peers.values() if peer.kind is kind]
            shares[kind.value] = {
                "peers": round(100 * len(own) / len(self.peers), 2),
                "capacity": round(100 * sum(own) / kb_s, 2),
            }
        return shares


@cache
def _countries() -> Countries:
    return read_database().countries


def _descriptor(number: int, roles: Role, claimed_kb_s: int, rng: random.Random) -> Descriptor:
    key = number.to_bytes(32)
    host = f"{rng.randint(1, 223)}.{rng.randrange(256)}.{number >> 8 & 255}.{number & 255}"
    return Descriptor(PeerKey(key), 1, EXPIRY, key, (key,), roles, ((host, 4433),), capacity_kb_s=claimed_kb_s)
