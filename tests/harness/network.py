"""A small network in one process and one event loop: real engines over UDP on loopback, or engines in memory."""

from __future__ import annotations

import asyncio
import secrets
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from core.errors import CircuitError, NotYetError, Reason
from core.ids import PeerKey
from tests.harness.linked import told
from tests.harness.waiting import until
from tests.harness.wire import Board, WireEngine
from tunnel.circuit_witness import NoWitness
from tunnel.engines import load_engine
from tunnel.padding import Shape
from tunnel.path import ANY_EXIT, Hop
from tunnel.service import Tunnel, TunnelParts
from tunnel.toll import NoToll
from tunnel.wireguard.noise import NO_PSK
from tunnel.wireguard.primitives import private_key, public_bytes

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Collection

    from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

    from core.flow import Buffer, DatagramFlow, Flow, IncomingDatagrams, IncomingFlow
    from tunnel.circuit_witness import CircuitWitness
    from tunnel.engines.seam import Engine
    from tunnel.path import Path, Wish
    from tunnel.terminal import FlowAcceptor
    from tunnel.toll import Toll


def real_engine() -> Engine:
    return load_engine("auto")


class Collect:
    """A flow listener that keeps what it hears and returns credit at once, unless told not to."""

    def __init__(self, flow: Flow | None = None, *, echo: bool = False, hungry: bool = True) -> None:
        self.flow = flow
        self.echo = echo
        self.hungry = hungry
        self.data = bytearray()
        self.eof = False
        self.writable = 0
        self.reason: Reason | None = None

    def flow_data(self, data: Buffer) -> None:
        self.data += data
        if self.flow is not None:
            if self.echo:
                self.flow.write(data)
            if self.hungry:
                self.flow.consumed(len(data))

    def flow_eof(self) -> None:
        self.eof = True
        if self.echo and self.flow is not None:
            self.flow.finish()

    def flow_writable(self) -> None:
        self.writable += 1

    def flow_closed(self, reason: Reason) -> None:
        self.reason = reason


class Came:
    """Keeps the datagrams of an association. With `echo`, sends each back to where it came from."""

    def __init__(self, flow: DatagramFlow, *, echo: bool = False) -> None:
        self.flow = flow
        self.echo = echo
        self.datagrams: list[tuple[str, int, bytes]] = []
        self.reason: Reason | None = None
        flow.attach(self)

    def datagram_came(self, host: str, port: int, data: Buffer) -> None:
        self.datagrams.append((host, port, bytes(data)))
        if self.echo:
            self.flow.send(host, port, data)

    def flow_closed(self, reason: Reason) -> None:
        self.reason = reason


class Echo:
    """An acceptor that connects every flow to itself, and remembers what it was asked for."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, int]] = []
        self.listeners: list[Collect] = []
        self.associations: list[Came] = []

    def datagrams_requested(self, flow: IncomingDatagrams) -> None:
        self.associations.append(Came(flow, echo=True))
        flow.accept()

    def flow_requested(self, flow: IncomingFlow, host: str, port: int) -> None:
        self.asked.append((host, port))
        if host == "refused.example":
            flow.reset(Reason.REFUSED)
            return
        if host == "silent.example":
            return
        listener = Collect(flow, echo=host != "sink.example", hungry=host != "full.example")
        self.listeners.append(listener)
        flow.accept()
        flow.attach(listener)


class Network:
    """Serving nodes 0 … n-1 and one client. Every node knows every other.

    Args:
        engine: makes each node's engine.
        shape: how the client's flows look to relays.
        preshared: the network's preshared key.
        toll: makes each node's payments.
        tariff: the step that all nodes ask.
    """

    def __init__(
        self,
        engine: Callable[[], Engine] = real_engine,
        shape: Shape = Shape.STEPS,
        preshared: bytes = NO_PSK,
        toll: Callable[[], Toll] = NoToll,
        tariff: int = 0,
    ) -> None:
        self._engine = engine
        self._shape = shape
        self._preshared = preshared
        self._toll = toll
        self._tariff = tariff
        self.hops: dict[PeerKey, Hop] = {}
        self.nodes: list[Tunnel] = []
        self.keys: list[PeerKey] = []
        self.onion_privates: list[X25519PrivateKey] = []
        self.paths: list[list[int]] = []
        self.closed_ports: dict[PeerKey, frozenset[int]] = {}
        self.early = False
        """Whether it is too early to name any path."""
        self.regions: dict[PeerKey, str] = {}

    # -- tunnel.path.ExitOffers

    def serves(self, last: PeerKey, wish: Wish) -> bool:
        wanted = wish.options.regions
        return wish.port not in self.closed_ports.get(last, ()) and (
            wanted is None or self.regions.get(last, "") in wanted
        )

    def anyone_serves(self, wish: Wish) -> bool:
        return not self.paths or any(self.serves(self.keys[path[-1]], wish) for path in self.paths)

    def choose(self, avoid: Collection[PeerKey], last: PeerKey | None = None, wish: Wish = ANY_EXIT) -> Path:
        if self.early:
            raise NotYetError
        for path in self.paths:
            named = tuple(self.hops[self.keys[place]] for place in path)
            end = named[-1].peer
            fits = last in (None, end) and end not in wish.but and self.serves(end, wish)
            if fits and not any(hop.peer in avoid for hop in named):
                return named
        raise CircuitError(Reason.NO_PATH)

    async def add(self, acceptor: FlowAcceptor | None = None, *, relays: bool = True) -> Tunnel:
        """Start a node that serves."""
        link_key, onion_key = (private_key(secrets.token_bytes(32)) for _ in range(2))
        peer = PeerKey(secrets.token_bytes(32))
        node = Tunnel(
            self._engine(),
            TunnelParts(
                address_ok=lambda host: True,
                link_key=link_key,
                onion_keys=[onion_key],
                descriptor=lambda: b"descriptor",
                tell=told,
                locate=self.hops.get,
                relays=relays,
                acceptor=acceptor,
                preshared=self._preshared,
                toll=self._toll(),
            ),
        )
        port = await node.start(0, client=False)
        self.onion_privates.append(onion_key)
        where = (("127.0.0.1", port),)
        self.hops[peer] = Hop(peer, public_bytes(link_key), public_bytes(onion_key), where, self._tariff)
        self.nodes.append(node)
        self.keys.append(peer)
        return node

    def client(self, witness: CircuitWitness | None = None) -> Tunnel:
        """Make a client; start it when the paths are set."""
        parts = TunnelParts(
            address_ok=lambda host: True,
            choose=self.choose,
            offers=self,
            shape=self._shape,
            preshared=self._preshared,
            witness=witness or NoWitness(),
            toll=self._toll(),
        )
        node = Tunnel(self._engine(), parts)
        self.nodes.append(node)
        return node

    async def close(self) -> None:
        for node in reversed(self.nodes):
            await node.close()


def blamed(network: Network, client: Tunnel) -> list[int]:
    """Places in the network of the peers that the client leaves out."""
    avoided = client.pool.builder.blame.avoided(asyncio.get_running_loop().time())
    return sorted(network.keys.index(peer) for peer in avoided)


def held_against(network: Network, client: Tunnel) -> list[int]:
    """Places in the network of the peers against which the client holds anything, however little."""
    now, blame = asyncio.get_running_loop().time(), client.pool.builder.blame
    return [place for place, peer in enumerate(network.keys) if blame.weight(peer, now)]


@asynccontextmanager
async def chain(
    count: int,
    engine: Callable[[], Engine] = real_engine,
    shape: Shape = Shape.STEPS,
    preshared: bytes = NO_PSK,
    toll: Callable[[], Toll] = NoToll,
    tariff: int = 0,
) -> AsyncIterator[tuple[Network, Tunnel, Echo]]:
    """A path of `count` hops that ends at an echo, and a client with circuits ready."""
    network, echo = Network(engine, shape, preshared, toll, tariff), Echo()
    try:
        for place in range(count):
            await network.add(echo if place == count - 1 else None)
        network.paths = [list(range(count))]
        client = network.client()
        await client.start(0, client=True)
        await until(lambda: sum(circuit.rtt_s is not None for circuit in client.pool.circuits) >= 2, 15.0)
        yield network, client, echo
    finally:
        await network.close()


@asynccontextmanager
async def three_hops(
    engine: Callable[[], Engine] = real_engine,
    shape: Shape = Shape.STEPS,
) -> AsyncIterator[tuple[Network, Tunnel, Echo]]:
    """Guard, relay, exit and a client with circuits ready."""
    async with chain(3, engine, shape) as parts:
        yield parts


@asynccontextmanager
async def far_apart(delay_s: float = 0.06) -> AsyncIterator[tuple[Tunnel, float]]:
    """A client of three hops in memory with so many seconds from neighbour to neighbour, and the round trip of the
    chain in seconds."""
    async with three_hops(Board().engine) as (network, client, _):
        for node in network.nodes:
            assert isinstance(node.engine, WireEngine)
            for connection in node.engine.connections:
                connection.delay_s = delay_s
        near = set(client.pool.circuits)
        client.pool.hop()
        await until(lambda: client.pool.ready == 2)
        await until(lambda: all(circuit.rtt_s is not None for circuit in client.pool.circuits))
        assert not near & set(client.pool.circuits)
        yield client, 6 * delay_s
