"""Clients that live in the world: each day a session of circuits, chosen by one of three ways."""

from __future__ import annotations

import random
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, Final

from bench.report import say
from bench.simulation.outcome import Outcome
from bench.simulation.world import rtt_s
from core.errors import CircuitError, Reason
from peers.choice import Weighing
from peers.guards import DAY_S, PinnedHops
from peers.measurements import DELAY_HALF_S, Measurements
from peers.nearness import Nearness, nowhere
from peers.path_draw import evenly
from peers.path_search import PathRules, declared_region
from peers.paths import choose_pinned_path
from peers.scores import LEANS

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from bench.simulation.world import Peer, World
    from core.ids import PeerKey
    from peers.descriptor import Descriptor
    from peers.nearness import Expect
    from peers.path_draw import Place, Weigh

HOPS: Final = 3
BETWEEN_S: Final = 600.0
"""Between two circuits of a session."""
NEAREST: Final = 12
TRIES: Final = 4
DIES: Final = 0.01
"""How often a hop that was thought to be there does not answer."""
ANSWERS: Final = 8
"""Pings of a circuit that count; a node sends them all the time, and an average keeps the weight of sixteen."""
FREE: Final = (0.2, 0.9)
"""Of what a peer carries, so much is free when it is asked."""
FIRST_DAY: Final = 20_000


class Way(Enum):
    """How paths are chosen."""

    OURS = "measured"
    EVEN = "even"
    CAPACITY = "capacity"


class Origin(Enum):
    """From where distance counts, in the choice by measurement."""

    SECONDS = "seconds"
    """From the kept second hops, as in nodes."""
    GUARD = "guard"
    """From the first guard."""
    HOME = "home"
    """From the client's own country."""
    NOWHERE = "nowhere"


@dataclass(frozen=True, slots=True)
class Habits:
    """What may differ in the choice by measurement.

    Args:
        mode: what it leans on.
        half_s: time in which evidence of delays and rates halves.
        origin: from where distance counts before anything was measured.
    """

    mode: str = "balanced"
    half_s: float = DELAY_HALF_S
    origin: Origin = Origin.SECONDS


USUAL: Final = Habits()


class Client:
    """One client.

    Args:
        world: where it lives.
        way: how it chooses.
        number: which one; with the world's seed it decides everything.
        known: how many peers it knows.
        habits: what differs in its choice.
    """

    def __init__(self, world: World, way: Way, number: int, known: int, habits: Habits = USUAL) -> None:
        self._world = world
        self._way = way
        rng = random.Random(f"client {world.seed} {number}")
        self.spot = world.spot(rng)
        self._order = rng.sample(sorted(world.peers), len(world.peers))
        self._size = known
        self._rng = random.Random(f"draws {world.seed} {number}")
        self._rules = PathRules(HOPS, lambda _: True)
        self._pins, self._measured = PinnedHops(), Measurements(habits.half_s)
        self._habits = habits
        self._nearness = Nearness(world, declared_region, self.spot.country)
        self._known: list[Descriptor] = []

    def peers(self) -> Sequence[Descriptor]:
        """Whom it knows today: a directory for the choice."""
        return self._known

    def wake(self, there: Collection[PeerKey]) -> None:
        """Learn who is there today: those that were known before, as far as they are, then others."""
        found = (peer for peer in self._order if peer in there)
        self._known = [self._world.peers[peer].descriptor for peer, _ in zip(found, range(self._size), strict=False)]

    def circuit(self, day: int, number: int, rng: random.Random) -> list[Peer] | None:
        """Build a circuit, with new paths for those that fail; None when none could be built."""
        clock = day * DAY_S + number * BETWEEN_S
        avoid: set[PeerKey] = set()
        for _ in range(TRIES):
            try:
                path = choose_pinned_path(
                    self,
                    self._rules,
                    self._rng,
                    self._pins,
                    FIRST_DAY * DAY_S + clock,
                    avoid,
                    weigh=self.weigh(clock),
                )
            except CircuitError:
                return None
            peers = [self._world.peers[found.peer] for found in path]
            names = [found.peer for found in path]
            dead = next((place for place in range(HOPS) if rng.random() < DIES), None)
            if dead is None:
                self._learn(names, peers, clock, rng)
                return peers
            self._pins.tried(names, dead, True, FIRST_DAY * DAY_S + clock, True)
            self._measured.build_failed(names, dead - 1, Reason.NEXT_HOP, clock)
            avoid.add(names[dead])
        return None

    def kept_seconds(self) -> list[Peer]:
        """The second hops that it holds on to."""
        return [self._world.peers[peer] for peer in self._pins.seconds.peers]

    def _learn(self, names: list[PeerKey], peers: list[Peer], clock: float, rng: random.Random) -> None:
        self._pins.tried(names, HOPS, False, FIRST_DAY * DAY_S + clock, True)
        self._measured.built(names, clock)
        link_s, all_s = rtt_s(self.spot, peers[0].spot), self.delay_s(peers)
        for _ in range(ANSWERS):
            noise = rng.uniform(1.0, 1.2)
            self._measured.link_answered(names[0], noise * link_s, clock)
            self._measured.answered(names, noise * all_s, clock)
        self._measured.carried(names, min(peer.kb_s * rng.uniform(*FREE) for peer in peers), clock)

    def weigh(self, clock: float) -> Weigh:
        """How it weighs candidates at a time of its measurements."""
        if self._way is Way.EVEN:
            return evenly
        if self._way is Way.CAPACITY:
            return self._by_capacity
        return Weighing(self._measured, LEANS[self._habits.mode], clock, expects=self._expects())

    def _expects(self) -> Expect:
        if self._habits.origin is Origin.HOME:
            return self._nearness.seen_from(())
        kept = {Origin.SECONDS: self._pins.seconds.peers, Origin.GUARD: self._pins.guards.peers[:1]}
        before = [self._world.peers[peer].descriptor for peer in kept.get(self._habits.origin, ())]
        return self._nearness.seen_from(before) if before else nowhere

    def _by_capacity(self, candidates: Sequence[Descriptor], place: Place) -> list[float]:
        return [found.capacity_kb_s or self._world.peers[found.peer].kb_s for found in candidates]

    def delay_s(self, path: Sequence[Peer]) -> float:
        """The round trip of a path."""
        spots = [self.spot, *(peer.spot for peer in path)]
        return sum(map(rtt_s, spots, spots[1:]))

    def best_s(self) -> float:
        """About the shortest round trip of a path over peers that it knows: the best over those nearest to it."""
        peers = [self._world.peers[found.peer] for found in self._known]
        peers.sort(key=lambda peer: rtt_s(self.spot, peer.spot))
        relays = peers[:NEAREST]
        exits = [peer for peer in peers if len(peer.descriptor.roles) == 2][:NEAREST]
        return min(
            self.delay_s((guard, second, last))
            for last in exits
            for guard in relays
            for second in relays
            if len({id(guard), id(second), id(last)}) == HOPS
        )


def live(world: World, way: Way, clients: int, known: int, days: int, circuits: int, habits: Habits = USUAL) -> Outcome:
    """Let clients of one way live.

    Args:
        world: where.
        way: how they choose.
        clients: how many.
        known: peers that each knows.
        days: for how long.
        circuits: of each in a day.
        habits: what differs in their choice by measurement.
    """
    outcome = Outcome(list(world.peers.values()), clients)
    crowd = [Client(world, way, number, known, habits) for number in range(clients)]
    rng = random.Random(f"luck {world.seed}")
    for day, there in enumerate(world.days(days)):
        for number, client in enumerate(crowd):
            client.wake(there)
            best_s = client.best_s()
            for each in range(circuits):
                path = client.circuit(day, each, rng)
                if path is None:
                    outcome.failed += 1
                else:
                    outcome.used(number, path, client.delay_s(path), best_s)
        outcome.day_is_over()
        if day % 10 == 9:
            say(f"  day {day + 1}")
    return outcome
