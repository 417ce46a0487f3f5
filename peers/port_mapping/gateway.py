"""The router that packets to the Internet go to, and this machine's own address towards it.

Linux says so in `/proc/net/route`. macOS and the BSDs answer `route -n get default`. Elsewhere there is none to be
found, and no port is mapped. Only IPv4: IPv6 hosts have public addresses, and no router translates them.
"""

from __future__ import annotations

import asyncio
import socket
import struct
import sys
from dataclasses import dataclass
from ipaddress import AddressValueError, IPv4Address
from pathlib import Path
from typing import Final

from core.processes import environment_without_settings
from peers.port_mapping.nat_pmp import PORT

_ROUTES: Final = Path("/proc/net/route")
_ROUTE_COMMAND: Final = ("/sbin/route", "-n", "get", "default")
_COMMAND_LIMIT_S: Final = 2.0
_UP_AND_GATEWAY: Final = 0x3
"""Flags of a route that is usable and goes through a gateway. Source: Linux, `uapi/linux/route.h`."""


@dataclass(frozen=True, slots=True)
class Gateway:
    """A router, and this machine as the router sees it.

    Args:
        host: the router's IPv4 literal.
        own_host: the IPv4 literal of this machine that packets to it come from.
    """

    host: str
    own_host: str


async def find_gateway() -> Gateway | None:
    """Find the gateway of the default route. Nothing is sent.

    Returns:
        None if there is no default route over IPv4, or it has no gateway, as with most VPNs.
    """
    if sys.platform == "linux":
        host = parse_linux_routes(_ROUTES.read_text()) if _ROUTES.exists() else None
    else:
        host = parse_route_command(await _run_route_command())
    if host is None:
        return None
    own_host = _source_towards(host)
    return Gateway(host, own_host) if own_host is not None else None


def parse_linux_routes(text: str) -> str | None:
    """Find the gateway with the lowest metric in the text of `/proc/net/route`."""
    found: list[tuple[int, str]] = []
    for line in text.splitlines()[1:]:
        words = line.split()
        if len(words) < 8:
            continue
        _, destination, gateway, flags, _, _, metric, mask = words[:8]
        if int(destination, 16) == int(mask, 16) == 0 and int(flags, 16) & _UP_AND_GATEWAY == _UP_AND_GATEWAY:
            found.append((int(metric), str(IPv4Address(struct.pack("=I", int(gateway, 16))))))
    return min(found)[1] if found else None


def parse_route_command(text: str) -> str | None:
    """Find the gateway in what `route -n get default` prints."""
    for line in text.splitlines():
        name, _, value = line.strip().partition(": ")
        if name == "gateway":
            try:
                return str(IPv4Address(value))
            except AddressValueError:  # a route without a router names its interface here
                return None
    return None


async def _run_route_command() -> str:
    try:
        process = await asyncio.create_subprocess_exec(
            *_ROUTE_COMMAND,
            env=environment_without_settings(),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL,
        )
    except OSError:
        return ""
    try:
        async with asyncio.timeout(_COMMAND_LIMIT_S):
            printed, _ = await process.communicate()
    except TimeoutError:
        process.kill()
        await process.wait()
        return ""
    return printed.decode("ascii", "replace")


def _source_towards(host: str) -> str | None:
    """Ask the system which own address it would use. Connecting a UDP socket sends nothing."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect((host, PORT))
        except OSError:
            return None
        own_host: str = probe.getsockname()[0]
    return own_host
