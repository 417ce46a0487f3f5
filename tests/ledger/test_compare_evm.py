"""The contract on py-evm beside the model: random calls get the same answers as on a local ledger (`test_local.py`)."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Final

import pytest

from tests.harness.chain import NOBODY, PyEvm, compiled
from tests.ledger.settlements import ACCOUNTS, compare

if TYPE_CHECKING:
    from ledger.evm import EvmSettlement

EXAMPLES: Final = max(1, int(os.environ.get("LEDGER_EXAMPLES", "30")) // 15)
"""A chain is far slower than a file."""

STEPS: Final = 20
LARGE_UNIT: Final = 10**18
"""Wei in a unit of the chain's own coin. What gas costs is a part of one, so that units are as on a free chain."""


class ChainBackend:
    """A chain in memory, and a contract for one coin."""

    unit = 1

    def __init__(self, net: PyEvm) -> None:
        self.net = net
        self.token = self.contract = NOBODY
        self.settlements: list[EvmSettlement] = []

    async def prepare(self) -> None:
        """Three accounts have a token: so many units that a channel cannot hold them, some, and a few."""
        keys = [await self.net.account() for _ in range(ACCOUNTS)]
        self.token = await self.net.token(keys[0], 1 << 127)
        for key, units in zip(keys[1:], (1_000_000, 5), strict=True):
            await self.net.do(keys[0], self.token, "make", self.net.shown(key.account), units, what=compiled("coin"))
        self.contract = await self.net.channels(self.token, self.unit)
        self.settlements = [await self.net.settlement(key, self.contract) for key in keys]

    @classmethod
    async def start(cls) -> ChainBackend:
        backend = cls(await PyEvm().__aenter__())
        await backend.prepare()
        return backend

    async def as_account(self, number: int) -> EvmSettlement:
        return self.settlements[number]

    async def balance(self, number: int) -> int:
        return await self.settlements[number].balance()

    async def locked(self) -> int:
        held = await self.net.holds(self.contract, self.token)
        assert held % self.unit == 0
        return held // self.unit

    async def advance(self, seconds: int) -> None:
        await self.net.advance(seconds)

    async def aclose(self) -> None:
        for settlement in self.settlements:
            await settlement.aclose()
        await self.net.__aexit__(None, None, None)


class NativeBackend(ChainBackend):
    """The chain's own coin. Each account has less than a unit more than it seems, for gas."""

    unit = LARGE_UNIT

    async def prepare(self) -> None:
        keys = [await self.net.account(units * self.unit + self.unit - 1) for units in (10**5, 1_000, 5)]
        self.contract = await self.net.channels(unit=self.unit)
        self.settlements = [await self.net.settlement(key, self.contract) for key in keys]

    async def balance(self, number: int) -> int:
        account = self.settlements[number].account
        if await self.net.holds(account) % self.unit < self.unit // 2:
            await self.net.give(account, self.unit // 2)
        return await super().balance(number)


@pytest.mark.parametrize("backend", [ChainBackend, NativeBackend])
def test_answers_as_the_model_does(backend: type[ChainBackend]) -> None:
    compare(backend.start, EXAMPLES, STEPS, shrink=False)
