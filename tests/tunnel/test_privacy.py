"""What the hops of 1,000 circuits could compare with each other: every message on every link, byte for byte."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pytest

from core.errors import CircuitError, Reason
from core.flow import FlowRequest
from tests.harness.common_strings import Part, Place, common
from tests.harness.network import Collect, Echo, Network
from tests.harness.waiting import turns, until
from tests.harness.wire import Board
from tunnel.building import build
from tunnel.creation import ANSWER_BYTES, CREATION_BYTES, consume_creation
from tunnel.layers import flow_number
from tunnel.link import Link
from tunnel.link_stream import LinkStream
from tunnel.memory import Memory
from tunnel.path import Hop
from tunnel.wireguard.constants import HEADER_BYTES, HYBRID_INITIATION_BYTES, HYBRID_RESPONSE_BYTES, MAC_BYTES
from tunnel.wireguard.primitives import private_key, public_bytes
from tunnel.wireguard.session import read_header

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tunnel.circuit import Circuit
    from tunnel.client_flow import ClientFlow
    from tunnel.creation import Asked
    from tunnel.path import Path
    from tunnel.service import Tunnel

CIRCUITS = 1000
HOPS = 3
OTHERS = 5
"""Circuits that other clients hold, counted at each hop."""
HELLO = b"the same words on every circuit, " * 3


class Told(NamedTuple):
    """What stands in clear on one link of a circuit."""

    indices: set[int]
    flows: set[int]
    numbers: set[int]


class Wiretap:
    """Notes what all links of a network carry, circuit by circuit.

    Only one circuit may be at work at a time; it is the last one that was begun with `next`.
    """

    def __init__(self, network: Network, client: Tunnel, patch: pytest.MonkeyPatch) -> None:
        self.parts: list[Part] = []
        self.told: dict[Place, Told] = {}
        self.sizes: set[tuple[str, int]] = set()
        self.circuit = -1
        self._network = network
        self._client = client
        self._read = 0
        for node in network.nodes:
            patch.setattr(node.relay, "creation", self._noting(node.relay.creation, self._created))
        patch.setattr(Link, "answer", self._noting(Link.answer, self._answered))
        patch.setattr(LinkStream, "send", self._noting(LinkStream.send, self._sent))
        patch.setattr("tunnel.relay.consume_creation", self._consume(consume_creation))

    @staticmethod
    def _noting(original: Any, note: Any) -> Any:
        def both(*args: Any, **options: Any) -> Any:
            note(*args)
            return original(*args, **options)

        return both

    def next(self) -> None:
        self.circuit += 1
        self._read = 0

    def _place(self, link: Link) -> Place:
        """Which link of the path this is, seen from either of its ends."""
        if link in set(self._client.links):
            return self.circuit, 0
        (owner,) = (place for place, node in enumerate(self._network.nodes) if link in set(node.links))
        return self.circuit, owner + link.dialled

    def _at(self, place: Place) -> Told:
        return self.told.setdefault(place, Told(set(), set(), set()))

    def _created(self, link: Link, number: int, message: bytes) -> None:
        place = self._place(link)
        self.sizes.add(("creation", len(message)))
        self._at(place).numbers.add(number)
        # Type and reserved bytes before, and mac2, are the same in all.
        self.parts += [
            Part(place, "initiation", message[4 : HYBRID_INITIATION_BYTES - MAC_BYTES]),
            Part(place, "slot and tail", message[HYBRID_INITIATION_BYTES:]),
        ]

    def _answered(self, link: Link, number: int, answer: bytes, owner: object) -> None:
        place = self._place(link)
        self.sizes.add(("answer", len(answer)))
        self.parts += [
            Part(place, "response", answer[4 : HYBRID_RESPONSE_BYTES - MAC_BYTES]),
            Part(place, "verdict and tail", answer[HYBRID_RESPONSE_BYTES:]),
        ]

    def _consume(self, original: Any) -> Any:
        def consume(message: bytes, responder: object) -> Asked:
            asked: Asked = original(message, responder)
            # The hops read one after the other.
            self.parts.append(Part((self.circuit, self._read), "key of the client", asked.received.static))
            self._read += 1
            return asked

        return consume

    def _sent(self, stream: LinkStream, record: bytearray) -> None:
        message, place = bytes(record[2:-16]), self._place(stream.link)
        index, counter = read_header(message)
        told = self._at(place)
        told.indices.add(index)
        told.flows.add(flow_number(counter))
        self.parts.append(Part(place, "flow", message[HEADER_BYTES:]))


class Quiet:
    """Whom a circuit tells; these do not end by themselves."""

    def circuit_proved(self, circuit: Circuit, asked_at: float) -> None: ...

    def circuit_over(self, circuit: Circuit, reason: Reason) -> None: ...

    def circuit_leaving(self, circuit: Circuit, place: int) -> None: ...

    def flows_lost(self, circuit: Circuit, flows: list[ClientFlow]) -> None: ...


def path_over(network: Network, *places: int) -> Path:
    return tuple(network.hops[network.keys[place]] for place in places)


@asynccontextmanager
async def watched(patch: pytest.MonkeyPatch) -> AsyncIterator[tuple[Network, Tunnel, Wiretap]]:
    """Three hops in memory, a client that builds nothing by itself, and somebody who sees all links."""
    network = Network(Board().engine)
    try:
        for place in range(HOPS):
            await network.add(Echo() if place == HOPS - 1 else None)
        serving = list(network.nodes)
        client, other = network.client(), network.client()
        for node in (client, other):
            await node.start(0, client=False)
        # Somebody else's circuits came first, so that no two links are at the same circuit number.
        for places in ((0, 1, 2), (1, 2)):
            circuit = await build(path_over(network, *places), other.links, 600, Quiet(), Memory())
            await until(lambda circuit=circuit: circuit.rtt_s is not None)  # type: ignore[misc]
            await turns()
        network.nodes = serving
        yield network, client, Wiretap(network, client, patch)
        network.nodes = [*serving, client, other]
    finally:
        await network.close()


def held(network: Network) -> int:
    return sum(node.relay.circuit_count for node in network.nodes)


async def live(network: Network, circuit: Circuit) -> None:
    """Open two flows to one place, say the same on both, end them, and then the circuit, until nothing is under way."""
    for _ in range(2):
        flow = circuit.open_flow(FlowRequest("echo.example", 80))
        await flow.opened
        heard = Collect(flow)
        flow.attach(heard)
        circuit.set_apart(flow)
        flow.write(HELLO)
        flow.finish()
        await until(lambda heard=heard: heard.reason is not None)  # type: ignore[misc]
        assert heard.data == HELLO
    await until(lambda: circuit.rtt_s is not None)
    circuit.close(Reason.DONE)
    await until(lambda: held(network) == OTHERS)
    await turns(10)


async def test_no_two_hops_and_no_two_circuits_see_a_common_string(monkeypatch: pytest.MonkeyPatch) -> None:
    async with watched(monkeypatch) as (network, client, tap):
        path = path_over(network, *range(HOPS))
        for _ in range(CIRCUITS):
            tap.next()
            circuit = await build(path, client.links, 600, Quiet(), Memory())
            await live(network, circuit)
    assert {place for _, place in tap.told} == set(range(HOPS))
    assert len(tap.told) == CIRCUITS * HOPS
    assert common(tap.parts) == []
    assert tap.sizes == {("creation", CREATION_BYTES), ("answer", ANSWER_BYTES)}
    for number in range(CIRCUITS):
        _check_links_differ([tap.told[number, place] for place in range(HOPS)])
    # Nor can the flow number on one link be told from that on another.
    apart = {min(tap.told[one, 0].flows - {0}) - min(tap.told[one, 1].flows - {0}) for one in range(CIRCUITS)}
    assert len(apart) > CIRCUITS * 0.98


def _check_links_differ(links: list[Told]) -> None:
    """Index, flow number and circuit number are a link's own. Flow 0, the circuit's frames, is one everywhere."""
    for told in links:
        assert (len(told.indices), len(told.flows), len(told.numbers)) == (2, 4, 1)
        assert 0 in told.flows
    assert len(set[int]().union(*(told.indices for told in links))) == 2 * HOPS
    assert len({min(told.flows - {0}) for told in links}) == HOPS
    assert len(set[int]().union(*(told.numbers for told in links))) == HOPS


async def test_a_flow_has_another_number_on_each_link_also_when_numbers_are_few(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("tunnel.circuit._FIRST_NUMBERS", HOPS)
    async with watched(monkeypatch) as (network, client, tap):
        for number in range(20):
            tap.next()
            circuit = await build(path_over(network, *range(HOPS)), client.links, 600, Quiet(), Memory())
            await live(network, circuit)
            assert len({min(tap.told[number, place].flows - {0}) for place in range(HOPS)}) == HOPS


@pytest.mark.parametrize("place", range(HOPS))
@pytest.mark.parametrize("fault", ["unreadable", "refused"])
async def test_a_creation_that_fails_has_the_same_sizes(
    monkeypatch: pytest.MonkeyPatch, place: int, fault: str
) -> None:
    async with watched(monkeypatch) as (network, client, tap):
        path = list(path_over(network, *range(HOPS)))
        if fault == "unreadable":
            bad = path[place]
            other_key = public_bytes(private_key(bytes([place + 1] * 32)))
            path[place] = Hop(bad.peer, bad.link_key, other_key, bad.addresses)
        elif place == HOPS - 1:
            monkeypatch.setattr(network.nodes[place].relay, "_acceptor", None)
        else:
            monkeypatch.setattr(network.nodes[place].relay, "_relays", False)
        tap.next()
        with pytest.raises(CircuitError) as caught:
            await build(tuple(path), client.links, 600, Quiet(), Memory())
        assert caught.value.hop == place
        assert tap.sizes == {("creation", CREATION_BYTES), ("answer", ANSWER_BYTES)}
        assert common(tap.parts) == []


# -- the search itself


@pytest.mark.parametrize(("one_at", "other_at"), [(0, 0), (3, 60), (92, 17), (1, 92)])
def test_the_search_finds_a_string_wherever_it_stands(one_at: int, other_at: int) -> None:
    random = np.random.default_rng(1)
    one, other, third = (bytearray(random.bytes(100)) for _ in range(3))
    one[one_at : one_at + 8] = other[other_at : other_at + 8]
    parts = [Part((0, 0), "a", bytes(one)), Part((0, 1), "b", bytes(other)), Part((1, 0), "c", bytes(third))]
    assert common(parts) == [("a", (0, 0), "b", (0, 1))]
    one[one_at + 7] ^= 1
    one[(one_at - 1) % 100] ^= 1
    assert common([Part((0, 0), "a", bytes(one)), *parts[1:]]) == []


def test_the_search_allows_what_one_place_sees_twice() -> None:
    assert common([Part((0, 0), "a", bytes(40)), Part((0, 0), "b", bytes(8)), Part((0, 1), "c", bytes(7))]) == []
