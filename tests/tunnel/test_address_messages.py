"""Bodies of the messages about addresses."""

from __future__ import annotations

from contextlib import suppress
from ipaddress import ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.errors import DecodeError
from core.ids import PeerKey
from tunnel.address_messages import (
    decode_address,
    decode_meeting,
    decode_outcome,
    decode_peer,
    decode_port,
    encode_address,
    encode_meeting,
    encode_outcome,
    encode_port,
)

PEER = PeerKey(bytes(range(32)))
PORTS = st.integers(1, 65535)
HOSTS = st.ip_addresses().map(str)


def test_literal_bytes() -> None:
    assert encode_address(("203.0.113.7", 4433)) == bytes.fromhex("cb007107 1151")
    assert encode_address(("2001:db8::1", 1)) == bytes.fromhex("20010db8000000000000000000000001 0001")
    assert encode_meeting(PEER, ("203.0.113.7", 4433)) == PEER + bytes.fromhex("cb007107 1151")
    assert encode_meeting(PEER, None) == PEER
    assert (encode_outcome(False), encode_outcome(True)) == (b"\0", b"\1")
    assert (encode_port(4433), decode_port(b"\x11\x51")) == (b"\x11\x51", 4433)


@given(HOSTS, PORTS)
def test_what_was_encoded_is_read_back_if_a_host_can_have_it(host: str, port: int) -> None:
    address = ip_address(host)
    body = encode_address((host, port))
    mapped = address.version == 6 and address.ipv4_mapped is not None
    if address.is_multicast or address.is_unspecified or mapped:
        with pytest.raises(DecodeError):
            decode_address(body)
    else:
        assert decode_address(body) == (host, port)
        assert decode_meeting(encode_meeting(PEER, (host, port))) == (PEER, (host, port))


@given(st.binary(max_size=60))
def test_whatever_is_read_has_that_one_spelling(body: bytes) -> None:
    with suppress(DecodeError):
        assert encode_address(decode_address(body)) == body
    with suppress(DecodeError):
        assert encode_outcome(decode_outcome(body)) == body
    with suppress(DecodeError):
        assert encode_meeting(*decode_meeting(body)) == body


@pytest.mark.parametrize(
    "body",
    [
        "",
        "cb0071",
        "cb007107 11",
        "cb007107 1151 00",
        "cb007107 0000",
        "00000000 0001",
        "e0000001 0001",
        "00000000000000000000ffffcb007107 1151",
        "00000000000000000000000000000000 0001",
    ],
)
def test_no_address_of_a_host(body: str) -> None:
    for read, prefix in ((decode_address, b""), (decode_meeting, PEER)):
        if body or not prefix:
            with pytest.raises(DecodeError):
                read(prefix + bytes.fromhex(body))


def test_wrong_lengths() -> None:
    for body in (b"", PEER[:-1], PEER + b"\0"):
        with pytest.raises(DecodeError):
            decode_peer(body)
    for body in (b"", b"\2", b"\1\1"):
        with pytest.raises(DecodeError):
            decode_outcome(body)
    for body in (b"", b"\1", b"\0\0", b"\0\1\0"):
        with pytest.raises(DecodeError):
            decode_port(body)
