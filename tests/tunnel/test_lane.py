"""Several flows on one lane, joined in memory; and what a hostile end may not do."""

from __future__ import annotations

import asyncio
import gc
import secrets
import weakref
from typing import TYPE_CHECKING

import pytest

from core.errors import FlowError, Reason
from core.flow import FlowRequest
from tests.harness.bare import bare, check_alive, counts
from tests.harness.joined import End, Ends, Listener
from tests.harness.network import Collect, chain, three_hops
from tests.harness.waiting import turns, until
from tests.harness.wire import Board
from tunnel.flow import FlowEnd
from tunnel.frames import Frame, encode_open, encode_reset, frame
from tunnel.lane_frames import LaneReader, encode_select
from tunnel.limits import FLOW_WINDOW, LANE_BYTES, LANE_QUEUE, MAX_LANES
from tunnel.link_stream import LinkStream
from tunnel.padding import LANES, Shape, encode_shape
from tunnel.wireguard.session import OVERHEAD_BYTES

if TYPE_CHECKING:
    from tests.harness.linked import Receiver
    from tests.harness.network import Network
    from tunnel.layers import Layers

ECHO = FlowRequest("echo.example", 80)
LANE = encode_shape(Shape.EVEN)
OPEN = encode_open(bytes(16), "echo.example", 443)
TEXT = bytes(range(256)) * 100


def _lane() -> Ends:
    return Ends(shape=Shape.EVEN)


def _second(end: End) -> tuple[FlowEnd, Listener]:
    """One more flow on an end's lane."""
    flow = FlowEnd(end.credit)
    flow.start(end.lane.carrier_for(flow))
    heard = Listener(flow)
    flow.attach(heard)
    return flow, heard


def test_one_size_whatever_is_sent() -> None:
    ends = _lane()
    for size in (1, 5000, LANE_BYTES, 100_000):
        ends.near.flow.write(bytes(size))
        ends.far.flow.write(b"answer")
        ends.near.turn()
        ends.far.turn()
        assert {len(sent) for sent in ends.near.stream.sent} == {LANE_BYTES + OVERHEAD_BYTES}
        assert {len(sent) for sent in ends.far.stream.sent} == {LANE_BYTES + OVERHEAD_BYTES}
        ends.run()


def test_flows_of_one_turn_share_a_message() -> None:
    ends = _lane()
    near, _ = _second(ends.near)
    _, far_heard = _second(ends.far)
    ends.near.flow.write(b"one")
    near.write(b"two")
    ends.near.turn()
    assert len(ends.near.stream.sent) == 1
    ends.run()
    assert (bytes(ends.far.heard.data), bytes(far_heard.data)) == (b"one", b"two")


def test_flows_take_turns() -> None:
    ends = _lane()
    near, _ = _second(ends.near)
    _, far_heard = _second(ends.far)
    ends.near.flow.write(bytes(FLOW_WINDOW))
    near.write(bytes(FLOW_WINDOW))
    ends.near.turn()
    while len(ends.far.heard.data) < FLOW_WINDOW // 2 + 100:
        assert ends.near.stream.deliver(ends.far.carrier)
    assert far_heard.data


def test_a_flow_that_is_not_read_does_not_stop_its_neighbour() -> None:
    ends = Ends(shape=Shape.EVEN, hungry=False)
    near, _ = _second(ends.near)
    _, far_heard = _second(ends.far)
    assert not ends.near.flow.write(bytes(10 * FLOW_WINDOW))
    near.write(TEXT * 40)
    ends.run()
    assert len(ends.far.heard.data) == FLOW_WINDOW
    assert far_heard.data == TEXT * 40


def test_a_full_link_stops_the_flows_of_a_lane_and_lets_them_go_on() -> None:
    ends = _lane()
    ends.near.stream.full = True
    ends.near.flow._may_send = 10 * LANE_QUEUE
    ends.near.flow.write(bytes(10 * LANE_QUEUE))
    ends.near.turn()
    assert len(ends.near.stream.sent) == 1
    waiting = sum(map(len, ends.near.lane._turns.copy().popitem()[0]._waiting))
    assert LANE_QUEUE <= waiting <= LANE_QUEUE + 40_000
    near, _ = _second(ends.near)
    _, far_heard = _second(ends.far)
    near.write(b"neighbour")
    ends.unstop(ends.near)
    ends.run()
    assert far_heard.data == b"neighbour"


def test_an_end_within_a_lane_is_an_end_of_one_flow() -> None:
    ends = _lane()
    near, _ = _second(ends.near)
    far, far_heard = _second(ends.far)
    near.write(TEXT)
    ends.near.flow.suspend()
    ends.run()
    assert ends.far.heard.closed == [Reason.CLOSED]
    assert (bytes(far_heard.data), far_heard.closed) == (TEXT, [])
    far.finish()
    near.finish()
    ends.run()
    assert far_heard.closed == [Reason.DONE]
    assert ends.near.lane.flow_count == ends.far.lane.flow_count == 0


def test_what_comes_for_a_flow_that_is_over_still_counts() -> None:
    ends = _lane()
    ends.near.flow.write(b"text")
    ends.near.turn()
    ends.far.flow.reset(Reason.LOCAL)
    before = ends.far.credit._window.received
    ends.run()
    assert ends.far.credit._window.received > before + 4
    assert not ends.far.stream.cut


@pytest.mark.parametrize("how", ["reset", "finished", "shed"])
def test_a_flow_that_is_over_is_freed_without_a_collection_of_garbage(how: str) -> None:
    ends = _lane()
    near, far = _second(ends.near)[0], _second(ends.far)[0]
    near.write(b"some")
    ends.run()
    match how:
        case "reset":
            near.reset(Reason.LOCAL)
        case "finished":
            near.finish()
            far.finish()
        case "shed":
            near.shed()
    left = [weakref.ref(near), weakref.ref(far)]
    gc.disable()
    try:
        ends.run()
        assert near.over
        assert far.over
        del near, far
        assert [ref() for ref in left] == [None, None]
    finally:
        gc.enable()


def test_the_end_of_a_lane_is_a_broken_path_for_all_its_flows() -> None:
    ends = _lane()
    _, heard = _second(ends.far)
    ends.far.carrier.ended()
    assert ends.far.heard.closed == heard.closed == [Reason.CLOSED]
    assert ends.far.stream.cut


def test_padding_alone_says_nothing() -> None:
    ends = _lane()
    ends.near.lane.cover()
    assert [len(sent) for sent in ends.near.stream.sent] == [LANE_BYTES + OVERHEAD_BYTES]
    assert ends.near.carried == []
    ends.run()
    assert not ends.far.stream.cut
    ends.near.flow.write(b"text")
    ends.near.lane.cover()
    assert not ends.near.stream.sent, "no padding while something waits"
    ends.run()
    assert ends.far.heard.data == b"text"


def test_a_malformed_frame_ends_its_flow_and_not_the_lane() -> None:
    ends = _lane()
    _, heard = _second(ends.far)
    ends.near.say((encode_select(1) + frame(Frame.FIN, b"x")).ljust(LANE_BYTES, b"\0"))
    ends.near.stream.deliver(ends.far.carrier)
    assert (ends.far.heard.closed, heard.closed, ends.far.stream.cut) == ([Reason.PROTOCOL], [], False)


@pytest.mark.parametrize(
    "plaintext",
    [
        b"",
        bytes(LANE_BYTES - 1),
        bytes(LANE_BYTES + 1),
        frame(Frame.DATA, b"of whom").ljust(LANE_BYTES, b"\0"),
        encode_select(2).ljust(LANE_BYTES, b"\0"),
        frame(Frame.SELECT, b"\0\0\0\0").ljust(LANE_BYTES, b"\0"),
        (encode_select(1) + frame(Frame.END, b"x")).ljust(LANE_BYTES, b"\0"),
        (encode_select(1) + b"\3\xff\xff\xff").ljust(LANE_BYTES, b"\0"),
    ],
    ids=["empty", "short", "long", "before SELECT", "no flow", "zero", "END with a body", "long frame"],
)
def test_what_breaks_a_lane(plaintext: bytes) -> None:
    ends = _lane()
    ends.near.say(plaintext)
    ends.near.stream.deliver(ends.far.carrier)
    assert ends.far.stream.cut
    assert ends.far.heard.closed == [Reason.CLOSED]
    assert ends.far.stream.counters.total() == 1


# -- at the exit


def _said(layers: Layers, receiver: Receiver) -> list[tuple[int, bytes]]:
    reader = LaneReader()
    return [
        (kind, bytes(body))
        for message in receiver.messages
        for kind, body in reader.frames(layers.open(memoryview(message)))
    ]


def _message(*frames: bytes) -> bytes:
    return b"".join(frames).ljust(LANE_BYTES, b"\0")


async def test_a_flow_by_hand() -> None:
    async with chain(1, Board().engine) as (network, client, echo):
        circuit = await bare(network, client)
        stream, layers, receiver = circuit.stream([9])
        stream.send(layers.seal(_message(LANE, encode_select(5), OPEN, frame(Frame.DATA, b"first"))))
        await until(lambda: receiver.messages)
        assert echo.asked == [("echo.example", 443)]
        assert _said(layers, receiver)[:3] == [
            (Frame.SELECT, b"\0\0\0\5"),
            (Frame.OPENED, b""),
            (Frame.DATA, b"first"),
        ]


@pytest.mark.parametrize(
    "first",
    [frame(Frame.DATA, b"x"), frame(Frame.PAD), encode_reset(Reason.DONE), frame(Frame.OPEN, b"short"), LANE],
    ids=lambda first: first.hex(),
)
async def test_a_flow_that_begins_wrong_is_refused_alone(first: bytes) -> None:
    async with chain(1, Board().engine) as (network, client, echo):
        circuit = await bare(network, client)
        stream, layers, receiver = circuit.stream([9])
        stream.send(layers.seal(_message(LANE, encode_select(5), first, encode_select(7), OPEN)))
        await until(lambda: receiver.messages)
        said = _said(layers, receiver)
        assert said[:2] == [(Frame.SELECT, b"\0\0\0\5"), (Frame.RESET, bytes([Reason.PROTOCOL]))]
        assert (Frame.END, b"") in said
        assert (Frame.OPENED, b"") in said
        assert len(echo.asked) == 1


@pytest.mark.parametrize(
    "plaintext",
    [
        LANE + encode_select(1) + OPEN,
        _message(LANE, OPEN),
        _message(LANE, *(encode_select(number) for number in range(1, 700)))[:LANE_BYTES],
        _message(LANE, b"\3\xff\xff\xff"),
    ],
    ids=["short", "no SELECT", "many flows", "long frame"],
)
async def test_what_ends_a_lane_at_the_exit(plaintext: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tunnel.lane.MAX_FLOWS_PER_CIRCUIT", 500)
    async with chain(1, Board().engine) as (network, client, echo):
        circuit = await bare(network, client)
        stream, layers, receiver = circuit.stream([9])
        stream.send(layers.seal(plaintext))
        await until(lambda: receiver.ends)
        assert not echo.asked
        await check_alive(client)


async def test_a_circuit_has_a_few_lanes_at_most() -> None:
    async with chain(1, Board().engine) as (network, client, _):
        circuit = await bare(network, client)
        for number in range(1, MAX_LANES + 1):
            stream, layers, receiver = circuit.stream([number])
            stream.send(layers.seal(_message(LANE)))
            await turns()
            assert not receiver.messages
        stream, layers, receiver = circuit.stream([MAX_LANES + 1])
        stream.send(layers.seal(_message(LANE)))
        await until(lambda: receiver.messages)


async def test_lanes_end_with_their_circuit() -> None:
    async with chain(1, Board().engine) as (network, client, _):
        circuit = await bare(network, client)
        stream, layers, receiver = circuit.stream([9])
        stream.send(layers.seal(_message(LANE, encode_select(5), OPEN)))
        await until(lambda: receiver.messages)
        assert not receiver.ends
        circuit.link.destroy(circuit.number, Reason.DONE)
        await until(lambda: receiver.ends)


# -- through a network


async def _echoed(flow_and_heard: tuple[FlowEnd, Collect], data: bytes) -> None:
    flow, heard = flow_and_heard
    flow.write(data)
    flow.finish()
    await until(lambda: heard.reason is not None, 20)
    assert (heard.data == data, heard.reason) == (True, Reason.DONE)


async def test_the_relay_sees_a_few_streams_and_one_size(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: dict[int, set[int]] = {}
    deliver = LinkStream.deliver

    def watched(stream: LinkStream, body: memoryview) -> None:
        if stream.link in relay_links:
            seen.setdefault(id(stream), set()).add(len(body))
        deliver(stream, body)

    relay_links: set[object] = set()
    async with three_hops(shape=Shape.EVEN) as (network, client, _):
        relay_links.update(network.nodes[1].links)
        monkeypatch.setattr(LinkStream, "deliver", watched)
        pairs = []
        for _ in range(20):
            flow = await client.pool.dial(ECHO)
            pairs.append((flow, Collect(flow)))
            flow.attach(pairs[-1][1])
        await asyncio.gather(*(_echoed(pair, secrets.token_bytes(40_000)) for pair in pairs))
        await asyncio.gather(*(_refused(client) for client in [client] * 3))
        lanes = [sizes for sizes in seen.values() if max(sizes) > 1000]
        assert len(lanes) == 2 * LANES[Shape.EVEN], "each seen from both sides"
        assert all(len(sizes) == 1 for sizes in lanes)
        await until(lambda: not _exit_lanes_flows(network))


async def _refused(client: object) -> None:
    with pytest.raises(FlowError):
        await client.pool.dial(FlowRequest("refused.example", 80))  # type: ignore[attr-defined]


def _exit_lanes_flows(network: Network) -> int:
    return network.nodes[2].relay.flow_count


async def test_nothing_is_left_of_lanes_whose_circuit_is_over() -> None:
    async with three_hops(Board().engine, Shape.EVEN) as (network, client, _):
        before = _streams(network)
        await check_alive(client)
        assert _streams(network) >= before + LANES[Shape.EVEN]
        client.pool.hop()
        await until(lambda: _streams(network) == before)


def _streams(network: Network) -> int:
    return sum(streams for _, _, links in counts(network) for streams in links)


async def test_padding_goes_both_ways_while_a_flow_idles(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tunnel.cover.COVER_RATE", 4_000_000)
    sent: set[int] = set()
    cover = "tunnel.lane.Lane.cover"
    async with three_hops(shape=Shape.EVEN) as (_, client, _):
        monkeypatch.setattr(cover, lambda lane: sent.add(lane._begin is None))
        await turns()
        assert not sent, "no flow, no padding"
        flow = await client.pool.dial(ECHO)
        await until(lambda: sent == {True, False})
        flow.reset(Reason.LOCAL)
