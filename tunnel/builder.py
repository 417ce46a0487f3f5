"""How a client's circuits are built: over whom, how often, and who is blamed when it fails."""

from __future__ import annotations

import asyncio
import secrets
from collections import Counter
from contextlib import suppress
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Final

from core.errors import CircuitError, Reason
from core.flow import NO_OPTIONS
from tunnel.blame import CANNOT_PAY, Blame, Shares, shares_of_build, shares_of_end, shares_of_silence
from tunnel.building import build
from tunnel.circuit_witness import Samples
from tunnel.leaving import Leavers
from tunnel.limits import BUILD_BURST, BUILDS_KEPT, BUILDS_PER_MINUTE, CIRCUIT_AGE_S
from tunnel.padding import SHAPES
from tunnel.path import ANY_EXIT
from tunnel.rate import Rate
from tunnel.refusals import Refusals
from tunnel.tolerance import Tolerance

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from core.flow import SiteOptions
    from core.ids import PeerKey
    from tunnel.circuit import Circuit, CircuitEvents
    from tunnel.circuit_witness import CircuitWitness
    from tunnel.links import Links
    from tunnel.memory import Memory
    from tunnel.padding import Shape
    from tunnel.path import Path, PathChooser, Wish
    from tunnel.toll import Toll

DRAWS: Final = 4
"""Paths that are drawn when one is wanted whose peers are known to live."""

MAX_SPARED: Final = 16
"""Peers, those that most is held against, of which it is looked whether a path needs them after all."""

_UNKNOWN: Final = 0.1
"""What counts against a peer of whom nothing is known, when one that is known to live is preferred."""

_EXHAUSTED: Final = 1.0
"""What counts against an exit that ended too many circuits: as much as to be found silent once."""

_random = secrets.SystemRandom()


def peers_of(path: Path) -> list[PeerKey]:
    """The peers of a path, the guard first."""
    return [hop.peer for hop in path]


def _random_age_s(mean_s: float) -> float:
    """After how long a circuit is replaced: so long in the mean, and nobody can tell when."""
    return mean_s * _random.uniform(0.5, 1.5)


class OverBudgetError(CircuitError):
    """This client has begun so many circuits lately that it begins none now. The reason is why the last one failed."""


class Builder:
    """Chooses paths and builds circuits over them.

    Args:
        links: for reaching guards.
        choose: names a path.
        events: whom the circuits tell.
        on_silent: told of a peer that does not answer a hop before it, or this node.
        memory: the node's.
        shape: how flows look to relays where no mode is wanted for the site. May be replaced.
        witness: told how circuits do.
        toll: the node's payments.

    Attributes:
        cannot_pay: why the last circuit could not be paid for; None after one that could, or cost nothing.
        age_s: after how long circuits are replaced, in the mean.
        epoch: changes when what is begun has become useless: whoever builds compares it before and after.
    """

    def __init__(
        self,
        links: Links,
        choose: PathChooser,
        events: CircuitEvents,
        on_silent: Callable[[PeerKey], None],
        memory: Memory,
        shape: Shape,
        witness: CircuitWitness,
        toll: Toll,
    ) -> None:
        self._links = links
        self._choose = choose
        self._events = events
        self._on_silent = on_silent
        self._memory = memory
        self.shape = shape
        self.age_s = CIRCUIT_AGE_S
        self.epoch = 0
        self._witness = witness
        self._toll = toll
        self.cannot_pay: Reason | None = None
        self._last_failure = Reason.BUSY
        self._samples = Samples(witness)
        self._budget: Rate | None = None
        self.blame = Blame()
        self.tolerance = Tolerance()
        self.refusals = Refusals()
        self.leavers = Leavers()
        self.counters: Counter[str] = Counter()

    # -- paths

    def path(
        self, last: PeerKey | None = None, shun: Iterable[PeerKey] = (), draws: int = 1, wish: Wish = ANY_EXIT
    ) -> Path:
        """Choose a path over peers that little is held against, to an exit that lately refused nothing of the kind.

        Args:
            last: the exit, None for any.
            shun: peers that are better left out, although nothing is held against them.
            draws: how many paths to draw, of which the one is taken whose peers are known best to live.
            wish: what the exit, and the path, shall be.

        Raises:
            CircuitError: there is none.
        """
        refused = self.turned_away(wish) if last is None else frozenset()
        if refused - wish.but:
            with suppress(CircuitError):
                return self._path(last, shun, draws, replace(wish, but=wish.but | refused))
        return self._path(last, shun, draws, wish)

    def _path(self, last: PeerKey | None, shun: Iterable[PeerKey], draws: int, wish: Wish) -> Path:
        now = asyncio.get_running_loop().time()
        worst = self.avoided()
        rather = dict.fromkeys(peer for peer in shun if peer not in worst)
        left_out = [peer for peer in [*rather, *dict.fromkeys(worst)] if peer != last]
        forgiven = self._forgiven(left_out, last, wish)
        needless, left_out = left_out[: max(0, forgiven - 1)], left_out[forgiven:]
        for peer in needless[: -MAX_SPARED - 1 : -1]:  # it was in the way of the one after it
            with suppress(CircuitError):
                self._choose([*left_out, peer], last, wish)
                left_out.append(peer)
        drawn = [self._choose(left_out, last, wish) for _ in range(draws)]
        return min(drawn, key=lambda path: self._doubt(path, now))

    def avoided(self) -> list[PeerKey]:
        """Peers that something is held against now: no path goes over them while there is another.

        Who comes first is the first to be forgiven. Each has its place for the worst that is held against it. An exit
        that ended too many circuits may still be of use, so it comes before those that were just found silent.
        """
        now = asyncio.get_running_loop().time()
        exhausted = self.tolerance.exhausted(now)

        def weight(peer: PeerKey) -> float:
            return self.blame.weight(peer, now) + _EXHAUSTED * (peer in exhausted)

        found = sorted({*self.blame.avoided(now), *exhausted}, key=weight)
        worst_last = [*found, *self.refusals.full(now), *self.leavers.avoided(now)]
        return list(dict.fromkeys(reversed(worst_last)))[::-1]

    def turned_away(self, wish: Wish) -> frozenset[PeerKey]:
        """Exits that lately refused what a flow wants."""
        return self.refusals.of_port(wish.port, asyncio.get_running_loop().time())

    def _forgiven(self, left_out: Sequence[PeerKey], last: PeerKey | None, wish: Wish) -> int:
        """How many of the peers to leave out, the least blamed first, must be let in for a path to exist."""
        low, high = 0, len(left_out)
        while low < high:
            middle = (low + high) // 2 if low else 0
            try:
                self._choose(left_out[middle:], last, wish)
            except CircuitError:
                low = middle + 1
            else:
                high = middle
        return low

    def _doubt(self, path: Path, now: float) -> float:
        """How little is known for a path, and how much against it."""
        return sum(
            0.0 if self.blame.proved_lately(peer, now) else _UNKNOWN + self.blame.weight(peer, now)
            for peer in peers_of(path)
        )

    def held_against(self, path: Path) -> float:
        """The blame of all hops of a path."""
        now = asyncio.get_running_loop().time()
        return sum(self.blame.weight(peer, now) for peer in peers_of(path))

    # -- building

    async def build(self, path: Path, options: SiteOptions = NO_OPTIONS, *, ahead: bool = False) -> Circuit:
        """Build a circuit, within the budget; a failure is booked.

        What nothing was sent for is no build. Else a client whose guards are silent for some seconds would have used
        up all its builds on them when they are back.

        Args:
            path: its hops.
            options: what it is for.
            ahead: nobody waits for it, so what is left of the budget may be kept for those who do.

        Raises:
            CircuitError: it failed.
        """
        shape = SHAPES[options.mode] if options.mode is not None else self.shape
        try:
            circuit = await build(
                path,
                self._links,
                _random_age_s(self.age_s),
                self._events,
                self._memory,
                shape,
                self._toll,
                partial(self._begin, BUILDS_KEPT if ahead else 0),
            )
        except OverBudgetError:
            raise
        except CircuitError as error:
            self._failed(path, error)
            raise
        circuit.options = options
        self.cannot_pay = None
        self._witness.built(path)
        return circuit

    def _begin(self, leave: int) -> None:
        now = asyncio.get_running_loop().time()
        if self._budget is None:
            self._budget = Rate(BUILD_BURST, BUILDS_PER_MINUTE / 60, now)
        if not self._budget.take(now, leave):
            self.counters["build put off" if leave else "build over budget"] += 1
            raise OverBudgetError(self._last_failure)

    def _failed(self, path: Path, error: CircuitError) -> None:
        self.counters[f"build {error.reason.word}"] += 1
        self._last_failure = error.reason
        if error.hop is None:
            return
        if error.hop < 0 and error.reason in CANNOT_PAY:
            self.cannot_pay = error.reason
            if error.reason is not Reason.NO_CHANNEL:
                return
        now, peers = asyncio.get_running_loop().time(), peers_of(path)
        if error.reason is Reason.LEAVING and error.hop >= 0 and self.leavers.says(peers[error.hop], now):
            return
        if error.reason is not Reason.NO_CHANNEL:
            self._witness.build_failed(path, error.hop, error.reason)
        self.blame.accuse(shares_of_build(peers, error.hop, error.reason), now)
        if error.reason is not Reason.NEXT_HOP or error.hop + 1 >= len(path):
            return
        self._on_silent(peers[error.hop + 1])
        if error.hop == len(path) - 2:
            self.tolerance.reported(peers[-1], peers[error.hop] if error.hop >= 0 else None, now)

    # -- what circuits tell

    def proved(self, circuit: Circuit, asked_at: float) -> None:
        """All hops of a circuit live."""
        now = asyncio.get_running_loop().time()
        self._samples.answered(circuit, now)
        self.blame.proved(peers_of(circuit.path), asked_at, now)
        self.tolerance.answered(circuit.path[-1].peer)

    def leaving(self, circuit: Circuit, place: int) -> bool:
        """Hear that a hop of a circuit is about to stop; returns whether the circuit is to be left for that."""
        now, peers = asyncio.get_running_loop().time(), peers_of(circuit.path)
        if place < len(peers) - 1:
            return self.leavers.is_said(peers[place], peers[-1], circuit.made_at, now)
        if not self.leavers.says(peers[-1], now):
            self.blame.accuse(shares_of_build(peers, place, Reason.LEAVING), now)
        return True

    def lost(self, circuit: Circuit, reason: Reason) -> None:
        """A circuit ended that nobody here wanted to end."""
        now, peers = asyncio.get_running_loop().time(), peers_of(circuit.path)
        if circuit.culprit is not None:
            self.blame.accuse(Shares({}, {circuit.culprit: 1.0}), now)
            return
        if circuit.blameless:
            return
        since = circuit.pulse.silence.since
        guard_lost = circuit.link.closed or circuit.link.watch.silent
        if guard_lost or reason in (Reason.TIMED_OUT, Reason.NEXT_HOP):
            since = now if since is None else since
            alive = self.blame.alive_since(peers, since)
            self.blame.accuse(shares_of_silence(peers, guard_lost, alive), now, since)
        else:
            self.blame.accuse(shares_of_end(peers), now)
