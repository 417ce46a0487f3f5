"""A UDP port that answers from the address that was asked.

A host may have several addresses, and the system picks one of them for what a port that is bound to all of them sends.
A QUIC client drops what comes from another address than the one it dialled, so each packet is told with the local
address that it came to, and the answer can name it. On a system without IPv6 the system's choice stays.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from typing import TYPE_CHECKING, Any, Final

from core.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Callable

    from tunnel.engines.seam import Address

BUFFER: Final = 4 << 20
"""Asked of the system, for each direction."""

PACKETS_AT_ONCE: Final = 64
"""Read before anything else gets its turn."""

_LARGEST: Final = 2048
_ANCILLARY: Final = 64
_INFO_BYTES: Final = 20
"""IPv6 address and number of an interface."""

_MAPPED: Final = "::ffff:"

type Remote = Any
"""An address as the socket reports it."""


class UdpPort:
    """One port for IPv6 and IPv4.

    Args:
        port: 0 for any free one.
        receive: called with a packet, where it came from, and the local address that it came to, if that is known.

    Raises:
        ConfigError: the port is taken.
    """

    def __init__(self, port: int, receive: Callable[[bytes, Remote, bytes], None]) -> None:
        self._socket = _bound(port)
        self._receive = receive
        self.number: int = self._socket.getsockname()[1]
        asyncio.get_running_loop().add_reader(self._socket, self._read)

    def _read(self) -> None:
        for _ in range(PACKETS_AT_ONCE):
            try:
                packet, ancillary, _, remote = self._socket.recvmsg(_LARGEST, _ANCILLARY)
            except OSError:
                # Nothing more to read, or the system tells of an unreachable neighbour; timers find that out.
                return
            self._receive(packet, remote, _local(ancillary))
            if self._socket.fileno() < 0:
                return

    def send(self, packet: bytes, remote: Remote, local: bytes = b"") -> None:
        """Send a packet. What the system does not take is lost, as anywhere on the way.

        Args:
            packet: the payload.
            remote: where to.
            local: the local address that it shall come from; empty for the system's choice.
        """
        info = [(socket.IPPROTO_IPV6, socket.IPV6_PKTINFO, local)] if local else []
        with contextlib.suppress(OSError):
            self._socket.sendmsg([packet], info, 0, remote)

    def remote(self, address: Address) -> Remote:
        """Write an address as the socket reports the packets that come from it."""
        host, port = address
        if self._socket.family == socket.AF_INET:
            return host, port
        return (host if ":" in host else _MAPPED + host), port, 0, 0

    def close(self) -> None:
        asyncio.get_running_loop().remove_reader(self._socket)
        self._socket.close()


def address_of(remote: Remote) -> Address:
    """Read an address as the socket reports it."""
    return remote[0].removeprefix(_MAPPED), remote[1]


def _local(ancillary: list[tuple[int, int, bytes]]) -> bytes:
    for level, kind, data in ancillary:
        if level == socket.IPPROTO_IPV6 and kind == socket.IPV6_PKTINFO and len(data) == _INFO_BYTES:
            # Without the interface: the way back is the routing table's business.
            return data[:16] + bytes(4)
    return b""


def _bound(port: int) -> socket.socket:
    try:
        return _bind(socket.AF_INET6, port)
    except OSError:
        try:
            return _bind(socket.AF_INET, port)
        except OSError as error:
            raise ConfigError("peers.port", f"UDP port {port} is taken; choose another or 0 for any") from error


def _bind(family: int, port: int) -> socket.socket:
    """Bind a port.

    Raises:
        OSError: it is taken, or the system has no such addresses.
    """
    opened = socket.socket(family, socket.SOCK_DGRAM)
    try:
        for option in (socket.SO_RCVBUF, socket.SO_SNDBUF):
            opened.setsockopt(socket.SOL_SOCKET, option, BUFFER)
        if family == socket.AF_INET6:
            opened.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
            opened.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_RECVPKTINFO, 1)
        opened.bind(("", port))
        opened.setblocking(False)
    except OSError:
        opened.close()
        raise
    return opened
