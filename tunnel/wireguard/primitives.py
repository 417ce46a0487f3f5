"""The functions that WireGuard names in section 5.4, over the standard library and `cryptography`."""

from __future__ import annotations

import hmac
from hashlib import blake2s
from typing import Final

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

from tunnel.wireguard.constants import KEY_BYTES, MAC_BYTES

ZERO_NONCE: Final = bytes(12)


def hash_(*parts: bytes) -> bytes:
    """BLAKE2s of the parts joined, 32 bytes."""
    state = blake2s()
    for part in parts:
        state.update(part)
    return state.digest()


def mac(key: bytes, data: bytes) -> bytes:
    """Keyed BLAKE2s, 16 bytes."""
    return blake2s(data, digest_size=MAC_BYTES, key=key).digest()


def kdf(key: bytes, data: bytes, count: int) -> tuple[bytes, ...]:
    """HKDF with HMAC-BLAKE2s and no info: `count` (1 to 3) outputs of 32 bytes.

    Source: section 5.4, KDF_n; RFC 5869.
    """
    secret = hmac.digest(key, data, "blake2s")
    out: list[bytes] = []
    last = b""
    for number in range(1, count + 1):
        last = hmac.digest(secret, last + bytes([number]), "blake2s")
        out.append(last)
    return tuple(out)


def aead_seal(key: bytes, text: bytes, associated: bytes) -> bytes:
    """ChaCha20-Poly1305 with counter 0; for keys that are used once."""
    return ChaCha20Poly1305(key).encrypt(ZERO_NONCE, text, associated)


def aead_open(key: bytes, sealed: bytes, associated: bytes) -> bytes:
    """Undo `aead_seal`.

    Raises:
        cryptography.exceptions.InvalidTag: not sealed with this key and associated data.
    """
    return ChaCha20Poly1305(key).decrypt(ZERO_NONCE, sealed, associated)


def private_key(entropy: bytes) -> X25519PrivateKey:
    """Make an X25519 key of 32 bytes of entropy (clamped by the library, RFC 7748, section 5)."""
    return X25519PrivateKey.from_private_bytes(entropy)


def public_bytes(key: X25519PrivateKey) -> bytes:
    """The public half, 32 bytes."""
    return key.public_key().public_bytes_raw()


def dh(key: X25519PrivateKey, public: bytes) -> bytes:
    """X25519, 32 bytes.

    Raises:
        ValueError: `public` is a point of small order (the shared secret would be zero) or not 32 bytes.
    """
    if len(public) != KEY_BYTES:
        raise ValueError("an X25519 key has 32 bytes")
    return key.exchange(X25519PublicKey.from_public_bytes(public))
