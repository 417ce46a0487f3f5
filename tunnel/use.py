"""What a client gets for its line and its money: bytes of a circuit that came, against what they were of use for.

What an exit sends takes of the client's line, and where it is paid it earns by every byte. So a client bounds what is
no use: padding beyond what the lanes' shape makes necessary, frames of flows that it does not have, empty frames,
answers to nothing. Honest exits send some of that: pings, cover, words that cross with the end of a flow, lanes on
which little is said at a time. That is what the allowance is for. What a hop adds that is not the exit's does not open,
and ends its stream. But a datagram that does not open ends nothing: after one, nobody knows whose the rest was.
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
"""Padding that a message needs for its size is due, where it is paid for, up to so many times of what it carries: who
earns by it makes such messages on purpose. Where it costs nothing, all of it is due to a message that carries anything,
so that programs may be sent many small ones."""

DATAGRAM_BYTES: Final = 128
"""What a datagram is of use for beside its content: on three hops the layers of a message take 96 bytes, and datagrams
do not share one as what flows say does."""

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
        paid: whether it costs something.

    Attributes:
        allowance: bytes of no use that may come at once.
        foreign: whether something came that may be anybody's on the path.
    """

    __slots__ = (
        "_at",
        "_left",
        "_longest_padding",
        "_open",
        "_padded_share",
        "_rate",
        "_read",
        "_useful",
        "allowance",
        "foreign",
    )

    def __init__(self, shape: Shape, now: float, *, paid: bool) -> None:
        self.allowance = self._left = ALLOWED_S * _RATES[shape]
        self._at = now
        self._rate = _RATES[shape]
        self._longest_padding = _MULTIPLES[shape] - 1
        self._padded_share = PADDED_SHARE if paid else LANE_BYTES
        self._open = 0
        """Of the last message, what is not accounted for; negative when it ended what others had begun."""
        self._useful = 0
        self._read = False
        """Whether the last message, if it is a datagram, was opened."""
        self.foreign = False

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
        self._at, self._open, self._useful, self._read = now, count, 0, False
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
        self._read = True
        for kind, content in frames:
            yield kind, content
            if kind == Frame.DATAGRAM:
                self.good(len(content) + DATAGRAM_BYTES)

    def strayed(self) -> None:
        """The last message was a datagram, and wrong."""
        self.foreign = self.foreign or not self._read

    def padded(self, count: int) -> None:
        """So many bytes after them filled a lane's message."""
        self._open -= min(count, self._longest_padding, self._padded_share * self._useful)

    def excuse(self, count: int) -> None:
        """So many bytes may still come that are of no use any more."""
        self._left += count
