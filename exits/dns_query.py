"""Ask one DNS server one question: over UDP, and over TCP if the answer does not fit.

Plain sockets carry the messages: each try has a port and an id of its own, the system drops what another address
sends, and a query that is abandoned at any moment leaves no socket behind.

Source: RFC 1035, section 4.2 (transport); RFC 5452, section 9 (what an answer must match).
"""

from __future__ import annotations

import asyncio
import socket
from typing import Final

import dns.exception
import dns.message
import dns.rdatatype

from exits.dns_message import Answer, make_query, read_answer, read_response

TRY_S: Final = 1.5
"""Wait for an answer before asking again, in seconds."""

_DATAGRAM_BYTES: Final = 4096


class UdpTransport:
    """Plain DNS.

    Args:
        host: the server's IP address.
        port: its port, 1 to 65535.
    """

    def __init__(self, host: str, port: int) -> None:
        self._host = host
        self._port = port

    async def ask(self, name: str, kind: dns.rdatatype.RdataType) -> Answer:
        """See `sources.Transport.ask`."""
        while True:
            query = make_query(name, kind, None, padded=False)
            try:
                async with asyncio.timeout(TRY_S):
                    response = await _over_udp(query, self._host, self._port)
            except dns.message.Truncated:
                response = await _over_tcp(query, self._host, self._port)
            except TimeoutError:
                continue
            return read_answer(response)

    async def close(self) -> None:
        """Nothing is kept between two questions."""


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
            response = read_response(await loop.sock_recv(sock, _DATAGRAM_BYTES), query)
            if response is not None:
                return response


async def _over_tcp(query: dns.message.QueryMessage, host: str, port: int) -> dns.message.QueryMessage:
    """Send a query and read its answer, both behind their length in two bytes.

    Raises:
        OSError: the server cannot be reached, or closed the connection.
        DNSException: the answer cannot be read, or answers something else.
    """
    loop = asyncio.get_running_loop()
    with _socket(host, socket.SOCK_STREAM) as sock:
        await loop.sock_connect(sock, (host, port))
        await loop.sock_sendall(sock, query.to_wire(prepend_length=True))
        length = int.from_bytes(await _receive(sock, 2), "big")
        response = read_response(await _receive(sock, length), query)
    if response is None:
        raise dns.exception.FormError
    return response


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
