"""How fast bytes come on a circuit while they come without a pause, and so what window is enough for it.

A window larger than what a path carries in a second does not make it faster. What is too much waits at the narrowest
place: a slow line, or a hop whose operator has set a limit.
"""

from __future__ import annotations

from typing import Final

from tunnel.limits import LEAST_CIRCUIT_WINDOW, QUEUE_S

SPAN_S: Final = 1.0
"""A rate is that of so many seconds at least, and a pause of as many ends it: nothing is known of who begins anew."""


class Arrivals:
    """What came, lately."""

    __slots__ = ("_count", "_last", "_rate", "_since")

    def __init__(self) -> None:
        self._count = 0
        self._since = self._last = float("-inf")
        self._rate: float | None = None

    def came(self, count: int, now: float) -> None:
        """Count bytes.

        Args:
            count: how many.
            now: seconds that only rise.
        """
        if now - self._last > SPAN_S:
            self._since, self._count, self._rate = now, 0, None
        elif now - self._since >= SPAN_S:
            self._rate = self._count / (now - self._since)
            self._since, self._count = now, 0
        self._last = now
        self._count += count

    def enough(self, least_s: float) -> int | None:
        """Bytes of a window that is large enough; None while that is not known.

        Args:
            least_s: seconds that it must cover.
        """
        if self._rate is None:
            return None
        return max(LEAST_CIRCUIT_WINDOW, int(self._rate * max(QUEUE_S, least_s)))
