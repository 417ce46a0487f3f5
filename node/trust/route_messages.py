"""Questions to the Linux kernel about the way out of this machine, as bytes: its router, its device.

Source: Linux, `rtnetlink(7)` and `uapi/linux/rtnetlink.h`, `if_link.h`, `neighbour.h`. Numbers are in host order.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from ipaddress import ip_address
from typing import TYPE_CHECKING, Final

from core.errors import DecodeError
from exits.netlink import (
    FAMILIES,
    NLM_F_REQUEST,
    RTM_GETROUTE,
    RTM_NEWROUTE,
    UNICAST,
    UNREACHABLE,
    encode_attribute,
    encode_message,
    read_answer,
    read_attributes,
)

if TYPE_CHECKING:
    from exits.addresses import Address

_ROUTE: Final = struct.Struct("=BBBBBBBBI")
_LINK: Final = struct.Struct("=BxHiII")
_NEIGHBOUR: Final = struct.Struct("=BxxxiHBB")
_NUMBER: Final = struct.Struct("=I")

_RTM_NEWLINK: Final = 16
_RTM_GETLINK: Final = 18
_RTM_NEWNEIGH: Final = 28
_RTM_GETNEIGH: Final = 30
_RTA_DST: Final = 1
_RTA_OIF: Final = 4
_RTA_GATEWAY: Final = 5
_IFLA_IFNAME: Final = 3
_IFLA_CARRIER_CHANGES: Final = 35
_IFF_UP_AND_RUNNING: Final = 0x1 | 0x10000
"""IFF_UP and IFF_LOWER_UP: switched on, and there is a signal."""
_NDA_DST: Final = 1
_NDA_LLADDR: Final = 2
_NUD_UNKNOWN: Final = 0x01 | 0x20
"""NUD_INCOMPLETE and NUD_FAILED: whatever address stands there is not known to be right."""
_NO_DEVICE: Final = frozenset({-19})
_NO_ENTRY: Final = frozenset({-2, -19})
"""ENODEV, and ENOENT."""
_MAC_BYTES: Final = 6
_MAX_NAME_BYTES: Final = 15
"""Source: `IFNAMSIZ` in `uapi/linux/if.h`, without the final zero."""


@dataclass(frozen=True, slots=True)
class Link:
    """A network device.

    Args:
        name: such as `wlan0`.
        carrier_changes: how often its signal came or went since it was made.
        is_up: it is switched on and has a signal.
    """

    name: str
    carrier_changes: int
    is_up: bool


def encode_route_question(address: Address, sequence: int) -> bytes:
    """Ask by which device and router packets to an address would go.

    Args:
        address: nothing is sent to it.
        sequence: comes back with the answer, 32 bits.
    """
    fixed = _ROUTE.pack(FAMILIES[address.version], address.max_prefixlen, 0, 0, 0, 0, 0, 0, 0)
    return encode_message(RTM_GETROUTE, NLM_F_REQUEST, sequence, fixed + encode_attribute(_RTA_DST, address.packed))


def decode_route(data: bytes, sequence: int) -> tuple[int, Address | None] | None:
    """Read the answer.

    Returns:
        The device's number, and the router, None where there is none on the way; None alone without a way.

    Raises:
        DecodeError: it is no answer to this question.
    """
    body = read_answer(data, sequence, RTM_NEWROUTE, _ROUTE.size, UNREACHABLE)
    if body is None or _ROUTE.unpack_from(body)[7] != UNICAST:
        return None
    found = dict(read_attributes(body[_ROUTE.size :]))
    gateway = found.get(_RTA_GATEWAY)
    if gateway is not None and len(gateway) not in (4, 16):
        raise DecodeError("netlink", "a router of another length")
    return _number(found, _RTA_OIF), None if gateway is None else ip_address(gateway)


def encode_link_question(index: int, sequence: int) -> bytes:
    """Ask about a device by its number."""
    return encode_message(_RTM_GETLINK, NLM_F_REQUEST, sequence, _LINK.pack(0, 0, index, 0, 0))


def decode_link(data: bytes, index: int, sequence: int) -> Link | None:
    """Read the answer.

    Returns:
        None if there is no such device any more.

    Raises:
        DecodeError: it is no answer to this question.
    """
    body = read_answer(data, sequence, _RTM_NEWLINK, _LINK.size, _NO_DEVICE)
    if body is None:
        return None
    _, _, found_index, flags, _ = _LINK.unpack_from(body)
    found = dict(read_attributes(body[_LINK.size :]))
    name = found.get(_IFLA_IFNAME, b"").rstrip(b"\0")
    if found_index != index or not 0 < len(name) <= _MAX_NAME_BYTES or not name.isascii():
        raise DecodeError("netlink", "another device")
    is_up = flags & _IFF_UP_AND_RUNNING == _IFF_UP_AND_RUNNING
    return Link(name.decode(), _number(found, _IFLA_CARRIER_CHANGES), is_up)


def encode_neighbour_question(index: int, address: Address, sequence: int) -> bytes:
    """Ask for the hardware address of a machine beside this one, as far as it is known. Since Linux 5.0."""
    fixed = _NEIGHBOUR.pack(FAMILIES[address.version], index, 0, 0, 0)
    return encode_message(_RTM_GETNEIGH, NLM_F_REQUEST, sequence, fixed + encode_attribute(_NDA_DST, address.packed))


def decode_neighbour(data: bytes, sequence: int) -> str:
    """Read the answer.

    Returns:
        `00:11:22:aa:bb:cc`; empty if it is not known.

    Raises:
        DecodeError: it is no answer to this question.
    """
    body = read_answer(data, sequence, _RTM_NEWNEIGH, _NEIGHBOUR.size, _NO_ENTRY)
    if body is None or _NEIGHBOUR.unpack_from(body)[2] & _NUD_UNKNOWN:
        return ""
    mac = dict(read_attributes(body[_NEIGHBOUR.size :])).get(_NDA_LLADDR, b"")
    return mac.hex(":") if len(mac) == _MAC_BYTES else ""


def _number(attributes: dict[int, bytes], kind: int) -> int:
    value = attributes.get(kind, b"")
    if len(value) != _NUMBER.size:
        raise DecodeError("netlink", "a number of another length")
    number: int = _NUMBER.unpack(value)[0]
    return number
