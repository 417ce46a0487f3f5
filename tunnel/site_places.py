"""How many circuits there may be for sites of which the user wants something of their own, and which of them give way.

The rules are the user's, but pages choose to which sites flows go, and can name many at once.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from core.errors import Reason
from core.flow import NO_OPTIONS
from tunnel.limits import MAX_SITE_CIRCUITS, SITE_BUILD_BURST, SITE_BUILDS_PER_MINUTE, SITE_IDLE_S, SITE_YIELDS_S
from tunnel.rate import Rate

if TYPE_CHECKING:
    from collections.abc import Iterable

    from tunnel.circuit import Circuit


class SitePlaces:
    """The places for such circuits."""

    def __init__(self) -> None:
        self._rate = Rate(SITE_BUILD_BURST, SITE_BUILDS_PER_MINUTE / 60, 0.0)

    def take(self, circuits: Iterable[Circuit], under_way: int, now: float) -> bool:
        """Take a place for one that is about to be built; the one that rests for longest is given up if all are taken.

        Args:
            circuits: all that there are.
            under_way: how many more are being built.
            now: loop time.

        Returns:
            Whether one may be built.
        """
        held = _for_sites(circuits)
        full = len(held) + under_way >= MAX_SITE_CIRCUITS
        resting = [circuit for circuit in held if not circuit.flows and now - circuit.used_at >= SITE_YIELDS_S]
        if (full and not resting) or not self._rate.take(now):
            return False
        if full:
            min(resting, key=lambda circuit: circuit.used_at).close(Reason.DONE)
        return True

    @staticmethod
    def look_after(circuits: Iterable[Circuit], now: float) -> None:
        """Note which carry flows, and let those that have rested for long take no more."""
        for circuit in _for_sites(circuits):
            if circuit.flows:
                circuit.used_at = now
            elif now - circuit.used_at >= SITE_IDLE_S:
                circuit.retire_at = 0.0


def _for_sites(circuits: Iterable[Circuit]) -> list[Circuit]:
    return [circuit for circuit in circuits if circuit.options != NO_OPTIONS]
