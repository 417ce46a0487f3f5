"""A private network of real nodes in this process, on loopback, in a DHT whose other nodes are strangers'."""

from __future__ import annotations

import time
from contextlib import AsyncExitStack, asynccontextmanager
from typing import TYPE_CHECKING, Final, Literal

from node.networks import join
from node.peering import NO_ONION_KEY
from node.running import RunningNode
from node.settings import NetworkSettings, NodeSettings, PeersSettings, ProxySettings, Settings, TunnelSettings
from peers.descriptor import Descriptor
from peers.dht import Dht, DhtOptions
from peers.invite import Introduction, Invite
from tests.harness.linked import Events
from tests.harness.middle import Middle
from tests.harness.waiting import until
from tunnel.control import State
from tunnel.engines import load_engine
from tunnel.links import Links
from tunnel.path import Hop

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from node.peering import Peering
    from peers.addresses import Address
    from peers.networks import Network
    from tunnel.link import Link

LOOPBACK: Final = "127.60.0.0/14"
"""Members are at 127.60.0.1 and 127.61.0.1, strangers at 127.62.0.1 and so on, each in a /16 as the DHT likes it."""
_HOST: Final = "127.{}.0.1"
_STRANGERS: Final = range(62, 66)
_LIMIT_S: Final = 20.0

type Engine = Literal["auto", "aiopquic", "aioquic"]
type Roles = tuple[Literal["client", "relay", "exit"], ...]


class Member:
    """One node that serves others.

    Args:
        base: its user's folder.
        number: its address is 127.NUMBER.0.1.
        roles: as in the settings.
        invite: its network, and whom it knows to begin with.
        engine: what carries its links.
        router: the node of the DHT to begin with; None for no DHT.
    """

    def __init__(
        self, base: Path, number: int, roles: Roles, invite: Invite, engine: Engine, router: Address | None
    ) -> None:
        host = _HOST.format(number)
        settings = Settings(
            node=NodeSettings(roles=roles, engine=engine),
            network=NetworkSettings(name=invite.network.name),
            proxy=ProxySettings(listen="127.0.0.1:0"),
            tunnel=TunnelSettings(hops=1),
            peers=PeersSettings(
                address=host,
                port_mapping=False,
                allow_addresses=("127.0.0.0/8",),
                dht=router is not None,
                dht_listen=f"{host}:0",
                dht_nodes=(f"{router[0]}:{router[1]}",) if router else (),
            ),
        )
        self.node = RunningNode(settings, join(base, invite))

    @property
    def peering(self) -> Peering:
        return self.node._peering

    @property
    def links(self) -> Links:
        assert self.node._tunnel is not None
        return self.node._tunnel.links

    @property
    def begun(self) -> set[Link]:
        """Its links that have come further than QUIC: up, or in the midst of the handshake."""
        return {link for link in self.links._all if link._machine.state is not State.START}

    @property
    def descriptor(self) -> Descriptor:
        """What it says of itself."""
        raw = self.peering.descriptor()
        assert raw is not None
        return Descriptor.decode(raw, time.time())

    @property
    def address(self) -> Address:
        """Where it says that it is."""
        return self.descriptor.addresses[0]

    @property
    def circuits(self) -> set[str]:
        """Its own circuits' numbers."""
        return {circuit["id"] for circuit in self.node.route()["circuits"]}

    def hop(self, address: Address) -> Hop:
        """This member at an address, as far as who knows its keys can name it."""
        return Hop(self.descriptor.peer, self.descriptor.link_key, NO_ONION_KEY, (address,))

    def knows(self, other: Member) -> bool:
        return self.peering.directory.get(other.descriptor.peer) is not None


class Members:
    """An exit, a friend who relays and has circuits of one hop to it, and who is there beside them.

    Attributes:
        network: of the members.
        exit, friend: the members.
        middle: ends QUIC's TLS on a port of its own, and carries on to the exit.
        strangers: the other nodes of the DHT.
    """

    def __init__(self, network: Network, exit_: Member, friend: Member, middle: Middle, strangers: list[Dht]) -> None:
        self.network = network
        self.exit = exit_
        self.friend = friend
        self.middle = middle
        self.strangers = strangers

    @property
    def both(self) -> list[Descriptor]:
        return [self.exit.descriptor, self.friend.descriptor]


@asynccontextmanager
async def members(
    folder: Path, network: Network, engine: Engine = "auto", *, dht: bool = True, tapped: bool = False
) -> AsyncIterator[Members]:
    """Start all, and wait until the members know each other and there are circuits.

    Args:
        folder: for their homes.
        network: of the members.
        engine: what carries all links.
        dht: whether there is a DHT.
        tapped: whether the friend's line to the exit leads over the man in the middle.
    """
    async with AsyncExitStack() as stack:
        strangers: list[Dht] = []
        for number in _STRANGERS if dht else ():
            routers = ((_HOST.format(_STRANGERS[0]), strangers[0].port),) if strangers else ()
            strangers.append(Dht(DhtOptions(f"{_HOST.format(number)}:0", routers)))
            stack.push_async_callback(strangers[-1].close)
            await until(lambda: strangers[-1].port)
        router = (_HOST.format(_STRANGERS[0]), strangers[0].port) if dht else None

        async def start(number: int, roles: Roles, invite: Invite) -> Member:
            member = Member(folder / f"{number}", number, roles, invite, engine, router)
            stack.push_async_callback(member.node.stop)
            await member.node.start()
            return member

        exit_ = await start(60, ("exit",), Invite(network))
        middle = Middle(load_engine(engine), exit_.address)
        stack.push_async_callback(middle.close)
        await middle.start()
        known = exit_.descriptor
        line = Introduction(known.peer, known.link_key, middle.address if tapped else exit_.address)
        friend = await start(61, ("client", "relay"), Invite(network, (line,)))
        await until(lambda: friend.node.status()["state"] == "up" and exit_.knows(friend), _LIMIT_S)
        yield Members(network, exit_, friend, middle, strangers)


@asynccontextmanager
async def dialler(network: Network, engine: Engine = "auto") -> AsyncIterator[Links]:
    """An honest client's links, with another network's secret or the right one."""
    links = Links(load_engine(engine), None, lambda: None, Events(), lambda host: True, network.preshared)
    try:
        await links.listen(0)
        yield links
    finally:
        await links.close()
