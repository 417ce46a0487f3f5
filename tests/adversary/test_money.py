"""Hostile payers and payees where the tests of payments have none: who asks for money, or offers it, and gets none."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
import pytest

from core.errors import CircuitError, LinkError
from tests.harness.bare import check_alive, linked_to, path_of
from tests.harness.earning import earning
from tests.harness.network import chain
from tests.harness.waiting import turns
from tests.harness.wire import Board, WireEngine

if TYPE_CHECKING:
    from pathlib import Path

    from tests.harness.earning import Earner, Earning
    from tunnel.link import Link


class HostilePayer:
    """A client that names whom a relay shall pay, and has made them up.

    Args:
        path: the guard, and what comes after it.
        client: its links and its wallet.
    """

    def __init__(self, path: Earning, client: Earner) -> None:
        self.path = path
        self.client = client

    async def have_paid(self, made_up: int) -> int:
        """Have the guard pay so many new peers; returns how many circuits it made."""
        made = 0
        for _ in range(made_up):
            await self.path.add_hop(ends=True)
            self.path.way = [0, len(self.path.network.keys) - 1]
            try:
                await self.path.circuit(self.client)
                made += 1
            except (CircuitError, LinkError):
                await turns()
        return made


class HostilePayee:
    """A neighbour that talks about money to one who pays nobody.

    Args:
        link: its end.
    """

    def __init__(self, link: Link) -> None:
        self.link = link

    def demand(self, times: int) -> None:
        for number in range(times):
            self.link.send_payment(bytes([number % 256]) * 200)


@pytest.mark.parametrize("serves", [True, False], ids=["to a relay", "to a client"])
async def test_talk_about_money_means_nothing_where_nobody_pays(*, serves: bool) -> None:
    async with chain(1, Board().engine) as (network, client, _):
        theirs = await linked_to(client, path_of(network)[0])
        (ours,) = [link for link in network.nodes[0].links]
        engine = (network.nodes[0] if serves else client).engine
        assert isinstance(engine, WireEngine)
        (answering,) = [end for end in engine.connections if not end.over]
        await turns()
        before = len(answering.sent_on(0))
        HostilePayee(theirs if serves else ours).demand(1000)
        await turns()
        assert len(answering.sent_on(0)) - before < 1000, "signs of life alone"
        await check_alive(client)


async def test_made_up_payees_lock_no_more_than_the_channels_that_were_allowed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What they lock comes back; but others that are new have no channel meanwhile. Who has one goes on."""
    async with earning(tmp_path, 2) as path:
        guard = path.hops[0]
        monkeypatch.setattr(guard.wallet, "_settings", msgspec.structs.replace(guard.wallet._settings, channels=3))
        honest = await path.client()
        await path.ask(honest, 1, 1)
        await HostilePayer(path, await path.client()).have_paid(6)
        assert len(guard.wallet.store.payers) == 3
        path.way = [0, 1]
        asked, _ = await path.ask(honest, 1, 1)
        assert not any(near.reason for near in asked)
