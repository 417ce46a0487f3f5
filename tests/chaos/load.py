"""The load: an origin whose every byte has its place, and transfers through the clients that know what must come.

A transfer has no length in advance, as an HTTP body without `Content-Length` has none: only a clean end says that all
has come. So an end without a reset before the last byte is a silently short body, which is never allowed.
"""

from __future__ import annotations

import asyncio
import itertools
import random
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Final

from core.tasks import Tasks
from tests.chaos.box import LOOPBACK
from tests.harness.downloads import ask, piece

if TYPE_CHECKING:
    from collections.abc import Iterator

READ_BYTES: Final = 1 << 16
HUNG_S: Final = 60.0
"""A transfer on which nothing has moved for so long is neither exact nor cleanly failed. An exit keeps flows without a
path for 30 s, and a client has 30 s for an answer to its opening."""
PROBE_EVERY_S: Final = 0.5
PROBE_S: Final = 10.0
"""How long a probe waits for its answer."""
_FLOWS: Final = 5
"""Transfers of each client at once, beside its probes."""
_USERS: Final = 3
"""Names under which a client's transfers go, so that they are on several circuits."""
_BETWEEN_S: Final = (0.05, 0.6)
_SIZES: Final = (1, 2_000, 60_000, 400_000, 1_500_000)
_RATES: Final = (60_000, 200_000, 0)
"""Bytes per second; 0 for as fast as it goes."""
_STEP_S: Final = 0.25
"""Between two pieces of a paced transfer. Twelve nodes share two cores, and small pieces cost the most."""
_WRITE_BYTES: Final = 12_000


class Way(StrEnum):
    """What a transfer does."""

    GET = "get"
    """The origin sends, and ends."""
    PUT = "put"
    """The client sends and ends its side, then the origin says what it got."""
    ECHO = "echo"
    """What the client sends comes back, while it sends."""


class Outcome(StrEnum):
    """How a transfer ended."""

    RUNNING = "running"
    EXACT = "exact"
    FAILED = "failed"
    """It was refused, or reset; what had come until then was right."""
    WRONG = "wrong"
    """A byte was another one, or there was one too many."""
    SHORT = "short"
    """It ended cleanly before the last byte."""
    HUNG = "hung"


class Body:
    """The bytes that one transfer carries, one after the other.

    Args:
        number: of the transfer.
        size: in bytes.
    """

    def __init__(self, number: int, size: int) -> None:
        self._pieces = (piece(number, place) for place in itertools.count())
        self._held = b""
        self.left = size

    def take(self, count: int) -> bytes:
        """The next bytes, `count` of them or all that are left."""
        count = min(count, self.left)
        while len(self._held) < count:
            self._held += next(self._pieces)
        taken, self._held = self._held[:count], self._held[count:]
        self.left -= count
        return taken

    def is_next(self, data: bytes) -> bool:
        """Whether these are the next bytes, and no more than are left."""
        return len(data) <= self.left and self.take(len(data)) == data


@dataclass(slots=True)
class Transfer:
    """One transfer, and what became of it.

    Args:
        number: which; no two have the same.
        client: through which node.
        way: what it does.
        size: bytes of its body.
        rate: bytes per second of who sends; 0 for as fast as it goes.
        probe: whether it only asks if the network works.

    Attributes:
        begun, ended: seconds of the event loop.
        came: bytes that the client got.
    """

    number: int
    client: str
    way: Way
    size: int
    rate: int
    probe: bool = False
    begun: float = 0.0
    ended: float = 0.0
    came: int = 0
    outcome: Outcome = Outcome.RUNNING


@dataclass(slots=True)
class Origin:
    """A server on loopback that is told `way number size rate`, and remembers who came.

    Args:
        plant: a defect of the answers: `flip` turns over a bit of one, `short` ends one cleanly before its end.

    Attributes:
        port: where it listens.
        sources: how many connections came from each address.
        uploads: how each upload ended here, by its number.
    """

    plant: str = ""
    port: int = 0
    sources: dict[str, int] = field(default_factory=dict)
    uploads: dict[int, Outcome] = field(default_factory=dict)
    _server: asyncio.Server | None = None
    _tasks: Tasks = field(default_factory=Tasks)

    async def start(self) -> None:
        self._server = await asyncio.start_server(self._accept, LOOPBACK, 0, backlog=512)
        self.port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        """Listen no more, and end what is left."""
        assert self._server is not None
        self._server.close()
        await self._tasks.cancel()

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._tasks.spawn(self._serve(reader, writer), "origin")

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            if (name := writer.get_extra_info("peername")) is None:
                return  # it was reset before it was accepted
            self.sources[name[0]] = self.sources.get(name[0], 0) + 1
            async with asyncio.timeout(HUNG_S):
                way, *words = (await reader.readline()).decode().split()
            number, size, rate = map(int, words)
            match Way(way):
                case Way.GET:
                    await self._give(writer, Body(number, size), rate)
                case Way.PUT:
                    self.uploads[number] = Outcome.FAILED
                    self.uploads[number] = await _compare(reader, Body(number, size))
                    writer.write(str(self.uploads[number]).encode())
                case Way.ECHO:
                    while data := await reader.read(READ_BYTES):
                        writer.write(data)
                        await writer.drain()
            writer.write_eof()
            await writer.drain()
            await reader.read()
        except (OSError, TimeoutError, ValueError):
            """Who asked is gone, or said nothing that makes sense."""
        finally:
            writer.transport.abort()

    async def _give(self, writer: asyncio.StreamWriter, body: Body, rate: int) -> None:
        if self.plant and body.left > _WRITE_BYTES:
            plant, self.plant = self.plant, ""
            data = bytearray(body.take(_WRITE_BYTES))
            if plant == "flip":
                data[-1] ^= 1
            writer.write(data)
            if plant == "short":
                return
        await send(writer, body, rate)


async def send(writer: asyncio.StreamWriter, body: Body, rate: int) -> None:
    """Send what is left of a body, at a rate in bytes per second if that is not 0."""
    while body.left:
        writer.write(body.take(int(rate * _STEP_S) or _WRITE_BYTES))
        async with asyncio.timeout(HUNG_S):
            await writer.drain()
        if rate:
            await asyncio.sleep(_STEP_S)


async def _compare(reader: asyncio.StreamReader, body: Body) -> Outcome:
    """Read to the end.

    Raises:
        ConnectionError: it was reset.
        TimeoutError: nothing came for too long.
    """
    while True:
        async with asyncio.timeout(HUNG_S):
            data = await reader.read(READ_BYTES)
        if not data:
            return Outcome.SHORT if body.left else Outcome.EXACT
        if not body.is_next(data):
            return Outcome.WRONG


async def carry(transfer: Transfer, proxy: int, origin: int, limit_s: float = HUNG_S) -> None:
    """Do a transfer through a SOCKS5 proxy on loopback, and note what becomes of it.

    Args:
        transfer: not begun yet.
        proxy: port of the proxy.
        origin: port of the origin.
        limit_s: how long nothing may move.
    """
    loop = asyncio.get_running_loop()
    transfer.begun = loop.time()
    try:
        reader, writer = await asyncio.open_connection(LOOPBACK, proxy)
    except OSError:
        transfer.outcome, transfer.ended = Outcome.FAILED, loop.time()
        return
    try:
        async with asyncio.timeout(limit_s):
            await ask(reader, writer, origin, f"user{transfer.number % _USERS}")
        writer.write(f"{transfer.way} {transfer.number} {transfer.size} {transfer.rate}\n".encode())
        transfer.outcome = await _exchange(transfer, reader, writer, limit_s)
    except TimeoutError:  # which is an OSError
        transfer.outcome = Outcome.HUNG
    except (OSError, asyncio.IncompleteReadError):
        transfer.outcome = Outcome.FAILED
    finally:
        transfer.ended = loop.time()
        writer.transport.abort()


async def _exchange(
    transfer: Transfer, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, limit_s: float
) -> Outcome:
    body = Body(transfer.number, transfer.size)
    if transfer.way is Way.PUT:
        await send(writer, body, transfer.rate)
        writer.write_eof()
        async with asyncio.timeout(limit_s):
            return _said(await reader.read())
    sending = Tasks()
    if transfer.way is Way.ECHO:
        sending.spawn(_send_all(writer, Body(transfer.number, transfer.size), transfer.rate), "echo")
    try:
        while True:
            async with asyncio.timeout(limit_s):
                data = await reader.read(READ_BYTES)
            if not data:
                return Outcome.SHORT if body.left else Outcome.EXACT
            transfer.came += len(data)
            if not body.is_next(data):
                return Outcome.WRONG
    finally:
        await sending.cancel()


def _said(answer: bytes) -> Outcome:
    """What the origin said of an upload. Without a word the answer is short."""
    return Outcome(answer.decode()) if answer else Outcome.SHORT


async def _send_all(writer: asyncio.StreamWriter, body: Body, rate: int) -> None:
    try:
        await send(writer, body, rate)
        writer.write_eof()
    except (OSError, TimeoutError):
        """Who reads finds out as well."""


class Load:
    """Transfers again and again, and probes, until it is told to stop.

    Args:
        seed: decides what transfers do, each flow's one after the other.
        proxies: ports of the clients' proxies, by name.
        origin: port of the origin.
        first: the number of its first transfer.

    Attributes:
        transfers: all that were begun.
    """

    def __init__(self, seed: int, proxies: dict[str, int], origin: int, first: int = 1) -> None:
        self._seed = seed
        self._proxies = proxies
        self._origin = origin
        self._numbers = itertools.count(first)
        self._tasks = Tasks()
        self._over = asyncio.Event()
        self.transfers: list[Transfer] = []

    def start(self) -> None:
        for client in self._proxies:
            for flow in range(_FLOWS):
                self._tasks.spawn(self._again_and_again(client, flow), f"{client} {flow}")
            self._tasks.spawn(self._probe(client), f"probe {client}")

    async def stop(self) -> None:
        """Begin nothing new, and wait for the end of what runs."""
        self._over.set()
        await self._tasks.finish(3 * HUNG_S)

    async def _again_and_again(self, client: str, flow: int) -> None:
        for way, size, rate, between_s in drawn(self._seed, client, flow):
            if await self._wait(between_s):
                return
            await self._carry(Transfer(next(self._numbers), client, way, size, rate), HUNG_S)

    async def _probe(self, client: str) -> None:
        while not await self._wait(PROBE_EVERY_S):
            probe = Transfer(next(self._numbers), client, Way.GET, 100, 0, probe=True)
            self._tasks.spawn(self._carry(probe, PROBE_S), f"probe {probe.number}")

    async def _carry(self, transfer: Transfer, limit_s: float) -> None:
        self.transfers.append(transfer)
        await carry(transfer, self._proxies[transfer.client], self._origin, limit_s)

    async def _wait(self, seconds: float) -> bool:
        """Wait so long; returns whether it is over."""
        try:
            async with asyncio.timeout(seconds):
                await self._over.wait()
        except TimeoutError:
            return False
        return True


def drawn(seed: int, client: str, flow: int) -> Iterator[tuple[Way, int, int, float]]:
    """What one flow of a client does, one after the other: way, size, rate, and seconds of rest before it."""
    chance = random.Random(f"load {seed} {client} {flow}")
    while True:
        size, rate = chance.choice(_SIZES), chance.choice(_RATES)
        yield chance.choice(list(Way)), size, rate, chance.uniform(*_BETWEEN_S)
