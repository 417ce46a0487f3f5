"""What the links of a paid circuit could compare with each other: everything that neighbours say about money."""

from __future__ import annotations

import asyncio
import random
import re
from collections import Counter
from contextlib import asynccontextmanager
from itertools import combinations
from typing import TYPE_CHECKING, Final, NamedTuple

import pytest

from core.flow import FlowRequest
from ledger import messages
from node.money import Money
from node.settings import PaymentsSettings
from node.wallet import STORE_NAME
from node.wallet_orders import WalletOrder
from tests.harness.common_strings import Part, common
from tests.harness.network import Collect, Echo, Network
from tests.harness.waiting import until
from tests.harness.wire import Board, WireConnection
from tunnel.link import Link

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable
    from pathlib import Path

    from tunnel.service import Tunnel

HOPS: Final = 3
STEP: Final = 2
PIECE: Final = 1_000_000
"""Bytes of a download: as many as a new channel pays ahead for."""

ZEROS: Final = re.compile(rb"\0{4,}")
"""With which small amounts begin. What is left of one is never 8 bytes."""

COUNTS: Final = ("used", "counted", "datagrams", "parts")
"""The fields of messages that say how much was used, in parts."""


SAID: Final = {messages.Ask, messages.Terms, messages.Channel, messages.State, messages.Voucher, messages.Paid}
"""What every link hears; DUE where money was late."""


class Said(NamedTuple):
    """A message about money, and the link that it crossed: 0 is the one between client and guard."""

    place: int
    body: bytes

    @property
    def message(self) -> messages.Message:
        return messages.decode(self.body)


def strings(said: Iterable[Said], constant: bytes) -> list[Part]:
    """What messages hold, without what is the same for everybody."""
    return [
        Part((0, place), type(messages.decode(body)).__name__, string)
        for place, body in said
        for part in body.split(constant)
        for string in ZEROS.split(part)
    ]


def counts(said: Iterable[Said]) -> list[set[int]]:
    """What is said to be used on each link, except nothing."""
    found: list[set[int]] = [set() for _ in range(HOPS)]
    for one in said:
        found[one.place] |= {getattr(one.message, name, 0) for name in COUNTS} - {0}
    return found


class Chain:
    """A path of three hops in memory, and its client, each with books of its own; they share a ledger.

    Attributes:
        said: every message about money, in order.
        moneys: of the hops, the guard's first, and then the client's.
        loses: links that are cut when the next voucher is sent over them, which is lost.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._network = Network(Board().engine, toll=lambda: self.moneys[-1].toll, tariff=STEP)
        self._echo = Echo()
        self._client: Tunnel
        self.said: list[Said] = []
        self.moneys: list[Money] = []
        self.loses: set[int] = set()

    async def start(self) -> None:
        for place in range(HOPS):
            await self._open(f"hop-{place}")
            self.moneys[-1].start(await self._network.add(self._echo if place == HOPS - 1 else None))
        self._network.paths = [list(range(HOPS))]
        await self.start_client()

    async def _open(self, name: str) -> None:
        home, ledger = self._folder / name, str(self._folder / "ledger.db")
        home.mkdir(exist_ok=True)
        self.moneys.append(Money(PaymentsSettings(settlement="local", ledger=ledger, tariff=STEP), home, relays=True))
        await self.moneys[-1].open()

    async def start_client(self) -> None:
        await self._open("client")
        self._client = self._network.client()
        self.moneys[-1].start(self._client)
        await self._client.start(0, client=True)
        await self.ready()

    async def ready(self) -> None:
        await until(lambda: sum(circuit.rtt_s is not None for circuit in self._client.pool.circuits) >= 2, 20.0)

    async def stop_client(self) -> None:
        self._network.nodes.remove(self._client)
        await self._client.close()
        await self.moneys.pop().close()

    def forget(self) -> None:
        """Let the client, which is stopped, lose its books."""
        (self._folder / "client" / STORE_NAME).unlink()

    @property
    def separator(self) -> bytes:
        """Of the domain that all vouchers count in: the same in all TERMS."""
        [separator] = {one.message.separator for one in self.said if isinstance(one.message, messages.Terms)}
        return separator

    async def close(self) -> None:
        await self._network.close()
        for money in self.moneys:
            await money.close()

    def note(self, link: Link, body: bytes) -> None:
        nodes = [*self._network.nodes[:HOPS], self._client]
        (owner,) = (place for place, node in enumerate(nodes) if link in set(node.links))
        said = Said((owner + link.dialled) % len(nodes), body)
        self.said.append(said)
        if said.place in self.loses and isinstance(said.message, messages.Voucher):
            self.loses.remove(said.place)
            self._cut(link)

    @staticmethod
    def _cut(link: Link) -> None:
        """End a link at both ends; what is sent until then is lost."""
        assert isinstance(link.connection, WireConnection)
        link.connection.mute = True
        for end in (link.connection.other, link.connection):
            asyncio.get_running_loop().call_soon(end.close)

    def cut(self, place: int) -> None:
        """End the links to a hop."""
        for link in self._network.nodes[place].links:
            if not link.dialled:
                self._cut(link)

    async def send_datagrams(self) -> None:
        association = await self._client.pool.dial_datagrams()
        await until(lambda: self._echo.associations)
        for _ in range(20):
            association.send("192.0.2.1", 53, bytes(500))

    async def download(self, times: int) -> None:
        for _ in range(times):
            await self._download_one()

    async def _download_one(self) -> None:
        flow = await self._client.pool.dial(FlowRequest("sink.example", 80))
        came = Collect(flow)
        flow.attach(came)
        flow.write(b"please")
        await until(lambda: self._echo.listeners and self._echo.listeners[-1].data)
        source = self._echo.listeners.pop().flow
        assert source is not None
        source.write(bytes(PIECE))
        source.finish()
        flow.finish()
        await until(lambda: came.eof, 20.0)


@asynccontextmanager
async def paid_chain(folder: Path, patch: pytest.MonkeyPatch) -> AsyncIterator[Chain]:
    found, send = Chain(folder), Link.send_payment

    def noting(link: Link, body: bytes) -> None:
        if link.is_up and not link.closed:
            found.note(link, body)
        send(link, body)

    patch.setattr(Link, "send_payment", noting)
    try:
        await found.start()
        yield found
    finally:
        await found.close()


async def test_no_two_links_of_a_circuit_have_a_string_or_a_count_in_common(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Over channels that are opened, vouchers that are lost, links and books that are too, and closes."""
    async with paid_chain(tmp_path, monkeypatch) as paid:
        await paid.send_datagrams()
        await paid.download(4)
        for place in range(HOPS):
            paid.loses.add(place)
            await paid.download(2)
            assert not paid.loses
            await paid.ready()
        await paid.stop_client()
        paid.forget()
        await paid.start_client()
        await paid.download(2)
        for money in (paid.moneys[-1], *paid.moneys[: HOPS - 1]):
            assert await money.do(WalletOrder("close")) == {"closing": 1}
        await paid.stop_client()
        for place in range(HOPS):
            paid.cut(place)
        await paid.start_client()
        await paid.download(2)
        separator = paid.separator
    for place in range(HOPS):
        kinds = Counter(type(one.message) for one in paid.said if one.place == place)
        assert kinds.keys() >= SAID
        assert kinds[messages.Voucher] > 20
        assert len({one.message.channel for one in paid.said if isinstance(one.message, messages.Channel)}) == 2 * HOPS
    assert common(strings(paid.said, separator)) == []
    assert [one & other for one, other in combinations(counts(paid.said), 2)] == [set()] * HOPS


RANDOM: Final = random.Random(1)
SEPARATOR: Final = RANDOM.randbytes(32)
OTHERS: Final = [Said(2, messages.encode(messages.Terms(SEPARATOR, RANDOM.randbytes(20))))]


@pytest.mark.parametrize(
    "message",
    [
        messages.Terms(SEPARATOR, RANDOM.randbytes(20)),
        messages.Channel(RANDOM.randbytes(32), bytes(65)),
        messages.Channel(bytes(32), RANDOM.randbytes(65)),
        messages.State(7, RANDOM.randbytes(65), 0),
        messages.Voucher(7, RANDOM.randbytes(65), 0),
    ],
)
def test_the_search_finds_what_is_said_on_two_links(message: messages.Message) -> None:
    twice = [Said(place, messages.encode(message)) for place in (0, 1)]
    [(what, one, _, other)] = common(strings([*twice, *OTHERS], SEPARATOR))
    assert (what, one, other) == (type(message).__name__, (0, 0), (0, 1))
    assert common(strings([*twice[:1], *OTHERS], SEPARATOR)) == []


def test_small_amounts_are_no_strings_and_counts_are_compared_as_numbers() -> None:
    same = (messages.Paid(7, 123_456_789), messages.State(0, bytes(65), 0), messages.SetOff(5))
    said = [Said(place, messages.encode(message)) for place in (0, 1) for message in same]
    assert common(strings([*said, *OTHERS], SEPARATOR)) == []
    assert counts([*said, *OTHERS]) == [{123_456_789, 5}, {123_456_789, 5}, set()]
