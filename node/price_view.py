"""What paths cost, and whether it is for the price that there is none: for people."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from core.tariffs import rate_at
from peers.prices import Obstacle

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from node.settings import TunnelSettings
    from tunnel.path import Path

_MB_PER_GB: Final = 1000


def price_per_gb(steps: Sequence[int]) -> int:
    """What a path costs its client.

    Args:
        steps: its hops' tariff steps; one at least.

    Returns:
        Units per GB (10^9 bytes) that cross the link to the guard; 0 where nobody is paid.
    """
    return rate_at(tuple(steps), 0) * _MB_PER_GB


def dearest(paths: Iterable[Path]) -> list[int]:
    """The tariff steps of the hops of the path that costs most, the guard's first; empty without a path."""
    return max(([hop.tariff for hop in path] for path in paths), key=price_per_gb, default=[])


def price_sentence(obstacle: Obstacle, chosen: TunnelSettings, *, pays: bool) -> str:
    """Say what stands in the way, and what to do.

    Args:
        obstacle: what the price does.
        chosen: what the user takes.
        pays: whether payments are on.

    Returns:
        Sentences; empty if it is not the price.
    """
    if obstacle is Obstacle.NONE:
        return ""
    if not pays:
        who = "All exits that are known ask" if obstacle is Obstacle.EXITS else "Too many relays ask"
        return f"{who} for money, and payments are off. See payments.settlement, and `macrovpn wallet`."
    taken = f"tariff steps {chosen.min_tariff} to {chosen.max_tariff}"
    if obstacle is Obstacle.EXITS:
        problem = f"No exit that is known asks for what you allow ({taken})"
        if not chosen.min_tariff:
            problem = f"All exits that are known ask for more than you allow (tariff step {chosen.max_tariff})"
        return f"{problem}. See tunnel.min_tariff and tunnel.max_tariff."
    return (
        f"Of the peers that ask for what you allow ({taken}), neither those that are paid nor those that ask for "
        "nothing make a whole path, and the two do not mix. See tunnel.min_tariff and tunnel.max_tariff, or wait for "
        "more peers."
    )
