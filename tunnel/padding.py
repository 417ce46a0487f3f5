"""Padding: which sizes a relay sees.

Most flows of a circuit share a few streams, its *lanes*. A lane has a shape:

| shape | sizes of its messages |
|---|---|
| FREE | as it comes |
| STEPS | multiples of `STEP_BYTES` |
| EVEN | `LANE_BYTES`, always |

The client chooses; the first frame of a lane, SHAPE, tells the exit, which does the same. Where lanes are FREE or
STEPS, a flow that carries much moves to a stream of its own, whose messages have the size of their frames.
"""

from __future__ import annotations

from enum import IntEnum
from typing import TYPE_CHECKING, Final

from core.errors import DecodeError
from tunnel.frames import Frame, frame
from tunnel.limits import LANE_BYTES, MAX_PLAINTEXT, STEP_BYTES

if TYPE_CHECKING:
    from core.flow import Buffer


class Shape(IntEnum):
    """What a lane looks like from outside; the numbers are those of the SHAPE frame."""

    FREE = 1
    STEPS = 2
    EVEN = 3


SHAPES: Final = {"speed": Shape.FREE, "balanced": Shape.STEPS, "privacy": Shape.EVEN}
"""The shape of each mode."""

LANES: Final = {Shape.FREE: 1, Shape.STEPS: 1, Shape.EVEN: 4}
"""Lanes of a circuit."""

_LONGEST: Final = {Shape.FREE: MAX_PLAINTEXT, Shape.STEPS: MAX_PLAINTEXT, Shape.EVEN: LANE_BYTES}
_MULTIPLE: Final = {Shape.FREE: 1, Shape.STEPS: STEP_BYTES, Shape.EVEN: LANE_BYTES}


def encode_shape(shape: Shape) -> bytes:
    return frame(Frame.SHAPE, bytes([shape]))


def decode_shape(body: memoryview) -> Shape:
    """Decode SHAPE's body.

    Raises:
        DecodeError: not one byte, or one that says nothing.
    """
    if len(body) != 1 or body[0] not in tuple(Shape):
        raise DecodeError("SHAPE", "unknown")
    return Shape(body[0])


class Sizes:
    """The sizes that messages of a lane may have, in bytes of plaintext.

    Args:
        shape: the lane's.

    Attributes:
        longest: what one message holds.
    """

    __slots__ = ("_multiple", "longest")

    def __init__(self, shape: Shape) -> None:
        self.longest = _LONGEST[shape]
        self._multiple = _MULTIPLE[shape]

    def fill(self, frames: bytearray) -> bytearray:
        """Pad frames, at most `longest` of them, to a size that may be."""
        rest = -len(frames) % self._multiple
        return frames + bytes(rest) if rest else frames

    def check(self, plaintext: Buffer) -> None:
        """Look at the size of a message that came.

        Raises:
            DecodeError: it has none of the lane's sizes.
        """
        size = len(plaintext)
        if not 0 < size <= self.longest or size % self._multiple:
            raise DecodeError("lane", "wrong size")
