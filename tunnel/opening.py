"""How flows are opened: on a circuit whose exit serves their port, and at another exit if the first one declines.

That an exit did not open a flow for a reason of its own (`tunnel.refusals.DECLINES`) is no answer yet: others are
asked, at most `MAX_ASKED` in all, since each learns the destination. Every other reason is final.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Final, Protocol

from core.errors import CircuitError, FlowError, NotYetError, Reason
from core.flow import NO_OPTIONS
from tunnel.limits import MAX_ASKED, OPEN_S, PATH_S
from tunnel.path import Wish
from tunnel.refusals import DECLINES

if TYPE_CHECKING:
    from core.flow import DatagramFlow, FlowRequest, SiteOptions
    from core.ids import PeerKey
    from core.tasks import Tasks
    from tunnel.builder import Builder
    from tunnel.circuit import Circuit
    from tunnel.circuit_witness import CircuitWitness
    from tunnel.client_flow import ClientFlow

NO_PORT: Final = 0
"""What an association asks for in place of a port."""


def _now() -> float:
    return asyncio.get_running_loop().time()


class CircuitSource(Protocol):
    """The pool, as whoever opens flows sees it."""

    def circuit_now(self, isolation: str, wish: Wish) -> Circuit | None:
        """Give a circuit that stands ready to an isolation key; None when there is none."""

    async def circuit_by(self, isolation: str, wish: Wish, deadline: float) -> Circuit:
        """Wait for one.

        Raises:
            FlowError: there is none by the deadline, in loop time, or no known exit serves what is wished for.
        """


class Asked:
    """The exits that were asked for one flow, and what they said.

    Args:
        port: where the flow goes, 0 for an association.
        now: loop time.
        options: what the user wants for its site.

    Attributes:
        path_by: loop time by which a live circuit must have taken the flow.
        answer_by: loop time by which an exit must have answered; all that are asked share it.
    """

    def __init__(self, port: int, now: float, options: SiteOptions = NO_OPTIONS) -> None:
        self.port = port
        self._options = options
        self.path_by = now + PATH_S
        self.answer_by = now + OPEN_S
        self._reasons: dict[PeerKey, Reason] = {}

    @property
    def exits(self) -> frozenset[PeerKey]:
        """Those that did not open it."""
        return frozenset(self._reasons)

    @property
    def wish(self) -> Wish:
        """What the next exit shall be."""
        return Wish(self.port, self.exits, self._options)

    def declined(self, last: PeerKey, reason: Reason, now: float) -> bool:
        """An exit did not open the flow; returns whether another one may be asked, within a time of its own."""
        if reason not in DECLINES:
            return False
        self._reasons[last] = reason
        self.path_by = min(now + PATH_S, self.answer_by)
        return len(self._reasons) < MAX_ASKED and now < self.answer_by

    @property
    def reason(self) -> Reason | None:
        """What is said to whoever waits: `NOT_ALLOWED` if all said so, else the last that may pass; None before."""
        reasons = list(self._reasons.values())
        passing = [reason for reason in reasons if reason is not Reason.NOT_ALLOWED]
        return next(iter([*reversed(passing), *reasons]), None)


class Opening:
    """Opens flows.

    Args:
        source: gives circuits.
        builder: knows whether there is a path, and what exits refused.
        witness: told how flows do.
        tasks: where the work runs.
    """

    def __init__(self, source: CircuitSource, builder: Builder, witness: CircuitWitness, tasks: Tasks) -> None:
        self._source = source
        self._builder = builder
        self._witness = witness
        self._tasks = tasks

    async def dial(self, request: FlowRequest, *, early: bool) -> ClientFlow:
        """Open a flow, as `tunnel.pool.CircuitPool.dial` says.

        Raises:
            FlowError: no circuit in time, or the exits' reason.
        """
        asked = Asked(request.port, _now(), request.options)
        while True:
            circuit = await self._circuit(request.isolation, asked)
            try:
                flow = circuit.open_flow(request)
                self._report(flow, asked)
                if early:
                    flow.declined = partial(self._early_declined, request, asked)
                    flow.limit_opening()
                    return flow
                await self._opened(flow, circuit, asked)
            except FlowError as error:
                self._check_again(circuit, asked, error)
            else:
                return flow

    async def dial_datagrams(self, isolation: str) -> DatagramFlow:
        """Open a UDP association likewise.

        Raises:
            FlowError: no circuit in time, or the exits' reason.
        """
        asked = Asked(NO_PORT, _now())
        while True:
            circuit = await self._circuit(isolation, asked)
            try:
                datagrams = circuit.open_datagrams()
                self._report(datagrams.flow, asked)
                await self._opened(datagrams.flow, circuit, asked)
            except FlowError as error:
                self._check_again(circuit, asked, error)
            else:
                return datagrams

    # -- one exit

    async def _opened(self, flow: ClientFlow, circuit: Circuit, asked: Asked) -> None:
        """Wait for the exit's answer: for a while if the circuit is silent, else as long as an exit may take.

        Raises:
            FlowError: none came in time, or the exit's reason.
        """
        asked_at = _now()
        try:
            for limit in (asked.path_by, asked.answer_by):
                done, _ = await asyncio.wait([flow.opened], timeout=max(0.0, limit - _now()))
                if done:
                    flow.opened.result()
                    return
                if not circuit.pulse.answered_since(asked_at):
                    raise FlowError(Reason.NO_PATH)
            raise FlowError(Reason.TIMED_OUT)
        except FlowError as error:
            flow.reset(Reason.TIMED_OUT if error.reason is Reason.TIMED_OUT else Reason.LOCAL)
            raise
        except asyncio.CancelledError:
            flow.reset(Reason.LOCAL)
            raise

    def _report(self, flow: ClientFlow, asked: Asked) -> None:
        """Tell whether the flow was opened, as soon as that is known. Of those that declined it early it is told."""

        def tell(opened: asyncio.Future[None]) -> None:
            error = opened.exception()
            if flow.path[-1].peer not in asked.exits:
                self._tell(flow, asked.port, error.reason if isinstance(error, FlowError) else None)

        flow.opened.add_done_callback(tell)

    def _tell(self, flow: ClientFlow, port: int, reason: Reason | None) -> None:
        last = flow.path[-1].peer
        if reason is None:
            self._builder.refusals.served(last, port)
        else:
            self._builder.refusals.refused(last, port, reason, _now())
        self._witness.flow_tried(flow.path, reason)

    # -- the next exit

    def _check_again(self, circuit: Circuit, asked: Asked, error: FlowError) -> None:
        """Return if the flow may be tried on another circuit.

        Raises:
            FlowError: it may not.
        """
        now = _now()
        if asked.declined(circuit.path[-1].peer, error.reason, now):
            return
        if error.reason is not Reason.CLOSED or now >= asked.path_by:
            raise FlowError((error.reason in DECLINES and asked.reason) or error.reason) from error

    async def _circuit(self, isolation: str, asked: Asked) -> Circuit:
        """Give a circuit to an exit that was not asked yet.

        Raises:
            FlowError: there is none in time; with the reason of those that were asked, if there are any.
        """
        circuit = self._source.circuit_now(isolation, asked.wish)
        if circuit is not None:
            return circuit
        try:
            if asked.reason is not None:
                self._look_for_exit(asked.wish)
            return await self._source.circuit_by(isolation, asked.wish, asked.path_by)
        except (CircuitError, FlowError) as error:
            raise FlowError(asked.reason or error.reason) from error

    def _look_for_exit(self, wish: Wish) -> None:
        """Return if one may be found: nobody waits for an exit that is not there.

        Raises:
            CircuitError: there is none.
        """
        with suppress(NotYetError):
            self._builder.path(wish=wish)

    def _early_declined(self, request: FlowRequest, asked: Asked, flow: ClientFlow, reason: Reason) -> Reason | None:
        """As `tunnel.client_flow.ClientFlow.declined` says."""
        if reason not in DECLINES:
            return reason
        self._tell(flow, asked.port, reason)
        if not asked.declined(flow.path[-1].peer, reason, _now()):
            return asked.reason
        task = self._tasks.spawn(self._ask_another(request, asked, flow), "another exit")
        task.add_done_callback(lambda _: flow.give_up_asking())  # one that is cancelled may never have begun
        return None

    async def _ask_another(self, request: FlowRequest, asked: Asked, flow: ClientFlow) -> None:
        """Find another exit for a flow that somebody uses already, and that knows nothing of it."""
        try:
            circuit = await self._circuit(request.isolation, asked)
            if flow.between_exits:
                circuit.ask_again(flow, request)
        except FlowError as error:
            flow.give_up_asking(error.reason)
