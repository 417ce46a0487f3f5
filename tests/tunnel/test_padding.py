"""Sizes that relays see on a stream of a flow's own."""

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
from tunnel.frames import Frame, frame, split
from tunnel.layers import flow_number
from tunnel.limits import MAX_PLAINTEXT, STEP_BYTES, STEPPED_BYTES
from tunnel.link_stream import LinkStream
from tunnel.padding import SHAPES, Padder, Shape, decode_shape, encode_shape, stepped
from tunnel.wireguard.session import OVERHEAD_BYTES, read_header


def test_every_mode_has_a_shape() -> None:
    assert SHAPES.keys() == MODE_HOPS.keys()


def test_shape_in_hex() -> None:
    assert encode_shape(Shape.STEPS) == bytes.fromhex("0f000001 01")
    assert decode_shape(memoryview(b"\2")) is Shape.LANES


@pytest.mark.parametrize("body", [b"", b"\0", b"\3", b"\xff", b"\1\1"])
def test_a_shape_that_is_none(body: bytes) -> None:
    with pytest.raises(DecodeError):
        decode_shape(memoryview(body))


@given(st.integers(0, MAX_PLAINTEXT))
def test_sizes_are_steps(size: int) -> None:
    filled = stepped(size)
    if size > MAX_PLAINTEXT - 4 and size != MAX_PLAINTEXT:
        assert filled == size
    else:
        assert filled % STEP_BYTES == 0
        assert 0 <= filled - size < STEP_BYTES + 4
        assert filled - size not in (1, 2, 3)


@pytest.mark.parametrize("size", [0, 1, 500, 1019, 1020, 1021, 1023, 1024, 1025, 30_000])
def test_what_is_filled_reads_as_before(size: int) -> None:
    frames = frame(Frame.DATA, bytes(size))
    filled = Padder(Shape.STEPS).fill(frames)
    assert len(filled) % STEP_BYTES == 0
    assert [(kind, bytes(body)) for kind, body in split(memoryview(filled)) if kind != Frame.PAD] == [
        (Frame.DATA, bytes(size))
    ]


def test_the_bulk_of_a_flow_is_not_padded() -> None:
    padder = Padder(Shape.STEPS)
    sizes = [len(padder.fill(bytes(100))) for _ in range(STEPPED_BYTES // STEP_BYTES + 1)]
    assert sizes == [STEP_BYTES] * (STEPPED_BYTES // STEP_BYTES) + [100]


def test_bare_is_bare() -> None:
    assert Padder(Shape.BARE).fill(b"frames") == b"frames"


def _sizes(end: End) -> list[int]:
    return [len(message) - OVERHEAD_BYTES for message in end.stream.sent]


def test_a_small_flow_shows_steps_only() -> None:
    ends = Ends(shape=Shape.STEPS)
    for size in (1, 300, 1019, 1020, 2000):
        ends.near.flow.write(bytes(size))
        ends.far.flow.write(bytes(size))
    ends.near.flow.finish()
    assert _sizes(ends.near) == [1024, 1024, 2048, 1024, 2048, 1024]
    assert _sizes(ends.far) == [1024, 1024, 2048, 1024, 2048]
    ends.run()
    assert len(ends.far.heard.data) == 4340


def test_a_large_message_stays_one_message() -> None:
    ends = Ends(shape=Shape.STEPS)
    ends.near.flow.write(bytes(MAX_DATA))
    assert _sizes(ends.near) == [MAX_PLAINTEXT]


async def _sizes_of_a_request(shape: Shape, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Plaintext sizes of all messages of a flow that echoes, at the exit and at the client."""
    sizes: list[int] = []

    async with three_hops(shape=shape) as (network, client, _):
        seen = LinkStream._deliver

        def deliver(stream: LinkStream, body: memoryview) -> None:
            for node, layers in ((network.nodes[2], 1), (client, 3)):
                if stream.link in node.links and flow_number(read_header(body)[1]):
                    sizes.append(len(body) - layers * OVERHEAD_BYTES)
            seen(stream, body)

        monkeypatch.setattr(LinkStream, "_deliver", deliver)
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


async def test_a_padded_flow_between_real_nodes(monkeypatch: pytest.MonkeyPatch) -> None:
    sizes = await _sizes_of_a_request(Shape.STEPS, monkeypatch)
    assert sizes
    assert [size % STEP_BYTES for size in sizes] == [0] * len(sizes)


async def test_a_bare_flow_between_real_nodes(monkeypatch: pytest.MonkeyPatch) -> None:
    assert 704 in await _sizes_of_a_request(Shape.BARE, monkeypatch)
