"""A real DHT of its own, on loopback: each node at an address of its own, in a network of its own."""

from __future__ import annotations

import asyncio
import sys
from contextlib import AsyncExitStack, asynccontextmanager
from typing import TYPE_CHECKING

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from core.errors import ConfigError
from peers.dht import MAX_VALUE_BYTES, Dht, DhtOptions
from tests.harness.waiting import turns, until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

SALT = b"salt"
SEED = bytes(range(32))
PUBLIC = Ed25519PrivateKey.from_private_bytes(SEED).public_key().public_bytes_raw()
KEY = bytes(range(20))
LIMIT_S = 10.0


async def node(stack: AsyncExitStack, number: int, first: Dht | None = None, *, read_only: bool = False) -> Dht:
    pytest.importorskip("libtorrent", reason="libtorrent is not built for this Python")
    routers = (("127.20.0.1", first.port),) if first is not None else ()
    made = Dht(DhtOptions(f"127.{20 + number}.0.1:0", routers, read_only))
    stack.push_async_callback(made.close)
    await until(lambda: made.port)
    return made


@asynccontextmanager
async def network(count: int) -> AsyncIterator[tuple[list[Dht], AsyncExitStack]]:
    async with AsyncExitStack() as stack:
        first = await node(stack, 0)
        nodes = [first, *[await node(stack, number, first) for number in range(1, count)]]
        for made in nodes:  # as if each had met the others before
            made.add_nodes((f"127.{20 + number}.0.1", other.port) for number, other in enumerate(nodes))
        await until(lambda: all(len(made.nodes()) >= 3 for made in nodes), LIMIT_S)
        yield nodes, stack


async def search(made: Dht, key: bytes, wanted: set[tuple[str, int]]) -> set[tuple[str, int]]:
    """Search, again and again as a node does, until everybody who is wanted was found."""
    found: set[tuple[str, int]] = set()
    async with asyncio.timeout(LIMIT_S):
        while not wanted <= found:
            await made.search(key, found.update, 0.3)
    return found


async def test_an_item_is_found_under_its_name_and_the_newest_comes_first() -> None:
    async with network(8) as (nodes, _):
        assert await nodes[3].put(SEED, PUBLIC, SALT, b"old" * 300) > 0
        assert await nodes[5].get(PUBLIC, SALT) == [b"old" * 300]
        assert await nodes[3].put(SEED, PUBLIC, SALT, b"new") > 0
        assert (await nodes[6].get(PUBLIC, SALT))[0] == b"new"
        assert await nodes[6].get(PUBLIC, b"another salt") == []


async def test_a_value_that_is_too_long_is_refused_here() -> None:
    async with network(8) as (nodes, _):
        assert await nodes[1].put(SEED, PUBLIC, SALT, bytes(MAX_VALUE_BYTES)) > 0
        with pytest.raises(ValueError, match="996"):
            await nodes[1].put(SEED, PUBLIC, SALT, bytes(MAX_VALUE_BYTES + 1))


async def test_who_announced_is_found_also_by_one_who_serves_nobody() -> None:
    async with network(8) as (nodes, stack):
        for number in (1, 2, 3):
            nodes[number].announce(KEY, 4000 + number)
        reader = await node(stack, 9, nodes[0], read_only=True)
        wanted = {(f"127.{20 + number}.0.1", 4000 + number) for number in (1, 2, 3)}
        assert await search(reader, KEY, wanted) == wanted
        assert all(("127.29.0.1", reader.port) not in made.nodes() for made in nodes)


async def test_remembered_nodes_take_the_place_of_a_router() -> None:
    async with network(6) as (nodes, stack):
        remembered = nodes[4].nodes()
        assert await nodes[2].put(SEED, PUBLIC, SALT, b"value") > 0
        newcomer = await node(stack, 9)
        newcomer.add_nodes(remembered)
        await until(newcomer.nodes, LIMIT_S)
        assert await newcomer.get(PUBLIC, SALT) == [b"value"]


async def test_items_and_addresses_outlive_a_third_of_the_nodes() -> None:
    async with network(12) as (nodes, stack):
        assert await nodes[1].put(SEED, PUBLIC, SALT, b"value") > 1
        nodes[1].announce(KEY, 4001)
        await search(nodes[2], KEY, {("127.21.0.1", 4001)})
        for gone in nodes[3:7]:
            await gone.close()
        newcomer = await node(stack, 20, nodes[0])
        async with asyncio.timeout(LIMIT_S):
            while await newcomer.get(PUBLIC, SALT) != [b"value"]:
                pass
        await search(newcomer, KEY, {("127.21.0.1", 4001)})


async def test_closing_ends_what_waits() -> None:
    async with AsyncExitStack() as stack:
        alone = await node(stack, 0)
        getting = asyncio.create_task(alone.get(PUBLIC, SALT))
        putting = asyncio.create_task(alone.put(SEED, PUBLIC, SALT, b"value"))
        await turns(1)
        await alone.close()
        done = await asyncio.gather(getting, putting, return_exceptions=True)
        assert all(isinstance(found, asyncio.CancelledError) or found in ([], 0) for found in done)


def test_without_the_library_there_is_a_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "libtorrent", None)
    with pytest.raises(ConfigError, match="libtorrent is not installed"):
        Dht(DhtOptions())
