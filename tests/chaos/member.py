"""A node of the network: `macrovpn`, which also tells how many asyncio tasks it has.

At SIGUSR1 it writes the file that `CHAOS_CENSUS` names: a JSON object of counts by the coroutine's name. With
`CHAOS_PLANT` it leaks after it was first asked, so that it is seen whether a judge would find it.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from core.tasks import Tasks
from node.cli import main

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import FrameType

CENSUS: Final = "CHAOS_CENSUS"
PLANT: Final = "CHAOS_PLANT"
LEAKS_AFTER_S: Final = 2.0
"""When whoever asked has looked at everything else."""
_COUNT: Final = 100
_BYTES: Final = 100_000_000

_leaked: list[Any] = []


async def _forever() -> None:
    await asyncio.Event().wait()


def _leak_descriptors() -> None:
    _leaked.extend(os.dup(0) for _ in range(_COUNT))


def _leak_tasks() -> None:
    tasks = Tasks()
    for _ in range(_COUNT):
        tasks.spawn(_forever(), "leaked")
    _leaked.append(tasks)


def _leak_memory() -> None:
    _leaked.append(b"x" * _BYTES)


PLANTS: Final[dict[str, Callable[[], None]]] = {
    "descriptors": _leak_descriptors,
    "tasks": _leak_tasks,
    "memory": _leak_memory,
}


def _census(file: Path, plant: str) -> None:
    names = Counter(getattr(task.get_coro(), "__qualname__", "unknown") for task in asyncio.all_tasks())
    partial = file.with_suffix(".partial")
    partial.write_text(json.dumps(names))
    partial.replace(file)
    if plant and not _leaked:
        asyncio.get_running_loop().call_later(LEAKS_AFTER_S, PLANTS[plant])


def _listen(file: Path, plant: str) -> None:
    def told(number: int, frame: FrameType | None) -> None:
        _census(file, plant)

    signal.signal(signal.SIGUSR1, told)


if __name__ == "__main__":
    _listen(Path(os.environ[CENSUS]), os.environ.get(PLANT, ""))
    main()
