"""Sizes that relays see on a lane, shape by shape."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.errors import DecodeError
from core.flow import FlowRequest
from node.settings import MODE_HOPS
from tests.harness.joined import End, Ends
from tests.harness.network import Collect, three_hops
from tests.harness.waiting import until
from tunnel.flow import MAX_DATA
from tunnel.frames import Frame, frame
from tunnel.lane_frames import LaneReader
from tunnel.layers import flow_number
from tunnel.limits import LANE_BYTES, MAX_PLAINTEXT, STEP_BYTES
from tunnel.link_stream import LinkStream
from tunnel.padding import LANES, SHAPES, Shape, Sizes, decode_shape, encode_shape
from tunnel.wireguard.session import OVERHEAD_BYTES, read_header

EVERY_SHAPE = pytest.mark.parametrize("shape", Shape, ids=lambda shape: shape.name.lower())


def test_every_mode_has_a_shape_and_every_shape_its_lanes() -> None:
    assert SHAPES.keys() == MODE_HOPS.keys()
    assert set(SHAPES.values()) == LANES.keys() == set(Shape)


def test_shape_in_hex() -> None:
    assert encode_shape(Shape.STEPS) == bytes.fromhex("0f000001 02")
    assert decode_shape(memoryview(b"\1")) is Shape.FREE
    assert decode_shape(memoryview(b"\3")) is Shape.EVEN


@pytest.mark.parametrize("body", [b"", b"\0", b"\4", b"\xff", b"\1\1"])
def test_a_shape_that_is_none(body: bytes) -> None:
    with pytest.raises(DecodeError):
        decode_shape(memoryview(body))


@given(st.sampled_from(Shape), st.integers(1, MAX_PLAINTEXT))
def test_what_is_filled_has_a_size_that_may_be_and_reads_as_before(shape: Shape, size: int) -> None:
    sizes = Sizes(shape)
    frames = bytearray(frame(Frame.DATA, bytes(min(size, sizes.longest) - 4))) if size >= 4 else bytearray(size)
    filled = sizes.fill(frames)
    sizes.check(filled)
    assert 0 <= len(filled) - len(frames) < {Shape.FREE: 1, Shape.STEPS: STEP_BYTES, Shape.EVEN: LANE_BYTES}[shape]
    assert [kind for kind, _ in LaneReader().frames(memoryview(filled))] == [Frame.DATA] * (size >= 4)


@pytest.mark.parametrize(
    ("shape", "wrong"),
    [
        (Shape.FREE, [0, MAX_PLAINTEXT + 1]),
        (Shape.STEPS, [0, 1, STEP_BYTES - 1, STEP_BYTES + 1, MAX_PLAINTEXT + STEP_BYTES]),
        (Shape.EVEN, [0, STEP_BYTES, LANE_BYTES - 1, LANE_BYTES + 1, 2 * LANE_BYTES]),
    ],
)
def test_a_size_that_may_not_be(shape: Shape, wrong: list[int]) -> None:
    for size in wrong:
        with pytest.raises(DecodeError, match="wrong size"):
            Sizes(shape).check(bytes(size))


def _sizes(end: End) -> list[int]:
    end.turn()
    return [len(message) - OVERHEAD_BYTES for message in end.stream.sent]


def test_small_flows_show_steps_only() -> None:
    ends = Ends(shape=Shape.STEPS)
    for size in (1, 300, 1012, 1013, 2000):
        ends.near.flow.write(bytes(size))
        ends.near.turn()
    assert _sizes(ends.near) == [1024, 1024, 1024, 1024, 2048], "SELECT comes once"
    ends.run()
    assert len(ends.far.heard.data) == 4326


@pytest.mark.parametrize("shape", [Shape.FREE, Shape.STEPS])
def test_a_large_frame_stays_one_message(shape: Shape) -> None:
    ends = Ends(shape=shape)
    ends.near.flow.write(bytes(MAX_DATA))
    assert len(_sizes(ends.near)) == 1
    assert _sizes(ends.near)[0] > MAX_DATA


async def _sizes_of_a_request(shape: Shape, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Plaintext sizes of all messages of a flow that echoes, at the exit and at the client."""
    sizes: list[int] = []

    async with three_hops(shape=shape) as (network, client, _):
        seen = LinkStream.deliver

        def deliver(stream: LinkStream, body: memoryview) -> None:
            for node, layers in ((network.nodes[2], 1), (client, 3)):
                if stream.link in node.links and flow_number(read_header(body)[1]):
                    sizes.append(len(body) - layers * OVERHEAD_BYTES)
            seen(stream, body)

        monkeypatch.setattr(LinkStream, "deliver", deliver)
        flow = await client.pool.dial(FlowRequest("echo.example", 80))
        heard = Collect(flow)
        flow.attach(heard)
        for size in (700, 3000):
            told = len(heard.data)
            flow.write(bytes(size))
            await until(lambda told=told, size=size: len(heard.data) == told + size)  # type: ignore[misc]
        flow.finish()
        await until(lambda: heard.reason is not None)
        return sizes


@EVERY_SHAPE
async def test_a_flow_between_real_nodes(shape: Shape, monkeypatch: pytest.MonkeyPatch) -> None:
    sizes = await _sizes_of_a_request(shape, monkeypatch)
    assert sizes
    if shape is Shape.FREE:
        assert 704 in sizes
    else:
        multiple = {Shape.STEPS: STEP_BYTES, Shape.EVEN: LANE_BYTES}[shape]
        assert [size % multiple for size in sizes] == [0] * len(sizes)
