"""Free UDP ports and loopback addresses of this machine, found by trying."""

from __future__ import annotations

import errno
import random
import socket
from contextlib import ExitStack
from typing import Final

from core.errors import MacroVpnError

_TRIES: Final = 64
_PORTS: Final = range(10_000, 32_768)
"""Below those that Linux, macOS and Windows give away, above the usual services'."""


def free_udp_ports(count: int) -> list[int]:
    """Find UDP ports that nothing uses on any address, IPv4 or IPv6.

    They are free now, and none of those that systems give away to whoever asks for any.

    Args:
        count: how many different ports.

    Raises:
        MacroVpnError: there are not that many.
    """
    ports: list[int] = []
    with ExitStack() as held:
        for port in random.sample(_PORTS, count + _TRIES):
            if len(ports) == count:
                break
            if _binds(held, port):
                ports.append(port)
    if len(ports) < count:
        raise MacroVpnError(f"There are no {count} free UDP ports on this machine.")
    return ports


def _binds(held: ExitStack, port: int) -> bool:
    """Take a port of both families, if nobody has it. There may be no IPv6."""
    for family in (socket.AF_INET, socket.AF_INET6):
        try:
            probe = held.enter_context(socket.socket(family, socket.SOCK_DGRAM))
            if family == socket.AF_INET6:
                probe.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            probe.bind(("", port))
        except OSError as error:
            if error.errno == errno.EADDRINUSE or family == socket.AF_INET:
                return False
    return True


def require_loopback_network(address: str) -> None:
    """Check that all of 127.0.0.0/8 is this machine, as on Linux.

    Args:
        address: an address of that network that is not 127.0.0.1.

    Raises:
        MacroVpnError: it is not.
    """
    try:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
            probe.bind((address, 0))
    except OSError as error:
        raise MacroVpnError(
            f"The demo gives every node a loopback address of its own, and this system has no {address}."
        ) from error
