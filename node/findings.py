"""What `macrovpn doctor` finds, and how it tells this node's proxy from another one."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from enum import Enum
from urllib.parse import urlsplit


class Level(Enum):
    """How bad a finding is."""

    OK = "ok"
    """Nothing is wrong, or it is a thing to know."""
    WARNING = "warning"
    """Something may leave past the tunnel, or the node cannot be used now."""
    PROBLEM = "problem"
    """Something leaves past the tunnel now, somebody else gets it, or the node is broken."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at.

    Args:
        check: what was looked at, a word that stays the same between versions.
        level: how bad it is.
        sentence: what is so.
        remedy: what to do about it; empty where there is nothing to do.
    """

    check: str
    level: Level
    sentence: str
    remedy: str = ""


@dataclass(frozen=True, slots=True)
class OwnProxy:
    """Where this node's proxy listens, or would.

    Args:
        host: an IP literal.
        port: 1 to 65535, or 0 where nobody knows it: then nothing is this proxy.
    """

    host: str
    port: int

    @property
    def reachable(self) -> tuple[str, int]:
        """The address that a program of this machine connects to."""
        if ipaddress.ip_address(self.host).is_unspecified:
            return "::1" if ":" in self.host else "127.0.0.1", self.port
        return self.host, self.port

    def is_at(self, host: str, port: int | None) -> bool:
        """Say whether a program that is pointed to this host and port reaches the proxy."""
        if not self.port or port != self.port:
            return False
        own = ipaddress.ip_address(self.host)
        if host.lower() == "localhost":
            return own.is_loopback or own.is_unspecified
        try:
            address = ipaddress.ip_address(host.strip("[]"))
        except ValueError:
            return False
        return address == own or (own.is_unspecified and address.is_loopback)

    def is_in(self, url: str) -> bool:
        """Say whether a URL's host and port are the proxy's."""
        try:
            parts = urlsplit(url)
            return self.is_at(parts.hostname or "", parts.port)
        except ValueError:
            return False
