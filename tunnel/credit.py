"""Credit: how many bytes one end may send ahead of the other, for a flow and for a circuit.

A flow's credit says what its receiver has dealt with, so a reader that stops stops its sender. A circuit's credit says
what has arrived, so it bounds what the hops between must queue, and a flow that is not read takes nothing from its
neighbours. Windows grow with what a path carries in two round trips; what they grow beyond the first is shared by the
flows of a circuit.

The machines here do no I/O; times are the caller's, in seconds.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Protocol

from core.errors import DecodeError
from tunnel.allotment import Allotment
from tunnel.arrivals import Arrivals
from tunnel.frames import encode_credit
from tunnel.limits import (
    CIRCUIT_GROWTH,
    CIRCUIT_KEPT,
    CIRCUIT_WINDOW,
    DATA_COST,
    FLOW_WINDOW,
    GUESSED_RATE,
    LEAST_RTT_S,
    LEAST_TURN,
    MAX_CIRCUIT_WINDOW,
    MAX_FLOW_WINDOW,
    PAID_WINDOW,
    PROVEN_BYTES,
    PROVEN_WINDOW,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from tunnel.memory import Memory

ROUND_TRIPS: Final = 6
"""What a window covers. Each lost packet holds its stream up for a round trip and a half of its link, and a path has
several links, so what is under way takes much longer than the shortest round trip wherever packets get lost."""

PIECES_PER_WINDOW: Final = 16
"""On a slow path a frame has this part of the window at most, which takes a sixteenth of a second or little more."""

TELL_SHARE: Final = 4
"""Credit is told again when a quarter of the window has been dealt with."""


SLOW_TELL_SHARE: Final = 2
"""The same for a flow on a slow path, where its window covers seconds, and each word of it fills a step of its lane."""


class Growth:
    """What windows of one circuit's flows may have beyond their first size, all together.

    Each takes at most half of what is left, so that there is always some for the next. Half of it is kept for flows
    that have shown that they are read.

    Args:
        total: bytes.
    """

    __slots__ = ("_free", "_total")

    def __init__(self, total: int = CIRCUIT_GROWTH) -> None:
        self._free = self._total = total

    def take(self, wanted: int, *, proven: bool) -> int:
        """Take up to `wanted` bytes; returns how many were given."""
        free = self._free if proven else self._free - self._total // 2
        taken = max(0, min(wanted, free // 2))
        self._free -= taken
        return taken

    def give_back(self, count: int) -> None:
        self._free += count


class ReceiveWindow:
    """The receiver's side of a credit.

    Args:
        first: bytes that may come before anything is told.
        most: bytes that the window never exceeds.
        growth: where the bytes beyond `first` come from; None for no bound but `most`.
        proven_bytes: of which the window stays a quarter at most, if it has grown, until so many are dealt with.
        soon: to so many bytes it may grow as soon as as many are dealt with.

    Attributes:
        received: bytes that came.
        consumed: how many of them are dealt with.
        window: bytes that may come beyond those.
    """

    __slots__ = (
        "_first",
        "_floor",
        "_growth",
        "_limit",
        "_most",
        "_proven_bytes",
        "_since",
        "_since_consumed",
        "_soon",
        "_told",
        "consumed",
        "received",
        "window",
    )

    def __init__(
        self, first: int, most: int, growth: Growth | None = None, proven_bytes: int = PROVEN_BYTES, soon: int = 0
    ) -> None:
        self._proven_bytes = proven_bytes
        self._soon = soon
        self._first = self._floor = first
        self._most = most
        self._growth = growth
        self._limit = self.window = first
        self._told = 0
        self._since: float | None = None
        self._since_consumed = 0
        self.received = 0
        self.consumed = 0

    def came(self, count: int) -> None:
        """Count bytes that arrived.

        Raises:
            DecodeError: more than the credit allows.
        """
        if self.received + count > self._limit:
            raise DecodeError("DATA", "beyond the credit")
        self.received += count

    def dealt_with(self, count: int, *, slow: bool = False) -> bool:
        """Count bytes that were dealt with; returns whether it is time to tell.

        Args:
            count: how many.
            slow: telling costs more than waiting.
        """
        self.consumed += count
        return self.untold >= self.window // (SLOW_TELL_SHARE if slow else TELL_SHARE)

    def do_with(self, enough: int | None) -> None:
        """Grow to `enough` bytes only, if that is less than the window's first size; None for no such bound."""
        self._floor = self._first if enough is None else min(self._first, enough)
        if self.window < self._floor or self._floor < self._first:
            self._resize(self._floor, proven=True)

    def tell(self, now: float, rtt_s: float, *, everything: bool = False) -> tuple[int, int]:
        """Bytes consumed and window, for the other end. What was once allowed is never taken back.

        Args:
            now: seconds that only rise.
            rtt_s: a round trip of the path.
            everything: nothing more will come, so all that came counts as dealt with.
        """
        self._tune(now, rtt_s)
        self._told = self.received if everything else self.consumed
        self._limit = max(self._limit, self._told + self.window)
        return self._told, self._limit - self._told

    @property
    def may_come(self) -> int:
        """Bytes that may come before the other end hears of more."""
        return self._limit - self.received

    @property
    def untold(self) -> int:
        """Bytes that were dealt with, as far as the other end does not know it."""
        return self.consumed - self._told

    @property
    def unfinished(self) -> bool:
        """Whether bytes came that the other end does not know to be dealt with."""
        return self._told < self.received

    def guess(self, rtt_s: float) -> bool:
        """Widen a window that has not been used yet to what a long path may need; returns whether it did."""
        if rtt_s > LEAST_RTT_S:
            self._resize(max(self.window, int(GUESSED_RATE * rtt_s)), proven=False)
        return self.window > self._first

    def join(self, growth: Growth) -> None:
        """Belong to another circuit from now on."""
        if self._growth is not None:
            grown = self.window - self._first
            self._growth.give_back(grown)
            self._growth = growth
            self.window = self._first + growth.take(grown, proven=True)

    def leave(self) -> None:
        """Give back what the window has grown by; the flow is over."""
        if self._growth is not None:
            self._growth.give_back(self.window - self._first)
        self.window = self._first

    def _tune(self, now: float, rtt_s: float) -> None:
        """Follow what came in the last round trip or longer."""
        since, consumed = self._since, self._since_consumed
        if since is not None and now - since < rtt_s:
            return
        self._since, self._since_consumed = now, self.consumed
        if since is None:
            return
        wanted = int(ROUND_TRIPS * rtt_s * (self.consumed - consumed) / (now - since))
        wanted = max(wanted, PROVEN_WINDOW if self._floor == self._first else self._floor)
        proven = self.consumed >= self._proven_bytes
        if not proven:
            # Step by step, so that none of several flows that begin together gets far ahead.
            wanted = min(wanted, max(self.window, self.consumed // TELL_SHARE, min(self.consumed, self._soon)))
        if wanted > self.window:
            self._resize(wanted, proven=proven)
        elif wanted < self.window // 4:
            self._resize(self.window // 2, proven=True)

    def _resize(self, wanted: int, *, proven: bool) -> None:
        more = max(self._floor, min(wanted, self._most)) - self.window
        if self._growth is None:
            self.window += more
        elif more > 0:
            self.window += self._growth.take(more, proven=proven)
        else:
            self._growth.give_back(-more)
            self.window += more


class Sender(Protocol):
    """A flow's end, as its circuit sees it."""

    @property
    def held_bytes(self) -> int:
        """Bytes in its memory."""

    @property
    def moved_at(self) -> float:
        """When some of what it held was last dealt with, by its circuit's clock, or when it began."""

    @property
    def kept_bytes(self) -> int:
        """Those among them that were sent already, each frame with `DATA_COST`."""

    def go_on(self) -> None:
        """The circuit has room again."""

    def shed(self) -> None:
        """End: this node has no memory left."""


class CircuitCredit[End: Sender]:
    """One end's bytes on one circuit, of all its flows: what may be sent, what came, and what is held.

    Args:
        memory: the node's.
        clock: gives seconds that only rise.
        later: calls a function when the event loop has dealt with what is at hand.
        covered: where what comes is paid, the bytes that are paid ahead at the guard at most; None where it costs
            nothing. Hops can carry ahead of what they are paid for no more than a quarter of what a neighbour ever paid
            them (`ledger.account`). So the window is no larger part of what came, or, if that is more, than all that
            came and a quarter of what is covered: it is what waits, unpaid, where payments are slower than the line,
            and hops end circuits for which too much does.
        paid: whether what is sent is paid by the other end. Then no more is sent ahead than `PAID_WINDOW`, or than has
            arrived: hops may not be paid for it.
    """

    def __init__(
        self,
        memory: Memory,
        clock: Callable[[], float],
        later: Callable[[Callable[[], None]], object],
        *,
        covered: int | None = None,
        paid: bool = False,
    ) -> None:
        self.memory = memory
        self.clock = clock
        self.growth = Growth()
        self.flows: set[End] = set()
        self.held_bytes = 0
        self._excess = 0
        self._rtt_s = LEAST_RTT_S
        self._measured = False
        self._costs = covered is not None
        if covered is None:
            self._window = ReceiveWindow(CIRCUIT_WINDOW, MAX_CIRCUIT_WINDOW)
        else:
            proven, soon = TELL_SHARE * MAX_CIRCUIT_WINDOW, min(covered // TELL_SHARE, CIRCUIT_WINDOW)
            self._window = ReceiveWindow(PAID_WINDOW, MAX_CIRCUIT_WINDOW, proven_bytes=proven, soon=soon)
        self._slow_below = PAID_WINDOW if self._costs else CIRCUIT_WINDOW // 2
        self._arrivals = Arrivals()
        self._largest = MAX_CIRCUIT_WINDOW
        self._sent = 0
        self._paid = paid
        self._may_send = PAID_WINDOW if paid else CIRCUIT_WINDOW
        self._allotment: Allotment[Sender] = Allotment(self._left, clock, later)
        self._tell: Callable[[bytes], None] | None = None

    @property
    def rtt_s(self) -> float:
        """The shortest round trip seen, in seconds, or the least one that is reckoned with."""
        return self._rtt_s

    @property
    def moved_bytes(self) -> int:
        """DATA of all flows since the circuit was made, both ways together, as credit counts it."""
        return self._sent + self._window.received

    def tell_with(self, tell: Callable[[bytes], None]) -> None:
        """Name what sends frames on flow 0."""
        self._tell = tell

    def measured(self, rtt_s: float) -> None:
        """Take in a round trip."""
        known = self._measured
        self._rtt_s = max(LEAST_RTT_S, min(rtt_s, self._rtt_s) if known else rtt_s)
        self._measured = True
        if not known and not self._costs and self._window.guess(self._rtt_s):
            self._tell_credit()

    @property
    def slow(self) -> bool:
        """Whether the path carries so little that the circuit's window has shrunk."""
        return self._window.window < self._slow_below

    def flow_window(self) -> ReceiveWindow:
        """The receive window of a new flow."""
        window = ReceiveWindow(FLOW_WINDOW, MAX_FLOW_WINDOW, self.growth)
        window.guess(self._rtt_s)
        return window

    # -- sending

    def room(self, kept_bytes: int) -> int:
        """Bytes that a flow may send now in one DATA frame.

        Args:
            kept_bytes: what the flow keeps already.
        """
        return min(self._left(), self._spare(kept_bytes), self._allotment.room, self._largest) - DATA_COST

    def _left(self) -> int:
        return self._may_send - self._sent

    def may_not_keep_more(self, kept_bytes: int) -> bool:
        """Whether a flow that keeps so many bytes must wait until some of them are dealt with."""
        return self._spare(kept_bytes) <= DATA_COST

    def _spare(self, kept_bytes: int) -> int:
        return max(0, FLOW_WINDOW - kept_bytes) + max(0, CIRCUIT_KEPT - self._excess)

    def sent(self, count: int) -> int:
        """Count the bytes of one DATA frame; returns what it costs in memory until it is dealt with."""
        self._sent += count + DATA_COST
        self._allotment.sent(count + DATA_COST)
        return count + DATA_COST

    def keep(self, before: int, after: int) -> None:
        """What a flow keeps of what it sent has changed from `before` to `after` bytes."""
        full = self._excess >= CIRCUIT_KEPT
        self._excess += max(0, after - FLOW_WINDOW) - max(0, before - FLOW_WINDOW)
        self.hold(after - before)
        if full and self._excess < CIRCUIT_KEPT:
            self._allotment.serve()

    def wait(self, flow: Sender) -> None:
        """Call the flow's `go_on` when there is room; in turn with others that wait."""
        self._allotment.wait(flow, alone=len(self.flows) < 2)

    def credit_came(self, consumed: int, window: int) -> None:
        """The other end tells what arrived.

        Raises:
            DecodeError: more than was sent, or it takes credit back.
        """
        if consumed > self._sent or consumed + window < self._may_send:
            raise DecodeError("CREDIT", "out of range")
        most = min(MAX_CIRCUIT_WINDOW, max(PAID_WINDOW, consumed)) if self._paid else MAX_CIRCUIT_WINDOW
        self._may_send = max(self._may_send, consumed + min(window, most))
        # Whoever gives less than the first window knows a slow path: there, large pieces keep others waiting.
        slow = window < (PAID_WINDOW if self._paid else CIRCUIT_WINDOW // 2)
        self._largest = max(LEAST_TURN, window // PIECES_PER_WINDOW) if slow else MAX_CIRCUIT_WINDOW
        self._allotment.serve()

    # -- receiving

    def came(self, count: int) -> None:
        """Count the bytes of a DATA frame that arrived.

        Raises:
            DecodeError: more than the circuit's credit allows.
        """
        self._window.came(count + DATA_COST)
        self._arrivals.came(count + DATA_COST, self.clock())
        if self._window.dealt_with(count + DATA_COST):
            self._tell_credit()

    def _tell_credit(self) -> None:
        if self._tell is not None:
            self._window.do_with(self._arrivals.enough(ROUND_TRIPS * self._rtt_s))
            self._tell(encode_credit(*self._window.tell(self.clock(), self._rtt_s)))

    # -- memory

    def hold(self, count: int) -> None:
        """Count bytes that a flow holds from now on; negative for bytes that it holds no more."""
        self.held_bytes += count
        self.memory.hold(count)

    def join(self, flow: End) -> None:
        """A flow is carried by this circuit from now on."""
        self.flows.add(flow)
        self.memory.join(self)
        self.keep(0, flow.kept_bytes)
        self.hold(flow.held_bytes - flow.kept_bytes)

    def leave(self, flow: End) -> None:
        """It is not any more."""
        if flow in self.flows:
            self.flows.remove(flow)
            self._allotment.leave(flow)
            self.hold(flow.kept_bytes - flow.held_bytes)
            self.keep(flow.kept_bytes, 0)
            self.memory.leave(self)
