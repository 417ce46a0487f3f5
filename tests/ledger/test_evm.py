"""The settlement on a chain: what `ledger.settlement` promises, asked of real chains."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

import pytest

from core.errors import ConfigError, PaymentError, Reason
from ledger.amounts import MAX_AMOUNT
from ledger.evm import CLAIM_GAS, EvmSettings, connect
from ledger.settlement import CLOSE_DELAY_S, Channel, ChannelState
from ledger.voucher import Domain, SigningKey
from tests.harness.chain import FAST, NOBODY, RICH, UNIT, Anvil, Testnet
from tests.harness.raw_channel import high
from tests.harness.settled import pair

if TYPE_CHECKING:
    from collections.abc import Awaitable

    from ledger.settlement import Settlement


STRANGER: Final = SigningKey(bytes(31) + b"\x09")
CONFIRMED: Final = EvmSettings(0, b"", confirmations=3, gas_share=None, fees=FAST)


async def refused(reason: Reason, call: Awaitable[object]) -> None:
    with pytest.raises(PaymentError) as error:
        await call
    assert error.value.reason is reason


@pytest.mark.parametrize("kind", ["native", "coin"])
async def test_life(net: Testnet, kind: str) -> None:
    async with pair(net, kind) as both:
        payer: Settlement = both.payer
        payee: Settlement = both.payee
        before = await net.holds(payee.account, both.token)
        channel = await payer.open(payee.account, both.signer.address, 1000)
        whole = Channel(payer.account, payee.account, both.signer.address, 1000, 0, ChannelState.OPEN)
        assert await payee.look(channel) == whole

        assert await payer.claim(channel, 400, both.sign(channel, 400)) == 400  # anyone may
        assert await net.holds(payee.account, both.token) == before + 400 * UNIT
        await payer.top_up(channel, 50)
        await payer.start_close(channel)
        closes_at = (await payee.look(channel)).closes_at
        assert abs(closes_at - await payee.now_s() - CLOSE_DELAY_S) < 60
        assert await payee.look(channel) == replace(
            whole, deposit=1050, claimed=400, state=ChannelState.CLOSING, closes_at=closes_at
        )
        assert await both.payee.closing([channel, bytes(32)]) == [channel]
        assert await payer.claim(channel, 2000, both.sign(channel, 2000)) == 650
        await net.advance(CLOSE_DELAY_S)
        await payer.finish_close(channel)
        assert await payee.look(channel) == Channel(NOBODY, NOBODY, NOBODY, 0, 0, ChannelState.CLOSED)
        assert await net.holds(both.contract, both.token) == 0
        if kind != "native":
            assert await payer.balance() == 10_000 - 1050


@pytest.mark.parametrize("kind", ["native", "coin"])
async def test_misuse_is_refused(net: Testnet, kind: str) -> None:
    """The nine kinds, and after each of them everything is as before."""
    async with pair(net, kind) as both:
        payer, payee = both.payer, both.payee
        channel, sibling = [await payer.open(payee.account, both.signer.address, 1000) for _ in range(2)]
        assert await payee.claim(channel, 300, both.sign(channel, 300)) == 300
        before = await payee.look(channel), await net.holds(both.contract, both.token)

        assert await payee.claim(channel, 300, both.sign(channel, 300)) == 0
        assert await payee.claim(channel, 200, both.sign(channel, 200)) == 0
        here = both.payer.domain
        wrong = (
            both.sign(sibling, 500),
            both.sign(channel, 500, Domain(here.chain_id + 1, here.contract)),
            both.sign(channel, 500, Domain(here.chain_id, payer.account)),
            STRANGER.sign(here.separator, channel, 500),
            high(both.sign(channel, 500)),
        )
        for signature in wrong:
            await refused(Reason.BAD_VOUCHER, payee.claim(channel, 500, signature))
        await refused(Reason.NOT_OPEN, payer.finish_close(channel))
        assert (await payee.look(channel), await net.holds(both.contract, both.token)) == before

        await payer.start_close(channel)
        await refused(Reason.TOO_EARLY, payer.finish_close(channel))
        await net.advance(CLOSE_DELAY_S)
        await payer.finish_close(channel)
        await refused(Reason.NOT_OPEN, payee.claim(channel, 500, both.sign(channel, 500)))
        await refused(Reason.NOT_OPEN, payer.finish_close(channel))
        assert await net.holds(both.contract, both.token) == 1000 * UNIT
        assert (await payee.look(sibling)).deposit == 1000


@pytest.mark.parametrize("kind", ["native", "coin"])
async def test_reasons(anvil: Anvil, kind: str) -> None:
    async with pair(anvil, kind) as both:
        payer, payee, signer = both.payer, both.payee, both.signer.address
        channel = await payer.open(payee.account, signer, 1000)
        for arguments in ((NOBODY, signer, 5), (payee.account, NOBODY, 5), (payee.account, signer, 0)):
            await refused(Reason.NOT_ALLOWED, payer.open(*arguments))
        more = await payer.balance() + 1
        for units in (more, MAX_AMOUNT):
            await refused(Reason.NO_FUNDS, payer.open(payee.account, signer, units))
            await refused(Reason.NO_FUNDS, payer.top_up(channel, units))
        await refused(Reason.NOT_ALLOWED, payer.top_up(channel, 0))
        unknown = bytes(32)
        calls = [payer.look, payer.start_close, payer.close, payer.finish_close]
        for call in calls:
            await refused(Reason.NO_CHANNEL, call(unknown))
        await refused(Reason.NO_CHANNEL, payer.top_up(unknown, 5))
        await refused(Reason.NO_CHANNEL, payee.claim(unknown, 5, both.sign(unknown, 5)))
        await refused(Reason.NOT_ALLOWED, payee.start_close(channel))
        await refused(Reason.NOT_ALLOWED, payer.close(channel))
        await payer.start_close(channel)
        await refused(Reason.NOT_OPEN, payer.top_up(channel, 5))
        await payee.close(channel)
        for call in calls[1:]:
            await refused(Reason.NOT_OPEN, call(channel))


async def test_no_amount_or_address(anvil: Anvil) -> None:
    async with pair(anvil) as both:
        payer, payee, signer = both.payer, both.payee, both.signer.address
        channel = await payer.open(payee.account, signer, 1000)
        wrong: list[Any] = [-1, 1.0, True, MAX_AMOUNT + 1]
        for units in wrong:
            with pytest.raises(ValueError, match="whole number"):
                await payer.open(payee.account, signer, units)
            with pytest.raises(ValueError, match="whole number"):
                await payer.top_up(channel, units)
        for calls in (payer.open(payee.account[1:], signer, 5), payer.look(channel[1:]), payer.close(channel + b"\0")):
            with pytest.raises(ValueError, match="bytes"):
                await calls
        for cumulative in (-1, MAX_AMOUNT + 1):
            await refused(Reason.BAD_VOUCHER, payee.claim(channel, cumulative, both.sign(channel, 5)))


async def test_a_poor_account_changes_nothing(anvil: Anvil) -> None:
    """Enough for the deposit or the gas, but not for both."""
    async with pair(anvil) as both:
        poor = await anvil.settlement(await anvil.account(1000 * UNIT), both.contract)
        await refused(Reason.NO_FUNDS, poor.open(both.payee.account, both.signer.address, 1000))
        assert await poor.balance() == 1000
        await poor.aclose()


async def test_a_dishonest_close_is_answered(anvil: Anvil) -> None:
    async with pair(anvil, "coin") as both:
        payer, payee = both.payer, both.payee
        names = [await payer.open(payee.account, both.signer.address, 1000) for _ in range(3)]
        vouchers = {name: both.sign(name, 900) for name in names}
        assert await payee.closing(names) == []
        await payer.start_close(names[1])  # as if nothing had been signed
        await anvil.advance(CLOSE_DELAY_S - 600)
        for name in await payee.closing(names):
            assert await payee.claim(name, 900, vouchers[name]) == 900
        await anvil.advance(600)
        await payer.finish_close(names[1])
        assert (await payer.balance(), await payee.balance()) == (7_000 + 100, 900)
        assert (await payee.look(names[0])).state is ChannelState.OPEN


async def test_nothing_counts_before_it_is_deep(anvil: Anvil) -> None:
    async with pair(anvil, settings=CONFIRMED) as both:
        payer, payee = both.payer, both.payee
        opening = asyncio.create_task(payer.open(payee.account, both.signer.address, 1000))
        channel = await both.appears()
        for _ in range(2):
            await refused(Reason.NO_CHANNEL, payee.look(channel))
            await anvil.mine()
        assert not opening.done()
        await anvil.mine()
        assert await opening == channel
        assert (await payee.look(channel)).deposit == 1000

        adding = asyncio.create_task(payer.top_up(channel, 500))
        await both.deposit_reaches(channel, 1500)
        assert (await payee.look(channel)).deposit == 1000
        await anvil.mine(3)
        await adding
        assert (await payee.look(channel)).deposit == 1500


async def test_closing_is_seen_at_once(anvil: Anvil) -> None:
    async with pair(anvil, settings=CONFIRMED) as both, both.miner():
        channel = await both.payer.open(both.payee.account, both.signer.address, 1000)
        await anvil.do(both.payer_key, both.contract, "startClose", channel)
        assert await both.payee.closing([channel]) == [channel]


async def test_a_channel_that_a_reorganisation_took_is_none(anvil: Anvil) -> None:
    async with pair(anvil) as both:
        await anvil.mine(3)
        channel = await both.payer.open(both.payee.account, both.signer.address, 1000)
        assert (await both.payee.look(channel)).deposit == 1000
        await anvil.reorganise(2)
        await refused(Reason.NO_CHANNEL, both.payee.look(channel))
        await refused(Reason.NO_CHANNEL, both.payee.claim(channel, 5, both.sign(channel, 5)))
        assert await both.payee.closing([channel]) == []
        # The same again gets the same id, for it is the same channel: a voucher for the one counts for the other.
        assert await both.payer.open(both.payee.account, both.signer.address, 700) == channel
        assert await both.payee.claim(channel, 800, both.sign(channel, 800)) == 700


async def test_what_was_opened_is_found_again(anvil: Anvil) -> None:
    async with pair(anvil) as both:
        payee, signer = both.payee.account, both.signer.address
        assert await both.payer.find(payee, signer) is None
        names = [await both.payer.open(payee, signer, 10) for _ in range(2)]
        assert names[0] != names[1]
        assert await both.payer.find(payee, signer) == names[1]
        assert await both.payee.find(payee, signer) is None


async def test_a_claim_has_to_be_worth_its_gas(anvil: Anvil) -> None:
    dear = EvmSettings(0, b"", confirmations=0, gas_share=20, fees=FAST)
    async with pair(anvil, settings=dear) as both:
        payer, payee = both.payer, both.payee
        cost = await payee.claim_cost()
        base = await anvil.chain.base_fee()
        assert cost == -(-CLAIM_GAS * (base + FAST.tip) // UNIT)
        channel = await payer.open(payee.account, both.signer.address, 40 * cost)
        nonce = await anvil.chain.nonce(payee.account)

        async def claims(units: int) -> int:
            return await payee.claim(channel, units, both.sign(channel, units))

        assert await claims(10 * cost) == 0
        assert await anvil.chain.nonce(payee.account) == nonce  # nothing was sent
        before = await anvil.holds(payee.account)
        assert await claims(30 * cost) == 30 * cost
        spent = before + 30 * cost * UNIT - await anvil.holds(payee.account)
        assert 0 < spent * 20 <= 30 * cost * UNIT
        assert await claims(32 * cost) == 0
        await payer.start_close(channel)
        assert await claims(32 * cost) == 2 * cost  # it is now or never
        await anvil.rpc("anvil_setNextBlockBaseFeePerGas", hex(20 * base))
        await anvil.mine()
        assert await claims(34 * cost) == 0  # but not at a loss


async def test_who_is_asked_is_checked(anvil: Anvil) -> None:
    key = await anvil.account()
    where, hasty = await anvil.channels(), await anvil.channels(delay_s=60)
    token = await anvil.channels(await anvil.token(key, 5))
    right = EvmSettings(anvil.chain_id, where, confirmations=0)
    for wrong, setting in (
        (replace(right, chain_id=anvil.chain_id + 1), "chain_id"),
        (replace(right, contract=key.account), "contract"),
        (replace(right, confirmations=10_000), "contract"),
        (replace(right, contract=hasty), "contract"),
        (replace(right, contract=token), "unit_wei"),
        (replace(right, gas_share=0), "gas_share"),
    ):
        with pytest.raises(ConfigError) as error:
            await connect(wrong, key, anvil.url)
        assert error.value.where == setting
    for good in (right, replace(right, contract=token, unit_wei=5), replace(right, contract=token, gas_share=None)):
        await (await connect(good, key, anvil.url)).aclose()


async def test_the_balance_is_what_is_free(anvil: Anvil) -> None:
    async with pair(anvil, "coin") as both:
        assert await both.payer.balance() == 10_000
        await both.payer.open(both.payee.account, both.signer.address, 1000)
        assert await both.payer.balance() == 9_000
        assert await both.payee.balance() == 0
    async with pair(anvil) as both:
        assert await both.payee.balance() == RICH // UNIT


async def test_what_was_allowed_before_is_no_hindrance(anvil: Anvil) -> None:
    async with pair(anvil, "coin") as both:
        await both.raw.approve(both.payer_key, 3)
        await both.payer.open(both.payee.account, both.signer.address, 1000)
        await both.raw.approve(both.payer_key, 700)
        channel = await both.payer.open(both.payee.account, both.signer.address, 600)
        assert (await both.payer.look(channel)).deposit == 600


def test_the_rest_of_the_ledger_does_without_web3() -> None:
    code = (
        "import pkgutil, importlib, sys, ledger\n"
        "names = [found.name for found in pkgutil.walk_packages(ledger.__path__, 'ledger.')]\n"
        "names = [name for name in names if not name.startswith('ledger.evm')]\n"
        "[importlib.import_module(name) for name in names]\n"
        "assert 'ledger.settlement' in names and 'ledger.contract' in names\n"
        "sys.exit(any(name.partition('.')[0] in ('web3', 'eth_account') for name in sys.modules))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False, timeout=60).returncode == 0
