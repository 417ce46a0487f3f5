"""A client's circuits: built ahead, looked after, and given to flows.

When a circuit is lost or too old, its flows go on over another one to the same exit; nobody who uses them notices.
Flows whose isolation keys differ never share a circuit. A circuit that has carried one key's flows stays that key's.
When there is no live circuit and none can be built in time, a flow is refused: nothing ever goes another way.
"""

from __future__ import annotations

import asyncio
import secrets
from collections import Counter
from contextlib import suppress
from typing import TYPE_CHECKING, Final

from core.errors import CircuitError, FlowError, Reason
from core.tasks import Tasks
from tunnel.circuit import build
from tunnel.limits import (
    AVOID_S,
    CIRCUIT_AGE_S,
    EXIT_FAILURES,
    LONGEST_AVOID_S,
    MAX_CIRCUITS,
    MOVE_BUILD_S,
    MOVE_TRIES,
    OPEN_S,
    ORPHAN_S,
    PATH_S,
    READY_CIRCUITS,
)

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

    from core.flow import DatagramFlow, FlowRequest
    from core.ids import PeerKey
    from tunnel.circuit import Circuit, ClientFlow
    from tunnel.links import Links
    from tunnel.memory import Memory
    from tunnel.path import Path, PathChooser

_TICK_S: Final = 0.25
_FIRST_PAUSE_S: Final = 0.2
_IDLE_PAUSE_S: Final = 1.0
_LONGEST_PAUSE_S: Final = 5.0
_random = secrets.SystemRandom()


class CircuitPool:
    """Implements the proxy's dialer.

    Args:
        links: for reaching guards.
        choose: names a path that avoids some peers, and ends at a certain exit if one is named; raises CircuitError
            when there is none.
        memory: the node's.
    """

    def __init__(self, links: Links, choose: PathChooser, memory: Memory) -> None:
        self._links = links
        self._memory = memory
        self._choose = choose
        self._circuits: list[Circuit] = []
        self._building = 0
        self._changed = asyncio.Event()
        self._wanted = asyncio.Event()
        self._avoid: dict[PeerKey, float] = {}
        self._tasks = Tasks()
        self._closed = False
        self._failure: Reason | None = None
        self.counters: Counter[str] = Counter()

    def start(self) -> None:
        """Begin to keep circuits ready."""
        self._tasks.spawn(self._keep(), "circuits")
        self._tasks.spawn(self._look_after(), "circuit pings")

    async def close(self) -> None:
        """End every circuit and every flow."""
        self._closed = True
        await self._tasks.cancel()
        for circuit in list(self._circuits):
            circuit.close(Reason.CLOSED)

    # -- for people

    @property
    def circuits(self) -> list[Circuit]:
        return list(self._circuits)

    @property
    def ready(self) -> int:
        """Circuits that would take a new flow now."""
        return len(self._usable())

    @property
    def failure(self) -> Reason | None:
        """Why the last attempt to build failed; None after a success."""
        return self._failure

    def hop(self) -> None:
        """Change the route now: new circuits for new flows, and for running ones to the exit that they have."""
        for circuit in list(self._circuits):
            circuit.retire_at = 0.0
            self._replace(circuit)
        self._wanted.set()

    def paths_changed(self) -> None:
        """More peers are known; try again without waiting."""
        self._wanted.set()

    # -- giving circuits to flows

    async def dial(self, request: FlowRequest) -> ClientFlow:
        """Open a flow.

        Raises:
            FlowError: no circuit in time, or the exit's reason.
        """
        loop = asyncio.get_running_loop()
        deadline = loop.time() + PATH_S
        while True:
            circuit = self._pick(request.isolation) or await self._next_circuit(request.isolation, deadline)
            try:
                flow = circuit.open_flow(request)
                if await self._opened(flow, circuit, deadline):
                    return flow
            except FlowError as error:
                if error.reason is not Reason.CLOSED or loop.time() >= deadline:
                    raise
            except asyncio.CancelledError:
                flow.reset(Reason.LOCAL)
                raise

    async def dial_datagrams(self, isolation: str = "") -> DatagramFlow:
        """Open a UDP association.

        Raises:
            FlowError: no circuit in time, or the exit's reason.
        """
        loop = asyncio.get_running_loop()
        deadline = loop.time() + PATH_S
        circuit = self._pick(isolation) or await self._next_circuit(isolation, deadline)
        datagrams = circuit.open_datagrams()
        try:
            await self._opened(datagrams.flow, circuit, deadline)
        except asyncio.CancelledError:
            datagrams.close(Reason.LOCAL)
            raise
        return datagrams

    async def _opened(self, flow: ClientFlow, circuit: Circuit, deadline: float) -> bool:
        """Wait for the exit's answer: until the deadline if the circuit is silent, else as long as an exit may take."""
        loop = asyncio.get_running_loop()
        asked_at = loop.time()
        for limit in (deadline, asked_at + OPEN_S):
            done, _ = await asyncio.wait([flow.opened], timeout=max(0.0, limit - loop.time()))
            if done:
                flow.opened.result()
                return True
            if not circuit.answered_since(asked_at):
                flow.reset(Reason.LOCAL)
                raise FlowError(Reason.NO_PATH)
        flow.reset(Reason.TIMED_OUT)
        raise FlowError(Reason.TIMED_OUT)

    def _usable(self) -> list[Circuit]:
        now = asyncio.get_running_loop().time()
        return [circuit for circuit in self._circuits if not circuit.over and now < circuit.retire_at]

    def _pick(self, isolation: str) -> Circuit | None:
        usable = self._usable()
        for wanted in (isolation, None):
            for circuit in usable:
                if circuit.isolation == wanted:
                    if wanted is None:
                        circuit.isolation = isolation
                        self._wanted.set()
                    return circuit
        return None

    async def _next_circuit(self, isolation: str, deadline: float) -> Circuit:
        self._wanted.set()
        try:
            async with asyncio.timeout_at(deadline):
                while True:
                    self._changed.clear()
                    if (circuit := self._pick(isolation)) is not None:
                        return circuit
                    await self._changed.wait()
        except TimeoutError:
            raise FlowError(Reason.NO_PATH) from None

    # -- building

    def _missing(self) -> int:
        """How many circuits to build now: at least two usable, and one of them not yet given to a key."""
        usable = self._usable()
        free = sum(circuit.isolation is None for circuit in usable)
        missing = max(READY_CIRCUITS - len(usable), 1 - free) - self._building
        return min(missing, MAX_CIRCUITS - len(self._circuits) - self._building)

    async def _keep(self) -> None:
        """Build what is missing: at once when something changed, at growing intervals while it fails."""
        pause = _FIRST_PAUSE_S
        while True:
            self._wanted.clear()
            for _ in range(self._missing()):
                self._building += 1
                self._tasks.spawn(self._build(), "circuit")
            with suppress(TimeoutError):
                async with asyncio.timeout(pause):
                    await self._wanted.wait()
            if self._failure is None:
                pause = _IDLE_PAUSE_S
            else:
                pause = min(pause * 1.5, _LONGEST_PAUSE_S)
                await asyncio.sleep(_FIRST_PAUSE_S)  # whoever asks, and however often

    async def _build(self) -> None:
        path: Path = ()
        try:
            path = self._choose_path()
            circuit = await self._built(path)
        except CircuitError as error:
            self._failed(path, error)
        else:
            self._failure = None
            self._circuits.append(circuit)
            self._changed.set()
            self._wanted.set()
        finally:
            self._building -= 1

    async def _built(self, path: Path) -> Circuit:
        return await build(path, self._links, CIRCUIT_AGE_S * _random.uniform(0.5, 1.5), self, self._memory)

    def _choose_path(self, last: PeerKey | None = None, also_avoid: Collection[PeerKey] = ()) -> Path:
        now = asyncio.get_running_loop().time()
        self._avoid = {peer: until for peer, until in self._avoid.items() if until > now}
        # Blame falls on whole stretches of a path. Who was blamed least comes back first, if it is needed.
        avoided = [*also_avoid, *sorted(self._avoid, key=self._avoid.__getitem__)]
        avoided = [peer for peer in avoided if peer != last]
        for forgiven in range(len(avoided)):
            try:
                return self._choose(avoided[forgiven:], last)
            except CircuitError:
                continue
        return self._choose((), last)

    def _failed(self, path: Path, error: CircuitError) -> None:
        self._failure = error.reason
        self.counters[f"build {error.reason.word}"] += 1
        place = error.hop
        if place is not None and path:
            # A hop that reports the next one unreachable shares the blame with it.
            self._shun(hop.peer for hop in path[place : place + 2])

    def _shun(self, peers: Iterable[PeerKey]) -> None:
        now = asyncio.get_running_loop().time()
        for peer in peers:
            until = max(self._avoid.get(peer, now), now) + AVOID_S
            self._avoid[peer] = min(until, now + LONGEST_AVOID_S)

    # -- upkeep

    async def _look_after(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(_TICK_S)
            now = loop.time()
            for circuit in list(self._circuits):
                circuit.tick(now)
                if now >= circuit.retire_at:
                    self._replace(circuit)

    # -- moving flows

    def _replace(self, circuit: Circuit) -> None:
        """Move a circuit's flows to a new one to the same exit, and close it once it carries none."""
        if not circuit.flows:
            circuit.close(Reason.DONE)
        elif not circuit.moving:
            circuit.moving = True
            self._tasks.spawn(self._move(circuit), "hop")

    async def _move(self, circuit: Circuit) -> None:
        try:
            target = await self._circuit_to(circuit, [hop.peer for hop in circuit.path[1:-1]])
            for flow in list(circuit.flows):
                if flow.opened.done() and not flow.over:
                    target.adopt(flow)
        except (CircuitError, FlowError):
            await asyncio.sleep(_LONGEST_PAUSE_S)
        finally:
            circuit.moving = False

    def flows_lost(self, circuit: Circuit, flows: list[ClientFlow]) -> None:
        if self._closed:
            for flow in flows:
                flow.give_up()
        else:
            self._tasks.spawn(self._rescue(circuit, flows), "rescue")

    async def _rescue(self, circuit: Circuit, flows: list[ClientFlow]) -> None:
        """Find flows whose path is gone another one to the same exit, as long as the exit keeps them."""
        loop = asyncio.get_running_loop()
        deadline = min(flow.lost_at or loop.time() for flow in flows) + ORPHAN_S
        pause, exit_failures = _FIRST_PAUSE_S / 4, 0
        try:
            for _ in range(MOVE_TRIES):
                flows[:] = [flow for flow in flows if not flow.over]
                if not flows or loop.time() > deadline or exit_failures > EXIT_FAILURES:
                    return
                try:
                    target = await self._circuit_to(circuit, ())
                    while flows:
                        target.adopt(flows[-1])
                        flows.pop()
                except (CircuitError, FlowError) as error:
                    # The hop before the exit cannot reach it: more than one of them will hardly be wrong.
                    exit_failures += isinstance(error, CircuitError) and error.hop == len(circuit.path) - 2
                    await asyncio.sleep(pause)
                    pause = min(pause * 2, _IDLE_PAUSE_S)
        finally:
            for flow in flows:
                flow.give_up()

    async def _circuit_to(self, old: Circuit, avoid: Collection[PeerKey]) -> Circuit:
        """A circuit to the exit of another one, for flows of its isolation key.

        Raises:
            CircuitError: none can be built.
        """
        last = old.path[-1].peer
        for circuit in self._usable():
            # One through a peer that is under suspicion may be as dead, and not known to be so yet.
            clean = not any(hop.peer in self._avoid for hop in circuit.path[:-1])
            fits = circuit.path[-1].peer == last and circuit.isolation in (old.isolation, None)
            if circuit is not old and clean and fits:
                circuit.isolation = old.isolation
                self._wanted.set()
                return circuit
        path: Path = ()
        try:
            path = self._choose_path(last, avoid)
            async with asyncio.timeout(MOVE_BUILD_S):
                circuit = await self._built(path)
        except CircuitError as error:
            self._failed(path, error)
            raise
        except TimeoutError as error:
            # Somebody on it is silent. There is no time to find out who.
            self._shun(hop.peer for hop in path[:-1])
            raise CircuitError(Reason.TIMED_OUT) from error
        circuit.isolation = old.isolation
        self._circuits.append(circuit)
        self._changed.set()
        return circuit

    def circuit_over(self, circuit: Circuit, reason: Reason) -> None:
        if circuit in self._circuits:
            self._circuits.remove(circuit)
        self.counters[f"circuit {reason.word}"] += 1
        if circuit.link.closed:
            self._shun([circuit.path[0].peer])
        elif reason is not Reason.DONE:
            # Exit and guard first: among equals they are forgiven first, since there are fewer to replace them.
            self._shun(hop.peer for hop in (circuit.path[-1], *circuit.path[:-1]))
        self._wanted.set()
        self._changed.set()
