"""Look at the machine itself: name servers, IPv6, what sets the clock. No packet is sent for any of it."""

from __future__ import annotations

import ipaddress
import shutil
import socket
import subprocess
from contextlib import suppress
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Final

from core.processes import environment_without_settings
from node.files import read_foreign
from node.findings import Finding, Level

if TYPE_CHECKING:
    from collections.abc import Iterable

RESOLVER: Final = Path("/etc/resolv.conf")
MAX_RESOLVER_BYTES: Final = 1 << 16
MAX_SERVERS: Final = 3
"""The system asks no more of them. Source: resolv.conf(5)."""
_OUTSIDE: Final = "2001:db8::1", 9
"""An address that belongs to nobody (RFC 3849). A UDP socket is pointed to it, which sends nothing."""
ASK_S: Final = 2.0


def look_at_name_server(path: Path = RESOLVER) -> list[Finding]:
    """Say who learns the names that programs look up past the proxy."""
    text, whole = read_foreign(path, MAX_RESOLVER_BYTES)
    servers = list(islice(name_servers(text or ""), MAX_SERVERS))
    if not whole or not servers:
        said = f"{path} names no name server, so the system's own settings do."
        return [Finding("name_server", Level.UNCHECKED, said, "Look at them in the system's network settings.")]
    here = all(ipaddress.ip_address(server.partition("%")[0]).is_loopback for server in servers)
    whom = "a program on this machine, which passes it on" if here else "it"
    said = f"The machine's name server is {', '.join(servers)}. What is looked up past the proxy, {whom} learns."
    return [Finding("name_server", Level.OK, said)]


def name_servers(text: str) -> Iterable[str]:
    """Read the name servers out of a `resolv.conf`."""
    for line in text.splitlines():
        words = line.split()
        if len(words) >= 2 and words[0] == "nameserver":
            with suppress(ValueError):
                ipaddress.ip_address(words[1].partition("%")[0])
                yield words[1]


def has_global_ipv6() -> bool:
    """Say whether this machine would send to the Internet from a global IPv6 address of its own."""
    with suppress(OSError), socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as probe:
        probe.connect(_OUTSIDE)
        return is_own(probe.getsockname()[0])
    return False


def is_own(host: str) -> bool:
    """Say whether an address is one by which the Internet knows this machine: neither private nor of a link.

    Args:
        host: an IPv6 literal.
    """
    return ipaddress.IPv6Address(host.partition("%")[0]) in _GLOBAL


_GLOBAL: Final = ipaddress.IPv6Network("2000::/3")
"""Global unicast addresses. Source: RFC 4291, section 2.4, and IANA's registry."""


def look_at_ipv6(has_global: bool, found: Iterable[Finding]) -> Finding:
    """Say what IPv6 adds to what was found.

    Args:
        has_global: what `has_global_ipv6` says.
        found: all other findings.
    """
    if not has_global:
        return Finding("ipv6", Level.OK, "This machine has no global IPv6 address, so nothing can go past over one.")
    levels = {Level.WARNING, Level.PROBLEM}
    ways = sum(each.check in OPEN_WAYS and each.level in levels for each in found)
    begin = "This machine has a global IPv6 address, which names it alone"
    if not ways:
        said = f"{begin}; a proxy is given names, so it covers IPv6 as well, and no open way past it was found."
        return Finding("ipv6", Level.OK, said)
    said = f"{begin}, and what the other checks warn of ({ways}) lets past over IPv6 as well."
    return Finding("ipv6", Level.WARNING, said, "Close those. A router's address is shared; this one is not.")


OPEN_WAYS: Final = frozenset(
    {
        *("trusted_network", "firefox_direct", "firefox_partly", "firefox_exceptions", "firefox_system"),
        *("firefox_webrtc", "firefox_pac", "chromium_direct", "chromium_exceptions", "chromium_system"),
        *("chromium_button", "chromium_webrtc", "chromium_pac", "system_pac", "environment_exceptions"),
    }
)
"""The checks that tell of a way by which connections go past the proxy."""


def clock_is_set() -> bool | None:
    """Ask systemd whether the clock follows network time; None where it cannot tell."""
    program = shutil.which("timedatectl")
    if program is None:
        return None
    command = [program, "show", "--property=NTPSynchronized", "--value"]
    try:
        done = subprocess.run(
            command,
            env=environment_without_settings(),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=ASK_S,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return {"yes": True, "no": False}.get(done.stdout.strip())
