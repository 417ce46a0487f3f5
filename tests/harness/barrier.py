"""An operator's limit that a test opens and closes."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Hashable

    from tunnel.gate import Waiter


class Barrier:
    """A gate that the test opens, for one piece or for good."""

    def __init__(self) -> None:
        self.open = True
        self.urgent_passes = True
        self.datagrams_pass = True
        self.passed = 0
        self.urgent = 0
        self.shares: set[Hashable] = set()
        self._waiting: deque[tuple[Waiter, int]] = deque()

    def passes(self, share: Hashable, waiter: Waiter, count: int) -> bool:
        self.shares.add(share)
        if self.open:
            self.passed += count
            return True
        assert waiter not in [other for other, _ in self._waiting], "waits twice"
        self._waiting.append((waiter, count))
        return False

    def admits(self, share: Hashable, count: int, *, urgent: bool = False) -> bool:
        if urgent:
            self.urgent += self.urgent_passes * count
            return self.urgent_passes
        return self.datagrams_pass

    def let_one_go(self) -> None:
        waiter, count = self._waiting.popleft()
        self.passed += count * waiter.go()

    def let_last_wait_first(self) -> None:
        self._waiting.rotate()

    def let_all_go(self) -> None:
        self.open = True
        while self._waiting:
            self.let_one_go()

    @property
    def waiting(self) -> int:
        return len(self._waiting)
