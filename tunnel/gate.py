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


class Line:
    """Messages of one direction of a relayed flow, in order, and the end of the stream after them.

    Args:
        gate: says when.
        share: the circuit.
        stream: where they go.
        queue: what waits for the circuit.
        ended: called when the end was passed on after it had to wait.
        urgent: as for `Gate.admits`.
    """

    __slots__ = ("_ended", "_ends", "_gate", "_queue", "_records", "_share", "_stream", "_urgent")

    def __init__(
        self,
        gate: Gate,
        share: Hashable,
        stream: LinkStream,
        queue: CircuitQueue,
        ended: Callable[[], None],
        *,
        urgent: bool = False,
    ) -> None:
        self._gate = gate
        self._share = share
        self._stream = stream
        self._queue = queue
        self._records: deque[bytearray] = deque()
        self._ended = ended
        self._urgent = urgent
        self._ends = False

    def send(self, record: bytearray) -> None:
        """Pass a record on, now or in its turn."""
        if not self._records and self._passes(len(record)):
            self._pass(record)
        else:
            self._records.append(record)
            self._queue.holds(len(record))

    def _passes(self, size: int) -> bool:
        if self._urgent and self._gate.admits(self._share, size, urgent=True):
            return True
        return self._gate.passes(self._share, self, size)

    @property
    def waits(self) -> bool:
        return bool(self._records)

    def finish(self) -> None:
        """Nothing follows."""
        if self._records:
            self._ends = True
        else:
            self._stream.finish()

    def clear(self) -> None:
        """The streams are cut: what waits does not matter any more."""
        self._queue.holds(-sum(map(len, self._records)))
        self._records.clear()

    def go(self) -> bool:
        if not self._records:
            return False
        self._next()
        while self._records and self._passes(len(self._records[0])):
            self._next()
        if self._ends and not self._records:
            self._stream.finish()
            self._ended()
        return True

    def _next(self) -> None:
        record = self._records.popleft()
        self._queue.holds(-len(record))
        self._pass(record)

    def _pass(self, record: bytearray) -> None:
        if not self._stream.send(record):
            self._queue.queued(self._stream, len(record))
