"""Padding: which sizes a relay sees.

| shape | streams | sizes of messages |
|---|---|---|
| BARE | one per flow | those of the frames |
| STEPS | one per flow | multiples of `STEP_BYTES`, for the first `STEPPED_BYTES` of each direction |
| LANES | a few for all flows of a circuit | `LANE_BYTES`, always |

The client chooses; the first frame of a stream, SHAPE, tells the exit, which does the same. Without one it is BARE.
"""

from __future__ import annotations

from enum import IntEnum
from typing import TYPE_CHECKING, Final

from core.errors import DecodeError
from tunnel.frames import HEAD_BYTES, Frame, frame
from tunnel.limits import MAX_PLAINTEXT, STEP_BYTES, STEPPED_BYTES

if TYPE_CHECKING:
    from core.flow import Buffer


class Shape(IntEnum):
    """What a stream looks like from outside; the numbers are those of the SHAPE frame."""

    BARE = 0
    STEPS = 1
    LANES = 2


SHAPES: Final = {"speed": Shape.BARE, "balanced": Shape.STEPS, "privacy": Shape.LANES}
"""The shape of each mode."""


def encode_shape(shape: Shape) -> bytes:
    return frame(Frame.SHAPE, bytes([shape]))


def decode_shape(body: memoryview) -> Shape:
    """Decode SHAPE's body.

    Raises:
        DecodeError: not one byte, or one that says nothing.
    """
    if len(body) != 1 or body[0] not in (Shape.STEPS, Shape.LANES):
        raise DecodeError("SHAPE", "unknown")
    return Shape(body[0])


def stepped(size: int) -> int:
    """The size to which a message of `size` bytes of frames is filled; `size` itself when PAD has no room."""
    rest = -size % STEP_BYTES
    if 0 < rest < HEAD_BYTES:
        rest += STEP_BYTES
    return size + rest if size + rest <= MAX_PLAINTEXT else size


class Padder:
    """Fills the messages of one direction of one stream.

    Args:
        shape: BARE or STEPS.
    """

    __slots__ = ("_left",)

    def __init__(self, shape: Shape) -> None:
        self._left = STEPPED_BYTES if shape is Shape.STEPS else 0

    def fill(self, frames: Buffer) -> Buffer:
        """The plaintext of the next message: its frames, and PAD where its size would tell something."""
        if self._left <= 0:
            return frames
        size = len(frames)
        filled = stepped(size)
        self._left -= filled
        if filled == size:
            return frames
        return b"".join((frames, frame(Frame.PAD, bytes(filled - size - HEAD_BYTES))))
