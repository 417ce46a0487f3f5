"""Two engines on real UDP that both listen, and handlers that keep what they are told."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from tunnel.engines import load_engine

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tunnel.engines.seam import Address, Connection, Engine

HOST = "127.0.0.1"
PAIRS = [
    ("aiopquic", "aiopquic"),
    ("aioquic", "aioquic"),
    ("aiopquic", "aioquic"),
    ("aioquic", "aiopquic"),
]
"""Who dials, and who answers."""


class Heard:
    """A handler that keeps what it is told, and echoes if asked to."""

    def __init__(self, connection: Connection, echo: bool = False) -> None:
        self.connection = connection
        self.echo = echo
        self.data: dict[int, bytearray] = {}
        self.ended: set[int] = set()
        self.reset: list[int] = []
        self.datagrams: list[bytes] = []
        self.drained: list[int] = []
        self.closed = self.never_left = 0

    def stream_received(self, stream: int, data: memoryview, end: bool) -> None:
        self.data.setdefault(stream, bytearray()).extend(data)
        if end:
            self.ended.add(stream)
        if self.echo:
            self.connection.write(stream, bytes(data), end)

    def stream_reset(self, stream: int) -> None:
        self.reset.append(stream)

    def stream_drained(self, stream: int) -> None:
        self.drained.append(stream)

    def datagram_received(self, data: memoryview) -> None:
        self.datagrams.append(bytes(data))
        if self.echo:
            self.connection.send_datagram(bytes(data))

    def connection_closed(self) -> None:
        self.closed += 1
        self.never_left = sum(self.connection.queued(stream) for stream in range(0, 64, 4))


class Pair:
    """Two engines that both listen. The second one's side of each connection is in `accepted`."""

    def __init__(self, first: Engine, second: Engine) -> None:
        self.engines = (first, second)
        self.accepted: list[Heard] = []
        self.echo = True
        self.ports: list[int] = []

    def accept(self, connection: Connection) -> Heard:
        self.accepted.append(Heard(connection, self.echo))
        return self.accepted[-1]

    async def dial(self, start: int = 0, to: Address | None = None) -> tuple[Connection, Heard]:
        made: list[Heard] = []

        def handle(connection: Connection) -> Heard:
            made.append(Heard(connection))
            return made[0]

        connection = await self.engines[start].dial(to or (HOST, self.ports[1 - start]), handle, 5)
        return connection, made[0]


@asynccontextmanager
async def pair(names: tuple[str, str]) -> AsyncIterator[Pair]:
    """Start two engines; the first of the names is the one that dials."""
    both = Pair(load_engine(names[0]), load_engine(names[1]))
    try:
        for engine in both.engines:
            both.ports.append(await engine.listen(0, both.accept))
        yield both
    finally:
        for engine in both.engines:
            await engine.close()
