"""Whose turn it is: everybody gets as many bytes as everybody else, however large the pieces are.

Each key has a tag: how many bytes it has had, as if it had been there from the start. The one with the lowest tag is
next. Who was away for an instant is not worse off for it, within `slack` bytes; who was away for longer begins where
the others are.

Source: Goyal, Vin and Cheng, "Start-time Fair Queueing" (SIGCOMM 1996), section 2.
"""

from __future__ import annotations

from heapq import heappop, heappush
from typing import Final

_FEW: Final = 64
"""Tags beyond twice those that wait, and this many, are looked through for what need not be remembered."""


class Turns[Key]:
    """Keys that wait, each once, and what they have had.

    Args:
        slack: bytes that a key which comes back may be behind the others.
    """

    __slots__ = ("_entry", "_had", "_largest", "_number", "_reached", "_slack", "_waiting")

    def __init__(self, slack: int) -> None:
        self._slack = slack
        self._had: dict[Key, float] = {}
        self._waiting: list[tuple[float, int, Key]] = []
        self._number = 0
        self._reached = self._entry = 0.0
        self._largest = 0

    def __len__(self) -> int:
        return len(self._waiting)

    def add(self, key: Key) -> None:
        """Let a key wait that does not."""
        self._number += 1
        heappush(self._waiting, (self._tag(key), self._number, key))

    def take(self) -> Key:
        """Take the key whose turn it is; only when there is one."""
        tag, _, key = heappop(self._waiting)
        self._reached = max(self._reached, tag)
        return key

    def had(self, key: Key, count: int) -> None:
        """Count bytes that a key was given."""
        self._had[key] = self._tag(key) + count
        # New ones begin where the others are on the average. Else ever new ones would keep the old ones waiting.
        self._largest = max(self._largest, count)
        entry = max(self._entry, self._reached) + count / (len(self._waiting) + 1)
        self._entry = min(entry, self._reached + self._slack + self._largest)
        if len(self._had) > 2 * len(self._waiting) + _FEW:
            behind = self._reached - self._slack
            self._had = {key: tag for key, tag in self._had.items() if tag > behind}

    def ahead(self, key: Key) -> float:
        """Bytes that a key has had more than the others on the average; negative when it had less."""
        return self._tag(key) - max(self._entry, self._reached)

    def forget(self) -> None:
        """Begin anew; only when nobody waits."""
        self._had.clear()

    def _tag(self, key: Key) -> float:
        had = self._had.get(key)
        return max(self._entry, self._reached) if had is None else max(had, self._reached - self._slack)
