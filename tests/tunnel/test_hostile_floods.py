"""Floods: whatever comes in numbers is bounded, counted, and leaves room for others."""

from __future__ import annotations

import asyncio
import os
import secrets
from contextlib import suppress
from typing import TYPE_CHECKING

import pytest

from core.errors import LinkError
from core.flow import FlowRequest
from tests.harness.bare import bare, check_alive, creation_for, linked_to, path_of
from tests.harness.linked import Owner
from tests.harness.network import Collect, chain, real_engine
from tests.harness.waiting import turns, until
from tests.harness.wire import Board, WireEngine
from tests.tunnel.test_circuit import built, exit_flow, exit_frames
from tunnel.frames import Frame, encode_open, encode_token, frame
from tunnel.limits import MAX_CREATIONS_PER_LINK, MAX_ORPHANS, MAX_PLAINTEXT
from tunnel.wireguard.constants import LINK_IDENTIFIER
from tunnel.wireguard.handshake import Initiator, tai64n
from tunnel.wireguard.primitives import private_key

if TYPE_CHECKING:
    from tests.harness.network import Network
    from tests.harness.wire import WireConnection
    from tunnel.engines.seam import Connection
    from tunnel.service import Tunnel

NOW_S = 1_700_000_000
A_FEW = 16 * 1024


class Deaf:
    """Owner of a connection who does nothing."""

    def __init__(self) -> None:
        self.closed = False

    def stream_received(self, stream: int, data: memoryview, end: bool) -> None: ...

    def stream_reset(self, stream: int) -> None: ...

    def stream_drained(self, stream: int) -> None: ...

    def datagram_received(self, data: memoryview) -> None: ...

    def connection_closed(self) -> None:
        self.closed = True


# -- handshakes


def initiation(network: Network) -> bytes:
    """A link initiation that the guard must work for."""
    hop = path_of(network)[0]
    initiator = Initiator(LINK_IDENTIFIER, private_key(os.urandom(32)), hop.link_key, 1, secrets.token_bytes)
    message = initiator.create_initiation(tai64n(NOW_S))
    return len(message).to_bytes(2) + message


@pytest.mark.parametrize("said", ["nothing", "half a record", "an initiation", "an initiation and junk"])
async def test_handshakes(monkeypatch: pytest.MonkeyPatch, said: str) -> None:
    """A hundred that begin and do not finish, over real QUIC."""
    monkeypatch.setattr("tunnel.links.LINK_HANDSHAKE_S", 1.0)
    async with chain(2) as (network, client, _):
        guard = network.nodes[0]
        links = len(guard.links._all)
        engine = real_engine()
        await engine.listen(0, lambda connection: Deaf())
        wild: list[Deaf] = []

        def handle(connection: Connection) -> Deaf:
            wild.append(Deaf())
            return wild[-1]

        async def begin() -> None:
            with suppress(LinkError):
                connection = await engine.dial(path_of(network)[0].addresses[0], handle, 3)
                stream = connection.open_stream()
                if said == "half a record":
                    connection.write(stream, b"\5")
                elif said != "nothing":
                    connection.write(stream, initiation(network) + (os.urandom(99) if "junk" in said else b""))

        try:
            async with asyncio.TaskGroup() as group:
                for _ in range(100):
                    group.create_task(begin())
            await check_alive(client)
            await until(lambda: all(one.closed for one in wild), 10)
            await until(lambda: len(guard.links._all) == links, 10)
            assert sum(guard.links.counters.values()) >= len(wild)
        finally:
            await engine.close()
        await check_alive(client)


# -- circuits


async def test_creations_beyond_what_may_be_under_way() -> None:
    """They are answered as busy, and others are served meanwhile."""
    async with chain(2, Board().engine) as (network, client, _):
        other = network.client()
        await other.start(0, client=False)
        link = await linked_to(other, path_of(network)[0])
        exit_engine = network.nodes[1].engine
        assert isinstance(exit_engine, WireEngine)
        refused = 0

        async def create() -> None:
            nonlocal refused
            creation = creation_for(path_of(network))
            _, answer = await link.create(creation.message, Owner(), 10)
            try:
                creation.consume_answer(answer)
            except Exception:
                refused += 1

        async with asyncio.TaskGroup() as group:
            for _ in range(3 * MAX_CREATIONS_PER_LINK):
                group.create_task(create())
            await check_alive(client)
        counted = network.nodes[0].relay.counters["busy"]
        assert refused == counted
        assert 0 < refused <= 2 * MAX_CREATIONS_PER_LINK
        await check_alive(client)


# -- flows


async def test_flows_that_are_opened_and_dropped() -> None:
    async with chain(2, Board().engine) as (network, client, _):
        other = network.client()
        await other.start(0, client=False)
        circuit = await bare(network, other)
        for number in range(1, 3000):
            stream, layers, _ = circuit.stream([number, number])
            stream.send(layers.seal(encode_open(secrets.token_bytes(16), "silent.example", 80)))
            if number % 3:
                stream.reset()
            if number % 50 == 0:
                await turns(3)
        await turns()
        assert network.nodes[0].relay.flow_count <= 1024 + 10
        assert network.nodes[1].relay.flow_count <= 1024 + 10
        assert network.nodes[0].links.counters["internal error"] == 0
        await check_alive(client)
        await other.close()
        # What is left are the good client's circuits, each with its own frames for a flow.
        await until(lambda: all(node.relay.flow_count < 10 for node in network.nodes))
        await until(lambda: len(network.nodes[1].relay.table) <= MAX_ORPHANS)
        await check_alive(client)


# -- answers that nobody reads


def towards(node: Tunnel) -> list[WireConnection]:
    engine = node.engine
    assert isinstance(engine, WireEngine)
    return engine.connections


PINGS = encode_token(Frame.PING, 1) * ((MAX_PLAINTEXT - 4) // 12)


async def test_pings_of_a_client_that_does_not_read() -> None:
    async with chain(1, Board().engine) as (network, client, _):
        circuit = await bare(network, client)
        stream, layers, receiver = circuit.stream([0])
        (theirs,) = (one for one in towards(network.nodes[0]) if not one.over)
        theirs.stalled = True
        for _ in range(50):
            stream.send(layers.seal(PINGS))
            await turns(2)
        assert theirs.queued(stream.id) < A_FEW
        theirs.go_on()
        await until(lambda: receiver.messages)
        await turns()
        before = len(receiver.messages)
        stream.send(layers.seal(encode_token(Frame.PING, 7)))
        await until(lambda: len(receiver.messages) > before)


async def test_pings_of_an_exit_whose_guard_does_not_read() -> None:
    async with chain(2, Board().engine) as (network, client, _):
        circuit, _ = await built(network, client)
        await turns()
        (mine,) = (one for one in towards(client) if not one.over)
        mine.stalled = True
        (frames, *_) = exit_frames(network, client)
        for _ in range(50):
            for frames in exit_frames(network, client):
                frames._stream.send(frames._layers.seal(PINGS))
            await turns(2)
        assert mine.queued(circuit._frames.id) < A_FEW


async def test_blocked_again_and_again() -> None:
    """It asks for CREDIT, and there is nothing new to say."""
    async with chain(2, Board().engine) as (network, client, _):
        circuit, _ = await built(network, client)
        flow = circuit.open_flow(FlowRequest("full.example", 80))
        await asyncio.wait_for(asyncio.shield(flow.opened), 1)
        heard = Collect(flow, hungry=False)
        flow.attach(heard)
        theirs = exit_flow(network)
        theirs.write(b"something that is not read")
        await until(lambda: heard.data)
        (mine,) = (one for one in towards(client) if not one.over)
        mine.stalled = True
        for _ in range(50):
            theirs._send(frame(Frame.BLOCKED) * 8000)
            await turns(2)
        assert mine.queued_bytes < A_FEW
        assert not flow.over
