"""How frames of several flows lie on a lane.

The messages of a lane all have one size, and what they carry is one run of frames that goes on from message to
message: a frame may begin in one and end in another. Where a frame would begin, a zero byte says that the rest of the
message is padding. SELECT says of which flow the frames after it are.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Final

from core.errors import DecodeError
from tunnel.frames import HEAD, HEAD_BYTES, Frame, frame
from tunnel.limits import MAX_PLAINTEXT

if TYPE_CHECKING:
    from collections.abc import Iterator

_NUMBER: Final = struct.Struct(">I")
_PADDING: Final = 0


def encode_select(number: int) -> bytes:
    return frame(Frame.SELECT, _NUMBER.pack(number))


def decode_select(body: memoryview) -> int:
    """Decode SELECT's body: a flow's number on its lane.

    Raises:
        DecodeError: wrong length, or zero.
    """
    if len(body) != _NUMBER.size:
        raise DecodeError("SELECT", "wrong length")
    number: int = _NUMBER.unpack(body)[0]
    if number == 0:
        raise DecodeError("SELECT", "zero")
    return number


class LaneReader:
    """Finds the frames in a lane's messages.

    Attributes:
        padding: bytes of padding in the last message.
    """

    __slots__ = ("_begun", "padding")

    def __init__(self) -> None:
        self._begun = bytearray()
        self.padding = 0

    def frames(self, plaintext: memoryview) -> Iterator[tuple[int, memoryview]]:
        """Walk over the frames that end in the next message.

        Raises:
            DecodeError: a frame is longer than one may be.
        """
        self.padding = 0
        while len(plaintext):
            if self._begun:
                plaintext = self._complete(plaintext)
                if _frame_bytes(self._begun) != len(self._begun):
                    continue
                whole, self._begun = memoryview(self._begun), bytearray()
                yield whole[0], whole[HEAD_BYTES:]
            elif plaintext[0] == _PADDING:
                self.padding = len(plaintext)
                return
            else:
                size = _frame_bytes(plaintext)
                if size is None or size > len(plaintext):
                    self._begun += plaintext
                    return
                yield plaintext[0], plaintext[HEAD_BYTES:size]
                plaintext = plaintext[size:]

    def _complete(self, plaintext: memoryview) -> memoryview:
        """Take what the frame that has begun is short of, first to know its size; returns the rest."""
        missing = (_frame_bytes(self._begun) or HEAD_BYTES) - len(self._begun)
        self._begun += plaintext[:missing]
        return plaintext[missing:]


def _frame_bytes(begun: memoryview | bytearray) -> int | None:
    """The size of a frame with its head; None while the head is not complete.

    Raises:
        DecodeError: it is longer than a frame may be.
    """
    if len(begun) < HEAD_BYTES:
        return None
    size: int = HEAD_BYTES + (HEAD.unpack_from(begun)[0] & 0xFFFFFF)
    if size > MAX_PLAINTEXT:
        raise DecodeError("frame", "too long")
    return size
