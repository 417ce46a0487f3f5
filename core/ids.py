"""Names of peers inside the program: the raw Ed25519 key. The text form (`12D3Koo…`) belongs to `peers`."""

from __future__ import annotations

from typing import Final, NewType

PeerKey = NewType("PeerKey", bytes)
"""A peer's Ed25519 public key, 32 bytes."""

PEER_KEY_BYTES: Final = 32


def short(peer: bytes) -> str:
    """Name a peer in a log line: the first 8 hex digits of its key."""
    return peer[:4].hex()
