"""Nodes that are told to stop while others use them, as real processes."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from contextlib import asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING, Final

import pytest

from tests.harness import waiting
from tests.harness.demo import ROOT, Demo, alive, command, until
from tests.harness.downloads import Download, source
from tests.harness.share import ELSEWHERE, left_from, preferred_exit

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

pytestmark = pytest.mark.system

DOWNLOADS: Final = 20
LONGEST_PAUSE_S: Final = 2.5
DRAIN_S: Final = 6
ENDLESS: Final = 4000
"""Pieces of a download that takes minutes."""


class Crowd:
    """Downloads that run at the same time, those of each user over circuits of his own."""

    def __init__(self, demo: Demo, port: int, pieces: list[int], users: int) -> None:
        self._tasks: list[asyncio.Task[None]] = []
        self.downloads = [Download(number, count) for number, count in enumerate(pieces)]
        for download in self.downloads:
            run = download.run(demo.proxy, port, f"user{download.number % users}")
            self._tasks.append(asyncio.create_task(run))

    async def begun(self) -> None:
        """Wait until something has come of each."""
        await waiting.until(lambda: all(download.received for download in self.downloads), 20)

    async def ended(self, limit_s: float) -> None:
        async with asyncio.timeout(limit_s):
            await asyncio.gather(*self._tasks)

    async def cancel(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)


@asynccontextmanager
async def crowd(demo: Demo, pieces: list[int], users: int = 1) -> AsyncIterator[Crowd]:
    async with source() as port:
        found = Crowd(demo, port, pieces, users)
        try:
            await found.begun()
            yield found
        finally:
            await found.cancel()


def used(demo: Demo, place: int) -> int:
    """The process at a place of the circuits that carry flows, that most of them lead over."""
    by_peer: dict[str, int] = {entry["peer_id"]: entry["pid"] for entry in demo.facts["processes"]}
    circuits = [circuit for circuit in demo.node.route()["circuits"] if circuit["flows"]]
    pids = [by_peer[circuit["hops"][place]["peer_id"]] for circuit in circuits]
    return max(set(pids), key=pids.count)


async def gone_s(pid: int, limit_s: float) -> float:
    """Tell a process to stop; gives the seconds that it took."""
    started = time.monotonic()
    os.kill(pid, signal.SIGTERM)
    await asyncio.to_thread(until, f"the end of process {pid}", lambda: not alive(pid), limit_s)
    return time.monotonic() - started


def is_in(text: str, log: Path) -> bool:
    return text in log.read_text()


async def test_downloads_leave_guards_and_relays_that_stop(tmp_path: Path) -> None:
    options = ["--relays", "6", "--exits", "2", "--allow-destination", "127.0.0.0/8"]
    with Demo(*options, log=tmp_path / "log") as demo:
        async with crowd(demo, [200] * DOWNLOADS, users=4) as found:
            for place in (1, 0):
                pid = await asyncio.to_thread(used, demo, place)
                took_s = await gone_s(pid, 10)
                print(f"hop {place} gone after {took_s:.2f} s")
                assert took_s < 5
                report = f"(process {pid}) ended with exit status 0."
                await waiting.until(partial(is_in, report, demo.log))
            await found.ended(40)
        longest_s = max(download.longest_s for download in found.downloads)
        print(f"longest pause {longest_s:.2f} s")
        assert [download.number for download in found.downloads if not download.whole] == []
        assert longest_s < LONGEST_PAUSE_S


async def test_an_exit_lets_downloads_end_and_cuts_none_before_its_limit(tmp_path: Path) -> None:
    async with preferred_exit(tmp_path, drain_s=DRAIN_S) as (demo, share):
        long = 4
        async with crowd(demo, [60] * (DOWNLOADS - long) + [ENDLESS] * long) as found:
            assert share.leaves_from in await left_from(demo)
            started = asyncio.get_running_loop().time()
            ending = asyncio.create_task(share.ended_s(DRAIN_S + 5))
            await asyncio.to_thread(until, "word of it", lambda: "leaving" in share.log.read_text())
            begun = time.monotonic()
            assert ELSEWHERE in await left_from(demo)
            print(f"a new flow left elsewhere after {time.monotonic() - begun:.2f} s")
            assert time.monotonic() - begun < 2
            took_s = await ending
            await found.ended(5)
        print(f"exit gone after {took_s:.2f} s")
        short, cut = found.downloads[:-long], found.downloads[-long:]
        assert [download.number for download in short if not download.whole] == []
        assert max(download.longest_s for download in short) < LONGEST_PAUSE_S
        assert [download.whole for download in cut] == [False] * long
        assert min(download.ended_at for download in cut) - started >= DRAIN_S - 0.1
        assert took_s < DRAIN_S + 3


async def test_a_second_signal_ends_an_exit_at_once(tmp_path: Path) -> None:
    async with preferred_exit(tmp_path, drain_s=DRAIN_S) as (demo, share), crowd(demo, [ENDLESS] * 4):
        share.process.terminate()
        await asyncio.to_thread(until, "word of it", lambda: "leaving" in share.log.read_text())
        state = await asyncio.to_thread(share.status)
        assert state["state"] == "leaving"
        assert state["flows"] == 4
        took_s = await share.ended_s(5)
        print(f"gone {took_s:.2f} s after the second signal")
        assert took_s < 2


async def test_a_demo_does_not_wait_for_its_downloads(tmp_path: Path) -> None:
    options = ["--relays", "2", "--exits", "1", "--allow-destination", "127.0.0.0/8"]
    with Demo(*options, log=tmp_path / "log") as demo:
        async with crowd(demo, [ENDLESS] * 4):
            started = time.monotonic()
            assert await asyncio.to_thread(demo.stop) == 0
            took_s = time.monotonic() - started
        print(f"demo gone after {took_s:.2f} s")
        assert took_s < 3, "none had to be killed"
        assert not any(map(alive, demo.pids()))


def test_a_node_that_nobody_uses_ends_at_once(tmp_path: Path) -> None:
    home = tmp_path / "home"
    with (tmp_path / "log").open("wb") as log:
        arguments = ["share", "--role", "relay", "--no-dht", "--home", str(home)]
        process = subprocess.Popen([sys.executable, "-m", "node", *arguments], cwd=ROOT, stdout=log, stderr=log)
    try:
        until("its control interface", lambda: (home / "control.json").exists())
        until("that it is up", lambda: command("status", home=home)["state"] == "up")
        started = time.monotonic()
        process.terminate()
        assert process.wait(10) == 0
        assert time.monotonic() - started < 1
    finally:
        process.kill()
        process.wait()
