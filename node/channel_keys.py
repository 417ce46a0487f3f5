"""The keys that sign vouchers: one for each channel, all out of the account's key, so that none is lost alone."""

from __future__ import annotations

from typing import Final

from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

_LABEL: Final = b"Macro VPN v1 channel keys"


class ChannelKeys:
    """Derives secrets (RFC 5869). Whoever has one learns nothing of the others, nor of the account's key.

    Args:
        seed: the account's key, 32 bytes.
    """

    __slots__ = ("_seed",)

    def __init__(self, seed: bytes) -> None:
        self._seed = seed

    def __repr__(self) -> str:
        return "ChannelKeys([redacted])"

    def secret(self, separator: bytes, account: bytes, number: int) -> bytes:
        """The secret for one channel, 32 bytes. One in 2^128 is no key's.

        Args:
            separator: of the domain, 32 bytes.
            account: who is paid, 20 bytes.
            number: which of the channels to that account, from 0 on, 64 bits.
        """
        info = _LABEL + separator + account + number.to_bytes(8)
        return HKDF(SHA256(), 32, salt=None, info=info).derive(self._seed)
