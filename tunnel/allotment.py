"""Who of a circuit's flows may send, while they want to send more than the circuit's credit allows.

Each gets as many bytes as each other one. Whoever finds credit does not just take it, since others may come in the same
turn of the event loop and would always find none: it waits until the loop has dealt with what is at hand. Who comes
anew begins behind nobody, and who was away for an instant is made good.

Source: Goyal, Vin and Cheng, "Start-time Fair Queueing" (SIGCOMM 1996), section 2.
"""

from __future__ import annotations

from heapq import heapify, heappop, heappush
from typing import TYPE_CHECKING, Final, Protocol

from tunnel.limits import FLOW_WINDOW, LEAST_TURN, MAX_CIRCUIT_WINDOW

if TYPE_CHECKING:
    from collections.abc import Callable

SHORT_S: Final = 5.0
"""For so long after credit ran out a circuit's flows take turns. On a slow path new credit comes every second, and an
event loop on a busy machine may be a second late; taking turns costs next to nothing."""


class Taker(Protocol):
    """A flow's end that has something to send."""

    def go_on(self) -> None:
        """Send; then `Allotment.wait` again if not everything could be sent."""


class Allotment[Flow: Taker]:
    """Shares a circuit's credit out.

    Args:
        left: gives the bytes of credit that are left.
        clock: gives seconds that only rise.
        later: calls a function when the event loop has dealt with what is at hand.
    """

    def __init__(
        self, left: Callable[[], int], clock: Callable[[], float], later: Callable[[Callable[[], None]], object]
    ) -> None:
        self._left = left
        self._clock = clock
        self._later = later
        self._waiting: dict[Flow, None] = {}
        self._had: dict[Flow, int] = {}
        """Bytes that flows were given in turns, as if they had been there from the start."""
        self._reached = 0
        self._serving = False
        self._turn = MAX_CIRCUIT_WINDOW
        self._short_until = float("-inf")
        self._due = False

    @property
    def room(self) -> int:
        """Bytes that the flow which asks now may send."""
        if not self._serving and self._clock() < self._short_until:
            return 0
        return self._turn

    def sent(self, cost: int) -> None:
        """Count what a frame takes of the credit."""
        if self._serving:
            self._turn -= cost

    def wait(self, flow: Flow, *, alone: bool) -> None:
        """Call a flow's `go_on` in its turn.

        Args:
            flow: who waits.
            alone: it is the circuit's only one.
        """
        short = self._left() < LEAST_TURN
        if short and not alone:
            self._short_until = self._clock() + SHORT_S
        self._waiting[flow] = None
        if not (short or self._due or self._serving):
            self._due = True
            self._later(self._serve_late)

    def leave(self, flow: Flow) -> None:
        """It sends nothing more here."""
        self._waiting.pop(flow, None)
        self._had.pop(flow, None)

    def _serve_late(self) -> None:
        self._due = False
        self.serve()

    def serve(self) -> None:
        """Let those that wait send what may be sent, who had least first."""
        if self._serving or not self._waiting:
            return
        share = max(LEAST_TURN, self._left() // len(self._waiting))
        turns = [(self._tag(flow), number, flow) for number, flow in enumerate(self._waiting)]
        heapify(turns)
        self._serving = True
        try:
            while turns and self._left() >= LEAST_TURN:
                tag, number, flow = heappop(turns)
                if flow in self._waiting and self._give_turn(flow, tag, share):
                    heappush(turns, (self._had[flow], number, flow))
        finally:
            self._turn, self._serving = MAX_CIRCUIT_WINDOW, False

    def _give_turn(self, flow: Flow, tag: int, share: int) -> bool:
        """Returns whether the flow sent something and waits again."""
        before = self._left()
        self._reached = max(self._reached, tag)
        self._had[flow] = tag
        del self._waiting[flow]
        self._turn = share
        flow.go_on()
        sent = before - self._left()
        if flow in self._had:  # else it has left
            self._had[flow] += sent
        return sent > 0 and flow in self._waiting

    def _tag(self, flow: Flow) -> int:
        return max(self._had.get(flow, self._reached), self._reached - FLOW_WINDOW)
