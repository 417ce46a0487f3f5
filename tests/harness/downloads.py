"""Downloads that take their time: a server that sends at a pace, and clients that note every pause."""

from __future__ import annotations

import asyncio
import hashlib
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from tests.harness.waiting import until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

PIECE_BYTES: Final = 12_000
BETWEEN_S: Final = 0.05
_READ_BYTES: Final = 1 << 16


def piece(number: int, place: int) -> bytes:
    """The piece at a place of a download."""
    seed = hashlib.sha256(f"{number} {place}".encode()).digest()
    return (seed * (PIECE_BYTES // len(seed) + 1))[:PIECE_BYTES]


def digest(number: int, pieces: int) -> str:
    """SHA-256 of a whole download."""
    state = hashlib.sha256()
    for place in range(pieces):
        state.update(piece(number, place))
    return state.hexdigest()


@asynccontextmanager
async def source() -> AsyncIterator[int]:
    """A server on loopback that is told `number pieces` and sends so many; gives its port."""
    writers: set[asyncio.StreamWriter] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writers.add(writer)
        try:
            number, pieces = map(int, (await reader.readline()).split())
            for place in range(pieces):
                writer.write(piece(number, place))
                await writer.drain()
                await asyncio.sleep(BETWEEN_S)
        except (ConnectionError, ValueError):
            """Whoever asked is gone."""
        finally:
            writer.close()
            writers.discard(writer)

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        for writer in writers:
            writer.transport.abort()
        await until(lambda: not writers)


@dataclass
class Download:
    """One download through a SOCKS5 proxy.

    Args:
        number: which.
        pieces: how many pieces it has; one comes about every 0.05 s.

    Attributes:
        longest_s: the longest pause between two arrivals.
        ended_at: loop time of its end.
        failed: whether it was refused or broken off by a reset.
    """

    number: int
    pieces: int
    received: int = 0
    longest_s: float = 0.0
    ended_at: float = 0.0
    failed: bool = False
    _state: hashlib._Hash = field(default_factory=hashlib.sha256)

    @property
    def whole(self) -> bool:
        return self._state.hexdigest() == digest(self.number, self.pieces)

    async def run(self, proxy: str, port: int, user: str) -> None:
        loop = asyncio.get_running_loop()
        host, _, proxy_port = proxy.rpartition(":")
        reader, writer = await asyncio.open_connection(host, int(proxy_port))
        try:
            await ask(reader, writer, port, user)
            writer.write(f"{self.number} {self.pieces}\n".encode())
            last = loop.time()
            while data := await reader.read(_READ_BYTES):
                self.longest_s = max(self.longest_s, loop.time() - last)
                last = loop.time()
                self.received += len(data)
                self._state.update(data)
        except (ConnectionError, asyncio.IncompleteReadError):
            self.failed = True
        finally:
            self.ended_at = loop.time()
            writer.transport.abort()


async def ask(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, port: int, user: str) -> None:
    """Ask a SOCKS5 proxy for 127.0.0.1, as a user (RFC 1928, RFC 1929).

    Raises:
        ConnectionError: it was refused.
    """
    writer.write(b"\x05\x01\x02" + bytes([1, len(user)]) + user.encode() + b"\x00")
    assert await reader.readexactly(4) == b"\x05\x02\x01\x00"
    writer.write(b"\x05\x01\x00\x01" + bytes([127, 0, 0, 1]) + port.to_bytes(2))
    answer = await reader.readexactly(10)
    if answer[1]:
        raise ConnectionRefusedError(f"SOCKS5 says {answer[1]}")
