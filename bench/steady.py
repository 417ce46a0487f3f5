"""Flows that carry as much as they can, counted where the bytes arrive: downloads here, uploads at a sink.

Everything runs in one event loop of this process, the destination too, and no flow ends by itself.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from typing import TYPE_CHECKING, Final

from core.tasks import Tasks

if TYPE_CHECKING:
    from collections.abc import Sequence


BLOCK: Final = bytes(1 << 16)
READ_BYTES: Final = 1 << 16
WAYS: Final = ("download", "upload")
GRACE_S: Final = 30.0
"""For so long the first byte of every flow is waited for."""


class Flows:
    """Connections through a SOCKS5 proxy to a destination in this process.

    Args:
        proxy: `HOST:PORT`.
        way: `download` or `upload`.
        users: a SOCKS5 user name for each flow; different ones do not share a circuit. Empty for none.
    """

    def __init__(self, proxy: str, way: str, users: Sequence[str]) -> None:
        self._proxy = proxy
        self._way = way
        self._users = users
        self._tasks = Tasks()
        self._open: set[asyncio.StreamWriter] = set()
        self.came = [0] * len(users)

    async def run(self, settle_s: float, seconds: float) -> tuple[float, list[int]]:
        """Open the flows, let them settle, and count.

        Returns:
            The seconds that were measured, and each flow's bytes in them.

        Raises:
            SystemExit: a flow did not begin.
        """
        server = await asyncio.start_server(self._arrived, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        try:
            for number, user in enumerate(self._users):
                self._tasks.spawn(self._client(number, user, port), "flow")
            deadline = time.monotonic() + GRACE_S
            while not all(self.came):
                if time.monotonic() > deadline:
                    raise SystemExit(f"{self.came.count(0)} flows of {len(self.came)} did not begin")
                await asyncio.sleep(0.01)
            await asyncio.sleep(settle_s)
            before, started = list(self.came), time.monotonic()
            await asyncio.sleep(seconds)
            after, ended = list(self.came), time.monotonic()
            return ended - started, [late - early for early, late in zip(before, after, strict=True)]
        finally:
            await self._tasks.cancel()
            server.close()
            for writer in self._open:
                writer.transport.abort()
            await asyncio.gather(*(writer.wait_closed() for writer in self._open), return_exceptions=True)
            await server.wait_closed()

    async def _client(self, number: int, user: str, port: int) -> None:
        reader, writer = await self._connect(user, port)
        with contextlib.closing(writer), contextlib.suppress(ConnectionError):
            writer.write(bytes([number]))
            await (self._count(reader, number) if self._way == "download" else self._fill(writer))

    async def _connect(self, user: str, port: int) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """SOCKS5 with a user name (RFC 1928, RFC 1929)."""
        host, _, proxy_port = self._proxy.rpartition(":")
        reader, writer = await asyncio.open_connection(host, int(proxy_port), limit=READ_BYTES)
        self._open.add(writer)
        writer.write(b"\x05\x01\x02" if user else b"\x05\x01\x00")
        await reader.readexactly(2)
        if user:
            name = user.encode()
            writer.write(bytes([1, len(name)]) + name + b"\x01x")
            await reader.readexactly(2)
        writer.write(b"\x05\x01\x00\x01\x7f\x00\x00\x01" + port.to_bytes(2))
        answer = await reader.readexactly(10)
        if answer[1]:
            raise ConnectionError(f"the proxy answered {answer[1]}")
        return reader, writer

    async def _arrived(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """At the destination: the first byte says which flow it is."""
        self._open.add(writer)
        with contextlib.closing(writer), contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            number = (await reader.readexactly(1))[0]
            await (self._fill(writer) if self._way == "download" else self._count(reader, number))

    async def _count(self, reader: asyncio.StreamReader, number: int) -> None:
        while data := await reader.read(READ_BYTES):
            self.came[number] += len(data)

    @staticmethod
    async def _fill(writer: asyncio.StreamWriter) -> None:
        while True:
            writer.write(BLOCK)
            await writer.drain()


def measure(proxy: str, way: str, users: Sequence[str], settle_s: float, seconds: float) -> tuple[float, list[int]]:
    """Run flows as `Flows` does."""
    return asyncio.run(Flows(proxy, way, users).run(settle_s, seconds))


def unevenness(counts: Sequence[int]) -> float:
    """How far the flow that is farthest from the mean is from it, as a share of the mean."""
    mean = sum(counts) / len(counts)
    return max(abs(count - mean) for count in counts) / mean
