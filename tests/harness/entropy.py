"""Randomness that a test can repeat."""

from __future__ import annotations

from hashlib import shake_128
from itertools import count
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable


def seeded(seed: str = "") -> Callable[[int], bytes]:
    """A source of bytes: the same seed gives the same bytes, and no two calls give the same."""
    numbers = count()
    return lambda size: shake_128(f"{seed}/{next(numbers)}".encode()).digest(size)


def flipped(data: bytes, bit: int) -> bytes:
    """A copy of `data` with one bit turned over."""
    changed = bytearray(data)
    changed[bit // 8] ^= 1 << bit % 8
    return bytes(changed)
