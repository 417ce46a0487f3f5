"""The bytes that are exchanged with the Linux kernel about the way out, as a little-endian machine has them."""

from __future__ import annotations

import struct
from ipaddress import ip_address
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.errors import DecodeError
from node.trust.route_messages import (
    Link,
    decode_link,
    decode_neighbour,
    decode_route,
    encode_link_question,
    encode_neighbour_question,
    encode_route_question,
)

if TYPE_CHECKING:
    from collections.abc import Callable

# What Linux 6.18 answers in a namespace with 11.7.0.2/24 on `up0`, the port aside, and attributes that are not read.
ROUTE = bytes.fromhex(
    "4c000000 18000000 07000000 00000000"  # length, RTM_NEWROUTE, sequence 7, port
    "02200000 fe000001 00020000"  # AF_INET, /32, main, universe, unicast, cloned
    "08000f00 fe000000 08000100 c6290004 08000400 03000000 08000700 0b070002 08000500 0b070001"
    "08001900 00000000"
)
LINK = bytes.fromhex(
    "40000000 10000000 07000000 00000000"
    "00000100 03000000 43100100 00000000"  # Ethernet, number 3, up and running
    "08000300 75703000 08000400 dc050000 08002300 02000000 05002100 01000000"
)
NEIGHBOUR = bytes.fromhex(
    "4c000000 1c000000 07000000 00000000"
    "02000000 03000000 80000001"  # AF_INET, device 3, permanent, unicast
    "08000100 0b070001 0a000200 02000000 00070000 08000400 00000000 14000300 26000000 26000000 26000000 01000000"
)
ERROR = bytes.fromhex("24000000 02000000 07000000 00000000 9bffffff 10000000 1a000100 07000000 00000000")
GATEWAY = ip_address("11.7.0.1")


def error(code: int) -> bytes:
    return ERROR[:16] + struct.pack("=i", code) + ERROR[20:]


def test_questions() -> None:
    assert encode_route_question(ip_address("198.41.0.4"), 1) == bytes.fromhex(
        "24000000 1a000100 01000000 00000000 02200000 00000000 00000000 08000100 c6290004"
    )
    assert encode_link_question(3, 3) == bytes.fromhex(
        "20000000 12000100 03000000 00000000 00000000 03000000 00000000 00000000"
    )
    assert encode_neighbour_question(3, GATEWAY, 4) == bytes.fromhex(
        "24000000 1e000100 04000000 00000000 02000000 03000000 00000000 08000100 0b070001"
    )


def test_answers() -> None:
    assert decode_route(ROUTE, 7) == (3, GATEWAY)
    assert decode_route(ROUTE.replace(b"\x08\x00\x05\x00", b"\x08\x00\x15\x00"), 7) == (3, None)
    assert decode_link(LINK, 3, 7) == Link("up0", 2, is_up=True)
    assert decode_neighbour(NEIGHBOUR, 7) == "02:00:00:00:00:07"


def test_what_is_not_there() -> None:
    assert decode_route(error(-101), 7) is None
    assert decode_route(error(-113), 7) is None
    assert decode_link(error(-19), 3, 7) is None
    assert decode_neighbour(error(-2), 7) == ""
    assert decode_neighbour(error(-19), 7) == ""


def test_a_route_that_leads_nowhere_is_none() -> None:
    for kind in (2, 6, 7, 8):  # local, blackhole, unreachable, prohibit
        assert decode_route(ROUTE[:23] + bytes([kind]) + ROUTE[24:], 7) is None


@pytest.mark.parametrize("flags", [0x11003, 0x1002, 0x10002, 0x1043])
def test_a_device_is_up_when_it_is_switched_on_and_has_a_signal(flags: int) -> None:
    link = decode_link(LINK[:24] + struct.pack("=I", flags) + LINK[28:], 3, 7)
    assert link is not None
    assert link.is_up is (flags == 0x11003)


@pytest.mark.parametrize(
    ("state", "is_known"), [(0x01, False), (0x20, False), (0x02, True), (0x04, True), (0x10, True)]
)
def test_a_hardware_address_counts_while_the_kernel_uses_it(state: int, is_known: bool) -> None:
    assert bool(decode_neighbour(NEIGHBOUR[:24] + struct.pack("=H", state) + NEIGHBOUR[26:], 7)) is is_known


def test_only_addresses_of_ethernets_length_are_taken() -> None:
    assert decode_neighbour(NEIGHBOUR.replace(b"\x0a\x00\x02\x00", b"\x09\x00\x02\x00"), 7) == ""
    assert decode_neighbour(NEIGHBOUR.replace(b"\x0a\x00\x02\x00", b"\x0a\x00\x12\x00"), 7) == ""


@pytest.mark.parametrize(
    ("decode", "data"),
    [
        (decode_route, LINK),
        (decode_route, error(-22)),
        (decode_route, ROUTE.replace(b"\x08\x00\x04\x00", b"\x08\x00\x14\x00")),  # no device
        (decode_route, ROUTE.replace(b"\x08\x00\x05\x00", b"\x07\x00\x05\x00")),  # a router of three bytes
        (decode_route, ROUTE * 2),
        (decode_neighbour, ROUTE),
        (decode_neighbour, error(-101)),
        (lambda data, sequence: decode_link(data, 3, sequence), error(-2)),
        (lambda data, sequence: decode_link(data, 3, sequence), ROUTE),
        (lambda data, sequence: decode_link(data, 4, sequence), LINK),
        (lambda data, sequence: decode_link(data, 3, sequence), LINK.replace(b"up0\0", b"\0\0\0\0")),
        (lambda data, sequence: decode_link(data, 3, sequence), LINK.replace(b"up0\0", b"\xc3\xa40\0")),
        (lambda data, sequence: decode_link(data, 3, sequence), LINK.replace(b"\x08\x00\x23\x00", b"\x08\x00\x24\x00")),
    ],
)
def test_another_answer_is_refused(decode: Callable[[bytes, int], object], data: bytes) -> None:
    with pytest.raises(DecodeError):
        decode(data, 7)


@given(st.binary(max_size=200), st.sampled_from([b"", ROUTE, LINK, NEIGHBOUR]), st.integers(16, 80))
def test_any_bytes_are_read_or_refused(data: bytes, answer: bytes, kept: int) -> None:
    if answer:
        data = answer[:kept] + data
        data = struct.pack("=I", len(data)) + data[4:]
    for decode in (decode_route, decode_neighbour, lambda data, sequence: decode_link(data, 3, sequence)):
        try:
            decode(data, 7)
        except DecodeError:
            continue
