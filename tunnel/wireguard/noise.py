"""Noise_IKpsk2_25519_ChaChaPoly_BLAKE2s: one handshake, either role.

Each function takes `clear`, the bytes that stand in clear before its message: if there are any, they are absorbed
into the hash before the message's first token, so that every AEAD from there on vouches for them.

A consuming method works in locals and commits only after everything has verified, so a refused message leaves the
state as it was.

Source: The Noise Protocol Framework, revision 34, sections 5.2, 5.3, 7.5 and 9; WireGuard, section 5.4.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from cryptography.exceptions import InvalidTag

from core.errors import DecodeError
from tunnel.wireguard.constants import CONSTRUCTION, KEY_BYTES, TAG_BYTES
from tunnel.wireguard.primitives import aead_open, aead_seal, dh, hash_, kdf, public_bytes

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

NO_PSK = bytes(KEY_BYTES)


class Symmetric(NamedTuple):
    """Chaining key and handshake hash, as a value: each step returns the next one."""

    chain: bytes
    hash: bytes

    def __repr__(self) -> str:
        return "Symmetric([redacted])"

    @classmethod
    def begin(cls, prologue: bytes, responder_static: bytes) -> Symmetric:
        """The state before message 1: protocol name, prologue and the responder's key, which is known beforehand."""
        name = hash_(CONSTRUCTION)
        return cls(name, hash_(hash_(name, prologue), responder_static))

    def mix_hash(self, data: bytes) -> Symmetric:
        return Symmetric(self.chain, hash_(self.hash, data))

    def mix_clear(self, clear: bytes) -> Symmetric:
        """Absorb what a message carries in clear; WireGuard's messages absorb nothing."""
        return self.mix_hash(clear) if clear else self

    def mix_key(self, secret: bytes) -> Symmetric:
        return Symmetric(kdf(self.chain, secret, 1)[0], self.hash)

    def mix_key_for_use(self, secret: bytes) -> tuple[Symmetric, bytes]:
        chain, key = kdf(self.chain, secret, 2)
        return Symmetric(chain, self.hash), key

    def mix_psk(self, psk: bytes) -> tuple[Symmetric, bytes]:
        chain, mixed, key = kdf(self.chain, psk, 3)
        return Symmetric(chain, hash_(self.hash, mixed)), key

    def seal(self, key: bytes, text: bytes) -> tuple[Symmetric, bytes]:
        sealed = aead_seal(key, text, self.hash)
        return self.mix_hash(sealed), sealed

    def open(self, key: bytes, sealed: bytes) -> tuple[Symmetric, bytes]:
        text = aead_open(key, sealed, self.hash)
        return self.mix_hash(sealed), text

    def split(self) -> tuple[bytes, bytes]:
        """The two transport keys: the initiator's for sending, then the responder's."""
        first, second = kdf(self.chain, b"", 2)
        return first, second


class Initiation(NamedTuple):
    """What a responder learns from message 1."""

    static: bytes
    ephemeral: bytes
    payload: bytes


def create_first(
    prologue: bytes,
    static: X25519PrivateKey,
    ephemeral: X25519PrivateKey,
    responder_static: bytes,
    payload: bytes,
    clear: bytes = b"",
) -> tuple[Symmetric, bytes]:
    """Message 1 (e, es, s, ss): ephemeral, sealed static, sealed payload.

    Returns:
        The state after it, and 32 + 48 + len(payload) + 16 bytes.

    Raises:
        ValueError: `responder_static` is not a usable key.
    """
    own = public_bytes(ephemeral)
    state = Symmetric.begin(prologue, responder_static).mix_clear(clear).mix_hash(own).mix_key(own)
    state, key = state.mix_key_for_use(dh(ephemeral, responder_static))
    state, sealed_static = state.seal(key, public_bytes(static))
    state, key = state.mix_key_for_use(dh(static, responder_static))
    state, sealed_payload = state.seal(key, payload)
    return state, own + sealed_static + sealed_payload


def consume_first(
    prologue: bytes, static: X25519PrivateKey, own_public: bytes, message: bytes, clear: bytes = b""
) -> tuple[Symmetric, Initiation]:
    """Read message 1 with the responder's static key.

    Raises:
        DecodeError: it was not made for this key and prologue, or was changed.
    """
    ephemeral = message[:KEY_BYTES]
    sealed_static = message[KEY_BYTES : 2 * KEY_BYTES + TAG_BYTES]
    sealed_payload = message[2 * KEY_BYTES + TAG_BYTES :]
    try:
        state = Symmetric.begin(prologue, own_public).mix_clear(clear).mix_hash(ephemeral).mix_key(ephemeral)
        state, key = state.mix_key_for_use(dh(static, ephemeral))
        state, peer_static = state.open(key, sealed_static)
        state, key = state.mix_key_for_use(dh(static, peer_static))
        state, payload = state.open(key, sealed_payload)
    except (InvalidTag, ValueError) as error:
        raise DecodeError("initiation", "does not verify") from error
    return state, Initiation(peer_static, ephemeral, payload)


def create_second(
    state: Symmetric,
    first: Initiation,
    ephemeral: X25519PrivateKey,
    psk: bytes,
    payload: bytes,
    clear: bytes = b"",
) -> tuple[Symmetric, bytes]:
    """Message 2 (e, ee, se, psk): ephemeral, sealed payload.

    Returns:
        The final state, and 32 + len(payload) + 16 bytes.

    Raises:
        DecodeError: the initiator's ephemeral key is not usable.
    """
    own = public_bytes(ephemeral)
    state = state.mix_clear(clear).mix_hash(own).mix_key(own)
    try:
        state = state.mix_key(dh(ephemeral, first.ephemeral)).mix_key(dh(ephemeral, first.static))
    except ValueError as error:
        raise DecodeError("initiation", "has an unusable key") from error
    state, key = state.mix_psk(psk)
    state, sealed = state.seal(key, payload)
    return state, own + sealed


def consume_second(
    state: Symmetric,
    static: X25519PrivateKey,
    ephemeral: X25519PrivateKey,
    psk: bytes,
    message: bytes,
    clear: bytes = b"",
) -> tuple[Symmetric, bytes]:
    """Read message 2 with the initiator's keys.

    Returns:
        The final state, and the payload.

    Raises:
        DecodeError: it does not answer this handshake, or was changed.
    """
    peer = message[:KEY_BYTES]
    try:
        state = state.mix_clear(clear).mix_hash(peer).mix_key(peer)
        state = state.mix_key(dh(ephemeral, peer)).mix_key(dh(static, peer))
        state, key = state.mix_psk(psk)
        state, payload = state.open(key, message[KEY_BYTES:])
    except (InvalidTag, ValueError) as error:
        raise DecodeError("response", "does not verify") from error
    return state, payload
