"""Cheats as whole nodes: real tunnels and wallets of a path, and somebody on it who does not keep to the rules."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from ledger.account import window_units
from ledger.amounts import PARTS_PER_UNIT
from tests.harness.earning import earning, rate_of
from tests.harness.waiting import turns, until

if TYPE_CHECKING:
    from pathlib import Path

    from tests.harness.earning import Earner, Earning

HOPS = 3
FIRST = window_units(0, rate_of(HOPS, 0)) * PARTS_PER_UNIT
"""Parts in the first window between a client and its guard."""


async def grab(path: Earning, client: Earner, circuits: int, flows: int) -> None:
    """Ask for much, then pay nothing more, and see what comes until every circuit is ended."""
    ended = []
    asked = []
    for _ in range(circuits):
        circuit, end = await path.circuit(client)
        ended.append(end)
        asked += [await path.asked(circuit) for _ in range(flows)]
    client.stop_paying()
    for _, source in asked:
        assert source.flow is not None
        source.flow.write(bytes(200_000))
    await until(lambda: all(end.reason for end in ended), 20)
    await turns()


def loss(hop: Earner) -> int:
    """Parts that a hop owes others, whether it has signed for them or not, beyond what it was paid."""
    return hop.owes - hop.got * PARTS_PER_UNIT


@pytest.mark.parametrize(("circuits", "flows"), [(2, 30), (50, 2)])
async def test_who_asks_for_much_and_pays_no_more_costs_a_hop_one_window(
    tmp_path: Path, circuits: int, flows: int
) -> None:
    async with earning(tmp_path, HOPS) as path:
        client = await path.client()
        await grab(path, client, circuits, flows)
        print([loss(hop) / FIRST for hop in path.hops], [hop.stops for hop in path.all], [dict(hop.tunnel.relay.counters) for hop in path.hops])
        assert 0 < loss(path.hops[0]) <= FIRST
        assert loss(path.hops[1]) <= 0
