"""Tasks that cannot get lost."""

from __future__ import annotations

import asyncio
import gc
from typing import TYPE_CHECKING

from core.tasks import Tasks
from tests.harness.waiting import until

if TYPE_CHECKING:
    from collections.abc import Callable

    import pytest


async def forever() -> None:
    await asyncio.get_running_loop().create_future()


async def test_a_task_has_a_name_and_a_result() -> None:
    async def work() -> int:
        return 7

    tasks = Tasks()
    task = tasks.spawn(work(), "seven")
    assert (task.get_name(), len(tasks)) == ("seven", 1)
    assert await task == 7
    await until(lambda: len(tasks) == 0)


async def test_a_running_task_is_kept_alive() -> None:
    tasks = Tasks()
    done = asyncio.Event()

    async def work() -> None:
        await asyncio.get_running_loop().create_future()

    tasks.spawn(work(), "waits").add_done_callback(lambda _: done.set())
    await asyncio.sleep(0)
    gc.collect()
    assert len(tasks) == 1
    await tasks.cancel()
    await asyncio.wait_for(done.wait(), 1)


async def test_cancel_ends_all_and_waits() -> None:
    ended: list[int] = []

    async def work(number: int) -> None:
        try:
            await forever()
        finally:
            await asyncio.sleep(0)
            ended.append(number)

    tasks = Tasks()
    for number in range(3):
        tasks.spawn(work(number), "work")
    await asyncio.sleep(0)
    await tasks.cancel()
    assert sorted(ended) == [0, 1, 2]
    assert len(tasks) == 0


async def test_cancel_from_within_spares_the_caller() -> None:
    tasks = Tasks()
    other = tasks.spawn(forever(), "other")

    async def work() -> str:
        await tasks.cancel()
        return "went on"

    assert await tasks.spawn(work(), "caller") == "went on"
    assert other.cancelled()


def raising(text: str) -> Callable[[], object]:
    def fail() -> object:
        raise ValueError(text)

    return fail


async def test_a_failure_is_logged_without_its_text(caplog: pytest.LogCaptureFixture) -> None:
    async def work() -> None:
        raising("secret.example")()

    tasks = Tasks()
    tasks.spawn(work(), "work")
    await until(lambda: len(tasks) == 0)
    (said,) = (record.getMessage() for record in caplog.records)
    assert said.startswith("task work failed: ValueError at ")
    assert "secret" not in caplog.text


async def test_a_cancelled_task_is_no_failure(caplog: pytest.LogCaptureFixture) -> None:
    tasks = Tasks()
    tasks.spawn(forever(), "work")
    await tasks.cancel()
    assert not caplog.records
