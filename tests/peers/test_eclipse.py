"""A guard, and the second hops and exits of its friends, that say of all others that they are dead."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, NamedTuple

import pytest

from core.errors import CircuitError, Reason
from peers.choice import Weighing
from peers.descriptor import Role
from peers.guards import GUARDS, PinnedHops
from peers.measurements import Measurements
from peers.path_search import PathRules
from peers.paths import choose_pinned_path
from peers.scores import LEANS
from tests.peers.build import NOW, host, plain
from tunnel.blame import Blame, shares_of_build

if TYPE_CHECKING:
    from core.ids import PeerKey
    from peers.descriptor import Descriptor

HOSTILE = 0.3
RELAYS = [plain(number, Role.RELAY, (host(number),)) for number in range(1, 61)]
EXITS = [plain(number, Role.EXIT, (host(number),)) for number in range(101, 141)]
FRIENDS = {found.peer for peers in (RELAYS, EXITS) for found in peers[: int(HOSTILE * len(peers))]}
BETWEEN_S = 5.0


class Shares(NamedTuple):
    """Of the circuits that were built, the part in which a hop is hostile."""

    guard: float
    second: float
    exit: float
    both_ends: float


class Client:
    """Builds circuits as a node does, whose first guard is hostile, and the second is not.

    Args:
        seed: of chance.
        hops: 2 or 3.
        lies: whether hostile hops say that honest ones do not answer.
    """

    def __init__(self, seed: int, hops: int, lies: bool) -> None:
        self._rng = random.Random(seed)
        self._rules = PathRules(hops, lambda _: True)
        self._lies = lies
        self.pins, self._blame, self._known = PinnedHops(), Blame(), Measurements()
        self._now = 0.0
        for guard in (RELAYS[0], RELAYS[-1]):
            self.pins.pin_guard(guard.peer, NOW, self._rng)
        self.built: list[list[PeerKey]] = []

    def peers(self) -> list[Descriptor]:
        return [*RELAYS, *EXITS]

    def _path(self) -> list[PeerKey]:
        """Whoever is blamed is left out, and forgiven one by one, the least blamed first, until there is a path."""
        avoid = self._blame.avoided(self._now)
        weigh = Weighing(self._known, LEANS["balanced"], self._now)
        for forgiven in range(len(avoid) + 1):
            try:
                left_out, now = avoid[forgiven:], NOW + self._now
                path = choose_pinned_path(self, self._rules, self._rng, self.pins, now, left_out, weigh=weigh)
            except CircuitError:
                continue
            return [found.peer for found in path]
        raise AssertionError("there is a path")

    def build(self) -> None:
        self._now += BETWEEN_S
        path = self._path()
        liar = next((place for place, peer in enumerate(path[:-1]) if self._accuses(peer, path[place + 1])), None)
        if liar is None:
            self.pins.tried(path, len(path), False, NOW + self._now, True)
            self._blame.proved(path, self._now, self._now)
            self._known.built(path, self._now)
            self.built.append(path)
            return
        self.pins.tried(path, liar + 1, True, NOW + self._now, True)
        self._blame.accuse(shares_of_build(path, liar, Reason.NEXT_HOP), self._now)
        self._known.build_failed(path, liar, Reason.NEXT_HOP, self._now)

    def _accuses(self, peer: PeerKey, following: PeerKey) -> bool:
        return self._lies and peer in FRIENDS and following not in FRIENDS


def shares(hops: int, *, lies: bool, clients: int = 8, builds: int = 300) -> Shares:
    """About half an hour of some clients."""
    paths: list[list[PeerKey]] = []
    for seed in range(clients):
        client = Client(seed, hops, lies)
        for _ in range(builds):
            client.build()
        paths += client.built
    flags = [[peer in FRIENDS for peer in path] for path in paths]
    count = len(flags)
    return Shares(
        sum(found[0] for found in flags) / count,
        sum(found[1] for found in flags) / count,
        sum(found[-1] for found in flags) / count,
        sum(found[0] and found[-1] for found in flags) / count,
    )


@pytest.mark.parametrize("hops", [2, 3])
def test_lies_of_a_guard_and_its_friends_gain_them_nothing(hops: int) -> None:
    honest, lying = shares(hops, lies=False), shares(hops, lies=True)
    print(f"{hops} hops, without lies {honest}, with lies {lying}")
    assert honest.guard == 1, "the first guard is preferred as long as it works"
    assert honest.exit == pytest.approx(HOSTILE, abs=0.05)
    assert lying.exit == pytest.approx(HOSTILE, abs=0.1)
    assert lying.both_ends < honest.both_ends / 3


def test_lies_draw_no_guard_beyond_the_usual_number() -> None:
    client = Client(1, 3, lies=True)
    for _ in range(400):
        client.build()
    assert len(client.pins.guards) == GUARDS.usual
    assert not client.pins.counters["guard drawn beyond"]
