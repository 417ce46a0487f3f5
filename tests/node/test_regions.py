"""What a node's own circuits tell of the regions that exits claim: real engines, over UDP that takes its time."""

from __future__ import annotations

import asyncio
import logging
import random
import time
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import pytest

from node.regions import RegionWatch
from node.running import RunningNode
from node.settings import NodeSettings, PeersSettings, Settings
from peers.descriptor import Role
from peers.path_draw import Place
from peers.path_search import PathRules
from peers.places import read_database
from peers.regions import Standing
from tests.harness.lossy import lossy
from tests.harness.network import Echo, Network
from tests.harness.waiting import turns, until
from tests.peers.build import plain
from tunnel.circuit_witness import NoWitness

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from core.ids import PeerKey
    from peers.descriptor import Descriptor
    from peers.places import Database
    from tunnel.path import Path as Hops
    from tunnel.service import Tunnel

# Addresses that everybody knows, and where the database puts them.
GERMAN, DUTCH, SWISS, SOUTH_AFRICAN = "78.46.0.1", "193.0.6.139", "129.132.19.216", "196.216.2.6"

NEAR_S = 0.003
"""One way between neighbours in Europe."""
FAR_S = 0.06
"""One way to South Africa, 8,000 km from the Netherlands; light in fibre takes 40 ms."""


def settings(region: str = "", address: str = "") -> Settings:
    return Settings(node=NodeSettings(region=region), peers=PeersSettings(address=address))


def nobody(peer: PeerKey) -> Descriptor | None:
    """Knows no peer."""
    return None


class Teller(NoWitness):
    """Tells a watch how long exits took to answer, as a node does."""

    watch: RegionWatch | None = None

    def answered(self, path: Hops, link_rtt_s: float | None, rtt_s: float) -> None:
        if self.watch is not None:
            self.watch.answered(path, rtt_s)


@dataclass
class Far:
    """A client of a path of three, and what it knows."""

    network: Network
    client: Tunnel
    teller: Teller
    known: dict[PeerKey, Descriptor]
    exits: list[Descriptor]

    async def settled(self, watch: RegionWatch, place: int) -> Standing:
        """Use one of the exits until it has answered often and for a while; then say what is thought of its region."""
        self.network.paths = [[0, 1, 2 + place]]
        self.client.pool.hop()
        loop, times = asyncio.get_running_loop(), dict[float, float]()

        def answered_for_a_while() -> bool:
            for circuit in self.client.pool.circuits:
                circuit.pulse.ping()
                if circuit.rtt_s is not None and circuit.path[-1].peer == self.exits[place].peer:
                    times.setdefault(circuit.rtt_s, loop.time())
            return len(times) >= 10 and max(times.values()) - min(times.values()) > 4.5

        await until(answered_for_a_while, 30.0)
        return watch.standing(self.exits[place])


@asynccontextmanager
async def far(*exits: tuple[str, str, float]) -> AsyncIterator[Far]:
    """A German guard, a Dutch relay, and exits of which each has an address, a claimed region, and the time that its
    packets take one way."""
    nodes = [(GERMAN, "", NEAR_S), (DUTCH, "", NEAR_S), *exits]
    network, known = Network(), {}
    async with AsyncExitStack() as stack:
        stack.push_async_callback(network.close)
        for number, (host, region, delay_s) in enumerate(nodes):
            await network.add(Echo() if number > 1 else None)
            hop = network.hops[network.keys[number]]
            path, address = await stack.enter_async_context(lossy(hop.addresses[0]))
            path.delay_s = delay_s
            network.hops[hop.peer] = replace(hop, addresses=(address,))
            role = Role.EXIT if number > 1 else Role.RELAY
            known[hop.peer] = replace(plain(number, role, (host,)), peer=hop.peer, region=region)
        teller = Teller()
        client = network.client(teller)
        network.paths = [[0, 1, 2]]
        await client.start(0, client=True)
        await until(lambda: client.pool.ready, 20.0)
        yield Far(network, client, teller, known, [known[key] for key in network.keys[2:]])


@asynccontextmanager
async def watching(net: Far, region: str = "") -> AsyncIterator[RegionWatch]:
    watch = RegionWatch(settings(region), net.known.get)
    watch.start()
    net.teller.watch = watch
    try:
        yield watch
    finally:
        await watch.close()


@pytest.mark.parametrize(
    ("own", "address", "before"),
    [
        pytest.param("", SWISS, Standing.CLAIMED, id="the database knows better", marks=pytest.mark.long),
        pytest.param("DE", SOUTH_AFRICAN, Standing.LIKELY, id="only light knows"),
    ],
)
async def test_an_exit_that_is_8000_km_from_where_it_says_is_found_out(
    own: str, address: str, before: Standing
) -> None:
    async with (
        far((address, "ZA", NEAR_S), (SOUTH_AFRICAN, "ZA", FAR_S)) as net,
        watching(net, own) as watch,
    ):
        liar, honest = net.exits
        assert watch.standing(liar) is before
        assert await net.settled(watch, 0) is Standing.CONTRADICTED
        assert watch.facts(liar) == {"region": "", "claimed_region": "ZA", "region_check": "contradicted"}
        assert await net.settled(watch, 1) is Standing.LIKELY
        rules = PathRules(3, lambda host: True, region_of=watch.region, regions=("ZA",))
        assert [rules.may_end_at(found) for found in net.exits] == [False, True]
        assert watch.facts(honest) == {"region": "ZA", "claimed_region": "ZA", "region_check": "likely"}

        # The one that was found out says where it is, and is believed.
        corrected = net.known[liar.peer] = replace(liar, region="CH")
        assert watch.standing(corrected) is (Standing.LIKELY if address == SWISS else Standing.CLAIMED)


@pytest.mark.parametrize(
    ("region", "address", "country"),
    [("NL", GERMAN, "NL"), ("US-CA", "", "US"), ("", GERMAN, "DE"), ("", "127.20.0.1", ""), ("", "", "")],
)
async def test_the_own_country_is_what_the_settings_say(region: str, address: str, country: str) -> None:
    watch = RegionWatch(settings(region, address), nobody)
    assert watch.own_country == country
    assert watch.asn_of(GERMAN) == 24940


@pytest.mark.parametrize(("address", "wanted"), [("", True), (GERMAN, True), ("127.20.0.1", False)])
async def test_the_database_is_read_ahead_unless_the_own_address_is_private(address: str, wanted: bool) -> None:
    times = []

    def read() -> Database:
        times.append(True)
        return read_database()

    watch = RegionWatch(settings("", address), nobody, read)
    watch.start()
    if wanted:
        await until(lambda: times)
    else:
        await turns()
        await asyncio.to_thread(lambda: None)  # what went to a thread before has begun by now
    await watch.close()
    assert bool(times) is wanted


async def test_without_the_database_a_warning_says_so_and_claims_are_only_claims(
    caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    watch = RegionWatch(settings("DE"), nobody, lambda: read_database(tmp_path))
    with caplog.at_level(logging.WARNING):
        assert watch.standing(replace(plain(1, Role.EXIT, (SWISS,)), region="ZA")) is Standing.CLAIMED
        assert watch.asn_of(GERMAN) is None
    assert caplog.text.count("regions are not checked") == 1


async def test_distance_is_known_for_addresses_that_the_database_knows(tmp_path: Path) -> None:
    def expected(watch: RegionWatch) -> list[float | None]:
        expect = watch.seen_from([plain(1, Role.RELAY, (GERMAN,))])
        return [expect(plain(2, Role.EXIT, (host,))) for host in (DUTCH, SOUTH_AFRICAN, "127.20.0.1")]

    near, far, unknown = expected(RegionWatch(settings(), nobody))
    assert near is not None
    assert far is not None
    assert near < 0.05 < 0.1 < far
    assert unknown is None
    assert expected(RegionWatch(settings(), nobody, lambda: read_database(tmp_path))) == [None] * 3


async def test_who_meets_only_private_addresses_needs_no_database_for_distance() -> None:
    times = []

    def read() -> Database:
        times.append(True)
        return read_database()

    watch = RegionWatch(settings("NL", "127.20.0.1"), nobody, read)
    expect = watch.seen_from([plain(1, Role.RELAY, ("127.21.0.1",))])
    assert expect(plain(2, Role.EXIT, ("127.22.0.1",))) is None
    assert not times


async def test_a_whole_node_looks_at_distance(tmp_path: Path) -> None:
    node = RunningNode(settings(), tmp_path)
    kept = plain(1, Role.RELAY, (GERMAN,))
    node._peering.directory.insert(kept, None)
    node._choosing.pins.pin_second(kept.peer, time.time(), random.Random(1))
    weighing = node._choosing.choice.weighing(0.0)
    near, far = (weighing.figures(plain(2, Role.EXIT, (host,)), Place.EXIT) for host in (DUTCH, SOUTH_AFRICAN))
    assert near.rtt_s < 0.05 < 0.1 < far.rtt_s
