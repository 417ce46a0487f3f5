"""Messages of type 1 and 2: layouts, MACs, timestamps.

The caller names the identifier string, its own index, the time and the randomness, and checks the timestamp: what is
fresh enough differs between a link and a circuit.

The identifier also decides whether the handshake is hybrid. If it is, the ML-KEM part stands between a message's
header and the rest, and is absorbed together with the header.

Source: WireGuard, sections 5.4.2 to 5.4.4; for the hybrid form docs/protocol.md, "Handshake".
"""

from __future__ import annotations

import struct
from hmac import compare_digest
from typing import TYPE_CHECKING, NamedTuple

from core.errors import DecodeError
from tunnel.wireguard import hybrid, noise
from tunnel.wireguard.constants import (
    HYBRID_IDENTIFIERS,
    HYBRID_INITIATION_BYTES,
    HYBRID_RESPONSE_BYTES,
    INITIATION_BYTES,
    KEM_SEED_BYTES,
    KEY_BYTES,
    LABEL_EXPORTER,
    LABEL_MAC1,
    MAC_BYTES,
    RESPONSE_BYTES,
    TAG_BYTES,
    TIMESTAMP_BYTES,
    TYPE_INITIATION,
    TYPE_RESPONSE,
)
from tunnel.wireguard.primitives import hash_, kdf, mac, private_key, public_bytes

if TYPE_CHECKING:
    from collections.abc import Callable

    from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

    from tunnel.wireguard.hybrid import EncapsulationKey, Offer
    from tunnel.wireguard.noise import Initiation, Symmetric

    type Entropy = Callable[[int], bytes]

_TYPE_1 = struct.Struct("<II")
_TYPE_2 = struct.Struct("<III")
_FIRST_BYTES = KEY_BYTES + (KEY_BYTES + TAG_BYTES) + (TIMESTAMP_BYTES + TAG_BYTES)
_SECOND_BYTES = KEY_BYTES + TAG_BYTES
"""The Noise part of either message: it ends where the MACs begin."""

_TAI64N = struct.Struct(">QI")
_TAI64_EPOCH = (1 << 62) + 10
"""TAI64's label of 1970-01-01, with the ten leap seconds that had passed."""


def tai64n(unix_s: float) -> bytes:
    """Encode a time as TAI64N, 12 bytes."""
    whole = int(unix_s)
    return _TAI64N.pack(_TAI64_EPOCH + whole, int((unix_s - whole) * 1e9))


def from_tai64n(timestamp: bytes) -> float:
    """Decode TAI64N to unix seconds.

    Raises:
        DecodeError: not 12 bytes, or nanoseconds out of range.
    """
    if len(timestamp) != TIMESTAMP_BYTES:
        raise DecodeError("timestamp", "wrong length")
    whole: int
    nanoseconds: int
    whole, nanoseconds = _TAI64N.unpack(timestamp)
    if nanoseconds >= 1_000_000_000:
        raise DecodeError("timestamp", "nanoseconds out of range")
    return whole - _TAI64_EPOCH + nanoseconds / 1e9


class Keys(NamedTuple):
    """What a finished handshake yields: two transport keys and two indices.

    `exporter` is a third secret of 32 bytes, equal at both ends, from which the peer protocol derives what WireGuard
    has no key for. `hash` is the handshake hash.
    """

    send: bytes
    receive: bytes
    local_index: int
    remote_index: int
    exporter: bytes
    hash: bytes

    def __repr__(self) -> str:
        return "Keys([redacted])"

    def derive(self, label: bytes, count: int) -> tuple[bytes, ...]:
        """`count` (1 to 3) keys of 32 bytes for the use that `label` names."""
        return kdf(self.exporter, label, count)


def _exporter(state: Symmetric) -> bytes:
    return kdf(state.chain, LABEL_EXPORTER, 1)[0]


def _mac1_key(receiver_static: bytes, identifier: bytes, psk: bytes) -> bytes:
    """The key of mac1. In the hybrid form it takes the preshared key too, so who lacks it gets no answer at all."""
    return hash_(LABEL_MAC1, receiver_static, psk if identifier in HYBRID_IDENTIFIERS else b"")


def _close(message: bytes, mac1_key: bytes) -> bytes:
    """Append mac1 and an empty mac2."""
    return message + mac(mac1_key, message) + bytes(MAC_BYTES)


def _checked(message: bytes, size: int, kind: int, what: str, mac1_key: bytes) -> bytes:
    """Check length, type, reserved bytes and both MACs; return the message without them.

    No cookie is ever given out here, so mac2 is zero. Anything else would be bits that nobody vouches for.
    """
    if len(message) != size:
        raise DecodeError(what, "wrong length")
    if message[:4] != bytes([kind, 0, 0, 0]):
        raise DecodeError(what, "wrong type")
    body, mac1 = message[: -2 * MAC_BYTES], message[-2 * MAC_BYTES : -MAC_BYTES]
    if not compare_digest(mac(mac1_key, body), mac1):
        raise DecodeError(what, "mac1 does not verify")
    if any(message[-MAC_BYTES:]):
        raise DecodeError(what, "mac2 without a cookie")
    return body


class Initiator:
    """The side that sends message 1.

    Args:
        identifier: the protocol's identifier string.
        static: own static key.
        responder_static: the other side's static key, 32 bytes, known beforehand.
        local_index: the index that the other side shall write into messages to this one, 32 bits.
        entropy: returns as many random bytes as asked for; asked for 32 (ephemeral key), then, if the handshake is
            hybrid, 64 (ML-KEM seed).
        psk: preshared key, 32 bytes.
    """

    def __init__(
        self,
        identifier: bytes,
        static: X25519PrivateKey,
        responder_static: bytes,
        local_index: int,
        entropy: Entropy,
        psk: bytes = noise.NO_PSK,
    ) -> None:
        self._identifier = identifier
        self._static = static
        self._static_public = public_bytes(static)
        self._responder_static = responder_static
        self._local_index = local_index
        self._psk = psk
        self._ephemeral = private_key(entropy(32))
        self._kem = hybrid.Decapsulation(entropy(KEM_SEED_BYTES)) if identifier in HYBRID_IDENTIFIERS else None
        self._state: Symmetric | None = None

    @property
    def state(self) -> Symmetric:
        """Chaining key and hash after message 1; both sides have the same."""
        if self._state is None:
            raise RuntimeError("create_initiation comes first")
        return self._state

    def create_initiation(self, timestamp: bytes) -> bytes:
        """Message 1, 148 bytes, or 1,332 if hybrid.

        Args:
            timestamp: TAI64N, 12 bytes.

        Raises:
            ValueError: the responder's key is not usable.
        """
        clear = _TYPE_1.pack(TYPE_INITIATION, self._local_index) + (self._kem.public if self._kem else b"")
        absorbed = clear if self._kem else b""
        self._state, body = noise.create_first(
            self._identifier, self._static, self._ephemeral, self._responder_static, timestamp, absorbed
        )
        return _close(clear + body, _mac1_key(self._responder_static, self._identifier, self._psk))

    def consume_response(self, message: bytes) -> Keys:
        """Read message 2.

        Raises:
            DecodeError: it does not answer this handshake. The handshake goes on waiting.
        """
        size = HYBRID_RESPONSE_BYTES if self._kem else RESPONSE_BYTES
        mac1_key = _mac1_key(self._static_public, self._identifier, self._psk)
        body = _checked(message, size, TYPE_RESPONSE, "response", mac1_key)
        clear, second = body[:-_SECOND_BYTES], body[-_SECOND_BYTES:]
        _, remote_index, local_index = _TYPE_2.unpack_from(clear)
        if local_index != self._local_index:
            raise DecodeError("response", "wrong index")
        psk, absorbed = self._psk, b""
        if self._kem:
            psk, absorbed = self._kem.psk(self._psk, clear[_TYPE_2.size :]), clear
        state, _ = noise.consume_second(self.state, self._static, self._ephemeral, psk, second, absorbed)
        send, receive = state.split()
        return Keys(send, receive, local_index, remote_index, _exporter(state), state.hash)


class Responder:
    """The side that answers message 1.

    Args:
        identifier: the protocol's identifier string.
        static: own static key.
        entropy: returns as many random bytes as asked for. What encapsulation needs it does not come from here.
        psk: preshared key, 32 bytes.
        read_key: reads an encapsulation key; the library's, unless a recorded handshake is to be repeated.
    """

    def __init__(
        self,
        identifier: bytes,
        static: X25519PrivateKey,
        entropy: Entropy,
        psk: bytes = noise.NO_PSK,
        read_key: Callable[[bytes], EncapsulationKey] = hybrid.read_key,
    ) -> None:
        self._identifier = identifier
        self._static = static
        self._static_public = public_bytes(static)
        self._entropy = entropy
        self._psk = psk
        self._read_key = read_key
        self._hybrid = identifier in HYBRID_IDENTIFIERS
        self._mac1_key = _mac1_key(self._static_public, identifier, psk)

    def consume_initiation(self, message: bytes) -> Received:
        """Read message 1. Nothing is kept; answer it with `Received.create_response`.

        Raises:
            DecodeError: it was not made for this key, or was changed.
        """
        size = HYBRID_INITIATION_BYTES if self._hybrid else INITIATION_BYTES
        body = _checked(message, size, TYPE_INITIATION, "initiation", self._mac1_key)
        clear, first_part = body[:-_FIRST_BYTES], body[-_FIRST_BYTES:]
        _, remote_index = _TYPE_1.unpack_from(clear)
        absorbed = clear if self._hybrid else b""
        state, first = noise.consume_first(self._identifier, self._static, self._static_public, first_part, absorbed)
        offer = hybrid.read_offer(clear[_TYPE_1.size :], self._read_key) if self._hybrid else None
        timestamp_s = from_tai64n(first.payload)
        return Received(state, first, remote_index, timestamp_s, self._psk, self._entropy, self._identifier, offer)


class Received(NamedTuple):
    """A verified message 1.

    `static` is the initiator's key, `timestamp_s` its clock in unix seconds, `state` chaining key and hash, `offer` its
    encapsulation key if the handshake is hybrid.
    """

    state: Symmetric
    first: Initiation
    remote_index: int
    timestamp_s: float
    psk: bytes
    entropy: Entropy
    identifier: bytes
    offer: Offer | None = None

    def __repr__(self) -> str:
        return "Received([redacted])"

    @property
    def static(self) -> bytes:
        return self.first.static

    def create_response(self, local_index: int) -> tuple[bytes, Keys]:
        """Message 2, 92 bytes, or 1,180 if hybrid, and the keys.

        Raises:
            DecodeError: the initiator's ephemeral key is not usable.
        """
        mac1_key = _mac1_key(self.first.static, self.identifier, self.psk)
        clear, psk, absorbed = _TYPE_2.pack(TYPE_RESPONSE, local_index, self.remote_index), self.psk, b""
        if self.offer:
            ciphertext, psk = self.offer.accept(psk)
            clear = absorbed = clear + ciphertext
        ephemeral = private_key(self.entropy(32))
        state, body = noise.create_second(self.state, self.first, ephemeral, psk, b"", absorbed)
        message = _close(clear + body, mac1_key)
        receive, send = state.split()
        return message, Keys(send, receive, local_index, self.remote_index, _exporter(state), state.hash)
