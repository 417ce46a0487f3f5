"""The header of a datagram between client and proxy, field by field (RFC 1928, section 7)."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.errors import DecodeError
from core.flow import MAX_DATAGRAM_BYTES
from proxy.datagrams import LARGEST_BYTES, LONGEST_HEADER_BYTES, read_datagram, write_header
from tests.proxy.harness import by_name

V4 = b"\x01\xc6\x33\x64\x07\x00\x35"
V6 = b"\x04\x20\x01\x0d\xb8" + bytes(11) + b"\x01\x00\x35"
ADDRESSES = st.ip_addresses().map(str)
PORTS = st.integers(1, 65535)


@pytest.mark.parametrize(
    ("address", "host", "start"),
    [
        (V4, "198.51.100.7", 10),
        (V6, "2001:db8::1", 22),
        (by_name("Name.Example", 53), "name.example", 19),
        (by_name("a", 53), "a", 8),
        (by_name("a" * 255, 53), "a" * 255, LONGEST_HEADER_BYTES),
        (by_name("198.51.100.7", 53), "198.51.100.7", 19),
    ],
)
@pytest.mark.parametrize("payload", [b"", b"payload", bytes(MAX_DATAGRAM_BYTES)], ids=["none", "some", "most"])
def test_each_type_of_address(address: bytes, host: str, start: int, payload: bytes) -> None:
    datagram = memoryview(b"\0\0\0" + address + payload)
    assert tuple(read_datagram(datagram)) == (host, 53, start)
    assert datagram[start:] == payload
    assert len(datagram) <= LARGEST_BYTES


@pytest.mark.parametrize(
    ("header", "problem"),
    [
        (b"\0\0\1" + V4, "fragment"),
        (b"\0\0\x7f" + V4, "fragment"),
        (b"\0\0\x80" + V4, "fragment"),
        (b"\0\0\xff" + V4, "fragment"),
        (b"\1\0\0" + V4, "reserved"),
        (b"\0\1\0" + V4, "reserved"),
        (b"\0\0\0\0" + V4[1:], "no address"),
        (b"\0\0\0\2" + V4[1:], "no address"),
        (b"\0\0\0\5" + V4[1:], "no address"),
        (b"\0\0\0" + V4[:-2] + b"\0\0", "port 0"),
        (b"\0\0\0" + V6[:-2] + b"\0\0", "port 0"),
        (b"\0\0\0" + by_name("a", 0), "port 0"),
        (b"\0\0\0\3\0\0\x35", "host"),
        (b"\0\0\0\3\2\xc3\xa9\0\x35", "no address"),
        (b"\0\0\0" + by_name("a b", 53), "host"),
        (b"\0\0\0" + by_name("a\0b", 53), "host"),
        (b"\0\0\0" + by_name("[2001:db8::1]", 53), "IPv6"),
    ],
)
def test_what_must_be_dropped(header: bytes, problem: str) -> None:
    with pytest.raises(DecodeError, match=problem):
        read_datagram(header + b"payload")


@pytest.mark.parametrize("address", [V4, V6, by_name("a.example", 53)])
def test_cut_at_every_byte(address: bytes) -> None:
    header = b"\0\0\0" + address
    for end in range(len(header)):
        with pytest.raises(DecodeError):
            read_datagram(header[:end])
    assert read_datagram(header).start == len(header)


def test_answers_name_their_source() -> None:
    assert write_header("198.51.100.7", 53) == b"\0\0\0" + V4
    assert write_header("2001:db8::1", 53) == b"\0\0\0" + V6


@given(ADDRESSES, PORTS)
def test_a_header_is_read_as_it_was_written(host: str, port: int) -> None:
    header = write_header(host, port)
    assert tuple(read_datagram(header)) == (host, port, len(header))


@pytest.mark.parametrize("host", ["name.example", "localhost", "", "0x7f.1", "[2001:db8::1", "fe80::1%lo", "a b"])
def test_an_answer_from_no_address_is_none(host: str) -> None:
    with pytest.raises(DecodeError):
        write_header(host, 53)


@given(st.binary(max_size=300))
def test_arbitrary_bytes_are_read_or_refused(data: bytes) -> None:
    try:
        host, port, start = read_datagram(data)
    except DecodeError:
        return
    assert host
    assert 0 < port < 65536
    assert start <= len(data)
