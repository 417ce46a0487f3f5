"""A figure that was measured again and again, and how far it can be trusted. Time comes in as an argument.

Each sample counts like any other at first, and the less the older it is. What is known fades with time, so a figure
that nobody measured for long goes back to what is usual.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import exp2
from typing import Final

MAX_EVIDENCE: Final = 16.0
"""Samples that count at most, so that a change shows after as many new ones."""

PRIOR_EVIDENCE: Final = 2.0
"""Samples that what is usual counts for."""


@dataclass(slots=True)
class Average:
    """An exponentially weighted average.

    Args:
        half_s: time in which evidence halves, above 0.

    Attributes:
        value: the average of what was measured; means nothing without evidence.
    """

    half_s: float
    value: float = 0.0
    _evidence: float = 0.0
    _at: float = 0.0

    def evidence(self, now: float) -> float:
        """How many fresh samples it is worth, from 0 to `MAX_EVIDENCE`.

        Args:
            now: seconds of a clock that does not go back.
        """
        if not self._evidence:
            return 0.0
        return self._evidence * exp2(-max(0.0, now - self._at) / self.half_s)

    def confidence(self, now: float) -> float:
        """How far the average counts against what is usual, from 0 to 1."""
        evidence = self.evidence(now)
        return evidence / (evidence + PRIOR_EVIDENCE)

    def add(self, sample: float, now: float, share: float = 1.0) -> None:
        """Take in a sample.

        Args:
            sample: what was measured.
            now: as for `evidence`.
            share: what part of a sample it is, above 0.
        """
        evidence = self.evidence(now) + share
        self.value += (sample - self.value) * share / evidence
        self._evidence, self._at = min(evidence, MAX_EVIDENCE), max(self._at, now)

    def blend(self, usual: float, now: float) -> float:
        """The average, drawn towards what is usual as far as it is not known.

        Args:
            usual: what to expect of a peer that was never measured.
            now: as for `evidence`.
        """
        return usual + (self.value - usual) * self.confidence(now)
