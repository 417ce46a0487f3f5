"""The assembler: records out of a stream that is cut anywhere."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.errors import DecodeError
from tunnel.assembler import PREFIX_BYTES, Assembler

RECORDS = [b"", b"a", b"bc", bytes(300), b"", b"end"]
STREAM = b"".join(len(record).to_bytes(2, "big") + record for record in RECORDS)


def feed(assembler: Assembler, *chunks: bytes) -> list[bytes]:
    return [bytes(record) for chunk in chunks for record in assembler.feed(memoryview(chunk))]


def encode(records: list[bytes]) -> bytes:
    return b"".join(len(record).to_bytes(2, "big") + record for record in records)


def test_literal() -> None:
    assert feed(Assembler(9), bytes.fromhex("0003616263000000017a")) == [b"abc", b"", b"z"]


def test_one_byte_at_a_time() -> None:
    assembler = Assembler(300)
    assert feed(assembler, *(bytes([byte]) for byte in STREAM)) == RECORDS
    assert assembler.idle


@pytest.mark.parametrize("at", range(len(STREAM) + 1))
def test_every_split(at: int) -> None:
    assert feed(Assembler(300), STREAM[:at], STREAM[at:]) == RECORDS


@given(st.lists(st.binary(max_size=70), max_size=8), st.data())
def test_any_records_cut_anywhere(records: list[bytes], data: st.DataObject) -> None:
    stream = encode(records)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=12)))
    edges = [0, *cuts, len(stream)]
    chunks = [stream[start:end] for start, end in pairwise(edges)]
    assembler = Assembler(70)
    assert feed(assembler, *chunks) == records
    assert assembler.idle


@pytest.mark.parametrize("at", range(4))
def test_a_record_over_the_limit_is_refused(at: int) -> None:
    stream = bytes.fromhex("000a") + bytes(10)
    assert feed(Assembler(10), stream[:at], stream[at:]) == [bytes(10)]
    with pytest.raises(DecodeError):
        feed(Assembler(9), stream[:at], stream[at:])


def test_a_second_record_over_the_limit_is_refused() -> None:
    assembler = Assembler(9)
    with pytest.raises(DecodeError):
        feed(assembler, encode([b"abc", bytes(10)]))


def test_a_length_over_the_limit_is_refused_before_its_bytes_come() -> None:
    with pytest.raises(DecodeError):
        feed(Assembler(9), b"\xff", b"\xff")


def test_missing_bytes_are_no_error() -> None:
    assembler = Assembler(9)
    assert feed(assembler, b"\0\3ab") == []
    assert not assembler.idle
    assert feed(assembler, b"c") == [b"abc"]


def test_whole_records_are_views_of_the_chunk() -> None:
    chunk = memoryview(bytearray(encode([b"abc"])))
    (record,) = Assembler(9).feed(chunk)
    chunk[PREFIX_BYTES] = ord("x")
    assert bytes(record) == b"xbc"


@given(st.lists(st.binary(max_size=40), max_size=20))
def test_arbitrary_bytes_raise_only_decode_error_and_never_pile_up(chunks: list[bytes]) -> None:
    assembler = Assembler(50)
    try:
        for chunk in chunks:
            assert all(len(record) <= 50 for record in feed(assembler, chunk))
            assert len(assembler._partial) <= PREFIX_BYTES + 50
    except DecodeError:
        pass
