"""Nodes that find each other in a DHT of their own on loopback, and what strangers there can and cannot do."""

from __future__ import annotations

import asyncio
import random
import secrets
import sys
import time
from collections import Counter
from typing import TYPE_CHECKING

import pytest

from core.errors import DecodeError
from node import discovery as discovery_module
from node.discovery import NODES_NAME
from node.hearing import Hearing
from node.peering import PUBLIC
from peers.descriptor import Descriptor, Role
from peers.dht import Dht, DhtOptions
from peers.identity import Identity
from peers.invite import Invite
from peers.networks import NONCE_BYTES, Network
from peers.rendezvous import SHARDS, days
from tests.harness.entropy import flipped
from tests.harness.found import crowd
from tests.harness.linked import Events
from tests.harness.waiting import until
from tunnel.engines import load_engine
from tunnel.links import Links

if TYPE_CHECKING:
    from contextlib import AsyncExitStack
    from pathlib import Path

    from peers.addresses import Address
    from tests.harness.found import Crowd

pytest.importorskip("libtorrent", reason="libtorrent is not built for this Python")

EXIT, RELAY, BOTH = Role.EXIT, Role.RELAY, Role.EXIT | Role.RELAY
LIMIT_S = 60.0
"""Forty nodes in one process take as long as the machine lets them; what a client takes is what counts."""
CLIENT_LIMIT_S = 10.0
OURS = Invite(Network("ours", bytes([1] * 32)))
HOSTILE = "127.100.0.1"


async def all_known(made: Crowd) -> None:
    everybody = {node.peer for node in made.nodes}
    await until(lambda: all(node.known == everybody - {node.peer} for node in made.nodes), LIMIT_S)


async def asking(made: Crowd, stack: AsyncExitStack, host: str = HOSTILE) -> Dht:
    """A node of the DHT that is nobody's peer."""
    dht = Dht(DhtOptions(f"{host}:0", (made.router,) if made.router else ()))
    stack.push_async_callback(dht.close)
    dht.add_nodes([made.router] if made.router else [])
    await until(dht.entered.is_set, LIMIT_S)
    return dht


def keys(network: Network) -> list[bytes]:
    return [
        network.rendezvous(role, shard, day)
        for role in (EXIT, RELAY)
        for shard in range(SHARDS)
        for day in days(time.time())
    ]


async def test_nodes_find_each_other_and_a_client_finds_them(tmp_path: Path) -> None:
    async with crowd(tmp_path, [RELAY, RELAY, EXIT, RELAY, BOTH]) as made:
        await all_known(made)
        client = await made.client()
        await until(lambda: client.known == {node.peer for node in made.nodes}, CLIENT_LIMIT_S)
        assert client.discovery.state == "on"
        assert len(list(client.links)) <= 5


async def announced(made: Crowd) -> None:
    """Wait until somebody who is nobody's peer hears of every node."""
    everybody = {(node.host, node.peering.address[1]) for node in made.nodes if node.peering.address is not None}
    heard: set[Address] = set()
    looking = await asking(made, made.stack)
    async with asyncio.timeout(LIMIT_S):
        while not heard >= everybody:
            await asyncio.gather(*(looking.search(key, heard.update, 0.3) for key in keys(PUBLIC.network)))


@pytest.mark.alone
async def test_every_live_exit_of_forty_nodes_is_found_when_a_third_is_gone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Who serves looks for nobody here: that forty meet forty takes minutes where the machine is slow.
    monkeypatch.setattr(Hearing, "knows_few", lambda hearing, limit: False)
    async with crowd(tmp_path, [EXIT if number % 4 == 0 else RELAY for number in range(40)]) as made:
        await announced(made)
        gone = random.Random(1).sample(made.nodes[1:], 12)
        await asyncio.gather(*(node.close() for node in gone))
        exits = {node.peer for node in made.nodes if node not in gone and EXIT in node.peering.roles}
        client = await made.client()
        await until(lambda: client.known >= exits, CLIENT_LIMIT_S)


async def junk(hostile: list[Dht], ports: range) -> None:
    """Announce ports where nobody is, each host each port, as quickly as nodes of the DHT listen to one host."""
    for port in ports:
        for dht in hostile:
            dht.announce(keys(PUBLIC.network)[port % len(keys(PUBLIC.network))], port)
        await hostile[0].search(keys(PUBLIC.network)[0], lambda _: None, 0.1)


@pytest.mark.alone
async def test_junk_addresses_crowd_out_nobody(tmp_path: Path) -> None:
    """A thousand, of ten hosts in networks of their own, before most others are there and after."""
    async with crowd(tmp_path, [RELAY] * 4) as made:
        hostile = [await asking(made, made.stack, f"127.{100 + number}.0.1") for number in range(10)]
        await junk(hostile, range(1000, 1050))
        for number in range(8):
            await made.add(EXIT if number % 3 == 0 else RELAY)
        await junk(hostile, range(1050, 1100))
        everybody = {node.peer for node in made.nodes}
        await until(lambda: everybody == set().union(*(node.known for node in made.nodes)), LIMIT_S)
        heard: set[Address] = set()
        looking = await asking(made, made.stack, "127.111.0.1")
        for key in keys(PUBLIC.network):
            await looking.search(key, heard.update, 0.3)
        assert sum(port < 1100 for _, port in heard) > 500
        client = await made.client()
        await until(lambda: client.known == everybody, CLIENT_LIMIT_S)
        tried = Counter(host for host, port in client.discovery._hints._tried if port < 1100)
        assert 0 < sum(tried.values()) < 100


class Liar:
    """Listens where it is announced, and tells what it likes.

    Args:
        engine_key: whether it proves the link key of what it tells.
    """

    def __init__(self, identity: Identity) -> None:
        self.identity = identity
        self.told = b""
        self.asked = 0
        engine = load_engine("aioquic")
        self.links = Links(
            engine, identity.link_private, lambda: self.told, Events(), lambda host: True, tell=self.tell
        )
        self.links.preshared = PUBLIC.network.preshared

    def tell(self, proof: bytes) -> bytes:
        self.asked += 1
        return self.told

    def descriptor(
        self, addresses: tuple[Address, ...], identity: Identity | None = None, *, ends_in_s: int = 600
    ) -> bytes:
        now = int(time.time())
        signed = identity or self.identity
        return Descriptor.sign(
            signed, (bytes([1] * 32),), sequence=now, expiry=now + ends_in_s, roles=EXIT, addresses=addresses
        )


@pytest.mark.parametrize("lie", ["another's", "another's with own key", "elsewhere", "expired", "noise", "own"])
async def test_only_what_the_link_proves_is_believed(tmp_path: Path, lie: str) -> None:
    async with crowd(tmp_path, [RELAY]) as made:
        client = await made.client()
        liar = Liar(Identity.ephemeral())
        made.stack.push_async_callback(liar.links.close)
        here = (HOSTILE, await liar.links.listen(0))
        victim = Identity.ephemeral()
        half = Identity(victim._signing, liar.identity.link_private)
        raws = {
            "another's": liar.descriptor((here,), victim),
            "another's with own key": flipped(liar.descriptor((here,), half), -1),
            "elsewhere": liar.descriptor((("127.101.0.1", here[1]),)),
            "expired": liar.descriptor((here,), ends_in_s=-1),
            "noise": secrets.token_bytes(400),
            "own": liar.descriptor((here,)),
        }
        liar.told = raws[lie]
        assert await client.peering.meet(here) is (lie == "own")
        assert liar.asked == 1
        assert (liar.identity.peer in client.known) is (lie == "own")
        assert victim.peer not in client.known


def seal(raw: bytes, network: Network = PUBLIC.network) -> bytes:
    return network.seal(raw, secrets.token_bytes(NONCE_BYTES))


async def test_what_is_found_under_a_name_must_be_signed_by_it_and_valid(tmp_path: Path) -> None:
    async with crowd(tmp_path, [RELAY]) as made:
        client = await made.client()
        liar, other = Liar(Identity.ephemeral()), Identity.ephemeral()
        good = liar.descriptor(((HOSTILE, 1),))
        assert not client.peering.found(liar.identity.peer, seal(liar.descriptor(((HOSTILE, 1),), other)))
        assert not client.peering.found(liar.identity.peer, seal(liar.descriptor(((HOSTILE, 1),), ends_in_s=-1)))
        assert not client.peering.found(liar.identity.peer, seal(good, OURS.network))
        assert not client.peering.found(liar.identity.peer, good)
        assert not client.peering.found(liar.identity.peer, bytes(2000))
        assert not client.known & {liar.identity.peer, other.peer}
        assert client.peering.found(liar.identity.peer, seal(good))
        assert liar.identity.peer in client.known


async def test_a_peer_is_found_by_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(discovery_module, "keys_to_ask", lambda *_: [])
    async with crowd(tmp_path, [RELAY, EXIT, RELAY, RELAY, RELAY]) as made:
        looking, wanted = made.nodes[0], made.nodes[1]
        async with asyncio.timeout(LIMIT_S):
            while wanted.peer not in looking.known:
                await looking.discovery.find(wanted.peer)
        assert looking.known == {wanted.peer}


async def test_a_client_leaves_and_comes_back_by_nodes_that_it_remembers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(discovery_module, "ENOUGH", 3)
    async with crowd(tmp_path, [RELAY, RELAY, EXIT, RELAY, RELAY]) as made:
        client = await made.client()
        await until(lambda: len(client.known) >= 3, CLIENT_LIMIT_S)
        client.needs = False
        await until(lambda: client.discovery.state == "resting", LIMIT_S)
        client.needs = True
        await until(lambda: client.discovery.state == "on", LIMIT_S)
        await client.close()
        assert (tmp_path / "200" / NODES_NAME).stat().st_mode & 0o777 == 0o600

        again = await made.client(201, start=False)
        (tmp_path / "200" / NODES_NAME).rename(tmp_path / "201" / NODES_NAME)
        again.forget_routers()
        await again.start()
        await until(lambda: len(again.known) >= 3, CLIENT_LIMIT_S)


async def test_a_private_network_finds_itself_and_strangers_find_nothing(tmp_path: Path) -> None:
    """The stranger is a node of the same DHT, and knows every address, every name, and the network's name."""
    async with crowd(tmp_path, [RELAY, EXIT, RELAY], OURS) as made:
        await all_known(made)
        member = await made.client()
        await until(lambda: len(member.known) == 3, CLIENT_LIMIT_S)
        for number, invite in enumerate((PUBLIC, Invite(Network("ours", bytes([2] * 32))), Invite(Network("ours")))):
            stranger = await made.client(210 + number, invite)
            for node in made.nodes:
                assert node.peering.address is not None
                assert not await stranger.peering.meet(node.peering.address)
                await stranger.discovery.find(node.peer)
                sealed = node.peering.sealed()
                assert sealed is not None
                assert not stranger.peering.found(node.peer, sealed)
                with pytest.raises(DecodeError):
                    Descriptor.decode(sealed, time.time())
            for key in keys(stranger.peering.network):
                heard: list[Address] = []
                await stranger.dht.search(key, heard.extend, 0.2)
                assert not heard
            assert not stranger.known


async def test_the_right_to_ask_is_for_one_address(tmp_path: Path) -> None:
    """Whoever makes a member dial him can repeat what the member showed, and gets no word elsewhere."""
    async with crowd(tmp_path, [RELAY], OURS) as made:
        node = made.nodes[0]
        assert node.peering.address is not None
        shown = OURS.network.ask((HOSTILE, 4433), time.time())
        assert node.peering.tell(shown) is None
        assert node.peering.tell(OURS.network.ask(node.peering.address, time.time() - 400)) is None
        assert node.peering.tell(b"") is None
        told = node.peering.tell(OURS.network.ask(node.peering.address, time.time()))
        assert told is not None
        assert OURS.network.open(told) == node.peering.descriptor()


async def test_without_the_library_the_node_says_so_and_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setitem(sys.modules, "libtorrent", None)
    async with crowd(tmp_path, []) as made:
        client = await made.client(start=False)
        client.discovery.start()
        assert client.discovery.state == "missing"
        assert "libtorrent is not installed, so peers are found by gossip alone" in caplog.text
        await client.discovery.find(Identity.ephemeral().peer)


async def test_a_damaged_file_of_nodes_is_set_aside(tmp_path: Path) -> None:
    async with crowd(tmp_path, [RELAY, RELAY]) as made:
        client = await made.client(start=False)
        (tmp_path / "200" / NODES_NAME).write_bytes(secrets.token_bytes(100))
        await client.start()
        await until(lambda: len(client.known) == 2, CLIENT_LIMIT_S)
        assert (tmp_path / "200" / f"{NODES_NAME}.bad").exists()
