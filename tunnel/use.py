"""What a client gets for its money: bytes of a paid circuit that came, against what they were of use for.

Every byte that comes is paid for, and an exit earns by all of them. So a client bounds what is no use: padding beyond
what the lanes' shape makes necessary, frames of flows that it does not have, empty frames, answers to nothing. Honest
exits send some of that: pings, cover, words that cross with the end of a flow, lanes on which little is said at a time.
That is what the allowance is for. What a hop adds that is not the exit's does not open, and ends its stream.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from tunnel.frames import Frame
from tunnel.limits import LANE_BYTES, STEP_BYTES
from tunnel.padding import Shape

if TYPE_CHECKING:
    from collections.abc import Iterator

USE_SHARE: Final = 8
"""Of what is of use, one part in so many may come beside it: layers, heads of frames, cover."""

PADDED_SHARE: Final = 8
"""Padding that a message needs for its size is due up to so many times of what it carries."""

MESSAGES_PER_S: Final = 256
"""So many messages a second may carry next to nothing. A person's programs make do with far fewer."""

ALLOWED_S: Final = 2.0
"""So many seconds' worth of them may come at once."""

_RATES: Final = {
    Shape.FREE: MESSAGES_PER_S * STEP_BYTES,
    Shape.STEPS: 2 * MESSAGES_PER_S * STEP_BYTES,
    Shape.EVEN: MESSAGES_PER_S * LANE_BYTES,
}
"""Bytes of no use in a second, for each shape of a circuit's lanes."""

WORD_BYTES: Final = 1024
"""What a word is worth that a flow hears once: it opened, it ended, it goes on."""

CROSSING_BYTES: Final = 2 * LANE_BYTES
"""What may still come for a flow that is over here, beside its DATA."""

_MULTIPLES: Final = {Shape.FREE: 1, Shape.STEPS: STEP_BYTES, Shape.EVEN: LANE_BYTES}


class Use:
    """The use of one circuit.

    Args:
        shape: of its lanes.
        now: seconds that only rise.

    Attributes:
        allowance: bytes of no use that may come at once.
    """

    __slots__ = ("_at", "_left", "_longest_padding", "_open", "_rate", "_useful", "allowance")

    def __init__(self, shape: Shape, now: float) -> None:
        self.allowance = self._left = ALLOWED_S * _RATES[shape]
        self._at = now
        self._rate = _RATES[shape]
        self._longest_padding = _MULTIPLES[shape] - 1
        self._open = 0
        """Of the last message, what is not accounted for; negative when it ended what others had begun."""
        self._useful = 0

    def came(self, count: int, now: float) -> bool:
        """Count a message that is about to be read.

        Args:
            count: bytes, with layers.
            now: seconds that only rise.

        Returns:
            False when too much of what came before it was of no use.
        """
        if self._open > 0:
            self._left -= self._open
        self._refill((now - self._at) * self._rate - min(self._open, 0))
        self._at, self._open, self._useful = now, count, 0
        return self._left >= 0

    def _refill(self, count: float) -> None:
        if self._left < self.allowance:
            self._left = min(self.allowance, self._left + count)

    def good(self, count: int) -> None:
        """So many bytes of it were of use."""
        self._useful += count
        self._open -= count + count // USE_SHARE

    def taken(self, frames: Iterator[tuple[int, memoryview]]) -> Iterator[tuple[int, memoryview]]:
        """Pass frames of datagrams on, and count those that are taken: after one that is not, none is asked for."""
        for kind, content in frames:
            yield kind, content
            if kind == Frame.DATAGRAM:
                self.good(len(content))

    def padded(self, count: int) -> None:
        """So many bytes after them filled a lane's message."""
        self._open -= min(count, self._longest_padding, PADDED_SHARE * self._useful)

    def excuse(self, count: int) -> None:
        """So many bytes may still come that are of no use any more."""
        self._left += count
