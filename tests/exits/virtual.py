"""A clock and timers for a shaper, and flows that always have something to carry."""

from __future__ import annotations

from heapq import heappop, heappush
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable

    from exits.shaping import Shaper


class VirtualTimer:
    """One call that is due."""

    def __init__(self, call: Callable[[], None]) -> None:
        self.call: Callable[[], None] | None = call

    def cancel(self) -> None:
        self.call = None


class VirtualTime:
    """Time that passes when the test says so.

    Args:
        lag_s: how late every timer comes.
    """

    def __init__(self, lag_s: float = 0.0) -> None:
        self.now = 1000.0
        self.lag_s = lag_s
        self._timers: list[tuple[float, int, VirtualTimer]] = []
        self._number = 0

    def clock(self) -> float:
        return self.now

    def later(self, delay: float, call: Callable[[], None]) -> VirtualTimer:
        assert delay >= 0
        self._number += 1
        timer = VirtualTimer(call)
        heappush(self._timers, (self.now + delay + self.lag_s, self._number, timer))
        return timer

    def run(self, seconds: float) -> None:
        """Let time pass."""
        end = self.now + seconds
        while self._timers and self._timers[0][0] <= end:
            due, _, timer = heappop(self._timers)
            self.now = max(self.now, due)
            if timer.call is not None:
                timer.call()
        self.now = end


class Busy:
    """A flow that always has one more piece, and counts what went.

    Args:
        stage: whose time it is.
        shaper: what its pieces pass.
        share: its circuit.
        size: bytes of each piece.
        pause_s: how long the next piece takes to come after one has gone; 0 for at once.
    """

    def __init__(self, stage: VirtualTime, shaper: Shaper, share: Hashable, size: int, pause_s: float = 0.0) -> None:
        self._stage = stage
        self._shaper = shaper
        self._share = share
        self._size = size
        self._pause_s = pause_s
        self.carried = 0
        self.over = False
        self.longest_wait_s = 0.0
        self._asked_at = 0.0

    def ask(self) -> None:
        while not self.over:
            self._asked_at = self._stage.now
            if not self._shaper.passes(self._share, self, self._size):
                return
            self._went()
            if self._pause_s:
                self._stage.later(self._pause_s, self.ask)
                return

    def _went(self) -> None:
        self.carried += self._size
        self.longest_wait_s = max(self.longest_wait_s, self._stage.now - self._asked_at)

    def go(self) -> bool:
        if self.over:
            return False
        self._went()
        if self._pause_s:
            self._stage.later(self._pause_s, self.ask)
        else:
            self.ask()
        return True
