"""A client's circuits: ready ahead, kept apart, replaced; and no flow without one."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from core.errors import CircuitError, FlowError, Reason
from core.flow import FlowRequest
from tests.harness.bare import check_alive, circuit_of
from tests.harness.network import Collect, Echo, Network, blamed, chain, three_hops
from tests.harness.waiting import turns, until
from tests.harness.wire import Board
from tests.tunnel.test_circuit import hang
from tunnel import client_flow, opening
from tunnel import pool as pool_module
from tunnel import pulse as pulse_module
from tunnel.layers import MAX_FLOW_NUMBER
from tunnel.path import ANY_EXIT, Hop
from tunnel.service import Tunnel, TunnelParts

if TYPE_CHECKING:
    from collections.abc import Collection

    from core.ids import PeerKey
    from tunnel.circuit import Circuit
    from tunnel.path import Path, Wish

ECHO = FlowRequest("echo.example", 80)


pytestmark = pytest.mark.usefixtures("quick_signs")


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Patience of a test instead of a person's."""
    monkeypatch.setattr(pool_module, "_TICK_S", 0.01)
    monkeypatch.setattr(opening, "PATH_S", 0.3)


async def test_two_circuits_are_ready_ahead() -> None:
    async with three_hops(Board().engine) as (_, client, _):
        assert client.pool.ready == 2
        assert client.pool.failure is None


async def test_flows_of_one_key_share_a_circuit() -> None:
    async with three_hops(Board().engine) as (_, client, _):
        flows = [await client.pool.dial(FlowRequest("echo.example", 80, "key")) for _ in range(5)]
        assert len({circuit_of(client, flow) for flow in flows}) == 1


async def test_flows_of_different_keys_never_share_a_circuit() -> None:
    async with three_hops(Board().engine) as (_, client, _):
        keys = ["", "one", "two", "three", "one", "", "two"]
        flows = await asyncio.gather(*(client.pool.dial(FlowRequest("echo.example", 80, key)) for key in keys))
        carried: dict[Circuit, set[str]] = {}
        for key, flow in zip(keys, flows, strict=True):
            carried.setdefault(circuit_of(client, flow), set()).add(key)
        assert sorted(carried.values(), key=sorted) == [{""}, {"one"}, {"three"}, {"two"}]


async def test_a_circuit_stays_its_keys_when_its_flows_have_ended() -> None:
    async with three_hops(Board().engine) as (_, client, _):
        flow = await client.pool.dial(FlowRequest("echo.example", 80, "one"))
        first = circuit_of(client, flow)
        flow.reset(Reason.LOCAL)
        for _ in range(3):
            other = await client.pool.dial(FlowRequest("echo.example", 80, "two"))
            assert circuit_of(client, other) is not first


async def test_flows_on_a_circuit_that_is_theirs_cost_no_search_for_paths(monkeypatch: pytest.MonkeyPatch) -> None:
    async with three_hops(Board().engine) as (_, client, _):
        await client.pool.dial(ECHO)
        await until(lambda: client.pool.ready == 3)
        await turns()
        searched = 0
        choose = client.pool.builder._choose

        def counting(avoid: Collection[PeerKey], last: PeerKey | None, wish: Wish = ANY_EXIT) -> Path:
            nonlocal searched
            searched += 1
            return choose(avoid, last, wish)

        monkeypatch.setattr(client.pool.builder, "_choose", counting)
        for _ in range(20):
            await client.pool.dial(ECHO)
            await turns(3)
        assert searched == 0
        await client.pool.dial(FlowRequest("echo.example", 80, "another"))
        await until(lambda: searched)


async def test_there_is_always_one_that_no_key_has_used() -> None:
    async with three_hops(Board().engine) as (_, client, _):
        for key in ("one", "two", "three"):
            await client.pool.dial(FlowRequest("echo.example", 80, key))
        await until(lambda: any(circuit.isolation is None for circuit in client.pool.circuits))


async def test_a_client_holds_so_many_circuits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pool_module, "MAX_CIRCUITS", 3)
    async with chain(1, Board().engine) as (_, client, _):
        for key in ("one", "two", "three"):
            await client.pool.dial(FlowRequest("echo.example", 80, key))
        with pytest.raises(FlowError) as caught:
            await client.pool.dial(FlowRequest("echo.example", 80, "four"))
        assert caught.value.reason is Reason.NO_PATH
        assert len(client.pool.circuits) == 3


# -- hop and retire


async def test_hop_gives_new_flows_a_new_circuit_and_leaves_the_old_ones() -> None:
    async with three_hops(Board().engine) as (_, client, _):
        flow = await client.pool.dial(ECHO)
        heard = Collect(flow)
        flow.attach(heard)
        old = {*client.pool.circuits}
        client.pool.hop()
        other = await client.pool.dial(ECHO)
        assert circuit_of(client, other) not in old
        flow.write(b"still there")
        await until(lambda: heard.data == b"still there")


async def test_a_retired_circuit_ends_when_its_flows_have_moved() -> None:
    async with three_hops(Board().engine) as (network, client, _):
        flow = await client.pool.dial(ECHO)
        heard = Collect(flow)
        flow.attach(heard)
        old = circuit_of(client, flow)
        client.pool.hop()
        flow.write(b"before")
        await until(lambda: old.over)
        flow.write(b" after")
        await until(lambda: bytes(heard.data) == b"before after")
        assert circuit_of(client, flow) is not old
        flow.finish()
        await until(lambda: heard.reason is Reason.DONE)
        await until(lambda: {node.relay.circuit_count for node in network.nodes[:3]} == {len(client.pool.circuits)})
        assert client.pool.counters["circuit done"] == 2


async def test_a_circuit_without_flow_numbers_is_replaced() -> None:
    async with three_hops(Board().engine) as (_, client, _):
        for circuit in client.pool.circuits:
            circuit._numbers = [MAX_FLOW_NUMBER + 1] * 3
        await check_alive(client)


async def test_what_is_ready_leads_over_different_guards() -> None:
    async with three_hops(Board().engine) as (network, client, _):
        await network.add()
        network.paths = [[0, 1, 2], [3, 1, 2]]
        client.pool.hop()
        await until(lambda: client.pool.ready == 2)
        assert {circuit.path[0].peer for circuit in client.pool.circuits} == {network.keys[0], network.keys[3]}


async def test_a_new_flow_takes_the_circuit_that_least_is_held_against() -> None:
    async with three_hops(Board().engine) as (network, client, _):
        await network.add()
        network.paths = [[0, 1, 2], [3, 1, 2]]
        client.pool.hop()
        await until(lambda: client.pool.ready == 2)
        client.pool.builder.blame.avoid(network.keys[0], asyncio.get_running_loop().time())
        flow = await client.pool.dial(ECHO)
        assert circuit_of(client, flow).path[0].peer == network.keys[3]


async def ends_of(client: Tunnel, *keys: str) -> list[PeerKey]:
    """Open a flow of each key, one after the other, and give the exits that they leave from."""
    flows = [await client.pool.dial(FlowRequest("echo.example", 80, key)) for key in keys]
    return [circuit_of(client, flow).path[-1].peer for flow in flows]


def ready_ends(client: Tunnel) -> set[PeerKey]:
    return {circuit.path[-1].peer for circuit in client.pool.circuits if circuit.isolation is None}


async def test_another_key_leaves_from_another_exit_if_one_stands_ready() -> None:
    async with three_hops(Board().engine) as (network, client, echo):
        await network.add(echo)
        network.paths = [[0, 1, 2], [0, 1, 3]]
        client.pool.hop()
        for turn in range(3):
            await until(lambda: ready_ends(client) == {network.keys[2], network.keys[3]})
            one, two, one_again = await ends_of(client, f"one {turn}", f"two {turn}", f"one {turn}")
            assert one == one_again != two
            client.pool.hop()


async def test_keys_share_an_exit_if_there_is_no_other() -> None:
    async with three_hops(Board().engine) as (network, client, _):
        assert set(await ends_of(client, "one", "two", "three")) == {network.keys[2]}


async def test_keys_that_share_an_exit_part_when_one_of_them_rests() -> None:
    async with three_hops(Board().engine) as (network, client, echo):
        running = await client.pool.dial(FlowRequest("echo.example", 80, "one"))
        resting = await client.pool.dial(FlowRequest("echo.example", 80, "two"))
        shared = circuit_of(client, resting)
        assert circuit_of(client, running).path[-1].peer == shared.path[-1].peer
        await network.add(echo)
        network.paths.append([0, 1, 3])
        client.pool.paths_changed()
        await until(lambda: network.keys[3] in ready_ends(client))
        assert await ends_of(client, "one", "two") == [network.keys[2]] * 2, "not while flows run"
        for flow in list(shared.flows):
            flow.reset(Reason.LOCAL)
        assert await ends_of(client, "one", "two", "two") == [network.keys[2], network.keys[3], network.keys[3]]
        await until(lambda: shared.over)


async def test_a_resting_key_stays_where_it_is_if_there_is_no_better_place() -> None:
    async with three_hops(Board().engine) as (_, client, _):
        flows = [await client.pool.dial(FlowRequest("echo.example", 80, key)) for key in ("one", "two")]
        before = [circuit_of(client, flow) for flow in flows]
        await until(lambda: client.pool.ready == 4)
        for flow in flows:
            flow.reset(Reason.LOCAL)
        again = [await client.pool.dial(FlowRequest("echo.example", 80, key)) for key in ("two", "one")]
        assert [circuit_of(client, flow) for flow in again] == before[::-1]


async def test_a_blamed_way_to_another_exit_is_not_taken_for_that() -> None:
    async with three_hops(Board().engine) as (network, client, echo):
        await network.add(echo)
        network.paths = [[0, 1, 2], [0, 1, 3]]
        client.pool.hop()
        await until(lambda: ready_ends(client) == {network.keys[2], network.keys[3]})
        (one,) = await ends_of(client, "one")
        (other,) = {network.keys[2], network.keys[3]} - {one}
        await until(lambda: ready_ends(client) == {one, other})
        client.pool.builder.blame.avoid(other, asyncio.get_running_loop().time())
        assert await ends_of(client, "two") == [one]


async def test_what_is_ready_leads_to_exits_that_nobody_uses() -> None:
    async with three_hops(Board().engine) as (network, client, echo):
        for _ in range(3):
            await network.add(echo)
        await network.add()
        network.paths = [[guard, 1, last] for last in (2, 3, 4, 5) for guard in (0, 6)]
        ends: set[PeerKey] = set()
        for key in ("one", "two", "three", "four"):
            await until(lambda: ready_ends(client) - ends)
            ends.update(await ends_of(client, key))
        assert ends == {*network.keys[2:6]}


# -- refusing


async def test_without_a_path_a_flow_is_refused_in_time() -> None:
    network = Network(Board().engine)
    client = network.client()
    await client.start(0, client=True)
    loop = asyncio.get_running_loop()
    start = loop.time()
    with pytest.raises(FlowError) as caught:
        await client.pool.dial(ECHO)
    assert caught.value.reason is Reason.NO_PATH
    assert 0.25 < loop.time() - start < 1
    assert client.pool.failure is Reason.NO_PATH
    await network.close()


async def test_a_flow_that_waits_takes_the_first_circuit_that_comes() -> None:
    network = Network(Board().engine)
    client = network.client()
    await client.start(0, client=True)
    dialling = asyncio.ensure_future(client.pool.dial(FlowRequest("sink.example", 80)))
    await turns()
    await network.add(Echo())
    network.paths = [[0]]
    client.pool.paths_changed()
    assert (await dialling).opened.done()
    await network.close()


@pytest.mark.parametrize(("host", "reason"), [("refused.example", Reason.REFUSED), ("silent.example", None)])
async def test_the_exits_reason_is_the_flows(host: str, reason: Reason | None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(opening, "OPEN_S", 0.5)
    async with three_hops(Board().engine) as (network, client, echo):
        with pytest.raises(FlowError) as caught:
            await client.pool.dial(FlowRequest(host, 80))
        assert caught.value.reason is (reason or Reason.TIMED_OUT)
        assert len(echo.asked) == 1
        await until(lambda: network.nodes[2].relay.flow_count == 0)
        await check_alive(client)


async def test_a_silent_circuit_is_no_reason_to_wait_for_long() -> None:
    async with three_hops(Board().engine) as (network, client, _):
        hang(network.nodes[2])
        loop = asyncio.get_running_loop()
        start = loop.time()
        with pytest.raises(FlowError) as caught:
            await client.pool.dial(ECHO)
        assert caught.value.reason in (Reason.NO_PATH, Reason.CLOSED)
        assert loop.time() - start < 1


async def test_an_exit_that_answers_no_ping_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only an exit that is known to live may take its time with a destination."""
    monkeypatch.setattr(pulse_module, "SUSPECT_S", 30.0)
    async with three_hops(Board().engine) as (network, client, _):
        hang(network.nodes[2])
        with pytest.raises(FlowError) as caught:
            await asyncio.wait_for(client.pool.dial(ECHO), 2)
        assert caught.value.reason is Reason.NO_PATH
        assert not any(circuit.flows for circuit in client.pool.circuits)


async def test_a_dial_that_is_given_up_ends_the_flow() -> None:
    async with three_hops(Board().engine) as (network, client, echo):
        dialling = asyncio.ensure_future(client.pool.dial(FlowRequest("silent.example", 80)))
        await until(lambda: echo.asked)
        dialling.cancel()
        await asyncio.gather(dialling, return_exceptions=True)
        await until(lambda: network.nodes[2].relay.flow_count == 0)
        assert not any(circuit.flows for circuit in client.pool.circuits)


@pytest.mark.usefixtures("impatient")
async def test_a_closed_pool_has_no_circuits() -> None:
    async with three_hops(Board().engine) as (network, client, _):
        flow = await client.pool.dial(ECHO)
        heard = Collect(flow)
        flow.attach(heard)
        await client.pool.close()
        assert (heard.reason, client.pool.circuits, client.pool.ready) == (Reason.CLOSED, [], 0)
        await until(lambda: [node.relay.circuit_count for node in network.nodes] == [0, 0, 0, 0])


# -- without waiting for the exit's answer


async def test_an_unopened_flow_tells_its_reason() -> None:
    async with three_hops(Board().engine) as (network, client, _):
        flow = await client.pool.dial(FlowRequest("refused.example", 80), early=True)
        heard = Collect(flow)
        flow.attach(heard)
        flow.write(b"request")
        await until(lambda: heard.reason is Reason.REFUSED)
        await until(lambda: network.nodes[2].relay.flow_count == 0)


async def test_an_unopened_flow_waits_for_so_long(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client_flow, "OPEN_S", 0.1)
    async with three_hops(Board().engine) as (network, client, _):
        flow = await client.pool.dial(FlowRequest("silent.example", 80), early=True)
        heard = Collect(flow)
        flow.attach(heard)
        await until(lambda: heard.reason is Reason.TIMED_OUT)
        await until(lambda: network.nodes[2].relay.flow_count == 0)


async def test_an_opened_flow_has_no_such_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client_flow, "OPEN_S", 0.1)
    async with three_hops(Board().engine) as (_, client, _):
        flow = await client.pool.dial(ECHO, early=True)
        heard = Collect(flow)
        flow.attach(heard)
        await asyncio.sleep(0.2)
        flow.write(b"still there")
        await until(lambda: heard.data == b"still there")


# -- another path


async def test_a_hop_that_hangs_is_left_out() -> None:
    async with three_hops(Board().engine) as (network, client, _):
        await network.add()
        network.paths = [[0, 1, 2], [0, 3, 2]]
        flow = await client.pool.dial(ECHO)
        heard = Collect(flow)
        flow.attach(heard)
        hang(network.nodes[1])
        flow.write(b"text")
        await until(lambda: heard.data == b"text", 10)
        new = network.keys[3]
        await until(lambda: any(circuit.path[1].peer == new for circuit in client.pool.circuits), 10)


async def test_a_hop_that_dies_is_replaced() -> None:
    async with three_hops(Board().engine) as (network, client, _):
        await network.add()
        network.paths = [[0, 1, 2], [0, 3, 2]]
        flow = await client.pool.dial(ECHO)
        heard = Collect(flow)
        flow.attach(heard)
        await network.nodes[1].close()
        flow.write(b"text")
        await until(lambda: heard.data == b"text")
        await until(lambda: client.pool.ready, 5)
        await check_alive(client)


async def test_the_only_exit_is_not_given_up_with_a_relay_that_died() -> None:
    """Two relays and one exit: the guard says which of them is dead."""
    async with three_hops(Board().engine) as (network, client, _):
        await network.add()
        network.paths = [[0, 1, 2], [0, 3, 2]]
        await network.nodes[1].close()
        await until(lambda: any(circuit.path[1].peer == network.keys[3] for circuit in client.pool.circuits))
        assert blamed(network, client) == [1]


async def test_when_all_are_avoided_any_is_tried() -> None:
    async with three_hops(Board().engine) as (network, client, _):
        for key in network.keys:
            client.pool.builder.blame.avoid(key, asyncio.get_running_loop().time())
        client.pool.hop()
        await until(lambda: client.pool.ready >= 2)
        await check_alive(client)


class Choice:
    """Names a path, and counts how often it is asked."""

    def __init__(self, path: Path | None) -> None:
        self.path = path
        self.asked = 0

    def __call__(self, avoid: Collection[PeerKey], last: PeerKey | None, wish: Wish = ANY_EXIT) -> Path:
        self.asked += 1
        if self.path is None:
            raise CircuitError(Reason.NO_PATH)
        return self.path


@pytest.mark.parametrize("bad", ["no path", "onion key", "link key", "address"])
async def test_what_cannot_be_built_is_not_tried_without_pause(bad: str) -> None:
    async with chain(1, Board().engine) as (network, _, _):
        (hop,) = network.hops.values()
        path = {
            "no path": None,
            "onion key": (Hop(hop.peer, hop.link_key, bytes(32), hop.addresses),),
            "link key": (Hop(hop.peer, bytes(32), hop.onion_key, hop.addresses),),
            "address": (Hop(hop.peer, hop.link_key, hop.onion_key, (("127.0.0.1", 999),)),),
        }[bad]
        choice = Choice(path)
        other = Tunnel(
            Board().engine() if bad == "address" else network._engine(),
            TunnelParts(address_ok=lambda host: True, choose=choice),
        )
        await other.start(0, client=True)
        with pytest.raises(FlowError):
            await other.pool.dial(ECHO)
        assert 1 <= choice.asked <= 40
        assert other.pool.failure is not None
        assert len(list(other.links)) == (bad == "onion key")
        await other.close()
