"""The post-quantum part of the peer protocol's handshake: ML-KEM-768 beside X25519.

Message 1 carries a fresh encapsulation key, message 2 a ciphertext for it. The shared secret goes into the handshake
by way of the preshared key, bound to both. Who keeps today's messages for a quantum computer of tomorrow must break
both X25519 and ML-KEM. Authentication stays with X25519 alone.

Source: FIPS 203, sections 7.1 to 7.3; docs/protocol.md, "Handshake".
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, Protocol

from cryptography.hazmat.primitives.asymmetric.mlkem import MLKEM768PrivateKey, MLKEM768PublicKey

from core.errors import DecodeError
from tunnel.wireguard.constants import KEM_CIPHERTEXT_BYTES, KEM_KEY_BYTES, LABEL_HYBRID
from tunnel.wireguard.primitives import hash_, kdf

if TYPE_CHECKING:
    from collections.abc import Callable


class EncapsulationKey(Protocol):
    """The public half, as the library has it."""

    def encapsulate(self) -> tuple[bytes, bytes]:
        """Draw a shared secret, 32 bytes, and the ciphertext that holds it, 1,088 bytes."""


def read_key(public: bytes) -> EncapsulationKey:
    """Read an encapsulation key with the checks of FIPS 203, section 7.2: its length, and coefficients below q.

    Raises:
        ValueError: it is none.
    """
    return MLKEM768PublicKey.from_public_bytes(public)


def _bound_psk(psk: bytes, secret: bytes, public: bytes, ciphertext: bytes) -> bytes:
    """The preshared key that goes into message 2: secret as long as one of `psk` and `secret` is."""
    return kdf(psk, LABEL_HYBRID + secret + hash_(public) + hash_(ciphertext), 1)[0]


class Decapsulation:
    """The initiator's half.

    Args:
        seed: 64 random bytes, used for one handshake.
    """

    def __init__(self, seed: bytes) -> None:
        self._key = MLKEM768PrivateKey.from_seed_bytes(seed)
        self.public = self._key.public_key().public_bytes_raw()

    def psk(self, psk: bytes, ciphertext: bytes) -> bytes:
        """The bound preshared key. A ciphertext that was not made for this key gives one that nobody else has.

        Args:
            psk: the configured one, 32 bytes.
            ciphertext: of message 2.

        Raises:
            DecodeError: the ciphertext does not have 1,088 bytes.
        """
        if len(ciphertext) != KEM_CIPHERTEXT_BYTES:
            raise DecodeError("response", "wrong length")
        return _bound_psk(psk, self._key.decapsulate(ciphertext), self.public, ciphertext)


class Offer(NamedTuple):
    """The responder's half: the encapsulation key of message 1, as sent and as read."""

    public: bytes
    key: EncapsulationKey

    def accept(self, psk: bytes) -> tuple[bytes, bytes]:
        """Encapsulate.

        Args:
            psk: the configured one, 32 bytes.

        Returns:
            The ciphertext for message 2, 1,088 bytes, and the bound preshared key.
        """
        secret, ciphertext = self.key.encapsulate()
        return ciphertext, _bound_psk(psk, secret, self.public, ciphertext)


def read_offer(public: bytes, read: Callable[[bytes], EncapsulationKey] = read_key) -> Offer:
    """Read the encapsulation key of message 1.

    Raises:
        DecodeError: not 1,184 bytes, or not a key.
    """
    if len(public) != KEM_KEY_BYTES:
        raise DecodeError("initiation", "wrong length")
    try:
        return Offer(public, read(public))
    except ValueError as error:
        raise DecodeError("initiation", "has an unusable key") from error
