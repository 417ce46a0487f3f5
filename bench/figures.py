"""Numbers out of numbers: spreads, quantiles, pauses and rates. Nothing here does I/O."""

from __future__ import annotations

import math
import statistics
from bisect import bisect_left
from itertools import pairwise
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence


def spread(values: Sequence[float], digits: int = 2) -> dict[str, float]:
    """Minimum, median and maximum of at least one value."""
    return {
        "min": round(min(values), digits),
        "median": round(statistics.median(values), digits),
        "max": round(max(values), digits),
    }


def quantile(values: Sequence[float], share: float) -> float:
    """The smallest value that at least a share (0 to 1) of all values do not exceed."""
    ordered = sorted(values)
    return ordered[max(0, math.ceil(len(ordered) * share) - 1)]


def tail(values: Sequence[float], digits: int = 2) -> dict[str, float]:
    """p50, p95 and p99; empty without values."""
    return {f"p{round(share * 100)}": round(quantile(values, share), digits) for share in (0.5, 0.95, 0.99) if values}


def longest_pause(moments: Sequence[float], start: float, end: float) -> float:
    """The longest time without progress in a window. What of a pause lies outside does not count.

    Args:
        moments: when there was progress, rising.
        start: beginning of the window.
        end: end of the window, not before its beginning.

    Returns:
        Seconds.
    """
    inside = moments[bisect_left(moments, start) : bisect_left(moments, end)]
    return max(after - before for before, after in pairwise([start, *inside, end]))


def last_half_rate(samples: Sequence[tuple[float, int]]) -> float:
    """Bytes per second of the second half of a transfer.

    Args:
        samples: moment and total of bytes so far, both rising; at least two.

    Raises:
        ValueError: there is no second half to speak of.
    """
    totals = [total for _, total in samples]
    middle = bisect_left(totals, totals[-1] / 2)
    (began, before), (ended, after) = samples[middle], samples[-1]
    if ended <= began:
        raise ValueError("the transfer has no second half")
    return (after - before) / (ended - began)
