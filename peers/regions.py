"""Whether a peer can be where it says: by the database's country of its addresses, and by the speed of light.

Nothing answers from a place sooner than light gets there and back. So a round trip that is too short for the distance
between the claimed region and a witness contradicts the claim. A witness is an earlier peer of the path whose addresses
the database knows, or this node itself. A round trip that is long enough says nothing: it never proves a region, and
who holds all its answers back is not found out.

The round trip of the whole path is taken as it is. To subtract the part that leads to a witness would tell more, but
then a witness could make any exit look near by being slow to answer for itself. So all that a witness can be false
about is where it is.

Since it may be, and since the database errs, no single one decides:

| who contradicts | votes |
|---|---|
| the database: one of the addresses belongs to another country | 1 |
| a witness that has no network, system or operator in common with another that is counted | 1 |
| this node itself, if it knows its country | 2 |

With three votes the claim is contradicted, and the peer counts as one of unknown region. So one false witness never
suffices, not even together with an error of the database; two do with such an error, and three do always. A witness
counts after two round trips that were too short, at least a second apart. What was seen is forgotten after a day, and
does not count for another country, for a peer that has left all its addresses, nor for a witness that has changed any.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Final, Protocol

from peers.addresses import network_of

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Iterator, Sequence

    from core.ids import PeerKey
    from peers.countries import Countries
    from peers.descriptor import Descriptor
    from peers.places import Place

LIGHT_KM_PER_S: Final = 250_000.0
"""In fibre light makes 200,000 km; a way over satellites can come nearer to the 300,000 of vacuum."""
SLACK_KM: Final = 300.0
"""So much farther a place may be than a round trip allows: neither clocks nor borders are exact."""

VOTES_NEEDED: Final = 3
OWN_VOTES: Final = 2

LIFE_S: Final = 86_400.0
APART_S: Final = 1.0
"""A clock that stands still while the machine sleeps makes all answers that come after seem quick, at one time."""
MAX_WITNESSES: Final = 16
"""Of one peer; the one that was heard of for longest gives way."""
MAX_RECORDS: Final = 1024


class Standing(StrEnum):
    """What is to be thought of a peer's region."""

    SILENT = ""
    """It does not say where it is."""
    CLAIMED = "claimed"
    """It says so, and that is all."""
    LIKELY = "likely"
    """The database says so too, and nothing contradicts it."""
    CONTRADICTED = "contradicted"
    """It is not there."""


class Locator(Protocol):
    """What is needed of `peers.places.Places`."""

    @property
    def countries(self) -> Countries:
        """Where countries are."""

    def lookup(self, host: str) -> Place:
        """Say where an address is."""


def country_of(region: str) -> str:
    """Return the country that a region is, or is a part of; empty if it names none."""
    country, dash, part = region.upper().partition("-")
    return country if len(country) == 2 and country.isalpha() and bool(dash) == bool(part) else ""


@dataclass(frozen=True, slots=True)
class _Witness:
    """Who contradicts a claim, as it was then.

    Args:
        country: where it is.
        kin: what it may have in common with others.
        says: what it publishes of its place.
        votes: how much it counts.
    """

    country: str
    kin: frozenset[Hashable]
    says: Hashable
    votes: int = 1


@dataclass(slots=True)
class _Objection:
    """A witness, and when it contradicted a claim for the last two times; before the first time, never."""

    witness: _Witness
    last: float = -LIFE_S
    before: float = -LIFE_S

    def again(self, now: float) -> None:
        if now - self.last >= APART_S:
            self.before, self.last = self.last, now

    def holds(self, now: float) -> bool:
        return now - self.before < LIFE_S


@dataclass(slots=True)
class _Record:
    """What was held against one peer's claim of one country, by witness; None is this node."""

    hosts: frozenset[str]
    objections: dict[PeerKey | None, _Objection] = field(default_factory=dict)

    def is_of(self, found: Descriptor) -> bool:
        """Say whether the peer is where it was: one address is enough, or it could shake this off with another."""
        hosts = _hosts(found)
        return hosts == self.hosts or not hosts.isdisjoint(self.hosts)


class RegionCheck:
    """What is believed of where peers say they are.

    In memory only, and bounded. `now` is seconds, 0 or more, of a clock that only goes on.

    Args:
        places: where addresses and countries are.
        known: the present descriptor of a peer; None if there is none.
        own_country: of this node, two letters; empty if it is not known.
    """

    def __init__(self, places: Locator, known: Callable[[PeerKey], Descriptor | None], own_country: str = "") -> None:
        self._places = places
        self._known = known
        self._own = _Witness(own_country, frozenset(), own_country, OWN_VOTES) if own_country else None
        self._records: dict[tuple[PeerKey, str], _Record] = {}

    def __len__(self) -> int:
        return len(self._records)

    def answered(self, path: Sequence[Descriptor], rtt_s: float, now: float) -> None:
        """Take in how long the last peer of a path took to answer.

        Args:
            path: the neighbour of this node first; at least one peer.
            rtt_s: there and back over all of it. The answer must prove that the question was received.
            now: as for the class.
        """
        *before, end = path
        country = country_of(end.region)
        for name, witness in self._witnesses(before):
            if self._too_soon(rtt_s, witness.country, country):
                self._object(self._record(end, country), name, witness, now)

    def standing(self, found: Descriptor, now: float) -> Standing:
        """Judge where a peer says it is."""
        if not found.region:
            return Standing.SILENT
        if self._contradicted(found, now):
            return Standing.CONTRADICTED
        return Standing.LIKELY if self._database_agrees(found) else Standing.CLAIMED

    def region(self, found: Descriptor, now: float) -> str:
        """Return the region of a peer as far as it is believed; empty for none."""
        return "" if self._contradicted(found, now) else found.region

    # -- what light says

    def _witnesses(self, before: Sequence[Descriptor]) -> Iterator[tuple[PeerKey | None, _Witness]]:
        if self._own is not None:
            yield None, self._own
        for found in before:
            if (witness := self._witness(found)) is not None:
                yield found.peer, witness

    def _witness(self, found: Descriptor) -> _Witness | None:
        """Make a witness of a peer, if the database knows one country for it and the peer names no other."""
        places = [self._places.lookup(host) for host, _ in found.addresses]
        countries = {place.country for place in places} | ({country_of(found.region)} if found.region else set())
        if not places or len(countries) != 1 or "" in countries:
            return None
        kin: set[Hashable] = {network_of(host) for host, _ in found.addresses}
        kin |= {place.asn for place in places if place.asn is not None}
        if found.operator:
            kin.add(("operator", found.operator))
        return _Witness(countries.pop(), frozenset(kin), _says(found))

    def _too_soon(self, rtt_s: float, one: str, other: str) -> bool:
        apart_km = self._places.countries.apart_km(one, other)
        return apart_km is not None and apart_km > rtt_s / 2 * LIGHT_KM_PER_S + SLACK_KM

    def _record(self, end: Descriptor, country: str) -> _Record:
        """Return what is held against a peer's claim, as the newest of all records."""
        record = self._records.pop((end.peer, country), None)
        if record is None or not record.is_of(end):
            record = _Record(_hosts(end))
        self._records[end.peer, country] = record
        if len(self._records) > MAX_RECORDS:
            del self._records[next(iter(self._records))]
        return record

    @staticmethod
    def _object(record: _Record, name: PeerKey | None, witness: _Witness, now: float) -> None:
        objection = record.objections.pop(name, None)
        if objection is None or objection.witness != witness:
            objection = _Objection(witness)
        objection.again(now)
        record.objections[name] = objection
        if len(record.objections) > MAX_WITNESSES:
            del record.objections[next(iter(record.objections))]

    # -- the verdict

    def _contradicted(self, found: Descriptor, now: float) -> bool:
        votes = self._votes(found, now)
        if not votes:
            return False  # the database alone is not enough, so it need not be asked
        return votes + (self._database_agrees(found) is False) >= VOTES_NEEDED

    def _database_agrees(self, found: Descriptor) -> bool | None:
        """Say whether all addresses belong to the claimed country; None if the database knows none of them.

        One that does not is enough, since a peer may publish addresses of others beside its own.
        """
        countries = {self._places.lookup(host).country for host, _ in found.addresses} - {""}
        return countries == {country_of(found.region)} if countries else None

    def _votes(self, found: Descriptor, now: float) -> int:
        record = self._records.get((found.peer, country_of(found.region)))
        if record is None or not record.is_of(found):
            return 0
        votes = 0
        counted: frozenset[Hashable] = frozenset()
        for name, objection in record.objections.items():
            witness = objection.witness
            if objection.holds(now) and self._still(name, witness) and counted.isdisjoint(witness.kin):
                votes += witness.votes
                counted |= witness.kin
        return votes

    def _still(self, name: PeerKey | None, witness: _Witness) -> bool:
        """Say whether a witness publishes what it did."""
        if name is None:
            return True
        found = self._known(name)
        return found is not None and _says(found) == witness.says


def _hosts(found: Descriptor) -> frozenset[str]:
    return frozenset(host for host, _ in found.addresses)


def _says(found: Descriptor) -> Hashable:
    return country_of(found.region), _hosts(found)
