"""Tasks that cannot get lost: named, kept alive, and heard when they fail."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Any

from core.fault import place

if TYPE_CHECKING:
    from collections.abc import Coroutine

_log = logging.getLogger(__name__)


class Tasks:
    """The background tasks of one owner. `cancel` ends them all."""

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[Any]] = set()

    def spawn(self, work: Coroutine[Any, Any, Any], name: str) -> asyncio.Task[Any]:
        """Run `work` until it ends. A failure is logged by the task's name and its type, without its text, since
        the text may name a destination."""
        task = asyncio.get_running_loop().create_task(work, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._ended)
        return task

    def _ended(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            _log.error("task %s failed: %s", task.get_name(), place(error))

    def __len__(self) -> int:
        return len(self._tasks)

    async def finish(self, limit_s: float) -> None:
        """Wait until every task has ended by itself; after a time limit, end those that have not."""
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=limit_s)
        await self.cancel()

    async def cancel(self) -> None:
        """End every task and wait until each has ended."""
        tasks = [task for task in self._tasks if task is not asyncio.current_task()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
