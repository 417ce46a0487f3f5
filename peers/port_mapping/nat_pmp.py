"""The NAT Port Mapping Protocol: the external address, and the mapping of a UDP port.

Source: RFC 6886, sections 3.2 (external address), 3.3 and 3.4 (mappings), 3.5 (result codes).
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from ipaddress import IPv4Address
from typing import Final

from core.errors import DecodeError

PORT: Final = 5351
"""Where the gateway listens, for PCP as well (RFC 6887, section 19.1)."""

_VERSION: Final = 0
_ADDRESS: Final = 0
_MAP_UDP: Final = 1
_RESPONSE: Final = 128
_REQUEST: Final = struct.Struct(">BBHHHI")
_HEADER: Final = struct.Struct(">BBHI")
_ADDRESS_BODY: Final = struct.Struct(">4s")
_MAP_BODY: Final = struct.Struct(">HHI")

ADDRESS_REQUEST: Final = bytes([_VERSION, _ADDRESS])


@dataclass(frozen=True, slots=True)
class AddressAnswer:
    """The external address.

    Args:
        result: 0 for success.
        epoch_s: seconds since the gateway began with an empty table.
        host: an IPv4 literal; empty in a refusal.
    """

    result: int
    epoch_s: int
    host: str = ""


@dataclass(frozen=True, slots=True)
class MapAnswer:
    """The mapping.

    Args:
        result: 0 for success.
        epoch_s: seconds since the gateway began with an empty table.
        port: the external port; 0 in a refusal and when a mapping was deleted.
        lifetime_s: how long the mapping lasts; 0 when it was deleted.
    """

    result: int
    epoch_s: int
    port: int = 0
    lifetime_s: int = 0


def encode_map(port: int, wanted: int, lifetime_s: int) -> bytes:
    """Write a request for a mapping, 12 bytes.

    Args:
        port: own UDP port.
        wanted: external port to propose.
        lifetime_s: 0 to delete the mapping; then `wanted` is to be 0 (section 3.4).
    """
    return _REQUEST.pack(_VERSION, _MAP_UDP, 0, port, wanted, lifetime_s)


def decode_address(data: bytes) -> AddressAnswer:
    """Read the answer to `ADDRESS_REQUEST`.

    Raises:
        DecodeError: it is no such answer.
    """
    result, epoch_s = _decode_header(data, _ADDRESS, _ADDRESS_BODY.size)
    if result:
        return AddressAnswer(result, epoch_s)
    (host,) = _ADDRESS_BODY.unpack_from(data, _HEADER.size)
    return AddressAnswer(0, epoch_s, str(IPv4Address(host)))


def decode_map(data: bytes, port: int, lifetime_s: int) -> MapAnswer:
    """Read the answer to a request for a mapping of `port`.

    Raises:
        DecodeError: it is no such answer, or belongs to another request.
    """
    result, epoch_s = _decode_header(data, _MAP_UDP, _MAP_BODY.size)
    if result:
        return MapAnswer(result, epoch_s)
    inner, outer, granted_s = _MAP_BODY.unpack_from(data, _HEADER.size)
    if inner != port or bool(granted_s) != bool(lifetime_s):
        raise DecodeError("NAT-PMP", "answers another request")
    if lifetime_s and not outer:
        raise DecodeError("NAT-PMP", "maps to no port")
    return MapAnswer(0, epoch_s, outer, granted_s)


def _decode_header(data: bytes, opcode: int, body_bytes: int) -> tuple[int, int]:
    """Read what all answers begin with. Only a success must have a body: some gateways leave it out of a refusal."""
    if len(data) not in (_HEADER.size, _HEADER.size + body_bytes):
        raise DecodeError("NAT-PMP", "wrong length")
    version, kind, result, epoch_s = _HEADER.unpack_from(data)
    if version != _VERSION or kind != _RESPONSE + opcode:
        raise DecodeError("NAT-PMP", "wrong version or opcode")
    if not result and len(data) == _HEADER.size:
        raise DecodeError("NAT-PMP", "success without a body")
    return result, epoch_s
