"""A relay's word that it holds a link to a peer: what the peer names as `via` in its descriptor.

A peer behind a router is reached over links that it made itself, to relays that anybody reaches. Circuits go on over
such a link as over any other, so all that others have to know is which relays hold one. A relay signs that it does.
Without its word a peer could send other people's circuits to relays that know nothing of it.

The relay's Ed25519 key signs the label `macro-vpn hold 1` with a zero byte ‖ the peer's Ed25519 key (32) ‖ expiry (8).
In a descriptor, and in the message HELD:

    relay's Ed25519 key (32; in descriptors alone) ‖ expiry (8, Unix seconds) ‖ signature (64)
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from core.errors import DecodeError
from core.ids import PEER_KEY_BYTES, PeerKey

if TYPE_CHECKING:
    from peers.identity import Identity

LABEL: Final = b"macro-vpn hold 1\x00"
EXPIRY_BYTES: Final = 8
SIGNATURE_BYTES: Final = 64
WORD_BYTES: Final = EXPIRY_BYTES + SIGNATURE_BYTES
HOLD_BYTES: Final = PEER_KEY_BYTES + WORD_BYTES
MAX_HOLDS: Final = 3
"""Relays that a peer names: one that goes leaves two, and a descriptor still fits into an item of the DHT."""


class Hold(NamedTuple):
    """One relay's word.

    Args:
        relay: its Ed25519 key, 32 bytes.
        expiry: until when it counts, Unix seconds.
        signature: the relay's, 64 bytes.
    """

    relay: PeerKey
    expiry: int
    signature: bytes

    def is_for(self, peer: PeerKey) -> bool:
        """Whether the relay signed this for a peer."""
        try:
            Ed25519PublicKey.from_public_bytes(self.relay).verify(self.signature, _signed(peer, self.expiry))
        except (InvalidSignature, ValueError):
            return False
        return True


def give(relay: Identity, peer: PeerKey, expiry: int) -> Hold:
    """Say, as a relay, that there is a link to a peer.

    Args:
        relay: own keys.
        peer: the one that proved itself at the other end.
        expiry: until when this counts, Unix seconds.
    """
    return Hold(relay.peer, expiry, relay.sign(_signed(peer, expiry)))


def encode_word(hold: Hold) -> bytes:
    """What the peer is told: 72 bytes. Which relay says it, the peer knows."""
    return hold.expiry.to_bytes(EXPIRY_BYTES) + hold.signature


def decode_word(relay: PeerKey, word: bytes) -> Hold:
    """Read what `encode_word` made.

    Raises:
        DecodeError: wrong length.
    """
    if len(word) != WORD_BYTES:
        raise DecodeError("hold", "wrong length")
    return Hold(relay, int.from_bytes(word[:EXPIRY_BYTES]), word[EXPIRY_BYTES:])


def encode_holds(holds: tuple[Hold, ...]) -> bytes:
    """What a descriptor says: 104 bytes for each."""
    return b"".join(hold.relay + encode_word(hold) for hold in holds)


def decode_holds(peer: PeerKey, value: bytes) -> tuple[Hold, ...]:
    """Read what `encode_holds` made, and verify it.

    Args:
        peer: whose descriptor it stands in.
        value: bytes from anywhere.

    Raises:
        DecodeError: there is none or too many of them, a relay twice, the peer itself, or a signature that is not the
            relay's.
    """
    if len(value) % HOLD_BYTES or not 0 < len(value) <= MAX_HOLDS * HOLD_BYTES:
        raise DecodeError("hold", "wrong length")
    holds = tuple(
        decode_word(PeerKey(value[at : at + PEER_KEY_BYTES]), value[at + PEER_KEY_BYTES : at + HOLD_BYTES])
        for at in range(0, len(value), HOLD_BYTES)
    )
    if len({peer, *(hold.relay for hold in holds)}) != len(holds) + 1:
        raise DecodeError("hold", "a relay twice, or the peer itself")
    if not all(hold.is_for(peer) for hold in holds):
        raise DecodeError("hold", "wrong signature")
    return holds


def _signed(peer: PeerKey, expiry: int) -> bytes:
    return LABEL + peer + expiry.to_bytes(EXPIRY_BYTES)
