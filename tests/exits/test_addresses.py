"""Which addresses are public."""

from __future__ import annotations

import json
import sys
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address, ip_network
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exits.addresses import SPECIAL_BLOCKS, AddressFilter, Block, is_public, normalise, refusal

if TYPE_CHECKING:
    from exits.addresses import Address

VECTORS: list[dict[str, Any]] = json.loads((Path(__file__).parents[1] / "vectors/addresses.json").read_text())[
    "addresses"
]

STANDARD_LIBRARY_IS_CURRENT = sys.version_info >= (3, 12, 4)
"""Before, `ipaddress` knew older registries."""

STANDARD_LIBRARY_CALLS_PUBLIC = {
    "port control anycast",
    "TURN anycast",
    "service registration anycast",
    "AS112",
    "AMT",
    "6to4 relay anycast",
    "6a44 relay anycast",
    "ORCHIDv2",
    "drone identifiers",
    "multicast",
    "documentation",
    "segment routing",
    "dummy prefix",
    "IPv4-compatible",
    "IPv4-translated",
    "site local",
}
"""Blocks of which `ipaddress` calls some address global in some version."""

loopback_open = AddressFilter(allow=[ip_network("127.0.0.0/8")])

ipv4_addresses = st.ip_addresses(v=4) | st.builds(
    lambda block, last, step: IPv4Address(
        max(0, min(2**32 - 1, int(block.network.broadcast_address if last else block.network.network_address) + step))
    ),
    st.sampled_from([block for block in SPECIAL_BLOCKS if block.network.version == 4]),
    st.booleans(),
    st.integers(-2, 2),
)
ipv6_addresses = st.ip_addresses(v=6) | st.builds(
    lambda low: IPv6Address((0x2 << 124) | low), st.integers(0, 2**125 - 1)
)


@pytest.mark.parametrize("vector", VECTORS, ids=lambda vector: vector["text"])
def test_vector(vector: dict[str, Any]) -> None:
    address = ip_address(vector["text"])
    assert refusal(address) == vector["block"]
    assert is_public(address) is vector["public"]
    assert AddressFilter().allows(address) is vector["public"]


def test_there_are_enough_vectors_and_each_block_has_one() -> None:
    hosts = json.loads((Path(__file__).parents[1] / "vectors/addresses.json").read_text())["hosts"]
    assert len(VECTORS) >= 350
    assert len(hosts) >= 250
    assert len({vector["text"] for vector in VECTORS}) + len({host["host"] for host in hosts}) >= 600
    assert {block.name for block in SPECIAL_BLOCKS} <= {vector["block"] for vector in VECTORS}


def _smallest_block(address: Address) -> str | None:
    return next((block.name for block in SPECIAL_BLOCKS if address in block.network), None)


@pytest.mark.parametrize("block", SPECIAL_BLOCKS, ids=lambda block: str(block.network))
def test_names_around_the_edges_of_a_block(block: Block) -> None:
    """An address beside a block has the name of the smallest block that it is in, if it is in one."""
    first, last = block.network.network_address, block.network.broadcast_address
    lowest, highest = int(first) == 0, int(last) == 2**first.max_prefixlen - 1
    around = [first, last, *([] if lowest else [first - 1]), *([] if highest else [last + 1])]
    for address in around:
        name = _smallest_block(address)
        if name is not None or address.version == 4:
            assert refusal(address) == name


@pytest.mark.parametrize("block", SPECIAL_BLOCKS, ids=lambda block: str(block.network))
def test_edges_of_a_block(block: Block) -> None:
    first, last = block.network.network_address, block.network.broadcast_address
    assert not is_public(first)
    assert not is_public(last)
    assert block.source.startswith("RFC ")
    if block.name not in STANDARD_LIBRARY_CALLS_PUBLIC and STANDARD_LIBRARY_IS_CURRENT:
        assert not first.is_global
        assert not last.is_global


@given(ipv4_addresses | ipv6_addresses)
def test_stricter_than_the_standard_library(address: IPv4Address | IPv6Address) -> None:
    address = normalise(address)  # versions differ about mapped addresses
    if is_public(address):
        assert address.is_global or not STANDARD_LIBRARY_IS_CURRENT
        assert not address.is_multicast
        assert not address.is_reserved or address in IPv6Network("64:ff9b::/96")
    elif address.is_global:
        name = refusal(address)
        middle = int(address) >> 32 & 0xFDFF_FFFF  # of the interface id: ISATAP's mark, or 6over4's zeros
        embedded_elsewhere = middle in (0x5EFE, 0) or address in IPv6Network("64:ff9b::/96")
        assert (
            not STANDARD_LIBRARY_IS_CURRENT
            or embedded_elsewhere
            or name in STANDARD_LIBRARY_CALLS_PUBLIC | {"outside global unicast"}
        )


@given(ipv4_addresses)
def test_an_embedding_never_makes_an_address_public(inner: IPv4Address) -> None:
    number = int(inner)
    prefix = 0x2400_CB00 << 96
    transparent = [
        IPv6Address(0xFFFF << 32 | number),
        IPv6Address(0x64_FF9B << 96 | number),
        IPv6Address(prefix | 0x5EFE << 32 | number),
        IPv6Address(prefix | 0x0200_5EFE << 32 | number),
    ]
    closed = [
        IPv6Address(number),
        IPv6Address(0xFFFF << 48 | number),
        IPv6Address(0x64_FF9B_0001 << 80 | number),
        IPv6Address(0x2002 << 112 | number << 80 | 1),
        IPv6Address(0x2001_0000 << 96 | number << 64),
        IPv6Address(0x2001_0000 << 96 | 0x0808_0808 << 64 | number ^ 0xFFFF_FFFF),
    ]
    for outer in transparent:
        assert is_public(outer) is is_public(inner)
    for outer in closed:
        assert not is_public(outer)
    assert normalise(transparent[0]) == inner
    if any(inner in ip_network(text) for text in ("10.0.0.0/8", "127.0.0.0/8", "169.254.0.0/16", "192.168.0.0/16")):
        assert not is_public(IPv6Address(prefix | number))


def test_opened_network_admits_only_itself() -> None:
    assert loopback_open.allows(ip_address("127.0.0.1"))
    assert loopback_open.allows(ip_address("127.255.255.255"))
    assert loopback_open.allows(ip_address("8.8.8.8"))
    for closed in ("10.0.0.1", "169.254.169.254", "::1", "0.0.0.0", "fe80::1"):
        assert not loopback_open.allows(ip_address(closed))


def test_opened_network_counts_for_the_mapped_form_but_not_through_other_embeddings() -> None:
    assert loopback_open.allows(ip_address("::ffff:127.0.0.1"))
    assert normalise(ip_address("::ffff:127.0.0.1")) == ip_address("127.0.0.1")
    for closed in ("::127.0.0.1", "2002:7f00:1::1", "64:ff9b:1::7f00:1", "::ffff:127.0.0.1%eth0"):
        assert not loopback_open.allows(ip_address(closed))


def test_what_is_embedded_has_to_be_open_too() -> None:
    sixto4 = AddressFilter(allow=[ip_network("2002::/16")])
    assert sixto4.allows(ip_address("2002:808:808::1"))
    assert not sixto4.allows(ip_address("2002:7f00:1::1"))
    both = AddressFilter(allow=[ip_network("2002::/16"), ip_network("127.0.0.0/8")])
    assert both.allows(ip_address("2002:7f00:1::1"))


def test_own_addresses_are_refused_in_every_form() -> None:
    own = AddressFilter(
        allow=[ip_network("127.0.0.0/8")],
        deny=[
            ip_address("93.184.215.14"),
            ip_network("2606:4700::/32"),
            ip_address("127.0.0.9"),
            ip_address("::ffff:9.9.9.9"),
        ],
    )
    for closed in (
        "93.184.215.14",
        "::ffff:93.184.215.14",
        "64:ff9b::93.184.215.14",
        "2606:4700::1",
        "127.0.0.9",
        "9.9.9.9",
    ):
        assert not own.allows(ip_address(closed))
    assert own.allows(ip_address("93.184.215.15"))
    assert own.allows(ip_address("127.0.0.8"))


def test_own_endpoint_is_refused_on_its_port_alone() -> None:
    own = AddressFilter(allow=[ip_network("127.0.0.0/8")], deny_endpoints=[(ip_address("::ffff:127.0.0.1"), 4433)])
    assert not own.allows(ip_address("127.0.0.1"), 4433)
    assert not own.allows(ip_address("::ffff:127.0.0.1"), 4433)
    assert own.allows(ip_address("127.0.0.1"), 4434)
    assert own.allows(ip_address("127.0.0.2"), 4433)


@pytest.mark.parametrize("text", ["0.0.0.0", "::", "::ffff:0.0.0.0", "64:ff9b::"])
def test_unspecified_address_stays_closed_when_everything_is_open(text: str) -> None:
    everything = AddressFilter(allow=[ip_network("0.0.0.0/0"), ip_network("::/0")])
    assert everything.allows(ip_address("::1"))
    assert not everything.allows(ip_address(text))
