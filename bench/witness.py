"""An origin that remembers: HTTP whose every byte has its place, uploads that are hashed, and a WebSocket echo.

`GET /N` answers with N bytes, `GET /N/RATE` does so at RATE bytes per second. `PUT` is answered with the SHA-256.
"""

from __future__ import annotations

import asyncio
import hashlib
import threading
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Final

from websockets.asyncio.server import ServerConnection, serve
from websockets.exceptions import ConnectionClosed

from bench.content import STEP_S, content, due

if TYPE_CHECKING:
    from types import TracebackType

_PART: Final = 1 << 18
_START_S: Final = 10.0


class Witness:
    """Serves on loopback, in a thread of its own.

    Attributes:
        http, echo: ports.
        connections: how many have come, to both.
        uploaded: moments at which bytes of uploads came.
    """

    def __init__(self) -> None:
        self.http = self.echo = self.connections = 0
        self.uploaded: list[float] = []
        self._ready = threading.Event()
        self._thread = threading.Thread(target=asyncio.run, args=(self._serve(),), daemon=True)

    def __enter__(self) -> Witness:
        self._thread.start()
        if not self._ready.wait(_START_S):
            raise SystemExit("the origin did not get ready")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._loop.call_soon_threadsafe(self._over.set)
        self._thread.join(_START_S)

    def forget(self) -> None:
        """Count from nothing."""
        self.connections = 0
        self.uploaded = []

    async def _serve(self) -> None:
        self._loop, self._over = asyncio.get_running_loop(), asyncio.Event()
        web = await asyncio.start_server(self._answer, "127.0.0.1", 0, backlog=1024)
        async with serve(self._repeat, "127.0.0.1", 0, ping_interval=None) as echo:
            self.http = web.sockets[0].getsockname()[1]
            self.echo = next(iter(echo.sockets)).getsockname()[1]
            self._ready.set()
            await self._over.wait()
        web.close()

    async def _repeat(self, connection: ServerConnection) -> None:
        self.connections += 1
        with suppress(ConnectionClosed):
            async for message in connection:
                await connection.send(message)

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        with suppress(ConnectionError, asyncio.IncompleteReadError):
            head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
            method, target = head.split(" ", 2)[:2]
            if method == "GET":
                size, _, rate = target[1:].partition("/")
                await _send(writer, int(size), int(rate or 0))
            else:
                await self._take(reader, writer, head)
            writer.close()
            await writer.wait_closed()

    async def _take(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, head: str) -> None:
        lines = dict(line.lower().split(": ", 1) for line in head.splitlines()[1:] if ": " in line)
        left, state = int(lines["content-length"]), hashlib.sha256()
        while left:
            part = await reader.read(min(left, _PART))
            if not part:
                return
            self.uploaded.append(time.monotonic())
            state.update(part)
            left -= len(part)
        _start_answer(writer, 64)
        writer.write(state.hexdigest().encode())


def _start_answer(writer: asyncio.StreamWriter, size: int) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\nConnection: close\r\n\r\n" % size)


async def _send(writer: asyncio.StreamWriter, size: int, rate: int) -> None:
    """Send content: as fast as it is taken, or at a rate in bytes per second if that is not 0."""
    _start_answer(writer, size)
    sent, started = 0, time.monotonic()
    while sent < size:
        upto = due(size, rate, time.monotonic() - started)
        for part in content(sent, upto):
            writer.write(part)
            await writer.drain()
        sent = upto
        await asyncio.sleep(STEP_S)
