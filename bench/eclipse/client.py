"""One client of the experiment."""

from __future__ import annotations

import random
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import TYPE_CHECKING, Final, NamedTuple

from bench.eclipse.crowd import HOUR_S
from core.errors import CircuitError, Reason
from node.discovery import ENOUGH, FEW
from node.hearing import VOICES_WANTED, VOUCHED_ENOUGH
from node.peering import LINKS_KEPT
from peers.addresses import network_of
from peers.choice import Choice, Moment
from peers.descriptor import Role
from peers.directory import Directory
from peers.eligible import Eligible
from peers.guards import PinnedHops
from peers.measurements import Measurements
from peers.path_search import PathRules
from peers.scores import LEANS
from peers.voices import FROM_DHT, FROM_EARLIER, Voices
from tunnel.blame import Blame, shares_of_build

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from bench.eclipse.crowd import Crowd
    from core.ids import PeerKey
    from peers.descriptor import Descriptor
    from peers.voices import Voice

HOPS: Final = 3
CIRCUITS_PER_HOUR: Final = 2
TRIES: Final = 8
"""Paths that are tried for one circuit, a node's patience."""
SESSION_H: Final = 24
LINKS_KEPT_BEFORE: Final = 4
"""Of those that a client met through the DHT, it kept the links to so many before it counted voices."""


@dataclass(frozen=True, slots=True)
class Defence:
    """What a client does against guards that lie.

    Args:
        accusers: who accuses most of the hops after it comes last.
        vouching: paths are made of peers that are vouched for, and more neighbours are heard.
        guards_silent: what guards say is not counted.
        most: most of the neighbours must name a peer, and not only two.
    """

    accusers: bool = True
    vouching: bool = True
    guards_silent: bool = True
    most: bool = True


ALL: Final = Defence()
DEFENCES: Final = {
    "none": Defence(accusers=False, vouching=False),
    "all but vouching": replace(ALL, vouching=False),
    "all but accusers": replace(ALL, accusers=False),
    "guards have a say": replace(ALL, guards_silent=False),
    "two will do": replace(ALL, most=False),
    "all": ALL,
}


class Tried(NamedTuple):
    """A path that was tried: in which hour, whether a circuit came of it, and who on it is honest."""

    hour: int
    built: bool
    guard: bool
    middle: bool
    exit: bool


class _Pins(PinnedHops):
    """Heeds no accusers, if told so."""

    heeds = True

    def trusted_first(self, peers: list[PeerKey], now: float) -> None:
        if self.heeds:
            super().trusted_first(peers, now)


class _Voices(Voices):
    """Decides as the experiment says."""

    defence = ALL

    def guards_are(self, voices: Iterable[Voice]) -> None:
        if self.defence.guards_silent:
            super().guards_are(voices)

    def vouched(self, peer: PeerKey) -> bool:
        return super().vouched(peer) or (not self.defence.most and len(self._of.get(peer, set()) & self._jury) >= 2)


class Client:
    """One client.

    Args:
        crowd: the peers there are.
        defence: what it does.
        guards: how many of its two guards are hostile, the first before the second.
        seed: of chance.
    """

    def __init__(self, crowd: Crowd, defence: Defence, guards: int, seed: str) -> None:
        self._crowd = crowd
        self._defence = defence
        self._rng = random.Random(seed)
        self._pins = _Pins()
        self._pins.heeds = defence.accusers
        self._guards = crowd.guards(guards, self._rng)
        for guard in self._guards:
            self._pins.pin_guard(guard.peer, 0.0, self._rng)
        self._hour = 0
        self._begin(())

    def live(self, hours: int) -> list[Tried]:
        """Live so long, and return the paths that were tried."""
        tried: list[Tried] = []
        for self._hour in range(hours):
            if self._hour and self._hour % SESSION_H == 0:
                kept = [(self._voices.vouched(found.peer), found) for found in self._directory.peers()]
                self._begin(kept)
            self._directory.purge(self._hour * HOUR_S)
            self._listen()
            for number in range(CIRCUITS_PER_HOUR):
                for path, built in self._circuit(self._hour * HOUR_S + number * HOUR_S / CIRCUITS_PER_HOUR):
                    tried.append(Tried(self._hour, built, *(peer not in self._crowd.hostile for peer in path)))
        return tried

    def _begin(self, kept: Sequence[tuple[bool, Descriptor]]) -> None:
        """Start, with what was known from before and whether that was vouched for."""
        self._directory = Directory(secret=self._rng.randbytes(8))
        self._voices = self._directory.voices = _Voices()
        self._voices.defence = self._defence
        for vouched, found in kept:
            self._directory.insert(found, None)
            if vouched:
                self._directory.insert(found, FROM_EARLIER)
        self._links: dict[PeerKey, tuple[Descriptor, Voice]] = {}
        self._blame, self._measured = Blame(), Measurements()
        rules = PathRules(HOPS, lambda _: True)
        eligible = Eligible(self._directory, rules, self._pins, self._rng) if self._defence.vouching else None
        self._choice = Choice(
            self._directory, rules, LEANS["balanced"], True, self._pins, self._measured, self._rng, eligible
        )

    # -- what becomes known

    def _listen(self) -> None:
        """Link to the guard that is used, and to others as nodes do, and hear what they tell."""
        for guard in self._guards:
            self._directory.insert(self._crowd.signed(guard, self._hour), None)
        first = self._pins.guards.awake(self._hour * HOUR_S)
        self._pins.trusted_first(first, self._hour * HOUR_S)
        for guard in self._guards:
            if guard.peer == first[0]:
                self._link(guard)
        if self._knows_few(ENOUGH):
            self._ask_dht()
        if len(self._links) < 2 and (known := self._by_trust()):
            self._link(known[0])
        self._gossip()
        if self._defence.vouching:
            while self._knows_few(VOUCHED_ENOUGH) and self._voices.linked < VOICES_WANTED:
                strangers = [found for found in self._by_trust() if found.peer not in self._links]
                if not strangers:
                    break
                self._link(strangers[0])
                self._gossip()

    def _knows_few(self, limit: int) -> bool:
        if not self._defence.vouching:
            return len(self._directory) < limit
        return sum(self._voices.vouched(found.peer) for found in self._directory.peers()) < limit

    def _ask_dht(self) -> None:
        for _ in range(FEW):
            found = self._crowd.met(self._rng)
            self._directory.insert(self._crowd.signed(found, self._hour), FROM_DHT)
            if len(self._links) < (LINKS_KEPT if self._defence.vouching else LINKS_KEPT_BEFORE):
                self._link(found)

    def _by_trust(self) -> list[Descriptor]:
        known = [found for found in self._directory.peers() if Role.RELAY in found.roles]
        self._rng.shuffle(known)
        if self._defence.vouching:
            known.sort(key=lambda found: not self._voices.vouched(found.peer))
        return known

    def _link(self, found: Descriptor) -> None:
        if found.peer not in self._links:
            voice = self._voices.link_up(found.link_key, network_of(found.addresses[0][0]))
            assert voice is not None
            self._links[found.peer] = found, voice

    def _gossip(self) -> None:
        for neighbour, voice in self._links.values():
            for found in self._crowd.told_by(neighbour, self._hour, random.Random(f"{neighbour.peer!r}")):
                self._directory.insert(found, voice)

    # -- circuits

    def _circuit(self, now: float) -> Iterator[tuple[list[PeerKey], bool]]:
        """Build a circuit, with other paths when the first ones fail; give each path, and whether it was built."""
        for number in range(TRIES):
            path = self._path(now + number)
            if path is None:
                return
            built = self._build(path, now + number)
            yield path, built
            if built:
                return

    def _path(self, now: float) -> list[PeerKey] | None:
        """Whoever is blamed is left out, and forgiven one by one, the least blamed first, until there is a path."""
        avoid = self._blame.avoided(now)
        for forgiven in range(len(avoid) + 1):
            try:
                chosen = self._choice.path(Moment(now=now, clock=now, avoid=avoid[forgiven:]))
            except CircuitError:
                continue
            return [found.peer for found in chosen]
        return None

    def _build(self, path: list[PeerKey], now: float) -> bool:
        hostile = self._crowd.hostile
        pairs = enumerate(pairwise(path))
        liar = next((place for place, (peer, after) in pairs if peer in hostile and after not in hostile), None)
        if liar is None:
            self._pins.tried(path, len(path), False, now, True)
            self._blame.proved(path, now, now)
            self._measured.built(path, now)
            return True
        self._pins.tried(path, liar + 1, True, now, True)
        self._blame.accuse(shares_of_build(path, liar, Reason.NEXT_HOP), now)
        self._measured.build_failed(path, liar, Reason.NEXT_HOP, now)
        return False
