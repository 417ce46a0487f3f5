"""Names that exist nowhere, by which a page of this node finds out whether its browser comes to the local port.

The page asks for `<32 hex digits>.macro-vpn.invalid`; the port remembers that, and refuses as it refuses every name
that is not on the Internet. So who did not make the name learns nothing from the answer. A browser that does not come
here, or looks names up itself, finds nothing: nothing below `invalid` ever exists (RFC 6761, section 6.4).
"""

from __future__ import annotations

import secrets
from typing import Final

SUFFIX: Final = ".macro-vpn.invalid"
NAME_BYTES: Final = 16
"""Out of reach for a page that tries names."""
MAX_PROBES: Final = 64
"""Names that are remembered; one more costs the oldest. A page makes two at a time."""


class Probes:
    """The names that were made, and which of them came. Nothing is kept beyond the process."""

    def __init__(self) -> None:
        self._came: dict[str, bool] = {}

    def make(self) -> str:
        """Make a name."""
        name = f"{secrets.token_hex(NAME_BYTES)}{SUFFIX}"
        self._came[name] = False
        if len(self._came) > MAX_PROBES:
            del self._came[next(iter(self._came))]
        return name

    def hear(self, host: str) -> bool:
        """Note that a client wants to go to a host.

        Returns:
            Whether it is one of these names, made or not: then it leads nowhere.
        """
        host = host.lower().rstrip(".")
        if not host.endswith(SUFFIX):
            return False
        if host in self._came:
            self._came[host] = True
        return True

    def came(self, name: str) -> bool:
        """Say whether a client wanted to go there since the name was made."""
        return self._came.get(name, False)
