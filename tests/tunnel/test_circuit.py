"""A circuit as its client holds it: flows, pings, and its end."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from core.errors import CircuitError, FlowError, Reason
from core.flow import FlowRequest
from tests.harness.bare import check_alive, path_of
from tests.harness.network import Collect, Network, chain
from tests.harness.waiting import turns, until
from tests.harness.wire import Board, WireEngine
from tunnel.building import build
from tunnel.frames import Frame, encode_credit, encode_token, frame
from tunnel.layers import MAX_FLOW_NUMBER
from tunnel.memory import Memory
from tunnel.path import Hop
from tunnel.terminal import CircuitFrames, ExitFlow

if TYPE_CHECKING:
    from tunnel.circuit import Circuit
    from tunnel.client_flow import ClientFlow
    from tunnel.service import Tunnel

ECHO = FlowRequest("echo.example", 80)


class Ended:
    """Who is told that the circuit is over, and gives up the flows that could go on."""

    def __init__(self) -> None:
        self.reasons: list[Reason] = []
        self.lost: list[ClientFlow] = []
        self.leaving: list[int] = []

    def circuit_proved(self, circuit: Circuit, asked_at: float) -> None: ...

    def circuit_over(self, circuit: Circuit, reason: Reason) -> None:
        self.reasons.append(reason)

    def circuit_leaving(self, circuit: Circuit, place: int) -> None:
        self.leaving.append(place)

    def flows_lost(self, circuit: Circuit, flows: list[ClientFlow]) -> None:
        self.lost += flows
        for flow in flows:
            flow.give_up()


async def built(network: Network, client: Tunnel) -> tuple[Circuit, Ended]:
    """A circuit that no pool looks after, its first ping answered."""
    ended = Ended()
    circuit = await build(path_of(network), client.links, 600, ended, Memory())
    await until(lambda: circuit.rtt_s is not None)
    return circuit, ended


def hang(node: Tunnel, hung: bool = True) -> None:
    """Let a node's process hang, or go on: nothing that it sends arrives, and nothing reaches it."""
    assert isinstance(node.engine, WireEngine)
    node.engine.hung = hung
    for connection in node.engine.connections:
        connection.deaf = connection.mute = hung


async def opened(circuit: Circuit, request: FlowRequest = ECHO) -> tuple[ClientFlow, Collect]:
    flow = circuit.open_flow(request)
    await asyncio.wait_for(asyncio.shield(flow.opened), 1)
    heard = Collect(flow)
    flow.attach(heard)
    return flow, heard


# -- flows


async def test_numbers_differ_from_hop_to_hop_and_rise() -> None:
    async with chain(3, Board().engine) as (network, client, _):
        circuit, _ = await built(network, client)
        first = list(circuit._numbers)
        assert len(set(first)) == 3
        assert all(0 < number <= 1 << 20 for number in first)
        await opened(circuit)
        assert circuit._numbers == [number + 1 for number in first]


async def test_no_number_is_used_again() -> None:
    async with chain(2, Board().engine) as (network, client, _):
        circuit, _ = await built(network, client)
        circuit._numbers = [5, MAX_FLOW_NUMBER]
        await opened(circuit)
        with pytest.raises(FlowError):
            circuit.open_flow(ECHO)
        assert circuit.retire_at == 0


async def test_a_circuit_that_is_over_takes_no_flow() -> None:
    async with chain(1, Board().engine) as (network, client, _):
        circuit, ended = await built(network, client)
        circuit.close(Reason.DONE)
        circuit.close(Reason.BUSY)
        with pytest.raises(FlowError) as caught:
            circuit.open_flow(ECHO)
        assert (caught.value.reason, ended.reasons) == (Reason.CLOSED, [Reason.DONE])


@pytest.mark.usefixtures("impatient")
async def test_the_end_of_a_circuit_is_the_end_of_its_flows() -> None:
    async with chain(3, Board().engine) as (network, client, echo):
        circuit, ended = await built(network, client)
        _, heard = await opened(circuit)
        waiting = circuit.open_flow(FlowRequest("silent.example", 80))
        circuit.close(Reason.DONE)
        assert heard.reason is Reason.CLOSED
        with pytest.raises(FlowError):
            await waiting.opened
        assert (ended.reasons, circuit.flows) == ([Reason.DONE], set())
        await until(lambda: echo.listeners[0].reason is Reason.CLOSED)


async def test_a_flow_that_is_done_leaves_the_circuit() -> None:
    async with chain(3, Board().engine) as (network, client, _):
        circuit, _ = await built(network, client)
        flow, heard = await opened(circuit)
        assert circuit.flows == {flow}
        flow.finish()
        await until(lambda: heard.reason is Reason.DONE)
        assert circuit.flows == set()


def exit_flow(network: Network) -> ExitFlow:
    """The one flow that the exit holds."""
    relay = network.nodes[-2].relay
    (flow,) = {
        flow
        for held in relay._circuits.values()
        for one in held.values()
        if one.terminal
        for flow in one.terminal.flows
    }
    return flow


@pytest.mark.parametrize("kind", [Frame.OPENED, Frame.OPEN, Frame.PING])
async def test_what_an_exit_may_not_say_on_a_flow(kind: Frame) -> None:
    async with chain(2, Board().engine) as (network, client, _):
        circuit, _ = await built(network, client)
        _, heard = await opened(circuit)
        exit_flow(network)._send(frame(kind, bytes(8)))
        await until(lambda: heard.reason is Reason.PROTOCOL)
        assert not circuit.over


@pytest.mark.parametrize("kind", [Frame.DATA, Frame.FIN])
async def test_what_an_exit_may_not_say_before_opened(kind: Frame) -> None:
    async with chain(2, Board().engine) as (network, client, _):
        circuit, _ = await built(network, client)
        flow = circuit.open_flow(FlowRequest("silent.example", 80))
        heard = Collect(flow)
        flow.attach(heard)
        await until(lambda: len(network.nodes[1].relay.table) == 1)
        exit_flow(network)._send(frame(kind))
        await until(lambda: heard.reason is Reason.PROTOCOL)
        assert (len(heard.data), heard.eof) == (0, False)


# -- pings


async def test_the_first_ping_is_sent_at_once() -> None:
    async with chain(3, Board().engine) as (network, client, _):
        circuit, _ = await built(network, client)
        assert circuit.pulse.answered_since(circuit.made_at)
        assert circuit.rtt_s is not None
        assert 0 <= circuit.rtt_s < 1


@pytest.mark.usefixtures("quick_signs")
@pytest.mark.parametrize("place", [0, 1, 2])
async def test_a_silent_hop_ends_a_circuit_that_carries_flows(place: int) -> None:
    async with chain(3, Board().engine) as (network, client, _):
        circuit, ended = await built(network, client)
        _, heard = await opened(circuit)
        hang(network.nodes[place])
        await until(lambda: circuit.over, 1)
        assert (ended.reasons, heard.reason) == ([Reason.TIMED_OUT], Reason.CLOSED)
        assert circuit.link.watch.silent is (place == 0)


@pytest.mark.usefixtures("quick_signs")
async def test_a_flow_on_an_idle_circuit_does_not_wait_for_its_next_ping() -> None:
    async with chain(3, Board().engine) as (network, client, _):
        circuit, ended = await built(network, client)
        loop = asyncio.get_running_loop()
        await until(lambda: circuit.pulse._timer is not None and circuit.pulse._timer_at > loop.time() + 5, 1)
        hang(network.nodes[2])
        circuit.open_flow(ECHO)
        await until(lambda: circuit.over, 1)
        assert ended.reasons == [Reason.TIMED_OUT]


@pytest.mark.usefixtures("quick_signs")
async def test_what_comes_from_the_exit_is_a_sign_of_life() -> None:
    """Its answers to pings are lost, and its data is not."""
    async with chain(3, Board().engine) as (network, client, echo):
        circuit, _ = await built(network, client)
        _, heard = await opened(circuit)
        for frames in exit_frames(network, client):
            frames._stream.cut = True
        talker = echo.listeners[0].flow
        assert talker is not None
        loop = asyncio.get_running_loop()
        end = loop.time() + 0.5
        while loop.time() < end:
            talker.write(b"x")
            await asyncio.sleep(0.02)
        assert not circuit.over
        assert heard.data
        await until(lambda: circuit.over, 1)


def exit_frames(network: Network, client: Tunnel) -> list[CircuitFrames]:
    """The exit's ends of the circuits' own streams."""
    streams = [stream for link in network.nodes[-2].links for stream in link._streams.values()]
    return [stream.receiver for stream in streams if isinstance(stream.receiver, CircuitFrames)]


@pytest.mark.parametrize(
    "wrong",
    [encode_token(Frame.PONG, 1), frame(Frame.PONG, b"short"), encode_credit(1, 1 << 24), frame(Frame.DATA), b"\x08"],
)
async def test_a_wrong_word_on_flow_0_ends_the_circuit(wrong: bytes) -> None:
    async with chain(2, Board().engine) as (network, client, _):
        circuit, ended = await built(network, client)
        for frames in exit_frames(network, client):
            frames._stream.send(frames._layers.seal(wrong))
        await until(lambda: circuit.over)
        assert ended.reasons == [Reason.PROTOCOL]


async def test_an_answer_to_another_ping_ends_the_circuit() -> None:
    async with chain(2, Board().engine) as (network, client, _):
        circuit, ended = await built(network, client)
        engine = network.nodes[1].engine
        assert isinstance(engine, WireEngine)
        for connection in engine.connections:
            connection.deaf = True
        circuit.pulse.ping()
        for frames in exit_frames(network, client):
            frames._stream.send(frames._layers.seal(encode_token(Frame.PONG, circuit.pulse._token ^ 1)))
        await until(lambda: circuit.over)
        assert ended.reasons == [Reason.PROTOCOL]


async def test_a_repeated_answer_ends_the_circuit() -> None:
    async with chain(2, Board().engine) as (network, client, _):
        circuit, ended = await built(network, client)
        for frames in exit_frames(network, client):
            frames._stream.send(frames._layers.seal(encode_token(Frame.PONG, circuit.pulse._token)))
        await until(lambda: circuit.over)
        assert ended.reasons == [Reason.PROTOCOL]


async def test_padding_on_flow_0_is_ignored() -> None:
    async with chain(2, Board().engine) as (network, client, _):
        circuit, _ = await built(network, client)
        for frames in exit_frames(network, client):
            frames._stream.send(frames._layers.seal(frame(Frame.PAD, bytes(50))))
        await turns()
        assert not circuit.over


async def test_the_end_of_flow_0_is_the_end_of_the_circuit() -> None:
    async with chain(2, Board().engine) as (network, client, _):
        circuit, ended = await built(network, client)
        for frames in exit_frames(network, client):
            frames._stream.reset()
        await until(lambda: circuit.over)
        assert ended.reasons == [Reason.CLOSED]


# -- building


async def test_a_guard_that_is_not_there_is_blamed() -> None:
    async with chain(1, Board().engine) as (network, client, _):
        (hop,) = path_of(network)
        away = Hop(hop.peer, hop.link_key, hop.onion_key, (("127.0.0.1", 999),))
        for link in list(client.links):
            link.close()
        with pytest.raises(CircuitError) as caught:
            await build((away,), client.links, 600, Ended(), Memory())
        assert (caught.value.reason, caught.value.hop) == (Reason.NEXT_HOP, -1)


@pytest.mark.usefixtures("quick_signs")
async def test_a_silent_guard_is_blamed() -> None:
    async with chain(2, Board().engine) as (network, client, _):
        hang(network.nodes[0])
        with pytest.raises(CircuitError) as caught:
            await build(path_of(network), client.links, 600, Ended(), Memory())
        assert (caught.value.reason, caught.value.hop) == (Reason.NEXT_HOP, -1)


@pytest.mark.usefixtures("quick_signs")
async def test_a_guard_that_waits_for_its_own_next_hop_is_not() -> None:
    async with chain(3, Board().engine) as (network, client, _):
        hang(network.nodes[1])
        with pytest.raises(CircuitError) as caught:
            await build(path_of(network), client.links, 600, Ended(), Memory())
        assert (caught.value.reason, caught.value.hop) == (Reason.NEXT_HOP, 0)


async def test_a_refused_creation_leaves_nothing() -> None:
    async with chain(2, Board().engine) as (network, client, _):
        guard, _ = path_of(network)
        (link,) = client.links
        before = dict(link._owners)
        with pytest.raises(CircuitError) as caught:
            await build((guard, guard), client.links, 600, Ended(), Memory())
        assert caught.value.hop is not None
        await turns()
        assert link._owners == before
        await check_alive(client)
