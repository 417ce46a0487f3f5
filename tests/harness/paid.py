"""A chain of nodes in which everything is paid, and what crossed its links."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, NamedTuple

from tests.harness.bare import ECHO
from tests.harness.network import Collect, chain
from tests.harness.tolls import Till
from tests.harness.waiting import until
from tests.harness.wire import Board, WireEngine
from tunnel.assembler import Assembler
from tunnel.datagram_tags import DATAGRAM_BYTES
from tunnel.padding import Shape
from tunnel.wireguard.constants import TAG_BYTES

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from core.flow import FlowRequest
    from tests.harness.network import Echo, Network
    from tests.harness.tolls import Purse
    from tests.harness.wire import WireConnection
    from tunnel.engines.seam import Engine
    from tunnel.service import Tunnel


class Paid(NamedTuple):
    """The chain; `tills` are those of the hops, the guard's first, then the client's."""

    network: Network
    client: Tunnel
    echo: Echo
    tills: list[Till]

    @property
    def hops(self) -> int:
        return len(self.tills) - 1

    def payer(self, place: int) -> Purse:
        """Who pays the hop at a place."""
        return self.tills[place - 1].expense

    def payee(self, place: int) -> Purse:
        return self.tills[place].income

    def rate(self, place: int) -> int:
        """What the hop at a place is paid, at step 1."""
        return self.hops - place

    @property
    def books(self) -> list[tuple[int, int]]:
        """Bytes that both ends of each link counted, the client's link first."""
        return [
            (self.payer(place).used // self.rate(place), self.payee(place).used // self.rate(place))
            for place in range(self.hops)
        ]

    @property
    def agreed(self) -> bool:
        return all(ours == theirs for ours, theirs in self.books)

    def crossed(self, place: int) -> int:
        """Bytes of messages that crossed the link before a hop, both ways. In memory only."""
        engine = self.network.nodes[place].engine
        assert isinstance(engine, WireEngine)
        (end,) = [connection for connection in engine.connections if not connection.dialled]
        return _messages(end) + _messages(end.other)

    async def open(self, request: FlowRequest = ECHO, *, hungry: bool = True) -> Collect:
        flow = await self.client.pool.dial(request)
        listener = Collect(flow, hungry=hungry)
        flow.attach(listener)
        return listener


def _messages(end: WireConnection) -> int:
    assemblers: dict[int, Assembler] = {}
    total = sum(len(datagram) - DATAGRAM_BYTES for datagram in end.datagrams)
    for number, data in end.written:
        if number:
            records = assemblers.setdefault(number, Assembler(0xFFFF)).feed(memoryview(data))
            total += sum(len(record) - TAG_BYTES for record in records)
    return total


@asynccontextmanager
async def paid_chain(
    count: int, engine: Callable[[], Engine] | None = None, shape: Shape = Shape.STEPS, tariff: int = 1
) -> AsyncIterator[Paid]:
    """A path of `count` hops, each of which asks a step, 0 for nothing; in memory unless an engine is named."""
    tills: list[Till] = []

    def till() -> Till:
        tills.append(Till(asks=tariff))
        return tills[-1]

    async with chain(count, engine or Board().engine, shape, toll=till, tariff=tariff) as (network, client, echo):
        yield Paid(network, client, echo, tills)


async def heard(listener: Collect, data: bytes, limit_s: float = 10.0) -> None:
    """Wait until somebody has got all of some bytes.

    Raises:
        AssertionError: it got others, or not all in time.
    """
    await until(lambda: len(listener.data) >= len(data), limit_s)
    assert bytes(listener.data) == data
