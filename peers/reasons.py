"""Why a path goes over its hops: for each the factors and the weight, and those of the best who could stand there."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from peers.descriptor import Role
from peers.path_draw import Place
from peers.path_search import candidates_for, serves
from peers.scores import factors

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Sequence

    from core.ids import PeerKey
    from peers.choice import Weighing
    from peers.descriptor import Descriptor
    from peers.guards import PinnedHops
    from peers.path_search import Candidate, PathRules
    from peers.scores import Factors, Figures

RIVALS: Final = 3
"""Others that are named for each hop."""


@dataclass(frozen=True, slots=True)
class Standing:
    """One peer as a candidate for a place.

    Args:
        found: its descriptor.
        figures: what to expect of it.
        factors: how much each figure counts in this mode.
        weight: what it was drawn by; bounded, so not always the product of the factors.
        chance: how likely it is to be drawn for the place as things stand, from 0 to 1; None where nothing is drawn.
    """

    found: Descriptor
    figures: Figures
    factors: Factors
    weight: float
    chance: float | None


@dataclass(frozen=True, slots=True)
class Reasons:
    """Why one hop was chosen.

    Args:
        why: how the place is given, in words.
        chosen: the hop; None when it is not known any more, or may not stand there now.
        candidates: how many fit there beside the other hops.
        rivals: the best of the others, the best first.
    """

    why: str
    chosen: Standing | None
    candidates: int
    rivals: tuple[Standing, ...]


def explain(
    path: Sequence[PeerKey],
    descriptors: Iterable[Descriptor],
    rules: PathRules,
    weighing: Weighing,
    pins: PinnedHops,
) -> tuple[Reasons, ...]:
    """Explain a path by what is known now.

    Args:
        path: its peers, the guard first.
        descriptors: all peers.
        rules: what every path must be.
        weighing: how candidates are weighed.
        pins: the peers that the client holds on to.

    Returns:
        For each hop, the guard first.
    """
    candidates = list(candidates_for(descriptors, rules, frozenset()))
    kind = next((found.paid for found in candidates if found.descriptor.peer == path[-1]), None)
    candidates = [found for found in candidates if kind in (found.paid, None)]
    return tuple(_explain(place, path, candidates, rules, weighing, pins) for place in range(len(path)))


def _explain(
    place: int,
    path: Sequence[PeerKey],
    candidates: Sequence[Candidate],
    rules: PathRules,
    weighing: Weighing,
    pins: PinnedHops,
) -> Reasons:
    why, kind, kept = _place(place, path, pins)
    others = set(path) - {path[place]}
    held = _held(place + 1, path, candidates)
    if held:
        why, kind, kept = "holds a link to the hop after it", Place.MIDDLE, held
    # A hop without an address and the one that it is reached through count as one.
    beside = others - (held and {path[place + 1]}) - (_held(place, path, candidates) and {path[place - 1]})
    used = frozenset[bytes]().union(*(found.marks for found in candidates if found.descriptor.peer in beside))

    def fits(found: Candidate) -> bool:
        peer = found.descriptor.peer
        if peer in others or (kept is not None and peer not in kept) or not used.isdisjoint(found.marks):
            return False
        if kind is Place.EXIT:
            return serves(found, Role.EXIT) and rules.may_end_at(found.descriptor)
        return serves(found, Role.RELAY)

    drawn = kind is not Place.KEPT or place > 0
    standings = _standings([found.descriptor for found in candidates if fits(found)], kind, weighing, drawn=drawn)
    chosen = next((standing for standing in standings if standing.found.peer == path[place]), None)
    rivals = [standing for standing in standings if standing is not chosen]
    return Reasons(why, chosen, len(standings), tuple(rivals[:RIVALS]))


def _held(place: int, path: Sequence[PeerKey], candidates: Sequence[Candidate]) -> set[PeerKey]:
    """Those that a hop is reached through, if the one before it is among them; else none."""
    if not 0 < place < len(path):
        return set()
    hop = next((found for found in candidates if found.descriptor.peer == path[place]), None)
    holders = {relay.descriptor.peer for relay in hop.via} if hop is not None else set()
    return holders if path[place - 1] in holders else set()


def _place(place: int, path: Sequence[PeerKey], pins: PinnedHops) -> tuple[str, Place, Collection[PeerKey] | None]:
    """Say how a place is given: in words, what candidates are weighed for, and to whom it is limited."""
    last = len(path) - 1
    if place == last:
        return "drawn by weight", Place.EXIT, None
    if place == 0:
        return "kept: the first guard that works", Place.KEPT, pins.guards.peers
    if place == 1:
        return "kept: one of the second hops, evenly", Place.KEPT, pins.seconds.peers
    return "drawn by weight", Place.MIDDLE, None


def _standings(found: Sequence[Descriptor], place: Place, weighing: Weighing, *, drawn: bool) -> list[Standing]:
    """Weigh candidates; the heaviest come first."""
    weights = weighing(found, place)
    total = sum(weights) or 1.0
    standings = []
    for each, weight in zip(found, weights, strict=True):
        figures = weighing.figures(each, place)
        chance = weight / total if drawn else None
        standings.append(Standing(each, figures, factors(figures, weighing.lean), weight, chance))
    return sorted(standings, key=lambda standing: standing.weight, reverse=True)
