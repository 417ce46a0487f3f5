"""Cut a stream back into records: a length (2 bytes, big-endian), then as many bytes.

Whole records inside a chunk are handed out as views of it, without a copy; only a record that crosses a chunk's end
is copied.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from core.errors import DecodeError

if TYPE_CHECKING:
    from collections.abc import Iterator

PREFIX_BYTES = 2


class Assembler:
    """Reads one direction of one stream.

    Args:
        limit: largest record, in bytes without its prefix, at most 65,535.
    """

    __slots__ = ("_limit", "_partial")

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._partial = bytearray()

    def feed(self, chunk: memoryview) -> Iterator[memoryview]:
        """Take the next bytes of the stream and hand out the records that they complete, in order.

        Each record is valid until the next one is asked for. Walk to the end, or drop the stream.

        Raises:
            DecodeError: a record is longer than the limit.
        """
        at, size = 0, len(chunk)
        partial = self._partial
        if partial:
            while len(partial) < PREFIX_BYTES and at < size:
                partial.append(chunk[at])
                at += 1
            if len(partial) < PREFIX_BYTES:
                return
            missing = PREFIX_BYTES + self._checked(partial[0] << 8 | partial[1]) - len(partial)
            taken = min(missing, size - at)
            partial += chunk[at : at + taken]
            at += taken
            if taken < missing:
                return
            self._partial = bytearray()
            yield memoryview(partial)[PREFIX_BYTES:]
        while size - at >= PREFIX_BYTES:
            end = at + PREFIX_BYTES + self._checked(chunk[at] << 8 | chunk[at + 1])
            if end > size:
                break
            yield chunk[at + PREFIX_BYTES : end]
            at = end
        if at < size:
            self._partial += chunk[at:]

    def _checked(self, length: int) -> int:
        if length > self._limit:
            raise DecodeError("record", "too long")
        return length

    @property
    def held_bytes(self) -> int:
        """What has come of a record that is not whole."""
        return len(self._partial)

    @property
    def idle(self) -> bool:
        """Whether the stream stands between two records."""
        return not self._partial
