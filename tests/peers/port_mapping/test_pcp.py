"""PCP in bytes: the fields where RFC 6887 has them, and nothing taken that answers another request."""

from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.errors import DecodeError
from peers.port_mapping.pcp import MAX_BYTES, Answer, MapRequest, decode_announce, decode_map, encode_announce

NONCE = bytes.fromhex("fd91d2ab51feae51cf6e2873")
REQUEST = MapRequest("192.168.77.2", NONCE, 4444, ("0.0.0.0", 4444), 3600)
GRANTED = bytes.fromhex(  # by miniupnpd 2.3.1
    "0281000000000e1000000001000000000000000000000000"
    "fd91d2ab51feae51cf6e287311000000115c115c00000000000000000000ffff14000001"
)
NOT_AUTHORIZED = bytes.fromhex(  # by miniupnpd 2.3.1
    "028100020000000000000002000000000000000000000000"
    "fd91d2ab51feae51cf6e287311000000115c115c00000000000000000000ffff14000001"
)
ANNOUNCED = bytes.fromhex("028000000000000000000001000000000000000000000000")  # by miniupnpd 2.3.1

answers = st.binary(max_size=MAX_BYTES + 8)


def test_a_request_has_its_fields_where_the_rfc_has_them() -> None:
    assert REQUEST.encode() == bytes.fromhex(
        "02 01 0000 00000e10"  # version, opcode, reserved, lifetime (section 7.1)
        "00000000000000000000ffffc0a84d02"  # client address
        "fd91d2ab51feae51cf6e2873 11 000000"  # nonce, protocol, reserved (section 11.1)
        "115c 115c"  # internal port, proposed external port
        "00000000000000000000ffff00000000"  # proposed external address
    )
    assert encode_announce("192.168.77.2") == bytes.fromhex("0200000000000000 00000000000000000000ffffc0a84d02")


def test_ipv6_stands_for_itself() -> None:
    request = MapRequest("2a00::1", NONCE, 1, ("2a00::2", 2), 0).encode()
    assert request[8:24] == bytes.fromhex("2a000000000000000000000000000001")
    assert request[44:] == bytes.fromhex("2a000000000000000000000000000002")
    granted = GRANTED[:44] + request[44:]
    assert decode_map(granted, REQUEST).address == ("2a00::2", 4444)


def test_what_a_server_grants_is_read() -> None:
    assert decode_map(GRANTED, REQUEST) == Answer(0, 3600, 1, ("20.0.0.1", 4444))
    assert decode_announce(ANNOUNCED) == Answer(0, 0, 1)


def test_a_deletion_is_answered_without_a_lifetime() -> None:
    deleted = GRANTED[:4] + bytes(4) + GRANTED[8:42] + bytes(2) + GRANTED[44:]
    request = MapRequest("192.168.77.2", NONCE, 4444, ("0.0.0.0", 4444), 0)
    assert decode_map(deleted, request).result == 0
    with pytest.raises(DecodeError, match="no port"):
        decode_map(deleted, REQUEST)


def test_a_refusal_has_no_address() -> None:
    assert decode_map(NOT_AUTHORIZED, REQUEST) == Answer(2, 0, 2)


@pytest.mark.parametrize(
    "data",
    [
        bytes.fromhex("0081000100000005"),  # NAT-PMP, in 8 bytes (RFC 6886, section 3.5)
        bytes.fromhex("0081000100000005 00000000"),
        bytes.fromhex("0181000100000000") + bytes(16),  # an older PCP
        bytes.fromhex("0281000100000000") + bytes(52),
    ],
)
def test_a_server_of_another_version_is_told_from_noise(data: bytes) -> None:
    assert decode_map(data, REQUEST).result == 1


@pytest.mark.parametrize(
    ("at", "value", "problem"),
    [
        (0, 3, "version"),
        (1, 0x01, "opcode"),  # our own request, sent back
        (1, 0x82, "opcode"),
        (24, 0, "another request"),  # nonce
        (35, 0, "another request"),
        (36, 6, "another request"),  # TCP
        (41, 0, "another request"),  # internal port
    ],
)
def test_an_answer_to_something_else_is_refused(at: int, value: int, problem: str) -> None:
    with pytest.raises(DecodeError, match=problem):
        decode_map(GRANTED[:at] + bytes([value]) + GRANTED[at + 1 :], REQUEST)


def test_a_refusal_without_our_nonce_is_refused() -> None:
    with pytest.raises(DecodeError, match="another request"):
        decode_map(NOT_AUTHORIZED[:24] + bytes(12) + NOT_AUTHORIZED[36:], REQUEST)
    with pytest.raises(DecodeError, match="too short"):
        decode_map(NOT_AUTHORIZED[:24], REQUEST)


@pytest.mark.parametrize("data", [GRANTED + b"\0", GRANTED + bytes(MAX_BYTES), GRANTED[:56], GRANTED[:20], b"", b"\2"])
def test_another_length_is_refused(data: bytes) -> None:
    with pytest.raises(DecodeError):
        decode_map(data, REQUEST)


def test_one_byte_at_a_time_is_never_enough() -> None:
    for end in range(len(GRANTED)):
        with pytest.raises(DecodeError):
            decode_map(GRANTED[:end], REQUEST)


@given(answers)
def test_any_bytes_are_read_or_refused(data: bytes) -> None:
    for read in (decode_announce, lambda data: decode_map(data, REQUEST)):
        with suppress(DecodeError):
            read(data)


@given(st.binary(min_size=12, max_size=12).filter(lambda nonce: nonce != NONCE))
def test_no_other_nonce_is_taken(nonce: bytes) -> None:
    with pytest.raises(DecodeError):
        decode_map(GRANTED[:24] + nonce + GRANTED[36:], REQUEST)


@given(st.integers(1, 2**32 - 1), st.integers(0, 2**32 - 1), st.ip_addresses(v=4).map(str), st.integers(1, 65535))
def test_every_field_of_an_answer_counts(lifetime_s: int, epoch_s: int, host: str, port: int) -> None:
    written = MapRequest("0.0.0.0", NONCE, 4444, (host, port), lifetime_s).encode()
    data = b"\2\x81\0\0" + lifetime_s.to_bytes(4) + epoch_s.to_bytes(4) + bytes(12) + written[24:]
    assert decode_map(data, REQUEST) == Answer(0, lifetime_s, epoch_s, (host, port))
