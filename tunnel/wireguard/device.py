"""A WireGuard device: datagrams in; datagrams, packets and the next deadline out.

It finds the peer of each message, gives out cookies under load, and counts what it drops. Which inner addresses a
peer may use is for the caller to check: packets come out with the key of the peer they came from.

Source: WireGuard, sections 5 and 6.
"""

from __future__ import annotations

import struct
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from core.errors import DecodeError
from tunnel.wireguard.constants import (
    HANDSHAKES_PER_S,
    TYPE_COOKIE_REPLY,
    TYPE_INITIATION,
    TYPE_RESPONSE,
    TYPE_TRANSPORT,
    WIREGUARD_IDENTIFIER,
)
from tunnel.wireguard.cookies import CookieGiver, has_mac1, without_mac2
from tunnel.wireguard.handshake import Responder
from tunnel.wireguard.noise import NO_PSK
from tunnel.wireguard.peer import Indices, Peer
from tunnel.wireguard.primitives import dh, public_bytes
from tunnel.wireguard.session import read_header

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

    from tunnel.wireguard.peer import Endpoint, Entropy


@dataclass(slots=True)
class Output:
    """What a call to a device brings about.

    `datagrams` are to be sent, each to its endpoint; `packets` are IP packets, each with the public key of its
    sender; at `deadline_s` (monotonic seconds, or None) `Device.advance` must be called.
    """

    datagrams: list[tuple[Endpoint, bytes]] = field(default_factory=list)
    packets: list[tuple[bytes, bytes]] = field(default_factory=list)
    deadline_s: float | None = None


class Device:
    """One static key and its peers.

    Args:
        static: own static key.
        entropy: returns as many random bytes as asked for.
        clock_offset_s: unix time minus the monotonic time that `now` arguments carry, in seconds.
        handshakes_per_s: more initiations and responses with a right mac1 than this within a second are load.
    """

    def __init__(
        self,
        static: X25519PrivateKey,
        entropy: Entropy,
        clock_offset_s: float,
        handshakes_per_s: int = HANDSHAKES_PER_S,
    ) -> None:
        self.dropped: Counter[str] = Counter()
        self._static = static
        self._public = public_bytes(static)
        self._entropy = entropy
        self._clock_offset_s = clock_offset_s
        self._indices = Indices(entropy)
        self._peers: dict[bytes, Peer] = {}
        self._responder = Responder(WIREGUARD_IDENTIFIER, static, entropy)
        self._giver = CookieGiver(self._public, entropy)
        self._handshakes_per_s = handshakes_per_s
        self._second_s = float("-inf")
        self._handshakes = 0

    def add_peer(
        self,
        static: bytes,
        psk: bytes = NO_PSK,
        endpoint: Endpoint | None = None,
        persistent_s: float | None = None,
    ) -> Peer:
        """Make a peer known.

        Args:
            static: its public key, 32 bytes.
            psk: preshared key, 32 bytes.
            endpoint: where it is; may be unknown until it speaks.
            persistent_s: interval of persistent keepalives in seconds; None for none.

        Raises:
            ValueError: `static` is not a usable key.
        """
        dh(self._static, static)
        peer = Peer(
            self._static, static, self._indices, self._entropy, self._clock_offset_s, psk, endpoint, persistent_s
        )
        self._peers[static] = peer
        return peer

    def send(self, static: bytes, packet: bytes, now: float) -> Output:
        """Send an IP packet to the peer with this key; without a session it waits for a handshake."""
        peer = self._peers[static]
        peer.send(packet, now)
        return self._collect(peer)

    def rekey(self, static: bytes, now: float) -> Output:
        """Begin a handshake with the peer with this key."""
        peer = self._peers[static]
        peer.rekey(now)
        return self._collect(peer)

    def advance(self, now: float) -> Output:
        """Do what is due."""
        for peer in self._peers.values():
            peer.advance(now)
        return self._collect(*self._peers.values())

    def receive(self, datagram: bytes, source: Endpoint, now: float) -> Output:
        """Take a datagram. One that is refused changes nothing but a counter in `dropped`."""
        out = Output()
        try:
            out.datagrams = self._dispatch(datagram, source, now)
        except DecodeError as error:
            self.dropped[str(error)] += 1
        rest = self._collect(*self._peers.values())
        rest.datagrams[:0] = out.datagrams
        return rest

    def _collect(self, *peers: Peer) -> Output:
        out = Output()
        for peer in peers:
            out.datagrams += peer.outbox
            out.packets += ((peer.static, packet) for packet in peer.inbox)
            peer.outbox, peer.inbox = [], []
        deadlines = (peer.deadline_s for peer in self._peers.values())
        out.deadline_s = min((one for one in deadlines if one is not None), default=None)
        return out

    def _dispatch(self, datagram: bytes, source: Endpoint, now: float) -> list[tuple[Endpoint, bytes]]:
        """Hand a datagram to its peer; return a cookie reply if that is all there is to say."""
        kind = datagram[0] if datagram else 0
        if kind == TYPE_TRANSPORT:
            index, _ = read_header(datagram)
            self._owner(index).consume_message(index, datagram, source, now)
        elif kind == TYPE_COOKIE_REPLY:
            self._owner(_index_at(datagram, 4)).cookies.consume_reply(datagram, now)
        elif kind in (TYPE_INITIATION, TYPE_RESPONSE):
            return self._handshake(kind, datagram, source, now)
        else:
            raise DecodeError("message", "wrong type")
        return []

    def _handshake(self, kind: int, message: bytes, source: Endpoint, now: float) -> list[tuple[Endpoint, bytes]]:
        if not has_mac1(message, self._public):
            raise DecodeError("handshake", "mac1 does not verify")
        if self._under_load(now) and not self._giver.has_mac2(message, _source_bytes(source), now):
            self.dropped["handshake: under load"] += 1
            return [(source, self._giver.create_reply(message, _source_bytes(source), now))]
        if kind == TYPE_RESPONSE:
            self._owner(_index_at(message, 8)).consume_response(message, source, now)
            return []
        # The handshake takes a zero mac2 alone. Here mac2 has been looked at, or need not be.
        received = self._responder.consume_initiation(without_mac2(message))
        peer = self._peers.get(received.static)
        if peer is None:
            raise DecodeError("initiation", "unknown peer")
        peer.respond(received, source, now)
        return []

    def _under_load(self, now: float) -> bool:
        if now - self._second_s >= 1:
            self._second_s, self._handshakes = now, 0
        self._handshakes += 1
        return self._handshakes > self._handshakes_per_s

    def _owner(self, index: int) -> Peer:
        owner = self._indices.owner(index)
        if owner is None:
            raise DecodeError("message", "unknown index")
        return owner


def _index_at(message: bytes, offset: int) -> int:
    if len(message) < offset + 4:
        raise DecodeError("message", "too short")
    return int(struct.unpack_from("<I", message, offset)[0])


def _source_bytes(source: Endpoint) -> bytes:
    host, port = source
    return f"{host} {port}".encode()
