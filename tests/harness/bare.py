"""Circuits in a test's own hands, and what tells whether a network is well."""

from __future__ import annotations

import secrets
import time
from contextlib import suppress
from typing import TYPE_CHECKING, NamedTuple

from core.errors import LinkError, Reason
from core.flow import FlowRequest
from tests.harness.linked import Owner, Receiver
from tests.harness.network import Collect
from tests.harness.waiting import until
from tunnel.creation import Creation
from tunnel.frames import encode_open
from tunnel.layers import Layers
from tunnel.wireguard.session import Session

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tests.harness.network import Network
    from tunnel.circuit import Circuit
    from tunnel.client_flow import ClientFlow
    from tunnel.link import Link
    from tunnel.link_stream import LinkStream
    from tunnel.path import Hop, Path
    from tunnel.service import Tunnel

ECHO = FlowRequest("echo.example", 80)


class Bare(NamedTuple):
    """A circuit that the test holds in its own hands, without a pool."""

    link: Link
    number: int
    sessions: list[Session]
    owner: Owner

    def stream(self, numbers: Sequence[int]) -> tuple[LinkStream, Layers, Receiver]:
        receiver = Receiver()
        return self.link.open_stream(receiver), Layers(self.sessions, numbers), receiver

    def open(self, number: int, host: str = "echo.example") -> tuple[LinkStream, Layers, Receiver]:
        """Open a flow with the same number at each hop."""
        stream, layers, receiver = self.stream([number] * len(self.sessions))
        stream.send(layers.seal(encode_open(secrets.token_bytes(16), host, 80)))
        return stream, layers, receiver


def path_of(network: Network) -> Path:
    return tuple(network.hops[network.keys[place]] for place in network.paths[0])


def creation_for(path: Path) -> Creation:
    return Creation(path, range(len(path)), time.time(), secrets.token_bytes)


async def linked_to(client: Tunnel, hop: Hop) -> Link:
    """A link to the guard. A dial over real UDP may fail; its client would dial again, and so does this."""
    for _ in range(4):
        with suppress(LinkError):
            return await client.links.to(hop)
    return await client.links.to(hop)


async def bare(network: Network, client: Tunnel) -> Bare:
    path = path_of(network)
    link = await linked_to(client, path[0])
    creation, owner = creation_for(path), Owner()
    number, answer = await link.create(creation.message, owner, 1)
    return Bare(link, number, [Session(keys) for keys in creation.consume_answer(answer)], owner)


async def check_alive(client: Tunnel) -> None:
    flow = await client.pool.dial(ECHO)
    heard = Collect(flow)
    flow.attach(heard)
    flow.write(b"still there")
    flow.finish()
    await until(lambda: heard.reason is not None)
    assert (bytes(heard.data), heard.reason) == (b"still there", Reason.DONE)


def circuit_of(client: Tunnel, flow: ClientFlow) -> Circuit:
    """The circuit that carries a flow."""
    return next(circuit for circuit in client.pool.circuits if flow in circuit.flows)


def counts(network: Network) -> list[tuple[int, int, list[int]]]:
    """What each node holds: circuits, flows, and streams of each link."""
    return [
        (node.relay.circuit_count, node.relay.flow_count, sorted(link.stream_count for link in node.links))
        for node in network.nodes
    ]
