"""Connect from this machine itself, past the tunnel. Nothing else in this package opens a connection."""

from __future__ import annotations

import asyncio
import errno
import socket
import sys
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import TYPE_CHECKING, Final, cast

from core.ends import mark_finished, mark_unfinished
from core.errors import FlowError, Reason
from pac.hosts import read_host
from proxy.target import is_local, is_localhost

if TYPE_CHECKING:
    from collections.abc import Collection

    from core.flow import Buffer, FlowListener
    from proxy.target import Address

CONNECT_S: Final = 10.0
"""How long one address of a host may take."""

READ_BYTES: Final = 1 << 15
"""Bytes of one read at most. While any wait at the listener nothing more is read: thousands of clients may not read."""

_READ: Final = memoryview(bytearray(READ_BYTES))
"""What every flow of the process reads into, to copy it at once."""

_REASONS: Final = {
    errno.ECONNREFUSED: Reason.REFUSED,
    errno.ENETUNREACH: Reason.NETWORK_UNREACHABLE,
    errno.ETIMEDOUT: Reason.TIMED_OUT,
}


_BOUND_IF: Final = {socket.AF_INET: (socket.IPPROTO_IP, 25), socket.AF_INET6: (socket.IPPROTO_IPV6, 125)}
"""IP_BOUND_IF and IPV6_BOUND_IF on macOS. Source: XNU, `netinet/in.h` and `netinet6/in6.h`."""


async def connect_direct(host: str, port: int, own_ports: Collection[int], device: str = "") -> DirectFlow:
    """Open a connection from this machine to a host that a bypass rule names, or any while its network is trusted.

    Args:
        host: a name, which the system resolves, or an IP literal.
        port: 1 to 65535.
        own_ports: the node's own ports on this machine, which are never connected to.
        device: the interface of the trusted network, the only one that the connection may leave by; then nothing on
            this machine is connected to. Empty where a rule sends it, and the system's routes decide.

    Raises:
        FlowError: the host is unknown, no address of it accepts the connection, or it is one that may not be reached.
    """
    addresses = await _resolve(host, port)
    if port in own_ports and any(reaches_this_machine(address) for address in addresses):
        raise FlowError(Reason.NOT_ALLOWED)
    if device and any(reaches_this_machine(address) for address in addresses):
        raise FlowError(Reason.INSIDE)
    reason = Reason.NO_NAME
    for address in addresses:
        try:
            async with asyncio.timeout(CONNECT_S):
                return await _connect(address, port, device)
        except TimeoutError:
            reason = Reason.TIMED_OUT
        except OSError as error:
            reason = _REASONS.get(error.errno or 0, Reason.HOST_UNREACHABLE)
    raise FlowError(reason)


async def _connect(address: Address, port: int, device: str) -> DirectFlow:
    loop = asyncio.get_running_loop()
    sock = socket.socket(socket.AF_INET if isinstance(address, IPv4Address) else socket.AF_INET6)
    try:
        sock.setblocking(False)
        if device:
            _tie_to_device(sock, device)
        await loop.sock_connect(sock, (str(address), port))
        _, flow = await loop.create_connection(DirectFlow, sock=sock)
    except BaseException:
        sock.close()
        raise
    return flow


def check_device(device: str) -> None:
    """Find out whether connections can be tied to an interface. Sends nothing.

    Raises:
        OSError: not on this system, which is Linux before 5.7 for who is not root, or not to this interface.
    """
    for family in (socket.AF_INET, socket.AF_INET6):
        with socket.socket(family) as sock:
            _tie_to_device(sock, device)


def _tie_to_device(sock: socket.socket, device: str) -> None:
    """Let a socket's packets leave by one interface only, whatever the routes say.

    Raises:
        OSError: it cannot be done.
    """
    if sys.platform == "linux":
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, device.encode())
    elif sys.platform == "darwin":
        sock.setsockopt(*_BOUND_IF[sock.family], socket.if_nametoindex(device))
    else:
        raise OSError(errno.ENOPROTOOPT, "this system does not tie connections to an interface")


def reaches_this_machine(address: Address) -> bool:
    """Tell whether a connection to an address would end on this machine. Sends nothing."""
    if is_local(address):
        return True
    family = socket.AF_INET if isinstance(address, IPv4Address) else socket.AF_INET6
    try:
        with socket.socket(family, socket.SOCK_DGRAM) as probe:
            probe.connect((str(address), 9))
            return ip_address(probe.getsockname()[0].partition("%")[0]) == address
    except OSError:
        return False


async def _resolve(host: str, port: int) -> list[Address]:
    known = read_host(host)
    if isinstance(known, IPv4Address | IPv6Address):
        return [known]
    if is_localhost(host):
        return [IPv4Address("127.0.0.1"), IPv6Address("::1")]
    try:
        found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        raise FlowError(Reason.NO_NAME) from error
    return list(dict.fromkeys(ip_address(entry[4][0]) for entry in found))


class DirectFlow(asyncio.BufferedProtocol):
    """A TCP connection in the shape of a flow. What arrives before a listener is attached waits, at most one read."""

    def __init__(self) -> None:
        self._transport: asyncio.Transport | None = None
        self._listener: FlowListener | None = None
        self._waiting = b""
        self._unread = 0
        self._paused = False
        self._full = False
        self._eof = False
        self._finished = False

    # -- the flow that its user sees

    def attach(self, listener: FlowListener) -> None:
        self._listener = listener
        waiting, self._waiting = self._waiting, b""
        if waiting:
            listener.flow_data(waiting)
        if self._eof:
            listener.flow_eof()
        if self._transport is None:
            self._closed()
        elif not self._unread:
            self._resume()

    def write(self, data: Buffer) -> bool:
        if self._transport is not None and not self._finished and not self._transport.is_closing():
            self._transport.write(data if isinstance(data, bytes) else bytes(data))
        return not self._full

    def finish(self) -> None:
        if self._finished:
            return
        self._finished = True
        if self._transport is not None and not self._transport.is_closing():
            if self._eof:
                mark_finished(self._transport)
                self._transport.close()
            else:
                self._transport.write_eof()

    def reset(self, reason: Reason) -> None:
        self._listener = None
        if self._transport is not None:
            self._transport.abort()

    def cut(self) -> None:
        """End the connection at once; the listener is told that it was reset."""
        if self._transport is not None:
            self._transport.abort()

    def consumed(self, count: int) -> None:
        self._unread -= count
        if not self._unread:
            self._resume()

    # -- the TCP side

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        mark_unfinished(transport)

    def get_buffer(self, sizehint: int) -> memoryview:
        return _READ

    def buffer_updated(self, nbytes: int) -> None:
        data = bytes(_READ[:nbytes])
        self._unread += nbytes
        if self._listener is None:
            self._waiting += data
            self._pause()
            return
        self._listener.flow_data(data)
        if self._unread:
            self._pause()

    def eof_received(self) -> bool:
        self._eof = True
        if self._listener is not None:
            self._listener.flow_eof()
        if self._finished and self._transport is not None:
            mark_finished(self._transport)
        return not self._finished

    def pause_writing(self) -> None:
        self._full = True

    def resume_writing(self) -> None:
        self._full = False
        if self._listener is not None:
            self._listener.flow_writable()

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        self._closed()

    def _closed(self) -> None:
        """Tell the listener that the connection is over; one that ended before both sides had finished was cut."""
        listener, self._listener = self._listener, None
        if listener is not None:
            listener.flow_closed(Reason.DONE if self._eof and self._finished else Reason.RESET)

    def _pause(self) -> None:
        if self._transport is not None and not self._paused and not self._transport.is_closing():
            self._paused = True
            self._transport.pause_reading()

    def _resume(self) -> None:
        if self._transport is not None and self._paused and not self._eof:
            self._paused = False
            self._transport.resume_reading()
