"""A flow that leaves its lane for a stream of its own: what is under way on both comes in order."""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import rule

from core.errors import Reason
from tests.harness.bare import ECHO, bare, check_alive, circuit_of
from tests.harness.joined import End, Ends
from tests.harness.network import Collect, chain, three_hops
from tests.harness.waiting import turns, until
from tests.harness.wire import Board
from tests.tunnel.test_flow_machine import SIDES, FlowMachine
from tunnel.apart import ApartCarrier
from tunnel.carrier import StreamCarrier
from tunnel.flow import MAX_DATA
from tunnel.frames import Frame, encode_apart, encode_credit, encode_open, frame, split
from tunnel.lane import LaneCarrier
from tunnel.limits import APART_BYTES, FLOW_WINDOW, HELD_EXTRA
from tunnel.padding import Shape

if TYPE_CHECKING:
    from tests.harness.bare import Bare
    from tests.harness.linked import Receiver
    from tests.harness.network import Network
    from tunnel.client_flow import ClientFlow
    from tunnel.layers import Layers
    from tunnel.link_stream import LinkStream
    from tunnel.service import Tunnel
    from tunnel.terminal import ExitFlow

TEXT = bytes(range(256)) * 100


def own(end: End) -> ApartCarrier:
    carrier = end.flow.carrier
    assert isinstance(carrier, ApartCarrier)
    return carrier


# -- in memory


def test_what_overtakes_the_lane_waits_for_it() -> None:
    ends = Ends(shape=Shape.STEPS)
    ends.near.flow.write(b"on the lane, ")
    near = ends.near.leave()
    ends.far.leave()
    ends.near.flow.write(b"apart")
    near.deliver(own(ends.far))
    assert ends.far.heard.data == b""
    assert ends.far.flow.held_bytes == ends.far.credit.memory.held_bytes == len(frame(Frame.DATA, b"apart"))
    ends.run()
    assert ends.far.heard.data == b"on the lane, apart"
    assert ends.far.flow.held_bytes == ends.far.credit.memory.held_bytes == 0


def test_a_flow_that_its_lane_had_stopped_goes_on() -> None:
    ends = Ends(shape=Shape.STEPS)
    ends.near.flow._may_send = ends.far.flow._window._limit = 1 << 20
    ends.near.stream.full = True
    assert not ends.near.flow.write(TEXT * 20)
    ends.near.turn()
    ends.near.leave()
    ends.unstop(ends.near)
    ends.run()
    assert ends.far.heard.data == TEXT * 20
    assert ends.near.heard.writable == 1


def test_the_lane_goes_on_without_the_flow() -> None:
    ends = Ends(shape=Shape.STEPS)
    ends.near.leave()
    ends.far.leave()
    ends.run()
    assert ends.near.lane.flow_count == ends.far.lane.flow_count == 0
    assert [ends.near.lane.closed, ends.far.lane.closed] == [False, False]


def test_no_more_waits_than_the_credit_allows() -> None:
    ends = Ends(shape=Shape.STEPS)
    near = ends.near.leave()
    far_stream = ends.far.leave()
    layers = own(ends.near)._layers
    pad = frame(Frame.PAD, bytes(MAX_DATA))
    for _ in range((FLOW_WINDOW + HELD_EXTRA) // len(pad)):
        near.send(layers.seal(pad))
        near.deliver(own(ends.far))
    assert not ends.far.flow.over
    near.send(layers.seal(pad))
    near.deliver(own(ends.far))
    assert ends.far.heard.closed == [Reason.PROTOCOL]
    assert ends.far.credit.memory.held_bytes == 0
    assert far_stream.counters["APART: too much before LEAVE"] == 1
    near.send(layers.seal(pad))
    near.deliver(own(ends.far))
    assert own(ends.far)._held == []


@pytest.mark.parametrize("how", ["reset", "suspend"])
def test_what_waited_for_a_flow_that_is_over_counts_for_its_circuit(how: str) -> None:
    ends = Ends(shape=Shape.STEPS)
    ends.near.flow.write(b"on the lane")
    near = ends.near.leave()
    ends.far.leave()
    ends.near.flow.write(b"apart")
    near.send(own(ends.near)._layers.seal(b"\3"))
    carrier = own(ends.far)
    near.deliver(carrier)
    near.deliver(carrier)
    before = ends.far.credit._window.received
    if how == "reset":
        ends.far.flow.reset(Reason.LOCAL)
    else:
        ends.far.flow.suspend()
    assert ends.far.credit._window.received == before + 5 + 256
    assert ends.far.credit.memory.held_bytes == 0
    assert ends.far.lane.flow_count == 0
    ends.run()
    assert ends.far.heard.data == b""


@pytest.mark.parametrize("what", ["lane", "own stream"])
def test_either_stream_is_the_path(what: str) -> None:
    ends = Ends(shape=Shape.STEPS)
    ends.far.leave()
    if what == "lane":
        ends.far.carrier.ended()
    else:
        own(ends.far).ended()
        assert not ends.far.heard.closed, "what comes on the lane may be its good end"
        ends.near.leave()
        ends.run()
    assert ends.far.heard.closed == [Reason.CLOSED]
    assert ends.far.credit.memory.held_bytes == 0


def test_what_is_wrong_inside_ends_the_flow_whenever_it_is_read() -> None:
    for wait in (False, True):
        ends = Ends(shape=Shape.STEPS)
        near = ends.near.leave()
        ends.far.leave()
        if not wait:
            ends.run()
        near.send(own(ends.near)._layers.seal(frame(Frame.OPEN)))
        near.deliver(own(ends.far))
        ends.run()
        assert ends.far.heard.closed == [Reason.PROTOCOL]


class ApartMachine(FlowMachine):
    """A flow under any order of calls and deliveries, that leaves its lane at some time, each end at its own."""

    shape = Shape.STEPS

    @rule(side=SIDES, sure=st.integers(0, 3))
    def leave(self, side: str, sure: int) -> None:
        end = self.end(side)
        if sure == 0 and end.own is None and not (end.flow.over or self.cut):
            end.leave()

    @rule(side=SIDES, count=st.integers(1, 20))
    def deliver_own(self, side: str, count: int) -> None:
        for _ in range(count):
            if not self.ends.deliver_own(self.end(side), self.end(self.other(side))):
                return

    @rule(side=SIDES, full=st.booleans())
    def link_own(self, side: str, full: bool) -> None:
        end = self.end(side)
        if end.own is not None:
            end.own.full = full
            if not full and end.own_carrier is not None:
                end.own_carrier.writable()

    def all_arrives_in_the_end(self) -> None:
        for side in ("near", "far"):
            self.link_own(side, full=False)
        super().all_arrives_in_the_end()


TestApartMachine = ApartMachine.TestCase
TestApartMachine.settings = settings(
    max_examples=150, stateful_step_count=50, deadline=None, suppress_health_check=list(HealthCheck)
)


# -- at the exit, by hand


FLOW_ID = bytes(range(16))


async def _on_lane(circuit: Bare) -> tuple[LinkStream, Layers, Receiver]:
    stream, layers, receiver = circuit.stream([1])
    lane = b"".join(
        [frame(Frame.SHAPE, b"\1"), frame(Frame.SELECT, b"\0\0\0\1"), encode_open(FLOW_ID, "echo.example", 80)]
    )
    stream.send(layers.seal(lane))
    await until(lambda: receiver.messages)
    return stream, layers, receiver


def _said(layers: Layers, receiver: Receiver) -> list[tuple[int, bytes]]:
    messages, receiver.messages[:] = list(receiver.messages), []
    return [(kind, bytes(body)) for one in messages for kind, body in split(layers.open(memoryview(one)))]


async def test_apart_by_hand() -> None:
    async with chain(1, Board().engine) as (network, client, _):
        circuit = await bare(network, client)
        lane, lane_layers, lane_heard = await _on_lane(circuit)
        stream, layers, heard = circuit.stream([2])
        stream.send(layers.seal(encode_apart(FLOW_ID)))
        stream.send(layers.seal(frame(Frame.DATA, b"after")))
        await turns()
        assert _said(lane_layers, lane_heard)[-1] == (Frame.LEAVE, b"")
        assert _said(layers, heard) == [], "it waits for LEAVE on the lane"
        lane.send(lane_layers.seal(frame(Frame.DATA, b"before, ") + frame(Frame.LEAVE)))
        await turns()
        assert b"".join(body for kind, body in _said(layers, heard) if kind == Frame.DATA) == b"before, after"
        assert _said(lane_layers, lane_heard) == []


@pytest.mark.parametrize("what", ["unknown", "short", "not alone", "twice", "never on a lane", "of another circuit"])
async def test_what_may_not_leave(what: str) -> None:
    async with chain(1, Board().engine) as (network, client, echo):
        circuit, other = await bare(network, client), await bare(network, client)
        if what == "never on a lane":
            stream, layers, heard = circuit.stream([1])
            stream.send(layers.seal(encode_open(FLOW_ID, "echo.example", 80)))
            await until(lambda: heard.messages)
        else:
            await _on_lane(circuit)
        if what == "twice":
            stream, layers, _ = circuit.stream([2])
            stream.send(layers.seal(encode_apart(FLOW_ID)))
        stream, layers, heard = (other if what == "of another circuit" else circuit).stream([3])
        said = {"unknown": encode_apart(bytes(16)), "short": frame(Frame.APART, bytes(15))}.get(
            what, encode_apart(FLOW_ID)
        )
        stream.send(layers.seal(said + (frame(Frame.PAD) if what == "not alone" else b"")))
        await until(lambda: heard.messages)
        assert _said(layers, heard) == [(Frame.RESET, bytes([Reason.PROTOCOL]))]
        assert [listener.reason for listener in echo.listeners] == [None]
        await check_alive(client)


# -- through a network


def _exit_flow(network: Network) -> ExitFlow:
    (flow,) = network.nodes[2].relay.table._flows.values()
    return flow


async def _talking(client: Tunnel) -> tuple[ClientFlow, Collect]:
    flow = await client.pool.dial(ECHO)
    heard = Collect(flow)
    flow.attach(heard)
    return flow, heard


async def _send(flow: ClientFlow, heard: Collect, data: bytes) -> None:
    for at in range(0, len(data), 100_000):
        told = heard.writable
        if not flow.write(data[at : at + 100_000]):
            await until(lambda told=told: heard.writable > told, 20)  # type: ignore[misc]


@pytest.mark.parametrize("shape", Shape, ids=lambda shape: shape.name.lower())
async def test_a_flow_that_carries_much_gets_a_stream_of_its_own(shape: Shape) -> None:
    async with three_hops(shape=shape) as (network, client, _):
        flow, heard = await _talking(client)
        data = secrets.token_bytes(2 * APART_BYTES)
        await _send(flow, heard, data[: APART_BYTES // 2])
        await until(lambda: len(heard.data) == APART_BYTES // 2)
        assert isinstance(flow.carrier, LaneCarrier)
        await _send(flow, heard, data[APART_BYTES // 2 :])
        await until(lambda: heard.data == data)
        kind: type = LaneCarrier if shape is Shape.EVEN else ApartCarrier
        assert isinstance(flow.carrier, kind)
        assert isinstance(_exit_flow(network).carrier, kind)
        small, small_heard = await _talking(client)
        assert isinstance(small.carrier, LaneCarrier)
        small.write(TEXT)
        await until(lambda: small_heard.data == TEXT)
        client.pool.hop()
        await until(lambda: _exit_flow_of(network, flow).epoch == 1)
        kind = LaneCarrier if shape is Shape.EVEN else StreamCarrier
        assert isinstance(flow.carrier, kind), "also over the next circuit"
        flow.finish()
        await until(lambda: heard.reason is Reason.DONE)


def _exit_flow_of(network: Network, flow: ClientFlow) -> ExitFlow:
    found = network.nodes[2].relay.table.get(flow._flow_id)
    assert found is not None
    return found


async def test_an_upload_gets_one_too() -> None:
    async with three_hops(Board().engine) as (_, client, echo):
        flow, heard = await _talking(client)
        echo.listeners[0].echo = False
        await _send(flow, heard, bytes(2 * APART_BYTES))
        await until(lambda: len(echo.listeners[0].data) == 2 * APART_BYTES)
        assert isinstance(flow.carrier, ApartCarrier)


async def test_a_flow_leaves_its_lane_and_its_circuit_at_once() -> None:
    async with three_hops() as (network, client, _):
        await network.add()
        network.paths.append([0, 3, 2])
        flow, heard = await _talking(client)
        data = secrets.token_bytes(3_000_000)
        await _send(flow, heard, data[:1_000_000])
        for at in range(1_000_000, 3_000_000, 500_000):
            circuit_of(client, flow).set_apart(flow)
            flow.write(data[at : at + 100_000])
            client.pool.hop()
            await _send(flow, heard, data[at + 100_000 : at + 500_000])
        flow.finish()
        await until(lambda: heard.reason is not None, 20)
        assert (heard.data == data, heard.reason) == (True, Reason.DONE)
        await until(lambda: len(network.nodes[2].relay.table) == 0)


async def test_credit_comes_in_order_too() -> None:
    """CREDIT on the new stream may not overtake the lane's: it would seem to take credit back."""
    ends = Ends(shape=Shape.STEPS)
    near = ends.near.leave()
    ends.far.leave()
    near.send(own(ends.near)._layers.seal(encode_credit(0, 3 * FLOW_WINDOW)))
    ends.near.lane._out += frame(Frame.SELECT, b"\0\0\0\1") + encode_credit(0, 2 * FLOW_WINDOW)
    told = ends.far.flow._may_send
    near.deliver(own(ends.far))
    assert ends.far.flow._may_send == told
    ends.run()
    assert (ends.far.flow._may_send, ends.far.flow.over) == (3 * FLOW_WINDOW, False)
