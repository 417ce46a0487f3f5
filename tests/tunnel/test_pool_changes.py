"""A client's circuits when other paths are wanted from now on, and when none are."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from core.errors import FlowError, Reason
from core.flow import FlowRequest
from tests.harness.bare import circuit_of
from tests.harness.network import Collect, three_hops
from tests.harness.waiting import until
from tests.harness.wire import Board
from tunnel import opening
from tunnel import pool as pool_module
from tunnel.builder import Builder
from tunnel.padding import Shape

if TYPE_CHECKING:
    from core.flow import SiteOptions
    from tunnel.circuit import Circuit
    from tunnel.path import Path

ECHO = FlowRequest("echo.example", 80)

pytestmark = pytest.mark.usefixtures("quick_signs")


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Patience of a test instead of a person's."""
    monkeypatch.setattr(pool_module, "_TICK_S", 0.01)
    monkeypatch.setattr(opening, "PATH_S", 0.3)


class Slow:
    """Holds up every build until it may go on, and keeps what was built by then."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.waiting = 0
        self.goes_on = asyncio.Event()
        self.built: list[Circuit] = []
        build = Builder.build

        async def held_up(builder: Builder, path: Path, options: SiteOptions, *, ahead: bool = False) -> Circuit:
            circuit = await build(builder, path, options, ahead=ahead)
            if self.goes_on.is_set():
                return circuit
            self.built.append(circuit)
            self.waiting += 1
            await self.goes_on.wait()
            return circuit

        monkeypatch.setattr(Builder, "build", held_up)


async def test_what_was_begun_before_a_change_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    async with three_hops(Board().engine) as (_, client, _):
        slow = Slow(monkeypatch)
        pool = client.pool
        pool.hop()
        await until(lambda: slow.waiting == 2)
        pool.builder.shape = Shape.EVEN
        pool.hop()
        slow.goes_on.set()
        await until(lambda: pool.ready == 2)
        assert all(circuit.over for circuit in slow.built)
        assert not set(slow.built).intersection(pool.circuits)


async def test_flows_that_were_on_their_way_elsewhere_go_on_from_there(monkeypatch: pytest.MonkeyPatch) -> None:
    async with three_hops(Board().engine) as (_, client, _):
        pool = client.pool
        flow = await pool.dial(ECHO)
        heard = Collect(flow)
        flow.attach(heard)
        slow, old = Slow(monkeypatch), circuit_of(client, flow)
        pool.hop()
        await until(lambda: slow.waiting == 3)
        pool.hop()
        slow.goes_on.set()
        await until(lambda: old.over and not any(circuit in pool.circuits for circuit in slow.built))
        flow.write(b"there")
        await until(lambda: heard.data == b"there")
        assert circuit_of(client, flow) not in slow.built


async def test_a_pool_that_rests_has_nothing_and_builds_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    async with three_hops(Board().engine) as (network, client, _):
        pool = client.pool
        flow = await pool.dial(ECHO)
        heard = Collect(flow)
        flow.attach(heard)
        pool.hop()
        slow = Slow(monkeypatch)
        await until(lambda: slow.waiting >= 2)
        pool.rest()
        assert heard.reason is Reason.CLOSED
        slow.goes_on.set()
        with pytest.raises(FlowError):
            await pool.dial(ECHO)
        await until(lambda: {node.relay.circuit_count for node in network.nodes[:3]} == {0})
        assert pool.circuits == []
        pool.wake()
        await until(lambda: pool.ready == 2)
        await pool.dial(ECHO)


async def test_circuits_live_as_long_as_is_wanted() -> None:
    async with three_hops(Board().engine) as (_, client, _):
        pool = client.pool
        pool.builder.age_s = 30.0
        pool.hop()
        await until(lambda: pool.ready == 2 and len(pool.circuits) == 2)
        now = asyncio.get_running_loop().time()
        assert all(circuit.retire_at - now <= 45.0 for circuit in pool.circuits)
