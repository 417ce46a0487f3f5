"""Wait for what must happen, with a limit."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable


async def until(condition: Callable[[], object], limit_s: float = 5.0) -> None:
    """Let the event loop run until `condition` holds.

    Raises:
        AssertionError: it did not come to hold in time.
    """
    loop = asyncio.get_running_loop()
    end = loop.time() + limit_s
    turns = 0
    while not condition():
        if loop.time() > end:
            raise AssertionError(f"did not happen within {limit_s} s")
        turns += 1
        await asyncio.sleep(0 if turns < 100 else 0.002)


async def turns(count: int = 50) -> None:
    """Let the event loop go round, so that what is under way in memory comes to its end."""
    for _ in range(count):
        await asyncio.sleep(0)
