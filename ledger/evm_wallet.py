"""Transactions of this node's account: signed, sent, paid more for when they wait, and followed until they are final.

One at a time. A transaction that is not taken is sent again under the same number (nonce) with a higher fee, so of all
that were signed for one call at most one is ever carried out. When this node gives up, or is stopped, what it sent may
still be carried out; the next transaction has the same number then, so that only one of the two is.
"""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from web3 import Account

from core.errors import PaymentError, Reason

if TYPE_CHECKING:
    from ledger.evm_chain import Call, Chain, Mined
    from ledger.wallet_key import WalletKey

MAX_GAS: Final = 3_000_000
"""Of one call, by what the RPC node says it needs. Ours need up to 150,000 where gas is reckoned as on Ethereum."""

TRIES: Final = 3
"""A call that was sent and did not work is tried so often, if it still seems that it would."""

NOT_TAKEN: Final = "The chain did not carry it out in time, or at the price that may be paid for gas. Try again later."
NO_GAS: Final = (
    "The account cannot pay for gas. Send it some of the chain's own coin: `macrovpn wallet` shows its address."
)


@dataclass(frozen=True, slots=True)
class Fees:
    """What may be paid for gas, and how patiently.

    Args:
        most: wei per gas, never exceeded.
        tip: wei per gas on top of the chain's base fee, at first.
        poll_s: between two looks at a transaction that was sent.
        patience_s: after this it is sent again with a higher fee.
        give_up_s: after this it is given up.
    """

    most: int = 200 * 10**9
    tip: int = 10**9
    poll_s: float = 2.0
    patience_s: float = 60.0
    give_up_s: float = 1800.0


@dataclass(frozen=True, slots=True)
class Price:
    """Of gas, in wei (EIP-1559).

    Args:
        most: for base fee and tip.
        tip: for whoever makes the block.
    """

    most: int
    tip: int

    def raised(self) -> Price:
        """By a quarter. RPC nodes take a replacement from a tenth on (go-ethereum's `--txpool.pricebump`)."""
        return Price(self.most * 5 // 4 + 1, self.tip * 5 // 4 + 1)


class Wallet:
    """An account that pays for transactions. Calls must not overlap.

    Args:
        chain: where.
        chain_id: the chain's, under which everything is signed.
        key: the account's.
        fees: what may be paid.
    """

    def __init__(self, chain: Chain, chain_id: int, key: WalletKey, fees: Fees) -> None:
        self._chain = chain
        self._chain_id = chain_id
        self._key = key
        self._fees = fees
        self._last: tuple[int, Price] | None = None
        """Number and price of the last transaction that was sent."""

    @property
    def account(self) -> bytes:
        return self._key.account

    async def present_price(self) -> int:
        """What gas costs just now, wei.

        Raises:
            PaymentError: `SETTLEMENT`.
        """
        return await self._chain.base_fee() + self._fees.tip

    async def gas(self, call: Call) -> int:
        """How much gas to give a call.

        Raises:
            PaymentError: what the contract would refuse it with; `SETTLEMENT`.
        """
        gas = await self._chain.gas(call, self.account) * 5 // 4
        if gas > MAX_GAS:
            raise PaymentError(Reason.SETTLEMENT)
        return gas

    async def transact(self, call: Call, worth: int | None = None) -> Mined:
        """Have a call carried out; returns once that is final.

        Args:
            call: what to do.
            worth: wei that its gas may cost in all; None: what `fees` says.

        Raises:
            PaymentError: what the contract refuses it with; `NO_FUNDS`, for value and gas; `SETTLEMENT`.
        """
        more = 1
        for _ in range(TRIES):
            if await self._chain.balance(self.account) < call.value:
                raise PaymentError(Reason.NO_FUNDS)
            gas = min(await self.gas(call) * more, MAX_GAS)
            limit = self._fees.most if worth is None else min(self._fees.most, worth // gas)
            mined = await self._carry_out(call, gas, limit)
            if mined.good:
                return mined
            if mined.gas >= gas * 63 // 64:  # an inner call leaves the rest (EIP-150)
                more *= 2
            if worth is not None and self._last is not None:
                worth = max(0, worth - mined.gas * self._last[1].most)
        raise PaymentError(Reason.SETTLEMENT, NOT_TAKEN)

    async def _carry_out(self, call: Call, gas: int, limit: int) -> Mined:
        """Send until something is final."""
        nonce = await self._chain.nonce(self.account)
        price = await self._price_for(nonce, limit)
        if await self._chain.balance(self.account) < call.value + gas * price.most:
            raise PaymentError(Reason.NO_FUNDS, NO_GAS)
        sent: list[bytes] = []
        try:
            async with asyncio.timeout(self._fees.give_up_s):
                while True:
                    raw, name = self._sign(call, nonce, gas, price)
                    if name not in sent:
                        sent.append(name)
                    self._last = nonce, price
                    with contextlib.suppress(PaymentError):  # the RPC node may have it already: the chain will tell
                        await self._chain.send(raw)
                    if (mined := await self._final(sent, nonce)) is not None:
                        return mined
                    raised = price.raised()
                    price = raised if raised.most <= limit else price
        except TimeoutError:
            raise PaymentError(Reason.SETTLEMENT, NOT_TAKEN) from None

    async def _price_for(self, nonce: int, limit: int) -> Price:
        """What gas is to be paid at first, with room for a base fee that doubles."""
        base = await self._chain.base_fee()
        price = Price(2 * base + self._fees.tip, self._fees.tip)
        if self._last is not None and self._last[0] == nonce:  # it replaces one that may still be waiting
            raised = self._last[1].raised()
            price = Price(max(price.most, raised.most), max(price.tip, raised.tip))
        price = Price(min(price.most, limit), min(price.tip, limit))
        if price.most < base + price.tip:
            raise PaymentError(Reason.SETTLEMENT, NOT_TAKEN)
        return price

    async def _final(self, sent: list[bytes], nonce: int) -> Mined | None:
        """Wait until one of the transactions is final; None if for long none of them is in the chain at all.

        Raises:
            PaymentError: `SETTLEMENT`: for good, something else has their number.
        """
        loop = asyncio.get_running_loop()
        seen_at = loop.time()
        while loop.time() < seen_at + self._fees.patience_s:
            with contextlib.suppress(PaymentError):  # an RPC node that does not answer now may do later
                final = await self._chain.final()
                taken = await self._chain.nonce(self.account, final) > nonce
                found = [mined for name in sent if (mined := await self._chain.mined(name)) is not None]
                if found and found[0].block <= final:
                    return found[0]
                if found:
                    seen_at = loop.time()
                elif taken:
                    break
            await asyncio.sleep(self._fees.poll_s)
        else:
            return None
        raise PaymentError(Reason.SETTLEMENT, NOT_TAKEN)

    def _sign(self, call: Call, nonce: int, gas: int, price: Price) -> tuple[bytes, bytes]:
        """The transaction and its hash."""
        params = call.params(self._chain.web3, self.account)
        signed = Account.sign_transaction(
            {
                **params,
                "type": 2,
                "chainId": self._chain_id,
                "nonce": nonce,
                "gas": gas,
                "maxFeePerGas": price.most,
                "maxPriorityFeePerGas": price.tip,
            },
            self._key.reveal(),
        )
        return bytes(signed.raw_transaction), bytes(signed.hash)
