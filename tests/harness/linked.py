"""Two neighbours in memory: links over one wire, and a record of what they tell their nodes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from core.errors import DecodeError, Reason
from tests.harness.entropy import seeded
from tests.harness.waiting import turns
from tests.harness.wire import wire
from tunnel.control import ControlMachine
from tunnel.layers import RECORD_BYTES
from tunnel.link import Link
from tunnel.wireguard.handshake import tai64n
from tunnel.wireguard.primitives import private_key, public_bytes

if TYPE_CHECKING:
    from collections.abc import Callable

    from tunnel.control import Kind
    from tunnel.link_stream import LinkStream
    from tunnel.tally import Tally

NOW = tai64n(1_700_000_000)


class Receiver:
    """Keeps the messages of one stream, and does something after each and at the end. With `refusing` it finds them
    wrong."""

    def __init__(self) -> None:
        self.messages: list[bytes] = []
        self.datagrams: list[bytes] = []
        self.ends = 0
        self.writables = 0
        self.refusing = False
        self.stream: LinkStream | None = None
        self.then: Callable[[], object] = lambda: None
        self.then_ended: Callable[[], object] = lambda: None

    def message(self, body: memoryview) -> None:
        self.messages.append(bytes(body))
        self.then()
        if self.refusing:
            raise DecodeError("message", "wrong inside")

    def datagram(self, body: memoryview) -> None:
        self.datagrams.append(bytes(body))
        if self.refusing:
            raise DecodeError("datagram", "wrong inside")

    def ended(self) -> None:
        self.ends += 1
        self.then_ended()

    def writable(self) -> None:
        self.writables += 1


def told(proof: bytes) -> bytes | None:
    """What a public network's peer tells whoever asks."""
    return None if proof else b"descriptor"


class Events:
    """What a link told its node. Streams that come belong to a circuit with this `tally`."""

    def __init__(self) -> None:
        self.ups: list[Link] = []
        self.downs: list[Link] = []
        self.creations: list[tuple[int, bytes]] = []
        self.gossips: list[bytes] = []
        self.payments: list[bytes] = []
        self.told: list[tuple[Kind, bytes]] = []
        self.opened: list[Receiver] = []
        self.closed: list[Link] = []
        self.refusing = False
        self.tally: Tally | None = None

    def link_up(self, link: Link) -> None:
        self.ups.append(link)

    def link_down(self, link: Link) -> None:
        self.downs.append(link)

    def creation(self, link: Link, circuit: int, message: bytes) -> None:
        self.creations.append((circuit, message))

    def stream_opened(self, stream: LinkStream, body: memoryview) -> Receiver:
        stream.tally = self.tally
        receiver = Receiver()
        receiver.refusing = self.refusing
        receiver.stream = stream
        self.opened.append(receiver)
        return receiver

    def gossip(self, link: Link, body: bytes) -> None:
        self.gossips.append(body)

    def payment(self, link: Link, body: bytes) -> None:
        self.payments.append(body)

    def whereabouts(self, link: Link, kind: Kind, body: bytes) -> None:
        self.told.append((kind, body))


class Owner:
    """Who is told that a circuit was destroyed, and that hops of it leave."""

    def __init__(self) -> None:
        self.reasons: list[Reason] = []
        self.hops: list[int] = []

    def destroyed(self, reason: Reason) -> None:
        self.reasons.append(reason)

    def leaving(self, hops: int) -> None:
        self.hops.append(hops)


class Linked:
    """A dialling link, `near`, and a serving one, `far`, on the two ends of one wire."""

    def __init__(self, *, knows_key: bool = True) -> None:
        entropy = seeded("linked")
        static, other = private_key(entropy(32)), private_key(entropy(32))
        self.near_wire, self.far_wire = wire()
        self.near_events, self.far_events = Events(), Events()
        self.link_key = public_bytes(other)
        self.near = Link(
            self.near_wire,
            ControlMachine(static, 1, entropy, lambda _: None),
            self.near_events,
            self.near_events.closed.append,
            dialled=True,
            verify=None if knows_key else self.verify,
        )
        self.far = Link(
            self.far_wire,
            ControlMachine(other, 2, entropy, told),
            self.far_events,
            self.far_events.closed.append,
            dialled=False,
        )
        self.near_wire.handler, self.far_wire.handler = self.near, self.far

    def verify(self, raw: bytes) -> tuple[bytes, bytes]:
        if raw != b"descriptor":
            raise DecodeError("descriptor", "of somebody else")
        return self.link_key, NOW

    @classmethod
    async def up(cls) -> Linked:
        linked = cls()
        linked.near.initiate(linked.link_key, NOW)
        await turns()
        assert linked.near.is_up
        assert linked.far.is_up
        return linked

    async def alive(self) -> bool:
        """Whether control messages still pass, both ways."""
        self.near.send_gossip(b"there")
        self.far.send_gossip(b"back")
        await turns()
        return self.far_events.gossips[-1:] == [b"there"] and self.near_events.gossips[-1:] == [b"back"]

    async def send(self, *bodies: bytes) -> tuple[Receiver, Receiver]:
        """Open a stream and send messages; give the receivers of both ends."""
        mine = Receiver()
        stream = mine.stream = self.near.open_stream(mine)
        for body in bodies:
            stream.send(record(body))
        await turns()
        return mine, self.far_events.opened[-1]


def record(body: bytes) -> bytearray:
    """A record for `LinkStream.send`, with room for length and tag."""
    out = bytearray(len(body) + RECORD_BYTES)
    out[2:-16] = body
    return out
