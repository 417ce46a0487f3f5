"""Who is told how a client's circuits do, so that better ones can be chosen; and what is told of each, how often."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Protocol
from weakref import WeakKeyDictionary

if TYPE_CHECKING:
    from core.errors import Reason
    from tunnel.circuit import Circuit
    from tunnel.path import Path

TELL_EVERY_S: Final = 2.0
"""A circuit's delay and rate are told no more often."""

LEAST_BYTES: Final = 512 * 1024
"""What carried less within that time was not used to its limit, so its rate says nothing; what carried so much tells
its rate in place of its delay."""


class CircuitWitness(Protocol):
    """Whoever keeps account. Calls come from the event loop and must not block."""

    def built(self, path: Path) -> None:
        """A circuit was built."""

    def build_failed(self, path: Path, reporter: int, reason: Reason) -> None:
        """A circuit was not built; says the hop at this place, or this node itself (-1)."""

    def answered(self, path: Path, link_rtt_s: float | None, rtt_s: float) -> None:
        """The exit answered after so long, and the guard by itself, when it was last asked."""

    def carried(self, path: Path, bytes_per_s: float) -> None:
        """A circuit carried so much, both ways together, over some seconds."""

    def ended(self, path: Path, reason: Reason, guard_lost: bool) -> None:
        """A circuit that was in use or ready is over; `DONE` if nobody needs it any more."""

    def flow_tried(self, path: Path, reason: Reason | None) -> None:
        """A flow was opened, or was not, for this reason."""


class NoWitness:
    """Nobody keeps account."""

    def built(self, path: Path) -> None: ...

    def build_failed(self, path: Path, reporter: int, reason: Reason) -> None: ...

    def answered(self, path: Path, link_rtt_s: float | None, rtt_s: float) -> None: ...

    def carried(self, path: Path, bytes_per_s: float) -> None: ...

    def ended(self, path: Path, reason: Reason, guard_lost: bool) -> None: ...

    def flow_tried(self, path: Path, reason: Reason | None) -> None: ...


class Samples:
    """Tells a witness of circuits' delays and rates, each circuit's no more often than need be.

    Args:
        witness: who is told.
    """

    def __init__(self, witness: CircuitWitness) -> None:
        self._witness = witness
        self._told: WeakKeyDictionary[Circuit, tuple[float, int]] = WeakKeyDictionary()

    def answered(self, circuit: Circuit, now: float) -> None:
        """The exit of a circuit has just answered.

        Args:
            circuit: whose.
            now: loop time.
        """
        told_at, told_bytes = self._told.get(circuit, (None, 0))
        if circuit.rtt_s is None or (told_at is not None and now - told_at < TELL_EVERY_S):
            return
        moved = circuit.credit.moved_bytes
        self._told[circuit] = now, moved
        if told_at is not None and moved - told_bytes >= LEAST_BYTES:
            # Its delay is that of its own queues now, and says nothing of the way.
            self._witness.carried(circuit.path, (moved - told_bytes) / (now - told_at))
        else:
            self._witness.answered(circuit.path, circuit.link.watch.rtt_s, circuit.rtt_s)
