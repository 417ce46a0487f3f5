"""NAT-PMP in bytes: the fields where RFC 6886 has them, and nothing taken that answers another request."""

from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.errors import DecodeError
from peers.port_mapping.nat_pmp import (
    ADDRESS_REQUEST,
    AddressAnswer,
    MapAnswer,
    decode_address,
    decode_map,
    encode_map,
)

ADDRESS = bytes.fromhex("008000000000000214000001")  # by miniupnpd 2.3.1
GRANTED = bytes.fromhex("0081000000000001115d115d00000e10")  # by miniupnpd 2.3.1
DELETED = bytes.fromhex("0081000000000001115d000000000000")  # by miniupnpd 2.3.1
PORT = 4445


def test_requests_have_their_fields_where_the_rfc_has_them() -> None:
    assert bytes(2) == ADDRESS_REQUEST  # section 3.2
    assert encode_map(4445, 4446, 3600) == bytes.fromhex("00 01 0000 115d 115e 00000e10")  # section 3.3
    assert encode_map(4445, 0, 0) == bytes.fromhex("00 01 0000 115d 0000 00000000")  # section 3.4


def test_what_a_gateway_grants_is_read() -> None:
    assert decode_address(ADDRESS) == AddressAnswer(0, 2, "20.0.0.1")
    assert decode_map(GRANTED, PORT, 3600) == MapAnswer(0, 1, 4445, 3600)
    assert decode_map(DELETED, PORT, 0) == MapAnswer(0, 1)


@pytest.mark.parametrize("length", [8, 16])
def test_a_refusal_is_read_with_and_without_a_body(length: int) -> None:
    refused = (bytes.fromhex("0081000200000009") + bytes(8))[:length]
    assert decode_map(refused, PORT, 3600) == MapAnswer(2, 9)


def test_a_refusal_to_tell_the_address_is_read() -> None:
    assert decode_address(bytes.fromhex("0080000300000009")) == AddressAnswer(3, 9)


@pytest.mark.parametrize(
    "data",
    [
        b"\1" + GRANTED[1:],  # version
        b"\0\1" + GRANTED[2:],  # a request
        b"\0\x82" + GRANTED[2:],  # TCP
        GRANTED[:8] + b"\0\1" + GRANTED[10:],  # another internal port
        GRANTED[:10] + b"\0\0" + GRANTED[12:],  # no external port
        DELETED,
        GRANTED[:8],  # success without a body
        GRANTED + b"\0",
        GRANTED * 100,
        b"",
    ],
)
def test_an_answer_to_something_else_is_refused(data: bytes) -> None:
    with pytest.raises(DecodeError):
        decode_map(data, PORT, 3600)


def test_a_mapping_is_no_answer_to_a_deletion() -> None:
    with pytest.raises(DecodeError):
        decode_map(GRANTED, PORT, 0)


@pytest.mark.parametrize("data", [ADDRESS[:-1], ADDRESS + b"\0", ADDRESS[:8], GRANTED, b"\2" + ADDRESS[1:], bytes(12)])
def test_another_answer_names_no_address(data: bytes) -> None:
    with pytest.raises(DecodeError):
        decode_address(data)


def test_one_byte_at_a_time_is_never_enough() -> None:
    for end in range(len(GRANTED)):
        with pytest.raises(DecodeError):
            decode_map(GRANTED[:end], PORT, 3600)


@given(st.binary(max_size=40))
def test_any_bytes_are_read_or_refused(data: bytes) -> None:
    for read in (decode_address, lambda data: decode_map(data, PORT, 3600), lambda data: decode_map(data, PORT, 0)):
        with suppress(DecodeError):
            read(data)


@given(st.integers(0, 2**32 - 1), st.integers(1, 65535), st.integers(1, 2**32 - 1))
def test_every_field_of_an_answer_counts(epoch_s: int, port: int, lifetime_s: int) -> None:
    data = b"\0\x81\0\0" + epoch_s.to_bytes(4) + PORT.to_bytes(2) + port.to_bytes(2) + lifetime_s.to_bytes(4)
    assert decode_map(data, PORT, 3600) == MapAnswer(0, epoch_s, port, lifetime_s)
