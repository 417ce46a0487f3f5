"""The bytes that are exchanged with the Linux kernel about routes, as a little-endian machine has them."""

from __future__ import annotations

import struct
from ipaddress import IPv6Address, ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.errors import DecodeError
from exits.netlink import (
    UNICAST,
    Route,
    decode_addresses,
    decode_route,
    encode_addresses_question,
    encode_route_question,
)

V4, V6 = ip_address("8.8.8.8"), ip_address("2600::1")
OWN_V6 = IPv6Address("2400:7::2")

# What Linux 6.18 answers in a namespace with 11.7.0.2/24 and 2400:7::2/64, the port aside; one address of several.
DEFAULT_V4 = bytes.fromhex(
    "34000000 18000000 07000000 00000000"  # length, RTM_NEWROUTE, sequence 7, port
    "02000000 fe030001 00000000"  # AF_INET, /0, main, boot, universe, unicast
    "08000f00 fe000000 08000500 0b070001 08000400 03000000"
)
LAN_V4 = bytes.fromhex(
    "3c000000 18000000 07000000 00000000"
    "02180000 fe02fd01 00000000"  # /24
    "08000f00 fe000000 08000100 0b070000 08000700 0b070002 08000400 03000000"
)
UNREACHABLE = bytes.fromhex("24000000 02000000 07000000 00000000 9bffffff 10000000 1a000100 07000000 00000000")
DONE = bytes.fromhex("14000000 03000200 07000000 00000000 00000000")
ONE_ADDRESS = bytes.fromhex(
    "2c000000 14000200 07000000 00000000"
    "0a408000 03000000"  # AF_INET6, /64, permanent, global, device 3
    "14000100 24000007000000000000000000000002"
)


def test_questions() -> None:
    assert encode_route_question(V4, None, 7).hex() == (
        "240000001a00010007000000000000000220000000000000002000000800010008080808"
    )
    assert encode_route_question(V4, ip_address("11.7.0.2"), 7).hex().endswith("0800010008080808080002000b070002")
    assert encode_route_question(V6, None, 7)[28:].hex() == "1400010026000000000000000000000000000001"
    assert encode_addresses_question(7).hex() == "180000001600010307000000000000000a00000000000000"


def test_answers() -> None:
    assert decode_route(DEFAULT_V4, V4, 7) == Route(UNICAST, 0)
    assert decode_route(LAN_V4, ip_address("11.7.0.9"), 7) == Route(UNICAST, 24)
    assert decode_route(UNREACHABLE, V4, 7) is None
    assert decode_addresses(ONE_ADDRESS, 7) == ([OWN_V6], False)
    assert decode_addresses(DONE, 7) == ([], True)
    assert decode_addresses(ONE_ADDRESS + DONE, 7) == ([OWN_V6], True)


@pytest.mark.parametrize(
    ("data", "address"),
    [
        (LAN_V4, V4),  # the entry does not match the address
        (DEFAULT_V4, V6),  # the family is another
        (DEFAULT_V4 * 2, V4),
        (b"", V4),
        (UNREACHABLE.replace(b"\x9b\xff", b"\xea\xff"), V4),  # EINVAL: who knows what was wrong
        (DEFAULT_V4.replace(b"\x34", b"\x35", 1), V4),
        (DEFAULT_V4.replace(b"\x02\x00\x00\x00\xfe", b"\x02\x21\x00\x00\xfe"), V4),  # 33 bits
        (DONE, V4),
        (ONE_ADDRESS, V6),
    ],
    ids=["no match", "family", "two", "nothing", "error", "length", "bits", "done", "address"],
)
def test_another_answer_is_refused(data: bytes, address: IPv6Address) -> None:
    with pytest.raises(DecodeError):
        decode_route(data, address, 7)


def test_the_answer_to_another_question_is_refused() -> None:
    with pytest.raises(DecodeError):
        decode_route(DEFAULT_V4, V4, 8)
    with pytest.raises(DecodeError):
        decode_addresses(ONE_ADDRESS, 8)


@pytest.mark.parametrize(
    "data",
    [
        DONE[:-4] + b"\xf4\xff\xff\xff",  # ENOMEM in the middle of the list
        DONE[:-4].replace(b"\x14", b"\x10", 1),
        DEFAULT_V4,
        ONE_ADDRESS.replace(b"\x14\x00\x01\x00", b"\x14\x00\x03\x00"),  # no address in it
        ONE_ADDRESS.replace(b"\x14\x00\x01\x00", b"\x15\x00\x01\x00"),
    ],
    ids=["broken off", "no code", "a route", "empty", "too long"],
)
def test_another_list_is_refused(data: bytes) -> None:
    with pytest.raises(DecodeError):
        decode_addresses(data, 7)


def test_both_ends_of_a_line_are_taken() -> None:
    ends = [OWN_V6, IPv6Address("2400:8::1")]
    body = struct.pack("=BBBBI", 10, 128, 0x80, 0, 3)
    body += b"".join(struct.pack("=HH", 20, kind) + end.packed for kind, end in zip((1, 2), ends, strict=True))
    message = struct.pack("=IHHII", 16 + len(body), 20, 2, 7, 0) + body
    assert decode_addresses(message, 7) == (ends, False)


@pytest.mark.parametrize("data", [DEFAULT_V4, LAN_V4, UNREACHABLE, ONE_ADDRESS, DONE])
def test_a_cut_answer_is_refused(data: bytes) -> None:
    for end in range(1, len(data)):
        with pytest.raises(DecodeError):
            decode_route(data[:end], V4, 7)
        with pytest.raises(DecodeError):
            decode_addresses(data[:end], 7)


@given(st.binary(max_size=200), st.sampled_from([b"", DEFAULT_V4[:16], ONE_ADDRESS[:16]]))
def test_any_bytes_are_read_or_refused(data: bytes, head: bytes) -> None:
    if head:
        data = struct.pack("=I", 16 + len(data)) + head[4:] + data
    for decode in (lambda: decode_route(data, V4, 7), lambda: decode_addresses(data, 7)):
        try:
            decode()
        except DecodeError:
            continue
