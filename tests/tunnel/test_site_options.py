"""Circuits for sites of which the user wants something of their own: kept apart, kept so, and not too many."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import pytest

from core.errors import CircuitError, FlowError, Reason
from core.flow import NO_OPTIONS, FlowRequest, SiteOptions
from tests.harness.bare import check_alive, circuit_of
from tests.harness.network import Collect, Echo, Network
from tests.harness.waiting import turns, until
from tests.harness.wire import Board
from tunnel import opening, site_places
from tunnel import pool as pool_module
from tunnel.limits import SITE_BUILD_BURST, SITE_IDLE_S, SITE_YIELDS_S
from tunnel.padding import SHAPES
from tunnel.path import ANY_EXIT

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Collection

    from core.ids import PeerKey
    from tunnel.circuit import Circuit
    from tunnel.client_flow import ClientFlow
    from tunnel.path import Path, Wish
    from tunnel.service import Tunnel

pytestmark = pytest.mark.usefixtures("quick_signs")

GERMAN = SiteOptions(regions=("DE",))
ALONE = SiteOptions(isolated=True)
NL, DE = 2, 3
"""Places of the exits; those before them relay."""


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Patience of a test instead of a person's."""
    monkeypatch.setattr(pool_module, "_TICK_S", 0.01)
    monkeypatch.setattr(pool_module, "_IDLE_PAUSE_S", 0.05)
    monkeypatch.setattr(pool_module, "_FIRST_PAUSE_S", 0.02)
    monkeypatch.setattr(opening, "PATH_S", 0.4)


@asynccontextmanager
async def two_regions() -> AsyncIterator[tuple[Network, Tunnel]]:
    """Two guards, an exit in each of two regions, and a client with circuits to the first ready."""
    network = Network(Board().engine)
    try:
        for acceptor in (None, None, Echo(), Echo()):
            await network.add(acceptor)
        network.regions = {network.keys[NL]: "NL", network.keys[DE]: "DE"}
        network.paths = [[0, 1, NL], [0, 1, DE], [1, 0, NL], [1, 0, DE]]
        client = network.client()
        await client.start(0, client=True)
        await until(lambda: client.pool.ready == 2)
        yield network, client
    finally:
        await network.close()


async def dial(client: Tunnel, key: str = "", options: SiteOptions = NO_OPTIONS) -> ClientFlow:
    return await client.pool.dial(FlowRequest("echo.example", 80, key, options))


async def refusal(client: Tunnel, key: str = "", options: SiteOptions = NO_OPTIONS) -> Reason:
    with pytest.raises(FlowError) as caught:
        await dial(client, key, options)
    return caught.value.reason


class Held:
    """Holds up every circuit that is begun for some options."""

    def __init__(self, client: Tunnel, monkeypatch: pytest.MonkeyPatch, options: SiteOptions) -> None:
        self.paths: list[Path] = []
        self.go_on = asyncio.Event()
        build = client.pool.builder.build

        async def slow(path: Path, wanted: SiteOptions, *, ahead: bool = False) -> Circuit:
            if wanted == options:
                self.paths.append(path)
                await self.go_on.wait()
            return await build(path, wanted, ahead=ahead)

        monkeypatch.setattr(client.pool.builder, "build", slow)


def leads_to(client: Tunnel, ends: Collection[PeerKey]) -> bool:
    """Whether a circuit stands ready to one of these exits."""
    ready = (circuit for circuit in client.pool.circuits if circuit.isolation is None)
    return any(circuit.path[-1].peer in ends for circuit in ready if circuit.options == NO_OPTIONS)


def for_sites(client: Tunnel) -> list[Circuit]:
    return [circuit for circuit in client.pool.circuits if circuit.options != NO_OPTIONS]


# -- kept apart


async def test_a_flow_goes_over_a_circuit_for_its_options_and_no_other_does() -> None:
    async with two_regions() as (network, client):
        german = circuit_of(client, await dial(client, options=GERMAN))
        assert (german.path[-1].peer, german.options) == (network.keys[DE], GERMAN)
        usual = [circuit_of(client, await dial(client)) for _ in range(4)]
        assert all(circuit.options == NO_OPTIONS for circuit in usual)
        assert circuit_of(client, await dial(client, options=GERMAN)) is german


async def test_options_that_differ_never_share_a_circuit_though_the_key_is_the_same() -> None:
    async with two_regions() as (_, client):
        some = [NO_OPTIONS, GERMAN, SiteOptions(mode="privacy"), SiteOptions(max_tariff=3), ALONE]
        flows = await asyncio.gather(*(dial(client, options=options) for options in [*some, *some]))
        carried = {circuit_of(client, flow) for flow in flows}
        assert [circuit_of(client, flow).options for flow in flows] == [*some, *some]
        assert len(carried) == len(some)


async def test_sites_that_shall_be_alone_get_a_circuit_each_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    async with two_regions() as (_, client):
        held, keys = Held(client, monkeypatch, ALONE), [f"site {number}" for number in range(6)]
        dialling = asyncio.gather(*(dial(client, key, ALONE) for key in keys))
        await until(lambda: len(held.paths) == len(keys))
        held.go_on.set()
        flows = await dialling
        carried = {circuit_of(client, flow): key for key, flow in zip(keys, flows, strict=True)}
        assert len(carried) == len(keys)
        assert all(circuit.isolation == key for circuit, key in carried.items())
        assert len(for_sites(client)) == len(keys), "and none that nobody needs"


async def test_one_circuit_is_built_for_a_key_to_whatever_ports_its_flows_go(monkeypatch: pytest.MonkeyPatch) -> None:
    async with two_regions() as (_, client):
        held = Held(client, monkeypatch, GERMAN)
        requests = [FlowRequest("echo.example", port, "key", GERMAN) for port in (80, 443, 80)]
        dialling = asyncio.gather(*(client.pool.dial(request) for request in requests))
        await until(lambda: held.paths)
        await turns()
        held.go_on.set()
        assert len({circuit_of(client, flow) for flow in await dialling}) == 1
        assert len(held.paths) == 1


@pytest.mark.parametrize(("slow", "other"), [(NO_OPTIONS, GERMAN), (GERMAN, NO_OPTIONS)])
async def test_nobody_waits_for_circuits_for_other_options(
    slow: SiteOptions, other: SiteOptions, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with two_regions() as (_, client):
        held = Held(client, monkeypatch, slow)
        client.pool.hop()
        waiting = asyncio.ensure_future(dial(client, "one", slow))
        await until(lambda: held.paths)
        assert circuit_of(client, await dial(client, "two", other)).options == other
        held.go_on.set()
        await waiting


async def test_what_is_left_of_a_race_for_a_site_is_not_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    async with two_regions() as (network, client):
        left = [await client.pool.builder.build(network.choose([]), options) for options in (GERMAN, NO_OPTIONS)]
        monkeypatch.setattr(pool_module, "READY_CIRCUITS", 9)
        for circuit in left:
            client.pool.offer(circuit)
        assert [circuit.over for circuit in left] == [True, False]


async def test_nothing_is_built_ahead_for_a_site_nor_counted_as_ready() -> None:
    async with two_regions() as (_, client):
        await dial(client, options=GERMAN)
        await turns()
        assert len(for_sites(client)) == 1
        assert client.pool.ready == len(client.pool.circuits) - 1


@pytest.mark.parametrize("mode", sorted(SHAPES))
async def test_the_mode_of_a_site_is_that_of_its_circuit(mode: str) -> None:
    async with two_regions() as (_, client):
        circuit = circuit_of(client, await dial(client, options=SiteOptions(mode=mode)))
        assert circuit._shape is SHAPES[mode]


# -- refused


async def test_without_an_exit_in_its_region_a_site_is_refused_at_once_and_nothing_goes_elsewhere() -> None:
    async with two_regions() as (_, client):
        loop = asyncio.get_running_loop()
        start = loop.time()
        assert await refusal(client, options=SiteOptions(regions=("FR",))) is Reason.SITE_OPTIONS
        assert loop.time() - start < 0.2
        assert not for_sites(client)


async def test_a_region_whose_exit_dies_is_refused_and_other_sites_go_on() -> None:
    async with two_regions() as (network, client):
        flow = await dial(client, options=GERMAN)
        heard = Collect(flow)
        flow.attach(heard)
        await network.nodes[DE].close()
        await until(lambda: not for_sites(client))
        assert await refusal(client, options=GERMAN) is Reason.SITE_OPTIONS
        await check_alive(client)


async def test_that_no_circuit_can_be_built_for_a_site_is_not_the_nodes_trouble(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with two_regions() as (_, client):
        build = client.pool.builder.build

        async def failing(path: Path, options: SiteOptions, *, ahead: bool = False) -> Circuit:
            if options != NO_OPTIONS:
                raise CircuitError(Reason.BUSY)
            return await build(path, options, ahead=ahead)

        monkeypatch.setattr(client.pool.builder, "build", failing)
        assert await refusal(client, options=GERMAN) is Reason.SITE_OPTIONS
        assert client.pool.failure is None


async def test_a_circuit_whose_exit_is_no_longer_what_is_wanted_gets_no_new_flows() -> None:
    async with two_regions() as (network, client):
        await dial(client, options=GERMAN)
        network.regions[network.keys[DE]] = "FR"
        assert await refusal(client, options=GERMAN) is Reason.SITE_OPTIONS


async def test_sites_for_which_there_is_no_path_do_not_keep_the_client_searching(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(pool_module, "_FIRST_PAUSE_S", 0.1)
    async with two_regions() as (_, client):
        searched, choose = 0, client.pool.builder._choose

        def hopeless(avoid: Collection[PeerKey], last: PeerKey | None, wish: Wish = ANY_EXIT) -> Path:
            nonlocal searched
            if wish.options == NO_OPTIONS:
                return choose(avoid, last, wish)
            searched += not avoid
            raise CircuitError(Reason.NO_PATH)

        monkeypatch.setattr(client.pool.builder, "_choose", hopeless)
        dialling = []
        for number in range(100):
            dialling.append(asyncio.ensure_future(refusal(client, f"site {number}", GERMAN)))
            await turns(3)
        assert set(await asyncio.gather(*dialling)) == {Reason.SITE_OPTIONS}
        assert 2 <= searched <= 20


async def test_a_flow_waits_for_the_next_build_if_the_first_one_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pool_module, "_IDLE_PAUSE_S", 60.0)
    monkeypatch.setattr(pool_module, "_SITE_PAUSE_S", 0.05)
    async with two_regions() as (_, client):
        build, begun = client.pool.builder.build, 0

        async def failing(path: Path, options: SiteOptions, *, ahead: bool = False) -> Circuit:
            nonlocal begun
            begun += options == GERMAN
            if options == GERMAN and begun == 1:
                raise CircuitError(Reason.NEXT_HOP)
            return await build(path, options, ahead=ahead)

        monkeypatch.setattr(client.pool.builder, "build", failing)
        assert circuit_of(client, await dial(client, options=GERMAN)).options == GERMAN
        assert begun == 2


# -- kept so when the path changes


@pytest.mark.parametrize("how", ["hop", "lost"])
async def test_flows_move_to_a_circuit_for_the_same_options(how: str, monkeypatch: pytest.MonkeyPatch) -> None:
    options = SiteOptions(regions=("DE",), mode="privacy")
    async with two_regions() as (network, client):
        flow = await dial(client, "key", options)
        heard = Collect(flow)
        flow.attach(heard)
        old, choose, moves = circuit_of(client, flow), client.pool.builder._choose, set()

        def listening(avoid: Collection[PeerKey], last: PeerKey | None, wish: Wish = ANY_EXIT) -> Path:
            moves.update([wish.options] if last is not None else [])
            return choose(avoid, last, wish)

        monkeypatch.setattr(client.pool.builder, "_choose", listening)
        if how == "hop":
            client.pool.hop()
        else:
            old.destroyed(Reason.NEXT_HOP)
        await until(lambda: any(flow in circuit.flows for circuit in client.pool.circuits if circuit is not old))
        flow.write(b"still there")
        await until(lambda: heard.data == b"still there")
        new = circuit_of(client, flow)
        assert (new.options, new.isolation, new._shape) == (options, "key", SHAPES["privacy"])
        assert new.path[-1].peer == network.keys[DE]
        assert client.pool.candidates(new) == []
        assert moves == {options}


async def test_a_circuit_is_no_candidate_for_flows_of_other_options() -> None:
    async with two_regions() as (_, client):
        german, usual = [circuit_of(client, await dial(client, "key", options)) for options in (GERMAN, NO_OPTIONS)]
        privacy = circuit_of(client, await dial(client, "key", SiteOptions(regions=("DE",), mode="privacy")))
        assert not {german, usual, privacy} & {
            found for circuit in (german, usual, privacy) for found in client.pool.candidates(circuit)
        }


# -- not too many


def age(circuit: Circuit, seconds: float) -> None:
    circuit.used_at -= seconds


async def test_when_all_places_are_taken_the_one_that_rests_for_longest_gives_way(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(site_places, "MAX_SITE_CIRCUITS", 3)
    monkeypatch.setattr(pool_module, "_TICK_S", 60.0)
    async with two_regions() as (_, client):
        flows = [await dial(client, f"site {number}", ALONE) for number in range(3)]
        circuits = [circuit_of(client, flow) for flow in flows]
        for flow in flows[1:]:
            flow.reset(Reason.LOCAL)
        assert await refusal(client, "site 3", ALONE) is Reason.SITE_OPTIONS, "one that rests may be needed again"
        for circuit, seconds in zip(circuits, (3, 0, 1), strict=True):
            age(circuit, SITE_YIELDS_S + seconds)
        (await dial(client, "site 1", ALONE)).reset(Reason.LOCAL)
        assert circuit_of(client, await dial(client, "site 3", ALONE)) not in circuits
        assert [circuit.over for circuit in circuits] == [False, False, True]
        assert len(for_sites(client)) == 3
        assert await refusal(client, "site 4", ALONE) is Reason.SITE_OPTIONS, "the other was used again"


async def test_sites_leave_circuits_to_all_others(monkeypatch: pytest.MonkeyPatch) -> None:
    """A page names more sites than there are places, all of which the user wants to be alone."""
    monkeypatch.setattr(site_places, "MAX_SITE_CIRCUITS", 3)
    monkeypatch.setattr(pool_module, "MAX_CIRCUITS", 12)
    async with two_regions() as (_, client):
        keys = [f"site {number}" for number in range(10)]
        outcomes = await asyncio.gather(*(dial(client, key, ALONE) for key in keys), return_exceptions=True)
        refused = [found for found in outcomes if isinstance(found, FlowError)]
        assert len(refused) == 7
        assert {error.reason for error in refused} == {Reason.SITE_OPTIONS}
        assert len(for_sites(client)) == 3
        for key in ("one", "two"):
            assert circuit_of(client, await dial(client, key)).options == NO_OPTIONS


async def test_sites_leave_half_of_the_builds_to_all_others() -> None:
    async with two_regions() as (_, client):
        for number in range(SITE_BUILD_BURST):
            flow = await dial(client, f"site {number}", ALONE)
            flow.reset(Reason.LOCAL)
            for circuit in for_sites(client):
                circuit.close(Reason.DONE)
        assert await refusal(client, "another", ALONE) is Reason.SITE_OPTIONS
        client.pool.hop()
        await check_alive(client)
        assert client.pool.counters["build over budget"] == 0


async def test_a_circuit_that_rests_is_given_up_and_one_that_is_used_is_not() -> None:
    async with two_regions() as (_, client):
        resting, used = [await dial(client, key, ALONE) for key in ("one", "two")]
        circuits = [circuit_of(client, flow) for flow in (resting, used)]
        resting.reset(Reason.LOCAL)
        await turns()
        for circuit in circuits:
            age(circuit, SITE_IDLE_S)
        await until(lambda: circuits[0].over)
        assert not circuits[1].over
        assert asyncio.get_running_loop().time() - circuits[1].used_at < 5


async def test_a_key_that_rests_does_not_move_away_from_where_a_site_with_options_goes() -> None:
    """Else a page that opens such sites one after the other would have all others change their circuits."""
    async with two_regions() as (network, client):
        flow = await dial(client, "rests")
        before = circuit_of(client, flow)
        end = before.path[-1].peer
        flow.reset(Reason.LOCAL)
        there = circuit_of(client, await dial(client, "other", SiteOptions(regions=(network.regions[end],))))
        assert there.path[-1].peer == end
        await until(lambda: leads_to(client, {*network.keys[NL:]} - {end}))
        assert circuit_of(client, await dial(client, "rests")) is before


async def test_what_sites_use_does_not_decide_what_is_kept_ready() -> None:
    async with two_regions() as (_, client):
        await client.pool.dial(FlowRequest("echo.example", 8443, "", GERMAN))
        assert 8443 not in client.pool._wishes._ports
        await client.pool.dial(FlowRequest("echo.example", 8443))
        assert 8443 in client.pool._wishes._ports
