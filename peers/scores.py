"""From what is known of peers to how often each is drawn: figures, factors, weights. All of it is plain arithmetic.

A weight is a product of factors, each raised to what the mode leans on it. Weights of all who can be drawn are then
bounded around their median, so that nobody is drawn always, however good it looks, and hardly anybody never. Peers
that were not measured yet are drawn at a small rate as soon as there are enough that were.
"""

from __future__ import annotations

from dataclasses import dataclass
from statistics import median
from types import MappingProxyType
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

USUAL_RTT_S: Final = 0.05
"""What one peer adds to the round trip of a circuit, as long as nothing was measured and its place is not known."""
USUAL_JITTER_S: Final = 0.01
USUAL_KB_S: Final = 1000
"""KB per second of a peer that neither said nor showed how much it can carry."""
USUAL_FAILING: Final = 0.05

BELIEVED_KB_S: Final = USUAL_KB_S
"""A declared capacity counts up to here; more than is usual must be shown. Where four times as much was believed, peers
that only claimed it were drawn three times as often (`python -m bench simulation`)."""

KEPT_KB_S: Final = USUAL_KB_S
"""For those who are held on to, a declared capacity counts up to here: to claim more gains nothing."""

LEAST_RTT_S: Final = 0.005
"""Added to each delay, since below it the difference is chance."""

KNOWN_FROM: Final = 0.5
"""Confidence from which a peer counts as measured."""
ENOUGH_KNOWN: Final = 16
"""With so many measured peers, the others are drawn no more than the mode's rate says."""

DROP_OVER_MEDIAN: Final = 3.0
DROP_FROM: Final = 0.25
"""A peer is dropped when it fails so many times as often as the median, and at least this often."""
DROPPED_SHARE: Final = 0.2
"""Of the measured peers, at most this part is dropped."""


@dataclass(frozen=True, slots=True)
class Figures:
    """What to expect of a peer: what was measured, as far as it is known, else what is usual.

    Args:
        rtt_s: what it adds to the round trip of a circuit.
        jitter_s: how far that strays, in the mean.
        rate_kb_s: KB per second that it carries.
        failing: the part of what was tried with it that failed, from 0 to 1.
        tariff_step: its price, from 0 to 7.
        confidence: how far all this was measured, from 0 to 1.
        expected_rtt_s: what was expected by distance, before anything was measured; None for unknown.
    """

    rtt_s: float = USUAL_RTT_S
    jitter_s: float = USUAL_JITTER_S
    rate_kb_s: float = USUAL_KB_S
    failing: float = USUAL_FAILING
    tariff_step: int = 0
    confidence: float = 0.0
    expected_rtt_s: float | None = None

    @property
    def known(self) -> bool:
        """Whether it counts as measured."""
        return self.confidence >= KNOWN_FROM


@dataclass(frozen=True, slots=True)
class Lean:
    """What a mode looks at, and how much.

    Args:
        latency: exponent of the factor for delay.
        throughput: exponent of that for rate.
        reliability: exponent of that for failures.
        price: exponent of that for the tariff.
        bound: no weight is so many times the median, or so many times smaller; 1 or more.
        explored: the part of draws that peers get who were not measured, once enough were; from 0 to 1.
    """

    latency: float
    throughput: float
    reliability: float
    price: float
    bound: float
    explored: float


LEANS: Final[Mapping[str, Lean]] = MappingProxyType(
    {
        "speed": Lean(latency=1.0, throughput=0.75, reliability=2.0, price=0.25, bound=8.0, explored=0.1),
        "balanced": Lean(latency=0.5, throughput=0.5, reliability=1.5, price=0.25, bound=4.0, explored=0.25),
        "privacy": Lean(latency=0.1, throughput=0.25, reliability=1.0, price=0.0, bound=1.5, explored=1.0),
    }
)
"""By the name of the mode."""


class Factors(NamedTuple):
    """What a weight is made of. Each is 1 for a usual peer, and more for a better one."""

    latency: float
    throughput: float
    reliability: float
    price: float


def factors(figures: Figures, lean: Lean) -> Factors:
    """Say how much each figure of a peer counts in a mode."""
    delay_s = LEAST_RTT_S + figures.rtt_s + figures.jitter_s
    usual_s = LEAST_RTT_S + USUAL_RTT_S + USUAL_JITTER_S
    return Factors(
        (usual_s / delay_s) ** lean.latency,
        (max(figures.rate_kb_s, 1.0) / USUAL_KB_S) ** lean.throughput,
        ((1.0 - min(figures.failing, 0.99)) / (1.0 - USUAL_FAILING)) ** lean.reliability,
        (1.0 / (1 + figures.tariff_step)) ** lean.price,
    )


def weight(figures: Figures, lean: Lean) -> float:
    """Weigh one peer by itself: the product of its factors, above 0 and about 1 for a usual one."""
    latency, throughput, reliability, price = factors(figures, lean)
    return latency * throughput * reliability * price


def weights(candidates: Sequence[Figures], lean: Lean) -> list[float]:
    """Weigh all who can be drawn. How often each is drawn is its weight over the sum of all.

    Returns:
        In the order of the candidates; 0 for those that are dropped.
    """
    bounded = _bounded([weight(figures, lean) for figures in candidates], lean.bound)
    gone = dropped([figures.failing if figures.known else None for figures in candidates])
    kept = [0.0 if index in gone else each for index, each in enumerate(bounded)]
    return _explored(candidates, kept, lean.explored)


def dropped(failing: Sequence[float | None]) -> set[int]:
    """Find the peers that fail far more often than others do.

    Args:
        failing: how often each fails, from 0 to 1; None for those that were not measured.

    Returns:
        Places of the worst. At most `DROPPED_SHARE` of those that were measured, so who makes everybody seem to fail
        cannot have everybody dropped.
    """
    rates = {place: rate for place, rate in enumerate(failing) if rate is not None}
    if not rates:
        return set()
    limit = max(DROP_OVER_MEDIAN * median(rates.values()), DROP_FROM)
    worst = sorted((place for place, rate in rates.items() if rate > limit), key=rates.__getitem__, reverse=True)
    return set(worst[: int(DROPPED_SHARE * len(rates))])


def weight_to_keep(capacity_kb_s: int) -> float:
    """Weigh a peer that would be held on to for long, by its descriptor alone.

    Nothing measured counts here: who makes others fail, or is fast for whom it would like to keep, gains nothing. A
    peer can only make itself less likely, by saying that it carries little.

    Args:
        capacity_kb_s: as declared; 0 for unknown.

    Returns:
        Above 0, at most 1.
    """
    return min(capacity_kb_s or KEPT_KB_S, KEPT_KB_S) / KEPT_KB_S


def _bounded(raw: Sequence[float], bound: float) -> list[float]:
    if not raw:
        return []
    middle = median(raw)
    return [min(max(each, middle / bound), middle * bound) for each in raw]


def _explored(candidates: Sequence[Figures], raw: Sequence[float], share: float) -> list[float]:
    """Scale the weights of those who were not measured down to their share."""
    known = [figures.known and each > 0 for figures, each in zip(candidates, raw, strict=True)]
    share = max(share, 1.0 - sum(known) / ENOUGH_KNOWN)
    measured = sum(each for each, is_known in zip(raw, known, strict=True) if is_known)
    rest = sum(raw) - measured
    if share >= 1.0 or not rest:
        return list(raw)
    factor = min(1.0, measured * share / (1.0 - share) / rest)
    return [each if is_known else each * factor for each, is_known in zip(raw, known, strict=True)]
