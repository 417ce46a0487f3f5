"""Flows whose path is gone, and how they get another one to the same exit.

All lost flows of one exit, one isolation key and one set of options are one case, so that many streams that break
together cost one race. Beside the race, the path that was lost is tried once more: the verdict of its hops says which
of them is dead, or that none is, and then the end of the circuit is counted against its exit.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Protocol
from weakref import WeakSet

from core.errors import CircuitError, FlowError, Reason
from tunnel.limits import MOVE_S, ORPHAN_S
from tunnel.race import Race, RaceOwner

if TYPE_CHECKING:
    from collections.abc import Iterable

    from core.flow import SiteOptions
    from core.ids import PeerKey
    from core.tasks import Tasks
    from tunnel.builder import Builder
    from tunnel.circuit import Circuit
    from tunnel.client_flow import ClientFlow

type Case = tuple[PeerKey, str | None, SiteOptions]
"""Exit, isolation key, and what the user wants for the sites."""


class RescueOwner(RaceOwner, Protocol):
    """The pool, as a rescue sees it."""

    def candidates(self, instead_of: Circuit) -> list[Circuit]:
        """Other circuits that may carry the flows of one: to its exit, for its key and for its options."""

    def claim(self, circuit: Circuit, isolation: str | None) -> bool:
        """Give a circuit to an isolation key, and keep it; False when another one has it, or it ended."""

    def give_up_exit(self, last: PeerKey) -> None:
        """End every circuit to an exit, and every flow on it."""


class Rescue:
    """Moves flows from circuit to circuit.

    Args:
        builder: names paths and books blame.
        owner: has the circuits.
        tasks: where the work runs.
    """

    def __init__(self, builder: Builder, owner: RescueOwner, tasks: Tasks) -> None:
        self._builder = builder
        self._owner = owner
        self._tasks = tasks
        self._cases: dict[Case, list[ClientFlow]] = {}
        self._explained: WeakSet[Circuit] = WeakSet()

    # -- flows that have no path

    def lost(self, circuit: Circuit, flows: list[ClientFlow]) -> None:
        """Find these flows another path."""
        case = (circuit.path[-1].peer, circuit.isolation, circuit.options)
        waiting = self._cases.get(case)
        if waiting is not None:
            waiting += flows
        else:
            self._cases[case] = flows
            self._tasks.spawn(self._rescue(circuit, case, flows), "rescue")
        if circuit not in self._explained and circuit.leaver is None and not circuit.blameless:
            self._explained.add(circuit)
            self._tasks.spawn(self._explain(circuit), "explain")

    async def _rescue(self, circuit: Circuit, case: Case, flows: list[ClientFlow]) -> None:
        try:
            while self._still_lost(case, flows):
                target = await self._race(circuit, case, flows)
                if target is None:
                    return
                self._adopt(target, flows)
        finally:
            del self._cases[case]
            for flow in flows:
                flow.give_up()

    def _still_lost(self, case: Case, flows: list[ClientFlow]) -> bool:
        flows[:] = [flow for flow in flows if not flow.over]
        now = asyncio.get_running_loop().time()
        tolerance, leavers = self._builder.tolerance, self._builder.leavers
        gone = tolerance.dead(case[0], now) or tolerance.spent(case[0], now) or leavers.leaves(case[0], now)
        return bool(flows) and not gone

    async def _race(self, circuit: Circuit, case: Case, flows: list[ClientFlow]) -> Circuit | None:
        last, isolation, options = case
        race = Race(
            self._builder,
            self._owner,
            last,
            options,
            (),
            lambda found: self._owner.claim(found, isolation),
            lambda: self._still_lost(case, flows),
        )
        ready = self._owner.candidates(circuit)
        lost_at = min((flow.lost_at for flow in flows if flow.lost_at is not None), default=0.0)
        return await race.run(ready, lost_at + ORPHAN_S)

    @staticmethod
    def _adopt(target: Circuit, flows: list[ClientFlow]) -> None:
        while flows:
            try:
                target.adopt(flows[-1])
            except FlowError:
                return
            flows.pop()

    # -- why the path is gone

    async def _explain(self, circuit: Circuit) -> None:
        """Try the same path again, only to hear what its hops say of each other."""
        proof = circuit.pulse.proof()
        await asyncio.wait([proof])  # a circuit that lives, though streams on it were cut, answers or ends
        if not proof.cancelled():
            self._unexplained(circuit)
            return
        if circuit.link.closed or circuit.link.watch.silent:
            return
        try:
            again = await self._builder.build(circuit.path, circuit.options)
        except CircuitError as error:
            if error.hop is None or (error.reason is Reason.NEXT_HOP and error.hop + 1 < len(circuit.path) - 1):
                return  # it was not tried, or a dead guard or relay explains it
        else:
            again.close(Reason.DONE)
        self._unexplained(circuit)

    def _unexplained(self, circuit: Circuit) -> None:
        last, now = circuit.path[-1].peer, asyncio.get_running_loop().time()
        self._builder.tolerance.ended(last, now)
        if self._builder.tolerance.spent(last, now):
            self._owner.give_up_exit(last)

    # -- flows whose path is to change

    async def move(self, circuit: Circuit) -> bool:
        """Move the flows of a circuit that works to another one to the same exit, over other relays if there are some.

        Returns:
            Whether another one was found.
        """
        loop = asyncio.get_running_loop()
        last, isolation = circuit.path[-1].peer, circuit.isolation
        race = Race(
            self._builder,
            self._owner,
            last,
            circuit.options,
            [hop.peer for hop in circuit.path[1:-1]],
            lambda found: self._owner.claim(found, isolation),
            lambda: not circuit.over and not self._builder.leavers.leaves(last, loop.time()),
        )
        target = await race.run(self._owner.candidates(circuit), loop.time() + MOVE_S)
        if target is None:
            return False
        _move_all(circuit.flows, target)
        return True


def _move_all(flows: Iterable[ClientFlow], target: Circuit) -> None:
    try:
        for flow in list(flows):
            if flow.opened.done() and not flow.over:
                target.adopt(flow)
    except FlowError:
        """The target ended meanwhile; the rest stays where it is."""
