"""Every block of IANA's special-purpose registries is refused, or is an exception with a reason."""

from __future__ import annotations

import csv
import hashlib
import io
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_network
from pathlib import Path

import pytest

from exits.addresses import SPECIAL_BLOCKS, is_public, normalise

FOLDER = Path(__file__).parents[1] / "vectors/iana"

SUMS = {
    "iana-ipv4-special-registry-1.csv": "e3e39e76d00b1677335db8e9a805c7b9480ea2f4dc9e33f0b93cd3a905128d73",
    "iana-ipv6-special-registry-1.csv": "775feea0621dec8735a44fbf30f762e721e8f0a1b3ab7eb341961a88cfce2139",
}
"""SHA-256 of the files as IANA serves them, of 2025-10-09."""

ROWS = {"iana-ipv4-special-registry-1.csv": 26, "iana-ipv6-special-registry-1.csv": 25}
"""Blocks in each; one row of IPv4 has two."""

EXCEPTIONS = {
    "::ffff:0:0/96": "stands for the IPv4 address in it, and is dialled as that",
    "64:ff9b::/96": "stands for the IPv4 address in it: behind NAT64 it is the only way to IPv4",
}
"""Blocks whose addresses are public if the IPv4 address in them is."""


def blocks_of(name: str) -> list[str]:
    text = (FOLDER / name).read_bytes().decode()
    rows = list(csv.DictReader(io.StringIO(text, newline="")))
    cells = [part for row in rows for part in row["Address Block"].split(",")]
    return [cell.split("[")[0].strip() for cell in cells]


BLOCKS = [block for name in SUMS for block in blocks_of(name)]


def addresses_in(network: IPv4Network | IPv6Network) -> list[IPv4Address | IPv6Address]:
    """The first, the last, and some between."""
    size = network.num_addresses
    return [network[index] for index in sorted({0, size // 3, size // 2, 2 * size // 3, size - 1})]


@pytest.mark.parametrize("name", SUMS)
def test_the_files_are_as_served(name: str) -> None:
    assert hashlib.sha256((FOLDER / name).read_bytes()).hexdigest() == SUMS[name]
    assert len(blocks_of(name)) == ROWS[name]


@pytest.mark.parametrize("block", BLOCKS)
def test_a_block_is_refused(block: str) -> None:
    network = ip_network(block)
    if block in EXCEPTIONS:
        inner = {ip_network("::ffff:0:0/96"): 0xFFFF << 32, ip_network("64:ff9b::/96"): 0x64_FF9B << 96}[network]
        assert is_public(IPv6Address(inner | int(IPv4Address("8.8.8.8"))))
        assert not is_public(IPv6Address(inner | int(IPv4Address("10.0.0.1"))))
        return
    assert not any(is_public(normalise(address)) for address in addresses_in(network))
    # The two addresses for the discovery of NAT64 are one block here.
    assert any(known.network in (network, network.supernet()) for known in SPECIAL_BLOCKS), "it has no name of its own"


def test_the_exceptions_are_in_the_registries() -> None:
    assert set(EXCEPTIONS) <= set(BLOCKS)
