"""A hostile exit, or any next hop: what it sends back that nobody asked for costs whoever gets it no memory."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from core.flow import FlowRequest
from tests.harness.bare import check_alive
from tests.harness.linked import Receiver, record
from tests.harness.network import Collect, Network, blamed, chain
from tests.harness.waiting import turns, until
from tests.harness.wire import Board
from tests.tunnel.test_circuit import exit_flow, exit_frames
from tunnel.frames import Frame, frame
from tunnel.limits import MAX_PLAINTEXT

if TYPE_CHECKING:
    from tunnel.service import Tunnel

PADDING: Final = frame(Frame.PAD, bytes(MAX_PLAINTEXT - 4))


class HostileExit:
    """One that does more than answer.

    Args:
        network: its other hops.
        client: whom it annoys.
    """

    def __init__(self, network: Network, client: Tunnel) -> None:
        self.network = network
        self.client = client
        self.node = network.nodes[-2]

    def pad(self, messages: int) -> None:
        """Send padding on every circuit's own stream."""
        for frames in exit_frames(self.network, self.client):
            for _ in range(messages):
                frames._stream.send(frames._layers.seal(PADDING))

    def open_back(self, streams: int, index: int) -> list[Receiver]:
        """Open streams towards the hop before, as if it were a client's, with the index of a circuit of that hop."""
        (link,) = [link for link in self.node.links if not link.dialled]
        receivers = []
        for number in range(streams):
            receivers.append(Receiver())
            head = b"\4\0\0\0" + index.to_bytes(4, "little") + (number << 40).to_bytes(8, "little")
            link.open_stream(receivers[-1]).send(record(head + bytes(64)))
        return receivers


async def test_padding_ends_its_circuit_early_and_takes_no_memory_and_no_flow() -> None:
    """It costs nothing, but for the client's line. The flow goes on over another circuit, to the only exit there is."""
    async with chain(2, Board().engine) as (network, client, echo):
        flow = await client.pool.dial(FlowRequest("sink.example", 80))
        heard = Collect(flow)
        flow.attach(heard)
        await until(lambda: echo.listeners)
        source = exit_flow(network)
        before, circuits = client.memory.held_bytes, set(client.pool.circuits)
        used = next(circuit for circuit in circuits if circuit.flows)
        hostile = HostileExit(network, client)
        sent = 0
        while not all(circuit.over for circuit in circuits):
            hostile.pad(3)
            sent += 3 * len(PADDING)
            await turns(5)
            assert client.memory.held_bytes == before
            assert client.links._begun.total_bytes < 2 * len(PADDING)
            assert sent < 2 * used.use.allowance, "on each circuit"
        assert client.pool.counters["circuit protocol"] == len(circuits)
        assert blamed(network, client) == [1]
        source.write(b"still there")
        await until(lambda: heard.data == b"still there")
        await check_alive(client)


async def test_a_next_hop_opens_nothing_towards_the_client() -> None:
    async with chain(2, Board().engine) as (network, client, _):
        guard = network.nodes[0]
        (held,) = [circuits for circuits in guard.relay._circuits.values() if circuits]
        receivers = HostileExit(network, client).open_back(100, next(iter(held)))
        await until(lambda: all(receiver.ends for receiver in receivers))
        assert guard.relay.counters["no such circuit"] == len(receivers)
        await check_alive(client)
