"""When a node says in the DHT that it is there: at once, again as the table grows, and from time to time."""

from __future__ import annotations

import time
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import pytest

from core.tasks import Tasks
from node import presence as presence_module
from node.presence import ENOUGH_COPIES, FEW_NODES, Presence
from peers.descriptor import Role
from peers.dht import DhtOptions
from peers.rendezvous import own_keys
from tests.harness.fake_dht import FakeDht
from tests.harness.found import Finder
from tests.harness.waiting import turns, until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from peers.dht import Dht

PORT, OTHER_PORT = 4433, 5000


class World:
    """A node that serves, and the DHT around it.

    Attributes:
        rounds: in how many rounds it announced itself.
    """

    def __init__(self, folder: Path) -> None:
        self.node = Finder(folder / "own", 20, Role.RELAY, None)
        self.node.peering.publish(PORT)
        self.dht = FakeDht(DhtOptions())
        self.presence = Presence(self.dht, self.node.peering, self._between)
        self.rounds = 0

    def _between(self, dht: Dht) -> None:
        assert dht is self.dht
        self.rounds += 1

    @asynccontextmanager
    async def runs(self) -> AsyncIterator[None]:
        tasks = Tasks()
        running = tasks.spawn(self.presence.run(), "presence")
        try:
            yield
            assert not running.done()
        finally:
            await tasks.cancel()
            await self.node.close()


@pytest.fixture
async def world(tmp_path: Path) -> World:
    return World(tmp_path)


@pytest.fixture
def _looks_always(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(presence_module, "CHECK_S", 0.0)
    monkeypatch.setattr(presence_module, "SELDOM_S", 0.0)


async def test_it_says_where_it_is_and_leaves_its_descriptor(world: World) -> None:
    world.dht.serving = False
    async with world.runs():
        await until(lambda: world.dht.announced and world.dht.stored)
        peering = world.node.peering
        keys = own_keys(peering.network, world.node.peer, Role.RELAY, time.time())
        assert world.dht.announced == [(key, PORT) for key in keys]
        assert [peering.network.open(item) for item in world.dht.stored] == [peering.descriptor()]
        assert world.dht.serving


@pytest.mark.usefixtures("_looks_always")
@pytest.mark.parametrize(
    ("before", "now", "again"),
    [
        (0, 0, False),
        (0, 1, True),
        (1, 2, True),
        (7, 8, True),
        (8, 9, False),
        (8, 10, True),
        (100, 124, False),
        (100, 125, True),
        (100, 50, False),
    ],
)
async def test_it_says_so_again_when_the_table_has_grown_by_a_quarter(
    world: World, before: int, now: int, again: bool
) -> None:
    world.dht.table = before
    async with world.runs():
        await until(lambda: world.rounds)
        world.dht.table = now
        looks = world.dht.looks
        await until(lambda: world.dht.looks > looks + 3)
        assert world.rounds == 1 + again


@pytest.mark.usefixtures("_looks_always")
async def test_it_says_so_again_after_a_while(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(presence_module, "ANNOUNCE_S", 0.02)
    async with world.runs():
        await until(lambda: world.rounds > 2)


async def test_a_table_of_few_nodes_is_watched(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(presence_module, "CHECK_S", 0.0)
    world.dht.table = FEW_NODES - 1
    async with world.runs():
        await until(lambda: world.dht.looks > 10)


async def test_a_table_that_grows_no_more_is_looked_at_seldom(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(presence_module, "CHECK_S", 0.0)
    world.dht.table = FEW_NODES
    async with world.runs():
        await until(lambda: world.rounds)
        await turns()
        assert world.dht.looks == 2


async def test_a_new_descriptor_is_announced_and_stored_at_once(world: World) -> None:
    world.dht.table = FEW_NODES
    async with world.runs():
        await until(lambda: world.dht.announced and world.dht.stored)
        await turns()
        world.node.peering.publish(OTHER_PORT)
        world.presence.published()
        await turns()
        assert world.dht.announced[-1][1] == OTHER_PORT
        assert world.node.peering.network.open(world.dht.stored[-1]) == world.node.peering.descriptor()


async def test_an_item_of_which_there_are_few_copies_is_stored_again(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(presence_module, "FIRST_PAUSE_S", 0.0)
    world.dht.copies = ENOUGH_COPIES - 1
    async with world.runs():
        await until(lambda: len(world.dht.stored) > 2)
        world.dht.copies = ENOUGH_COPIES
        await turns()
        stored = len(world.dht.stored)
        await turns()
        assert len(world.dht.stored) == stored


async def test_who_does_not_know_its_address_announces_none_and_serves_nobody_until_then(world: World) -> None:
    world.node.peering.address = None
    async with world.runs():
        await until(lambda: world.rounds and world.dht.stored)
        assert not world.dht.announced
        assert not world.dht.serving
        world.node.peering.publish(PORT)
        world.presence.published()
        await turns()
        assert world.dht.announced
        assert world.dht.serving


async def test_who_has_no_descriptor_stores_none(world: World) -> None:
    world.node.peering._own = None
    async with world.runs():
        await until(lambda: world.rounds)
        await turns()
        assert not world.dht.stored
