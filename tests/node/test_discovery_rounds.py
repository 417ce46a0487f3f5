"""Whom a node looks for in the DHT, whom it meets of those it is told of, and how often it asks by name."""

from __future__ import annotations

import asyncio
import secrets
import time
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import pytest

from core.tasks import Tasks
from node import discovery as discovery_module
from node.discovery import FINDS_PER_MINUTE, MAX_FINDS, Discovery
from node.peering import PUBLIC, Peering
from node.running import RunningNode
from node.settings import NodeSettings, Settings
from peers.descriptor import Descriptor, Role
from peers.networks import NONCE_BYTES
from peers.rendezvous import SHARDS, days
from tests.harness.fake_dht import FakeDht
from tests.harness.found import Finder
from tests.harness.waiting import turns, until
from tests.peers.build import DAY_S, host, identity, signed

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from peers.addresses import Address

CLIENT, EXIT, RELAY, BOTH = Role(0), Role.EXIT, Role.RELAY, Role.EXIT | Role.RELAY
PORT, OTHER_PORT = 4433, 5000


@pytest.fixture(autouse=True)
def _no_packets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(discovery_module, "Dht", FakeDht)


@asynccontextmanager
async def looking(folder: Path, roles: Role = CLIENT, *, gossip: bool = True) -> AsyncIterator[tuple[Finder, FakeDht]]:
    """A node in the DHT that does nothing by itself yet."""
    node = Finder(folder / "own", 20, roles, None, gossip=gossip)
    dht = node.discovery._enter()
    assert isinstance(dht, FakeDht)
    try:
        yield node, dht
    finally:
        await node.close()


def raw(number: int) -> bytes:
    return signed(number, expiry=int(time.time()) + DAY_S)


# -- who is looked for


async def asks_for(node: Finder, dht: FakeDht) -> Role:
    """Have one round, and tell which roles' keys were asked for."""
    dht.searched.clear()
    await node.discovery._round(dht)
    await turns()
    network, asked = node.peering.network, Role(0)
    for role in (EXIT, RELAY):
        keys = {network.rendezvous(role, shard, day) for shard in range(SHARDS) for day in days(time.time())}
        if keys & set(dht.searched):
            asked |= role
    return asked


async def test_a_client_asks_for_exits_only_when_relays_did_not_help(tmp_path: Path) -> None:
    async with looking(tmp_path) as (node, dht):
        asked = []
        for needs in (True, True, True, True, False, True):
            node.needs = needs
            asked.append(await asks_for(node, dht))
        assert asked == [RELAY, RELAY, BOTH, BOTH, RELAY, RELAY]


@pytest.mark.parametrize(("roles", "gossip"), [(RELAY, True), (CLIENT, False)])
async def test_who_serves_and_who_has_no_gossip_asks_for_all(tmp_path: Path, roles: Role, gossip: bool) -> None:
    async with looking(tmp_path, roles, gossip=gossip) as (node, dht):
        assert await asks_for(node, dht) == BOTH


# -- who is met


class Met:
    """Stands for `Peering.meet`: who was met, and whether anybody was there."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *, there: bool = True) -> None:
        self.addresses: list[Address] = []
        self._there = there
        monkeypatch.setattr(Peering, "meet", lambda peering, address: self._meet(address))

    async def _meet(self, address: Address) -> bool:
        self.addresses.append(address)
        return self._there


@pytest.mark.parametrize(
    ("roles", "gossip", "there", "expected"),
    [(CLIENT, True, True, 8), (CLIENT, False, True, 64), (RELAY, True, True, 64), (CLIENT, True, False, 100)],
    ids=["client", "without gossip", "serves", "nobody there"],
)
async def test_so_many_are_met_in_a_round(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, roles: Role, gossip: bool, there: bool, expected: int
) -> None:
    met = Met(monkeypatch, there=there)
    async with looking(tmp_path, roles, gossip=gossip) as (node, dht):
        dht.found = [(host(number), PORT) for number in range(100)]
        node.discovery.start()
        await until(lambda: len(met.addresses) >= expected)
        await turns()
        assert len(set(met.addresses)) == len(met.addresses) == expected


async def test_who_is_known_is_not_met_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    met = Met(monkeypatch)
    async with looking(tmp_path, RELAY) as (node, dht):
        node.peering.publish(PORT)
        node.peering.directory.insert(Descriptor.decode(raw(1), time.time()), None)
        dht.found = [(host(1), PORT), (node.host, PORT), (host(2), PORT)]
        node.discovery.start()
        await until(lambda: met.addresses)
        await turns()
        assert met.addresses == [(host(2), PORT)]


# -- by name


async def test_only_so_many_searches_by_name_go_on_at_once(tmp_path: Path) -> None:
    async with looking(tmp_path, RELAY) as (node, dht):
        dht.answers.clear()
        async with asyncio.TaskGroup() as group:
            for number in range(MAX_FINDS + 5):
                group.create_task(node.discovery.find(identity(number).peer))
            await turns()
            assert len(dht.named) == MAX_FINDS
            dht.answers.set()
        await node.discovery.find(identity(MAX_FINDS).peer)
        assert dht.named[MAX_FINDS:] == [identity(MAX_FINDS).peer]


async def test_all_who_look_for_one_name_wait_for_one_search(tmp_path: Path) -> None:
    async with looking(tmp_path, RELAY) as (node, dht):
        dht.answers.clear()
        tasks = Tasks()
        searches = [tasks.spawn(node.discovery.find(identity(1).peer), "search") for _ in range(3)]
        await turns()
        assert dht.named == [identity(1).peer]
        assert not any(search.done() for search in searches)
        dht.answers.set()
        await until(lambda: all(search.done() for search in searches))


async def test_searches_by_name_are_few_in_a_minute(tmp_path: Path) -> None:
    """A client may name any next hop; it must not make a relay ask the DHT without end."""
    async with looking(tmp_path, RELAY) as (node, dht):
        for number in range(FINDS_PER_MINUTE + 100):
            await node.discovery.find(identity(number).peer)
        assert FINDS_PER_MINUTE <= len(dht.named) < FINDS_PER_MINUTE + 10


async def test_who_is_known_is_not_looked_for(tmp_path: Path) -> None:
    async with looking(tmp_path, RELAY) as (node, dht):
        node.peering.directory.insert(Descriptor.decode(raw(1), time.time()), None)
        await node.discovery.find(identity(1).peer)
        assert not dht.named


async def test_what_is_found_late_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(discovery_module, "FIND_S", 0.02)
    async with looking(tmp_path, RELAY) as (node, dht):
        dht.answers.clear()
        async with asyncio.timeout(2):
            await node.discovery.find(identity(1).peer)
        assert not node.known
        of_another = PUBLIC.network.seal(raw(2), secrets.token_bytes(NONCE_BYTES))
        dht.items = [of_another, PUBLIC.network.seal(raw(1), secrets.token_bytes(NONCE_BYTES))]
        dht.answers.set()
        await until(lambda: node.known)
        assert node.known == {identity(1).peer}


async def test_outside_the_dht_nothing_is_looked_for(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    async with looking(tmp_path, RELAY) as (node, dht):
        await node.discovery._leave()
        await node.discovery.find(identity(1).peer)
        assert not dht.named
        assert not caplog.text


# -- being found


async def test_a_new_descriptor_is_announced_at_once(tmp_path: Path) -> None:
    async with looking(tmp_path, RELAY) as (node, dht):
        node.peering.publish(PORT)
        node.discovery.start()
        await until(lambda: dht.announced)
        node.peering.publish(OTHER_PORT)
        await turns()
        assert dht.announced[-1][1] == OTHER_PORT


async def test_a_whole_node_tells_the_dht_of_its_new_descriptor(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[Discovery] = []
    monkeypatch.setattr(Discovery, "published", lambda discovery: told.append(discovery))
    node = RunningNode(Settings(node=NodeSettings(roles=("relay",))), tmp_path)
    node._peering.publish(PORT)
    assert told == [node._discovery]
