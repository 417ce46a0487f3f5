"""The ledger of test coins."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import Final

from ledger.local import LocalSettlement, join
from tests.ledger.settlements import ACCOUNTS, compare

EXAMPLES: Final = int(os.environ.get("LEDGER_EXAMPLES", "30"))
MEMORY: Final = "/dev/shm" if Path("/dev/shm").is_dir() else None


class LocalBackend:
    """A file, and a clock that is set by hand."""

    def __init__(self) -> None:
        self.folder = tempfile.TemporaryDirectory(dir=MEMORY)
        self.path = Path(self.folder.name) / "coins"
        self.now = 1_000_000.5
        self.settlements: list[LocalSettlement] = []

    @classmethod
    async def start(cls) -> LocalBackend:
        backend = cls()
        for number in range(ACCOUNTS):
            settlement = await join(backend.path, bytes([0xA0 + number] * 20), lambda: backend.now)
            await settlement.faucet(settlement.account, (1 << 127, 1_000_000, 5)[number])
            backend.settlements.append(settlement)
        return backend

    async def as_account(self, number: int) -> LocalSettlement:
        return self.settlements[number]

    async def balance(self, number: int) -> int:
        return await self.settlements[number].balance()

    async def locked(self) -> int:
        coins = await self.settlements[0].coins()
        assert coins.made == coins.free + coins.locked
        return coins.locked

    async def advance(self, seconds: int) -> None:
        self.now += seconds

    async def aclose(self) -> None:
        for settlement in self.settlements:
            await settlement.aclose()
        self.folder.cleanup()


def test_it_answers_as_the_model() -> None:
    compare(LocalBackend.start, EXAMPLES, 50)
