"""What came lately, so that it is noticed when it comes again. Clocks play no part in it."""

from __future__ import annotations


class Repeats:
    """Remembers marks; the oldest makes room for the newest.

    Args:
        most: how many.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._marks: dict[bytes, None] = {}

    def is_new(self, mark: bytes) -> bool:
        """Remember a mark, and say whether it was not remembered already."""
        if mark in self._marks:
            return False
        self._marks[mark] = None
        if len(self._marks) > self._most:
            del self._marks[next(iter(self._marks))]
        return True
