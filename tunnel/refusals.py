"""What a client remembers of exits that did not serve a flow, so that the next one is not sent there in vain.

Per exit: until when it takes nothing, and ports with how often it refused them. No host is kept, and nothing is written
down. All of it only says who comes last: if every exit refuses, any is asked again. Time comes in as an argument.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from core.errors import Reason
from tunnel.limits import BUSY_S, FULL_S, MAX_EXITS, MAX_REFUSED_PORTS, PORT_REFUSALS, PORT_REFUSED_S

if TYPE_CHECKING:
    from core.ids import PeerKey

PASSING: Final = {Reason.BUSY: BUSY_S, Reason.LIMIT: FULL_S, Reason.LEAVING: FULL_S}
"""Reasons of an exit that takes nothing now, whatever it is asked for, with how long that counts."""

DECLINES: Final = frozenset({Reason.NOT_ALLOWED, *PASSING})
"""Reasons that are the exit's own, before it has done anything: another one may answer otherwise."""


@dataclass(slots=True)
class _Exit:
    full_until: float = float("-inf")
    ports: dict[int, tuple[int, float]] = field(default_factory=dict)


class Refusals:
    """The exits that were asked lately."""

    def __init__(self) -> None:
        self._exits: dict[PeerKey, _Exit] = {}

    def __len__(self) -> int:
        return len(self._exits)

    def refused(self, peer: PeerKey, port: int, reason: Reason, now: float) -> None:
        """An exit did not serve a flow to a port, 0 for a UDP association. Reasons that are not its own pass."""
        if reason not in DECLINES:
            return
        found = self._exits.pop(peer, None) or _Exit()
        self._exits[peer] = found
        if len(self._exits) > MAX_EXITS:
            del self._exits[next(iter(self._exits))]
        if reason in PASSING:
            found.full_until = max(found.full_until, now + PASSING[reason])
            return
        count, at = found.ports.pop(port, (0, now))
        found.ports[port] = (count + 1 if now - at < PORT_REFUSED_S else 1, now)
        if len(found.ports) > MAX_REFUSED_PORTS:
            del found.ports[next(iter(found.ports))]

    def served(self, peer: PeerKey, port: int) -> None:
        """An exit has opened a flow to a port."""
        if (found := self._exits.get(peer)) is not None:
            found.full_until = float("-inf")
            found.ports.pop(port, None)
            if not found.ports:
                del self._exits[peer]

    def full(self, now: float) -> list[PeerKey]:
        """Exits that take nothing now."""
        return [peer for peer, found in self._exits.items() if now < found.full_until]

    def of_port(self, port: int | None, now: float) -> frozenset[PeerKey]:
        """Exits that take nothing now, or refused a port again and again."""
        if port is None:
            return frozenset(self.full(now))
        return frozenset(peer for peer, found in self._exits.items() if self._turns_away(found, port, now))

    @staticmethod
    def _turns_away(found: _Exit, port: int, now: float) -> bool:
        count, at = found.ports.get(port, (0, now))
        return now < found.full_until or (count >= PORT_REFUSALS and now - at < PORT_REFUSED_S)
