"""The budget of messages that carry nothing, for one direction of a circuit's lanes, and the moments to send them.

Over any time, no more than `COVER_SHARE` of what was carried and `COVER_RATE` per second, and `_BURST` messages. The
gaps are exponential, so that a moment tells nothing about the next.
"""

from __future__ import annotations

import math
from typing import Final

from tunnel.limits import COVER_RATE, COVER_SHARE, LANE_BYTES

LONGEST_WAIT_S: Final = 0.25
"""The gap is drawn anew after so long, so that it follows the traffic. Exponential gaps have no memory, so they stay
exponential."""

_SMOOTH_S: Final = 1.0
_BURST: Final = 4


class Cover:
    """Says when to send a message of padding.

    Args:
        now: seconds that only rise.
    """

    __slots__ = ("_at", "_budget_bytes", "_carried", "_gap_ends", "_rate")

    def __init__(self, now: float) -> None:
        self._at = now
        self._budget_bytes = 0.0
        self._carried = 0
        self._rate = 0.0
        self._gap_ends = False

    def carried(self, count: int) -> None:
        """Count bytes of messages that carried something."""
        self._carried += count

    def next(self, now: float, draw: float) -> tuple[bool, float]:
        """Decide, and draw the next wait.

        Args:
            now: seconds that only rise; the wait of the last call is over.
            draw: evenly out of 0 to 1, without 1.

        Returns:
            Whether to send a message now, and after how many seconds to ask again.
        """
        self._take_in(now)
        due = self._gap_ends and self._budget_bytes >= LANE_BYTES
        if due:
            self._budget_bytes -= LANE_BYTES
        gap_s = -math.log(1.0 - draw) * LANE_BYTES / (COVER_RATE + COVER_SHARE * self._rate)
        self._gap_ends = gap_s <= LONGEST_WAIT_S
        return due, min(gap_s, LONGEST_WAIT_S)

    def _take_in(self, now: float) -> None:
        elapsed, carried = max(now - self._at, 1e-6), self._carried
        self._at, self._carried = now, 0
        earned = COVER_RATE * elapsed + COVER_SHARE * carried
        self._budget_bytes = min(self._budget_bytes + earned, _BURST * LANE_BYTES)
        self._rate += (carried / elapsed - self._rate) * -math.expm1(-elapsed / _SMOOTH_S)
