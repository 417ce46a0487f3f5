"""The DHT without packets: it notes what it is asked, and answers what a test says. Needs no libtorrent."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from peers.dht import SEARCH_S, Dht

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from peers.addresses import Address
    from peers.dht import DhtOptions


class FakeDht(Dht):
    """See `Dht`.

    Attributes:
        table: how many nodes its routing table has.
        looks: how often somebody looked at the table.
        serving: whether it answers others.
        announced: keys and ports, as they came.
        searched: keys that addresses were looked for under.
        found: the addresses that whoever looks is told.
        stored: items, as they came.
        copies: how many nodes take an item.
        named: the names that items were looked for under.
        items: what is found there.
        answers: cleared, such searches wait.
    """

    def __init__(self, options: DhtOptions) -> None:
        self.entered = asyncio.Event()
        self.entered.set()
        self.serving = not options.read_only
        self.table = self.looks = 0
        self.announced: list[tuple[bytes, int]] = []
        self.searched: list[bytes] = []
        self.found: list[Address] = []
        self.stored: list[bytes] = []
        self.copies = 8
        self.named: list[bytes] = []
        self.items: list[bytes] = []
        self.answers = asyncio.Event()
        self.answers.set()

    async def close(self) -> None:
        """Nothing is open."""

    def serve(self, serving: bool) -> None:
        self.serving = serving

    def add_nodes(self, nodes: Iterable[Address]) -> None:
        """The table is as long as the test says."""

    def nodes(self) -> list[Address]:
        self.looks += 1
        return [("203.0.113.1", 1 + number) for number in range(self.table)]

    def announce(self, key: bytes, port: int) -> None:
        self.announced.append((key, port))

    async def search(self, key: bytes, found: Callable[[list[Address]], None], limit_s: float = SEARCH_S) -> None:
        self.searched.append(key)
        found(self.found)

    async def put(self, seed: bytes, public: bytes, salt: bytes, value: bytes) -> int:
        self.stored.append(value)
        return self.copies

    async def get(self, public: bytes, salt: bytes) -> list[bytes]:
        self.named.append(public)
        await self.answers.wait()
        return self.items
