"""A real client whose guard tells it of friends alone, and says of all others that they are dead."""

from __future__ import annotations

import random
import time
from collections import Counter
from contextlib import AsyncExitStack, asynccontextmanager
from typing import TYPE_CHECKING, Final

import pytest

from node.guards import GUARDS_NAME
from node.peering import STORE_NAME
from node.running import RunningNode
from node.settings import NodeSettings, PeersSettings, ProxySettings, Settings, TunnelSettings
from peers import guard_store, store
from peers.descriptor import Descriptor, Role
from peers.directory import Directory
from peers.guards import GUARDS, Pin, PinnedHops, day_of
from peers.identity import peer_id
from peers.path_search import PathRules
from peers.paths import choose_path
from tests.harness.chance import fit
from tests.harness.waiting import until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Collection, Hashable
    from pathlib import Path

    from core.ids import PeerKey

pytestmark = pytest.mark.system

RELAYS: Final = 7
EXITS: Final = 3
FRIENDS: Final = 4
CHOICES: Final = 240
LIMIT_S: Final = 30.0


class Friendly(Directory):
    """Knows friends alone. So its node tells of no others, and finds no others when a circuit shall go there."""

    def __init__(self, friends: Collection[PeerKey]) -> None:
        super().__init__()
        self._friends = friends

    def insert(self, descriptor: Descriptor, source: Hashable | None) -> bool:
        return descriptor.peer in self._friends and super().insert(descriptor, source)


class Network:
    """Nodes that serve, in this process.

    Attributes:
        honest: keys of the honest relays and exits.
        friends: keys of the hostile ones.
    """

    def __init__(self, folder: Path, stack: AsyncExitStack) -> None:
        self._folder = folder
        self._stack = stack
        self.nodes: list[RunningNode] = []
        self.honest: list[PeerKey] = []
        self.friends: list[PeerKey] = []

    def _home(self, name: str) -> Path:
        home = self._folder / name
        home.mkdir()
        return home

    async def serve(self, does: NodeSettings, *, hostile: bool = False) -> None:
        """Start a relay or exit that begins with the first of its kind."""
        ours = self.friends if hostile else self.honest
        peers = PeersSettings(
            address=f"127.{30 + len(self.nodes)}.0.1",
            bootstrap=tuple(where(node) for node in self.of(ours[:1])),
            allow_addresses=("127.0.0.0/8",),
            port_mapping=False,
            dht=False,
        )
        node = RunningNode(Settings(node=does, peers=peers), self._home(f"{len(self.nodes)}"))
        ours.append(own_key(node))
        if hostile:
            node._peering.directory = Friendly(self.friends)
        self._stack.push_async_callback(node.stop)
        await node.start()
        self.nodes.append(node)

    def of(self, peers: Collection[PeerKey]) -> list[RunningNode]:
        return [node for node in self.nodes if own_key(node) in peers]

    async def all_know_each_other(self, peers: Collection[PeerKey]) -> None:
        await until(lambda: all(len(node._peering.directory) == len(peers) - 1 for node in self.of(peers)), LIMIT_S)

    def descriptor(self, peer: PeerKey) -> Descriptor:
        raw = self.of([peer])[0]._peering.descriptor()
        assert raw is not None
        return Descriptor.decode(raw, time.time())

    async def client(self, guards: list[PeerKey]) -> RunningNode:
        """Start a client that holds on to these guards, and begins with an honest peer."""
        home = self._home("client")
        last_day = day_of(time.time()) + GUARDS.shortest_days
        guard_store.save(home / GUARDS_NAME, PinnedHops([Pin(peer, last_day, proved=True) for peer in guards]))
        known = Directory()
        for peer in guards:
            known.insert(self.descriptor(peer), None)
        store.save(home / STORE_NAME, known)
        first = where(self.of(self.honest[:1])[0])
        peers = PeersSettings(bootstrap=(first,), allow_addresses=("127.0.0.0/8",), dht=False)
        settings = Settings(proxy=ProxySettings(listen="127.0.0.1:0"), tunnel=TunnelSettings(hops=3), peers=peers)
        node = RunningNode(settings, home)
        self._stack.push_async_callback(node.stop)
        await node.start()
        return node


def own_key(node: RunningNode) -> PeerKey:
    assert node._peering.identity is not None
    return node._peering.identity.peer


def where(node: RunningNode) -> str:
    status = node.status()
    return f"{status['address']}/p2p/{status['peer_id']}"


@asynccontextmanager
async def network(folder: Path) -> AsyncIterator[Network]:
    """Honest relays and exits that know each other, and hostile ones that know each other."""
    async with AsyncExitStack() as stack:
        made = Network(folder, stack)
        for number in range(RELAYS + EXITS):
            await made.serve(NodeSettings(roles=("relay",) if number < RELAYS else ("exit",)))
        for _ in range(2 + FRIENDS):
            await made.serve(NodeSettings(roles=("relay", "exit")), hostile=True)
        await made.all_know_each_other(made.honest)
        await made.all_know_each_other(made.friends)
        yield made


def vouched_for(client: RunningNode, peers: Collection[PeerKey]) -> bool:
    """Whether enough neighbours, guards aside, have named all of these to a client."""
    candidates = {found.peer for found in client._choosing.choice.candidates.peers()}
    vouched = client._peering.directory.voices.vouched
    return candidates.issuperset(peers) and all(vouched(peer) for peer in peers)


@pytest.mark.parametrize("hostile", [1, 2], ids=["one of two guards", "both guards"])
async def test_a_guards_friends_are_on_no_path(tmp_path: Path, hostile: int) -> None:
    async with network(tmp_path) as made:
        guards = [*made.friends[:hostile], made.honest[1]][:2]
        client = await made.client(guards)
        directory, friends = client._peering.directory, {*made.friends} - {*guards}
        everybody = {*made.honest, *made.friends}
        await until(lambda: {found.peer for found in directory.peers()} == everybody, LIMIT_S)
        await until(lambda: vouched_for(client, made.honest), LIMIT_S)
        rules, rng = PathRules(3, client._peering.address_ok), random.Random(1)
        anywhere = [choose_path(directory, rules, rng)[-1].peer for _ in range(CHOICES)]
        assert sum(peer in friends for peer in anywhere) > CHOICES / 4, "they are known, and would be used"
        paths = [[hop.peer for hop in client._choosing.choose((), None)] for _ in range(CHOICES)]
        assert not {peer for path in paths for peer in path} & friends
        ends = Counter(path[-1] for path in paths if path[-1] not in guards)
        assert set(ends) == {peer for peer in made.honest if Role.EXIT in made.descriptor(peer).roles}
        assert fit([*ends.values()], [1.0] * EXITS)
        if hostile == 1:
            await until(lambda: client.status()["state"] == "up", LIMIT_S)
        built = {hop["peer_id"] for circuit in client.route()["circuits"] for hop in circuit["hops"]}
        assert not built & {peer_id(peer) for peer in friends}
