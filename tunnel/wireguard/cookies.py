"""Cookies: a host under load answers a first message with a cookie, and works only for those who bring it back.

XChaCha20-Poly1305 is built of HChaCha20 and the library's ChaCha20-Poly1305.

Source: WireGuard, sections 5.3, 5.4.4 and 5.4.7; draft-irtf-cfrg-xchacha-03, sections 2.2 and 2.3.
"""

from __future__ import annotations

import struct
from hmac import compare_digest
from typing import TYPE_CHECKING, Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

from core.errors import DecodeError
from tunnel.wireguard.constants import (
    COOKIE_LIFE_S,
    COOKIE_NONCE_BYTES,
    COOKIE_REPLY_BYTES,
    INITIATION_BYTES,
    LABEL_COOKIE,
    LABEL_MAC1,
    MAC_BYTES,
    RESPONSE_BYTES,
    TYPE_COOKIE_REPLY,
    TYPE_INITIATION,
    TYPE_RESPONSE,
)
from tunnel.wireguard.primitives import hash_, mac

if TYPE_CHECKING:
    from collections.abc import Callable

_REPLY = struct.Struct(f"<II{COOKIE_NONCE_BYTES}s{MAC_BYTES + 16}s")
_CONSTANTS: Final = struct.unpack("<4I", b"expand 32-byte k")
_SIZES: Final = {TYPE_INITIATION: INITIATION_BYTES, TYPE_RESPONSE: RESPONSE_BYTES}


def hchacha20(key: bytes, nonce: bytes) -> bytes:
    """Derive a key of 32 bytes of a key of 32 and a nonce of 16 bytes.

    A block of ChaCha20 is the permuted state plus the state. HChaCha20 is eight words of the permuted state alone, so
    the known words are subtracted again.

    Source: draft-irtf-cfrg-xchacha-03, section 2.2.
    """
    block = Cipher(algorithms.ChaCha20(key, nonce), mode=None).encryptor().update(bytes(64))
    words = struct.unpack("<16I", block)
    known = (*_CONSTANTS, *struct.unpack("<4I", nonce))
    permuted = (*words[:4], *words[12:])
    return struct.pack("<8I", *((word - old) & 0xFFFFFFFF for word, old in zip(permuted, known, strict=True)))


def xseal(key: bytes, nonce: bytes, text: bytes, associated: bytes) -> bytes:
    """XChaCha20-Poly1305 with a nonce of 24 bytes: ciphertext and tag."""
    return ChaCha20Poly1305(hchacha20(key, nonce[:16])).encrypt(bytes(4) + nonce[16:], text, associated)


def xopen(key: bytes, nonce: bytes, sealed: bytes, associated: bytes) -> bytes:
    """Undo `xseal`.

    Raises:
        cryptography.exceptions.InvalidTag: not sealed with this key, nonce and associated data.
    """
    return ChaCha20Poly1305(hchacha20(key, nonce[:16])).decrypt(bytes(4) + nonce[16:], sealed, associated)


def has_mac1(message: bytes, own_static: bytes) -> bool:
    """Say whether a message of type 1 or 2 has the right size, type, reserved bytes and mac1."""
    if not message or len(message) != _SIZES.get(message[0]) or any(message[1:4]):
        return False
    expected = mac(hash_(LABEL_MAC1, own_static), message[: -2 * MAC_BYTES])
    return compare_digest(expected, message[-2 * MAC_BYTES : -MAC_BYTES])


def without_mac2(message: bytes) -> bytes:
    """Set mac2 to zero."""
    return message[:-MAC_BYTES] + bytes(MAC_BYTES)


class CookieGiver:
    """The side under load: gives cookies out and checks mac2.

    Args:
        own_static: own public key, 32 bytes.
        entropy: returns as many random bytes as asked for.
    """

    def __init__(self, own_static: bytes, entropy: Callable[[int], bytes]) -> None:
        self._key = hash_(LABEL_COOKIE, own_static)
        self._entropy = entropy
        self._secret = b""
        self._until_s = 0.0

    def _cookie(self, source: bytes, now: float) -> bytes:
        if not self._secret or now >= self._until_s:
            self._secret, self._until_s = self._entropy(32), now + COOKIE_LIFE_S
        return mac(self._secret, source)

    def has_mac2(self, message: bytes, source: bytes, now: float) -> bool:
        """Say whether mac2 was made with the present cookie of this source (address and port as bytes)."""
        expected = mac(self._cookie(source, now), message[:-MAC_BYTES])
        return compare_digest(expected, message[-MAC_BYTES:])

    def create_reply(self, message: bytes, source: bytes, now: float) -> bytes:
        """Answer a message whose mac1 is right with a message of type 3, 64 bytes."""
        nonce = self._entropy(COOKIE_NONCE_BYTES)
        mac1 = message[-2 * MAC_BYTES : -MAC_BYTES]
        sealed = xseal(self._key, nonce, self._cookie(source, now), mac1)
        (sender,) = struct.unpack_from("<I", message, 4)
        return _REPLY.pack(TYPE_COOKIE_REPLY, sender, nonce, sealed)


class CookieTaker:
    """The side that was told to wait: keeps one cookie of one peer and makes mac2 with it.

    Args:
        peer_static: the public key of the side that gives the cookie, 32 bytes.
    """

    def __init__(self, peer_static: bytes) -> None:
        self._key = hash_(LABEL_COOKIE, peer_static)
        self._cookie = b""
        self._until_s = 0.0
        self._last_mac1 = b""

    def close(self, message: bytes, now: float) -> bytes:
        """Replace the empty mac2 of a message of type 1 or 2, if a cookie is at hand, and remember its mac1."""
        self._last_mac1 = message[-2 * MAC_BYTES : -MAC_BYTES]
        if not self._cookie or now >= self._until_s:
            return message
        return message[:-MAC_BYTES] + mac(self._cookie, message[:-MAC_BYTES])

    def consume_reply(self, message: bytes, now: float) -> None:
        """Keep the cookie of a message of type 3, for 120 s.

        Raises:
            DecodeError: it does not answer the last message that was sent.
        """
        if len(message) != COOKIE_REPLY_BYTES or message[:4] != bytes([TYPE_COOKIE_REPLY, 0, 0, 0]):
            raise DecodeError("cookie reply", "wrong form")
        _, _, nonce, sealed = _REPLY.unpack(message)
        if not self._last_mac1:
            raise DecodeError("cookie reply", "answers nothing")
        try:
            cookie = xopen(self._key, nonce, sealed, self._last_mac1)
        except InvalidTag as error:
            raise DecodeError("cookie reply", "does not verify") from error
        self._cookie, self._until_s = cookie, now + COOKIE_LIFE_S
        self._last_mac1 = b""
