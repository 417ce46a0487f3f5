"""A client's circuits: built ahead, looked after, and given to flows.

When a circuit is lost or too old, its flows go on over another one to the same exit; nobody who uses them notices.
Flows whose isolation keys differ never share a circuit, nor do those of sites for which the user wants different
things (`core.flow.SiteOptions`). A circuit that has carried one key's flows stays that key's.
When there is no live circuit and none can be built in time, a flow is refused: nothing ever goes another way.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING, Final

from core.errors import CircuitError, FlowError, Reason
from core.flow import NO_OPTIONS
from core.tasks import Tasks
from tunnel.builder import Builder
from tunnel.limits import MAX_CIRCUITS, READY_CIRCUITS
from tunnel.opening import Opening
from tunnel.path import ANY_EXIT
from tunnel.picking import least_shared, used_ends
from tunnel.rescue import Rescue
from tunnel.site_places import SitePlaces
from tunnel.under_way import UnderWay
from tunnel.wishes import Wishes

if TYPE_CHECKING:
    from collections import Counter
    from collections.abc import Collection

    from core.flow import DatagramFlow, FlowRequest, SiteOptions
    from core.ids import PeerKey
    from tunnel.circuit import Circuit
    from tunnel.circuit_witness import CircuitWitness
    from tunnel.client_flow import ClientFlow
    from tunnel.links import Links
    from tunnel.memory import Memory
    from tunnel.padding import Shape
    from tunnel.path import ExitOffers, ExitRank, Path, PathChooser, Wish
    from tunnel.race import Built
    from tunnel.toll import Toll

_TICK_S: Final = 0.25
_FIRST_PAUSE_S: Final = 0.2
_IDLE_PAUSE_S: Final = 1.0
_LONGEST_PAUSE_S: Final = 5.0
_SITE_PAUSE_S: Final = 0.5
"""From a build for a site that failed to the next one, if a flow still waits: some fit into `PATH_S`."""


class CircuitPool:
    """Implements the proxy's dialer.

    Args:
        links: for reaching guards.
        choose: names paths.
        memory: the node's.
        shape: how flows look to relays where no mode is wanted for the site.
        rank: how much an exit is wanted for new flows.
        witness: told how circuits do.
        offers: what exits say that they serve.
        toll: the node's payments.
    """

    def __init__(
        self,
        links: Links,
        choose: PathChooser,
        memory: Memory,
        shape: Shape,
        rank: ExitRank,
        witness: CircuitWitness,
        offers: ExitOffers,
        toll: Toll,
    ) -> None:
        self._rank = rank
        self._witness = witness
        self._lost_exits: dict[str, PeerKey] = {}
        self._circuits: list[Circuit] = []
        self._changed = asyncio.Event()
        self._wanted = asyncio.Event()
        self._under_way = UnderWay(self._wanted.set, lambda: self._wishes.awaited)
        self._tasks = Tasks()
        self._closed = False
        self._failure: Reason | None = None
        self.builder = Builder(links, choose, self, self._ask_all_over, memory, shape, witness, toll)
        self._rescue = Rescue(self.builder, self, self._tasks)
        self._wishes = Wishes(offers)
        self._places = SitePlaces()
        self._opening = Opening(self, self.builder, witness, self._tasks)
        self.counters: Counter[str] = self.builder.counters

    def start(self) -> None:
        """Begin to keep circuits ready."""
        self._tasks.spawn(self._keep(), "circuits")
        self._tasks.spawn(self._look_after(), "circuit pings")

    async def close(self) -> None:
        """End every circuit and every flow."""
        self._closed = True
        await self._tasks.cancel()
        self.rest()

    def rest(self) -> None:
        """End every circuit and every flow, and build nothing until `wake`."""
        self._closed = True
        self.builder.epoch += 1
        for circuit in list(self._circuits):
            circuit.close(Reason.CLOSED)

    def wake(self) -> None:
        """Build again."""
        self._closed, self._failure = False, None
        self._wanted.set()

    # -- for people

    @property
    def circuits(self) -> list[Circuit]:
        return list(self._circuits)

    @property
    def ready(self) -> int:
        """Circuits that would take a new flow now, of a site for which nothing of its own is wanted."""
        return sum(circuit.options == NO_OPTIONS for circuit in self._usable())

    @property
    def failure(self) -> Reason | None:
        """Why the last attempt to build failed; None after a success."""
        return self._failure

    def hop(self) -> None:
        """Change the route now: new circuits for new flows, and for running ones to the exit that they have. What is
        being built is not used."""
        self.builder.epoch += 1
        for circuit in list(self._circuits):
            circuit.retire_at = 0.0
            self._replace(circuit)
        self._wanted.set()

    def paths_changed(self) -> None:
        """More peers are known; try again without waiting."""
        self._wanted.set()

    # -- giving circuits to flows

    async def dial(self, request: FlowRequest, *, early: bool = False) -> ClientFlow:
        """Open a flow.

        Args:
            request: where to.
            early: do not wait for the exit's answer. The flow then ends with the reason if no exit opens it.

        Raises:
            FlowError: no circuit in time, no exit that serves the port, or the exits' reason; `SITE_OPTIONS` where
                there is none that meets the options.
        """
        return await self._opening.dial(request, early=early)

    async def dial_datagrams(self, isolation: str = "") -> DatagramFlow:
        """Open a UDP association.

        Raises:
            FlowError: no circuit in time, or the exit's reason.
        """
        return await self._opening.dial_datagrams(isolation)

    def _usable(self) -> list[Circuit]:
        now = asyncio.get_running_loop().time()
        return [circuit for circuit in self._circuits if not (circuit.over or circuit.full) and now < circuit.retire_at]

    def _free(self, options: SiteOptions = NO_OPTIONS) -> list[Circuit]:
        """Those for some options that no key has used."""
        return [found for found in self._usable() if found.isolation is None and found.options == options]

    # -- tunnel.opening.CircuitSource

    def circuit_now(self, isolation: str, wish: Wish) -> Circuit | None:
        circuit = self._pick(isolation, wish)
        if circuit is not None:
            circuit.used_at = asyncio.get_running_loop().time()
            self._wishes.used(wish, circuit.used_at)
        return circuit

    async def circuit_by(self, isolation: str, wish: Wish, deadline: float) -> Circuit:
        usual = wish.options == NO_OPTIONS
        if not self._wishes.possible(wish):
            raise FlowError(Reason.NOT_SERVED if usual else Reason.SITE_OPTIONS)
        try:
            with self._wishes.waiting(wish, isolation):
                self._wanted.set()
                async with asyncio.timeout_at(deadline):
                    while True:
                        self._changed.clear()
                        if (circuit := self.circuit_now(isolation, wish)) is not None:
                            return circuit
                        await self._changed.wait()
        except TimeoutError:
            raise FlowError(self.builder.cannot_pay or (Reason.NO_PATH if usual else Reason.SITE_OPTIONS)) from None

    def _pick(self, isolation: str, wish: Wish = ANY_EXIT) -> Circuit | None:
        """A circuit for a new flow, for its options, to an exit that will do: not silent, to the exit that is wanted
        most, which lately refused nothing of the kind; the key's own before one that is nobody's, unless it
        carries nothing and ends where other keys' do; of several one that is not blamed, to an exit that few other keys
        use."""
        before = self._lost_exits.get(isolation)
        used = used_ends(self._usable(), wish.options, but=isolation)
        refused = self.builder.turned_away(wish)

        def worse(found: Circuit) -> tuple[bool, int, bool, bool]:
            last = found.path[-1].peer
            settled = found.isolation is not None and (bool(found.flows) or not used[last])
            return found.pulse.doubted, self._rank(last, before, wish.options), last in refused, not settled

        order = {
            circuit: worse(circuit)
            for circuit in self._usable()
            if circuit.isolation in (isolation, None)
            and circuit.options == wish.options
            and self._wishes.fit(circuit.path[-1].peer, wish)
        }
        if not order:
            return None
        least = min(order.values())
        best = [circuit for circuit, found in order.items() if found == least]
        circuit = best[0] if len(best) == 1 else least_shared(best, used, self.builder.held_against)
        if circuit.isolation is None:
            for left in best:
                if left.isolation is not None:
                    left.retire_at = 0.0
        self.claim(circuit, isolation)
        self._lost_exits.pop(isolation, None)
        return circuit

    # -- building

    def _missing(self) -> int:
        """How many circuits to build ahead now: so many shall be nobody's yet, and end where it is wanted most.

        While it is tried in vain to build these, as many others are kept.
        """
        free = self._free()
        wanted = sum(self._rank(circuit.path[-1].peer, None, NO_OPTIONS) == 0 for circuit in free)
        begun = len(self._ahead()) - len(free)
        missing = min(READY_CIRCUITS - wanted, 2 * READY_CIRCUITS - len(free)) - begun
        return min(missing, MAX_CIRCUITS - len(self._circuits) - len(self._under_way))

    async def _keep(self) -> None:
        """Build what is missing: at once when something changed, at growing intervals while it fails."""
        pause = _FIRST_PAUSE_S
        while True:
            while self._closed:
                self._wanted.clear()
                await self._wanted.wait()
            changed = self._wanted.is_set()
            self._wanted.clear()
            hopeless: set[Wish] = set()
            for wish in self._unmet():
                if wish not in hopeless and not self._begin(wish):
                    hopeless.add(wish)
            for _ in range(self._missing()):
                self._begin_ahead()
            if changed:
                self._spread()
            with suppress(TimeoutError):
                async with asyncio.timeout(_FIRST_PAUSE_S if hopeless else pause):  # flows wait for seconds only
                    await self._wanted.wait()
            pause = _IDLE_PAUSE_S if self._failure is None else min(pause * 1.5, _LONGEST_PAUSE_S)
            if self._failure is not None or hopeless:
                await asyncio.sleep(_FIRST_PAUSE_S)  # whoever asks, and however often

    def _ahead(self, options: SiteOptions = NO_OPTIONS, *, hopeful: bool = False) -> list[Path]:
        """The paths of circuits for some options that are nobody's yet, or are being built, and not slow to come."""
        building = self._under_way.hopeful if hopeful else self._under_way.paths
        return [*(circuit.path for circuit in self._free(options)), *building(options)]

    def _unmet(self) -> list[Wish]:
        """What flows wait for that no circuit ahead will do for, as many as may be built."""
        unmet = self._wishes.unmet(lambda options: [path[-1].peer for path in self._ahead(options, hopeful=True)])
        return unmet[: max(0, MAX_CIRCUITS - len(self._circuits) - len(self._under_way))]

    def _begin(self, wish: Wish, *, ahead: bool = False) -> bool:
        """Begin to build one over other guards, and to other exits, than the next flows would take.

        Rather to an exit that no key uses, too; that is the first thing to be given up.

        Returns:
            Whether there is a path to an exit that will do, and a place for one more.
        """
        ends = [path[place].peer for path in self._ahead(wish.options) for place in (-1, 0)]
        used = [end for end in used_ends(self._usable(), wish.options) if end not in ends]
        try:
            path = self.builder.path(shun=[*used, *ends, *self._under_way.doubted(wish.options)], wish=wish)
        except CircuitError as error:
            if wish == ANY_EXIT:
                self._failure = error.reason
            return False
        if wish.options != NO_OPTIONS and not self._take_place():
            return False
        self._start(path, wish.options, ahead=ahead)
        return True

    def _take_place(self) -> bool:
        return self._places.take(self._circuits, self._under_way.for_sites, asyncio.get_running_loop().time())

    def _begin_ahead(self) -> None:
        """Begin to build one that nobody waits for, if possible to an exit for a port that was lately used."""
        ends = {path[-1].peer for path in self._ahead()}
        if not self._begin(wish := self._late(ends), ahead=bool(ends)) and wish != ANY_EXIT:
            self._begin(ANY_EXIT, ahead=bool(ends))

    def _late(self, ends: Collection[PeerKey]) -> Wish:
        return self._wishes.late(ends, asyncio.get_running_loop().time(), self.builder.turned_away)

    def _spread(self) -> None:
        """If all circuits that are ready lead to the same exit, or none to one for a port that was lately used, begin
        to build one that does better, if there is one."""
        ends = {path[-1].peer for path in self._ahead()}
        if len(self._ahead()) != READY_CIRCUITS or len(self._circuits) >= MAX_CIRCUITS:
            return
        wish = self._late(ends)
        if wish != ANY_EXIT:
            self._begin(wish, ahead=True)
        elif len(ends) == 1:
            with suppress(CircuitError):
                path = self.builder.path(shun=ends)
                if path[-1].peer not in ends:
                    self._start(path, NO_OPTIONS, ahead=True)

    def _start(self, path: Path, options: SiteOptions, *, ahead: bool) -> None:
        self._under_way.begin(path, options)
        self._tasks.spawn(self._build(path, options, self.builder.epoch, ahead), "circuit")

    async def _build(self, path: Path, options: SiteOptions, epoch: int, ahead: bool) -> None:
        begun_at, leavers = asyncio.get_running_loop().time(), self.builder.leavers
        try:
            circuit = await self.builder.build(path, options, ahead=ahead)
        except CircuitError as error:
            if options == NO_OPTIONS:
                self._failure = error.reason
            else:
                asyncio.get_running_loop().call_later(_SITE_PAUSE_S, self._wanted.set)
        else:
            if epoch != self.builder.epoch or any(leavers.said_since(hop.peer, begun_at) for hop in path):
                circuit.close(Reason.DONE)
            elif not circuit.over:
                self._add(circuit)
        finally:
            self._under_way.end(path, options)

    def _add(self, circuit: Circuit) -> None:
        if circuit.options == NO_OPTIONS:
            self._failure = None
        self._circuits.append(circuit)
        self._wanted.set()
        self._changed.set()

    # -- upkeep

    async def _look_after(self) -> None:
        while True:
            await asyncio.sleep(_TICK_S)
            now = asyncio.get_running_loop().time()
            self._places.look_after(self._circuits, now)
            for circuit in list(self._circuits):
                if now >= circuit.retire_at:
                    self._replace(circuit)
                if circuit.pulse.uneasy:
                    self._ask_all_over(circuit.path[-1].peer)

    def _replace(self, circuit: Circuit) -> None:
        """Move a circuit's flows to a new one to the same exit, and close it once it carries none.

        Those of an exit that is about to stop have nowhere to go.
        """
        if not circuit.flows:
            circuit.close(Reason.DONE)
        elif not circuit.moving and circuit.leaver != circuit.path[-1].peer:
            circuit.moving = True
            self._tasks.spawn(self._move(circuit), "hop")

    async def _move(self, circuit: Circuit) -> None:
        try:
            if not await self._rescue.move(circuit):
                await asyncio.sleep(_LONGEST_PAUSE_S)
        finally:
            circuit.moving = False

    # -- tunnel.rescue.RescueOwner

    def candidates(self, instead_of: Circuit) -> list[Circuit]:
        leaving = set(self.builder.leavers.avoided(asyncio.get_running_loop().time()))
        return [
            circuit
            for circuit in self._usable()
            if circuit is not instead_of
            and circuit.path[-1].peer == instead_of.path[-1].peer
            and circuit.isolation in (instead_of.isolation, None)
            and circuit.options == instead_of.options
            and not circuit.link.watch.silent
            and not leaving.intersection(hop.peer for hop in circuit.path)
        ]

    def claim(self, circuit: Circuit, isolation: str | None) -> bool:
        if circuit.over or circuit.isolation not in (isolation, None):
            return False
        if circuit.isolation != isolation:
            circuit.isolation = isolation
            self._wanted.set()
        if circuit not in self._circuits:
            self._add(circuit)
        return True

    def spawn_build(self, path: Path, options: SiteOptions) -> Built:
        epoch = self.builder.epoch

        async def attempt() -> Circuit | CircuitError:
            try:
                circuit = await self.builder.build(path, options)
            except CircuitError as error:
                return error
            if epoch != self.builder.epoch:
                circuit.retire_at = 0.0  # flows that are lost go over it, and then hop
            return circuit

        return self._tasks.spawn(attempt(), "circuit")

    def offer(self, circuit: Circuit) -> None:
        if not circuit.over and not self._closed and circuit.options == NO_OPTIONS and self._missing() > 0:
            self._add(circuit)
        else:
            circuit.close(Reason.DONE)

    def give_up_exit(self, last: PeerKey) -> None:
        self.counters["exit given up"] += 1
        for circuit in [circuit for circuit in self._circuits if circuit.path[-1].peer == last]:
            for flow in list(circuit.flows):
                flow.give_up()
            circuit.close(Reason.DONE)

    # -- tunnel.circuit.CircuitEvents

    def circuit_proved(self, circuit: Circuit, asked_at: float) -> None:
        self.builder.proved(circuit, asked_at)

    def circuit_over(self, circuit: Circuit, reason: Reason) -> None:
        known = circuit in self._circuits
        if known:
            self._circuits.remove(circuit)
            self.counters[f"circuit {reason.word}"] += 1
            self._note_end(circuit, reason)
        if reason is not Reason.DONE and not self._closed and circuit.leaver is None:
            self.builder.lost(circuit, reason)
        if circuit.link.watch.silent:
            for other in list(self._circuits):
                if other.link is circuit.link:
                    other.close(Reason.TIMED_OUT)
        self._wanted.set()
        self._changed.set()

    def _note_end(self, circuit: Circuit, reason: Reason) -> None:
        if self._closed:
            return
        if reason is Reason.DONE or circuit.leaver is None:
            # That somebody leaves counts only if it was said before.
            told = Reason.CLOSED if reason is Reason.LEAVING else reason
            self._witness.ended(circuit.path, told, circuit.link.closed or circuit.link.watch.silent)
        if reason is not Reason.DONE and circuit.isolation is not None:
            self._lost_exits[circuit.isolation] = circuit.path[-1].peer
            if len(self._lost_exits) > MAX_CIRCUITS:
                del self._lost_exits[next(iter(self._lost_exits))]

    def circuit_leaving(self, circuit: Circuit, place: int) -> None:
        if circuit.over or circuit.leaver is not None:
            return
        if not self.builder.leaving(circuit, place):
            self.counters["leaving not heeded"] += 1
            return
        leaver, last = circuit.path[place].peer, circuit.path[-1].peer
        # An exit speaks for itself, and so for all circuits to it.
        for left in [circuit, *(other for other in self._circuits if leaver == last == other.path[-1].peer)]:
            left.leaver = leaver
            left.retire_at = 0.0
            self._replace(left)
        self._wanted.set()

    def flows_lost(self, circuit: Circuit, flows: list[ClientFlow]) -> None:
        self.counters["flow lost"] += len(flows)
        if self._closed:
            for flow in flows:
                flow.give_up()
        else:
            self._rescue.lost(circuit, flows)

    def _ask_all_over(self, peer: PeerKey) -> None:
        """Ask the circuits over a peer of which somebody says that it is silent, before they are needed."""
        for circuit in self._circuits:
            if any(hop.peer == peer for hop in circuit.path):
                circuit.pulse.ping()
