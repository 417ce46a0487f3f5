"""An operator's hours, numbers and friends, as those see them who use the exit: real processes on a real clock."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

import pytest

from core.errors import Reason
from tests.harness.demo import Demo, status_of, until
from tests.harness.downloads import Download, source
from tests.harness.share import ELSEWHERE, LOOPBACK, PREFERRING, Share, left_from
from tunnel.limits import FULL_S

pytestmark = pytest.mark.system

SMALL: Final = ("--relays", "1", "--hops", "2", "--find", "gossip", "--allow-destination", LOOPBACK)
ENDLESS: Final = 4000
"""Pieces of a download that takes minutes."""
HOURS: Final = "11:00-12:01"
OPEN_S: Final = 15
"""From the exit's start to the end of its hours: its start and the client's first circuits take about two."""
CLOSED_S: Final = 8
DRAIN_S: Final = 4
LATE_S: Final = 3
"""Two looks at the clock, and what asking takes."""


def zone(now: datetime) -> str:
    """Make a time zone in which `HOURS` end `OPEN_S` from now, and begin again `CLOSED_S` later.

    The noon of that zone's last day of summer is near: its clock reaches 12:01, and goes back by an hour soon after.

    Source: POSIX.1-2017, 8.3, the variable TZ.
    """
    ends = now + timedelta(seconds=OPEN_S)
    ahead = timedelta(hours=12, minutes=1) - timedelta(hours=ends.hour, minutes=ends.minute, seconds=ends.second)
    ahead = (ahead + timedelta(hours=12)) % timedelta(hours=24) - timedelta(hours=12)
    day = (ends + ahead).timetuple().tm_yday - 1
    back = timedelta(hours=12, minutes=1, seconds=CLOSED_S)
    return f"WINTER{_posix(timedelta(hours=1) - ahead)}SUMMER{_posix(-ahead)},0/0,{day}/{back}"


def _posix(offset: timedelta) -> str:
    return f"{'-' if offset < timedelta() else ''}{abs(offset)}"


def roles_as_told(demo: Demo, share: Share) -> Any:
    """What the client believes that an exit does; None when it does not know it."""
    rows = demo.node.peers()["peers"]
    return next((row["roles"] for row in rows if row["peer_id"] == share.peer_id), None)


def counted(share: Share, part: str, reason: Reason) -> int:
    """How often a part of the process ended or refused something for a reason; 0 while it does not run."""
    counters: dict[str, dict[str, int]] = share.status().get("counters", {})
    return counters.get(part, {}).get(reason.word, 0)


@pytest.mark.long
async def test_at_the_minute_new_flows_go_elsewhere_and_running_ones_have_their_time(tmp_path: Path) -> None:
    share = Share(tmp_path / "share", hours=[HOURS], drain_s=DRAIN_S)
    with Demo(*SMALL, *PREFERRING, log=tmp_path / "log") as demo:
        loop = asyncio.get_running_loop()
        try:
            started = loop.time()
            share.start(demo, TZ=zone(datetime.now(UTC)))
            await asyncio.to_thread(share.wait_for_circuits, demo, OPEN_S - 2)
            assert await left_from(demo) == share.leaves_from
            async with source() as port:
                download = Download(1, ENDLESS)
                running = asyncio.create_task(download.run(demo.proxy, port, "user0"))
                await asyncio.to_thread(until, "the flow", lambda: share.seen()["flows"] == 1)
                print(f"a flow ran {loop.time() - started:.2f} s after the start")
                assert loop.time() - started < OPEN_S, "this machine is too busy for this test"

                await asyncio.to_thread(until, "the end", lambda: share.seen()["state"] == "refusing", OPEN_S)
                closed = loop.time()
                print(f"hours ended after {closed - started:.2f} s")
                assert OPEN_S - 1 <= closed - started < OPEN_S + LATE_S
                assert share.seen()["biting"] == ["hours"]
                assert await left_from(demo) == ELSEWHERE
                print(f"a new flow left elsewhere {loop.time() - closed:.2f} s later")
                had, before = download.received, counted(share, "exit", Reason.LIMIT)
                await asyncio.to_thread(until, "word of it", lambda: roles_as_told(demo, share) == [], DRAIN_S)
                print(f"no role in the descriptor {loop.time() - closed:.2f} s later")
                await asyncio.wait_for(running, DRAIN_S + LATE_S)
                print(f"the running flow ended {download.ended_at - closed:.2f} s later")
                assert download.received > had
                assert download.ended_at - started >= OPEN_S + DRAIN_S - 1
                assert not download.whole
                assert counted(share, "exit", Reason.LIMIT) == before + 1

                await asyncio.to_thread(until, "the hours", lambda: share.seen()["state"] == "open", CLOSED_S)
                opened = loop.time()
                print(f"hours began again {opened - started:.2f} s after the start")
                assert OPEN_S + CLOSED_S - 1 <= opened - started < OPEN_S + CLOSED_S + LATE_S
            await asyncio.to_thread(share.wait_for_circuits, demo, FULL_S + LATE_S)  # it was refused after the end
            assert await left_from(demo, "user1") == share.leaves_from
            print(f"it serves again {loop.time() - opened:.2f} s later")
        finally:
            share.kill()


async def test_what_is_too_many_for_one_exit_goes_to_another(tmp_path: Path) -> None:
    share = Share(tmp_path / "share", circuits=2, flows=2)
    with Demo(*SMALL, *PREFERRING, log=tmp_path / "log") as demo:
        other = next(Path(entry["home"]) for entry in demo.facts["processes"] if entry["role"] == "exit")
        try:
            share.start(demo)
            await asyncio.to_thread(share.wait_for_circuits, demo)
            async with source() as port:
                downloads = [Download(number, 100) for number in range(5)]
                running = [asyncio.create_task(each.run(demo.proxy, port, "user0")) for each in downloads]
                await asyncio.to_thread(until, "two and three", lambda: (_flows(share.home), _flows(other)) == (2, 3))
                await asyncio.wait_for(asyncio.gather(*running), 20)
            assert all(download.whole for download in downloads)
            status = await asyncio.to_thread(share.status)
            assert status["sharing"]["circuits"] <= 2
            assert status["counters"]["relay"]["busy"] >= 1
            assert status["counters"]["exit"]["busy"] >= 3
        finally:
            share.kill()


def _flows(home: Path) -> int:
    found: int = status_of(home)["sharing"]["flows"]
    return found


def test_circuits_come_over_friends_alone(tmp_path: Path) -> None:
    """The client is a friend of two exits that serve friends alone. Only one of them has its relay for a friend."""
    serving = Share(tmp_path / "serving", 98, only_friends=True)
    refusing = Share(tmp_path / "refusing", 99, only_friends=True)
    friends = f"client:peers.friends={serving.peer_id},{refusing.peer_id}"
    with Demo(*SMALL, *PREFERRING, "--set", friends, log=tmp_path / "log") as demo:
        relay = demo.facts["processes"][0]["peer_id"]
        try:
            refusing.start(demo, serving.peer_id)
            until("a refusal", lambda: counted(refusing, "relay", Reason.NOT_ALLOWED), 20)
            assert refusing.ends_circuits(demo) == 0
            serving.start(demo, relay)
            serving.wait_for_circuits(demo)
            assert refusing.ends_circuits(demo) == counted(serving, "relay", Reason.NOT_ALLOWED) == 0
        finally:
            serving.kill()
            refusing.kill()
