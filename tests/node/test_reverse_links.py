"""Nodes that nobody can dial: relays that hold links to them, and whose word counts."""

from __future__ import annotations

import time
from contextlib import asynccontextmanager
from types import SimpleNamespace
from typing import TYPE_CHECKING

import pytest

from node import holding as holding_module
from node import peering as peering_module
from node import reverse_links as reverse_links_module
from node.holding import ASK_BURST, HOLD_LIFE_S, Holding
from node.peering import DESCRIPTOR_LIFE_S, Peering
from node.reverse_links import RENEW_S, ReverseLinks
from node.settings import PeersSettings
from peers.descriptor import Descriptor, Role
from peers.holds import MAX_HOLDS, encode_word, give
from peers.identity import Identity
from peers.onion import OnionKeys
from tests.harness.waiting import turns, until
from tests.harness.wire import Board
from tunnel import links as links_module
from tunnel.control import Kind
from tunnel.path import Hop
from tunnel.service import Tunnel, TunnelParts

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable
    from pathlib import Path

    from core.ids import PeerKey
    from tunnel.link import Link


class Node:
    """One node, with everything that has to do with reverse links.

    Args:
        board: where engines find each other.
        folder: for its keys.
        host: where others dial it; empty for one that cannot be dialled.
        role: what it does for others.
        is_private: as for `ReverseLinks`.
    """

    def __init__(self, board: Board, folder: Path, host: str, role: Role, *, is_private: bool = False) -> None:
        self.identity = Identity.load(folder)
        onion = OnionKeys(folder, 0, time.time())
        settings = PeersSettings(address=host)
        self.peering = Peering(settings, folder, self.identity, onion, role, "", b"", lambda: None, lambda keys: None)
        self.reverse = ReverseLinks(self.peering, is_private=is_private)
        self.peering.on_published = self.reverse.published
        self.holding = Holding(self.peering, relays=Role.RELAY in role, is_private=is_private)
        self.words: list[bytes] = []
        self.answers: Callable[[Link, bytes], None] = self.holding.asked
        self.tunnel = Tunnel(
            board.engine(),
            TunnelParts(
                address_ok=self.peering.may_dial,
                link_key=self.identity.link_private,
                onion_keys=onion.privates,
                descriptor=self.peering.descriptor,
                locate=self.peering.locate,
                relays=Role.RELAY in role,
                link_down=self._down,
                holding=self._heard,
            ),
        )

    def _down(self, link: Link) -> None:
        self.reverse.link_down(link)
        self.holding.link_down(link)

    def _heard(self, link: Link, kind: Kind, body: bytes) -> None:
        if kind is Kind.HOLD:
            self.answers(link, body)
        else:
            self.words.append(body)
            self.reverse.told(link, body)

    @property
    def links(self) -> list[Link]:
        return list(self.tunnel.links)

    @property
    def published(self) -> Descriptor:
        raw = self.peering.descriptor()
        assert raw is not None
        return Descriptor.decode(raw, time.time())

    def via(self) -> set[PeerKey]:
        """Who holds links to it, as its descriptor says."""
        return {hold.relay for hold in self.published.via}

    def knows(self, *others: Node) -> None:
        for other in others:
            self.peering.learn(other.published, None)

    async def link_to(self, other: Node) -> Link:
        found = other.published
        return await self.tunnel.links.to(Hop(found.peer, found.link_key, bytes(32), found.addresses))

    async def ask(self, link: Link, descriptor: bytes) -> bytes:
        """Ask for a word, and return it."""
        count = len(self.words)
        link.tell(Kind.HOLD, descriptor)
        await until(lambda: len(self.words) > count or link.closed)
        return self.words[-1] if len(self.words) > count else b"closed"


type Make = Callable[..., Awaitable[Node]]


@asynccontextmanager
async def street(folder: Path) -> AsyncIterator[Make]:
    """Nodes are made with a host and a role, and all go at the end."""
    board, nodes = Board(), list[Node]()

    async def make(host: str = "", role: Role = Role.RELAY, *, is_private: bool = False) -> Node:
        node = Node(board, folder / f"node-{len(nodes)}", host, role, is_private=is_private)
        nodes.append(node)
        node.peering.publish(await node.tunnel.start(0, client=False))
        return node

    try:
        yield make
    finally:
        for node in nodes:
            await node.reverse.close()
            await node.tunnel.close()


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reverse_links_module, "FIRST_PAUSE_S", 0.01)
    monkeypatch.setattr(reverse_links_module, "LONGEST_PAUSE_S", 0.02)


def host(number: int) -> str:
    return f"11.{number}.0.1"


# -- the peer at home


async def test_it_names_three_relays_that_hold_links_and_they_extend_over_those(tmp_path: Path) -> None:
    async with street(tmp_path) as make:
        relays = [await make(host(number)) for number in range(5)]
        home = await make("", Role.EXIT)
        home.knows(*relays)
        home.reverse.start(home.tunnel.links)
        await until(lambda: len(home.via()) == MAX_HOLDS)
        assert home.reverse.count == MAX_HOLDS
        assert home.via() <= {relay.identity.peer for relay in relays}
        for relay in relays:
            known = relay.peering.locate(home.identity.peer)
            if relay.identity.peer in home.via():
                assert known is not None
                assert known.addresses == ()
                link = await relay.tunnel.links.to(known)
                assert not link.dialled
                assert [link] == relay.links
            else:
                assert known is None


async def test_links_to_relays_that_refused_do_not_stay(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(links_module, "NEEDLESS_S", -1.0)
    monkeypatch.setattr(links_module, "NEEDLESS_LINKS", 0)
    async with street(tmp_path) as make:
        relays = [await make(host(number)) for number in range(3)]
        refuses, home = relays[0], await make("", Role.EXIT)
        refuses.answers = lambda link, body: link.tell(Kind.HELD, b"")
        own = await home.link_to(relays[1])
        home.knows(*relays)
        home.reverse.start(home.tunnel.links)
        await until(lambda: home.reverse.count == 2 and len(home.links) == 3)
        home.tunnel.links.close_needless()
        await until(lambda: len(home.links) == 2)
        assert own.is_up
        assert home.via() == {relay.identity.peer for relay in relays[1:]}
        assert {link.peer for link in home.links} == home.via()


async def test_only_relays_are_asked(tmp_path: Path) -> None:
    async with street(tmp_path) as make:
        relay, exit_only, home = await make(host(1)), await make(host(2), Role.EXIT), await make()
        home.knows(relay, exit_only)
        home.reverse.start(home.tunnel.links)
        await until(home.via)
        await turns()
        assert home.via() == {relay.identity.peer}
        assert not exit_only.links


async def test_a_relay_that_goes_is_replaced_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reverse_links_module, "LONGEST_PAUSE_S", 60.0)
    async with street(tmp_path) as make:
        relays = {relay.identity.peer: relay for relay in [await make(host(number)) for number in range(4)]}
        home = await make()
        home.knows(*relays.values())
        home.reverse.start(home.tunnel.links)
        await until(lambda: len(home.via()) == MAX_HOLDS)
        first, sequence = home.via(), home.published.sequence
        gone, spare = relays[next(iter(first))], next(iter(relays.keys() - first))
        await gone.tunnel.close()
        await until(lambda: home.via() == first - {gone.identity.peer} | {spare})
        assert home.published.sequence > sequence
        for relay in relays.values():
            await relay.tunnel.close()
        await until(lambda: not home.via())


@pytest.mark.parametrize(("is_private", "count"), [(False, 1), (True, 2)])
async def test_relays_of_one_network_count_once_unless_people_chose_them(
    tmp_path: Path, is_private: bool, count: int
) -> None:
    async with street(tmp_path) as make:
        relays = [await make("11.1.0.1"), await make("11.1.0.2")]
        home = await make(is_private=is_private)
        home.knows(*relays)
        home.reverse.start(home.tunnel.links)
        await until(lambda: len(home.via()) == count)
        await turns()
        assert len(home.via()) == count


async def test_who_can_be_dialled_names_nobody(tmp_path: Path) -> None:
    async with street(tmp_path) as make:
        relay, home = await make(host(1)), await make()
        home.knows(relay)
        home.reverse.start(home.tunnel.links)
        await until(home.via)
        home.peering.reachable_at(("11.7.0.1", 4433))
        assert home.published.addresses == (("11.7.0.1", 4433),)
        assert not home.via()
        await until(lambda: not home.reverse.count)
        home.peering.reachable_at(None)
        await until(home.via)


async def test_words_are_asked_for_anew_before_they_shorten_a_descriptor(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with street(tmp_path) as make:
        relay, home = await make(host(1)), await make()
        home.knows(relay)
        home.reverse.start(home.tunnel.links)
        await until(home.via)
        (before,) = home.published.via
        assert before.expiry - time.time() > RENEW_S > DESCRIPTOR_LIFE_S
        ahead = HOLD_LIFE_S - RENEW_S + 60
        later = SimpleNamespace(time=lambda: time.time() + ahead)
        for module in (peering_module, reverse_links_module, holding_module):
            monkeypatch.setattr(module, "time", later)
        home.peering.publish(4433)
        await until(lambda: home.published.via[0].expiry >= before.expiry + ahead - 1)


async def test_who_offers_nothing_asks_nobody(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with street(tmp_path) as make:
        relay, home = await make(host(1)), await make()
        home.peering.offer(Role.NONE)
        home.knows(relay)
        rounds: list[object] = []
        monkeypatch.setattr(home.peering, "held_by", rounds.append)
        home.reverse.start(home.tunnel.links)
        await until(lambda: len(rounds) > 2)
        assert not relay.links


async def test_who_offers_something_again_asks_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for pause in ("FIRST_PAUSE_S", "LONGEST_PAUSE_S"):
        monkeypatch.setattr(reverse_links_module, pause, 60.0)
    async with street(tmp_path) as make:
        relay, home = await make(host(1)), await make()
        home.peering.offer(Role.NONE)
        home.knows(relay)
        home.reverse.start(home.tunnel.links)
        await turns()
        home.peering.offer(Role.RELAY)
        await until(home.via, 2.0)


async def test_who_offers_nothing_keeps_the_links_that_it_has(tmp_path: Path) -> None:
    async with street(tmp_path) as make:
        relay, home = await make(host(1)), await make()
        home.knows(relay)
        home.reverse.start(home.tunnel.links)
        await until(home.via)
        (link,) = home.links
        home.peering.offer(Role.NONE)
        await turns()
        home.peering.offer(Role.RELAY)
        assert home.via() == {relay.identity.peer}
        assert home.links == [link]
        assert not relay.holding.counters


@pytest.mark.parametrize("wrong", ["short", "for another", "of another"])
async def test_a_word_that_is_worth_nothing_is_not_published(tmp_path: Path, wrong: str) -> None:
    async with street(tmp_path) as make:
        relay, home = await make(host(1)), await make()
        expiry = int(time.time()) + (RENEW_S - 60 if wrong == "short" else HOLD_LIFE_S)
        peer = Identity.ephemeral().peer if wrong == "for another" else home.identity.peer
        word = encode_word(give(Identity.ephemeral() if wrong == "of another" else relay.identity, peer, expiry))
        relay.answers = lambda link, body: link.tell(Kind.HELD, word)
        home.knows(relay)
        home.reverse.start(home.tunnel.links)
        await until(lambda: len(home.words) > 2)
        assert not home.via()


async def test_a_word_of_a_wrong_length_ends_the_link(tmp_path: Path) -> None:
    async with street(tmp_path) as make:
        relay, home = await make(host(1)), await make()
        link = await home.link_to(relay)
        asking = home.reverse._ask(link, relay.identity.peer)
        relay.links[0].tell(Kind.HELD, b"x")
        await until(lambda: home.words)
        assert link.is_up, "nobody asked for it"
        relay.answers = lambda link, body: link.tell(Kind.HELD, b"x")
        assert await asking is None
        assert link.closed


# -- the relay


async def test_a_relay_gives_its_word_to_who_asks_for_himself(tmp_path: Path) -> None:
    async with street(tmp_path) as make:
        relay, home, other = await make(host(1)), await make(), await make()
        link = await home.link_to(relay)
        assert await home.ask(link, other.published.raw) == b""
        assert relay.holding.counters == {"hold for another peer": 1}
        assert relay.peering.locate(other.identity.peer) is None
        assert len(await home.ask(link, home.published.raw)) == 72


@pytest.mark.parametrize(
    ("host", "role", "asker", "asker_role"),
    [
        ("", Role.RELAY, "", Role.RELAY),
        (host(1), Role.EXIT, "", Role.RELAY),
        (host(1), Role.RELAY, host(2), Role.RELAY),
        (host(1), Role.RELAY, "", Role.NONE),
    ],
    ids=["not to be dialled", "no relay", "needs no word", "serves nobody"],
)
async def test_it_gives_none(tmp_path: Path, host: str, role: Role, asker: str, asker_role: Role) -> None:
    async with street(tmp_path) as make:
        relay, home = await make(host, role), await make(asker, asker_role)
        found = relay.published
        where = ((host or "11.5.0.1", relay.peering._port),)
        link = await home.tunnel.links.to(Hop(found.peer, found.link_key, bytes(32), where))
        assert await home.ask(link, home.published.raw) == b""
        assert sum(relay.holding.counters.values()) == 1


async def test_whom_the_relay_dialled_needs_no_word(tmp_path: Path) -> None:
    async with street(tmp_path) as make:
        relay, home = await make(host(1)), await make()
        found = home.published
        await relay.tunnel.links.to(Hop(found.peer, found.link_key, bytes(32), ((host(2), home.peering._port),)))
        await until(lambda: home.links)
        assert await home.ask(home.links[0], home.published.raw) == b""


async def test_it_holds_so_many_and_a_link_that_goes_makes_room(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(holding_module, "MAX_HELD", 1)
    async with street(tmp_path) as make:
        relay, first, second = await make(host(1)), await make(), await make()
        links = [await first.link_to(relay), await second.link_to(relay)]
        assert await first.ask(links[0], first.published.raw)
        assert not await second.ask(links[1], second.published.raw)
        assert await first.ask(links[0], first.published.raw)
        links[0].close()
        await until(lambda: len(relay.links) == 1)
        assert await second.ask(links[1], second.published.raw)


async def test_one_link_asks_so_often(tmp_path: Path) -> None:
    async with street(tmp_path) as make:
        relay, home, other = await make(host(1)), await make(), await make()
        link = await home.link_to(relay)
        words = [await home.ask(link, home.published.raw) for _ in range(ASK_BURST + 2)]
        assert [bool(word) for word in words] == [True] * ASK_BURST + [False] * 2
        assert await other.ask(await other.link_to(relay), other.published.raw)


async def test_what_is_no_descriptor_ends_the_link_and_an_old_one_does_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with street(tmp_path) as make:
        relay, home = await make(host(1)), await make()
        link = await home.link_to(relay)
        with monkeypatch.context() as patch:
            patch.setattr(holding_module, "time", SimpleNamespace(time=lambda: time.time() + DESCRIPTOR_LIFE_S + 1))
            assert await home.ask(link, home.published.raw) == b""
        assert await home.ask(link, home.published.raw[:-1]) == b"closed"
