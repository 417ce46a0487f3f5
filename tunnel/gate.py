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
    """Messages of one circuit that wait in one direction, in the order in which they came.

    Not stream by stream: a lane carries many flows and a stream of its own only one. The ends share out a circuit's
    credit among its flows, and here nothing changes that. The directions have turns of their own, so that what says
    "more" does not wait behind what there is.

    Args:
        gate: says when.
        share: the circuit.
        queue: what waits for the circuit.
        urgent: as for `Gate.admits`.
    """

    __slots__ = ("_asked", "_gate", "_queue", "_share", "_stale", "_urgent", "_waiting")

    def __init__(self, gate: Gate, share: Hashable, queue: CircuitQueue, *, urgent: bool = False) -> None:
        self._gate = gate
        self._share = share
        self._queue = queue
        self._urgent = urgent
        self._waiting: deque[Line] = deque()
        """Whose messages wait, once for each; the messages are in the lines. Of cut lines some may be left."""
        self._stale = 0
        self._asked = 0

    def add(self, line: Line, record: bytearray) -> bool:
        """Ask for a record to be passed on; returns True for now, else it will be, in its turn."""
        if not self._waiting and self._passes(len(record)):
            return True
        self._waiting.append(line)
        self._queue.holds(len(record))
        return False

    def _passes(self, size: int) -> bool:
        if self._urgent and self._gate.admits(self._share, size, urgent=True):
            return True
        self._asked = size
        return self._gate.passes(self._share, self, size)

    def go(self) -> bool:
        # The one that was asked for may have been cut.
        carried = self._next_bytes() == self._asked
        if carried:
            self._next()
        while (size := self._next_bytes()) and self._passes(size):
            self._next()
        return carried

    def _next_bytes(self) -> int:
        """The size of the message whose turn is next, 0 when none waits."""
        while self._waiting and not self._waiting[0].records:
            self._waiting.popleft()
            self._stale -= 1
        return len(self._waiting[0].records[0]) if self._waiting else 0

    def _next(self) -> None:
        line = self._waiting.popleft()
        self._queue.holds(-len(line.records[0]))
        line.turn_came()

    def forget(self, line: Line) -> None:
        """A line is cut: what waits for it does not matter any more."""
        if not line.records:
            return
        self._queue.holds(-sum(map(len, line.records)))
        self._stale += len(line.records)
        line.records.clear()
        if self._stale > len(self._waiting) // 2:  # so that cutting many flows costs little, and nothing piles up
            self._waiting = deque(other for other in self._waiting if other.records)
            self._stale = 0

    def clear(self) -> None:
        """The circuit is over."""
        for line in self._waiting:
            self._queue.holds(-sum(map(len, line.records)))
            line.records.clear()
        self._waiting.clear()
        self._stale = 0


class Line:
    """One direction of a relayed flow: its messages, in order, and the end of the stream after them.

    Args:
        order: where they wait.
        stream: where they go.
        queue: what waits for the circuit.
        ended: called when the end was passed on after it had to wait.
        went: told the bytes of each record that is passed on; what waits has not been carried.

    Attributes:
        records: messages that wait.
    """

    __slots__ = ("_ended", "_ends", "_order", "_queue", "_stream", "_went", "records")

    def __init__(
        self,
        order: Order,
        stream: LinkStream,
        queue: CircuitQueue,
        ended: Callable[[], None],
        went: Callable[[int], None],
    ) -> None:
        self._order = order
        self._stream = stream
        self._queue = queue
        self._ended = ended
        self._went = went
        self._ends = False
        self.records: deque[bytearray] = deque()

    def send(self, record: bytearray) -> None:
        """Pass a record on, now or in its turn."""
        if self._order.add(self, record):
            self._pass(record)
        else:
            self.records.append(record)

    @property
    def waits(self) -> bool:
        return bool(self.records)

    def finish(self) -> None:
        """Nothing follows."""
        if self.records:
            self._ends = True
        else:
            self._stream.finish()

    def clear(self) -> None:
        """The streams are cut: what waits does not matter any more."""
        self._order.forget(self)

    def turn_came(self) -> None:
        """Pass on the first record that had to wait."""
        self._pass(self.records.popleft())
        if self._ends and not self.records:
            self._stream.finish()
            self._ended()

    def _pass(self, record: bytearray) -> None:
        self._went(len(record))
        if not self._stream.send(record):
            self._queue.queued(self._stream, len(record))
