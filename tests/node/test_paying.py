"""Two ends of links that pay each other, with books on disk and a ledger that both share."""

from __future__ import annotations

import asyncio
import time
from itertools import cycle
from typing import TYPE_CHECKING

import pytest

from core.errors import CircuitError, DecodeError, Reason
from ledger import messages
from ledger.account import window_units
from ledger.amounts import PARTS_PER_UNIT
from ledger.local import LocalSettlement
from ledger.settlement import ChannelState
from ledger.store import Store
from node.owing import most_owed, wary_from
from node.wallet_orders import WalletOrder
from tests.harness.payers import PIECE, RATE, Member, carry, connect, members, part, quiet, up
from tests.harness.waiting import until
from tunnel.limits import MAX_MESSAGE

if TYPE_CHECKING:
    from pathlib import Path

    from node.payment_ends import Incoming
    from tests.harness.payers import Wire


async def use(near: Wire, client: Member, guard: Member, megabytes: int) -> int:
    account = await client.paying.paying(near.link, guard.peer, RATE)
    return await carry(account, guard.incoming(near.other), RATE, megabytes)


async def test_what_is_carried_is_paid_and_no_more_than_a_window_ahead(tmp_path: Path) -> None:
    async with members(tmp_path) as (client, guard):
        near = await up(client, guard)
        assert guard.incoming(near.other).take(RATE, PIECE), "something is paid before anything is carried"
        pieces = await use(near, client, guard, 20) + 1
        await quiet(near, near.other)
        await until(lambda: guard.wallet.store.payees[0].paid == client.wallet.store.payers[0].paid)  # not all at once
        [own] = client.wallet.store.payers
        used = pieces * PIECE * RATE
        assert guard.paying.sums()["earned"] == used // PARTS_PER_UNIT
        assert 0 <= own.paid * PARTS_PER_UNIT - used <= max(RATE, own.paid // 4 + 1) * PARTS_PER_UNIT * 65 // 64
        assert not client.stops + guard.stops


async def test_reconnecting_neither_wins_nor_loses(tmp_path: Path) -> None:
    async with members(tmp_path) as (client, guard):
        near = await up(client, guard)
        pieces = await use(near, client, guard, 5)
        for _ in range(20):
            part(near)
            near = await up(client, guard)
            pieces += await use(near, client, guard, 1)
        await quiet(near, near.other)
        assert len(client.wallet.store.payers) == len(guard.wallet.store.payees) == 1
        used = pieces * PIECE * RATE // PARTS_PER_UNIT
        assert guard.paying.sums()["earned"] == used == client.paying.sums()["spent"]


async def test_what_was_used_is_remembered_when_a_link_ends(tmp_path: Path) -> None:
    async with members(tmp_path) as (client, guard):
        near = await up(client, guard)
        used = await use(near, client, guard, 1) * PIECE * RATE
        part(near)
        await quiet(near, near.other)
        assert [row.used for row in client.wallet.store.payers] == [used]
        assert [row.used for row in guard.wallet.store.payees] == [used]


async def test_no_wall_clock_decides(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever sets it, back and forth, changes nothing."""
    times = cycle([0.0, 4e9, 1e9, 2e9])
    monkeypatch.setattr(time, "time", lambda: next(times))
    async with members(tmp_path) as (client, guard):
        pieces = 0
        for _ in range(3):
            near = await up(client, guard)
            pieces += await use(near, client, guard, 3)
            await quiet(near, near.other)
            part(near)
            await quiet(near, near.other)
        assert guard.paying.sums()["earned"] == client.paying.sums()["spent"] == pieces * PIECE * RATE // PARTS_PER_UNIT
        assert client.stops == guard.stops == []


async def test_who_was_not_paid_is_asked_again_after_a_while(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("node.paying.AGAIN_S", 0.3)
    monkeypatch.setattr("ledger.payee.LOOK_S", 0.1)
    async with members(tmp_path) as (client, guard):
        wallet, now = client.wallet, asyncio.get_running_loop().time
        assert isinstance(wallet.settlement, LocalSettlement)
        await wallet.settlement.open(guard.wallet.settlement.account, b"\1" * 20, 1000 * 10**6)
        (near, _), since = connect(client, guard), now()
        for _ in range(2):
            with pytest.raises(CircuitError) as caught:
                await client.paying.paying(near.link, guard.peer, RATE)
            assert caught.value.reason is Reason.NO_FUNDS
        assert near.said.count(messages.Ask()) == 1
        await wallet.settlement.faucet(wallet.settlement.account, 10**6)
        await until(lambda: now() > since + 0.5)
        account = await client.paying.paying(near.link, guard.peer, RATE)
        assert near.said.count(messages.Ask()) == 2
        since = now()
        await until(lambda: now() > since + 0.5)
        assert await client.paying.paying(near.link, guard.peer, RATE) is account, (
            "it is paid, for how long does not matter"
        )


async def test_a_payee_that_stopped_gets_no_more_circuits(tmp_path: Path) -> None:
    async with members(tmp_path) as (client, guard):
        near = await up(client, guard)
        guard.incoming(near.other).stop(Reason.UNPAID)
        await until(lambda: client.stops)
        with pytest.raises(CircuitError) as caught:
            await client.paying.paying(near.link, guard.peer, RATE)
        assert caught.value.reason is Reason.UNPAID
        assert client.paying.sums()["trouble"] == Reason.UNPAID.sentence
        assert guard.paying.sums()["trouble"] == "", "it did not fail to pay"


async def test_what_is_over_moves_and_counts_nothing(tmp_path: Path) -> None:
    async with members(tmp_path) as (client, guard):
        near = await up(client, guard)
        await use(near, client, guard, 1)
        ends = (await client.paying.paying(near.link, guard.peer, RATE), guard.incoming(near.other))
        guard.incoming(near.other).stop(Reason.CLOSED)
        await quiet(near, near.other)
        before = [member.paying.sums() for member in (client, guard)]
        for end in ends:
            assert not end.take(RATE, 1)
            assert not end.take_datagram(RATE, 1)
            end.took(RATE, PIECE, datagram=False)
            end.give_back(RATE, PIECE)
            end.wait(lambda: None)
        assert [member.paying.sums() for member in (client, guard)] == before


async def test_what_never_left_is_given_back_at_both_ends(tmp_path: Path) -> None:
    async with members(tmp_path) as (client, guard):
        near = await up(client, guard)
        for end in (await client.paying.paying(near.link, guard.peer, RATE), guard.incoming(near.other)):
            assert end.take(RATE, 100_000)
            end.give_back(RATE, 100_000)
            assert end.take_datagram(RATE, 100)
        part(near)
        await quiet(near, near.other)
        [own], [theirs] = client.wallet.store.payers, guard.wallet.store.payees
        assert own.used == theirs.used == 100 * RATE


async def test_a_dearer_circuit_is_paid_ahead_for_and_a_cheaper_one_changes_nothing(tmp_path: Path) -> None:
    async with members(tmp_path) as (client, guard):
        near = await up(client, guard)
        await quiet(near, near.other)
        assert client.wallet.store.signed < RATE
        for rate in (100 * RATE, RATE):
            await client.paying.paying(near.link, guard.peer, rate)
            await quiet(near, near.other)
            assert 100 * RATE // 2 < client.wallet.store.signed <= 100 * RATE
        account, far = await client.paying.paying(near.link, guard.peer, RATE), guard.incoming(near.other)
        await carry(account, far, 100 * RATE, 2)
        await quiet(near, near.other)
        assert client.wallet.store.signed > 250 * RATE, "it still pays ahead at the higher rate"


@pytest.mark.parametrize("who", ["payer", "payee"])
async def test_a_node_whose_money_fails_says_so_in_its_own_words(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, who: str
) -> None:
    async def fails(*_: object) -> None:
        raise TimeoutError

    async with members(tmp_path) as (client, guard):
        wallet, call = (client.wallet, "channel_to") if who == "payer" else (guard.wallet, "accept")
        monkeypatch.setattr(wallet, call, fails)
        with pytest.raises(CircuitError) as caught:
            await up(client, guard)
        assert caught.value.reason is (Reason.NO_CHANNEL if who == "payer" else Reason.SETTLEMENT)


async def test_nothing_is_set_off_before_both_are_paid(tmp_path: Path) -> None:
    async with members(tmp_path) as (one, two):
        near, far = connect(one, two)
        there = await one.paying.paying(near.link, two.peer, RATE)
        far.loses = lambda message: isinstance(message, messages.Ask)
        waiting = asyncio.ensure_future(two.paying.paying(far.link, one.peer, RATE))
        await until(lambda: messages.Ask() in far.said)
        assert not one.incoming(near).take(RATE, 1)
        await carry(there, two.incoming(far), RATE, 2)
        two.paying.payment(far.link, messages.encode(messages.SetOff(10**9)))
        await quiet(near)
        assert not any(isinstance(said, messages.SetOff) for said in (*near.said, *far.said))
        part(near)
        await asyncio.wait([waiting])


def trusted(end: Incoming) -> tuple[int, int]:
    """Parts that may be owed for a payer before circuits that wait end, and all."""
    paid = end.session.account.paid
    return wary_from(paid, RATE), most_owed(paid, RATE, 0)


async def test_what_is_owed_for_a_payer_is_remembered_with_its_channel(tmp_path: Path) -> None:
    """First circuits end that wait, on whichever link, then all that is paid."""
    async with members(tmp_path) as (client, guard):
        near = await up(client, guard)
        end, pieces = guard.incoming(near.other), await use(near, client, guard, 1)
        wary, _ = trusted(end)
        end.owes(pieces * PIECE * RATE + wary)
        assert not end.overdrawn
        end.owes(1)
        assert end.overdrawn
        for turn in range(3):
            part(near)
            near = await up(client, guard)
            end = guard.incoming(near.other)
            assert end.overdrawn == (turn == 0)
            assert end.spent == wary + 1 - turn * PIECE * RATE
            assert end.take(RATE, PIECE), "what is paid is carried"
            end.owes(PIECE * RATE)
            client.paying._out[near.link].took(RATE, PIECE, datagram=False)
            assert end.take(RATE, PIECE)
            client.paying._out[near.link].took(RATE, PIECE, datagram=False)
        assert not end.overdrawn, "there is a share in it"
        end.call_in()
        assert not guard.stops
        _, most = trusted(end)
        end.owes(most - end.spent)
        end.call_in()
        assert guard.stops == [Reason.UNPAID]


async def test_what_is_owed_beyond_that_counts_as_used_on_the_next_link(tmp_path: Path) -> None:
    """Else who dials again and again would have as much under way each time."""
    async with members(tmp_path) as (client, guard):
        near = await up(client, guard)
        end, pieces = guard.incoming(near.other), await use(near, client, guard, 1)
        _, most = trusted(end)
        end.owes(pieces * PIECE * RATE + most + PIECE * RATE)
        spent = end.spent
        part(near)
        near = await up(client, guard)
        end = guard.incoming(near.other)
        _, most = trusted(end)
        assert end.session.account.counted == spent - end.spent > 0
        assert end.spent <= most
        assert end.take(RATE, PIECE), "and the rest of what is paid is carried"
        assert not guard.stops + client.stops


async def test_half_as_much_more_may_be_owed_if_it_came_for_circuits_that_had_ended(tmp_path: Path) -> None:
    """Who keeps to the rules cannot help it when its own payers end theirs."""
    async with members(tmp_path) as (client, guard):
        near = await up(client, guard)
        end = guard.incoming(near.other)
        await use(near, client, guard, 1)
        _, most = trusted(end)
        end.came_late(most)
        end.owes(most + most // 2 - MAX_MESSAGE * RATE - end.spent)
        end.call_in()
        assert not guard.stops
        end.owes(1)
        end.call_in()
        assert guard.stops == [Reason.UNPAID]


async def test_at_a_window_all_is_lost_that_a_node_is_ready_to_lose(tmp_path: Path) -> None:
    async with members(tmp_path) as (client, guard):
        near = await up(client, guard)
        end = guard.incoming(near.other)
        await use(near, client, guard, 1)
        window = window_units(end.session.account.paid, RATE) * PARTS_PER_UNIT
        end.owes(window - MAX_MESSAGE * RATE - end.spent)
        assert not end.exhausted
        end.owes(1)
        assert end.exhausted


async def test_what_comes_late_for_a_link_that_is_gone_is_owed_for_its_channel(tmp_path: Path) -> None:
    async with members(tmp_path) as (client, guard):
        near = await up(client, guard)
        old = guard.incoming(near.other)
        await use(near, client, guard, 1)
        spent = old.spent
        part(near)
        old.owes(7)
        new = guard.incoming((await up(client, guard)).other)
        assert old.spent == new.spent == spent + 7 < 0
        old.owes(1)
        assert new.spent == spent + 8


async def test_a_thousand_clients_get_what_they_paid_for(tmp_path: Path) -> None:
    """New keys win nothing: nothing at all is carried for a link on which nothing was paid."""
    async with members(tmp_path) as (client, guard):
        for _ in range(1000):
            near, far = connect(client, guard)
            guard.paying.payment(far.link, messages.encode(messages.Ask()))
            assert not guard.incoming(far).take(1, 1)
            part(near)
        assert guard.paying.sums()["earned"] == 0


async def test_the_cap_is_kept_and_can_be_raised(tmp_path: Path) -> None:
    async with members(tmp_path) as (client, guard):
        await client.wallet.do(WalletOrder("cap", units=50))
        near = await up(client, guard)
        with pytest.raises((TimeoutError, CircuitError)):
            await use(near, client, guard, 100)
        assert client.wallet.store.signed <= 50
        assert client.stops == [Reason.SPENDING_CAP]
        assert "spending cap" in client.paying.sums()["trouble"]
        with pytest.raises(CircuitError, match="spending cap"):
            await client.paying.paying(connect(client, guard)[0].link, guard.peer, RATE)
        await client.wallet.do(WalletOrder("cap", units=5000))
        near = await up(client, guard)
        await use(near, client, guard, 20)


async def test_a_cap_holds_over_all_links(tmp_path: Path) -> None:
    """Each link was told of the whole of it; the books know better."""
    async with members(tmp_path, 3) as (client, guard, other):
        await client.wallet.do(WalletOrder("cap", units=60))
        near, beside = await up(client, guard), await up(client, other)
        await quiet(near, near.other, beside, beside.other)
        using = asyncio.ensure_future(use(near, client, guard, 100))
        await until(lambda: client.stops)
        using.cancel()
        await asyncio.wait([using])
        assert client.stops == [Reason.SPENDING_CAP]
        assert client.wallet.store.signed == 60
        assert beside.said[-1] != messages.Stop(messages.Side.PAYER, Reason.SPENDING_CAP)


async def test_who_asks_again_in_the_middle_breaks_the_protocol(tmp_path: Path) -> None:
    async with members(tmp_path) as (client, guard):
        near = await up(client, guard)
        with pytest.raises(DecodeError):
            guard.paying.payment(near.other.link, messages.encode(messages.Ask()))


async def test_what_comes_after_the_end_is_not_listened_to(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ledger.payee.LOOK_S", 0.0)
    async with members(tmp_path) as (client, guard):
        near = await up(client, guard)
        guard.incoming(near.other).stop(Reason.CLOSED)
        guard.paying.payment(near.other.link, messages.encode(messages.Voucher(9, bytes(64) + b"\1", 0)))
        await quiet(near, near.other)
        assert guard.stops == [Reason.CLOSED]


async def test_a_payer_that_pays_nothing_more_is_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ledger.payee.UNPAID_S", 0.3)
    async with members(tmp_path) as (client, guard):
        near = await up(client, guard)
        near.loses = lambda message: isinstance(message, messages.Voucher)
        with pytest.raises(TimeoutError):
            await use(near, client, guard, 100)
        assert guard.stops == [Reason.UNPAID]
        assert guard.paying.sums()["earned"] <= guard.wallet.store.payees[0].paid


async def test_books_that_are_lost_come_back(tmp_path: Path) -> None:
    """A payer that lost them finds its channel again and hears from the payee what it signed; a payee that lost them is
    paid anew by the next voucher."""
    async with members(tmp_path) as (client, guard):
        for loser in (client, guard):
            near = await up(client, guard)
            await use(near, client, guard, 10)
            await quiet(near, near.other)
            before = guard.wallet.store.payees[0].paid
            part(near)
            await loser.stop()
            for file in loser.home.glob("money.db*"):
                file.unlink()
            await loser.start()
            near = await up(client, guard)
            await use(near, client, guard, 1)
            await quiet(near, near.other)
            [own], [theirs] = client.wallet.store.payers, guard.wallet.store.payees
            assert own.channel == theirs.channel
            assert own.paid == theirs.paid >= before
            part(near)


async def test_a_payee_with_old_books_carries_nothing_twice(tmp_path: Path) -> None:
    """Its books do not know what was used since. The next voucher shows that it was paid, so it was used."""
    async with members(tmp_path) as (client, guard):
        near = await up(client, guard)
        await use(near, client, guard, 1)
        await guard.wallet.do(WalletOrder("export", path=str(tmp_path / "old")))
        await use(near, client, guard, 200)
        part(near)
        await guard.stop()
        (guard.home / "money.db").unlink()
        Store.restore(tmp_path / "old", guard.home / "money.db")
        await guard.start()
        near = await up(client, guard)
        await use(near, client, guard, 20)
        await quiet(near, near.other)
        [row] = guard.wallet.store.payees
        assert row.paid > 200 * RATE
        assert guard.paying.sums()["earned"] >= row.paid - 2 * window_units(row.paid, RATE) - 20 * RATE


async def test_relays_that_work_for_each_other_sign_little(tmp_path: Path) -> None:
    async with members(tmp_path) as (one, two):
        near, far = connect(one, two)
        there = await one.paying.paying(near.link, two.peer, RATE)
        back = await two.paying.paying(far.link, one.peer, RATE)
        for _ in range(40):
            await carry(there, two.incoming(far), RATE, 1)
            await carry(back, one.incoming(near), RATE, 1)
            await quiet(near, far)
        for member in (one, two):
            assert member.paying.sums()["paid"] < 40 * RATE / 2, "most of it was set off"


async def test_a_channel_that_runs_low_is_topped_up(tmp_path: Path) -> None:
    async with members(tmp_path, deposit=0.0001) as (client, guard):
        near = await up(client, guard)
        await use(near, client, guard, 40)
        [own] = client.wallet.store.payers
        assert own.deposit > 100
        assert own.paid >= 40 * RATE


async def test_a_close_is_answered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ledger.claiming.ANSWER_SPREAD_S", 0.1)
    monkeypatch.setattr("node.wallet.LOOK_S", 0.02)
    async with members(tmp_path) as (client, guard):
        near = await up(client, guard)
        await use(near, client, guard, 10)
        await quiet(near, near.other)
        part(near)
        paid = guard.wallet.store.payees[0].paid
        assert await client.wallet.do(WalletOrder("close")) == {"closing": 1}
        before = await guard.wallet.settlement.balance()
        guard.wallet.start()
        await until(lambda: guard.wallet.store.payees[0].claimed == paid)
        assert guard.wallet.store.payees[0].state is ChannelState.CLOSING
        assert await guard.wallet.settlement.balance() == before + paid


async def test_without_money_there_is_no_channel(tmp_path: Path) -> None:
    async with members(tmp_path) as (client, guard):
        await client.wallet.settlement.open(guard.wallet.settlement.account, b"\1" * 20, 1000 * 10**6)
        with pytest.raises(CircuitError) as caught:
            await up(client, guard)
        assert caught.value.reason is Reason.NO_FUNDS


async def test_channels_have_a_limit(tmp_path: Path) -> None:
    """Clients name a relay's next hop, and each new one would cost it a deposit."""
    async with members(tmp_path, 4, channels=2) as (relay, *others):
        for other in others[:2]:
            await up(relay, other)
        with pytest.raises(CircuitError) as caught:
            await up(relay, others[2])
        assert caught.value.reason is Reason.NO_CHANNEL
        await up(relay, others[0])
        assert len(relay.wallet.store.payers) == 2


async def test_margins(tmp_path: Path) -> None:
    async with members(tmp_path, 1) as (relay,):
        assert relay.paying.accepts(6, 4) is None
        assert relay.paying.accepts(2, 0) is None
        assert relay.paying.accepts(5, 4) is Reason.PRICE
        assert relay.paying.accepts(0, 0) is Reason.PRICE
        assert relay.paying.accepts(4, 6) is Reason.PRICE


async def test_who_asks_for_nothing_is_not_paid_and_pays_nobody(tmp_path: Path) -> None:
    async with members(tmp_path, 1, tariff=0) as (relay,):
        assert relay.paying.accepts(0, 0) is None
        for paid, pays in ((2, 0), (0, 2), (2, 2), (4, 2)):
            assert relay.paying.accepts(paid, pays) is Reason.NO_CHANNEL


async def test_what_no_neighbour_says_costs_the_link(tmp_path: Path) -> None:
    async with members(tmp_path) as (client, guard):
        near, far = connect(client, guard)
        for body in (b"", b"\0", b"\7" + bytes(20), messages.encode(messages.Paid(1, 1))):
            with pytest.raises(DecodeError):
                client.paying.payment(near.link, body)
        with pytest.raises(DecodeError):
            guard.paying.payment(far.link, messages.encode(messages.Voucher(1, bytes(65), 0)))
        guard.paying.payment(far.link, messages.encode(messages.SetOff(10**9)))
