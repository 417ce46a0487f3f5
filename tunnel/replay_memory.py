"""What a hop remembers of the creations it accepted, so that it accepts none of them twice.

A creation carries the time at which it was made, and one that is too old or too new is refused in any case. So it has
to be remembered only until it is too old, and the memory is exact: it forgets by time, and never to make room. When it
is full, what is new is refused.

Marks are kept in buckets by the time they carry. `horizon_s` is where the newest bucket that was forgotten ends;
nothing before it is accepted again, also after the clock was set back.
"""

from __future__ import annotations

from enum import Enum, auto
from typing import Final

from tunnel.limits import CLOCK_SKEW_S, MAX_REPLAY_MEMORY

BUCKET_S: Final = 60
"""The grain of the times that clients write."""


class Verdict(Enum):
    """What becomes of a creation."""

    FRESH = auto()
    OUT_OF_TIME = auto()
    REPEATED = auto()
    FULL = auto()


class ReplayMemory:
    """The creations accepted with one onion key.

    Args:
        capacity: how many it remembers at most.
        skew_s: how far a creation's time may be from this clock, either way.
    """

    def __init__(self, capacity: int = MAX_REPLAY_MEMORY, skew_s: float = CLOCK_SKEW_S) -> None:
        self._capacity = capacity
        self._skew_s = skew_s
        self._buckets: dict[int, set[bytes]] = {}
        self._count = 0
        self.horizon_s = float("-inf")

    def __len__(self) -> int:
        return self._count

    def admit(self, mark: bytes, made_at_s: float, now: float) -> Verdict:
        """Judge a creation. It is remembered if and only if the verdict is `FRESH`.

        Args:
            mark: names it; the same creation always has the same mark and time.
            made_at_s: the time that it carries, Unix seconds.
            now: Unix seconds.
        """
        self._forget(now)
        if abs(made_at_s - now) > self._skew_s or made_at_s < self.horizon_s:
            return Verdict.OUT_OF_TIME
        bucket = int(made_at_s // BUCKET_S)
        if mark in self._buckets.get(bucket, ()):
            return Verdict.REPEATED
        if self._count >= self._capacity:
            return Verdict.FULL
        self._buckets.setdefault(bucket, set()).add(mark)
        self._count += 1
        return Verdict.FRESH

    def _forget(self, now: float) -> None:
        """Drop the buckets of which all is too old."""
        for bucket in [bucket for bucket in self._buckets if self._end_of(bucket) < now - self._skew_s]:
            self._count -= len(self._buckets.pop(bucket))
            self.horizon_s = max(self.horizon_s, self._end_of(bucket))

    @staticmethod
    def _end_of(bucket: int) -> int:
        return (bucket + 1) * BUCKET_S
