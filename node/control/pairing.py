"""One-time codes, and the browser extensions that were paired with one.

A code is a short secret that the user carries from the node to a browser, which trades it for a token. Of a token only
its digest is written; the token has 256 random bits, so the digest need not be slow.
"""

from __future__ import annotations

import hashlib
import hmac
import logging
import os
import re
import secrets
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated, Final

import msgspec

from core.errors import MacroVpnError
from node.files import write_private

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

PAIRINGS_NAME: Final = "pairings"
MAX_PAIRINGS: Final = 16
TOKEN_BYTES: Final = 32
CODE_LIFE_S: Final = 120.0
MAX_TRIES: Final = 5
"""Wrong tries that end a code's life: of 2^40 codes."""

SYMBOLS: Final = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
"""Crockford's alphabet: none looks like another. https://www.crockford.com/base32.html"""
_SEEN_AS: Final = str.maketrans("OIL", "011")
_LENGTHS: Final = {"extension": 8, "page": 26}
"""Symbols of 5 bits. One is typed by a person and tried a few times; the other stands in an address."""

EXTENSION_ORIGIN: Final = re.compile(
    r"chrome-extension://[a-p]{32}|moz-extension://[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}"
)
"""What browsers send as an extension's origin. A web page cannot send one."""

_log = logging.getLogger(__name__)


class TooManyPairingsError(MacroVpnError):
    """There is no room for another."""

    def __init__(self) -> None:
        super().__init__(
            f"{MAX_PAIRINGS} browsers are paired, which is the most. See `macrovpn pair --list`, and revoke one."
        )


def digest_of(token: str) -> str:
    """Return what is kept of a token, in hexadecimal digits."""
    return hashlib.sha256(token.encode("utf-8", "surrogatepass")).hexdigest()


@dataclass(slots=True)
class _Code:
    symbols: str = field(repr=False)
    dies_at: float
    tries: int = MAX_TRIES


class Codes:
    """The codes that are valid: one of each purpose, the newest."""

    def __init__(self) -> None:
        self._codes: dict[str, _Code] = {}

    def make(self, purpose: str, now: float) -> str:
        """Make a code, and end the life of the one before.

        Args:
            purpose: `extension` or `page`.
            now: seconds of a clock that never goes back.

        Returns:
            Its symbols, in groups of four for an extension.
        """
        symbols = "".join(secrets.choice(SYMBOLS) for _ in range(_LENGTHS[purpose]))
        self._codes[purpose] = _Code(symbols, now + CODE_LIFE_S)
        return f"{symbols[:4]}-{symbols[4:]}" if purpose == "extension" else symbols

    def trade(self, purpose: str, text: str, now: float) -> bool:
        """Use a code up, if it is the right one. A wrong one costs the right one a try.

        Args:
            purpose: what it was made for.
            text: as a person types it: in any case, with hyphens and blanks, and with a port before it.
            now: as for `make`.
        """
        code = self._codes.get(purpose)
        if code is None or now >= code.dies_at:
            self._codes.pop(purpose, None)
            return False
        typed = re.sub(r"[\s-]", "", text).upper().translate(_SEEN_AS)[-len(code.symbols) :]
        right = secrets.compare_digest(typed.encode("utf-8", "replace"), code.symbols.encode())
        code.tries -= 1
        if right or not code.tries:
            del self._codes[purpose]
        return right


class Paired(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A paired extension.

    Args:
        id: names it to people; 8 hexadecimal digits.
        origin: where its requests come from.
        digest: of its token.
    """

    id: str
    origin: str
    digest: Annotated[str, msgspec.Meta(pattern="^[0-9a-f]{64}$")]


class Pairings:
    """The paired extensions of a home.

    Args:
        home: its folder. A file that is damaged is renamed to `*.bad`, with a warning, and nothing of it is used.
    """

    def __init__(self, home: Path) -> None:
        self._path = home / PAIRINGS_NAME
        self._paired = self._read()

    def __iter__(self) -> Iterator[Paired]:
        return iter(self._paired)

    def _read(self) -> list[Paired]:
        try:
            return msgspec.json.decode(self._path.read_bytes(), type=list[Paired])
        except FileNotFoundError:
            return []
        except (OSError, msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            _log.warning("the file of paired browsers is damaged; pair them again")
            os.replace(self._path, self._path.with_name(f"{PAIRINGS_NAME}.bad"))
            return []

    def _write(self, paired: list[Paired]) -> None:
        try:
            write_private(self._path, msgspec.json.encode(paired).decode() + "\n")
        except OSError as error:
            raise MacroVpnError(f"The file {self._path} cannot be written: {error.strerror}.") from error
        self._paired = paired

    def add(self, origin: str) -> tuple[str, str]:
        """Pair an extension.

        Returns:
            The pairing's id, and the token, which is not kept.

        Raises:
            MacroVpnError: there are too many, or the file cannot be written.
        """
        if len(self._paired) >= MAX_PAIRINGS:
            raise TooManyPairingsError
        token, name = secrets.token_hex(TOKEN_BYTES), secrets.token_hex(4)
        self._write([*self._paired, Paired(name, origin, digest_of(token))])
        return name, token

    def prove(self, name: str, origin: str, port: int, nonce: str) -> str | None:
        """Show an extension that this is the node that it was paired with, before it shows its token.

        Another program can have the port of a node that is gone. It could pass the question on to the node, which
        answers for its own port only.

        Args:
            name: the pairing's id.
            origin: of the extension.
            port: of this node.
            nonce: of the extension.

        Returns:
            A proof as `shapes.Proof` says, or None if there is no such pairing.
        """
        for paired in self._paired:
            if (paired.id, paired.origin) == (name, origin):
                return hmac.digest(bytes.fromhex(paired.digest), f"{port}:{nonce}".encode(), "sha256").hex()
        return None

    def find(self, token: str) -> Paired | None:
        """Return the pairing that a token belongs to."""
        digest = digest_of(token)
        return next((paired for paired in self._paired if secrets.compare_digest(paired.digest, digest)), None)

    def revoke(self, name: str) -> bool:
        """Forget a pairing; its token counts no more.

        Returns:
            False if there is none of this id.

        Raises:
            MacroVpnError: the file cannot be written.
        """
        left = [paired for paired in self._paired if paired.id != name]
        if len(left) == len(self._paired):
            return False
        self._write(left)
        return True
