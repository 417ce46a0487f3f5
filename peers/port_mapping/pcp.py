"""The Port Control Protocol: MAP and ANNOUNCE of a client, without options.

Source: RFC 6887, sections 7 (common header), 11.1 (MAP) and 14.1 (ANNOUNCE).
"""

from __future__ import annotations

import hmac
import struct
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address
from typing import TYPE_CHECKING, Final

from core.errors import DecodeError

if TYPE_CHECKING:
    from peers.addresses import Address

VERSION: Final = 2
NONCE_BYTES: Final = 12
MAX_BYTES: Final = 1100
UNSUPPORTED_VERSION: Final = 1
"""Result code of a server that does not speak this version. A NAT-PMP server sends it too, at the same place."""

_ANNOUNCE: Final = 0
_MAP: Final = 1
_RESPONSE: Final = 0x80
_UDP: Final = 17
_HEADER: Final = struct.Struct(">BBHI16s")
_ANSWER: Final = struct.Struct(">BBBBII12s")
_BODY: Final = struct.Struct(">12sB3sHH16s")


@dataclass(frozen=True, slots=True)
class MapRequest:
    """Ask for the mapping of a UDP port.

    Args:
        client: own IP literal, as the gateway sees it.
        nonce: 12 random bytes, the same ones for every request about this mapping.
        port: own UDP port.
        wanted: external address and port to propose; the address may be `0.0.0.0`.
        lifetime_s: 0 to delete the mapping.
    """

    client: str
    nonce: bytes
    port: int
    wanted: Address
    lifetime_s: int

    def encode(self) -> bytes:
        """Write the request, 60 bytes."""
        header = _HEADER.pack(VERSION, _MAP, 0, self.lifetime_s, _pack_ip(self.client))
        host, port = self.wanted
        return header + _BODY.pack(self.nonce, _UDP, bytes(3), self.port, port, _pack_ip(host))


@dataclass(frozen=True, slots=True)
class Answer:
    """What a server answered.

    Args:
        result: 0 for success.
        lifetime_s: how long the mapping, or the refusal, lasts.
        epoch_s: seconds since the server began with an empty table.
        address: external address and port; None in a refusal and in the answer to ANNOUNCE.
    """

    result: int
    lifetime_s: int
    epoch_s: int
    address: Address | None = None


def encode_announce(client: str) -> bytes:
    """Write a request that only asks for the epoch, 24 bytes."""
    return _HEADER.pack(VERSION, _ANNOUNCE, 0, 0, _pack_ip(client))


def decode_announce(data: bytes) -> Answer:
    """Read the answer to ANNOUNCE.

    Raises:
        DecodeError: it is no such answer.
    """
    return _decode_header(data, _ANNOUNCE)


def decode_map(data: bytes, request: MapRequest) -> Answer:
    """Read the answer to a request for a mapping.

    Raises:
        DecodeError: it is no such answer, or belongs to another request.
    """
    answer = _decode_header(data, _MAP)
    if answer.result == UNSUPPORTED_VERSION:
        return answer
    if len(data) < _ANSWER.size + _BODY.size:
        raise DecodeError("PCP", "too short for MAP")
    nonce, protocol, _, inner, outer, host = _BODY.unpack_from(data, _ANSWER.size)
    if not hmac.compare_digest(nonce, request.nonce) or protocol != _UDP or inner != request.port:
        raise DecodeError("PCP", "answers another request")
    if answer.result:
        return answer
    if not outer and request.lifetime_s:
        raise DecodeError("PCP", "maps to no port")
    return Answer(0, answer.lifetime_s, answer.epoch_s, (_unpack_ip(host), outer))


def _decode_header(data: bytes, opcode: int) -> Answer:
    """Read what all answers begin with. A server without our version answers with its own, and perhaps in 8 bytes."""
    if len(data) >= 4 and data[0] != VERSION and data[1] == _RESPONSE | opcode and data[3] == UNSUPPORTED_VERSION:
        return Answer(UNSUPPORTED_VERSION, 0, 0)
    if not _ANSWER.size <= len(data) <= MAX_BYTES or len(data) % 4:
        raise DecodeError("PCP", "wrong length")
    version, kind, _, result, lifetime_s, epoch_s, _ = _ANSWER.unpack_from(data)
    if version != VERSION or kind != _RESPONSE | opcode:
        raise DecodeError("PCP", "wrong version or opcode")
    return Answer(result, lifetime_s, epoch_s)


def _pack_ip(host: str) -> bytes:
    """Write an address in 16 bytes, IPv4 as IPv4-mapped. Source: RFC 6887, section 5."""
    return IPv6Address(host).packed if ":" in host else bytes(10) + b"\xff\xff" + IPv4Address(host).packed


def _unpack_ip(data: bytes) -> str:
    address = IPv6Address(data)
    return str(address.ipv4_mapped or address)
