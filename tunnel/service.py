"""The tunnel of one node, put together: links, the hop's service, and the client's circuits."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from core.errors import CircuitError, Reason
from tunnel.circuit_witness import NoWitness
from tunnel.control import Kind
from tunnel.limits import CLIENT_BYTES, NODE_BYTES
from tunnel.links import Links
from tunnel.memory import Memory
from tunnel.observing import Observing
from tunnel.padding import Shape
from tunnel.path import ANY_EXIT, EveryPort
from tunnel.pool import CircuitPool
from tunnel.punch import Punch
from tunnel.relay import Relay
from tunnel.toll import NO_TOLL
from tunnel.wireguard.noise import NO_PSK

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Collection

    from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

    from core.ids import PeerKey
    from tunnel.circuit_witness import CircuitWitness
    from tunnel.engines.seam import Address, Engine
    from tunnel.gate import Gate
    from tunnel.link import Link
    from tunnel.link_stream import LinkStream, StreamReceiver
    from tunnel.path import ExitOffers, ExitRank, Hop, Path, PathChooser, PathWitness, Wish
    from tunnel.terminal import FlowAcceptor
    from tunnel.toll import Toll


async def _nobody(peer: PeerKey) -> None:
    """Where nobody is looked for."""


def _no_path(avoid: Collection[PeerKey], last: PeerKey | None, wish: Wish = ANY_EXIT) -> Path:
    raise CircuitError(Reason.NO_PATH)


@dataclass(slots=True, kw_only=True)
class TunnelParts:
    """What the layers above give to the tunnel.

    Args:
        address_ok: whether a peer may be dialled at an IP literal.
        link_key: own link key; None at a client.
        onion_keys: keys that creations may be made for; none at a client.
        descriptor: the own signed descriptor; returns None at a client.
        locate: verified keys and addresses of a peer.
        find: looks for a peer that is not known, for about a second.
        choose: names paths; nodes that only serve have none.
        tried: told how each creation of this node's own circuits went.
        rank: how much the exit of a circuit is wanted for new flows.
        offers: what exits say that they serve.
        witness: told how this node's own circuits do.
        shape: how this node's own flows look to relays where no mode is wanted for a site.
        relays: whether to extend circuits to others.
        acceptor: who connects flows that end here; None at a node that is no exit.
        link_up: told of each new link.
        link_down: told of each link that went.
        gossip: told of each gossip message.
        preshared: the network's preshared key, 32 bytes.
        tell: what to tell whoever asks, before a link is up, with a proof; None for nothing.
        seen_at: told where a neighbour that this node dialled sees it.
        held_by: peers that hold a link to a peer, as that peer says.
        helps: whether a peer says that this node holds a link to it.
        calls: whether a neighbour holds a link to this node, as this node has published.
        holding: told of HOLD and HELD; raises DecodeError.
        admits: why no circuit that comes over a link is taken now; None when it is.
        gate: what is forwarded for others passes here; None where there is no limit.
        toll: payments. Without any, the node serves and takes what costs nothing.
    """

    address_ok: Callable[[str], bool]
    link_key: X25519PrivateKey | None = None
    onion_keys: list[X25519PrivateKey] = field(default_factory=list)
    descriptor: Callable[[], bytes | None] = lambda: None
    locate: Callable[[PeerKey], Hop | None] = lambda peer: None
    find: Callable[[PeerKey], Awaitable[None]] = _nobody
    choose: PathChooser = _no_path
    tried: PathWitness = lambda path, served, at_fault: None
    rank: ExitRank = lambda last, before, options: 0
    offers: ExitOffers = field(default_factory=EveryPort)
    witness: CircuitWitness = field(default_factory=NoWitness)
    shape: Shape = Shape.STEPS
    relays: bool = False
    acceptor: FlowAcceptor | None = None
    link_up: Callable[[Link], None] = lambda link: None
    link_down: Callable[[Link], None] = lambda link: None
    gossip: Callable[[Link, bytes], None] = lambda link, body: None
    preshared: bytes = field(default=NO_PSK, repr=False)
    tell: Callable[[bytes], bytes | None] = lambda proof: None
    seen_at: Callable[[Link, Address], None] = lambda link, address: None
    held_by: Callable[[PeerKey], Collection[PeerKey]] = lambda peer: ()
    helps: Callable[[PeerKey], bool] = lambda peer: False
    calls: Callable[[Link], bool] = lambda link: False
    holding: Callable[[Link, Kind, bytes], None] = lambda link, kind, body: None
    admits: Callable[[Link], Reason | None] = lambda link: None
    gate: Gate | None = None
    toll: Toll = NO_TOLL


class Tunnel:
    """One node's tunnel. Implements `tunnel.link_events.LinkEvents`."""

    def __init__(self, engine: Engine, parts: TunnelParts) -> None:
        self._parts = parts
        self.engine = engine
        self.links = Links(
            engine, parts.link_key, parts.descriptor, self, parts.address_ok, parts.preshared, parts.tell
        )
        self.links.tried = parts.tried
        self.observing = Observing(parts.seen_at, parts.address_ok)
        self.punch = Punch(
            engine,
            self.links,
            parts.locate,
            parts.address_ok,
            parts.held_by,
            parts.helps,
            parts.calls,
            serves=parts.link_key is not None,
        )
        self.links.arrange = self.punch.meet
        self.memory = Memory(CLIENT_BYTES if parts.acceptor is None else NODE_BYTES)
        self.relay = Relay(
            parts.onion_keys,
            self.links,
            parts.locate,
            parts.relays,
            parts.acceptor,
            self.memory,
            parts.find,
            parts.admits,
            parts.toll,
            parts.gate,
        )
        self.pool = CircuitPool(
            self.links, parts.choose, self.memory, parts.shape, parts.rank, parts.witness, parts.offers, parts.toll
        )

    async def start(self, port: int, *, client: bool) -> int:
        """Open the UDP port, 0 for any, and begin to build circuits if this node is a client.

        Returns:
            The port.
        """
        port = await self.links.listen(port)
        if client:
            self.pool.start()
        return port

    async def close(self) -> None:
        """End every flow, circuit and link."""
        await self.pool.close()
        await self.relay.close()
        await self.observing.close()
        await self.punch.close()
        await self.links.close()

    def end_paid(self, link: Link, reason: Reason, *, pays: bool) -> None:
        """End what costs something on a link, because no more is paid there.

        Args:
            link: which.
            reason: why: `SPENDING_CAP`, `COUNTS_DIFFER`, `UNPAID`, …
            pays: whether this node has stopped to pay; else it is paid no more.
        """
        if pays:
            for circuit in self.pool.circuits:
                if circuit.link is link:
                    circuit.cannot_pay(reason)
        self.relay.end_paid(link, reason, pays=pays)

    # -- tunnel.link_events.LinkEvents

    def link_up(self, link: Link) -> None:
        self.observing.link_up(link)
        self.punch.link_up(link)
        self._parts.link_up(link)

    def link_down(self, link: Link) -> None:
        self.observing.link_down(link)
        self.punch.link_down(link)
        self.relay.link_down(link)
        self._parts.toll.link_down(link)
        self._parts.link_down(link)

    def creation(self, link: Link, circuit: int, message: bytes) -> None:
        self.relay.creation(link, circuit, message)

    def stream_opened(self, stream: LinkStream, body: memoryview) -> StreamReceiver:
        return self.relay.stream_opened(stream, body)

    def gossip(self, link: Link, body: bytes) -> None:
        self._parts.gossip(link, body)

    def payment(self, link: Link, body: bytes) -> None:
        self._parts.toll.payment(link, body)

    def whereabouts(self, link: Link, kind: Kind, body: bytes) -> None:
        match kind:
            case Kind.OBSERVED | Kind.CHECK | Kind.CHECKED:
                self.observing.received(link, kind, body)
            case Kind.HOLD | Kind.HELD:
                self._parts.holding(link, kind, body)
            case _:
                self.punch.received(link, kind, body)
