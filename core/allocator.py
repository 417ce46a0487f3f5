"""How the C library holds large blocks."""

from __future__ import annotations

import ctypes
import sys
from typing import Final

LARGE_BYTES: Final = 256 * 1024
"""A stream's buffers in the fast QUIC engine are larger, and nothing else that is made often."""

_M_MMAP_THRESHOLD: Final = -3  # malloc.h of glibc


def keep_large_blocks_apart() -> bool:
    """Give every large block pages of its own, which go back to the system with it.

    By itself, glibc cuts such blocks from the heap's end as soon as one was freed. Each then takes in the pages that a
    handshake used a moment before, and the next handshake uses new ones: 40 kB for each of 1,000 circuits at a relay.
    It costs system calls: a relay passes on 5 to 8 % fewer new connections per second.

    Returns:
        Whether this system's C library can.
    """
    if sys.platform != "linux":
        return False
    try:
        return bool(ctypes.CDLL(None).mallopt(_M_MMAP_THRESHOLD, LARGE_BYTES))
    except (OSError, AttributeError):
        return False


def give_back() -> bool:
    """Give free memory back to the system, as far as the C library can.

    Returns:
        Whether this system's C library can.
    """
    if sys.platform != "linux":
        return False
    try:
        ctypes.CDLL(None).malloc_trim(0)
    except (OSError, AttributeError):
        return False
    return True
