"""Nodes that find each other through a DHT of their own: real engines, real links, no circuits."""

from __future__ import annotations

import time
from contextlib import AsyncExitStack, asynccontextmanager
from typing import TYPE_CHECKING

import msgspec

from node.discovery import Discovery
from node.peering import PUBLIC, Peering
from node.settings import PeersSettings
from peers.descriptor import Role
from peers.identity import Identity
from peers.onion import OnionKeys
from tests.harness.linked import Events
from tests.harness.waiting import until
from tunnel.engines import load_engine
from tunnel.links import Links

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from core.ids import PeerKey
    from peers.addresses import Address
    from peers.dht import Dht
    from peers.invite import Invite


class Finder:
    """One node.

    Args:
        home: its folder.
        number: its address is 127.NUMBER.0.1.
        roles: what it does for others; nothing: a client.
        router: the DHT's node to begin with; None for the first one.
        member: its network.
        gossip: whether its settings allow gossip, which its links do not carry here.
    """

    def __init__(
        self,
        home: Path,
        number: int,
        roles: Role,
        router: Address | None,
        member: Invite = PUBLIC,
        *,
        gossip: bool = False,
    ) -> None:
        home.mkdir()
        self.host = f"127.{number}.0.1"
        self.settings = PeersSettings(
            address=self.host if roles else "",
            allow_addresses=("127.0.0.0/8",),
            gossip=gossip,
            dht_listen=f"{self.host}:0",
            dht_nodes=(f"{router[0]}:{router[1]}",) if router else (),
        )
        self.identity = Identity.ephemeral() if roles else None
        onion = OnionKeys(home / "keys", 0, time.time()) if roles else None
        self.peering = Peering(
            self.settings,
            home,
            self.identity,
            onion,
            roles,
            "",
            b"",
            lambda: None,
            lambda keys: None,
            membership=member,
        )
        self.links = Links(
            load_engine("aioquic"),
            self.identity.link_private if self.identity else None,
            self.peering.descriptor,
            Events(),
            self.peering.may_dial,
            member.network.preshared,
            self.peering.tell,
        )
        self.needs = not roles
        self.discovery = Discovery(self.settings, home, self.peering, lambda: self.needs)
        self.peering.on_published = self.discovery.published

    @property
    def peer(self) -> PeerKey:
        assert self.identity is not None
        return self.identity.peer

    @property
    def dht(self) -> Dht:
        assert self.discovery._dht is not None
        return self.discovery._dht

    @property
    def known(self) -> set[PeerKey]:
        """Whom it knows."""
        return {found.peer for found in self.peering.directory.peers()}

    async def start(self) -> None:
        port = await self.links.listen(0)
        self.peering.publish(port)
        self.peering.start(self.links, port)
        self.discovery.start()
        await until(lambda: self.dht.port)

    def forget_routers(self) -> None:
        """Enter the DHT by remembered nodes alone."""
        self.settings = msgspec.structs.replace(self.settings, dht_nodes=())
        self.discovery._settings = self.settings

    async def close(self) -> None:
        await self.discovery.close()
        await self.peering.close()
        await self.links.close()


class Crowd:
    """Nodes that serve, the first of which is where others enter the DHT."""

    def __init__(self, folder: Path, stack: AsyncExitStack, member: Invite) -> None:
        self._folder = folder
        self.stack = stack
        self._member = member
        self.nodes: list[Finder] = []

    @property
    def router(self) -> Address | None:
        return (self.nodes[0].host, self.nodes[0].dht.port) if self.nodes else None

    async def add(self, roles: Role) -> Finder:
        """Start one more."""
        self.nodes.append(await self._start(20 + len(self.nodes), roles, self._member))
        return self.nodes[-1]

    async def client(self, number: int = 200, member: Invite | None = None, *, start: bool = True) -> Finder:
        """Make a client that knows nobody, and start it if told so."""
        return await self._start(number, Role(0), member or self._member, start=start)

    async def _start(self, number: int, roles: Role, member: Invite, *, start: bool = True) -> Finder:
        node = Finder(self._folder / f"{number}", number, roles, self.router, member)
        if start:
            await node.start()
        self.stack.push_async_callback(node.close)
        return node


@asynccontextmanager
async def crowd(folder: Path, roles: list[Role], member: Invite = PUBLIC) -> AsyncIterator[Crowd]:
    """Start nodes with these roles."""
    async with AsyncExitStack() as stack:
        made = Crowd(folder, stack, member)
        for each in roles:
            await made.add(each)
        yield made
