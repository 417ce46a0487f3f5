"""What is fuzzed, and how an input of several parts is read out of one string of bytes."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any

from core.errors import DecodeError

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterator


@dataclass(frozen=True)
class Target:
    """One reader of bytes.

    Args:
        name: what it is called on the command line.
        read: reads one input, and raises AssertionError when what it finds out contradicts itself.
        seeds: inputs that are read without an exception.
        allowed: what `read` may raise to refuse an input.
        longest: no input is longer than this, in bytes.
    """

    name: str
    read: Callable[[bytes], object]
    seeds: tuple[bytes, ...]
    allowed: tuple[type[Exception], ...] = (DecodeError,)
    longest: int = 2048

    def run(self, data: bytes) -> bool:
        """Read one input.

        Returns:
            Whether it was taken; False when it was refused as documented.
        """
        try:
            self.read(data)
        except self.allowed:
            return False
        return True


def parts(data: bytes) -> Iterator[bytes]:
    """Cut an input into pieces, each behind its length in one byte; the last one may be cut off."""
    at = 0
    while at < len(data):
        end = at + 1 + data[at]
        yield data[at + 1 : end]
        at = end


def joined(*pieces: bytes) -> bytes:
    """Make the input that `parts` cuts into these pieces, each of at most 255 bytes."""
    return b"".join(bytes([len(piece)]) + piece for piece in pieces)


@cache
def _loop() -> asyncio.AbstractEventLoop:
    return asyncio.new_event_loop()


def in_loop[Result](work: Coroutine[Any, Any, Result]) -> Result:
    """Run something that needs an event loop, to its end."""
    return _loop().run_until_complete(work)
