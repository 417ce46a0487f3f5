"""Nodes in one process that pay each other: the real tunnel, real wallets, and one ledger of test coins."""

from __future__ import annotations

from contextlib import asynccontextmanager
from itertools import count
from typing import TYPE_CHECKING

from core.flow import FlowRequest
from core.tariffs import RATES
from node.paying import PayingNode
from node.settings import PaymentsSettings
from node.wallet import Wallet
from tests.harness.network import Collect, Echo, Network
from tests.harness.waiting import until
from tests.harness.wire import Board, WireEngine
from tunnel.building import build
from tunnel.frames import HEAD_BYTES, decode_credit, encode_credit
from tunnel.limits import MAX_CIRCUIT_WINDOW
from tunnel.padding import Shape

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from core.errors import Reason
    from tunnel.circuit import Circuit
    from tunnel.client_flow import ClientFlow
    from tunnel.link import Link
    from tunnel.service import Tunnel

SINK = FlowRequest("sink.example", 80)
STEP = 2
"""That all ask."""

MOST_NEIGHBOURS = 1000
"""That a node pays: as many as the setting allows, for tests in which many identities come and go."""


def rate_of(hops: int, place: int) -> int:
    """What the hop at a place of a path is paid, units per MB."""
    return RATES[STEP] * (hops - place)


class Earner:
    """A node with money.

    Attributes:
        stops: why nothing more was paid over a link, and whether this node was to pay.
    """

    tunnel: Tunnel

    def __init__(self, wallet: Wallet) -> None:
        self.stops: list[tuple[Reason, bool]] = []
        self.wallet = wallet
        self.paying = PayingNode(wallet, STEP, self._ended)

    def _ended(self, link: Link, reason: Reason, pays: bool) -> None:
        self.stops.append((reason, pays))
        self.tunnel.end_paid(link, reason, pays=pays)

    @property
    def got(self) -> int:
        """Units that it was paid."""
        return sum(row.paid for row in self.wallet.store.payees)

    @property
    def owes(self) -> int:
        """Parts that it has counted of what it is to pay others."""
        return sum(end.session.account.own for end in self.paying._out.values() if end.channel)

    @property
    def waits(self) -> bool:
        """Whether something waits here until a neighbour pays."""
        return any(end._waiting for end in self.paying._in.values())

    def stop_paying(self) -> None:
        """Sign nothing more."""
        for end in self.paying._out.values():
            end.session.rates(0)


class Ended:
    """Nobody looks after a circuit: it is noted why it ended."""

    def __init__(self) -> None:
        self.reason: Reason | None = None

    def circuit_proved(self, circuit: Circuit, asked_at: float) -> None: ...

    def circuit_over(self, circuit: Circuit, reason: Reason) -> None:
        self.reason = reason

    def circuit_leaving(self, circuit: Circuit, place: int) -> None: ...

    def flows_lost(self, circuit: Circuit, flows: list[ClientFlow]) -> None:
        for flow in flows:
            flow.give_up()


class Earning:
    """A path of hops that are paid, and clients.

    Attributes:
        hops: the guard first.
        way: places of hops, over which `circuit` goes.
        echo: at the end of the path.
        greedy: clients give the exit all credit that there is, at once.
    """

    def __init__(self, folder: Path, delay_s: float) -> None:
        self._folder = folder
        self._new: Earner
        self.echo = Echo()
        self.network = Network(Board(delay_s).engine, toll=lambda: self._new.paying, tariff=STEP)
        self.hops: list[Earner] = []
        self.way: list[int] = []
        self.greedy = False
        self._staying: list[Earner] = []
        self._homes = count()

    async def _earner(self) -> Earner:
        home = self._folder / f"node-{next(self._homes)}"
        home.mkdir()
        ledger = str(self._folder / "ledger.db")
        settings = PaymentsSettings(settlement="local", ledger=ledger, tariff=STEP, channels=MOST_NEIGHBOURS)
        self._new = Earner(await Wallet.open(settings, home, relays=True))
        self._staying.append(self._new)
        return self._new

    async def add_hop(self, *, ends: bool) -> Earner:
        earner = await self._earner()
        earner.tunnel = await self.network.add(self.echo if ends else None)
        self.hops.append(earner)
        return earner

    async def client(self, *, starts: bool = False) -> Earner:
        """A client with new keys. It builds circuits by itself if it starts."""
        earner = await self._earner()
        earner.tunnel = self.network.client()
        await earner.tunnel.start(0, client=starts)
        return earner

    async def circuit(self, client: Earner) -> tuple[Circuit, Ended]:
        """Another circuit of a client, beside its own."""
        path, ended = tuple(self.network.hops[self.network.keys[place]] for place in self.way), Ended()
        tunnel = client.tunnel
        circuit = await build(path, tunnel.links, 600, ended, tunnel.memory, Shape.STEPS, client.paying)
        if self.greedy:
            _give_all(circuit)
        return circuit, ended

    async def ask(self, client: Earner, circuits: int, flows: int) -> tuple[list[Collect], list[Collect]]:
        """Open flows on new circuits of a client, as far as they last; the client's ends of them, and the exit's."""
        known, near = len(self.echo.listeners), []
        made = [await self.circuit(client) for _ in range(circuits)]
        for circuit, _ in made:
            for _ in range(0 if circuit.over else flows):
                flow = circuit.open_flow(SINK)
                near.append(Collect(flow))
                flow.attach(near[-1])
        await until(lambda: len(self.echo.listeners) - known >= sum(not found.reason for found in near))
        return near, self.echo.listeners[known:]

    async def leave(self, earner: Earner) -> None:
        """A node ends; its books stay. What crossed the wires is forgotten: a thousand nodes would take 10 GB."""
        self._staying.remove(earner)
        await earner.tunnel.close()
        await earner.paying.close()
        await earner.wallet.close()
        for node in self.network.nodes:
            assert isinstance(node.engine, WireEngine)
            for connection in node.engine.connections:
                connection.written.clear()

    async def close(self) -> None:
        await self.network.close()
        for earner in self._staying:
            await earner.paying.close()
            await earner.wallet.close()


def _give_all(circuit: Circuit) -> None:
    """Let a client tell its exit, whenever it tells it something, that it may send as much as can be told."""

    def tell(frames: bytes) -> None:
        consumed, _ = decode_credit(memoryview(frames)[HEAD_BYTES:])
        circuit._send_frames(encode_credit(consumed, MAX_CIRCUIT_WINDOW))

    circuit.credit._window._limit = 1 << 31
    circuit.credit.tell_with(tell)
    tell(encode_credit(0, 0))


@asynccontextmanager
async def earning(folder: Path, hops: int, delay_s: float = 0.0) -> AsyncIterator[Earning]:
    """A path of so many hops, each neighbour so many seconds away from the next."""
    found = Earning(folder, delay_s)
    try:
        for place in range(hops):
            await found.add_hop(ends=place == hops - 1)
        found.way = list(range(hops))
        found.network.paths = [found.way]
        yield found
    finally:
        await found.close()
