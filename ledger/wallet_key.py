"""The key of this node's account on a chain. Whoever has it has the money, so it shows itself to nobody by accident."""

from __future__ import annotations

import os
import stat
from typing import TYPE_CHECKING, Final

from core.errors import ConfigError
from ledger.voucher import SigningKey

if TYPE_CHECKING:
    from collections.abc import MutableMapping
    from pathlib import Path

VARIABLE: Final = "MACROVPN_WALLET_KEY"
_MOST_BYTES: Final = 128
"""Of a file: 64 digits, `0x`, and room for an end of line."""


class WalletKey:
    """A secp256k1 key, and the account that it owns.

    Args:
        text: 64 hexadecimal digits, with or without `0x`.
        where: the setting or file, for the error.

    Raises:
        ConfigError: it is no key; says nothing of what it is.
    """

    __slots__ = ("_secret", "account")

    def __init__(self, text: str, where: str) -> None:
        digits = text.strip().removeprefix("0x")
        try:
            if len(digits) != 64:
                raise ValueError
            self._secret = bytes.fromhex(digits)
            self.account = SigningKey(self._secret).address
        except ValueError:
            raise ConfigError(where, "this is no key; 64 hexadecimal digits are") from None

    def __repr__(self) -> str:
        return "WalletKey([redacted])"

    def reveal(self) -> bytes:
        """The secret, 32 bytes; for signing alone."""
        return self._secret


def read_wallet_key(path: Path) -> WalletKey:
    """Read a key out of a file that only its owner can read.

    Raises:
        ConfigError: it cannot be read, others can read it, or no key is in it.
    """
    try:
        handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError as error:
        raise ConfigError(str(path), f"cannot be read ({error.strerror})") from None
    try:
        found = os.fstat(handle)
        if not stat.S_ISREG(found.st_mode) or found.st_uid != os.geteuid():
            raise ConfigError(str(path), "a wallet's key must be a file of the user who runs this")
        if found.st_mode & 0o077:
            raise ConfigError(str(path), f"others can read it; run: chmod 600 {path}")
        text = os.read(handle, _MOST_BYTES).decode("ascii", "replace")
    finally:
        os.close(handle)
    return WalletKey(text, str(path))


def take_wallet_key(environment: MutableMapping[str, str]) -> WalletKey | None:
    """Take the key out of the environment, so that no program started later inherits it. None: it is not there.

    Raises:
        ConfigError: what is there is no key.
    """
    text = environment.pop(VARIABLE, None)
    return None if text is None else WalletKey(text, VARIABLE)
