"""Small writes of one turn of the event loop, and looks at bulk data."""

from __future__ import annotations

import asyncio
import os
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING

import pytest
import uvloop

from tests.harness.waiting import until
from tunnel.engines.aiopquic_events import BULK_BYTES, PAUSE_S, EventLooks
from tunnel.engines.turns import SMALL_BYTES, Turn, Turns

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

type Passed = list[tuple[int, bytes, bool]]
type Run = Callable[[Coroutine[None, None, None]], None]


async def turn_over() -> None:
    """Wait until the event loop has done what was planned for the end of this turn."""
    await asyncio.sleep(0)


async def polled() -> None:
    """Wait until the event loop has looked at its descriptors once more."""
    reading, writing = os.pipe()
    seen = asyncio.Event()
    asyncio.get_running_loop().add_reader(reading, seen.set)
    os.write(writing, b"!")
    await seen.wait()
    asyncio.get_running_loop().remove_reader(reading)
    os.close(reading)
    os.close(writing)


def turn_of(turns: Turns) -> tuple[Turn, Passed]:
    passed: Passed = []

    def pass_on(stream: int, data: bytes, end: bool) -> bool:
        passed.append((stream, data, end))
        return len(passed) < 3

    return Turn(turns, pass_on), passed


async def test_small_writes_of_a_turn_are_joined_by_stream() -> None:
    turn, passed = turn_of(Turns())
    assert turn.write(4, b"ab", False)
    assert turn.write(8, b"x", False)
    assert turn.write(4, b"cd", False)
    assert turn.write(8, b"", True)
    assert passed == []
    await turn_over()
    assert passed == [(4, b"abcd", False), (8, b"x", True)]
    assert turn.write(4, b"later", True)
    await turn_over()
    assert passed[2:] == [(4, b"later", True)]


async def test_a_large_write_goes_at_once_behind_what_was_held_of_its_stream() -> None:
    turn, passed = turn_of(Turns())
    large = bytes(SMALL_BYTES)
    turn.write(4, b"ab", False)
    turn.write(8, b"other", False)
    assert turn.write(4, large, False)
    assert passed == [(4, b"ab" + large, False)]
    turn.write(4, b"", True)
    await turn_over()
    assert passed[1:] == [(8, b"other", False), (4, b"", True)]


async def test_what_comes_after_the_end_of_a_stream_is_dropped() -> None:
    turn, passed = turn_of(Turns())
    turn.write(4, b"last", True)
    assert turn.write(4, b"more", False)
    assert turn.write(4, bytes(SMALL_BYTES), False)
    await turn_over()
    assert passed == [(4, b"last", True)]


async def test_what_is_held_of_a_stream_is_bounded() -> None:
    turn, passed = turn_of(Turns())
    for _ in range(10):
        turn.write(4, bytes(SMALL_BYTES - 1), False)
    assert sum(len(data) for _, data, _ in passed) > 9 * (SMALL_BYTES - 1)


async def test_the_answer_of_a_large_write_is_that_of_the_library() -> None:
    turn, _ = turn_of(Turns())
    assert [turn.write(4, bytes(SMALL_BYTES), False) for _ in range(4)] == [True, True, False, False]


async def test_a_stream_can_be_settled_before_the_others() -> None:
    turn, passed = turn_of(Turns())
    turn.write(4, b"a", False)
    turn.write(8, b"b", False)
    turn.settle(8)
    turn.settle(12)
    assert passed == [(8, b"b", False)]
    await turn_over()
    assert passed == [(8, b"b", False), (4, b"a", False)]


async def test_what_work_writes_is_passed_on_at_its_end() -> None:
    turns = Turns()
    (first, passed), (second, others) = turn_of(turns), turn_of(turns)

    def work() -> None:
        first.write(4, b"a", False)
        second.write(4, b"b", False)
        first.write(4, b"", True)
        assert not passed

    turns.run(work)
    assert (passed, others) == ([(4, b"a", True)], [(4, b"b", False)])


async def test_what_was_held_before_work_is_passed_on_all_the_same() -> None:
    turns = Turns()
    turn, passed = turn_of(turns)
    turn.write(4, b"a", False)

    def work() -> None:
        turn.write(4, b"b", False)

    turns.run(work)
    await turn_over()
    assert passed == [(4, b"ab", False)]


async def test_work_that_fails_passes_on_what_it_wrote() -> None:
    turns = Turns()
    turn, passed = turn_of(turns)

    def work() -> None:
        turn.write(4, b"a", False)
        raise RuntimeError

    with pytest.raises(RuntimeError):
        turns.run(work)
    assert passed == [(4, b"a", False)]
    turn.write(4, b"b", False)
    await turn_over()
    assert passed[1:] == [(4, b"b", False)]


class Library:
    """A queue of events with a descriptor that says when there are some."""

    def __init__(self) -> None:
        self.reading, self._writing = os.pipe()
        os.set_blocking(self.reading, False)
        self.waiting: list[int] = []
        self.looks: list[int] = []

    def add(self, size: int) -> None:
        self.waiting.append(size)
        os.write(self._writing, b"!")

    def look(self) -> int:
        with suppress(BlockingIOError):
            os.read(self.reading, 4096)
        self.looks.append(sum(self.waiting))
        self.waiting.clear()
        return self.looks[-1]

    def close(self) -> None:
        os.close(self.reading)
        os.close(self._writing)


def both_loops(case: Callable[[Library], Coroutine[None, None, None]]) -> Callable[[Run], None]:
    """Run `case` on asyncio's loop and on uvloop's."""

    @pytest.mark.parametrize("run", [asyncio.run, uvloop.run])
    def wrapped(run: Run) -> None:
        library = Library()
        try:
            run(case(library))
        finally:
            library.close()

    return wrapped


@both_loops
async def test_small_events_are_looked_at_as_they_come(library: Library) -> None:
    looks = EventLooks(library.reading, library.look)
    for expected in ([100], [100, 100], [100, 100, 100]):
        library.add(100)
        await until(partial(library.looks.__eq__, expected))
    looks.close()


@both_loops
async def test_bulk_is_looked_at_in_larger_pieces(library: Library) -> None:
    looks = EventLooks(library.reading, library.look, 0.3)
    library.add(BULK_BYTES)
    await until(lambda: library.looks == [BULK_BYTES])
    library.add(BULK_BYTES // 2)
    await polled()
    await polled()
    library.add(BULK_BYTES // 2)
    await until(lambda: library.looks == [BULK_BYTES, BULK_BYTES])
    looks.close()


@both_loops
async def test_after_bulk_the_descriptor_is_heard_again(library: Library) -> None:
    looks = EventLooks(library.reading, library.look)
    library.add(BULK_BYTES)
    await until(lambda: len(library.looks) == 2)
    library.add(1)
    await until(lambda: library.looks == [BULK_BYTES, 0, 1])
    library.add(2)
    await until(lambda: library.looks[3:] == [2])
    looks.close()


@both_loops
async def test_a_look_that_fails_is_not_the_last(library: Library) -> None:
    failed: list[object] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: failed.append(context["exception"]))
    fails = RuntimeError()

    def look() -> int:
        size = library.look()
        if len(library.looks) == 2:
            raise fails
        return size

    looks = EventLooks(library.reading, look)
    library.add(BULK_BYTES)
    await until(lambda: failed == [fails])
    library.add(1)
    await until(lambda: library.looks[2:] == [1])
    looks.close()


@both_loops
async def test_nothing_is_looked_at_after_close(library: Library) -> None:
    looks = EventLooks(library.reading, library.look)
    library.add(BULK_BYTES)
    await until(lambda: bool(library.looks))
    looks.close()
    library.add(BULK_BYTES)
    over = asyncio.Event()
    asyncio.get_running_loop().call_later(2 * PAUSE_S, over.set)  # behind the end of the pause
    await over.wait()
    await polled()
    assert len(library.looks) == 1
