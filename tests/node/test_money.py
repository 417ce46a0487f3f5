"""Whether a node pays at all, and what it says when it does not."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

import pytest

from core.errors import Reason
from node.money import Money, PaymentsOffError
from node.paying import PayingNode
from node.settings import PaymentsSettings
from node.wallet_orders import WalletOrder
from peers.identity import peer_id
from tests.harness.payers import carry, connect, members, quiet
from tests.harness.waiting import until
from tunnel.toll import NO_TOLL

if TYPE_CHECKING:
    from pathlib import Path

    from tunnel.link import Link
    from tunnel.service import Tunnel


def files(folder: Path) -> dict[str, int]:
    """What is in a folder, with its modes."""
    return {path.name: path.stat().st_mode & 0o777 for path in folder.iterdir()}


async def test_while_payments_are_off_nothing_is_kept_and_nothing_costs(tmp_path: Path) -> None:
    money = Money(PaymentsSettings(), tmp_path, relays=True)
    await money.open()
    assert money.toll is NO_TOLL
    assert money.earned() is None
    assert money.section([0, 0, 0]) == {}
    assert await money.facts([]) == {"settlement": "off"}
    with pytest.raises(PaymentsOffError, match=r"payments\.settlement"):
        await money.do(WalletOrder("claim"))
    await money.close()
    assert not files(tmp_path)


async def test_while_payments_are_off_there_is_nothing_to_look_after(tmp_path: Path) -> None:
    money, ended = Money(PaymentsSettings(), tmp_path, relays=True), Ended()
    await money.open()
    money.start(ended.tunnel)
    await money.close()
    assert ended.told == []
    assert not files(tmp_path)


async def test_with_payments_there_are_books_that_only_the_user_reads(tmp_path: Path) -> None:
    money = Money(PaymentsSettings(settlement="local", tariff=3), tmp_path, relays=True)
    await money.open()
    try:
        assert money.toll.accepts(5, 0) is None
        assert money.toll.accepts(4, 0) is Reason.PRICE
        facts = await money.facts([2, 5, 3])
        assert (facts["tariffs"], facts["price_per_gb"]) == ([2, 5, 3], 60_000)
        assert (facts["balance"], facts["cap"]) == (1000 * 10**6, None)
        assert facts["chain"] == ""
        assert money.earned() == 0
        assert money.section([])["price_per_gb"] is None
        assert set(files(tmp_path).values()) == {0o600}
    finally:
        await money.close()


class Ended:
    """Stands for a tunnel, and keeps what it is told."""

    def __init__(self) -> None:
        self.told: list[tuple[Reason, bool]] = []

    def end_paid(self, link: Link, reason: Reason, *, pays: bool) -> None:
        self.told.append((reason, pays))

    @property
    def tunnel(self) -> Tunnel:
        return cast("Tunnel", self)


async def test_the_tunnel_is_told_and_everything_is_written_down_at_the_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("node.wallet.LOOK_S", 0.02)
    async with members(tmp_path, 2) as (client, guard):
        await client.stop()
        money, ended = Money(client.settings, client.home, relays=False), Ended()
        await money.open()
        assert isinstance(money.toll, PayingNode)
        client.paying = money.toll
        near, far = connect(client, guard)
        account = await money.toll.paying(near.link, guard.peer, 6)
        pieces = await carry(account, guard.incoming(far), 6, 1)
        guard.incoming(far).stop(Reason.UNPAID)
        await quiet(near, far)
        assert ended.told == []
        money.start(ended.tunnel)
        near, far = connect(client, guard)
        await money.toll.paying(near.link, guard.peer, 6)
        guard.incoming(far).stop(Reason.UNPAID)
        await until(lambda: ended.told == [(Reason.UNPAID, True)])
        near, far = connect(client, guard)
        account = await money.toll.paying(near.link, guard.peer, 6)
        pieces += await carry(account, guard.incoming(far), 6, 1)
        assert account.take(6, 10), "it is in no voucher yet"
        await money.close()
        await client.start()
        [row] = client.wallet.store.payers
        assert row.used == (pieces * 32_000 + 10) * 6, "also what was used on a link that was up"
        await client.stop()
        await guard.wallet.settlement.close(row.channel)
        await money.open()
        money.start(ended.tunnel)
        await until(lambda: money.section([])["spent"] == row.paid)
        await money.close()
        await client.start()
        assert client.wallet.store.payers == (), "the channels were looked after"


async def test_the_wallet_shows_each_channel(tmp_path: Path) -> None:
    async with members(tmp_path) as (client, guard):
        row = await client.wallet.channel_to(guard.peer, guard.wallet.settlement.account)
        await client.wallet.store.raise_paid(row.channel, 10, 4_000_000)
        await guard.wallet.accept(row.channel)
        await guard.wallet.store.take_voucher(row.channel, 9, bytes([7]) * 65, 0)
        await guard.wallet.store.claimed(row.channel, 3)
        shown = {"id": row.channel.hex(), "state": "open", "deposit": 10**6}
        paying, paid = await client.wallet.facts({}), await guard.wallet.facts({row.channel: 5_000_000})
        assert paying["channels"] == [shown | {"pays": True, "peer_id": peer_id(guard.peer), "paid": 10, "claimed": 0}]
        assert paid["channels"] == [shown | {"pays": False, "peer_id": "", "paid": 9, "claimed": 3}]
        assert (paying["spent"], paying["paid"], paying["locked"]) == (4, 10, 10**6 - 10)
        assert (paid["earned"], paid["received"], paid["claimed"], paid["locked"]) == (5, 9, 3, 0)
