"""A client's circuits: built ahead, looked after, and given to flows.

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
    LONGEST_AVOID_S,
    MAX_CIRCUITS,
    OPEN_S,
    PATH_S,
    READY_CIRCUITS,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable

    from core.flow import FlowRequest
    from core.ids import PeerKey
    from tunnel.circuit import Circuit, ClientFlow
    from tunnel.links import Links
    from tunnel.path import Path

_TICK_S: Final = 0.25
_FIRST_PAUSE_S: Final = 0.2
_IDLE_PAUSE_S: Final = 1.0
_LONGEST_PAUSE_S: Final = 5.0
_random = secrets.SystemRandom()


class CircuitPool:
    """Implements the proxy's dialer.

    Args:
        links: for reaching guards.
        choose: names a path that avoids some peers; raises CircuitError when there is none.
    """

    def __init__(self, links: Links, choose: Callable[[Collection[PeerKey]], Path]) -> None:
        self._links = links
        self._choose = choose
        self._circuits: list[Circuit] = []
        self._building = 0
        self._changed = asyncio.Event()
        self._wanted = asyncio.Event()
        self._avoid: dict[PeerKey, float] = {}
        self._tasks = Tasks()
        self._failure: Reason | None = None
        self.counters: Counter[str] = Counter()

    def start(self) -> None:
        """Begin to keep circuits ready."""
        self._tasks.spawn(self._keep(), "circuits")
        self._tasks.spawn(self._look_after(), "circuit pings")

    async def close(self) -> None:
        """End every circuit."""
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
        """Give new flows a new route; running ones stay where they are until they end."""
        for circuit in self._circuits:
            circuit.retire_at = 0.0
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
            age = CIRCUIT_AGE_S * _random.uniform(0.5, 1.5)
            circuit = await build(path, self._links, age, self._circuit_over)
        except CircuitError as error:
            self._failed(path, error)
        else:
            self._failure = None
            self._circuits.append(circuit)
            self._changed.set()
            self._wanted.set()
        finally:
            self._building -= 1

    def _choose_path(self) -> Path:
        now = asyncio.get_running_loop().time()
        self._avoid = {peer: until for peer, until in self._avoid.items() if until > now}
        # Blame falls on whole stretches of a path. Who was blamed least comes back first, if it is needed.
        avoided = sorted(self._avoid, key=self._avoid.__getitem__)
        for forgiven in range(len(avoided)):
            try:
                return self._choose(avoided[forgiven:])
            except CircuitError:
                continue
        return self._choose(())

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
                if now >= circuit.retire_at and not circuit.flows:
                    circuit.close(Reason.DONE)

    def _circuit_over(self, circuit: Circuit, reason: Reason) -> None:
        if circuit in self._circuits:
            self._circuits.remove(circuit)
        self.counters[f"circuit {reason.word}"] += 1
        if circuit.link.closed:
            self._shun([circuit.path[0].peer])
        elif reason is not Reason.DONE:
            # The exit first: among equals it is forgiven first, since there are fewer to replace it.
            self._shun([hop.peer for hop in reversed(circuit.path[1:])])
        self._wanted.set()
        self._changed.set()
