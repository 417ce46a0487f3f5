"""What is being built, and what of it is slow."""

from __future__ import annotations

import asyncio

import pytest

from core.flow import NO_OPTIONS, SiteOptions
from core.ids import PeerKey
from tests.harness.waiting import turns, until
from tunnel import under_way
from tunnel.limits import MAX_RACERS
from tunnel.path import Hop, Path
from tunnel.under_way import UnderWay

OTHERS = SiteOptions(regions=("NL",))


def path(number: int) -> Path:
    return tuple(Hop(PeerKey(bytes([number, place]) * 16), bytes(32), bytes(32), ()) for place in range(3))


class Rig:
    def __init__(self, *, awaited: bool = True) -> None:
        self.woken = 0
        self.builds = UnderWay(self._wake, lambda: awaited)

    def _wake(self) -> None:
        self.woken += 1


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(under_way, "SLOW_S", 0.02)


async def test_one_that_takes_long_is_slow_and_who_stands_in_its_middle_is_doubted() -> None:
    rig = Rig()
    rig.builds.begin(path(1), NO_OPTIONS)
    assert rig.builds.hopeful(NO_OPTIONS) == rig.builds.paths(NO_OPTIONS) == [path(1)]
    assert not rig.builds.doubted(NO_OPTIONS)
    await until(lambda: rig.woken)
    assert not rig.builds.hopeful(NO_OPTIONS)
    assert rig.builds.paths(NO_OPTIONS) == [path(1)]
    assert rig.builds.doubted(NO_OPTIONS) == [path(1)[1].peer]


async def test_one_that_has_ended_wakes_nobody() -> None:
    """Else builds that fail at once would be begun twice a second, however long the pauses between them should be."""
    rig = Rig()
    rig.builds.begin(path(1), NO_OPTIONS)
    rig.builds.end(path(1), NO_OPTIONS)
    rig.builds.begin(path(2), NO_OPTIONS)
    await until(lambda: rig.woken)
    await turns()
    assert rig.woken == 1
    assert len(rig.builds) == 1


async def test_nobody_is_woken_while_nobody_waits() -> None:
    rig, slow = Rig(awaited=False), asyncio.Event()
    rig.builds.begin(path(1), NO_OPTIONS)
    asyncio.get_running_loop().call_later(under_way.SLOW_S, slow.set)
    await slow.wait()
    await turns()
    assert not rig.builds.hopeful(NO_OPTIONS)
    assert not rig.woken


async def test_all_are_waited_for_while_there_are_many() -> None:
    rig = Rig()
    for number in range(MAX_RACERS):
        rig.builds.begin(path(number), NO_OPTIONS)
    await until(lambda: rig.woken == MAX_RACERS)
    assert len(rig.builds.hopeful(NO_OPTIONS)) == MAX_RACERS
    rig.builds.end(path(0), NO_OPTIONS)
    assert not rig.builds.hopeful(NO_OPTIONS)


async def test_those_for_some_options_are_apart() -> None:
    rig = Rig()
    rig.builds.begin(path(1), NO_OPTIONS)
    rig.builds.begin(path(2), OTHERS)
    assert rig.builds.for_sites == 1
    assert rig.builds.paths(OTHERS) == rig.builds.hopeful(OTHERS) == [path(2)]
    rig.builds.end(path(2), OTHERS)
    assert rig.builds.for_sites == 0
