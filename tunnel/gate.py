"""What is carried for others passes a gate: the operator's limits, as far as the tunnel sees them.

Whoever is told to wait keeps what it has, and is called when its turn comes. Nothing here knows of rates.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable

    from tunnel.link_stream import LinkStream
    from tunnel.queues import CircuitQueue


class Waiter(Protocol):
    """One direction of a flow."""

    def go(self) -> bool:
        """Carry the piece that waited, then ask for the next one, if there is one.

        Returns:
            False when there is none any more.
        """


class Gate(Protocol):
    """Says when a piece may be carried."""

    def passes(self, share: Hashable, waiter: Waiter, count: int) -> bool:
        """Ask for one piece.

        Args:
            share: who gets as much as every other share; a circuit.
            waiter: who asks; it has at most one piece waiting.
            count: bytes, of this piece exactly.

        Returns:
            True to carry it now; else `Waiter.go` is called when its turn has come, and never if nothing is carried
            any more.
        """

    def admits(self, share: Hashable, count: int, *, urgent: bool = False) -> bool:
        """Ask for a piece that does not wait: a datagram, which is dropped else.

        Args:
            share: as for `passes`.
            count: bytes.
            urgent: pings and credit. They pass while there is not far too much of them, so that round trips stay true;
                else they wait as well.
        """


class Order:
    """Messages of one circuit that wait, in the order in which they came.

    Not stream by stream: a lane carries many flows and a stream of its own only one. The ends share out a circuit's
    credit among its flows, and here nothing changes that.

    Args:
        gate: says when.
        share: the circuit.
        queue: what waits for the circuit.
        urgent: as for `Gate.admits`.
    """

    __slots__ = ("_asked", "_gate", "_queue", "_share", "_urgent", "_waiting")

    def __init__(self, gate: Gate, share: Hashable, queue: CircuitQueue, *, urgent: bool = False) -> None:
        self._gate = gate
        self._share = share
        self._queue = queue
        self._urgent = urgent
        self._waiting: deque[tuple[Line, bytearray]] = deque()
        self._asked = 0

    def add(self, line: Line, record: bytearray) -> bool:
        """Ask for a record to be passed on; returns True for now, else it will be, in its turn."""
        if not self._waiting and self._passes(len(record)):
            return True
        self._waiting.append((line, record))
        self._queue.holds(len(record))
        return False

    def _passes(self, size: int) -> bool:
        if self._urgent and self._gate.admits(self._share, size, urgent=True):
            return True
        self._asked = size
        return self._gate.passes(self._share, self, size)

    def go(self) -> bool:
        # The one that was asked for may have been cut.
        carried = bool(self._waiting) and len(self._waiting[0][1]) == self._asked
        if carried:
            self._next()
        while self._waiting and self._passes(len(self._waiting[0][1])):
            self._next()
        return carried

    def _next(self) -> None:
        line, record = self._waiting.popleft()
        self._queue.holds(-len(record))
        line.turn_came(record)

    def forget(self, line: Line) -> None:
        """What waits for a line does not matter any more."""
        kept = deque(entry for entry in self._waiting if entry[0] is not line)
        dropped = len(self._waiting) - len(kept)
        if dropped:
            self._queue.holds(-sum(len(record) for other, record in self._waiting if other is line))
            self._waiting = kept

    def clear(self) -> None:
        """The circuit is over."""
        self._queue.holds(-sum(len(record) for _, record in self._waiting))
        self._waiting.clear()


class Line:
    """One direction of a relayed flow: its messages, in order, and the end of the stream after them.

    Args:
        order: where they wait.
        stream: where they go.
        queue: what waits for the circuit.
        ended: called when the end was passed on after it had to wait.
    """

    __slots__ = ("_ended", "_ends", "_order", "_queue", "_stream", "_waiting")

    def __init__(self, order: Order, stream: LinkStream, queue: CircuitQueue, ended: Callable[[], None]) -> None:
        self._order = order
        self._stream = stream
        self._queue = queue
        self._ended = ended
        self._waiting = 0
        self._ends = False

    def send(self, record: bytearray) -> None:
        """Pass a record on, now or in its turn."""
        if self._order.add(self, record):
            self._pass(record)
        else:
            self._waiting += 1

    @property
    def waits(self) -> bool:
        return self._waiting > 0

    def finish(self) -> None:
        """Nothing follows."""
        if self._waiting:
            self._ends = True
        else:
            self._stream.finish()

    def clear(self) -> None:
        """The streams are cut: what waits does not matter any more."""
        self._waiting = 0
        self._order.forget(self)

    def turn_came(self, record: bytearray) -> None:
        """Pass on a record that had to wait."""
        self._waiting -= 1
        self._pass(record)
        if self._ends and not self._waiting:
            self._stream.finish()
            self._ended()

    def _pass(self, record: bytearray) -> None:
        if not self._stream.send(record):
            self._queue.queued(self._stream, len(record))
