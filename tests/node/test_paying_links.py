"""One channel and several links: it pays on the latest, and what was used on the others is known there."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import TYPE_CHECKING

import pytest

from core.errors import CircuitError, Reason
from ledger import messages
from ledger.account import window_units
from ledger.amounts import PARTS_PER_UNIT
from ledger.store import Store
from tests.harness.payers import PIECE, RATE, carry, connect, members, part, quiet, up
from tests.harness.waiting import until

if TYPE_CHECKING:
    from pathlib import Path

    from tests.harness.payers import Member, Wire


async def use(near: Wire, client: Member, guard: Member, megabytes: int) -> int:
    """Carry so much; returns the parts that were used."""
    account = await client.paying.paying(near.link, guard.peer, RATE)
    used = await carry(account, guard.incoming(near.other), RATE, megabytes) * PIECE * RATE
    await quiet(near, near.other)
    return used


def is_shown(near: Wire) -> bool:
    """Whether the payee has answered on a link to which a channel was shown."""
    return any(isinstance(said, messages.State) for said in near.other.said)


def shown(near: Wire) -> int:
    """What the payee said to be used, when the channel was shown on a link."""
    [state] = [message for message in near.other.said if isinstance(message, messages.State)]
    return state.used


async def test_a_channel_pays_on_its_latest_link_alone(tmp_path: Path) -> None:
    """The payer has new links, and the payee has not heard of the end of the old ones."""
    async with members(tmp_path) as (client, guard):
        links: list[Wire] = []
        used = 0
        for number in range(4):
            near = await up(client, guard)
            near.loses = lambda message: isinstance(message, messages.Stop)
            assert shown(near) == used
            used += await use(near, client, guard, 2) + RATE
            assert guard.incoming(near.other).take(RATE, 1), "it is in no voucher yet"
            for old in links:
                assert not guard.incoming(old.other).take(RATE, 1)
            assert guard.stops == [Reason.CLOSED] * number
            links.append(near)
        assert guard.incoming(links[-1].other).take(RATE, 1)
        for old in links[:-1]:
            part(old)
        used += await use(links[-1], client, guard, 2) + RATE
        part(links[-1])
        await quiet(links[-1])
        assert shown(await up(client, guard)) == used
        [theirs] = guard.wallet.store.payees
        assert theirs.used == used


async def test_what_an_old_link_stored_is_no_news_on_the_next(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with members(tmp_path) as (client, guard):
        adopted: list[int] = []

        async def adopt(store: Store, channel: bytes, paid: int, used: int) -> None:
            adopted.append(paid)

        monkeypatch.setattr(Store, "adopt_paid", adopt)
        near = await up(client, guard)
        await use(near, client, guard, 2)
        part(near)
        await quiet(near)
        near = await up(client, guard)
        await use(near, client, guard, 4)
        await use(await up(client, guard), client, guard, 1)
        assert adopted == [], "it has forgotten nothing"


async def test_a_link_that_ends_while_nothing_is_carried_and_one_that_follows_cost_nothing(tmp_path: Path) -> None:
    """A relay closes links over which no circuits go, and makes them anew when they are wanted."""
    async with members(tmp_path) as (client, guard):
        near = await up(client, guard)
        used = await use(near, client, guard, 10)
        signed = client.wallet.store.signed
        for _ in range(10):
            part(near)
            await quiet(near)
            near = await up(client, guard)
            await quiet(near, near.other)
            assert shown(near) == used
            assert client.wallet.store.signed == signed
        assert client.stops == guard.stops == []


async def test_a_link_takes_over_no_other_channel(tmp_path: Path) -> None:
    async with members(tmp_path, 3) as (client, guard, other):
        beside = await up(client, other)
        for _ in range(2):
            await use(await up(client, guard), client, guard, 1)
        assert await use(beside, client, other, 2)
        assert client.stops == [Reason.CLOSED]


async def test_a_link_that_had_a_channel_before_gives_up_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("node.paying.AGAIN_S", 0.0)
    monkeypatch.setattr("ledger.payee.LOOK_S", 0.0)
    async with members(tmp_path) as (client, guard):
        first, second = await up(client, guard), await up(client, guard)
        for near, megabytes in ((second, 3), (first, 3), (second, 3), (first, 30)):
            await use(near, client, guard, megabytes)
        await use(await up(client, guard), client, guard, 30)
        assert set(client.stops) == {Reason.CLOSED}
        assert set(guard.stops) == {Reason.CLOSED}


async def test_a_payee_that_says_on_each_link_that_all_is_used_gets_one_window(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with members(tmp_path) as (client, guard):
        near = await up(client, guard)
        used = await use(near, client, guard, 10)
        part(near)
        await quiet(near)
        monkeypatch.setattr(
            guard.paying, "used_on", lambda channel, stored: guard.wallet.store.payees[0].paid * PARTS_PER_UNIT
        )
        for _ in range(10):
            near, _ = connect(client, guard)
            waiting = asyncio.ensure_future(client.paying.paying(near.link, guard.peer, RATE))
            await until(partial(is_shown, near))
            await quiet(near, near.other)
            part(near)
            await asyncio.wait([waiting])
            await quiet(near)
        signed = client.wallet.store.signed
        assert signed * PARTS_PER_UNIT <= used * 65 // 64 + window_units(signed, RATE) * PARTS_PER_UNIT


async def test_a_link_that_ends_while_it_is_to_be_paid_is_no_ground_to_wait(tmp_path: Path) -> None:
    async with members(tmp_path) as (client, guard):
        near, far = connect(client, guard)
        far.loses = lambda message: True
        waiting = asyncio.ensure_future(client.paying.paying(near.link, guard.peer, RATE))
        await until(lambda: near.said)
        part(near)
        with pytest.raises(CircuitError) as caught:
            await waiting
        assert caught.value.reason is Reason.NEXT_HOP
        assert client.stops == []


async def test_a_channel_that_another_node_shows_is_not_taken_away(tmp_path: Path) -> None:
    """Ids are public. Who has not the key cannot end a session."""
    async with members(tmp_path, 3) as (client, guard, thief):
        near = await up(client, guard)
        await use(near, client, guard, 2)
        [own] = client.wallet.store.payers
        stolen, far = connect(thief, guard)
        guard.paying.payment(far.link, messages.encode(messages.Ask()))
        guard.paying.payment(far.link, messages.encode(messages.Channel(own.channel, bytes(64) + b"\x1b")))
        await until(lambda: any(isinstance(said, messages.State) for said in far.said))
        [state] = [said for said in far.said if isinstance(said, messages.State)]
        assert (state.reason, state.cumulative, state.used) == (Reason.BAD_VOUCHER, 0, 0)
        assert not guard.incoming(stolen.other).take(RATE, 1)
        assert guard.incoming(near.other).take(RATE, 1)
