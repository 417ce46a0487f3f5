"""More flows of one key than a circuit takes: they go over several, and none of them loses its path for it."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from core.errors import Reason
from core.flow import FlowRequest
from tests.harness.network import Collect, three_hops
from tests.harness.waiting import until
from tests.harness.wire import Board
from tunnel import circuit as circuit_module
from tunnel import pool as pool_module
from tunnel.limits import CLIENT_FLOWS_PER_CIRCUIT, MAX_FLOWS_PER_CIRCUIT

if TYPE_CHECKING:
    from tunnel.client_flow import ClientFlow
    from tunnel.service import Tunnel

ECHO = FlowRequest("echo.example", 80)
FEW = 4
LIMIT_S = 20.0


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Patience of a test instead of a person's."""
    monkeypatch.setattr(pool_module, "_TICK_S", 0.01)


async def talk(client: Tunnel, count: int) -> dict[ClientFlow, Collect]:
    """Open so many flows at once, and hear an echo on each."""
    flows = await asyncio.gather(*(client.pool.dial(ECHO) for _ in range(count)))
    heard = {flow: Collect(flow) for flow in flows}
    for flow, collect in heard.items():
        flow.attach(collect)
    await hear(heard, b"first")
    return heard


async def hear(heard: dict[ClientFlow, Collect], data: bytes) -> None:
    """Hear one more echo on each flow, and nothing else."""
    wanted = {collect: bytes(collect.data) + data for collect in heard.values()}
    for flow in heard:
        flow.write(data)
    await until(lambda: all(collect.data == all_of_it for collect, all_of_it in wanted.items()), LIMIT_S)


def carried(client: Tunnel) -> list[int]:
    """How many flows each circuit carries that carries any."""
    return sorted(len(circuit.flows) for circuit in client.pool.circuits if circuit.flows)


async def test_one_key_opens_more_flows_than_a_circuit_takes() -> None:
    async with three_hops(Board().engine) as (_, client, _):
        count = MAX_FLOWS_PER_CIRCUIT + FEW
        heard = await talk(client, count)
        assert carried(client) == [count - CLIENT_FLOWS_PER_CIRCUIT, CLIENT_FLOWS_PER_CIRCUIT]
        assert client.pool.counters["flow lost"] == 0
        for flow in heard:
            flow.finish()
        await until(lambda: all(collect.reason is Reason.DONE for collect in heard.values()), LIMIT_S)


@pytest.mark.parametrize("how", ["hop", "loss"])
async def test_they_go_on_over_as_many_others(how: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(circuit_module, "CLIENT_FLOWS_PER_CIRCUIT", FEW)
    async with three_hops(Board().engine) as (_, client, _):
        heard = await talk(client, 2 * FEW + 1)
        assert carried(client) == [1, FEW, FEW]
        old = [circuit for circuit in client.pool.circuits if circuit.flows]
        if how == "hop":
            client.pool.hop()
        else:
            for circuit in old:
                circuit.close(Reason.CLOSED)
        await until(lambda: all(circuit.over for circuit in old) and sum(carried(client)) == len(heard), LIMIT_S)
        assert max(carried(client)) <= FEW
        await hear(heard, b" then")
