"""Messages of a running flow that a hostile neighbour has changed, repeated or moved, and counters that run out."""

from __future__ import annotations

import os
from collections import Counter
from itertools import pairwise
from typing import TYPE_CHECKING, Final

import pytest

from core.errors import Reason
from core.flow import FlowRequest
from tests.harness.bare import check_alive, circuit_of
from tests.harness.entropy import flipped
from tests.harness.network import Collect, chain
from tests.harness.waiting import turns, until
from tests.harness.wire import Board
from tunnel.carrier import StreamCarrier
from tunnel.lane import LaneCarrier
from tunnel.layers import MAX_SEQUENCE, RECORD_BYTES
from tunnel.limits import MAX_MESSAGE
from tunnel.link_stream import LinkStream

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.harness.network import Network
    from tunnel.client_flow import ClientFlow
    from tunnel.link import Link
    from tunnel.relay_flow import RelayFlow
    from tunnel.service import Tunnel
    from tunnel.terminal import ExitFlow

ECHO: Final = FlowRequest("echo.example", 80)
LARGE: Final = 700
HOPS: Final = 3

type Trick = Callable[[bytes, bytes], list[bytes]]
"""Is given the flow's last message and the next one, and says what is sent instead of the next."""


def at(offset: int, size: int, change: Callable[[int], int]) -> Trick:
    """Change a little-endian field of the header."""

    def trick(last: bytes, message: bytes) -> list[bytes]:
        field = change(int.from_bytes(message[offset : offset + size], "little")) % (1 << 8 * size)
        return [message[:offset] + field.to_bytes(size, "little") + message[offset + size :]]

    return trick


TRICKS: Final[dict[str, Trick]] = {
    "repeated": lambda last, message: [message, message],
    "the one before again": lambda last, message: [last],
    "junk before it": lambda last, message: [os.urandom(900), message],
    "nothing": lambda last, message: [b""],
    "a header alone": lambda last, message: [message[:16]],
    "an empty layer": lambda last, message: [message[:32]],
    "cut short": lambda last, message: [message[:-1]],
    "longer": lambda last, message: [message + b"\0"],
    "the longest": lambda last, message: [message.ljust(MAX_MESSAGE, b"\0")],
    "another type": at(0, 1, lambda kind: 1),
    "reserved bytes": at(1, 3, lambda zero: 1),
    "another index": at(4, 4, lambda index: index + 1),
    "another flow": at(13, 3, lambda number: number ^ 2),
    "a later sequence": at(8, 5, lambda sequence: sequence + 1),
    "an earlier sequence": at(8, 5, lambda sequence: sequence - 1),
    "the last sequence": at(8, 5, lambda sequence: MAX_SEQUENCE),
    "said to be a datagram": at(15, 1, lambda kind: kind | 0x80),
    "a flipped bit": lambda last, message: [flipped(message, 8 * 40)],
    "a flipped tag": lambda last, message: [flipped(message, 8 * len(message) - 1)],
}


class Hostile:
    """Changes, once, what one end of one link sends on the stream that carries the flow's data.

    Args:
        link: that end.
    """

    def __init__(self, patch: pytest.MonkeyPatch, link: Link, trick: Trick) -> None:
        self.done = False
        self._last = b""
        send = LinkStream.send

        def hostile_send(stream: LinkStream, record: bytearray, *, last: bool = False) -> bool:
            message = bytes(record[2:-16])
            if stream.link is not link or len(message) < LARGE or self.done:
                return send(stream, record, last=last)
            if not self._last:
                self._last = message
                return send(stream, record, last=last)
            self.done = True
            good = True
            for changed in trick(self._last, message):
                out = bytearray(len(changed) + RECORD_BYTES)
                out[2:-16] = changed
                good = send(stream, out)
            return good

        patch.setattr(LinkStream, "send", hostile_send)


def links_of(network: Network, client: Tunnel) -> list[tuple[Link, Link]]:
    """Both ends of each link of the path, the nearer one first."""
    nodes = [client, *network.nodes[:HOPS]]
    return [
        (
            next(link for link in near.links if link.dialled),
            next(link for link in far.links if not link.dialled),
        )
        for near, far in pairwise(nodes)
    ]


def counted(network: Network) -> Counter[str]:
    total: Counter[str] = sum((node.links.counters + node.relay.counters for node in network.nodes), start=Counter())
    for node in network.nodes:
        for link in node.links:
            total += link.counters
    return total


@pytest.mark.parametrize("place", range(HOPS))
@pytest.mark.parametrize("way", ["to the exit", "to the client"])
@pytest.mark.parametrize("name", TRICKS)
async def test_a_message_of_a_flow(monkeypatch: pytest.MonkeyPatch, name: str, way: str, place: int) -> None:
    """The neighbour has the link's keys, so only the layers tell. It costs the flow its path at most, and no link."""
    async with chain(HOPS, Board().engine) as (network, client, echo):
        flow = await client.pool.dial(ECHO)
        heard = Collect(flow)
        flow.attach(heard)
        near, far = links_of(network, client)[place]
        links = {link for node in network.nodes for link in node.links}
        hostile = Hostile(monkeypatch, near if way == "to the exit" else far, TRICKS[name])
        first, second, third = (bytes([number]) * LARGE for number in range(3))
        flow.write(first)
        await until(lambda: heard.data == first)
        flow.write(second)
        await until(lambda: hostile.done)
        await turns()
        flow.write(third)
        flow.finish()
        await until(lambda: heard.reason is not None)
        said = first + second + third
        assert heard.data == said or heard.reason is Reason.PROTOCOL
        assert heard.reason in (Reason.DONE, Reason.PROTOCOL)
        assert said.startswith(heard.data)
        assert said.startswith(echo.listeners[0].data)
        assert len(echo.asked) == 1
        assert counted(network)
        assert not counted(network)["internal error"]
        assert {link for node in network.nodes for link in node.links} == links
        await until(lambda: len(network.nodes[HOPS - 1].relay.table) == 0)
        await check_alive(client)


# -- counters that run out


async def running(network: Network, client: Tunnel, *, apart: bool = True) -> tuple[ClientFlow, Collect]:
    """A flow with data both ways, on a stream of its own or on a lane."""
    flow = await client.pool.dial(ECHO)
    heard = Collect(flow)
    flow.attach(heard)
    if apart:
        circuit_of(client, flow).set_apart(flow)
    for text in (b"bef", b"ore, "):
        flow.write(text)
        await until(lambda text=text: heard.data.endswith(text))  # type: ignore[misc]
    return flow, heard


def relayed(network: Network, place: int) -> RelayFlow:
    """The flow with data, as the hop at a place has it."""
    circuits = [one for held in network.nodes[place].relay._circuits.values() for one in held.values()]
    flows = [flow for circuit in circuits for flow in circuit.flows if flow._opened + flow._sealed > 2]
    return max(flows, key=lambda flow: flow._base)


def at_the_exit(network: Network) -> ExitFlow:
    (flow,) = network.nodes[HOPS - 1].relay.table._flows.values()
    return flow


def used_up(carrier: object, what: str) -> None:
    assert isinstance(carrier, StreamCarrier | LaneCarrier)
    layers = carrier._lane._layers if isinstance(carrier, LaneCarrier) else carrier._layers
    setattr(layers, what, MAX_SEQUENCE + 1)


@pytest.mark.parametrize("apart", [False, True], ids=["lane", "apart"])
@pytest.mark.parametrize("where", ["client", "guard", "relay", "guard, back", "relay, back", "exit, back"])
async def test_a_sequence_that_is_used_up(where: str, apart: bool) -> None:
    """No counter is used twice: the flow goes on over another circuit, and nobody who uses it notices."""
    async with chain(HOPS, Board().engine) as (network, client, _):
        flow, heard = await running(network, client, apart=apart)
        place = {"guard": 0, "relay": 1}.get(where.partition(",")[0], 0)
        match where:
            case "client":
                used_up(flow._carrier, "_sealed")
            case "exit, back":
                used_up(at_the_exit(network)._carrier, "_sealed")
            case "guard, back" | "relay, back":
                relayed(network, place)._sealed = MAX_SEQUENCE + 1
            case _:
                relayed(network, place)._opened = MAX_SEQUENCE + 1
        flow.write(b"after")
        flow.finish()
        await until(lambda: heard.reason is not None, 10)
        assert (bytes(heard.data), heard.reason) == (b"before, after", Reason.DONE)
        assert client.pool.counters["flow lost"] == 1
        assert sum(counted(network).values()) >= 1
        await check_alive(client)


@pytest.mark.parametrize("where", ["client", "guard", "relay", "exit"])
async def test_a_sequence_of_datagrams_that_is_used_up(where: str) -> None:
    async with chain(HOPS, Board().engine) as (network, client, _):
        datagrams = await client.pool.dial_datagrams()
        came: list[bytes] = []

        class Listener:
            def datagram_came(self, host: str, port: int, data: object) -> None:
                came.append(bytes(data))  # type: ignore[call-overload]

            def flow_closed(self, reason: Reason) -> None: ...

        datagrams.attach(Listener())
        datagrams.send("echo.example", 53, b"before")
        await until(lambda: came == [b"before"])
        if where == "client":
            used_up(datagrams.flow._carrier, "_datagrams_sealed")  # type: ignore[attr-defined]
        elif where == "exit":
            used_up(at_the_exit(network)._carrier, "_datagrams_sealed")
        else:
            circuits = network.nodes[("guard", "relay").index(where)].relay._circuits.values()
            for one in circuits:
                for circuit in one.values():
                    for flow in circuit.flows:
                        flow._datagrams_sealed = MAX_SEQUENCE + 1
        datagrams.send("echo.example", 53, b"after")
        await turns()
        assert came == [b"before"]
        assert sum(count for why, count in counted(network).items() if "sequence used up" in why) == 1
        await check_alive(client)
