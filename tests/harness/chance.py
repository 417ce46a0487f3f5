"""Whether what was drawn can have come from the chances that it should have."""

from __future__ import annotations

from math import sqrt
from statistics import NormalDist
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Sequence

ERROR: Final = 1e-6
"""How often a test may say no although all is well."""


def chi_square(counts: Sequence[int], weights: Sequence[float]) -> float:
    """Pearson's statistic of counts whose expectations are in proportion to weights above 0."""
    scale = sum(counts) / sum(weights)
    return sum((count - weight * scale) ** 2 / (weight * scale) for count, weight in zip(counts, weights, strict=True))


def critical(degrees: int, error: float = ERROR) -> float:
    """What the statistic exceeds with the probability `error`, by the approximation of Wilson and Hilferty."""
    spread = 2 / (9 * degrees)
    return degrees * (1 - spread + NormalDist().inv_cdf(1 - error) * sqrt(spread)) ** 3


def fit(counts: Sequence[int], weights: Sequence[float]) -> bool:
    """Whether counts follow weights, as far as a chi-square test can tell."""
    assert min(weights) * sum(counts) / sum(weights) >= 5, "too few draws for this test"
    return chi_square(counts, weights) < critical(len(counts) - 1)
