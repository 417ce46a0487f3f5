"""UDP from a program's socket to an exit: the local port over a client's circuits, three hops in memory."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import pytest
from publicsuffixlist import PublicSuffixList

from core.errors import Reason
from node.isolation import SECRET_BYTES, SiteIsolation
from proxy.front import Front
from tests.harness.network import chain
from tests.harness.waiting import until
from tests.harness.wire import Board
from tests.proxy.harness import Client, connect
from tests.proxy.programs import V4, Program, ask
from tunnel.padding import Shape

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.harness.network import Echo, Network
    from tunnel.service import Tunnel


class Scene:
    """A client of three hops whose exit sends datagrams back, and its local port."""

    def __init__(self, network: Network, tunnel: Tunnel, echo: Echo, front: Front) -> None:
        self.network = network
        self.tunnel = tunnel
        self.echo = echo
        self.front = front

    @asynccontextmanager
    async def program(self, user: str = "") -> AsyncIterator[tuple[Client, Program]]:
        """A program with an association."""
        program = Program()
        try:
            async with connect(self.front) as client:
                code, program.relay = await ask(client, user=user)
                assert code == 0
                yield client, program
        finally:
            program.socket.close()


@pytest.fixture
def shape() -> Shape:
    return Shape.STEPS


@pytest.fixture
async def scene(shape: Shape) -> AsyncIterator[Scene]:
    async with chain(3, Board().engine, shape) as (network, tunnel, echo):
        sites = SiteIsolation(tunnel.pool, 2, bytes(SECRET_BYTES), PublicSuffixList().privatesuffix)
        front = Front(sites)
        await front.start("127.0.0.1", 0)
        try:
            yield Scene(network, tunnel, echo, front)
        finally:
            await front.stop()


@pytest.mark.parametrize("shape", Shape)
async def test_datagrams_come_back(scene: Scene) -> None:
    async with scene.program() as (_, program):
        for payload in (b"", b"one", bytes(1200), bytes(16 * 1024)):
            program.send(V4 + payload)
            assert await program.heard() == V4 + payload
        assert scene.echo.associations[0].datagrams[0] == ("198.51.100.7", 53, b"")
    await until(lambda: scene.echo.associations[0].reason is Reason.LOCAL)


async def test_user_names_have_circuits_of_their_own(scene: Scene) -> None:
    async with scene.program(), scene.program(), scene.program("alice"), scene.program("bob"):
        used = [circuit for circuit in scene.tunnel.pool.circuits if circuit.flows]
        assert sorted(str(circuit.isolation) for circuit in used) == ["datagrams", "user alice", "user bob"]
        assert sum(len(circuit.flows) for circuit in used) == 4


async def test_an_association_goes_on_over_another_circuit(scene: Scene) -> None:
    async with scene.program() as (_, program):
        (before,) = [circuit for circuit in scene.tunnel.pool.circuits if circuit.flows]
        scene.tunnel.pool.hop()
        await until(lambda: before.over)
        await until(lambda: any(circuit.flows for circuit in scene.tunnel.pool.circuits))
        program.send(V4 + b"after")
        assert await program.heard() == V4 + b"after"
        assert len(scene.echo.associations) == 1
        assert not scene.front.counters


async def test_when_the_exit_dies_the_connection_ends(scene: Scene) -> None:
    async with scene.program() as (client, program):
        program.send(V4 + b"one")
        await program.heard()
        await scene.network.nodes[2].close()
        assert await client.read_all() == b""
        assert scene.front.counters == {"closed": 1}
