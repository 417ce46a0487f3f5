"""WireGuard's constants, and after them those of the peer protocol."""

from __future__ import annotations

from typing import Final

# -- from the specification (section 5.4)

CONSTRUCTION: Final = b"Noise_IKpsk2_25519_ChaChaPoly_BLAKE2s"
WIREGUARD_IDENTIFIER: Final = b"WireGuard v1 zx2c4 Jason@zx2c4.com"
LABEL_MAC1: Final = b"mac1----"

TYPE_INITIATION: Final = 1
TYPE_RESPONSE: Final = 2
TYPE_TRANSPORT: Final = 4

KEY_BYTES: Final = 32
TAG_BYTES: Final = 16
MAC_BYTES: Final = 16
TIMESTAMP_BYTES: Final = 12
INITIATION_BYTES: Final = 148
RESPONSE_BYTES: Final = 92
HEADER_BYTES: Final = 16
"""Header of a type-4 message: type, three reserved zero bytes, receiver index, counter."""

MAX_COUNTER: Final = (1 << 64) - (1 << 13) - 1
"""REJECT_AFTER_MESSAGES (section 6.1)."""

# -- the peer protocol's own

LINK_IDENTIFIER: Final = b"Macro VPN v1 link"
HOP_IDENTIFIER: Final = b"Macro VPN v1 hop"
LABEL_EXPORTER: Final = b"Macro VPN v1 exporter"
