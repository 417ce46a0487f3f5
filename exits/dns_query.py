"""Ask one DNS server one question: over UDP, and over TCP if the answer does not fit.

Plain sockets carry the messages: each try has a port and an id of its own, the system drops what another address
sends, and a query that is abandoned at any moment leaves no socket behind.

Source: RFC 1035, section 4.2 (transport); RFC 5452, section 9 (what an answer must match).
"""

from __future__ import annotations

import asyncio
import socket
from ipaddress import IPv4Address, IPv6Address
from typing import TYPE_CHECKING, Final

import dns.exception
import dns.message
import dns.rcode
import dns.rdatatype

from core.errors import Reason

if TYPE_CHECKING:
    from exits.addresses import Address

TRY_S: Final = 1.5
"""Wait for an answer before asking again, in seconds."""

_EDNS_BYTES: Final = 1232
"""Largest answer asked for over UDP: it is not cut into fragments (RFC 9715, section 3.1)."""

_DATAGRAM_BYTES: Final = 4096


async def query_addresses(
    host: str, port: int, name: str, kind: dns.rdatatype.RdataType, limit_s: float
) -> list[Address] | Reason:
    """Ask for the addresses of a name.

    Args:
        host: the server's IP address.
        port: its port, 1 to 65535.
        name: an ASCII name without a trailing dot.
        kind: `A` or `AAAA`.
        limit_s: time for the whole, in seconds.

    Returns:
        At least one address, as the server ordered them; or `NO_NAME` if there is none or the server cannot tell, or
        `TIMED_OUT`.
    """
    try:
        async with asyncio.timeout(limit_s):
            response = await _ask(host, port, name, kind)
        records = response.resolve_chaining().answer or ()
    except TimeoutError:
        return Reason.TIMED_OUT
    except (dns.exception.DNSException, OSError):
        return Reason.NO_NAME
    family = IPv6Address if kind == dns.rdatatype.AAAA else IPv4Address
    addresses = [family(record.address) for record in records]
    return addresses if addresses and response.rcode() == dns.rcode.NOERROR else Reason.NO_NAME


async def _ask(host: str, port: int, name: str, kind: dns.rdatatype.RdataType) -> dns.message.QueryMessage:
    """Ask until somebody answers.

    Raises:
        OSError: the server cannot be reached.
        DNSException: its answer over TCP cannot be read.
    """
    while True:
        query = dns.message.make_query(f"{name}.", kind, use_edns=0, payload=_EDNS_BYTES)
        try:
            async with asyncio.timeout(TRY_S):
                return await _over_udp(query, host, port)
        except dns.message.Truncated:
            return await _over_tcp(query, host, port)
        except TimeoutError:
            continue


async def _over_udp(query: dns.message.QueryMessage, host: str, port: int) -> dns.message.QueryMessage:
    """Send a query and wait for what answers it.

    Raises:
        OSError: the server cannot be reached.
        dns.message.Truncated: the answer does not fit.
    """
    loop = asyncio.get_running_loop()
    with _socket(host, socket.SOCK_DGRAM) as sock:
        sock.connect((host, port))  # returns at once; from now on the system drops other senders' datagrams
        await loop.sock_sendall(sock, query.to_wire())
        while True:
            response = _read(await loop.sock_recv(sock, _DATAGRAM_BYTES), query)
            if response is not None:
                return response


async def _over_tcp(query: dns.message.QueryMessage, host: str, port: int) -> dns.message.QueryMessage:
    """Send a query and read its answer, both behind their length in two bytes.

    Raises:
        OSError: the server cannot be reached, or closed the connection.
        DNSException: the answer cannot be read, or answers something else.
    """
    loop = asyncio.get_running_loop()
    wire = query.to_wire()
    with _socket(host, socket.SOCK_STREAM) as sock:
        await loop.sock_connect(sock, (host, port))
        await loop.sock_sendall(sock, len(wire).to_bytes(2, "big") + wire)
        length = int.from_bytes(await _receive(sock, 2), "big")
        response = _read(await _receive(sock, length), query)
    if response is None:
        raise dns.exception.FormError
    return response


def _read(wire: bytes, query: dns.message.QueryMessage) -> dns.message.QueryMessage | None:
    """Read a message.

    Returns:
        The answer to the query; None for anything else, such as a forged one.

    Raises:
        dns.message.Truncated: it is the answer, and was cut.
    """
    try:
        response = dns.message.from_wire(wire, raise_on_truncation=True)
    except dns.message.Truncated as error:
        if query.is_response(error.kwargs["message"]):
            raise
        return None
    except dns.exception.DNSException:
        return None
    if isinstance(response, dns.message.QueryMessage) and query.is_response(response):
        return response
    return None


def _socket(host: str, kind: socket.SocketKind) -> socket.socket:
    sock = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, kind)
    sock.setblocking(False)
    return sock


async def _receive(sock: socket.socket, count: int) -> bytes:
    """Read exactly `count` bytes.

    Raises:
        ConnectionError: there are fewer.
    """
    data = b""
    while len(data) < count:
        piece = await asyncio.get_running_loop().sock_recv(sock, count - len(data))
        if not piece:
            raise ConnectionResetError
        data += piece
    return data
