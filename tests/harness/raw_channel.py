"""A channel in the contract, called without a settlement in between that would refuse first."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final

import pytest

from core.errors import PaymentError, Reason
from ledger.voucher import Domain, SigningKey
from tests.harness.chain import NOBODY, UNIT, compiled

if TYPE_CHECKING:
    from ledger.evm_chain import Mined
    from ledger.wallet_key import WalletKey
    from tests.harness.chain import Testnet

GAS: Final = 400_000
ORDER: Final = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141
CLOSED: Final = ("0x" + "00" * 20, "0x" + "00" * 20, "0x" + "00" * 20, 0, 0, 3, 0)


@dataclass(frozen=True, slots=True)
class RawChannel:
    """Who has to do with a channel, and where it is.

    Args:
        net: the chain.
        where: the contract.
        token: an ERC-20, or `NOBODY` for the chain's coin.
        payer, payee: the accounts.
        signer: signs vouchers.
        id: the channel's; empty until it is open.
    """

    net: Testnet
    where: bytes
    token: bytes
    payer: WalletKey
    payee: WalletKey
    signer: SigningKey
    id: bytes = b""

    async def opened(self, deposit: int = 1000, nonce: int = 0, signer: SigningKey | None = None) -> RawChannel:
        """A channel between the two, with a deposit."""
        known = signer or self.signer
        shown = self.net.shown
        if self.token != NOBODY:
            await self.approve(self.payer, deposit)
        arguments = (shown(self.payee.account), shown(known.address), nonce)
        await self.do("open", *arguments, deposit, units=deposit)
        return await replace(self, signer=known).named(nonce)

    async def named(self, nonce: int) -> RawChannel:
        """The channel between the two with a nonce."""
        parts = map(self.net.shown, (self.payer.account, self.payee.account, self.signer.address))
        return replace(self, id=bytes(await self.net.read(self.where, "idOf", *parts, nonce)))

    async def approve(self, owner: WalletKey, units: int) -> None:
        """Let the contract take so much of a token."""
        await self.net.do(owner, self.token, "approve", self.net.shown(self.where), units * UNIT, what=compiled("coin"))

    async def do(self, function: str, *arguments: Any, by: WalletKey | None = None, units: int = 0) -> Mined:
        """Call the contract, as the payer unless said otherwise.

        Args:
            units: that go with it, if it is the chain's coin.
        """
        wei = 0 if self.token != NOBODY else units * UNIT
        return await self.net.do(by or self.payer, self.where, function, *arguments, wei=wei)

    async def claim(self, cumulative: int, signature: bytes | None = None, by: WalletKey | None = None) -> Mined:
        """Claim, as the payee unless said otherwise, with a voucher that is right unless said otherwise."""
        return await self.do("claim", self.id, cumulative, signature or self.voucher(cumulative), by=by or self.payee)

    def voucher(self, cumulative: int, domain: Domain | None = None, signer: SigningKey | None = None) -> bytes:
        """A voucher of this channel."""
        separator = (domain or Domain(self.net.chain_id, self.where)).separator
        return (signer or self.signer).sign(separator, self.id, cumulative)

    async def state(self) -> tuple[Any, ...]:
        """What the contract says of it, and what everybody has, except for gas."""
        holds = [await self.net.holds(self.where, self.token)]
        if self.token != NOBODY:
            holds += [await self.net.holds(key.account, self.token) for key in (self.payer, self.payee)]
        return (*await self.net.read(self.where, "channel", self.id), *holds)

    async def sums(self) -> tuple[int, int, int]:
        """Deposit, what was claimed, and the number of the state."""
        found = await self.net.read(self.where, "channel", self.id)
        return found[3], found[4], found[5]

    async def refuses(self, reason: Reason, function: str, *arguments: Any, by: WalletKey, units: int = 0) -> None:
        """Assert that the contract refuses a call, says why, and that nothing changes, also when it is sent anyway."""
        before = await self.state()
        with pytest.raises(PaymentError) as refused:
            await self.do(function, *arguments, by=by, units=units)
        assert refused.value.reason is reason
        wei = 0 if self.token != NOBODY else units * UNIT
        assert not (await self.forced(function, *arguments, by=by, wei=wei)).good
        assert await self.state() == before

    async def refuses_claim(
        self, reason: Reason, cumulative: int, signature: bytes | None = None, by: WalletKey | None = None
    ) -> None:
        """As `refuses`, for a claim."""
        known = signature or self.voucher(cumulative)
        await self.refuses(reason, "claim", self.id, cumulative, known, by=by or self.payee)

    async def forced(self, function: str, *arguments: Any, by: WalletKey, wei: int = 0) -> Mined:
        """Send a call without asking before whether it would work."""
        return await self.net.forced(by, self.net.call(self.where, function, *arguments, wei=wei), GAS)


async def parties(net: Testnet, kind: str = "native") -> RawChannel:
    """A contract for a coin (`native`, or a token of `tests/harness/contracts`), and a payer who has 10,000 units."""
    payer, payee = await net.account(), await net.account()
    token = NOBODY if kind == "native" else await net.token(payer, 10_000 * UNIT, kind)
    where = await net.channels(token)
    return RawChannel(net, where, token, payer, payee, SigningKey(bytes(31) + b"\x07"))


def high(signature: bytes) -> bytes:
    """The other signature that says the same."""
    s = ORDER - int.from_bytes(signature[32:64])
    return signature[:32] + s.to_bytes(32) + bytes([55 - signature[64]])
