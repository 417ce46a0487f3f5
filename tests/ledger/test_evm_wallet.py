"""Transactions that are dropped, replaced, undone, or fail: they end in one state, and are paid for once."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

import pytest

from core.errors import PaymentError, Reason
from ledger.evm import EvmSettings
from ledger.evm_chain import Call, Endpoint
from ledger.evm_wallet import MAX_GAS
from ledger.settlement import ChannelState
from tests.harness.chain import FAST, NOBODY, UNIT, Anvil
from tests.harness.settled import Pair, pair

if TYPE_CHECKING:
    from web3.types import RPCEndpoint, RPCResponse

LIMIT_S: Final = 30.0
PATIENT: Final = EvmSettings(
    0, b"", confirmations=0, gas_share=None, fees=replace(FAST, patience_s=600.0, give_up_s=600.0)
)
"""Nothing is sent again."""


async def waiting(anvil: Anvil, besides: str = "") -> dict[str, Any]:
    """Wait for a transaction that waits."""
    async with asyncio.timeout(LIMIT_S):
        while True:
            for found in await anvil.waiting():
                if found["hash"] != besides:
                    return found
            await asyncio.sleep(0.005)


def opening(both: Pair, units: int = 1000) -> asyncio.Task[bytes]:
    return asyncio.create_task(both.payer.open(both.payee.account, both.signer.address, units))


async def test_one_that_was_dropped_is_sent_again(anvil: Anvil) -> None:
    async with pair(anvil) as both:
        await anvil.hold()
        task = opening(both)
        first = await waiting(anvil)
        await anvil.rpc("anvil_dropAllTransactions")
        again = await waiting(anvil)
        assert again["nonce"] == first["nonce"]
        await anvil.mine()
        assert (await both.payee.look(await task)).deposit == 1000


async def test_one_that_waits_is_paid_more_for(anvil: Anvil) -> None:
    async with pair(anvil) as both:
        await anvil.hold()
        task = opening(both)
        first = await waiting(anvil)
        second = await waiting(anvil, besides=first["hash"])
        assert second["nonce"] == first["nonce"]
        for fee in ("maxFeePerGas", "maxPriorityFeePerGas"):
            assert int(second[fee], 16) * 10 >= int(first[fee], 16) * 11
        assert len(await anvil.waiting()) == 1
        await anvil.mine()
        channel = await task
        await anvil.mine(3)
        assert (await both.payee.look(channel)).deposit == 1000
        assert await anvil.holds(both.contract) == 1000 * UNIT


@pytest.mark.parametrize(("said", "taken"), [(MAX_GAS * 4 // 5, True), (MAX_GAS * 4 // 5 + 1, False)])
async def test_no_call_gets_more_gas_than_any_needs(
    anvil: Anvil, monkeypatch: pytest.MonkeyPatch, said: int, taken: bool
) -> None:
    """Whatever an RPC node says that it needs; a quarter comes on top of that."""
    wallet = anvil.wallet(await anvil.account())

    async def gas(call: Call, caller: bytes) -> int:
        return said

    monkeypatch.setattr(anvil.chain, "gas", gas)
    if taken:
        assert (await wallet.transact(Call(NOBODY, b"", 0))).good
        return
    with pytest.raises(PaymentError) as caught:
        await wallet.transact(Call(NOBODY, b"", 0))
    assert caught.value.reason is Reason.SETTLEMENT
    assert await anvil.chain.nonce(wallet.account) == 0, "nothing was sent"


async def test_no_more_is_paid_than_may_be(anvil: Anvil) -> None:
    base = await anvil.chain.base_fee()
    fees = replace(FAST, most=4 * base, tip=base, patience_s=0.05, give_up_s=1.0)
    async with pair(anvil, settings=EvmSettings(0, b"", confirmations=0, gas_share=None, fees=fees)) as both:
        await anvil.hold()
        task = opening(both)
        highest = 0
        while not task.done():
            for found in await anvil.waiting():
                highest = max(highest, int(found["maxFeePerGas"], 16))
            await asyncio.sleep(0.02)
        with pytest.raises(PaymentError) as error:
            await task
        assert error.value.reason is Reason.SETTLEMENT
        assert 0 < highest <= 4 * base
    await anvil.rpc("anvil_dropAllTransactions")
    await anvil.hold(False)
    await anvil.rpc("anvil_setNextBlockBaseFeePerGas", hex(9 * base))
    await anvil.mine()
    endless = EvmSettings(0, b"", confirmations=0, gas_share=None, fees=replace(fees, give_up_s=600.0))
    async with asyncio.timeout(LIMIT_S), pair(anvil, settings=endless) as both:
        nonce = await anvil.chain.nonce(both.payer.account)
        with pytest.raises(PaymentError) as error:
            await opening(both)  # it is known at once that nobody would take it
        assert error.value.reason is Reason.SETTLEMENT
        assert await anvil.chain.nonce(both.payer.account) == nonce


async def test_one_that_was_given_up_is_replaced_by_the_next(anvil: Anvil) -> None:
    async with pair(anvil, settings=PATIENT) as both:
        await anvil.hold()
        first = opening(both, 1000)
        given_up = await waiting(anvil)
        first.cancel()
        await asyncio.gather(first, return_exceptions=True)
        task = opening(both, 700)
        replacing = await waiting(anvil, besides=given_up["hash"])
        assert replacing["nonce"] == given_up["nonce"]
        await anvil.mine()
        assert (await both.payee.look(await task)).deposit == 700
        assert await anvil.holds(both.contract) == 700 * UNIT


async def test_another_that_got_the_number_changes_nothing(anvil: Anvil) -> None:
    """As when two programs use one key: the call says so, and the next one works."""
    async with asyncio.timeout(LIMIT_S), pair(anvil, settings=PATIENT) as both:
        await anvil.hold()
        task = opening(both)
        await waiting(anvil)
        await anvil.rpc("anvil_dropAllTransactions")
        await anvil.hold(False)
        await anvil.forced(both.payer_key, anvil.call(both.contract, "close", bytes(32)), 100_000)
        with pytest.raises(PaymentError) as error:
            await task
        assert error.value.reason is Reason.SETTLEMENT
        assert await anvil.holds(both.contract) == 0
        assert (await both.payee.look(await opening(both))).deposit == 1000


async def test_one_that_was_undone_comes_again(anvil: Anvil) -> None:
    """A reorganisation takes the block back, before it counts as final."""
    settings = EvmSettings(0, b"", confirmations=2, gas_share=None, fees=FAST)
    async with pair(anvil, settings=settings) as both:
        task = opening(both)
        channel = await both.appears()
        await anvil.hold()
        await anvil.mine()
        await anvil.reorganise(2)
        assert await anvil.holds(both.contract) == 0
        await waiting(anvil)
        await anvil.mine(2)
        assert not task.done()
        await anvil.mine()
        assert await task == channel
        assert await anvil.holds(both.contract) == 1000 * UNIT
        assert (await both.payee.look(channel)).deposit == 1000


async def test_one_that_fails_in_its_block_says_why(anvil: Anvil) -> None:
    """Two finish the same close at a time: each asked before whether it would work."""
    async with pair(anvil) as both:
        channel = await both.payer.open(both.payee.account, both.signer.address, 1000)
        await both.payer.start_close(channel)
        await anvil.advance(24 * 3600)
        await anvil.hold()
        tasks = [asyncio.create_task(side.finish_close(channel)) for side in (both.payer, both.payee)]
        await waiting(anvil, besides=(await waiting(anvil))["hash"])
        await anvil.mine()
        outcomes = await asyncio.gather(*tasks, return_exceptions=True)
        assert sorted(str(outcome) for outcome in outcomes) == sorted([Reason.NOT_OPEN.sentence, "None"])
        assert (await both.payee.look(channel)).state is ChannelState.CLOSED
        assert await anvil.holds(both.contract) == 0


class Stingy(Endpoint):
    """An RPC node that says a call needs less gas than it does."""

    def __init__(self, url: str) -> None:
        super().__init__(url)
        self.given: list[int] = []

    async def make_request(self, method: RPCEndpoint, params: Any) -> RPCResponse:
        answer = await super().make_request(method, params)
        if method == "eth_estimateGas" and "result" in answer:
            self.given.append(int(answer["result"], 16))
            answer["result"] = hex(self.given[-1] * 6 // 10)
        return answer


async def test_one_that_runs_out_of_gas_gets_more(anvil: Anvil) -> None:
    stingy = Stingy(anvil.url)
    async with pair(anvil, rpc=stingy) as both:
        before = await anvil.chain.nonce(both.payer.account)
        channel = await both.payer.open(both.payee.account, both.signer.address, 1000)
        assert len(stingy.given) == 2
        assert await anvil.chain.nonce(both.payer.account) == before + 2
        assert (await both.payee.look(channel)).deposit == 1000
        assert await anvil.holds(both.contract) == 1000 * UNIT


async def test_calls_at_a_time_do_not_mix(anvil: Anvil) -> None:
    async with pair(anvil) as both:
        names = await asyncio.gather(*(opening(both, 100 + number) for number in range(5)))
        deposits = [(await both.payee.look(name)).deposit for name in names]
        assert deposits == [100, 101, 102, 103, 104]
        await asyncio.gather(*(both.payer.top_up(names[0], 10) for _ in range(5)))
        assert (await both.payee.look(names[0])).deposit == 150


async def test_one_that_was_left_alone_is_carried_out_at_most_once(anvil: Anvil) -> None:
    """A node that is stopped while it opens, and starts again."""
    async with pair(anvil, settings=PATIENT) as both:
        await anvil.hold()
        task = opening(both)
        left = await waiting(anvil)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        again = await anvil.settlement(both.payer_key, both.contract)
        second = asyncio.create_task(again.open(both.payee.account, both.signer.address, 1000))
        replacing = await waiting(anvil, besides=left["hash"])
        assert replacing["nonce"] == left["nonce"]
        await anvil.mine()
        channel = await second
        assert await again.find(both.payee.account, both.signer.address) == channel
        assert await anvil.holds(both.contract) == 1000 * UNIT
        await again.aclose()
