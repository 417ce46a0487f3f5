"""How often something may happen: so many at once, and so many a second. Time comes in as an argument."""

from __future__ import annotations


class Rate:
    """A bucket of permits that fills up again.

    Args:
        burst: permits at most, and at the beginning.
        per_s: permits that are added in a second.
        now: loop time.
    """

    __slots__ = ("_at", "_burst", "_left", "_per_s")

    def __init__(self, burst: int, per_s: float, now: float) -> None:
        self._burst = burst
        self._per_s = per_s
        self._left = float(burst)
        self._at = now

    def take(self, now: float, leave: int = 0) -> bool:
        """Take a permit, if there is one beside those that are to be left."""
        self._left = min(self._burst, self._left + max(0.0, now - self._at) * self._per_s)
        self._at = max(self._at, now)
        if self._left < 1 + leave:
            return False
        self._left -= 1
        return True

    def give_back(self) -> None:
        """Return a permit that was taken and turned out not to be needed."""
        self._left = min(self._burst, self._left + 1)
