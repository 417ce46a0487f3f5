"""What the load says of a transfer, through a proxy of which it is known what it does to it."""

from __future__ import annotations

import asyncio
import socket
from contextlib import asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING

import pytest

from core.ends import cut
from core.tasks import Tasks
from tests.chaos.box import LOOPBACK
from tests.chaos.load import Body, Origin, Outcome, Transfer, Way, carry, drawn

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

SIZE = 60_000
PART = 20_000


class Proxy:
    """A SOCKS5 proxy that carries so many bytes each way, and then does something to the connection.

    Args:
        does: `carries` on, `ends` cleanly, `resets`, `flips` a bit and carries on, or `hangs`.
        way: `there` or `back`: which bytes count, and to whom it does it.
    """

    def __init__(self, does: str, way: str) -> None:
        self._does = does
        self._way = way
        self.tasks = Tasks()

    def accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.tasks.spawn(self._serve(reader, writer), "connection")

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readexactly(3)
        user = (await reader.readexactly(2))[1]
        await reader.readexactly(user + 1)
        writer.write(b"\x05\x02\x01\x00")
        port = int.from_bytes((await reader.readexactly(10))[-2:])
        writer.write(b"\x05\x00\x00\x01" + bytes(6))
        out_reader, out_writer = await asyncio.open_connection(LOOPBACK, port)
        try:
            there = self._pump(self._way == "there", reader, out_writer)
            await asyncio.gather(there, self._pump(self._way == "back", out_reader, writer))
        except ConnectionError:
            for end in (writer, out_writer):
                cut(end.transport)
        finally:
            for end in (writer, out_writer):
                end.transport.abort()

    async def _pump(self, meets: bool, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        left = PART
        while data := await reader.read(left or PART):
            if not left and meets:
                match self._does:
                    case "flips":
                        data, meets = data[:-1] + bytes([data[-1] ^ 4]), False
                    case "ends":
                        break
                    case "resets":
                        raise ConnectionResetError
                    case "hangs":
                        await asyncio.Event().wait()
            left = max(0, left - len(data))
            writer.write(data)
            await writer.drain()
        writer.write_eof()


@asynccontextmanager
async def through(does: str, way: str) -> AsyncIterator[tuple[int, Origin]]:
    origin = Origin()
    await origin.start()
    proxy = Proxy(does, way)
    server = await asyncio.start_server(proxy.accept, LOOPBACK, 0)
    try:
        yield server.sockets[0].getsockname()[1], origin
    finally:
        server.close()
        await proxy.tasks.cancel()
        await origin.stop()


BACK = ("back", Way.GET), ("back", Way.ECHO)
THERE = (("there", Way.PUT),)
CASES = [
    *[("carries", way, what, Outcome.EXACT) for way, what in BACK + THERE],
    *[("ends", way, what, Outcome.SHORT) for way, what in BACK + THERE],
    *[("flips", way, what, Outcome.WRONG) for way, what in BACK + THERE],
    *[("resets", way, what, Outcome.FAILED) for way, what in BACK + THERE],
    *[("hangs", way, what, Outcome.HUNG) for way, what in BACK],
]


@pytest.mark.long
@pytest.mark.parametrize(("does", "way", "what", "outcome"), CASES)
async def test_what_became_of_a_transfer(does: str, way: str, what: Way, outcome: Outcome) -> None:
    async with through(does, way) as (proxy, origin):
        transfer = Transfer(7, "client-1", what, SIZE, 0)
        await carry(transfer, proxy, origin.port, limit_s=1.0 if does == "hangs" else 20.0)
        if way == "there" and does == "resets":
            assert origin.uploads == {7: Outcome.FAILED}
        elif way == "there":
            assert origin.uploads == {7: outcome}
        assert transfer.outcome is outcome
        assert origin.sources == {LOOPBACK: 1}


async def test_a_proxy_that_is_not_there() -> None:
    transfer = Transfer(1, "client-1", Way.GET, SIZE, 0)
    with socket.create_server((LOOPBACK, 0)) as server:
        port = server.getsockname()[1]
    await carry(transfer, port, port)
    assert transfer.outcome is Outcome.FAILED


@pytest.mark.parametrize("plant", ["flip", "short"])
async def test_what_is_planted_in_the_origin_is_seen_once(plant: str) -> None:
    async with through("carries", "back") as (proxy, origin):
        origin.plant = plant
        found = [Transfer(number, "client-1", Way.GET, SIZE, 0) for number in range(2)]
        for each in found:
            await carry(each, proxy, origin.port)
        assert [each.outcome for each in found] == [
            {"flip": Outcome.WRONG, "short": Outcome.SHORT}[plant],
            Outcome.EXACT,
        ]


def test_a_body_is_known_by_its_number() -> None:
    first, again, other = Body(1, SIZE), Body(1, SIZE), Body(2, SIZE)
    parts = [first.take(size) for size in (1, 11_999, 30_000, SIZE)]
    assert sum(map(len, parts)) == SIZE
    assert all(map(again.is_next, parts))
    assert not again.is_next(b"x"), "there is no more"
    assert not other.is_next(parts[0] + parts[1])


def test_what_a_flow_does_follows_from_the_seed() -> None:
    def first(seed: int, client: str, flow: int) -> list[object]:
        return [each for each, _ in zip(drawn(seed, client, flow), range(20), strict=False)]

    make = partial(first, 1, "client-1")
    assert make(0) == make(0)
    assert len({str(found) for found in (make(0), make(1), first(2, "client-1", 0), first(1, "client-2", 0))}) == 4
