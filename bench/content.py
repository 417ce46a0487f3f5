"""The bytes that transfers carry: every byte has its place, and they are sent at a steady rate."""

from __future__ import annotations

import hashlib
import random
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator

_PATTERN: Final = random.Random(1).randbytes(1_048_573)
"""A prime number of bytes, so that no shift by a size of computers goes unnoticed."""
_PART: Final = 1 << 18
STEP_S: Final = 0.01
"""How often a paced sender sends."""


def content(start: int, end: int) -> Iterator[bytes]:
    """The bytes from one place to another, in parts of at most 256 KiB."""
    while start < end:
        at = start % len(_PATTERN)
        part = _PATTERN[at : at + min(end - start, _PART)]
        yield part
        start += len(part)


def digest(size: int) -> str:
    """The SHA-256 of the first `size` bytes, in hex."""
    state = hashlib.sha256()
    for part in content(0, size):
        state.update(part)
    return state.hexdigest()


def due(size: int, rate: int, elapsed_s: float) -> int:
    """How many of `size` bytes a sender shall have sent at `rate` bytes per second; all of them if that is 0."""
    return min(size, round((elapsed_s + STEP_S) * rate)) if rate else size
