"""Which of several circuits that will do a flow is given to, so that few keys share an exit."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from core.flow import NO_OPTIONS
from tunnel.limits import AVOID_FROM

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from core.flow import SiteOptions
    from core.ids import PeerKey
    from tunnel.circuit import Circuit
    from tunnel.path import Path


def used_ends(usable: Iterable[Circuit], options: SiteOptions, but: str | None = None) -> Counter[PeerKey]:
    """Count where the circuits end that belong to keys, but for those of one key, and for those of other sites'
    options: these come and go as pages like, and shall move nobody else."""
    kinds = (options, NO_OPTIONS)
    used = (found for found in usable if found.isolation not in (but, None) and found.options in kinds)
    return Counter(found.path[-1].peer for found in used)


def least_shared(circuits: Iterable[Circuit], used: Counter[PeerKey], held_against: Callable[[Path], float]) -> Circuit:
    """Choose one that is not blamed, to an exit that few other keys use; rather one that a key has already.

    Args:
        circuits: at least one.
        used: how many other keys use each exit.
        held_against: the blame of a path.
    """

    def worse(found: Circuit) -> tuple[bool, int, bool, float]:
        blame = held_against(found.path)
        return blame >= AVOID_FROM, used[found.path[-1].peer], found.isolation is None, blame

    return min(circuits, key=worse)
