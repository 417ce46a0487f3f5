"""What is told of a client's circuits, and how a client's wishes for exits are met."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any
from unittest.mock import Mock

import pytest

from core.errors import FlowError, Reason
from core.flow import FlowRequest
from tests.harness.bare import circuit_of
from tests.harness.network import Echo, Network
from tests.harness.waiting import turns, until
from tests.harness.wire import Board
from tunnel import pool as pool_module
from tunnel import pulse as pulse_module
from tunnel.circuit_witness import LEAST_BYTES, TELL_EVERY_S, NoWitness, Samples
from tunnel.service import Tunnel, TunnelParts

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from core.flow import SiteOptions
    from core.ids import PeerKey
    from tunnel.path import ExitRank, Path

pytestmark = pytest.mark.usefixtures("quick_signs")

ECHO = FlowRequest("echo.example", 80)


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pool_module, "_TICK_S", 0.01)


class Told:
    """Keeps all that a witness is told, as (what, *arguments)."""

    def __init__(self) -> None:
        self.all: list[tuple[Any, ...]] = []

    def of(self, what: str) -> list[tuple[Any, ...]]:
        return [tuple(rest) for name, *rest in self.all if name == what]

    def built(self, path: Path) -> None:
        self.all.append(("built", path))

    def build_failed(self, path: Path, reporter: int, reason: Reason) -> None:
        self.all.append(("build_failed", path, reporter, reason))

    def answered(self, path: Path, link_rtt_s: float | None, rtt_s: float) -> None:
        self.all.append(("answered", path, link_rtt_s, rtt_s))

    def carried(self, path: Path, bytes_per_s: float) -> None:
        self.all.append(("carried", path, bytes_per_s))

    def ended(self, path: Path, reason: Reason, guard_lost: bool) -> None:
        self.all.append(("ended", path, reason, guard_lost))

    def flow_tried(self, path: Path, reason: Reason | None) -> None:
        self.all.append(("flow_tried", path, reason))


@asynccontextmanager
async def client_of(
    paths: list[list[int]], rank: Callable[[Network], ExitRank] = lambda network: lambda last, before, options: 0
) -> AsyncIterator[tuple[Network, Tunnel, Told]]:
    """A client of a network of four nodes, all of which relay and end circuits."""
    network, told = Network(Board().engine), Told()
    try:
        for _ in range(4):
            await network.add(Echo())
        network.paths = paths
        client = Tunnel(
            network._engine(),
            TunnelParts(address_ok=lambda host: True, choose=network.choose, witness=told, rank=rank(network)),
        )
        network.nodes.append(client)
        await client.start(0, client=True)
        await until(lambda: client.pool.ready == 2)
        yield network, client, told
    finally:
        await network.close()


async def test_circuits_that_are_built_and_answer_are_told() -> None:
    async with client_of([[0, 1, 2]]) as (network, _, told):
        path = network.choose([])
        await until(lambda: len(told.of("answered")) >= 2)
        assert told.of("built")[:2] == [(path,), (path,)]
        for found, link_rtt_s, rtt_s in told.of("answered"):
            assert found == path
            assert 0 < link_rtt_s < 1
            assert 0 < rtt_s < 1
        assert not told.of("build_failed")


async def test_a_build_that_fails_is_told_with_who_says_so() -> None:
    async with client_of([[0, 1, 2]]) as (network, client, told):
        await network.nodes[2].close()
        client.pool.hop()
        await until(lambda: told.of("build_failed"))
        path, reporter, reason = told.of("build_failed")[0]
        assert (path, reporter, reason) == (network.choose([]), 1, Reason.NEXT_HOP)


async def test_flows_are_told_by_their_reason() -> None:
    async with client_of([[0, 1, 2]]) as (network, client, told):
        await client.pool.dial(ECHO)
        with pytest.raises(FlowError):
            await client.pool.dial(FlowRequest("refused.example", 80))
        early = await client.pool.dial(FlowRequest("refused.example", 80), early=True)
        await until(lambda: early.opened.done())
        await until(lambda: len(told.of("flow_tried")) == 3)
        path = network.choose([])
        assert told.of("flow_tried") == [(path, None), (path, Reason.REFUSED), (path, Reason.REFUSED)]


async def test_ends_are_told_wanted_or_not() -> None:
    async with client_of([[0, 1, 2]]) as (network, client, told):
        client.pool.hop()
        await until(lambda: len(told.of("ended")) == 2)
        path = network.choose([])
        assert told.of("ended") == [(path, Reason.DONE, False)] * 2
        await until(lambda: client.pool.ready == 2)
        for link in client.links:
            link.close()
        await until(lambda: len(told.of("ended")) == 4)
        assert [lost for _, _, lost in told.of("ended")[2:]] == [True, True]
        await until(lambda: client.pool.ready == 2)
    assert len(told.of("ended")) == 4, "the node's own end is no end of a circuit"


def sampled(samples: Samples, moves: list[tuple[float, int]], rtt_s: float | None = 0.1) -> None:
    """A circuit whose exit answers at these times, when it has moved so many bytes."""
    circuit = Mock(path=(), rtt_s=rtt_s)
    circuit.link.watch.rtt_s = 0.05
    for now, moved in moves:
        circuit.credit.moved_bytes = moved
        samples.answered(circuit, now)


def test_a_circuits_delay_is_told_from_time_to_time() -> None:
    told = Told()
    sampled(Samples(told), [(0.0, 0), (1.0, 0), (TELL_EVERY_S, 0), (TELL_EVERY_S + 1, 0)])
    assert told.all == [("answered", (), 0.05, 0.1)] * 2
    sampled(Samples(told), [(0.0, 0)], rtt_s=None)
    assert len(told.all) == 2


def test_a_rate_is_told_only_of_what_carried_much() -> None:
    told = Told()
    sampled(Samples(told), [(0.0, 5), (2.0, LEAST_BYTES), (4.0, 3 * LEAST_BYTES), (14.0, 4 * LEAST_BYTES)])
    assert told.of("carried") == [((), LEAST_BYTES), ((), LEAST_BYTES / 10)]
    assert len(told.of("answered")) == 2, "while it carries much, its delay is that of its own queues"


def test_nobody_may_be_witness() -> None:
    nobody = NoWitness()
    nobody.built(())
    nobody.build_failed((), 0, Reason.BUSY)
    nobody.answered((), None, 0.1)
    nobody.carried((), 1.0)
    nobody.ended((), Reason.DONE, False)
    nobody.flow_tried((), None)


# -- which exit new flows get


def ends_at(client: Tunnel, flow: Any) -> PeerKey:
    return circuit_of(client, flow).path[-1].peer


async def test_new_flows_go_to_the_exit_that_is_wanted_most() -> None:
    def rank(network: Network) -> ExitRank:
        return lambda last, before, options: int(last != network.keys[3])

    async with client_of([[0, 1, 2]], rank) as (network, client, _):
        assert ends_at(client, await client.pool.dial(ECHO)) == network.keys[2]
        network.paths = [[0, 1, 3]]
        await until(lambda: any(found.path[-1].peer == network.keys[3] for found in client.pool.circuits))
        # The key has a circuit of its own that lives, to an exit that is wanted less.
        assert ends_at(client, await client.pool.dial(ECHO)) == network.keys[3]


async def test_one_circuit_ahead_leads_to_another_exit_as_soon_as_there_is_one() -> None:
    async with client_of([[0, 1, 2]]) as (network, client, _):
        client.pool.paths_changed()
        await turns(200)
        assert len(client.pool.circuits) == 2, "there is no other exit"
        network.paths = [[0, 1, 2], [0, 1, 3]]
        client.pool.paths_changed()
        await until(lambda: len({circuit.path[-1].peer for circuit in client.pool.circuits}) == 2)
        client.pool.paths_changed()
        await turns(200)
        assert len(client.pool.circuits) == 3


async def test_where_no_wanted_exit_can_be_had_only_so_many_others_are_kept() -> None:
    async with client_of([[0, 1, 2]], lambda network: lambda last, before, options: 1) as (_, client, _):
        await until(lambda: client.pool.ready == 4)
        client.pool.paths_changed()
        await turns(200)
        assert len(client.pool.circuits) == 4


async def test_the_exit_that_a_key_lost_counts_for_the_next_one() -> None:
    asked: list[PeerKey | None] = []

    def rank(network: Network) -> ExitRank:
        def like(last: PeerKey, before: PeerKey | None, options: SiteOptions) -> int:
            asked.append(before)
            return 0

        return like

    async with client_of([[0, 1, 2]], rank) as (network, client, _):
        flow = await client.pool.dial(FlowRequest("echo.example", 80, "key"))
        circuit_of(client, flow).close(Reason.TIMED_OUT)
        asked.clear()
        await client.pool.dial(FlowRequest("echo.example", 80, "other"))
        assert set(asked) == {None}
        asked.clear()
        await client.pool.dial(FlowRequest("echo.example", 80, "key"))
        assert set(asked) >= {network.keys[2]}
        asked.clear()
        await client.pool.dial(FlowRequest("echo.example", 80, "key"))
        assert set(asked) == {None}


async def test_lost_exits_are_remembered_for_so_many_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pool_module, "MAX_CIRCUITS", 3)
    async with client_of([[0, 1, 2]]) as (_, client, _):
        for number in range(5):
            flow = await client.pool.dial(FlowRequest("echo.example", 80, f"{number}"))
            circuit_of(client, flow).close(Reason.TIMED_OUT)
        assert [*client.pool._lost_exits] == ["2", "3", "4"]


async def test_new_flows_leave_a_circuit_that_is_silent_before_it_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pulse_module, "SUSPECT_S", 60.0)
    async with client_of([[0, 1, 2], [0, 1, 3]]) as (_, client, _):
        first = circuit_of(client, await client.pool.dial(ECHO))
        assert circuit_of(client, await client.pool.dial(ECHO)) is first
        await until(lambda: client.pool.ready >= 2)
        silence, now = first.pulse.silence, asyncio.get_running_loop().time()
        silence.heard_at = silence.asked_at = silence._floor = now - 1.1
        assert first.pulse.doubted
        assert circuit_of(client, await client.pool.dial(ECHO)) is not first
        assert not first.over


async def test_circuits_to_the_same_exit_are_asked_as_soon_as_one_is_silent() -> None:
    async with client_of([[0, 1, 2]]) as (_, client, _):
        await until(lambda: all(circuit.pulse.silence.asked_at is None for circuit in client.pool.circuits))
        one, other = client.pool.circuits
        asked_at = other.pulse._pinged_at
        one.pulse.silence.asked_at = one.pulse.silence.heard_at = asyncio.get_running_loop().time() - 0.8
        one.pulse.silence._floor = 0.0
        await until(lambda: other.pulse._pinged_at > asked_at)
