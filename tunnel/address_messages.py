"""Control messages about where peers are seen and met: bodies to bytes and back.

    OBSERVED  8  address                     to the side that dialled: where its packets come from
    CHECK     9  port (2)                    to the side that answered: dial that host's port, from another one
    CHECKED  10  outcome (1)                 1: somebody answered there; 0: nobody did, or it was not tried
    MEET     11  peer (32)                   to a neighbour that both know: help me to a link with this peer
    KNOCK    12  address                     to the peer that was named: somebody dials you from there
    MET      13  peer (32) ‖ address         to the one that asked: dial there; without an address, it cannot be done

An address is an IPv4 (4) or IPv6 (16) address ‖ UDP port (2). No host is ever taken from whoever asks for something:
it is where the neighbour that acts sees the packets of the peer in question.
"""

from __future__ import annotations

from ipaddress import IPv6Address, ip_address
from typing import TYPE_CHECKING, Final

from core.errors import DecodeError
from core.ids import PeerKey

if TYPE_CHECKING:
    from tunnel.engines.seam import Address

PEER_BYTES: Final = 32
PORT_BYTES: Final = 2
_SIZES: Final = (4 + PORT_BYTES, 16 + PORT_BYTES)


def encode_address(address: Address) -> bytes:
    """Body of OBSERVED and KNOCK.

    Args:
        address: an IP literal without a scope, and a port.

    Returns:
        6 bytes (IPv4) or 18 (IPv6).
    """
    host, port = address
    return ip_address(host).packed + port.to_bytes(PORT_BYTES)


def decode_address(body: bytes) -> Address:
    """Read what `encode_address` made.

    Raises:
        DecodeError: wrong length, or no host can have it.
    """
    if len(body) not in _SIZES:
        raise DecodeError("address message", "wrong length")
    host, port = ip_address(body[:-PORT_BYTES]), int.from_bytes(body[-PORT_BYTES:])
    if port == 0 or host.is_unspecified or host.is_multicast:
        raise DecodeError("address message", "not the address of one host")
    if isinstance(host, IPv6Address) and host.ipv4_mapped is not None:
        raise DecodeError("address message", "IPv4 inside IPv6")
    return str(host), port


def encode_port(port: int) -> bytes:
    """Body of CHECK, 2 bytes."""
    return port.to_bytes(PORT_BYTES)


def decode_port(body: bytes) -> int:
    """Read the body of CHECK.

    Raises:
        DecodeError: wrong length, or port 0.
    """
    port = int.from_bytes(body)
    if len(body) != PORT_BYTES or port == 0:
        raise DecodeError("address message", "no port")
    return port


def encode_outcome(reached: bool) -> bytes:
    """Body of CHECKED, 1 byte."""
    return bytes([reached])


def decode_outcome(body: bytes) -> bool:
    """Read the body of CHECKED.

    Raises:
        DecodeError: it is not one byte, 0 or 1.
    """
    if body not in (b"\0", b"\1"):
        raise DecodeError("address message", "wrong outcome")
    return body == b"\1"


def decode_peer(body: bytes) -> PeerKey:
    """Read the body of MEET.

    Raises:
        DecodeError: wrong length.
    """
    if len(body) != PEER_BYTES:
        raise DecodeError("address message", "wrong length")
    return PeerKey(body)


def encode_meeting(peer: PeerKey, address: Address | None) -> bytes:
    """Body of MET: 32, 38 or 50 bytes."""
    return peer + (b"" if address is None else encode_address(address))


def decode_meeting(body: bytes) -> tuple[PeerKey, Address | None]:
    """Read what `encode_meeting` made.

    Raises:
        DecodeError: wrong length, or no host can have the address.
    """
    peer = decode_peer(body[:PEER_BYTES])
    rest = body[PEER_BYTES:]
    return peer, decode_address(rest) if rest else None
