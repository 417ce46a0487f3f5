"""What carrying a megabyte costs: eight steps that everyone has, and what follows from them for each hop of a path.

Money is whole units. A unit is a millionth of a coin, whatever the coin is. Every hop of a path is reckoned at one
step, the highest that any of them asks, so what a hop reads in its own rates says how far from the exit it is and
nothing of who the others are.
"""

from __future__ import annotations

from typing import Final

RATES: Final = (0, 1, 2, 5, 10, 20, 50, 100)
"""Units per MB (10^6 bytes) of one hop's own share, by tariff step. Step 0 costs nothing."""

MAX_STEP: Final = len(RATES) - 1


def rate_at(steps: tuple[int, ...], place: int) -> int:
    """What the hop at a place is paid by the one before it, in units per MB.

    Args:
        steps: each hop's tariff step, the guard's first.
        place: 0 for the guard; the number of hops for what the exit pays, which is nothing.
    """
    return RATES[max(steps)] * (len(steps) - place)
