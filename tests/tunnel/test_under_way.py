"""What is being built, and what of it is slow."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from core.errors import FlowError, Reason
from core.flow import NO_OPTIONS, FlowRequest, SiteOptions
from core.ids import PeerKey
from tests.harness.waiting import turns, until
from tests.tunnel.test_rescue import ALL, EXIT, four_relays
from tunnel import under_way
from tunnel.builder import Builder
from tunnel.limits import MAX_RACERS, READY_CIRCUITS
from tunnel.path import Hop, Path
from tunnel.under_way import UnderWay

if TYPE_CHECKING:
    from collections.abc import Callable

    from tunnel.circuit import Circuit

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


# -- in a pool


def some_hang(monkeypatch: pytest.MonkeyPatch, hangs: Callable[[list[Path]], bool]) -> list[Path]:
    """Have some builds never end.

    Args:
        hangs: asked at each, with the paths of all that were begun, its own last.

    Returns:
        These paths.
    """
    paths: list[Path] = []
    build = Builder.build

    async def begin(self: Builder, path: Path, options: SiteOptions = NO_OPTIONS, *, ahead: bool = False) -> Circuit:
        paths.append(path)
        if hangs(paths):
            await asyncio.Event().wait()
        return await build(self, path, options, ahead=ahead)

    monkeypatch.setattr(Builder, "build", begin)
    return paths


@pytest.mark.parametrize(("hang", "begun"), [(READY_CIRCUITS, READY_CIRCUITS + 1), (100, MAX_RACERS)])
async def test_who_waits_does_not_wait_for_slow_builds_alone(
    hang: int, begun: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Others are begun beside them, and no more than a few."""
    async with four_relays(*ALL) as (_, client, _):
        paths = some_hang(monkeypatch, lambda paths: len(paths) <= hang)
        for circuit in client.pool.circuits:
            circuit.close(Reason.DONE)
        await until(lambda: len(paths) == READY_CIRCUITS)
        now = asyncio.get_running_loop().time
        began = now()
        outcome = await asyncio.gather(client.pool.dial(FlowRequest("sink.example", 80)), return_exceptions=True)
        assert len(paths) - client.pool.ready <= begun
        if hang > MAX_RACERS:
            assert isinstance(outcome[0], FlowError)
            assert len(paths) == begun
        else:
            assert not isinstance(outcome[0], BaseException)
            assert now() - began < under_way.SLOW_S + 1


async def test_those_begun_beside_slow_builds_go_over_others(monkeypatch: pytest.MonkeyPatch) -> None:
    async with four_relays(*ALL) as (network, client, _):
        network.paths = [[0, 1, EXIT], [0, 2, EXIT], [0, 3, EXIT]]
        paths = some_hang(monkeypatch, lambda paths: paths[-1][1].peer == paths[0][1].peer)
        for circuit in client.pool.circuits:
            circuit.close(Reason.DONE)
        await client.pool.dial(FlowRequest("sink.example", 80))
        assert [network.keys.index(found[1].peer) for found in paths[: READY_CIRCUITS + 1]] == [1, 1, 2]
