"""The streams of a connection that were cut off, by either side.

QUIC resets the two directions of a stream with a frame each, and either may come first, late or alone, with data of
the stream behind it. The seam knows one reset, after which nothing more is heard of the stream.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Container

REMEMBERED: Final = 1024
"""Streams that are remembered before those that are over are sorted out."""


class Cuts:
    """Numbers of the streams that were cut off and may not be over yet.

    Args:
        streams: those that QUIC still knows.
    """

    def __init__(self, streams: Container[int]) -> None:
        self._streams = streams
        self._cut: set[int] = set()
        self._room = REMEMBERED

    def add(self, stream: int) -> bool:
        """Note that a stream was cut off, and say whether that is news."""
        if stream in self._cut:
            return False
        if len(self._cut) >= self._room:
            self._cut = {number for number in self._cut if number in self._streams}
            self._room = max(REMEMBERED, 2 * len(self._cut))
        self._cut.add(stream)
        return True

    def __contains__(self, stream: int) -> bool:
        return stream in self._cut
