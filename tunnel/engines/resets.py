"""Tell a reset once: QUIC has a frame for each direction of a stream, and either may come first, late or alone."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Container

REMEMBERED: Final = 1024
"""Resets that are remembered before those of streams that are gone are sorted out."""


class Resets:
    """Which resets of the other side were told.

    Args:
        streams: the streams that QUIC still knows.
    """

    def __init__(self, streams: Container[int]) -> None:
        self._streams = streams
        self._told: set[int] = set()

    def is_news(self, stream: int) -> bool:
        """Take note of a frame that cuts a stream off, and say whether it is the first."""
        if stream in self._told:
            return False
        if len(self._told) >= REMEMBERED:
            self._told = {number for number in self._told if number in self._streams}
        self._told.add(stream)
        return True
