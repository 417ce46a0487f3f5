"""A program that uses an association of the local port: its socket for datagrams, and its request (RFC 1928)."""

from __future__ import annotations

import asyncio
import socket
from ipaddress import ip_address
from typing import TYPE_CHECKING

from tests.proxy.harness import LIMIT_S, by_name

if TYPE_CHECKING:
    from tests.proxy.harness import Client

ANY = b"\x01" + bytes(6)
V4 = b"\0\0\0\x01\xc6\x33\x64\x07\x00\x35"
V6 = b"\0\0\0\x04\x20\x01\x0d\xb8" + bytes(11) + b"\x01\x00\x35"


def named(host: str, port: int, payload: bytes = b"x") -> bytes:
    return b"\0\0\0" + by_name(host, port) + payload


class Program:
    """A client's UDP socket, on loopback."""

    def __init__(self, family: socket.AddressFamily = socket.AF_INET, host: str = "127.0.0.1") -> None:
        self.socket = socket.socket(family, socket.SOCK_DGRAM)
        self.socket.bind((host, 0))
        self.socket.setblocking(False)
        self.port: int = self.socket.getsockname()[1]
        self.relay: tuple[str, int] = ("", 0)

    def send(self, datagram: bytes) -> None:
        self.socket.sendto(datagram, self.relay)

    async def heard(self) -> bytes:
        async with asyncio.timeout(LIMIT_S):
            return await asyncio.get_running_loop().sock_recv(self.socket, 1 << 16)


async def ask(client: Client, address: bytes = ANY, user: str = "") -> tuple[int, tuple[str, int]]:
    """Ask for an association. Returns the reply's code and the address in it."""
    if user:
        client.send(b"\x05\x01\x02\x01" + bytes([len(user)]) + user.encode() + b"\x01x")
        assert await client.read(4) == b"\x05\x02\x01\x00"
    else:
        client.send(b"\x05\x01\x00")
        assert await client.read(2) == b"\x05\x00"
    client.send(b"\x05\x03\x00" + address)
    version, code, reserved, kind = await client.read(4)
    assert (version, reserved) == (5, 0)
    host = ip_address(await client.read({1: 4, 4: 16}[kind]))
    return code, (str(host), int.from_bytes(await client.read(2), "big"))
