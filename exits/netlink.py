"""Questions to the Linux kernel about its routes and this machine's addresses, as bytes.

What `routes` needs: one question for the route of an address, one for all IPv6 addresses, and their answers; and the
form that all questions and answers share. What has another form than the kernel's is refused, not guessed at.

Source: Linux, `rtnetlink(7)` and `uapi/linux/netlink.h`, `rtnetlink.h`, `if_addr.h`. Numbers are in host order.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from ipaddress import IPv6Address
from typing import TYPE_CHECKING, Final

from core.errors import DecodeError

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

    from exits.addresses import Address

UNICAST: Final = 1
"""RTN_UNICAST: the kind of a route that leads to other machines."""

FAMILIES: Final = {4: 2, 6: 10}
"""AF_INET and AF_INET6 on Linux."""

_HEADER: Final = struct.Struct("=IHHII")
_ATTRIBUTE: Final = struct.Struct("=HH")
_ROUTE: Final = struct.Struct("=BBBBBBBBI")
_ADDRESS: Final = struct.Struct("=BBBBI")
_ERROR: Final = struct.Struct("=i")

UNREACHABLE: Final = frozenset({-101, -113})
"""ENETUNREACH and EHOSTUNREACH on Linux."""

_NLMSG_ERROR: Final = 2
_NLMSG_DONE: Final = 3
_RTM_NEWADDR: Final = 20
_RTM_GETADDR: Final = 22
RTM_NEWROUTE: Final = 24
RTM_GETROUTE: Final = 26
NLM_F_REQUEST: Final = 0x1
_NLM_F_DUMP: Final = 0x300
_RTM_F_FIB_MATCH: Final = 0x2000
"""Answer with the entry of the table that matched, not with the way that follows from it. Since Linux 4.13."""

_RTA_DST: Final = 1
_RTA_SRC: Final = 2
_IFA_KINDS: Final = frozenset({1, 2})
"""IFA_ADDRESS and IFA_LOCAL: on a line between two machines, the other end and this one."""

_TYPE_MASK: Final = 0x3FFF
"""The upper two bits of an attribute's type are flags."""


@dataclass(frozen=True, slots=True)
class Route:
    """The entry of a routing table that matches an address.

    Args:
        kind: a number of the kernel; `UNICAST` is one.
        prefix_length: how many leading bits the entry looks at, 0 to 32 or 128.
    """

    kind: int
    prefix_length: int


def encode_route_question(address: Address, source: Address | None, sequence: int) -> bytes:
    """Ask which entry matches an address.

    Args:
        address: the destination.
        source: the own address, of the same family, that packets would come from; None for the kernel's choice.
        sequence: comes back with the answer, 32 bits.
    """
    source_bits = 0 if source is None else source.max_prefixlen
    message = _ROUTE.pack(
        FAMILIES[address.version], address.max_prefixlen, source_bits, 0, 0, 0, 0, 0, _RTM_F_FIB_MATCH
    )
    message += encode_attribute(_RTA_DST, address.packed)
    if source is not None:
        message += encode_attribute(_RTA_SRC, source.packed)
    return encode_message(RTM_GETROUTE, NLM_F_REQUEST, sequence, message)


def encode_addresses_question(sequence: int) -> bytes:
    """Ask for all IPv6 addresses of this machine.

    Args:
        sequence: comes back with the answers, 32 bits.
    """
    return encode_message(_RTM_GETADDR, NLM_F_REQUEST | _NLM_F_DUMP, sequence, _ADDRESS.pack(FAMILIES[6], 0, 0, 0, 0))


def decode_route(data: bytes, address: Address, sequence: int) -> Route | None:
    """Read the answer to `encode_route_question`.

    Args:
        data: one datagram of the kernel.
        address: which was asked for.
        sequence: as in the question.

    Returns:
        None if the kernel has no way to the address.

    Raises:
        DecodeError: it is no answer to this question.
    """
    body = read_answer(data, sequence, RTM_NEWROUTE, _ROUTE.size, UNREACHABLE)
    if body is None:
        return None
    family, length, _, _, _, _, _, route_kind, _ = _ROUTE.unpack_from(body)
    if family != FAMILIES[address.version] or length > address.max_prefixlen:
        raise DecodeError("netlink", "a route of another family")
    destination = dict(read_attributes(body[_ROUTE.size :])).get(_RTA_DST, bytes(address.max_prefixlen // 8))
    shift = address.max_prefixlen - length
    if len(destination) != len(address.packed) or int.from_bytes(destination) >> shift != int(address) >> shift:
        raise DecodeError("netlink", "a route that does not match")
    return Route(route_kind, length)


def decode_addresses(data: bytes, sequence: int) -> tuple[list[IPv6Address], bool]:
    """Read one datagram of the answer to `encode_addresses_question`.

    Returns:
        The addresses in it, and whether it was the last.

    Raises:
        DecodeError: it is no answer to this question.
    """
    found: list[IPv6Address] = []
    for kind, body in read_messages(data, sequence):
        if kind == _NLMSG_DONE:
            if len(body) < _ERROR.size or _ERROR.unpack_from(body)[0]:
                raise DecodeError("netlink", "a list that was broken off")
            return found, True
        if kind != _RTM_NEWADDR or len(body) < _ADDRESS.size:
            raise DecodeError("netlink", "no address")
        if body[0] != FAMILIES[6]:
            continue
        values = [value for name, value in read_attributes(body[_ADDRESS.size :]) if name in _IFA_KINDS]
        if not values or any(len(value) != 16 for value in values):
            raise DecodeError("netlink", "an address of another length")
        found += map(IPv6Address, values)
    return found, False


def read_answer(data: bytes, sequence: int, kind: int, fixed_bytes: int, absent: Collection[int]) -> bytes | None:
    """Read an answer that is one message.

    Args:
        data: one datagram of the kernel.
        sequence: as in the question.
        kind: what the message must be.
        fixed_bytes: length of its fixed part.
        absent: the kernel's errors, negative, that say: there is none.

    Returns:
        Its body; None if there is none of what was asked for.

    Raises:
        DecodeError: it is no answer to this question.
    """
    ((found, body),) = _one(read_messages(data, sequence))
    if found == _NLMSG_ERROR and len(body) >= _ERROR.size and _ERROR.unpack_from(body)[0] in absent:
        return None
    if found != kind or len(body) < fixed_bytes:
        raise DecodeError("netlink", "another kind of answer")
    return body


def encode_message(kind: int, flags: int, sequence: int, body: bytes) -> bytes:
    """Put the header before a question."""
    return _HEADER.pack(_HEADER.size + len(body), kind, flags, sequence, 0) + body


def encode_attribute(kind: int, value: bytes) -> bytes:
    """An attribute whose value's length is a multiple of four."""
    return _ATTRIBUTE.pack(_ATTRIBUTE.size + len(value), kind) + value


def _one(messages: Iterator[tuple[int, bytes]]) -> list[tuple[int, bytes]]:
    found = list(messages)
    if len(found) != 1:
        raise DecodeError("netlink", "not one message")
    return found


def read_messages(data: bytes, sequence: int) -> Iterator[tuple[int, bytes]]:
    """Yield kind and body of the messages in a datagram."""
    at = 0
    while at < len(data):
        if len(data) - at < _HEADER.size:
            raise DecodeError("netlink", "a cut header")
        length, kind, _, echoed, _ = _HEADER.unpack_from(data, at)
        if echoed != sequence or not _HEADER.size <= length <= len(data) - at:
            raise DecodeError("netlink", "a message of another length or question")
        yield kind, data[at + _HEADER.size : at + length]
        at += _aligned(length)


def read_attributes(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Yield type and value of the attributes behind a message's fixed part."""
    at = 0
    while at < len(data):
        if len(data) - at < _ATTRIBUTE.size:
            raise DecodeError("netlink", "a cut attribute")
        length, kind = _ATTRIBUTE.unpack_from(data, at)
        if not _ATTRIBUTE.size <= length <= len(data) - at:
            raise DecodeError("netlink", "an attribute of another length")
        yield kind & _TYPE_MASK, data[at + _ATTRIBUTE.size : at + length]
        at += _aligned(length)


def _aligned(length: int) -> int:
    return (length + 3) & ~3
