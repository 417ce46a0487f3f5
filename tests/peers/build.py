"""Peers made of a number: the same keys and descriptors in every run."""

from __future__ import annotations

import hashlib
from functools import lru_cache
from typing import TYPE_CHECKING

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from core.ids import PeerKey
from peers.descriptor import Descriptor, Role
from peers.identity import Identity

if TYPE_CHECKING:
    from peers.addresses import Address
    from peers.holds import Hold

NOW = 1_700_000_000
DAY_S = 86_400


@lru_cache(maxsize=8192)
def identity(number: int) -> Identity:
    def secret(kind: str) -> bytes:
        return hashlib.sha256(f"{kind} {number}".encode()).digest()

    return Identity(
        Ed25519PrivateKey.from_private_bytes(secret("signing")),
        X25519PrivateKey.from_private_bytes(secret("link")),
    )


def onion_keys(number: int) -> tuple[bytes, ...]:
    secret = hashlib.sha256(f"onion {number}".encode()).digest()
    return (X25519PrivateKey.from_private_bytes(secret).public_key().public_bytes_raw(),)


def host(number: int) -> str:
    """An address in a /16 of its own, for numbers below 25,600."""
    return f"{20 + number // 256}.{number % 256}.0.1"


def signed(
    number: int,
    *,
    sequence: int = 1,
    expiry: int = NOW + DAY_S,
    roles: Role = Role.RELAY,
    addresses: tuple[Address, ...] | None = None,
    region: str = "",
    operator: bytes = b"",
    via: tuple[Hold, ...] = (),
    restricted: bool = False,
) -> bytes:
    if addresses is None:
        addresses = ((host(number), 4433),)
    return Descriptor.sign(
        identity(number),
        onion_keys(number),
        sequence=sequence,
        expiry=expiry,
        roles=roles,
        addresses=addresses,
        region=region,
        operator=operator,
        via=via,
        restricted=restricted,
    )


def plain(number: int, roles: Role, hosts: tuple[str, ...]) -> Descriptor:
    """A descriptor that nobody signed, where signatures don't matter."""
    key = number.to_bytes(32)
    addresses = tuple((name, 4433) for name in hosts)
    return Descriptor(PeerKey(key), 1, NOW + DAY_S, key, (key,), roles, addresses)
