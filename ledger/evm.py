"""The settlement `evm`: channels in our contract on a chain that runs Ethereum's machine, asked through `web3`.

Nothing counts before it is `confirmations` blocks deep: what `look` and `balance` say is as of then, and a call that
changes something returns once it is. `closing` alone looks at the newest block, since there haste is what matters. A
channel that a reorganisation took away is no channel.

This module needs the extra `evm`; the rest of `ledger` does without.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from web3 import AsyncWeb3

from core.errors import ConfigError, PaymentError, Reason
from ledger.amounts import AMOUNT_BYTES, check_amount
from ledger.contract import channels
from ledger.evm_chain import Call, Chain, Endpoint, address, exact, whole
from ledger.evm_wallet import Fees, Wallet
from ledger.settlement import CLOSE_DELAY_S, Channel, ChannelState
from ledger.voucher import ADDRESS_BYTES, CHANNEL_ID_BYTES, Domain, check, keccak256

if TYPE_CHECKING:
    from collections.abc import Iterable

    from web3.providers.async_base import AsyncBaseProvider

    from ledger.evm_chain import Mined
    from ledger.wallet_key import WalletKey

CLAIM_GAS: Final = 80_000
"""Of a claim, rounded up (`python -m tests.ledger.gas`). Tokens that do more than they must need more."""

_NOBODY: Final = bytes(ADDRESS_BYTES)
_CLAIMED: Final = keccak256(b"Claimed(bytes32,uint128,uint128)")
_MOST_ALIKE: Final = 64
"""Channels with one payee and one signer. A signer is for one channel, so there is one, or a few after mishaps."""

_TOKEN_ABI: Final = [
    {
        "type": "function",
        "name": name,
        "stateMutability": mutability,
        "inputs": [{"name": f"a{place}", "type": kind} for place, kind in enumerate(kinds)],
        "outputs": [{"name": "", "type": "uint256"}],
    }
    for name, mutability, kinds in (
        ("balanceOf", "view", ("address",)),
        ("allowance", "view", ("address", "address")),
        ("approve", "nonpayable", ("address", "uint256")),
    )
]
"""Of ERC-20, what is called here. What `approve` returns is not read."""


@dataclass(frozen=True, slots=True)
class EvmSettings:
    """Which chain and contract, and how careful to be.

    Args:
        chain_id: the chain's.
        contract: the address of the channels' contract, 20 bytes.
        confirmations: blocks on top of one until it counts. What is right depends on the chain.
        gas_share: a claim's gas may cost one part in so many of what it brings; at least 1. None: whatever it costs.
        unit_wei: what a unit is worth, in wei; None: the contract holds the chain's own coin, so it is known.
        fees: what may be paid for gas.
        call_s: limit for each question to the RPC node.
    """

    chain_id: int
    contract: bytes
    confirmations: int = 12
    gas_share: int | None = 20
    unit_wei: int | None = None
    fees: Fees = field(default_factory=Fees)
    call_s: float = 10.0


@dataclass(frozen=True, slots=True)
class Terms:
    """What the contract's constructor fixed: coin (20 bytes; zeros: the chain's own), what a unit is, what it is worth
    in wei (None: nobody said)."""

    token: bytes
    unit: int
    unit_wei: int | None


class EvmSettlement:
    """A `ledger.settlement.Settlement` on a chain. Made by `connect`."""

    def __init__(self, chain: Chain, wallet: Wallet, settings: EvmSettings, terms: Terms) -> None:
        self._chain = chain
        self._wallet = wallet
        self._settings = settings
        self._terms = terms
        self._domain = Domain(settings.chain_id, settings.contract)
        self._contract = _contract(chain, settings.contract)
        self._turn = asyncio.Lock()

    @property
    def domain(self) -> Domain:
        return self._domain

    @property
    def account(self) -> bytes:
        return self._wallet.account

    async def balance(self) -> int:
        return await self._holds(await self._chain.final()) // self._terms.unit

    async def now_s(self) -> int:
        return await self._chain.now_s()

    async def open(self, payee: bytes, signer: bytes, deposit: int) -> bytes:
        for account in (payee, signer):
            exact(account, ADDRESS_BYTES)
        if not check_amount(deposit) or _NOBODY in (payee, signer):
            raise PaymentError(Reason.NOT_ALLOWED)
        async with self._turn:
            nonce, channel = await self._free(payee, signer)
            await self._afford(deposit)
            await self._transact("open", [*map(self._shown, (payee, signer)), nonce, deposit], deposit)
        found = await self.look(channel)
        if (found.payer, found.payee, found.signer) != (self.account, payee, signer) or found.deposit < deposit:
            raise PaymentError(Reason.SETTLEMENT)
        return channel

    async def top_up(self, channel: bytes, units: int) -> None:
        async with self._turn:
            if (await self._at(channel, None)).state is not ChannelState.OPEN:
                raise PaymentError(Reason.NOT_OPEN)
            if not check_amount(units):
                raise PaymentError(Reason.NOT_ALLOWED)
            await self._afford(units)
            await self._transact("topUp", [channel, units], units)

    async def look(self, channel: bytes) -> Channel:
        return await self._at(channel, await self._chain.final())

    async def claim(self, channel: bytes, cumulative: int, signature: bytes) -> int:
        """As in `Settlement`. 0 also if gas would cost more than its share of what the claim brings (all of it, once
        the channel is closing): nothing was sent then."""
        async with self._turn:
            found = await self._at(channel, None)
            if found.state is ChannelState.CLOSED:
                raise PaymentError(Reason.NOT_OPEN)
            check(found.signer, self._domain.separator, channel, cumulative, signature)
            units = min(cumulative, found.deposit) - found.claimed
            if units <= 0:
                return 0
            call = self._call("claim", [channel, cumulative, signature])
            worth = None
            if self._settings.gas_share is not None and self._terms.unit_wei is not None:
                share = self._settings.gas_share if found.state is ChannelState.OPEN else 1
                worth = units * self._terms.unit_wei // share
                if await self._wallet.gas(call) * await self._wallet.present_price() > worth:
                    return 0
            mined = await self._wallet.transact(call, worth)
        return self._paid_out(mined, channel)

    async def claim_cost(self) -> int:
        """What a claim's gas costs now, in units, rounded up.

        Raises:
            PaymentError: `SETTLEMENT`.
            ConfigError: nobody said what a unit is worth.
        """
        if self._terms.unit_wei is None:
            raise ConfigError("unit_wei", "what a unit is worth in wei is not set")
        wei = CLAIM_GAS * await self._wallet.present_price()
        return -(-wei // self._terms.unit_wei)

    async def start_close(self, channel: bytes) -> None:
        await self._change("startClose", channel)

    async def close(self, channel: bytes) -> None:
        await self._change("close", channel)

    async def finish_close(self, channel: bytes) -> None:
        await self._change("finishClose", channel)

    async def closing(self, channels: Iterable[bytes]) -> list[bytes]:
        """Those of some channels that are closing by the newest block: what vouchers say has to be claimed now.

        Raises:
            PaymentError: `SETTLEMENT`.
        """
        return [channel for channel in channels if await self._is_closing(channel)]

    async def find(self, payee: bytes, signer: bytes) -> bytes | None:
        """The id of the newest channel of this account with a payee and a signer; None: there is none.

        For a node that was stopped while it opened one.

        Raises:
            PaymentError: `SETTLEMENT`.
        """
        nonce, _ = await self._free(payee, signer)
        return self._id(payee, signer, nonce - 1) if nonce else None

    async def aclose(self) -> None:
        await self._chain.web3.provider.disconnect()

    def _shown(self, account: bytes) -> Any:
        return self._chain.web3.to_checksum_address(account)

    def _id(self, payee: bytes, signer: bytes, nonce: int) -> bytes:
        """As the contract's `idOf`."""
        words = (self._settings.contract, self.account, payee, signer)
        padded = b"".join(word.rjust(32, b"\0") for word in words)
        return keccak256(self._settings.chain_id.to_bytes(32) + padded + nonce.to_bytes(32))

    async def _free(self, payee: bytes, signer: bytes) -> tuple[int, bytes]:
        """The first nonce that no channel has, by the newest block, and the id that goes with it."""
        for nonce in range(_MOST_ALIKE):
            channel = self._id(payee, signer, nonce)
            try:
                await self._at(channel, None)
            except PaymentError as error:
                if error.reason is not Reason.NO_CHANNEL:
                    raise
                return nonce, channel
        raise PaymentError(Reason.NOT_ALLOWED)

    async def _at(self, channel: bytes, block: int | None) -> Channel:
        """A channel at a block, or the newest."""
        exact(channel, CHANNEL_ID_BYTES)
        question = self._contract.functions.channel(channel).call(
            block_identifier="latest" if block is None else block, ccip_read_enabled=False
        )
        return await self._chain.ask(question, _read_channel)

    async def _is_closing(self, channel: bytes) -> bool:
        try:
            return (await self._at(channel, None)).state is ChannelState.CLOSING
        except PaymentError as error:
            if error.reason is Reason.NO_CHANNEL:
                return False
            raise

    async def _holds(self, block: int | None = None) -> int:
        """The coin's smallest units that the account has."""
        if self._terms.token == _NOBODY:
            return await self._chain.balance(self.account, block)
        token = _token(self._chain, self._terms.token)
        question = token.functions.balanceOf(self._shown(self.account)).call(
            block_identifier="latest" if block is None else block, ccip_read_enabled=False
        )
        return await self._chain.ask(question, whole)

    async def _afford(self, units: int) -> None:
        """Have the contract allowed to take a deposit.

        Raises:
            PaymentError: `NO_FUNDS`, `SETTLEMENT`.
        """
        amount = units * self._terms.unit
        if await self._holds() < amount:
            raise PaymentError(Reason.NO_FUNDS)
        if self._terms.token == _NOBODY:
            return
        token = _token(self._chain, self._terms.token)
        contract = self._shown(self._settings.contract)
        question = token.functions.allowance(self._shown(self.account), contract).call(ccip_read_enabled=False)
        allowed = await self._chain.ask(question, whole)
        if allowed >= amount:
            return
        for value in (0, amount) if allowed else (amount,):  # some tokens want it to be 0 in between
            data = bytes.fromhex(token.encode_abi("approve", [contract, value])[2:])
            await self._wallet.transact(Call(self._terms.token, data))

    async def _change(self, function: str, channel: bytes) -> None:
        exact(channel, CHANNEL_ID_BYTES)
        async with self._turn:
            await self._transact(function, [channel], 0)

    async def _transact(self, function: str, arguments: list[Any], units: int) -> Mined:
        return await self._wallet.transact(self._call(function, arguments, units))

    def _call(self, function: str, arguments: list[Any], units: int = 0) -> Call:
        value = units * self._terms.unit if self._terms.token == _NOBODY else 0
        data = bytes.fromhex(self._contract.encode_abi(function, arguments)[2:])
        return Call(self._settings.contract, data, value)

    def _paid_out(self, mined: Mined, channel: bytes) -> int:
        """Read the claim's event; without one, somebody else claimed as much before."""
        for contract, topics, data in mined.logs:
            if contract == self._settings.contract and topics == [_CLAIMED, channel] and len(data) == 64:
                return int.from_bytes(data[:32]) & (1 << 8 * AMOUNT_BYTES) - 1
        return 0


async def connect(
    settings: EvmSettings, key: WalletKey, rpc: str | AsyncBaseProvider, least_delay_s: int = CLOSE_DELAY_S
) -> EvmSettlement:
    """Ask an RPC node, and check that it is of the right chain, and that our contract stands there.

    Args:
        settings: which chain and contract.
        key: of this node's account.
        rpc: the RPC node's URL, or what asks it.
        least_delay_s: a contract in which a close takes less is refused.

    Raises:
        ConfigError: another chain, no contract of ours, or a setting that does not go with it.
        PaymentError: `SETTLEMENT`: the RPC node does not answer, or not sensibly.
    """
    exact(settings.contract, ADDRESS_BYTES)
    if settings.gas_share is not None and settings.gas_share < 1:
        raise ConfigError("gas_share", "must be at least 1")
    provider = Endpoint(rpc) if isinstance(rpc, str) else rpc
    chain = Chain(AsyncWeb3(provider, middleware=[]), settings.confirmations, settings.call_s)
    try:
        terms = await _terms(chain, settings, least_delay_s)
    except BaseException:
        await provider.disconnect()
        raise
    return EvmSettlement(chain, Wallet(chain, settings.chain_id, key, settings.fees), settings, terms)


async def _terms(chain: Chain, settings: EvmSettings, least_delay_s: int) -> Terms:
    if (found := await chain.chain_id()) != settings.chain_id:
        raise ConfigError("chain_id", f"the RPC node is of chain {found}, and this says {settings.chain_id}")
    final = await chain.final()
    if not (await chain.code(settings.contract, final)).startswith(channels().runtime):
        raise ConfigError("contract", "no channels' contract of this version stands there, or it is not confirmed yet")
    functions = _contract(chain, settings.contract).functions
    token = await chain.ask(functions.token().call(block_identifier=final), address)
    unit = await chain.ask(functions.unit().call(block_identifier=final), whole)
    delay = await chain.ask(functions.close_delay().call(block_identifier=final), whole)
    separator = await chain.ask(functions.domainSeparator().call(block_identifier=final), bytes)
    if not unit or separator != Domain(settings.chain_id, settings.contract).separator:
        raise PaymentError(Reason.SETTLEMENT)
    if delay < least_delay_s:
        raise ConfigError("contract", f"a close takes {delay} s there, which is too short to answer it")
    unit_wei = unit if token == _NOBODY else settings.unit_wei
    if unit_wei is None and settings.gas_share is not None:
        raise ConfigError("unit_wei", "the contract holds a token, so say what a unit of it is worth in wei")
    return Terms(token, unit, unit_wei)


def _contract(chain: Chain, where: bytes) -> Any:
    return chain.web3.eth.contract(chain.web3.to_checksum_address(where), abi=channels().abi)


def _token(chain: Chain, where: bytes) -> Any:
    return chain.web3.eth.contract(chain.web3.to_checksum_address(where), abi=_TOKEN_ABI)


def _read_channel(answer: Any) -> Channel:
    payer, payee, signer, deposit, claimed, state, closes_at = answer
    if claimed > deposit:
        raise ValueError("more was claimed than deposited")
    return Channel(
        address(payer), address(payee), address(signer), deposit, claimed, ChannelState(state), whole(closes_at, 64)
    )
