"""When to look at the library's queue of events.

Its thread says so for each few packets. While bulk data comes, a look each millisecond finds it in larger pieces, and
both threads wake less often.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable

BULK_BYTES: Final = 16 * 1024
"""So much at one look is bulk: more than requests, answers and their like bring."""

PAUSE_S: Final = 0.001
"""Short for a round trip, and long for the engine: at 100 MB/s, 100 kB come in it, a twentieth of a stream's window."""


class EventLooks:
    """Looks when the library says that there is something, and less often while that is a lot.

    Args:
        descriptor: readable when there are events.
        look: take all events and act on them; returns how many bytes of streams they brought.
            When it fails it is called again all the same.
        pause_s: from one look at bulk to the next.
    """

    def __init__(self, descriptor: int, look: Callable[[], int], pause_s: float = PAUSE_S) -> None:
        self._loop = asyncio.get_running_loop()
        self._descriptor = descriptor
        self._look = look
        self._pause_s = pause_s
        self._pause: asyncio.Handle | None = None
        self._loop.add_reader(descriptor, self._ready)

    def close(self) -> None:
        """Look no more. Not to be called from inside a look."""
        if self._pause is not None:
            self._pause.cancel()
        self._loop.remove_reader(self._descriptor)

    def _ready(self) -> None:
        if self._look() >= BULK_BYTES:
            self._loop.remove_reader(self._descriptor)
            self._pause = self._loop.call_later(self._pause_s, self._again)

    def _again(self) -> None:
        self._pause = None
        self._loop.add_reader(self._descriptor, self._ready)
        self._ready()
