"""A node's own descriptor over time: its life, its keys, and what happens when they change."""

from __future__ import annotations

import asyncio
import secrets
import time
from contextlib import asynccontextmanager
from types import SimpleNamespace
from typing import TYPE_CHECKING, cast

import pytest

from core.errors import ConfigError, LinkError, Reason
from node import peering as peering_module
from node.peering import CLOCK_S, DESCRIPTOR_LIFE_S, LINKS_KEPT, PUBLIC, TIDY_S, Peering
from node.settings import PeersSettings
from peers.addresses import format_address
from peers.descriptor import Descriptor, Role
from peers.identity import Identity
from peers.invite import Introduction, Invite
from peers.networks import NONCE_BYTES, Network
from peers.onion import DAY_S, OVERLAP_S, OnionKeys
from tests.harness.linked import Events
from tests.harness.waiting import until
from tests.harness.wire import Board
from tests.peers.build import host, identity, signed
from tunnel.limits import BUILD_S, CLOCK_SKEW_S
from tunnel.links import Links
from tunnel.path import Hop

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path

    from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

    from peers.addresses import Address


class Clock:
    """The time of day as a node sees it: it begins a little before midnight, and can be set."""

    def __init__(self, before_midnight_s: float) -> None:
        self._ahead_s = 20_000 * DAY_S - before_midnight_s - time.monotonic()

    def time(self) -> float:
        return time.monotonic() + self._ahead_s

    def set_on(self, by_s: float) -> None:
        self._ahead_s += by_s


class Node:
    """A peering that publishes, and what it told the tunnel."""

    def __init__(self, folder: Path, clock: Clock) -> None:
        self._clock = clock
        self.folder = folder / "keys"
        self.used: list[tuple[bytes, ...]] = []
        self.published_when_used: list[bytes | None] = []
        identity = Identity.load(self.folder)
        self.onion = OnionKeys(self.folder, 0, clock.time())
        settings = PeersSettings(address="203.0.113.7")
        self.peering = Peering(
            settings, folder, identity, self.onion, Role.RELAY, "", b"", lambda: None, self._keys_changed
        )

    def _keys_changed(self, keys: list[X25519PrivateKey]) -> None:
        self.used.append(tuple(key.public_key().public_bytes_raw() for key in keys))
        self.published_when_used.append(self.peering.descriptor())

    @property
    def descriptor(self) -> Descriptor:
        raw = self.peering.descriptor()
        assert raw is not None
        return Descriptor.decode(raw, self._clock.time())


@asynccontextmanager
async def renewing(
    folder: Path, patch: pytest.MonkeyPatch, before_midnight_s: float
) -> AsyncIterator[tuple[Node, Clock]]:
    clock = Clock(before_midnight_s)
    patch.setattr(peering_module, "time", SimpleNamespace(time=clock.time))
    patch.setattr(peering_module, "CLOCK_S", 0.02)
    node = Node(folder, clock)
    node.peering.publish(4433)
    async with asyncio.TaskGroup() as group:
        task = group.create_task(node.peering._renew(4433))
        yield node, clock
        task.cancel()


async def test_every_new_descriptor_is_told_of(tmp_path: Path) -> None:
    node = Node(tmp_path, Clock(1000.0))
    told: list[bytes | None] = []
    node.peering.on_published = lambda: told.append(node.peering.descriptor())
    node.peering.publish(4433)
    first = node.peering.descriptor()
    node.peering.publish(4434)
    assert told == [first, node.peering.descriptor()]
    assert first != node.peering.descriptor()


async def test_what_is_offered_is_published_when_it_changes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock(1000.0)
    monkeypatch.setattr(peering_module, "time", SimpleNamespace(time=clock.time))
    node = Node(tmp_path, clock)
    node.peering.publish(4433)
    first = node.descriptor
    node.peering.offer(Role.RELAY)
    assert node.descriptor == first
    node.peering.offer(Role.NONE)
    assert not node.descriptor.roles
    assert not node.peering.offered
    assert node.descriptor.sequence > first.sequence
    node.peering.offer(Role.RELAY)
    assert node.descriptor.roles & Role.RELAY
    assert not node.descriptor.restricted


def test_who_has_a_descriptor_can_use_its_key() -> None:
    """A client's clock is behind by as much as it may be, it forgets late, and its creation takes long."""
    assert DESCRIPTOR_LIFE_S + CLOCK_SKEW_S + TIDY_S + CLOCK_S + BUILD_S < OVERLAP_S


async def test_a_new_key_is_used_and_then_published_when_its_day_begins(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with renewing(tmp_path, monkeypatch, 0.3) as (node, clock):
        before = node.descriptor
        assert before.onion_keys == node.onion.publics
        await until(lambda: node.descriptor != before)
        assert 0 <= clock.time() % DAY_S < 5
        after = node.descriptor
        assert after.onion_keys == (after.onion_keys[0], before.onion_keys[0])
        assert after.sequence > before.sequence
        assert node.used == [after.onion_keys]
        assert node.published_when_used == [before.raw]


async def test_keys_change_after_a_sleep_and_the_oldest_is_gone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with renewing(tmp_path, monkeypatch, 1000.0) as (node, clock):
        first = node.descriptor.onion_keys
        clock.set_on(DAY_S)
        await until(lambda: len(node.used) == 1)
        second = node.descriptor.onion_keys
        assert second[1:] == first
        clock.set_on(3 * DAY_S)
        await until(lambda: len(node.used) == 2)
        assert len(node.descriptor.onion_keys) == 1
        assert node.descriptor.onion_keys[0] not in second
        assert sum(path.name.startswith("onion") for path in node.folder.iterdir()) == 1


async def test_a_key_that_cannot_be_written_is_not_published(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async with renewing(tmp_path, monkeypatch, 1000.0) as (node, clock):
        before = node.descriptor
        advance = node.onion.advance

        def full(now: float) -> bool:
            raise ConfigError(str(node.folder), "this folder of keys cannot be used")

        monkeypatch.setattr(node.onion, "advance", full)
        clock.set_on(2000)
        await until(lambda: "onion key" in caplog.text)
        assert str(tmp_path) not in caplog.text
        assert node.descriptor == before
        assert not node.used
        monkeypatch.setattr(node.onion, "advance", advance)
        await until(lambda: node.used)
        assert node.descriptor.onion_keys[1:] == before.onion_keys


async def test_a_descriptor_that_ran_out_while_the_machine_slept_is_renewed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with renewing(tmp_path, monkeypatch, DAY_S - 1000.0) as (node, clock):
        before = node.descriptor
        clock.set_on(DAY_S - 2000)
        await until(lambda: node.peering.descriptor() != before.raw)
        assert node.descriptor.onion_keys == before.onion_keys


async def jump(node: Node, clock: Clock, by_s: float) -> None:
    """Set the clock, and wait for the next descriptor."""
    published = node.peering.descriptor()
    clock.set_on(by_s)
    await until(lambda: node.peering.descriptor() != published)


@pytest.mark.parametrize("days", [365, -365])
async def test_a_clock_that_is_wrong_by_a_year_for_a_while_is_survived(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, days: int
) -> None:
    """What is published is valid by each clock in turn, and the keys in it are in use."""
    async with renewing(tmp_path, monkeypatch, 1000.0) as (node, clock):
        before = node.descriptor
        others = [signed(number, expiry=int(clock.time()) + DAY_S) for number in (1, 2)]
        directory = node.peering.directory
        directory.add(others[0], clock.time(), "link")
        for by in (days, -days):
            await jump(node, clock, by * DAY_S)
            assert 0 < node.descriptor.expiry - clock.time() <= DESCRIPTOR_LIFE_S
            assert node.descriptor.onion_keys == node.onion.publics
            directory.purge(clock.time())
        assert node.descriptor.sequence > before.sequence
        assert directory.add(others[1], clock.time(), "link")


async def test_a_descriptor_is_renewed_between_keys(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(peering_module, "RENEW_S", 0.05)
    async with renewing(tmp_path, monkeypatch, 1000.0) as (node, _):
        before = node.descriptor
        await until(lambda: node.descriptor.sequence > before.sequence)
        assert node.descriptor.onion_keys == before.onion_keys
        assert not node.used


# -- networks

HOME = Network("home", bytes([1] * 32))
PRIVATE_HOSTS = ("10.1.2.3", "172.16.0.1", "192.168.1.1", "fd00::1")


def in_network(
    folder: Path,
    network: Network,
    *,
    peers: tuple[Introduction, ...] = (),
    bootstrap: tuple[str, ...] = (),
    on_news: Callable[[], None] = lambda: None,
) -> Peering:
    settings = PeersSettings(address=host(9), bootstrap=bootstrap)
    identity = Identity.load(folder / "keys")
    onion = OnionKeys(folder / "keys", 0, time.time())
    return Peering(
        settings,
        folder,
        identity,
        onion,
        Role.EXIT,
        "",
        b"",
        on_news,
        lambda keys: None,
        membership=Invite(network, peers),
    )


def introduction(number: int) -> Introduction:
    return Introduction(identity(number).peer, identity(number).link_key, (host(number), 4433))


class Dialled:
    """Links that can be made to some peers, and notes of whom was asked for."""

    def __init__(self, *there: int) -> None:
        self._there = [identity(number).peer for number in there]
        self.hops: list[Hop] = []

    async def to(self, hop: Hop) -> None:
        self.hops.append(hop)
        if hop.peer not in self._there:
            raise LinkError(Reason.NEXT_HOP)


async def test_the_invites_peers_are_tried_until_one_answers(tmp_path: Path) -> None:
    peering = in_network(tmp_path, HOME, peers=tuple(map(introduction, (1, 2, 3))))
    links = Dialled(2)
    peering._links = cast("Links", links)
    assert await peering._make_link()
    assert links.hops[-1] == Hop(identity(2).peer, identity(2).link_key, bytes(32), ((host(2), 4433),))
    peering._links = cast("Links", nobody := Dialled())
    assert not await peering._make_link()
    assert {hop.peer for hop in nobody.hops} == {identity(number).peer for number in (1, 2, 3)}


async def test_a_peer_does_not_dial_itself(tmp_path: Path) -> None:
    own = Identity.load(tmp_path / "keys")
    peers = (Introduction(own.peer, own.link_key, (host(9), 4433)),)
    peering = in_network(tmp_path, HOME, peers=peers)
    peering._links = cast("Links", links := Dialled())
    assert not await peering._make_link()
    assert not links.hops


async def test_an_invite_names_this_peer_first_and_then_others(tmp_path: Path) -> None:
    peering = in_network(tmp_path, HOME)
    assert peering.invite().peers == ()
    peering.publish(4433)
    own = Identity.load(tmp_path / "keys")
    for number in (1, 2, 3):
        expiry = int(time.time()) + DAY_S
        peering.directory.insert(Descriptor.decode(signed(number, expiry=expiry), time.time()), None)
    found = Invite.decode(peering.invite().encode())
    assert found.network.secret == HOME.secret
    assert found.peers[0] == Introduction(own.peer, own.link_key, (host(9), 4433))
    assert len(found.peers) == 3
    assert set(found.peers[1:]) < set(map(introduction, (1, 2, 3)))


async def test_addresses_of_ones_own_house_are_for_private_networks(tmp_path: Path) -> None:
    private, public = in_network(tmp_path, HOME), in_network(tmp_path, Network("main"))
    assert [private.address_ok(address) for address in PRIVATE_HOSTS] == [True] * 4
    assert [public.address_ok(address) for address in PRIVATE_HOSTS] == [False] * 4
    assert not any(peering.address_ok("127.0.0.1") for peering in (private, public))


async def test_only_the_invite_names_peers_of_a_private_network(tmp_path: Path) -> None:
    bootstrap = (format_address(host(1), 4433, identity(1).peer),)
    in_network(tmp_path, Network("main"), bootstrap=bootstrap)
    with pytest.raises(ConfigError, match="in its invite"):
        in_network(tmp_path, HOME, bootstrap=bootstrap)


# -- strangers


class Stranger:
    """Listens at an address, and tells whoever asks what a test says.

    Args:
        board: where others find it.
        own: whose link key it proves.
        preshared: the key of the network it is in.
    """

    def __init__(self, board: Board, own: Identity, preshared: bytes) -> None:
        self.told = b""
        self.links = Links(
            board.engine(),
            own.link_private,
            lambda: self.told,
            Events(),
            lambda host: True,
            preshared,
            lambda proof: self.told,
        )


class Around:
    """A node, its links in memory, and strangers.

    Attributes:
        news: how often the node said that it knows more peers.
    """

    def __init__(self, folder: Path, network: Network) -> None:
        self._board = Board()
        self.network = network
        self.news = 0
        self.peering = in_network(folder, network, on_news=self._heard)
        self.own = Identity.load(folder / "keys")
        self.links = Links(
            self._board.engine(),
            self.own.link_private,
            self.peering.descriptor,
            Events(),
            lambda host: True,
            network.preshared,
        )
        self.peering._links = self.links
        self.strangers: list[Stranger] = []

    def _heard(self) -> None:
        self.news += 1

    @property
    def known(self) -> set[bytes]:
        return {found.peer for found in self.peering.directory.peers()}

    async def stranger(self, number: int, own: Identity | None = None) -> tuple[Stranger, Address]:
        """Somebody who listens, and tells nothing yet."""
        self.strangers.append(Stranger(self._board, own or identity(number), self.network.preshared))
        return self.strangers[-1], (host(number), await self.strangers[-1].links.listen(0))

    async def honest(self, number: int) -> Address:
        """Somebody who listens, and tells the descriptor of who is there."""
        stranger, address = await self.stranger(number)
        stranger.told = at(number, address)
        return address

    async def close(self) -> None:
        for links in (self.links, *(stranger.links for stranger in self.strangers)):
            await links.close()


def at(number: int, address: Address) -> bytes:
    return signed(number, expiry=int(time.time()) + DAY_S, addresses=(address,))


def sealed(network: Network, raw: bytes) -> bytes:
    return network.seal(raw, secrets.token_bytes(NONCE_BYTES))


@asynccontextmanager
async def around(folder: Path, network: Network = PUBLIC.network) -> AsyncIterator[Around]:
    made = Around(folder, network)
    await made.links.listen(0)
    try:
        yield made
    finally:
        await made.close()


@pytest.mark.parametrize("network", [PUBLIC.network, HOME], ids=["public", "private"])
async def test_who_is_where_he_says_is_known(tmp_path: Path, network: Network) -> None:
    async with around(tmp_path, network) as made:
        stranger, address = await made.stranger(1)
        raw = at(1, address)
        stranger.told = sealed(network, raw) if network.is_private else raw
        for _ in range(2):
            assert await made.peering.meet(address)
        assert made.known == {identity(1).peer}
        assert made.news == 1


async def test_who_says_to_be_elsewhere_is_not_believed(tmp_path: Path) -> None:
    """Else one peer could stand at any address that strangers name, and others dial there."""
    async with around(tmp_path) as made:
        stranger, address = await made.stranger(1)
        stranger.told = at(1, (host(2), address[1]))
        assert not await made.peering.meet(address)
        assert not made.known
        assert not list(made.links)


async def test_a_node_does_not_meet_itself(tmp_path: Path) -> None:
    async with around(tmp_path) as made:
        stranger, address = await made.stranger(1, made.own)
        now = int(time.time())
        stranger.told = Descriptor.sign(
            made.own, (bytes([1] * 32),), sequence=now, expiry=now + DAY_S, roles=Role.EXIT, addresses=(address,)
        )
        assert not await made.peering.meet(address)
        assert not list(made.links)


async def test_what_is_not_sealed_is_not_read_in_a_private_network(tmp_path: Path) -> None:
    async with around(tmp_path, HOME) as made:
        assert not await made.peering.meet(await made.honest(1))
        assert not made.known


async def test_few_links_are_kept_of_those_that_were_made_to_see_who_is_there(tmp_path: Path) -> None:
    async with around(tmp_path) as made:
        numbers = range(1, LINKS_KEPT + 4)
        for number in numbers:
            assert await made.peering.meet(await made.honest(number))
        assert made.known == {identity(number).peer for number in numbers}
        assert {link.peer for link in made.links} == {identity(number).peer for number in numbers[:LINKS_KEPT]}


async def test_what_is_found_under_a_name_must_be_its_own(tmp_path: Path) -> None:
    async with around(tmp_path) as made:
        found = sealed(made.network, at(1, (host(1), 4433)))
        assert not made.peering.found(identity(2).peer, found)
        assert not made.known
        for _ in range(2):
            assert made.peering.found(identity(1).peer, found)
        assert made.known == {identity(1).peer}
        assert made.news == 1


@pytest.mark.parametrize("named", [1, 2])
async def test_a_bootstrap_peer_is_who_was_named_or_nobody(tmp_path: Path, named: int) -> None:
    async with around(tmp_path) as made:
        address = await made.honest(1)
        made.peering._bootstrap.peers = [(*address, identity(named).peer)]
        assert await made.peering._make_link() is (named == 1)
        assert made.known == ({identity(1).peer} if named == 1 else set())


async def test_parts_that_began_with_different_peers_come_together(tmp_path: Path) -> None:
    """Each member of a network that names two begins with one, and that one may never have heard of the other."""
    async with around(tmp_path) as made:
        made.peering._bootstrap.peers = [(*await made.honest(number), identity(number).peer) for number in (1, 2)]
        assert await made.peering._make_link()
        assert len(made.known) == 1
        joining = asyncio.create_task(made.peering._bootstrap.join_parts(made.links, first_s=0.01))
        await until(lambda: {link.peer for link in made.links} == {identity(1).peer, identity(2).peer})
        joining.cancel()


async def test_a_node_that_is_named_itself_is_not_dialled(tmp_path: Path) -> None:
    own = Identity.load(tmp_path / "keys")
    texts = (format_address(host(9), 4433, own.peer), format_address(host(1), 4433, identity(1).peer))
    peering = in_network(tmp_path, PUBLIC.network, bootstrap=texts)
    assert [peer for _, _, peer in peering._bootstrap.peers] == [identity(1).peer]
