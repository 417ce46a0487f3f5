"""Circuit creation: the handshakes of all hops folded into one message of one size, and the answers likewise.

What hop i receives is `initiation (1,332) ‖ slot (64) ‖ tail`. The slot is sealed for hop i alone, with the
handshake hash as associated data, and names the next hop. The tail is what hop i+1 shall receive, under a key stream
of hop i. A hop removes its own head, removes its key stream from the tail and fills up with as many random bytes as it
removed, so that every hop sees the same length and none sees its place. Nobody authenticates the filling, and nobody
has to: each head authenticates itself.

The answer runs the other way: `response (1,180) ‖ verdict (32) ‖ tail`, where the tail is the next hop's answer under
a key stream of this hop. The first hop whose verdict is not `DONE` is where creation ended.

Keys: for the slot and the creation's tail from the chaining key after message 1, for the verdict and the answer's tail
from the finished handshake; each is used once. So what ML-KEM protects is everything but slots and the creation's
tails: those rest on X25519 with the onion key.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Final, NamedTuple

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms

from core.errors import CircuitError, DecodeError, Reason
from core.ids import PEER_KEY_BYTES, PeerKey
from tunnel.limits import MAX_HOPS
from tunnel.path import rates_of
from tunnel.wireguard.constants import HOP_IDENTIFIER, HYBRID_INITIATION_BYTES, HYBRID_RESPONSE_BYTES, TAG_BYTES
from tunnel.wireguard.handshake import Initiator, tai64n
from tunnel.wireguard.noise import NO_PSK
from tunnel.wireguard.primitives import aead_open, aead_seal, kdf, private_key

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tunnel.path import Path
    from tunnel.wireguard.handshake import Entropy, Keys, Received, Responder
    from tunnel.wireguard.noise import Symmetric

_SLOT: Final = struct.Struct(">B32sII7x")
SLOT_BYTES: Final = _SLOT.size + TAG_BYTES
HEAD_BYTES: Final = HYBRID_INITIATION_BYTES + SLOT_BYTES
CREATION_BYTES: Final = 7 * 1024

_VERDICT: Final = struct.Struct(">B15x")
VERDICT_BYTES: Final = _VERDICT.size + TAG_BYTES
ANSWER_HEAD_BYTES: Final = HYBRID_RESPONSE_BYTES + VERDICT_BYTES
ANSWER_BYTES: Final = 6 * 1024

_HAS_NEXT: Final = 1
_LABEL_CREATION: Final = b"Macro VPN v1 creation"
_LABEL_ANSWER: Final = b"Macro VPN v1 answer"

assert MAX_HOPS * HEAD_BYTES <= CREATION_BYTES
assert MAX_HOPS * ANSWER_HEAD_BYTES <= ANSWER_BYTES


class Slot(NamedTuple):
    """What one hop is told.

    Args:
        next_peer: whom to extend to, None for the last hop.
        paid: what this hop is paid, in units per MB, 32 bits.
        pays: what it pays the next one, in units per MB, 32 bits.
    """

    next_peer: PeerKey | None
    paid: int = 0
    pays: int = 0

    def encode(self) -> bytes:
        flags = _HAS_NEXT if self.next_peer is not None else 0
        return _SLOT.pack(flags, self.next_peer or bytes(PEER_KEY_BYTES), self.paid, self.pays)

    @classmethod
    def decode(cls, data: bytes) -> Slot:
        """Read a slot.

        Raises:
            DecodeError: unknown flags, a next hop where the flags say there is none, somebody to pay where there is
                nobody, or no zeros where they must be.
        """
        flags, peer, paid, pays = _SLOT.unpack(data)
        slot = cls(PeerKey(peer) if flags == _HAS_NEXT else None, paid, pays)
        if slot.encode() != data or (slot.next_peer is None and pays):
            raise DecodeError("slot", "wrong form")
        return slot


def _key_stream(key: bytes, data: bytes) -> bytes:
    """Add or remove a ChaCha20 key stream; the key is used once."""
    return Cipher(algorithms.ChaCha20(key, bytes(16)), mode=None).encryptor().update(data)


def _creation_keys(state: Symmetric) -> tuple[bytes, bytes]:
    slot_key, tail_key = kdf(state.chain, _LABEL_CREATION, 2)
    return slot_key, tail_key


# -- the client's side


class Creation:
    """A client's creation of one circuit: the message to send, and the reading of the answer.

    Args:
        path: 1 to 5 hops.
        indices: for each hop, the index that it shall write into messages to this client.
        now_unix_s: the time; it is cut to the minute, so that two hops cannot be matched by it.
        entropy: returns as many random bytes as asked for.
        preshared: the network's preshared key, 32 bytes.

    Raises:
        CircuitError: the onion key of `hop` is not usable.
    """

    def __init__(
        self, path: Path, indices: Sequence[int], now_unix_s: float, entropy: Entropy, preshared: bytes = NO_PSK
    ) -> None:
        timestamp = tai64n(now_unix_s - now_unix_s % 60)
        self._initiators = [
            Initiator(HOP_IDENTIFIER, private_key(entropy(32)), hop.onion_key, index, entropy, preshared)
            for hop, index in zip(path, indices, strict=True)
        ]
        message = entropy(CREATION_BYTES)
        followers: list[PeerKey | None] = [*(hop.peer for hop in path[1:]), None]
        rates = rates_of(path)
        for place in reversed(range(len(path))):
            initiator, follower = self._initiators[place], followers[place]
            try:
                head = initiator.create_initiation(timestamp)
            except ValueError as error:
                raise CircuitError(Reason.PROTOCOL, place) from error
            slot_key, tail_key = _creation_keys(initiator.state)
            slot = aead_seal(slot_key, Slot(follower, rates[place], rates[place + 1]).encode(), initiator.state.hash)
            tail = _key_stream(tail_key, message[: CREATION_BYTES - HEAD_BYTES])
            message = head + slot + tail
        self.message = message

    def consume_answer(self, answer: bytes) -> list[Keys]:
        """Read the answer of the whole chain.

        Returns:
            The keys shared with each hop, the guard's first.

        Raises:
            CircuitError: a hop refused, or its part of the answer does not verify; `hop` says which.
        """
        if len(answer) != ANSWER_BYTES:
            raise CircuitError(Reason.PROTOCOL, 0)
        keys: list[Keys] = []
        for place, initiator in enumerate(self._initiators):
            try:
                own = initiator.consume_response(answer[:HYBRID_RESPONSE_BYTES])
                verdict_key, tail_key = own.derive(_LABEL_ANSWER, 2)
                verdict = aead_open(verdict_key, answer[HYBRID_RESPONSE_BYTES:ANSWER_HEAD_BYTES], own.hash)
            except (DecodeError, InvalidTag) as error:
                raise CircuitError(Reason.PROTOCOL, place) from error
            if any(verdict[1:]):
                raise CircuitError(Reason.PROTOCOL, place)
            reason = Reason.from_wire(verdict[0])
            if reason is not Reason.DONE:
                raise CircuitError(reason, place)
            keys.append(own)
            answer = _key_stream(tail_key, answer[ANSWER_HEAD_BYTES:])
        return keys


# -- a hop's side


class Asked(NamedTuple):
    """A creation message as one hop reads it: who asks, what for, and what the next hop shall receive."""

    received: Received
    slot: Slot
    onward: bytes

    def answer(self, local_index: int, reason: Reason, next_answer: bytes | None) -> tuple[bytes, Keys]:
        """Answer the previous hop.

        Args:
            local_index: the index that the client shall write into messages to this hop.
            reason: `DONE`, or why this hop cannot serve.
            next_answer: what the next hop answered, None at the end of the chain.

        Returns:
            `ANSWER_BYTES` bytes, and the keys shared with the client.

        Raises:
            DecodeError: the client's ephemeral key is not usable.
        """
        response, keys = self.received.create_response(local_index)
        verdict_key, tail_key = keys.derive(_LABEL_ANSWER, 2)
        verdict = aead_seal(verdict_key, _VERDICT.pack(reason), keys.hash)
        room = ANSWER_BYTES - ANSWER_HEAD_BYTES
        tail = next_answer[:room] if next_answer is not None else self.received.entropy(room)
        return response + verdict + _key_stream(tail_key, tail), keys


def consume_creation(message: bytes, responder: Responder) -> Asked:
    """Read a creation message with a hop's onion key.

    Raises:
        DecodeError: it was not made for this key, or its head was changed.
    """
    if len(message) != CREATION_BYTES:
        raise DecodeError("creation", "wrong length")
    received = responder.consume_initiation(message[:HYBRID_INITIATION_BYTES])
    slot_key, tail_key = _creation_keys(received.state)
    try:
        slot = aead_open(slot_key, message[HYBRID_INITIATION_BYTES:HEAD_BYTES], received.state.hash)
    except InvalidTag as error:
        raise DecodeError("creation", "slot does not verify") from error
    onward = _key_stream(tail_key, message[HEAD_BYTES:]) + received.entropy(HEAD_BYTES)
    return Asked(received, Slot.decode(slot), onward)
