"""Being found in the DHT: the own descriptor under the own name, the own address at the network's meeting points."""

from __future__ import annotations

import asyncio
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Final

from peers.rendezvous import own_keys

if TYPE_CHECKING:
    from collections.abc import Callable

    from node.peering import Peering
    from peers.dht import Dht

FIRST_PAUSE_S: Final = 0.5
ANNOUNCE_S: Final = 900.0
"""Nodes of the DHT keep an address for half an hour."""
CHECK_S: Final = 0.5
"""How often the table's size is looked at while it grows: the DHT's library does not say when it does."""
SELDOM_S: Final = 60.0
FEW_NODES: Final = 8
PUT_S: Final = 3600.0
ENOUGH_COPIES: Final = 4
"""An item of which fewer nodes took a copy is stored again with the next announcement."""


class Presence:
    """Leaves word of this node, from time to time.

    Args:
        dht: where.
        peering: what this node says of itself.
        between: called now and then.
    """

    def __init__(self, dht: Dht, peering: Peering, between: Callable[[Dht], None]) -> None:
        self._dht = dht
        self._peering = peering
        self._between = between
        self._news = asyncio.Event()
        self._moved = asyncio.Event()
        self._time = asyncio.get_running_loop().time

    def published(self) -> None:
        """Hear that the own descriptor is a new one."""
        self._news.set()
        self._moved.set()

    async def run(self) -> None:
        """Announce and store for ever, at intervals that grow to their full length."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._announce_again_and_again())
            group.create_task(self._store_again_and_again())

    async def _announce_again_and_again(self) -> None:
        """Announce, and once more as the table grows: what few nodes are told early, only those few know."""
        last = nodes = 0
        due = self._time()
        while True:
            before, nodes = nodes, len(self._dht.nodes())
            if self._moved.is_set() or self._time() >= due or nodes >= last + max(1, last // 4):
                self._moved.clear()
                self._between(self._dht)
                self._announce()
                last, due = nodes, self._time() + ANNOUNCE_S
            with suppress(TimeoutError):
                async with asyncio.timeout(CHECK_S if nodes != before or nodes < FEW_NODES else SELDOM_S):
                    await self._moved.wait()

    def _announce(self) -> None:
        address, identity = self._peering.address, self._peering.identity
        self._dht.serve(address is not None)
        if address is None or identity is None:
            return
        for key in own_keys(self._peering.network, identity.peer, self._peering.offered, time.time()):
            self._dht.announce(key, address[1])

    async def _store_again_and_again(self) -> None:
        pause = FIRST_PAUSE_S
        while True:
            self._news.clear()
            pause = PUT_S if await self._store() >= ENOUGH_COPIES else min(2 * pause, ANNOUNCE_S)
            with suppress(TimeoutError):
                async with asyncio.timeout(pause):
                    await self._news.wait()
                    pause = FIRST_PAUSE_S

    async def _store(self) -> int:
        identity, sealed = self._peering.identity, self._peering.sealed()
        if identity is None or sealed is None:
            return 0
        return await self._dht.put(identity.seed, identity.peer, self._peering.network.salt(identity.peer), sealed)
