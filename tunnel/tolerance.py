"""What a client remembers of exits: how its circuits to them ended, and who says that they are dead.

An exit that ends circuits makes its client draw new relays, and the more it draws, the more it shows. So ends that
nobody can explain are counted, and too many of them cost the exit its flows. An end is explained by a guard or a relay
of the circuit that was found dead. Time comes in as an argument.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from tunnel.limits import (
    EXIT_REPORTERS,
    EXIT_REPORTS,
    EXIT_REPORTS_WITHIN_S,
    MAX_EXITS,
    MAX_REBUILDS,
    REBUILDS_WITHIN_S,
)

if TYPE_CHECKING:
    from core.ids import PeerKey


@dataclass(slots=True)
class _Exit:
    ends: deque[float] = field(default_factory=lambda: deque(maxlen=MAX_REBUILDS + 1))
    reports: deque[tuple[float, PeerKey | None]] = field(default_factory=lambda: deque(maxlen=EXIT_REPORTS))


class Tolerance:
    """The exits that circuits led to."""

    def __init__(self) -> None:
        self._exits: dict[PeerKey, _Exit] = {}

    def __len__(self) -> int:
        return len(self._exits)

    def exhausted(self, now: float) -> list[PeerKey]:
        """Exits to leave out while there are others."""
        return [peer for peer in self._exits if self.spent(peer, now)]

    def ended(self, peer: PeerKey, now: float) -> None:
        """A circuit to it that carried flows ended, and no dead guard or relay explains it."""
        self._exit(peer).ends.append(now)

    def spent(self, peer: PeerKey, now: float) -> bool:
        """Whether that happened too often."""
        found = self._exits.get(peer)
        return found is not None and sum(now - at < REBUILDS_WITHIN_S for at in found.ends) > MAX_REBUILDS

    def reported(self, peer: PeerKey, reporter: PeerKey | None, now: float) -> None:
        """A hop before it says that it does not answer; None when this node itself does."""
        self._exit(peer).reports.append((now, reporter))

    def answered(self, peer: PeerKey) -> None:
        """It has shown a sign of life."""
        if (found := self._exits.get(peer)) is not None:
            found.reports.clear()

    def dead(self, peer: PeerKey, now: float) -> bool:
        """Whether enough of those who should know say that it does not answer."""
        found = self._exits.get(peer)
        if found is None:
            return False
        reporters = [reporter for at, reporter in found.reports if now - at < EXIT_REPORTS_WITHIN_S]
        return None in reporters or len(set(reporters)) >= EXIT_REPORTERS or len(reporters) >= EXIT_REPORTS

    def _exit(self, peer: PeerKey) -> _Exit:
        found = self._exits.pop(peer, None) or _Exit()
        self._exits[peer] = found
        if len(self._exits) > MAX_EXITS:
            del self._exits[next(iter(self._exits))]
        return found
