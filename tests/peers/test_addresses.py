from __future__ import annotations

import ipaddress
import subprocess
import sys

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from core.errors import DecodeError
from core.ids import PeerKey
from peers.addresses import format_address, network_of, pack_address, parse_address, unpack_address

PEER = PeerKey(bytes.fromhex("1ed1e8fae2c4a144b8be8fd4b47bf3d3b34b871c3cacf6010f0e42d474fce27e"))
PEER_ID = "12D3KooWBtg3aaRMjxwedh83aGiUkwSxDwUZkzuJcfaqUmo7R3pq"
V4 = "/ip4/203.0.113.7/udp/4433/quic-v1"
V6 = "/ip6/2001:db8::7/udp/4433/quic-v1"
# Codes of the multicodec table: ip4 4, ip6 0x29, udp 0x0111, quic-v1 0x01cd, the two last as varints.
V4_BYTES = bytes.fromhex("04 cb007107 9102 1151 cd03")
V6_BYTES = bytes.fromhex("29 20010db8000000000000000000000007 9102 1151 cd03")


@st.composite
def reachable(draw: st.DrawFn) -> tuple[str, int]:
    address = ipaddress.ip_address(draw(st.ip_addresses()).packed)
    assume(not address.is_multicast and not address.is_unspecified and str(address) != "255.255.255.255")
    assume(address.version == 4 or address.ipv4_mapped is None)
    return str(address), draw(st.integers(1, 65535))


def test_text() -> None:
    assert parse_address(V4) == ("203.0.113.7", 4433, None)
    assert parse_address(V6) == ("2001:db8::7", 4433, None)
    assert parse_address(f"{V4}/p2p/{PEER_ID}") == ("203.0.113.7", 4433, PEER)
    assert format_address("2001:db8::7", 4433, PEER) == f"{V6}/p2p/{PEER_ID}"


def test_bytes() -> None:
    assert pack_address("203.0.113.7", 4433) == V4_BYTES
    assert pack_address("2001:db8::7", 4433) == V6_BYTES
    assert unpack_address(V4_BYTES) == ("203.0.113.7", 4433)
    assert unpack_address(V6_BYTES) == ("2001:db8::7", 4433)


@settings(deadline=None)
@given(reachable())
def test_round_trip(address: tuple[str, int]) -> None:
    assert unpack_address(pack_address(*address)) == address
    assert parse_address(format_address(*address, PEER)) == (*address, PEER)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "203.0.113.7:4433",
        f" {V4}",
        f"{V4}/",
        f"/{V4}",
        f"{V4}\n",
        f"{V4}/p2p",
        f"{V4}/p2p/",
        f"{V4}/p2p/{PEER_ID[:-1]}",
        f"{V4}/p2p/QmYyQSo1c1Ym7orWxLYvCrM2EmxFTANf8wXmmE7DWjhx5N",
        f"{V4}/p2p/{PEER_ID}/p2p/{PEER_ID}",
        f"{V4}/p2p/{PEER_ID}/p2p-circuit",
        f"{V4}/ipfs/{PEER_ID}",
        f"/p2p/{PEER_ID}",
        "/ip4/203.0.113.7/udp/4433",
        "/ip4/203.0.113.7/udp/4433/quic",
        "/ip4/203.0.113.7/tcp/4433/quic-v1",
        "/ip4/203.0.113.7/quic-v1/udp/4433",
        "/dns4/example.org/udp/4433/quic-v1",
        "/ip4/203.0.113.7/udp/0/quic-v1",
        "/ip4/203.0.113.7/udp/04433/quic-v1",
        "/ip4/203.0.113.7/udp/+4433/quic-v1",
        "/ip4/203.0.113.7/udp/65536/quic-v1",
        "/ip4/203.0.113.07/udp/4433/quic-v1",
        "/ip4/0.0.0.0/udp/4433/quic-v1",
        "/ip4/224.0.0.1/udp/4433/quic-v1",
        "/ip4/255.255.255.255/udp/4433/quic-v1",
        "/ip6/::/udp/4433/quic-v1",
        "/ip6/ff02::1/udp/4433/quic-v1",
        "/ip6/2001:DB8::7/udp/4433/quic-v1",
        "/ip6/2001:db8:0::7/udp/4433/quic-v1",
        "/ip6/::ffff:203.0.113.7/udp/4433/quic-v1",
        "/ip6/fe80::1%eth0/udp/4433/quic-v1",
        "/ip6zone/eth0/ip6/fe80::1/udp/4433/quic-v1",
        f"{V4}{'/quic-v1' * 40}",
        "/ip4/٢٠٣.0.113.7/udp/4433/quic-v1",
    ],
)
def test_other_texts_are_refused(text: str) -> None:
    with pytest.raises(DecodeError):
        parse_address(text)


@pytest.mark.parametrize(
    ("host", "port"),
    [
        ("203.0.113.7", 0),
        ("203.0.113.7", 65536),
        ("203.0.113.7", -1),
        ("2001:DB8::7", 4433),
        ("::ffff:203.0.113.7", 4433),
        ("example.org", 4433),
        ("", 4433),
        (f"203.0.113.7/udp/1/quic-v1/p2p/{PEER_ID}", 4433),
    ],
)
def test_other_addresses_are_not_packed(host: str, port: int) -> None:
    with pytest.raises(DecodeError):
        pack_address(host, port)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        V4_BYTES + b"\x00",
        V4_BYTES + bytes.fromhex("a503260024080112201ed1e8fae2c4a144b8be8fd4b47bf3d3b34b871c3cacf6010f0e42d474fce27e"),
        bytes.fromhex("04 cb007107 9102 0000 cd03"),  # port 0
        bytes.fromhex("8400 cb007107 9102 1151 cd03"),  # a varint longer than it need be
        bytes.fromhex("04 cb007107 910200 1151 cd03"),
        bytes.fromhex("04 cb007107 06 1151 cd03"),  # tcp
        bytes.fromhex("04 cb007107 9102 1151 cc03"),  # quic, the draft version
        bytes.fromhex("29 00000000000000000000ffffcb007107 9102 1151 cd03"),
    ],
)
def test_other_bytes_are_refused(data: bytes) -> None:
    with pytest.raises(DecodeError):
        unpack_address(data)


@pytest.mark.parametrize("whole", [V4_BYTES, V6_BYTES])
def test_every_cut_is_refused(whole: bytes) -> None:
    for size in range(len(whole)):
        with pytest.raises(DecodeError):
            unpack_address(whole[:size])


@settings(deadline=None)
@given(st.binary(max_size=40) | st.binary(max_size=12).map(lambda tail: V4_BYTES[:5] + tail))
def test_arbitrary_bytes_raise_only_what_is_documented(data: bytes) -> None:
    try:
        address = unpack_address(data)
    except DecodeError:
        return
    assert pack_address(*address) == data


@settings(deadline=None)
@given(st.text(max_size=80) | st.text(alphabet="/ip46udpquic-v1:.", max_size=40).map(lambda tail: "/ip4" + tail))
def test_arbitrary_text_raises_only_what_is_documented(text: str) -> None:
    try:
        address = parse_address(text)
    except DecodeError:
        return
    assert format_address(*address) == text


def test_networks() -> None:
    assert network_of("203.0.113.7") == bytes([203, 0])
    assert network_of("2001:db8::7") == bytes.fromhex("20010db8")
    assert network_of("203.0.255.255") == network_of("203.0.0.1") != network_of("203.1.0.1")
    assert network_of("2001:db8:ffff::1") == network_of("2001:db8::1") != network_of("2001:db9::1")
    with pytest.raises(DecodeError):
        network_of("example.org")


def test_the_library_is_not_loaded_before_it_is_needed() -> None:
    code = "import sys, peers.paths, peers.store, peers.gossip; sys.exit('multiaddr' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False, timeout=30).returncode == 0
