"""Flows whose path dies: who is blamed, how fast they go on, and when they are given up."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import pytest

from core.errors import CircuitError, Reason
from core.flow import NO_OPTIONS, FlowRequest
from tests.harness.bare import circuit_of
from tests.harness.network import Collect, Echo, Network, blamed
from tests.harness.waiting import turns, until
from tests.harness.wire import Board
from tests.tunnel.test_circuit import hang
from tunnel import builder as builder_module
from tunnel import building
from tunnel import pool as pool_module
from tunnel import race as race_module
from tunnel.blame import Shares
from tunnel.builder import Builder, OverBudgetError
from tunnel.limits import BUILD_BURST, MAX_RACERS, MAX_REBUILDS, READY_CIRCUITS
from tunnel.watch import Watch

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from core.flow import SiteOptions
    from tunnel.circuit import Circuit
    from tunnel.client_flow import ClientFlow
    from tunnel.path import Path
    from tunnel.service import Tunnel

pytestmark = pytest.mark.usefixtures("quick_signs")

EXIT = 4
"""Places 0 to 3 of the network relay, this one is the exit."""


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pool_module, "_TICK_S", 0.01)


class Talk:
    """A flow that says something and hears it again."""

    def __init__(self, client: Tunnel, flow: ClientFlow) -> None:
        self.client = client
        self.flow = flow
        self.heard = Collect(flow)
        self.said = b""
        flow.attach(self.heard)

    @classmethod
    async def on(cls, client: Tunnel, key: str = "") -> Talk:
        return cls(client, await client.pool.dial(FlowRequest("echo.example", 80, key)))

    async def goes_on(self, limit_s: float = 3.0) -> None:
        self.said += b"word"
        self.flow.write(b"word")
        await until(lambda: self.heard.data == self.said or self.heard.reason is not None, limit_s)
        assert (bytes(self.heard.data), self.heard.reason) == (self.said, None)

    @property
    def circuit(self) -> Circuit:
        return circuit_of(self.client, self.flow)

    @property
    def places(self) -> list[int]:
        """The places in the network that the flow's path leads over."""
        return [self.client_places[hop.peer] for hop in self.circuit.path]

    client_places: dict[object, int]


@asynccontextmanager
async def four_relays(*paths: list[int]) -> AsyncIterator[tuple[Network, Tunnel, Echo]]:
    """Four relays and an exit; circuits take the first of these paths that avoids who is to be avoided."""
    network, echo = Network(Board().engine), Echo()
    try:
        for place in range(EXIT + 1):
            await network.add(echo if place == EXIT else None)
        network.paths = [*paths]
        client = network.client()
        await client.start(0, client=True)
        await until(lambda: sum(circuit.rtt_s is not None for circuit in client.pool.circuits) >= 2)
        Talk.client_places = {key: place for place, key in enumerate(network.keys)}
        yield network, client, echo
    finally:
        await network.close()


ALL = ([0, 1, EXIT], [2, 3, EXIT], [0, 3, EXIT], [2, 1, EXIT])


# -- the right peer is blamed


@pytest.mark.parametrize("hung", [0, 1])
async def test_a_peer_that_hangs_alone_is_blamed(hung: int) -> None:
    async with four_relays(*ALL) as (network, client, echo):
        talk = await Talk.on(client)
        hung = talk.places[hung]
        hang(network.nodes[hung])
        await talk.goes_on()
        assert hung not in talk.places
        await until(lambda: blamed(network, client) == [hung])
        assert len(echo.asked) == 1


@pytest.mark.parametrize("gone", [0, 1])
async def test_a_peer_that_goes_alone_is_blamed(gone: int) -> None:
    async with four_relays(*ALL) as (network, client, _):
        talk = await Talk.on(client)
        gone = talk.places[gone]
        await network.nodes[gone].close()
        await talk.goes_on()
        assert gone not in talk.places
        await until(lambda: blamed(network, client) == [gone])


async def test_two_peers_that_hang_at_once() -> None:
    async with four_relays(*ALL) as (network, client, _):
        network.paths = [[guard, relay, EXIT] for guard in range(4) for relay in range(4) if guard != relay]
        talk = await Talk.on(client)
        guard, relay, _ = talk.places
        for place in (guard, relay):
            hang(network.nodes[place])
        await talk.goes_on(5)
        assert not {guard, relay} & {*talk.places}


async def test_all_circuits_over_a_guard_that_hangs_are_left_at_once() -> None:
    async with four_relays([0, 1, EXIT], [0, 3, EXIT], [2, 3, EXIT], [2, 1, EXIT]) as (network, client, _):
        network.paths = network.paths[:2]
        client.pool.hop()
        await until(lambda: client.pool.ready == 2)
        talks = [await Talk.on(client, key) for key in ("one", "two", "three")]
        network.paths = [*ALL]
        old = list(client.pool.circuits)
        assert {circuit.path[0].peer for circuit in old} == {network.keys[0]}
        idle = [circuit for circuit in old if not circuit.flows]
        assert idle
        hang(network.nodes[0])
        await until(lambda: any(circuit.over for circuit in old), 1)
        assert all(circuit.over for circuit in old)
        for talk in talks:
            await talk.goes_on()
        assert len({talk.circuit for talk in talks}) == 3


# -- where they go on


async def test_a_ready_circuit_that_answers_is_taken() -> None:
    async with four_relays(*ALL) as (_, client, _):
        talk = await Talk.on(client)
        await until(lambda: client.pool.ready == 3)
        ready = [circuit for circuit in client.pool.circuits if circuit.isolation is None]
        other = next(circuit for circuit in ready if circuit.link is not talk.circuit.link)
        talk.circuit.close(Reason.TIMED_OUT)
        await talk.goes_on()
        assert talk.circuit in ready
        assert not other.over


async def test_a_ready_circuit_that_does_not_answer_is_not_waited_for() -> None:
    async with four_relays([0, 1, EXIT]) as (network, client, _):
        talk = await Talk.on(client)
        await until(lambda: client.pool.ready == 3)
        network.paths = [*ALL]
        hang(network.nodes[1])
        talk.circuit.close(Reason.TIMED_OUT)
        loop = asyncio.get_running_loop()
        start = loop.time()
        await talk.goes_on()
        assert loop.time() - start < 1.5
        assert talk.places[1] != 1


async def test_flows_of_other_keys_are_never_joined() -> None:
    async with four_relays(*ALL) as (_, client, _):
        talks = [await Talk.on(client, key) for key in ("one", "two", "one")]
        for _ in range(3):
            for circuit in {talk.circuit for talk in talks}:
                circuit.close(Reason.TIMED_OUT)
            client.pool.builder.tolerance = type(client.pool.builder.tolerance)()
            for talk in talks:
                await talk.goes_on()
            assert talks[0].circuit is talks[2].circuit
            assert talks[0].circuit is not talks[1].circuit
            assert [talk.circuit.isolation for talk in talks] == ["one", "two", "one"]


async def test_streams_that_are_cut_on_a_living_circuit_are_one_case() -> None:
    async with four_relays(*ALL) as (network, client, echo):
        talks = [await Talk.on(client) for _ in range(10)]
        circuit = talks[0].circuit
        for talk in talks:
            talk.flow.path_broke()
        assert len(client.pool._rescue._cases) == 1
        for talk in talks:
            await talk.goes_on()
        assert talks[0].circuit is not circuit
        assert len(echo.asked) == 10
        await until(lambda: client.pool.builder.tolerance._exits[network.keys[EXIT]].ends)
        assert len(client.pool.builder.tolerance._exits[network.keys[EXIT]].ends) == 1


async def test_an_end_whose_streams_break_first_is_counted_once() -> None:
    async with four_relays(*ALL) as (network, client, _):
        talks = [await Talk.on(client) for _ in range(3)]
        circuit = talks[0].circuit
        talks[0].flow.path_broke()
        circuit.close(Reason.CLOSED)
        for talk in talks:
            await talk.goes_on()
        await until(lambda: not any(task.get_name() == "explain" for task in asyncio.all_tasks()))
        assert len(client.pool.builder.tolerance._exits[network.keys[EXIT]].ends) == 1


# -- the race


async def test_another_one_is_begun_when_the_first_is_slow(monkeypatch: pytest.MonkeyPatch) -> None:
    async with four_relays(*ALL) as (network, client, _):
        talk = await Talk.on(client)
        await until(lambda: client.pool.ready == 3)
        begun: list[Path] = []
        build, slow = building.build, asyncio.Event()

        async def first_is_slow(path: Path, *rest: object) -> Circuit:
            begun.append(path)
            if len(begun) == 1:
                await slow.wait()
            return await build(path, *rest)  # type: ignore[arg-type]

        monkeypatch.setattr(builder_module, "build", first_is_slow)
        monkeypatch.setattr(race_module, "MAX_RACERS", 2)  # a slow machine would begin a third
        monkeypatch.setattr(pool_module.CircuitPool, "_missing", lambda _: 0)
        for circuit in client.pool.circuits:
            if circuit is not talk.circuit:
                circuit.close(Reason.DONE)
        old = talk.circuit
        old.blameless = True  # so that nobody asks why, which would be one more build
        old.close(Reason.TIMED_OUT)
        await talk.goes_on()
        assert len(begun) == 2
        assert begun[0] != begun[1]
        held = network.nodes[EXIT].relay
        assert held.circuit_count == len(client.pool.circuits) == 1
        slow.set()
        await until(lambda: len(client.pool._tasks) == 2)
        await turns()
        assert held.circuit_count == len(client.pool.circuits) == 1


async def test_who_is_in_nobodys_way_stays_left_out() -> None:
    async with four_relays(*ALL) as (network, client, _):
        network.paths = [[0, 3, EXIT], [2, 3, EXIT], [0, 1, EXIT]]
        client.pool.builder.blame.avoid(network.keys[1], asyncio.get_running_loop().time())
        path = client.pool.builder.path(network.keys[EXIT], shun=[network.keys[0], network.keys[3]])
        assert [network.keys.index(hop.peer) for hop in path] == [2, 3, EXIT]


async def test_no_more_than_so_many_race(monkeypatch: pytest.MonkeyPatch) -> None:
    async with four_relays(*ALL) as (_, client, _):
        talk = await Talk.on(client)
        await until(lambda: client.pool.ready == 3)
        under_way = 0

        async def never(path: Path, *rest: object) -> Circuit:
            nonlocal under_way
            under_way += 1
            await asyncio.Event().wait()
            raise AssertionError

        monkeypatch.setattr(builder_module, "build", never)
        monkeypatch.setattr(pool_module.CircuitPool, "_missing", lambda _: 0)
        monkeypatch.setattr("tunnel.race.STAGGER_S", 0.01)
        lost = talk.circuit
        for circuit in client.pool.circuits:
            circuit.close(Reason.TIMED_OUT if circuit is lost else Reason.DONE)
        await until(lambda: under_way >= MAX_RACERS)
        await asyncio.sleep(0.1)
        assert under_way == MAX_RACERS + 1  # and the one that asks why


async def test_builds_have_a_budget(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(builder_module, "BUILD_BURST", 5)
    monkeypatch.setattr(builder_module, "BUILDS_KEPT", 0)
    monkeypatch.setattr(builder_module, "BUILDS_PER_MINUTE", 1)
    async with four_relays(*ALL) as (_, client, _):
        for _ in range(10):
            client.pool.hop()
            await turns(200)
        assert sum(len(node) for node in [client.pool.circuits]) <= 5
        assert client.pool.counters["build over budget"] > 0
        assert client.pool.counters["build busy"] == 0, "and no peer is blamed for it"


async def test_some_builds_are_kept_for_those_who_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    """They are not spent on circuits that are to be ready for later."""
    monkeypatch.setattr(builder_module, "BUILD_BURST", 15)
    monkeypatch.setattr(builder_module, "BUILDS_KEPT", 5)
    monkeypatch.setattr(builder_module, "BUILDS_PER_MINUTE", 0)
    async with four_relays(*ALL) as (_, client, _):
        talk = await Talk.on(client)
        await until(lambda: client.pool.ready == 3)
        build, path = client.pool.builder.build, talk.circuit.path

        async def spend() -> None:
            while True:
                (await build(path, ahead=True)).close(Reason.DONE)

        with pytest.raises(OverBudgetError):
            await spend()
        for _ in range(5):
            (await build(path)).close(Reason.DONE)
        with monkeypatch.context() as cut:
            cut.setattr(Watch, "silent", property(lambda _: True))
            with pytest.raises(CircuitError):
                await build(path)
        with pytest.raises(OverBudgetError) as failure:
            await build(path)
        assert failure.value.reason is Reason.NEXT_HOP, "why the last one failed"


async def test_circuits_that_nobody_waits_for_are_built_ahead(monkeypatch: pytest.MonkeyPatch) -> None:
    wanted: list[bool] = []
    build = Builder.build

    async def seen(self: Builder, path: Path, options: SiteOptions = NO_OPTIONS, *, ahead: bool = False) -> Circuit:
        wanted.append(ahead)
        return await build(self, path, options, ahead=ahead)

    monkeypatch.setattr(Builder, "build", seen)
    async with four_relays(*ALL) as (_, client, _):
        talk = await Talk.on(client)
        await until(lambda: client.pool.ready == 3)
        assert any(wanted)
        circuit = talk.circuit
        talk.flow.reset(Reason.LOCAL)
        await until(lambda: not circuit.flows)
        wanted.clear()
        client.pool.hop()
        await until(lambda: client.pool.ready == READY_CIRCUITS)
        assert wanted == [False, True], "one that is ready is worth as much as one that is waited for"
        for circuit in list(client.pool.circuits):
            circuit.close(Reason.DONE)
        monkeypatch.setattr(pool_module.CircuitPool, "_missing", lambda _: 0)
        wanted.clear()
        await Talk.on(client)
        assert wanted[0] is False


async def test_guards_that_are_silent_use_up_no_builds(monkeypatch: pytest.MonkeyPatch) -> None:
    """As while a line is cut: what is begun over them fails at once, and again and again."""
    async with four_relays(*ALL) as (_, client, _):
        talk = await Talk.on(client)
        with monkeypatch.context() as cut:
            cut.setattr(Watch, "silent", property(lambda _: True))
            for _ in range(2 * BUILD_BURST):
                with pytest.raises(CircuitError) as failure:
                    await client.pool.builder.build(talk.circuit.path)
                assert (failure.value.reason, failure.value.hop) == (Reason.NEXT_HOP, -1)
        assert client.pool.counters["build over budget"] == 0
        (await client.pool.builder.build(talk.circuit.path)).close(Reason.DONE)


@pytest.mark.parametrize(("reason", "heard"), [(Reason.NEXT_HOP, [(0, True)]), (Reason.NO_CHANNEL, [])])
async def test_a_guard_that_is_silent_before_it_is_paid_has_not_done_its_part(
    reason: Reason, heard: list[tuple[int, bool]], monkeypatch: pytest.MonkeyPatch
) -> None:
    async with four_relays(*ALL) as (_, client, _):
        path, tried = client.pool.circuits[0].path, []

        async def not_paid(*_: object) -> None:
            raise CircuitError(reason)

        monkeypatch.setattr(client.links, "tried", lambda _, served, at_fault: tried.append((served, at_fault)))
        monkeypatch.setattr(building, "account_for", not_paid)
        with pytest.raises(CircuitError):
            await client.pool.builder.build(path)
        assert tried == heard


# -- exits that end circuits, and dead ones


async def test_an_exit_that_ends_circuits_is_given_up() -> None:
    async with four_relays(*ALL) as (network, client, _):
        talk = await Talk.on(client)
        for _ in range(MAX_REBUILDS):
            talk.circuit.close(Reason.CLOSED)
            await talk.goes_on()
            await until(lambda: not any(task.get_name() == "explain" for task in asyncio.all_tasks()))
        talk.circuit.close(Reason.CLOSED)
        await until(lambda: talk.heard.reason is Reason.CLOSED, 2)
        assert client.pool.counters["exit given up"] == 1
        now = asyncio.get_running_loop().time()
        assert client.pool.builder.tolerance.exhausted(now) == [network.keys[EXIT]]


async def test_who_need_not_be_forgiven_is_left_out_although_one_that_is_worse_is_not() -> None:
    """Else the only exit that is left would bring back guards that are dead, while one lives."""
    async with four_relays(*ALL) as (network, client, _):
        builder, now = client.pool.builder, asyncio.get_running_loop().time()
        builder.blame.accuse(Shares({network.keys[0]: 0.5, network.keys[1]: 0.6, network.keys[EXIT]: 3.0}, {}), now)
        assert [network.keys.index(hop.peer) for hop in builder.path()] == [2, 3, EXIT]


async def test_of_peers_to_forgive_an_exit_that_ended_too_much_comes_before_those_that_are_dead() -> None:
    """Else a client would go on to try dead ones, while one that ended too many circuits some minutes ago lives."""
    async with four_relays(*ALL) as (network, client, _):
        builder, now = client.pool.builder, asyncio.get_running_loop().time()
        little, tired, silent, both, leaving = network.keys[:5]
        for exit in (tired, both):
            for _ in range(MAX_REBUILDS + 1):
                builder.tolerance.ended(exit, now)
        builder.blame.accuse(Shares({silent: 2.0, both: 1.5, leaving: 1.0}, {little: 0.5}), now)
        assert builder.leavers.says(leaving, now)
        assert builder.avoided() == [little, tired, silent, both, leaving]


async def test_a_dead_relay_is_not_counted_against_the_exit() -> None:
    async with four_relays(*ALL) as (network, client, _):
        talk = await Talk.on(client)
        hang(network.nodes[talk.places[1]])
        await talk.goes_on()
        await until(lambda: not any(task.get_name() == "explain" for task in asyncio.all_tasks()))
        assert not any(exit.ends for exit in client.pool.builder.tolerance._exits.values())


@pytest.mark.parametrize("how", ["hangs", "goes"])
async def test_flows_end_promptly_with_their_exit(how: str) -> None:
    async with four_relays(*ALL) as (network, client, _):
        talk = await Talk.on(client)
        if how == "hangs":
            hang(network.nodes[EXIT])
        else:
            await network.nodes[EXIT].close()
        await until(lambda: talk.heard.reason is Reason.CLOSED, 3)
        assert EXIT in blamed(network, client)
