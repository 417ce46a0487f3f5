"""What a wallet does with a channel on a chain: claims, whatever happens to gas and transactions, and what it says."""

from __future__ import annotations

from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import msgspec
import pytest

from core.errors import ConfigError, PaymentError, Reason
from ledger.evm import EvmSettings
from ledger.evm_chain import SILENT, Endpoint
from ledger.evm_wallet import NO_GAS
from ledger.store import Store
from node.channel_keys import ChannelKeys
from node.settings import PaymentsSettings
from node.settlements import join_settlement
from node.wallet import Wallet
from node.wallet_orders import WalletOrder
from tests.harness.chain import FAST, RICH, UNIT, Anvil
from tests.harness.settled import Pair, pair
from tests.harness.waiting import until
from tests.ledger.test_evm_wallet import Stingy, waiting

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable
    from pathlib import Path

    from ledger.books import PayeeChannel

pytestmark = pytest.mark.usefixtures("hasty")

DUE: Final = 5_000
"""Units that are to be claimed; at the chain's first price of gas they are worth it."""

THRIFTY: Final = EvmSettings(0, b"", confirmations=0, gas_share=20, fees=FAST)
ON_CHAIN: Final = PaymentsSettings(settlement="evm")


@pytest.fixture
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    """What takes hours takes a moment."""
    monkeypatch.setattr("ledger.claiming.CLAIM_SPREAD_S", 0.05)
    monkeypatch.setattr("ledger.claiming.ANSWER_SPREAD_S", 0.05)
    monkeypatch.setattr("node.wallet.LOOK_S", 0.02)


@dataclass(frozen=True, slots=True)
class Paid:
    """A wallet with a channel on which `DUE` units are paid.

    Attributes:
        attempts: what each claim brought, so far.
    """

    both: Pair
    wallet: Wallet
    channel: bytes
    attempts: list[int]

    @property
    def row(self) -> PayeeChannel:
        [row] = self.wallet.store.payees
        return row

    async def pay(self, cumulative: int) -> None:
        await self.wallet.take_voucher(self.channel, cumulative, self.both.sign(self.channel, cumulative), 0)


@asynccontextmanager
async def paid(anvil: Anvil, folder: Path) -> AsyncIterator[Paid]:
    async with pair(anvil, settings=THRIFTY) as both:
        payee = both.payee
        channel = await both.payer.open(payee.account, both.signer.address, 10 * DUE)
        attempts: list[int] = []
        claim = payee.claim

        async def watched(channel: bytes, cumulative: int, signature: bytes) -> int:
            attempts.append(-1)
            attempts[-1] = await claim(channel, cumulative, signature)
            return attempts[-1]

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(payee, "claim", watched)
            wallet = Wallet(ON_CHAIN, await Store.open(folder / "money.db"), payee, ChannelKeys(bytes(32)))
            try:
                await wallet.accept(channel)
                made = Paid(both, wallet, channel, attempts)
                await made.pay(DUE)
                yield made
            finally:
                await wallet.close()


async def price(anvil: Anvil, wei: int) -> None:
    """Have gas cost so much from the newest block on."""
    await anvil.rpc("anvil_setNextBlockBaseFeePerGas", hex(wei))
    await anvil.mine()


async def test_a_claim_waits_until_it_is_worth_its_gas(anvil: Anvil, tmp_path: Path) -> None:
    async with paid(anvil, tmp_path) as made:
        account = made.wallet.settlement.account
        base, before = await anvil.chain.base_fee(), await anvil.holds(account)
        await price(anvil, 30 * base)
        made.wallet.start()
        await until(lambda: len(made.attempts) > 3)
        assert set(made.attempts[:3]) == {0}
        assert await anvil.chain.nonce(account) == 0, "nothing was sent"
        assert await made.wallet.do(WalletOrder("claim")) == {"claimed": 0, "left": DUE}
        assert made.row.claimed == 0
        await made.pay(DUE + 7)
        await price(anvil, base)
        await until(lambda: made.row.claimed == DUE)
        spent = before + DUE * UNIT - await anvil.holds(account)
        assert 0 < 20 * spent <= DUE * UNIT
        assert await anvil.chain.nonce(account) == 1


async def dropped(anvil: Anvil, made: Paid) -> None:
    await anvil.hold()
    made.wallet.start()
    await waiting(anvil)
    await anvil.rpc("anvil_dropAllTransactions")
    await anvil.hold(False)


async def replaced(anvil: Anvil, made: Paid) -> None:
    """Another program with the same key takes the number."""
    await anvil.hold()
    made.wallet.start()
    await waiting(anvil)
    await anvil.rpc("anvil_dropAllTransactions")
    await anvil.hold(False)
    await anvil.forced(made.both.raw.payee, anvil.call(made.both.contract, "close", bytes(32)), 100_000)


async def dearer(anvil: Anvil, made: Paid) -> None:
    """Gas gets dear while it waits, and cheap again."""
    base = await anvil.chain.base_fee()
    await anvil.hold()
    made.wallet.start()
    await waiting(anvil)
    await price(anvil, 30 * base)
    await anvil.hold(False)
    await price(anvil, base)


async def forestalled(anvil: Anvil, made: Paid) -> None:
    """Somebody else claims the same."""
    both = made.both
    await both.payer.claim(made.channel, DUE, both.sign(made.channel, DUE))
    made.wallet.start()


@pytest.mark.parametrize("what", [dropped, replaced, dearer, forestalled])
async def test_a_claim_ends_in_one_state(
    anvil: Anvil, tmp_path: Path, what: Callable[[Anvil, Paid], Awaitable[None]]
) -> None:
    async with paid(anvil, tmp_path) as made:
        await what(anvil, made)
        await until(lambda: made.row.claimed == DUE, 15)
        assert (await made.both.payer.look(made.channel)).claimed == DUE
        assert await anvil.holds(made.both.contract) == 9 * DUE * UNIT
        assert await made.wallet.do(WalletOrder("claim")) == {"claimed": 0, "left": 0}


async def test_a_claim_that_runs_out_of_gas_is_made_again(anvil: Anvil, tmp_path: Path) -> None:
    async with pair(anvil, settings=THRIFTY) as both:
        stingy = Stingy(anvil.url)
        settlement = await anvil.settlement(both.raw.payee, both.contract, THRIFTY, stingy)
        channel = await both.payer.open(settlement.account, both.signer.address, 10 * DUE)
        wallet = Wallet(ON_CHAIN, await Store.open(tmp_path / "money.db"), settlement, ChannelKeys(bytes(32)))
        await wallet.accept(channel)
        await wallet.take_voucher(channel, DUE, both.sign(channel, DUE), 0)
        wallet.start()
        await until(lambda: wallet.store.payees[0].claimed == DUE, 15)
        assert len(stingy.given) > 2
        assert await anvil.holds(both.contract) == 9 * DUE * UNIT
        await wallet.close()


async def test_while_the_rpc_node_is_away_nothing_is_lost(anvil: Anvil, tmp_path: Path) -> None:
    away = Away(anvil.url)
    async with pair(anvil, settings=THRIFTY) as both:
        settlement = await anvil.settlement(both.raw.payee, both.contract, THRIFTY, away)
        channel = await both.payer.open(settlement.account, both.signer.address, 10 * DUE)
        wallet = Wallet(ON_CHAIN, await Store.open(tmp_path / "money.db"), settlement, ChannelKeys(bytes(32)))
        await wallet.accept(channel)
        away.missed = 1
        wallet.start()
        await wallet.take_voucher(channel, DUE, both.sign(channel, DUE), 0)
        await until(lambda: away.missed > 5)
        facts = await wallet.facts({})
        assert (facts["balance"], facts["trouble"], facts["received"]) == (None, SILENT, DUE)
        with pytest.raises(PaymentError, match="does not answer, or not sensibly"):
            await wallet.do(WalletOrder("claim"))
        away.missed = 0
        await until(lambda: wallet.store.payees[0].claimed == DUE, 15)
        assert (await wallet.facts({}))["trouble"] == ""
        await wallet.close()


class Away(Endpoint):
    """An RPC node that is not there while `missed` counts the questions."""

    missed = 0

    async def make_request(self, method: Any, params: Any) -> Any:
        if self.missed:
            self.missed += 1
            raise ConnectionRefusedError
        return await super().make_request(method, params)


async def test_who_has_nothing_for_gas_is_told(anvil: Anvil, tmp_path: Path) -> None:
    poor = await anvil.account(0)
    async with pair(anvil, settings=THRIFTY) as both:
        settlement = await anvil.settlement(poor, both.contract, THRIFTY)
        channel = await both.payer.open(poor.account, both.signer.address, 10 * DUE)
        wallet = Wallet(ON_CHAIN, await Store.open(tmp_path / "money.db"), settlement, ChannelKeys(bytes(32)))
        await wallet.accept(channel)
        await wallet.take_voucher(channel, DUE, both.sign(channel, DUE), 0)
        with pytest.raises(PaymentError) as error:
            await wallet.do(WalletOrder("claim"))
        assert (error.value.reason, str(error.value)) == (Reason.NO_FUNDS, NO_GAS)
        assert wallet.store.payees[0].claimed == 0
        await wallet.close()


async def test_what_is_wrong_at_the_start_is_said(anvil: Anvil, tmp_path: Path) -> None:
    key = await anvil.account()
    contract = "0x" + (await anvil.channels()).hex()
    right = PaymentsSettings(
        settlement="evm", rpc=anvil.url, chain_id=anvil.chain_id, contract=contract, confirmations=0
    )

    async def said(**changes: Any) -> str:
        with pytest.raises((ConfigError, PaymentError)) as error:
            await join_settlement(msgspec.structs.replace(right, **changes), tmp_path, key, first=True)
        return str(error.value)

    other_chain = f"payments.chain_id: the RPC node is of chain {anvil.chain_id}, and this says 5."
    missing = "payments.contract: no channels' contract of this version stands there, or it is not confirmed yet."
    token = "0x" + (await anvil.channels(await anvil.token(key, 5))).hex()
    worth = "payments.unit_wei: the contract holds a token, so say what a unit of it is worth in wei."
    assert await said(chain_id=5) == other_chain
    assert await said(contract="0x" + key.account.hex()) == missing
    assert await said(confirmations=1000) == missing
    assert await said(rpc="http://127.0.0.1:9") == SILENT
    assert await said(contract=token) == worth
    settlement = await join_settlement(right, tmp_path, key, first=True)
    assert 0 < await settlement.balance() <= RICH // UNIT
    await settlement.aclose()
