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
LABEL_HYBRID: Final = b"Macro VPN v1 hybrid psk"

HYBRID_IDENTIFIERS: Final = frozenset({LINK_IDENTIFIER, HOP_IDENTIFIER})
"""Protocols whose handshake has the ML-KEM part. It is never left out, so there is nothing to downgrade to."""

KEM_SEED_BYTES: Final = 64
KEM_KEY_BYTES: Final = 1184
KEM_CIPHERTEXT_BYTES: Final = 1088
"""ML-KEM-768: seed (d, then z), encapsulation key, ciphertext (FIPS 203, table 3)."""

HYBRID_INITIATION_BYTES: Final = INITIATION_BYTES + KEM_KEY_BYTES
HYBRID_RESPONSE_BYTES: Final = RESPONSE_BYTES + KEM_CIPHERTEXT_BYTES

# -- plain WireGuard's other messages and its timers (sections 5.4.7 and 6)

LABEL_COOKIE: Final = b"cookie--"
TYPE_COOKIE_REPLY: Final = 3
COOKIE_REPLY_BYTES: Final = 64
COOKIE_NONCE_BYTES: Final = 24
COOKIE_LIFE_S: Final = 120.0

REKEY_AFTER_MESSAGES: Final = 1 << 60
REKEY_AFTER_TIME_S: Final = 120.0
REJECT_AFTER_TIME_S: Final = 180.0
REKEY_ATTEMPT_TIME_S: Final = 90.0
REKEY_TIMEOUT_S: Final = 5.0
KEEPALIVE_TIMEOUT_S: Final = 10.0
FORGET_AFTER_TIME_S: Final = 3 * REJECT_AFTER_TIME_S

# -- chosen here for plain WireGuard

WINDOW_COUNTERS: Final = 8192
PADDING_BYTES: Final = 16
REKEY_JITTER_S: Final = 0.334
INITIATION_INTERVAL_S: Final = 0.02
"""Initiations of one peer that come faster are dropped."""
MAX_WAITING_PACKETS: Final = 128
"""Packets that wait for a handshake, per peer; the oldest is dropped first."""
HANDSHAKES_PER_S: Final = 64
"""More handshake messages than this within a second are load, and then a cookie is asked for."""
