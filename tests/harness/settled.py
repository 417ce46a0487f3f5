"""A payer and a payee, each with a settlement on a chain."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tests.harness.raw_channel import RawChannel, parties

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from web3.providers.async_base import AsyncBaseProvider

    from ledger.evm import EvmSettings, EvmSettlement
    from ledger.voucher import Domain, SigningKey
    from ledger.wallet_key import WalletKey
    from tests.harness.chain import Testnet

LIMIT_S = 10.0


@dataclass(frozen=True, slots=True)
class Pair:
    """Two settlements with one contract.

    Args:
        raw: the same without settlements.
        payer, payee: the settlements.
    """

    raw: RawChannel
    payer: EvmSettlement
    payee: EvmSettlement

    @property
    def token(self) -> bytes:
        return self.raw.token

    @property
    def contract(self) -> bytes:
        return self.raw.where

    @property
    def signer(self) -> SigningKey:
        return self.raw.signer

    @property
    def payer_key(self) -> WalletKey:
        return self.raw.payer

    def sign(self, channel: bytes, cumulative: int, domain: Domain | None = None) -> bytes:
        """A voucher."""
        return self.signer.sign((domain or self.payer.domain).separator, channel, cumulative)

    async def appears(self) -> bytes:
        """Wait until the newest block has the first channel between the two; its id."""
        channel = await self.raw.named(0)
        await self.deposit_reaches(channel.id, 1)
        return channel.id

    async def deposit_reaches(self, channel: bytes, units: int) -> None:
        """Wait until the newest block has so much in a channel."""
        contract = self.raw.net.contract(self.contract)
        async with asyncio.timeout(LIMIT_S):
            while True:
                with suppress(Exception):
                    if (await contract.functions.channel(channel).call())[3] >= units:
                        return
                await asyncio.sleep(0.005)

    @asynccontextmanager
    async def miner(self) -> AsyncIterator[None]:
        """Blocks come by themselves meanwhile."""

        async def mine() -> None:
            while True:
                await self.raw.net.mine()
                await asyncio.sleep(0.02)

        task = asyncio.create_task(mine())
        try:
            yield
        finally:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task


@asynccontextmanager
async def pair(
    net: Testnet, kind: str = "native", settings: EvmSettings | None = None, rpc: AsyncBaseProvider | None = None
) -> AsyncIterator[Pair]:
    """A payer, who has 10,000 units of a token, and a payee, with a contract for it.

    Args:
        kind: `native`, or a token of `tests/harness/contracts`.
        settings: of both.
        rpc: what the payer asks the chain with.
    """
    raw = await parties(net, kind)
    await net.mine(settings.confirmations if settings else 0)
    payer = await net.settlement(raw.payer, raw.where, settings, rpc)
    payee = await net.settlement(raw.payee, raw.where, settings)
    try:
        yield Pair(raw, payer, payee)
    finally:
        await payer.aclose()
        await payee.aclose()
