"""How a node finds out where it is reached: whom it asks, what it publishes, and who can fool it."""

from __future__ import annotations

from contextlib import asynccontextmanager
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast

import pytest

from core.errors import LinkError, Reason
from core.ids import PeerKey
from node import reachability as reachability_module
from node.reach import Facts, reach
from node.reachability import MAX_ASKED, MAX_DIALLED, Reachability
from peers.observed import NETWORKS_NEEDED
from tests.harness.waiting import turns, until
from tunnel.path import Hop

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from peers.addresses import Address
    from tunnel.link import Link
    from tunnel.links import Links
    from tunnel.observing import Observing

HERE = ("203.0.113.7", 4433)
MAPPED = ("203.0.113.7", 5000)
LIE = ("198.51.100.9", 4433)


class Neighbour:
    """As much of a link as matters here."""

    def __init__(self, host: str, address: Address) -> None:
        self.connection = SimpleNamespace(peer_address=(host, 1))
        self.host = host
        self.address = address


class World:
    """Everything around a node.

    Attributes:
        sees: what peers that are dialled say.
        reaches: addresses at which dial-backs succeed.
        lying: who says so anyway.
        failing: whose dial-backs never succeed.
        published: what the node published.
        asked: who was asked for a dial-back, by network, and where.
        dialled: networks in which a peer was dialled.
    """

    def __init__(self, *, is_private: bool, configured: bool) -> None:
        self.sees: Address | None = HERE
        self.reaches: set[Address] = set()
        self.published: list[Address | None] = []
        self.asked: list[tuple[str, Address]] = []
        self.dialled: list[str] = []
        self.known: list[str] = []
        self.lying: set[str] = set()
        self.failing: set[str] = set()
        facts = Facts(serves=True, configured=configured)
        self.node = Reachability(self._candidates, self.published.append, facts, is_private=is_private)

    def _candidates(self) -> list[Hop]:
        return [Hop(PeerKey(bytes(32)), bytes(32), bytes(32), ((host, 1),)) for host in self.known]

    async def to(self, hop: Hop) -> None:
        self.dialled.append(hop.addresses[0][0])
        if self.sees is None:
            raise LinkError(Reason.NEXT_HOP)
        self.says(hop.addresses[0][0], self.sees)

    async def reached(self, neighbour: Neighbour, port: int) -> bool:
        where = neighbour.address[0], port
        self.asked.append((neighbour.host, where))
        return neighbour.host in self.lying or (where in self.reaches and neighbour.host not in self.failing)

    def says(self, host: str, address: Address) -> Link:
        """A neighbour at a host says where it sees the node."""
        link = cast("Link", Neighbour(host, address))
        self.node.told(link, address)
        return link

    def start(self) -> None:
        parts: Any = self
        self.node.start(cast("Links", parts), cast("Observing", parts))

    @property
    def word(self) -> str:
        return reach(self.node.facts)


@asynccontextmanager
async def world(*, is_private: bool = False, configured: bool = False) -> AsyncIterator[World]:
    made = World(is_private=is_private, configured=configured)
    made.start()
    try:
        yield made
    finally:
        await made.node.close()


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reachability_module, "SETTLE_S", 0.0)


def host(network: int) -> str:
    return f"11.{network}.0.1"


async def test_what_three_networks_see_and_two_reach_is_published() -> None:
    async with world() as around:
        around.reaches = {HERE}
        around.failing = {host(1)}
        for network in range(3):
            around.says(host(network), HERE)
        await until(lambda: around.published)
        assert len(around.asked) == 3
        assert around.published == [HERE]
        assert around.word == "public"


async def test_what_nobody_reaches_is_not() -> None:
    async with world() as around:
        for network in range(3):
            around.says(host(network), HERE)
        await until(lambda: around.published)
        assert around.published == [None]
        assert around.word == "punched"


async def test_a_node_whose_voices_are_too_few_dials_peers_in_other_networks() -> None:
    async with world() as around:
        around.reaches = {HERE}
        around.known = ["11.0.0.9", *(host(network) for network in range(20))]
        around.says(host(0), HERE)
        await until(lambda: HERE in around.published)
        assert around.dialled == [host(network) for network in range(1, NETWORKS_NEEDED + MAX_DIALLED)]


async def test_peers_that_do_not_answer_are_not_dialled_without_end() -> None:
    async with world() as around:
        around.sees = None
        around.known = [host(network) for network in range(50)]
        around.says(host(0), HERE)
        await until(lambda: around.dialled)
        await turns()
        assert len(around.dialled) == NETWORKS_NEEDED + MAX_DIALLED - 1
        assert around.word == "unknown"


async def test_in_a_private_network_one_neighbour_is_enough() -> None:
    async with world(is_private=True) as around:
        around.reaches = {HERE}
        around.says(host(0), HERE)
        await until(lambda: around.published)
        assert around.published == [HERE]


async def test_a_node_that_was_told_its_address_asks_nobody() -> None:
    async with world(configured=True) as around:
        for network in range(3):
            around.says(host(network), HERE)
        await turns()
        assert not around.asked
        assert not around.published
        assert around.word == "public"


async def test_neighbours_of_one_network_prove_nothing() -> None:
    async with world() as around:
        around.sees = None
        around.reaches = {LIE}
        for number in range(50):
            around.says(f"11.0.0.{number + 1}", LIE)
        await turns()
        assert not around.asked
        assert not around.published


async def test_one_liar_cannot_vouch_for_a_dial_back() -> None:
    async with world() as around:
        around.lying = {host(1)}
        for network in range(3):
            around.says(host(network), LIE)
        await until(lambda: around.published)
        assert len(around.asked) == 3
        assert around.published == [None]


async def test_few_neighbours_are_asked_however_many_there_are() -> None:
    async with world() as around:
        for network in range(40):
            around.says(host(network), HERE)
        await until(lambda: around.published)
        assert len(around.asked) == MAX_ASKED


async def test_ports_that_vary_are_seen() -> None:
    async with world() as around:
        for network in range(3):
            around.says(host(network), (HERE[0], 1000 + network))
        await turns()
        assert not around.asked
        assert around.word == "behind-nat"


async def test_an_address_that_changes_is_tried_anew() -> None:
    async with world() as around:
        around.reaches = {HERE, LIE}
        links = [around.says(host(network), HERE) for network in range(3)]
        await until(lambda: around.published == [HERE])
        for link in links:
            around.node.link_down(link)
        for network in range(3):
            around.says(host(network), LIE)
        await until(lambda: around.published[-1] == LIE)


async def test_what_was_found_stays_while_there_is_nobody_to_ask() -> None:
    async with world(is_private=True) as around:
        around.reaches = {HERE}
        link = around.says(host(0), HERE)
        await until(lambda: around.published == [HERE])
        around.node.link_down(link)
        await around.node._try()
        assert around.published == [HERE]
        assert around.word == "public"


async def test_a_forwarded_port_is_tried_at_the_host_that_neighbours_see() -> None:
    async with world() as around:
        around.reaches = {MAPPED}
        for network in range(3):
            around.says(host(network), (HERE[0], 1000 + network))
        around.node.mapped(MAPPED)
        await until(lambda: around.published == [MAPPED])
        assert around.word == "mapped"

        around.node.mapped(None)
        await until(lambda: around.published[-1] is None)
        assert around.word == "behind-nat"


async def test_a_forwarded_port_at_another_host_is_only_a_claim() -> None:
    async with world() as around:
        around.reaches = {LIE}
        for network in range(3):
            around.says(host(network), HERE)
        around.node.mapped(LIE)
        await turns()
        assert not around.asked
        assert around.word == "unknown"


async def test_where_a_node_may_be_is_what_neighbours_and_its_router_say() -> None:
    async with world() as made:
        assert made.node.hosts == set()
        made.node.mapped(("192.0.2.77", 5000))
        made.says(host(1), HERE)
        assert made.node.hosts == {"192.0.2.77", HERE[0]}
        made.node.mapped(None)
        assert made.node.hosts == {HERE[0]}
