"""Which channel a wallet pays on, what it puts into it, and which it is paid on."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest
from msgspec.structs import replace

from core.errors import PaymentError, Reason
from ledger.local import LocalSettlement, join
from ledger.settlement import ChannelState
from ledger.voucher import SigningKey
from node.settings import PaymentsSettings
from node.wallet import STORE_NAME, UnknownChannelError, Wallet
from node.wallet_orders import WalletOrder
from tests.harness.payers import members
from tests.harness.waiting import until

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from ledger.books import PayerChannel
    from ledger.settlement import Channel
    from tests.harness.payers import Member

COIN = 10**6


async def refused(reason: Reason, call: Callable[..., Any], *arguments: Any) -> None:
    with pytest.raises(PaymentError) as caught:
        await call(*arguments)
    assert caught.value.reason is reason


async def channel_to(client: Member, guard: Member) -> PayerChannel:
    return await client.wallet.channel_to(guard.peer, guard.wallet.settlement.account)


def ledger(member: Member) -> LocalSettlement:
    assert isinstance(member.wallet.settlement, LocalSettlement)
    return member.wallet.settlement


# -- the one to pay on


async def test_a_peer_is_paid_on_one_channel(tmp_path: Path) -> None:
    async with members(tmp_path) as (client, guard):
        rows = await asyncio.gather(*(channel_to(client, guard) for _ in range(10)))
        assert {row.channel for row in rows} == {row.channel for row in client.wallet.store.payers}
        assert len(client.wallet.store.payers) == 1
        assert await client.wallet.settlement.balance() == 999 * COIN


async def test_another_peer_or_account_has_another(tmp_path: Path) -> None:
    async with members(tmp_path, 3) as (client, guard, other):
        await channel_to(client, guard)
        await channel_to(client, other)
        await client.wallet.channel_to(guard.peer, other.wallet.settlement.account)
        assert len({row.channel for row in client.wallet.store.payers}) == 3
        assert len({row.secret for row in client.wallet.store.payers}) == 3


async def test_the_one_with_most_left_is_taken(tmp_path: Path) -> None:
    async with members(tmp_path) as (client, guard):
        first = await channel_to(client, guard)
        await client.wallet.store.state(first.channel, ChannelState.CLOSING)
        second = await channel_to(client, guard)
        await client.wallet.store.raise_paid(second.channel, 10, 0)
        third = await client.wallet._open_channel(guard.peer, guard.wallet.settlement.account)
        assert len({first.channel, second.channel, third.channel}) == 3
        assert await channel_to(client, guard) == third
        await client.wallet.store.raise_paid(third.channel, 20, 0)
        assert (await channel_to(client, guard)).channel == second.channel


async def test_one_that_closes_is_not_paid_on_and_its_successor_is_found_again(tmp_path: Path) -> None:
    """Also when the books are lost."""
    async with members(tmp_path) as (client, guard):
        first = await channel_to(client, guard)
        assert await client.wallet.do(WalletOrder("close")) == {"closing": 1}
        second = await channel_to(client, guard)
        assert second.channel != first.channel
        assert await channel_to(client, guard) == second
        await client.stop()
        (client.home / STORE_NAME).unlink()
        await client.start()
        assert await channel_to(client, guard) == second
        assert len(client.wallet.store.payers) == 1


async def test_the_deposit_is_what_was_said_or_what_is_there(tmp_path: Path) -> None:
    async with members(tmp_path, 3, deposit=600.0) as (client, guard, other):
        assert (await channel_to(client, guard)).deposit == 600 * COIN
        assert (await channel_to(client, other)).deposit == 400 * COIN
        assert await client.wallet.settlement.balance() == 0


# -- more on it


async def test_a_top_up_is_a_deposit_or_what_is_needed(tmp_path: Path) -> None:
    async with members(tmp_path, deposit=2.0) as (client, guard):
        row = await channel_to(client, guard)
        assert await client.wallet.top_up(row.channel, 1) == 4 * COIN
        assert await client.wallet.top_up(row.channel, 5 * COIN) == 9 * COIN
        assert client.wallet.store.payers[0].deposit == 9 * COIN
        assert await client.wallet.settlement.balance() == 991 * COIN


async def test_a_top_up_takes_what_is_there_if_that_is_enough(tmp_path: Path) -> None:
    async with members(tmp_path, deposit=600.0) as (client, guard):
        row = await channel_to(client, guard)
        await refused(Reason.NO_FUNDS, client.wallet.top_up, row.channel, 400 * COIN + 1)
        assert client.wallet.store.payers[0].deposit == 600 * COIN
        assert await client.wallet.top_up(row.channel, 400 * COIN) == 1000 * COIN
        await refused(Reason.NO_FUNDS, client.wallet.top_up, row.channel, 1)


# -- the cap


async def test_a_cap_outlives_the_node(tmp_path: Path) -> None:
    async with members(tmp_path, 1) as (client,):
        assert client.wallet.cap is None
        assert await client.wallet.do(WalletOrder("cap", units=50)) == {"cap": 50}
        await client.stop()
        await client.start()
        assert client.wallet.cap == 50
        assert client.wallet.cap_left == 50
        assert await client.wallet.do(WalletOrder("cap")) == {"cap": None}
        assert client.wallet.cap is None


@pytest.mark.parametrize(
    ("settlement", "relays", "cap"), [("evm", False, 2 * COIN), ("evm", True, None), ("local", False, None)]
)
async def test_a_new_wallet_may_spend_one_deposit_where_coins_are_worth_something(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, settlement: Any, relays: bool, cap: int | None
) -> None:
    async def joined(*_: object, **__: object) -> LocalSettlement:
        return await join(tmp_path / "ledger", b"\1" * 20, lambda: 0)

    monkeypatch.setattr("node.wallet.join_settlement", joined)
    wallet = await Wallet.open(PaymentsSettings(settlement=settlement, deposit=2.0), tmp_path, relays=relays)
    try:
        assert wallet.cap == cap
    finally:
        await wallet.close()


# -- being paid


async def test_only_an_open_channel_to_this_node_is_accepted(tmp_path: Path) -> None:
    async with members(tmp_path, 3) as (client, guard, other):
        row = await channel_to(client, guard)
        await refused(Reason.NO_CHANNEL, other.wallet.accept, row.channel)
        await refused(Reason.NO_CHANNEL, other.wallet.accept, bytes(32))
        assert (await guard.wallet.accept(row.channel)).deposit == COIN
        await ledger(client).top_up(row.channel, COIN)
        assert (await guard.wallet.accept(row.channel)).deposit == 2 * COIN
        assert len(guard.wallet.store.payees) == 1
        await client.wallet.do(WalletOrder("close"))
        await refused(Reason.NOT_OPEN, guard.wallet.accept, row.channel)
        assert other.wallet.store.payees == ()


# -- from time to time


async def test_a_channel_that_is_closed_is_forgotten_at_both_ends(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("node.wallet.LOOK_S", 0.02)
    async with members(tmp_path) as (client, guard):
        row = await channel_to(client, guard)
        await guard.wallet.accept(row.channel)
        for member in (client, guard):
            member.wallet.start()
        await guard.wallet.settlement.close(row.channel)
        await until(lambda: not client.wallet.store.payers and not guard.wallet.store.payees)


@pytest.mark.parametrize("after_s", [24 * 3600 - 60, 24 * 3600 + 60])
async def test_a_close_is_finished_after_its_delay(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, after_s: float
) -> None:
    monkeypatch.setattr("node.wallet.LOOK_S", 0.02)
    now = 1_000_000.0
    monkeypatch.setattr("time.time", lambda: now)
    async with members(tmp_path) as (client, guard):
        await channel_to(client, guard)
        await client.wallet.do(WalletOrder("close"))
        assert await client.wallet.do(WalletOrder("close")) == {"closing": 0}
        now += after_s
        looks = looked_at(client, monkeypatch)
        client.wallet.start()
        await until(lambda: len(looks) > 5 or not client.wallet.store.payers)
        over = after_s > 24 * 3600
        assert len(client.wallet.store.payers) == (0 if over else 1)
        assert await client.wallet.settlement.balance() == (1000 if over else 999) * COIN


def looked_at(member: Member, patch: pytest.MonkeyPatch, unknown: bytes = b"") -> list[bytes]:
    """The channels that are looked at from now on. One of them may be gone."""
    seen: list[bytes] = []
    look = member.wallet.settlement.look

    async def noted(channel: bytes) -> Channel:
        seen.append(channel)
        if channel == unknown:
            raise PaymentError(Reason.NO_CHANNEL)
        return await look(channel)

    patch.setattr(member.wallet.settlement, "look", noted)
    return seen


async def test_a_channel_that_the_settlement_lost_is_kept_and_stops_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Blocks may be taken back, and come again."""
    monkeypatch.setattr("node.wallet.LOOK_S", 0.02)
    async with members(tmp_path, 3) as (client, guard, other):
        rows = [await channel_to(client, one) for one in (guard, other)]
        lost, found = sorted(rows, key=lambda row: row.channel)
        looks = looked_at(client, monkeypatch, lost.channel)
        client.wallet.start()
        await client.wallet.settlement.start_close(found.channel)
        await until(lambda: looks.count(lost.channel) > 3)
        await until(lambda: [row.state for row in client.wallet.store.payers].count(ChannelState.CLOSING) == 1)
        assert client.wallet.store.payer(lost.channel) == lost


@pytest.mark.parametrize("known", [5, 9])
async def test_what_somebody_else_claimed_is_noted_as_far_as_it_is_known(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, known: int
) -> None:
    """Anyone may claim, and books may be older than what was claimed."""
    monkeypatch.setattr("node.wallet.LOOK_S", 0.02)
    async with members(tmp_path) as (client, guard):
        row = await channel_to(client, guard)
        await guard.wallet.accept(row.channel)
        key = SigningKey(row.secret)
        signed = key.sign(row.separator, row.channel, known)
        await guard.wallet.store.take_voucher(row.channel, known, signed, 0)
        await client.wallet.settlement.claim(row.channel, 9, key.sign(row.separator, row.channel, 9))
        guard.wallet.start()
        await until(lambda: guard.wallet.store.payees[0].claimed == known)


# -- orders


async def test_an_order_names_a_channel_by_its_first_digits(tmp_path: Path) -> None:
    async with members(tmp_path, 3) as (client, guard, other):
        with pytest.raises(UnknownChannelError, match="no channel"):
            await client.wallet.do(WalletOrder("deposit", units=1))
        first, second = await channel_to(client, guard), await channel_to(client, other)
        await client.wallet.store.raise_paid(second.channel, 1, 0)
        found = await client.wallet.do(WalletOrder("deposit", units=5))
        assert found == {"channel": second.channel.hex(), "deposit": COIN + 5}, "the one that was paid most on"
        found = await client.wallet.do(WalletOrder("deposit", first.channel.hex()[:8], 7))
        assert found == {"channel": first.channel.hex(), "deposit": COIN + 7}
        unknown = bytes(byte ^ 0xFF for byte in first.channel).hex()
        with pytest.raises(UnknownChannelError, match=unknown):
            await client.wallet.do(WalletOrder("close", unknown))
        assert await client.wallet.do(WalletOrder("close", first.channel.hex())) == {"closing": 1}
        assert {row.channel for row in client.wallet.store.payers if row.state is ChannelState.OPEN} == {second.channel}
        alike = replace(second, channel=second.channel[:8] + bytes(24), paid=0)
        await client.wallet.store.add_payer(alike)
        with pytest.raises(UnknownChannelError, match="more than one"):
            await client.wallet.do(WalletOrder("close", second.channel.hex()[:16]))


async def test_a_close_without_digits_closes_all(tmp_path: Path) -> None:
    async with members(tmp_path, 3) as (client, guard, other):
        await channel_to(client, guard)
        await channel_to(client, other)
        assert await client.wallet.do(WalletOrder("close")) == {"closing": 2}
