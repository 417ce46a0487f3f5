"""Where a peer is reached: multiaddrs of QUIC over UDP, in text and in bytes, and the network an address is in.

One form is allowed: `/ip4/203.0.113.7/udp/4433/quic-v1`, or `/ip6/…`, in text with `/p2p/12D3Koo…` at its end if
the peer is to be named. Everything must be in canonical form, so that one address has one spelling.
"""

from __future__ import annotations

import ipaddress
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final

from core.errors import DecodeError
from peers.identity import parse_peer_id, peer_id

if TYPE_CHECKING:
    from core.ids import PeerKey

type Address = tuple[str, int]
"""An IP literal in canonical form and a UDP port, 1 to 65535."""

MAX_TEXT_CHARS: Final = 160
MAX_ADDRESS_BYTES: Final = 23
"""Longest binary form: IPv6, 1 + 16 bytes, port, 2 + 2, QUIC, 2."""

_NETWORK_BYTES: Final = {4: 2, 6: 4}


def parse_address(text: str) -> tuple[str, int, PeerKey | None]:
    """Read a multiaddr as people write it.

    Args:
        text: at most 160 ASCII characters.

    Returns:
        Host, port, and the peer's key if the address names it.

    Raises:
        DecodeError: it is no canonical multiaddr of QUIC over UDP, or nobody can be reached there.
    """
    if len(text) > MAX_TEXT_CHARS or not text.isascii():
        raise DecodeError("address", "wrong length or characters")
    names, values = _parts(text)
    peer = None
    if names[3:] == ("p2p",):
        peer = parse_peer_id(values[3])
    elif names[3:]:
        raise DecodeError("address", "unknown part after quic-v1")
    host, port = _host_and_port(names, values)
    if format_address(host, port, peer) != text:
        raise DecodeError("address", "not in its canonical form")
    return host, port, peer


def format_address(host: str, port: int, peer: PeerKey | None = None) -> str:
    """Write a multiaddr.

    Args:
        host: an IP literal in canonical form.
        port: 1 to 65535.
        peer: named at the end if given.
    """
    text = f"/ip{6 if ':' in host else 4}/{host}/udp/{port}/quic-v1"
    return text if peer is None else f"{text}/p2p/{peer_id(peer)}"


def pack_address(host: str, port: int) -> bytes:
    """Encode an address, without a peer, as multiaddr does.

    Returns:
        11 bytes (IPv4) or 23 (IPv6).

    Raises:
        DecodeError: host or port is none that a peer can have, or not canonical.
    """
    text = format_address(host, port)
    if parse_address(text) != (host, port, None):
        raise DecodeError("address", "not in its canonical form")
    data: bytes = _multiaddr(text).to_bytes()
    return data


def unpack_address(data: bytes) -> Address:
    """Decode what `pack_address` made.

    Raises:
        DecodeError: it is anything else.
    """
    if len(data) > MAX_ADDRESS_BYTES:
        raise DecodeError("address", "too long")
    names, values = _parts(data)
    host, port = _host_and_port(names, values)
    if pack_address(host, port) != data:
        raise DecodeError("address", "not in its canonical form")
    return host, port


@lru_cache(maxsize=16384)
def network_of(host: str) -> bytes:
    """Name the network of an address, as far as diversity goes: the /16 of IPv4, the /32 of IPv6.

    Args:
        host: an IP literal.

    Returns:
        2 bytes (IPv4) or 4 (IPv6).

    Raises:
        DecodeError: it is no IP literal.
    """
    address = _ip(host)
    return address.packed[: _NETWORK_BYTES[address.version]]


def _multiaddr(source: str | bytes) -> Any:
    # Imported at first use: it brings 100 modules and a tenth of a second, which a command line need not pay.
    from multiaddr import Multiaddr

    return Multiaddr(source)


def _parts(source: str | bytes) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Take a multiaddr apart into names and values."""
    try:
        items = [(protocol.name, value or "") for protocol, value in _multiaddr(source).items()]
    except Exception as error:  # whatever its parsers trip over, the bytes are at fault
        raise DecodeError("address", "not a multiaddr") from error
    return tuple(name for name, _ in items), tuple(value for _, value in items)


def _host_and_port(names: tuple[str, ...], values: tuple[str, ...]) -> Address:
    if names[:3] not in (("ip4", "udp", "quic-v1"), ("ip6", "udp", "quic-v1")):
        raise DecodeError("address", "not QUIC over UDP over IP")
    address, port = _ip(values[0]), int(values[1])
    if port == 0:
        raise DecodeError("address", "port 0")
    if address.is_unspecified or address.is_multicast or values[0] == "255.255.255.255":
        raise DecodeError("address", "not the address of one host")
    # An IPv4 address in the clothes of IPv6 would count as another network.
    if address.version == 6 and address.ipv4_mapped is not None:
        raise DecodeError("address", "IPv4 inside IPv6")
    return str(address), port


def _ip(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address:
    try:
        return ipaddress.ip_address(host)
    except ValueError as error:
        raise DecodeError("address", "not an IP address") from error
