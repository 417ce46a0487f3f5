"""Frames: literal bytes, round trips, and what is refused."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.errors import DecodeError, Reason
from tunnel.frames import (
    Frame,
    Position,
    Resume,
    decode_credit,
    decode_open,
    decode_reset,
    decode_resume,
    decode_resumed,
    decode_token,
    encode_credit,
    encode_open,
    encode_reset,
    encode_resume,
    encode_resumed,
    encode_token,
    frame,
    split,
)

if TYPE_CHECKING:
    from collections.abc import Callable

FLOW_ID = bytes(range(16))


def frames(plaintext: bytes) -> list[tuple[int, bytes]]:
    return [(kind, bytes(body)) for kind, body in split(memoryview(plaintext))]


@pytest.mark.parametrize(
    ("encoded", "literal"),
    [
        (encode_open(FLOW_ID, "a.example", 443), "0100001b000102030405060708090a0b0c0d0e0f01bb612e6578616d706c65"),
        (frame(Frame.OPENED), "02000000"),
        (frame(Frame.DATA, b"hello"), "0300000568656c6c6f"),
        (frame(Frame.FIN), "04000000"),
        (encode_reset(Reason.REFUSED), "0500000101"),
        (encode_credit(0x0102030405060708, 0x090A0B0C), "0600000c0102030405060708090a0b0c"),
        (encode_token(Frame.PING, 0x1112131415161718), "070000081112131415161718"),
        (encode_token(Frame.PONG, 1), "080000080000000000000001"),
        (frame(Frame.PAD, bytes(3)), "09000003000000"),
    ],
)
def test_literal(encoded: bytes, literal: str) -> None:
    assert encoded.hex() == literal
    assert frames(encoded + encoded) == [(encoded[0], encoded[4:])] * 2


def test_every_kind_has_a_literal_number() -> None:
    assert [kind.value for kind in Frame] == list(range(1, 21))


def test_unknown_kinds_are_handed_out() -> None:
    assert frames(bytes.fromhex("ff00000161")) == [(255, b"a")]


@pytest.mark.parametrize("size", range(1, 8))
def test_cut_off_frames_are_refused(size: int) -> None:
    with pytest.raises(DecodeError, match="cut off"):
        frames(frame(Frame.DATA, b"abcd")[:size])


def test_whole_frames_before_a_cut_off_one_are_handed_out() -> None:
    walk = split(memoryview(frame(Frame.FIN) + b"\3"))
    assert next(walk)[0] == Frame.FIN
    with pytest.raises(DecodeError):
        next(walk)


def test_a_length_beyond_the_end_is_refused() -> None:
    with pytest.raises(DecodeError, match="cut off"):
        frames(bytes.fromhex("03ffffff") + bytes(100))


@given(st.lists(st.tuples(st.sampled_from(Frame), st.binary(max_size=50)), max_size=8))
def test_round_trip_of_any_frames(content: list[tuple[Frame, bytes]]) -> None:
    assert frames(b"".join(frame(kind, body) for kind, body in content)) == content


@given(
    st.binary(min_size=16, max_size=16),
    st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E), min_size=1, max_size=255),
    st.integers(1, 65535),
)
def test_round_trip_of_open(flow_id: bytes, host: str, port: int) -> None:
    assert decode_open(memoryview(encode_open(flow_id, host, port)[4:])) == (flow_id, host, port)


@given(st.integers(0, (1 << 64) - 1), st.integers(0, (1 << 32) - 1))
def test_round_trip_of_numbers(number: int, window: int) -> None:
    assert decode_credit(memoryview(encode_credit(number, window)[4:])) == (number, window)
    assert decode_token(memoryview(encode_token(Frame.PING, number)[4:])) == number


@pytest.mark.parametrize("reason", Reason)
def test_round_trip_of_reset(reason: Reason) -> None:
    assert decode_reset(memoryview(encode_reset(reason)[4:])) is reason


def test_an_unknown_reason_reads_as_protocol() -> None:
    assert decode_reset(memoryview(b"\xff")) is Reason.PROTOCOL


@pytest.mark.parametrize(
    ("host", "port"), [("", 80), ("a" * 256, 80), ("a", 0), ("a", 65536), ("a", -1), ("é.example", 80)]
)
def test_what_open_cannot_carry(host: str, port: int) -> None:
    with pytest.raises(ValueError, match=r"range|ascii"):
        encode_open(FLOW_ID, host, port)


def test_a_flow_id_of_another_size() -> None:
    with pytest.raises(ValueError, match="range"):
        encode_open(bytes(15), "a", 80)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        FLOW_ID + b"\0\x50",
        FLOW_ID + b"\0\0a",
        FLOW_ID + b"\0\x50a b",
        FLOW_ID + b"\0\x50a\nb",
        FLOW_ID + b"\0\x50a\0b",
        FLOW_ID + b"\0\x50a\x7f",
        FLOW_ID + "\0\x50é".encode(),
        FLOW_ID + b"\0\x50" + b"a" * 256,
    ],
)
def test_bad_open_is_refused(body: bytes) -> None:
    with pytest.raises(DecodeError):
        decode_open(memoryview(body))


@pytest.mark.parametrize(
    ("decode", "size"), [(decode_open, 18), (decode_reset, 1), (decode_credit, 12), (decode_token, 8)]
)
@given(st.binary(max_size=300))
def test_arbitrary_bodies_raise_only_decode_error(
    decode: Callable[[memoryview], object], size: int, data: bytes
) -> None:
    try:
        decode(memoryview(data))
    except DecodeError:
        return
    assert len(data) == size or decode is decode_open


@pytest.mark.parametrize("at", [-1, 0])
def test_a_flag_is_0_or_1(at: int) -> None:
    position = Position(3, 2, 1, True)
    resume, resumed = encode_resume(Resume(FLOW_ID, FLOW_ID, 1, position))[4:], encode_resumed(True, position)[4:]
    assert decode_resume(memoryview(resume)).position == position
    assert decode_resumed(memoryview(resumed)) == (True, position)
    for wrong in (2, 255):
        changed = bytearray(resumed)
        changed[at] = wrong
        with pytest.raises(DecodeError, match="neither"):
            decode_resumed(memoryview(changed))
        with pytest.raises(DecodeError, match="neither"):
            decode_resume(memoryview(resume[:-1] + bytes([wrong])))


@given(st.binary(max_size=300))
def test_arbitrary_plaintext_raises_only_decode_error(data: bytes) -> None:
    try:
        found = frames(data)
    except DecodeError:
        return
    assert sum(4 + len(body) for _, body in found) == len(data)
