"""How frames lie on a lane."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.errors import DecodeError
from tunnel.frames import HEAD_BYTES, Frame, frame
from tunnel.lane_frames import LaneReader, decode_select, encode_select
from tunnel.limits import MAX_PLAINTEXT

FRAMES = st.lists(st.tuples(st.integers(1, 255), st.binary(max_size=40)), max_size=8)


def read(reader: LaneReader, *messages: bytes) -> list[tuple[int, bytes]]:
    return [(kind, bytes(body)) for message in messages for kind, body in reader.frames(memoryview(message))]


def test_select_in_hex() -> None:
    assert encode_select(258) == bytes.fromhex("10000004 00000102")
    assert decode_select(memoryview(b"\0\0\1\2")) == 258


@pytest.mark.parametrize("body", [b"", b"\0\0\1", b"\0\0\0\0\1", b"\0\0\0\0"])
def test_a_select_that_is_none(body: bytes) -> None:
    with pytest.raises(DecodeError):
        decode_select(memoryview(body))


@given(FRAMES, st.integers(1, 50))
def test_frames_go_on_from_message_to_message(frames: list[tuple[int, bytes]], size: int) -> None:
    whole = b"".join(bytes([kind]) + len(body).to_bytes(3) + body for kind, body in frames)
    assert read(LaneReader(), *(whole[at : at + size] for at in range(0, len(whole), size))) == frames


def test_zero_ends_a_message_and_not_the_next() -> None:
    text = frame(Frame.DATA, b"text")
    assert read(LaneReader(), text + bytes(3), bytes(9), text[:5], text[5:] + bytes(1)) == [(Frame.DATA, b"text")] * 2


def test_zeros_within_a_frame_are_its_own() -> None:
    assert read(LaneReader(), frame(Frame.DATA, bytes(9))[:6], bytes(7)) == [(Frame.DATA, bytes(9))]


def test_the_longest_frame() -> None:
    whole = frame(Frame.DATA, bytes(MAX_PLAINTEXT - HEAD_BYTES))
    assert read(LaneReader(), whole[:2], whole[2:5], whole[5:])[0][0] == Frame.DATA


@pytest.mark.parametrize("cut", [1, 3, 4])
def test_a_longer_one_is_refused_at_its_head(cut: int) -> None:
    head = b"\3" + (MAX_PLAINTEXT - HEAD_BYTES + 1).to_bytes(3)
    reader = LaneReader()
    with pytest.raises(DecodeError):
        read(reader, head[:cut], head[cut:] + b"x")


@given(st.lists(st.binary(max_size=60), max_size=10))
def test_arbitrary_bytes(messages: list[bytes]) -> None:
    reader = LaneReader()
    try:
        read(reader, *messages)
    except DecodeError:
        return
    assert len(reader._begun) <= MAX_PLAINTEXT
