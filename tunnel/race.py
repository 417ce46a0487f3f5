"""A race for one circuit: ready ones are asked for a sign of life, new ones are built, and the first that answers wins.

One is built, and while there is no result, after a moment another one over other peers. Builds that are still under
way when the race is won go on: what they bring is handed to the owner.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Final, Protocol

from core.errors import CircuitError
from tunnel.builder import DRAWS, peers_of
from tunnel.limits import MAX_RACERS, STAGGER_S
from tunnel.path import Wish

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from core.flow import SiteOptions
    from core.ids import PeerKey
    from tunnel.builder import Builder
    from tunnel.circuit import Circuit
    from tunnel.path import Path

FIRST_PAUSE_S: Final = 0.05
LONGEST_PAUSE_S: Final = 1.0
"""Between a build that failed and the next one: doubled each time, up to this."""

type Built = asyncio.Task[Circuit | CircuitError]


class RaceOwner(Protocol):
    """For whom the race is run."""

    def spawn_build(self, path: Path, options: SiteOptions) -> Built:
        """Begin to build for these options; the task may outlive the race."""

    def offer(self, circuit: Circuit) -> None:
        """A circuit that the race does not need."""


class Race:
    """One race.

    Args:
        builder: names paths.
        owner: for whom.
        last: the exit at which the circuit shall end.
        options: what the user wants for the sites that it shall carry.
        shun: peers better left out.
        fits: claims a circuit that answered; False when it will not do.
        wanted: whether the race goes on; asked at each turn.
    """

    def __init__(
        self,
        builder: Builder,
        owner: RaceOwner,
        last: PeerKey,
        options: SiteOptions,
        shun: Collection[PeerKey],
        fits: Callable[[Circuit], bool],
        wanted: Callable[[], bool],
    ) -> None:
        self._builder = builder
        self._owner = owner
        self._last = last
        self._options = options
        self._shun = shun
        self._fits = fits
        self._wanted = wanted
        self._loop = asyncio.get_running_loop()
        self._proofs: dict[asyncio.Future[Any], Circuit] = {}
        self._builds: dict[asyncio.Future[Any], Path] = {}
        self._next_at = 0.0
        self._pause = FIRST_PAUSE_S

    async def run(self, ready: Collection[Circuit], deadline: float) -> Circuit | None:
        """Run the race.

        Args:
            ready: circuits that might do, if they still live.
            deadline: loop time at which it ends.

        Returns:
            The winner; None when there is none in time, or it is not wanted any more.
        """
        self._proofs = {circuit.pulse.proof(): circuit for circuit in ready}
        self._next_at = self._loop.time() + _patience(ready)
        try:
            while self._loop.time() < deadline and self._wanted():
                self._begin_one()
                if (winner := await self._turn(deadline)) is not None:
                    return winner
            return None
        finally:
            for proof in self._proofs:
                proof.cancel()
            for build in self._builds:
                build.add_done_callback(self._late)

    def _begin_one(self) -> None:
        """Begin another build, if it is time."""
        if self._loop.time() < self._next_at or len(self._builds) >= MAX_RACERS:
            return
        racing = [peer for path in self._builds.values() for peer in peers_of(path)]
        try:
            path = self._builder.path(self._last, [*self._shun, *racing], DRAWS, Wish(options=self._options))
        except CircuitError:
            self._failed()
            return
        self._builds[self._owner.spawn_build(path, self._options)] = path
        self._next_at = self._loop.time() + STAGGER_S

    async def _turn(self, deadline: float) -> Circuit | None:
        """Wait until something happened or is due; return the winner if there is one."""
        until = deadline if len(self._builds) >= MAX_RACERS else min(self._next_at, deadline)
        waiting = [*self._proofs, *self._builds]
        timeout = max(0.0, until - self._loop.time())
        if not waiting:
            await asyncio.sleep(timeout)
            return None
        done, _ = await asyncio.wait(waiting, timeout=timeout, return_when=asyncio.FIRST_COMPLETED)
        winner = None
        for racer in (racer for racer in waiting if racer in done):
            circuit = self._proved(racer) if racer in self._proofs else self._built(racer)
            if circuit is None:
                continue
            if winner is None and self._fits(circuit):
                winner = circuit
            elif racer not in self._proofs:
                self._owner.offer(circuit)
        return winner

    def _proved(self, proof: asyncio.Future[Any]) -> Circuit | None:
        circuit = self._proofs.pop(proof)
        if not self._proofs and not self._builds:
            self._next_at = self._loop.time()
        return None if proof.cancelled() else circuit

    def _built(self, build: asyncio.Future[Any]) -> Circuit | None:
        del self._builds[build]
        circuit = _outcome(build)
        if circuit is None:
            self._failed()
        return circuit

    def _failed(self) -> None:
        self._next_at = self._loop.time() + self._pause
        self._pause = min(2 * self._pause, LONGEST_PAUSE_S)

    def _late(self, build: asyncio.Future[Any]) -> None:
        if (circuit := _outcome(build)) is not None:
            self._owner.offer(circuit)


def _patience(ready: Collection[Circuit]) -> float:
    """How long to wait for the ready ones alone: what they took last time, and as long again."""
    return max((min(2 * (circuit.rtt_s or STAGGER_S), STAGGER_S) for circuit in ready), default=0.0)


def _outcome(build: asyncio.Future[Any]) -> Circuit | None:
    if build.cancelled() or build.exception() is not None or isinstance(build.result(), CircuitError):
        return None
    circuit: Circuit = build.result()
    return circuit
