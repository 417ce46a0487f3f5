"""What `macrovpn doctor` finds, and how it tells this node's proxy from another one."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from enum import Enum
from typing import Final
from urllib.parse import urlsplit


class Level(Enum):
    """How bad a finding is."""

    OK = "ok"
    """Nothing is wrong, or it is a thing to know."""
    WARNING = "warning"
    """Something may leave past the tunnel, or the node cannot be used now."""
    PROBLEM = "problem"
    """Something leaves past the tunnel now, somebody else gets it, or the node is broken."""
    UNCHECKED = "unchecked"
    """Nobody knows: the sentence says why it was not looked at."""


class Area(Enum):
    """What the checks are about, in the order in which they are told."""

    NODE = "node"
    PORTS = "ports"
    DIRECT = "direct"
    PAC = "pac"
    DNS = "dns"
    WEBRTC = "webrtc"
    IPV6 = "ipv6"
    CLOCK = "clock"
    NAT = "nat"
    PEERS = "peers"
    ENGINE = "engine"
    WALLET = "wallet"


CHECKS: Final = {
    Area.NODE: ("node", "settings"),
    Area.PORTS: ("proxy", "port_taken", "port_moved", "ports"),
    Area.DIRECT: (
        *("direct", "trusted_network", "direct_rules", "system_proxy", "environment", "environment_exceptions"),
        *("firefox", "firefox_other", "firefox_direct", "firefox_partly", "firefox_exceptions", "firefox_system"),
        *("firefox_closed", "firefox_unclear", "firefox_button", "chromium"),
        *("chromium_other", "chromium_direct", "chromium_exceptions", "chromium_system"),
        *("chromium_unclear", "chromium_button", "chromium_policies"),
    ),
    Area.PAC: ("pac", "system_pac", "firefox_pac", "chromium_pac"),
    Area.DNS: ("dns", "name_server", "environment_dns", "firefox_dns", "firefox_https_record", "firefox_unasked"),
    Area.WEBRTC: ("webrtc", "firefox_webrtc", "chromium_webrtc"),
    Area.IPV6: ("ipv6",),
    Area.CLOCK: ("clock", "clock_set"),
    Area.NAT: ("nat", "port_mapping"),
    Area.PEERS: ("peers", "exits", "regions", "guards", "exposure"),
    Area.ENGINE: ("engine", "libraries"),
    Area.WALLET: ("wallet", "cap", "balance", "channels", "unsettled", "backup"),
}
"""Every check, by what it is about. The words stay the same between versions; docs/doctor.md explains each."""
_AREAS: Final = {check: area for area, checks in CHECKS.items() for check in checks}


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at.

    Args:
        check: what was looked at, one of `CHECKS`.
        level: how bad it is.
        sentence: what is so.
        remedy: what to do about it; empty where there is nothing to do.
    """

    check: str
    level: Level
    sentence: str
    remedy: str = ""

    @property
    def area(self) -> Area:
        """What it is about."""
        return _AREAS[self.check]


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
