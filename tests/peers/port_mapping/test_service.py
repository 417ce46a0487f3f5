"""Who asks when: the order of protocols, renewal, another gateway, a lost mapping, and the end."""

from __future__ import annotations

import asyncio
import time
from functools import partial
from typing import TYPE_CHECKING

import pytest

from peers.port_mapping import service
from peers.port_mapping.gateway import Gateway
from peers.port_mapping.mapping import Mapping, MappingError
from peers.port_mapping.service import MAPPERS, Pace, PortMapping, State
from tests.harness.waiting import turns, until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from peers.addresses import Address

GATEWAY = Gateway("192.168.1.1", "192.168.1.2")
PUBLIC = ("20.0.0.1", 4444)
PORT = 4444
QUICK = Pace(0.01, 0.01, 0.01)


class FakeMapper:
    """Implements `Mapper` as the test has it."""

    def __init__(self, mapping: Mapping | None) -> None:
        self.mapping = mapping
        self.standing = True
        self.silent = False
        self.done: list[str] = []

    async def map(self) -> Mapping:
        self.done.append("map")
        if self.mapping is None or self.silent:
            raise MappingError("fake", "no")
        return self.mapping

    async def stands(self) -> bool:
        self.done.append("stands")
        if self.silent:
            raise MappingError("fake", "no")
        return self.standing

    async def unmap(self) -> None:
        self.done.append("unmap")
        if self.silent:
            await asyncio.Event().wait()

    def close(self) -> None:
        self.done.append("close")


class World:
    """A port mapping, what it finds, and what it tells."""

    def __init__(self) -> None:
        self.gateway: Gateway | None = GATEWAY
        self.mappers = {state: FakeMapper(None) for state, _ in MAPPERS}
        self.told: list[Address | None] = []
        self.mapping: PortMapping | None = None

    async def find(self) -> Gateway | None:
        return self.gateway

    def start(self, pace: Pace = QUICK) -> PortMapping:
        self.mapping = PortMapping(
            PORT,
            self.told.append,
            lambda host: host.startswith("20."),
            mappers=[(state, partial(self._make, state)) for state, _ in MAPPERS],
            find=self.find,
            pace=pace,
        )
        self.mapping.start()
        return self.mapping

    def _make(self, state: State, gateway: Gateway, port: int) -> FakeMapper:
        return self.mappers[state]

    def works(self, state: State, address: Address = PUBLIC, lifetime_s: int = 3600) -> FakeMapper:
        self.mappers[state].mapping = Mapping(address, lifetime_s)
        return self.mappers[state]


@pytest.fixture
async def world() -> AsyncIterator[World]:
    made = World()
    yield made
    if made.mapping is not None:
        await made.mapping.close()


async def test_the_first_that_works_is_told(world: World) -> None:
    world.works(State.UPNP)
    fake = world.works(State.NAT_PMP)
    mapping = world.start()
    assert str(mapping.state) == "searching"
    await until(lambda: world.told == [PUBLIC])
    assert mapping.state is State.NAT_PMP
    assert world.mappers[State.PCP].done == ["map", "close"]
    assert world.mappers[State.UPNP].done == []
    await until(lambda: fake.done.count("stands") > 3)
    assert fake.done.count("map") == 1
    assert world.told == [PUBLIC], "told again"


async def test_at_the_end_the_mapping_is_deleted_and_nobody_told(world: World) -> None:
    fake = world.works(State.PCP)
    mapping = world.start()
    await until(lambda: world.told)
    await mapping.close()
    assert fake.done[-2:] == ["unmap", "close"]
    assert mapping.state is State.OFF
    assert world.told == [PUBLIC]


async def test_a_gateway_that_does_not_answer_does_not_hold_the_end_up(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(service, "UNMAP_LIMIT_S", 0.05)
    fake = world.works(State.PCP)
    mapping = world.start(Pace(60.0))
    await until(lambda: world.told)
    fake.silent = True
    async with asyncio.timeout(5):
        await mapping.close()
    assert fake.done[-2:] == ["unmap", "close"]


async def test_nothing_works_and_is_tried_again(world: World) -> None:
    mapping = world.start()
    await until(lambda: mapping.state is State.NONE)
    world.works(State.UPNP)
    await until(lambda: world.told == [PUBLIC])
    assert mapping.state is State.UPNP


async def test_pauses_between_searches_grow(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    waited: list[float] = []

    async def wait(self: PortMapping, gateway: Gateway | None, limit_s: float) -> None:
        waited.append(limit_s)
        await turns(1)

    monkeypatch.setattr(PortMapping, "_wait_for_change", wait)
    world.start(Pace(retry_s=60, longest_retry_s=200))
    await until(lambda: len(waited) > 4)
    assert waited[:5] == [60, 120, 200, 200, 200]


@pytest.mark.parametrize("gateway", [None, Gateway("20.0.0.1", "20.0.0.2")])
async def test_without_a_gateway_or_with_a_public_address_nobody_is_asked(
    world: World, gateway: Gateway | None
) -> None:
    world.works(State.PCP)
    world.gateway = gateway
    mapping = world.start()
    await until(lambda: mapping.state is State.NONE)
    assert all(fake.done == [] for fake in world.mappers.values())
    world.gateway = GATEWAY
    await until(lambda: world.told == [PUBLIC])


@pytest.mark.parametrize(
    ("host", "state"),
    [
        ("100.64.0.1", State.BEHIND_ANOTHER_NAT),
        ("192.168.0.1", State.BEHIND_ANOTHER_NAT),
        ("0.0.0.0", State.NONE),
        ("::", State.NONE),
    ],
)
async def test_an_address_that_is_not_public_is_not_told(world: World, host: str, state: State) -> None:
    fake = world.works(State.PCP, (host, PORT))
    mapping = world.start()
    await until(lambda: mapping.state is state)
    assert world.told == []
    fake.mapping, fake.standing = Mapping(PUBLIC, 3600), False
    await until(lambda: world.told == [PUBLIC])
    assert mapping.state is State.PCP


async def test_a_mapping_is_renewed_at_half_of_its_life(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(service, "SHORTEST_LEASE_S", 0.1)
    fake = world.works(State.PCP, lifetime_s=0)
    world.start(Pace(60.0))
    loop = asyncio.get_running_loop()
    began = loop.time()
    await until(lambda: fake.done.count("map") == 5)
    assert 0.2 <= loop.time() - began < 2
    assert "stands" not in fake.done


@pytest.mark.parametrize(("lifetime_s", "due_s"), [(3600, 1800), (1, 15), (2**32 - 1, 43200)])
def test_a_life_without_sense_is_bounded(lifetime_s: int, due_s: float, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(time, "time", lambda: 1000.0)
    mapping = PortMapping(PORT, lambda address: None, lambda host: True)
    assert mapping._accept(State.PCP, Mapping(PUBLIC, lifetime_s)) == 1000 + due_s


async def test_a_gateway_that_started_anew_is_asked_at_once(world: World) -> None:
    fake = world.works(State.PCP)
    world.start()
    await until(lambda: world.told)
    fake.standing, fake.mapping = False, Mapping(("20.0.0.1", 5555), 3600)
    await until(lambda: world.told == [PUBLIC, ("20.0.0.1", 5555)])


async def test_a_silent_gateway_loses_the_mapping_after_three_checks(world: World) -> None:
    fake = world.works(State.PCP)
    mapping = world.start()
    await until(lambda: world.told)
    fake.done.clear()
    fake.silent = True
    await until(lambda: world.told == [PUBLIC, None])
    assert fake.done[:4] == ["stands", "map", "map", "close"]
    assert mapping.state in (State.SEARCHING, State.NONE)
    fake.silent = False
    await until(lambda: world.told == [PUBLIC, None, PUBLIC])


async def test_one_silent_check_changes_nothing(world: World) -> None:
    fake = world.works(State.PCP)
    world.start()
    await until(lambda: world.told)
    fake.silent = True
    before = len(fake.done)
    await until(lambda: len(fake.done) > before)
    fake.silent = False
    await until(lambda: fake.done[-3:] == ["stands"] * 3)
    assert world.told == [PUBLIC]


async def test_another_gateway_is_asked(world: World) -> None:
    fake = world.works(State.PCP)
    world.start()
    await until(lambda: world.told)
    fake.mapping = Mapping(("20.0.0.7", PORT), 3600)
    world.gateway = Gateway("10.0.0.1", "10.0.0.2")
    await until(lambda: world.told == [PUBLIC, None, ("20.0.0.7", PORT)])


def test_pcp_comes_first_and_upnp_last() -> None:
    states: Sequence[State] = [state for state, _ in MAPPERS]
    assert states == [State.PCP, State.NAT_PMP, State.UPNP]
