"""Read and write the header that stands before each datagram between a client and the proxy.

RSV (2) ‖ FRAG (1) ‖ address type (1) ‖ address ‖ port (2) ‖ payload

Source: RFC 1928, section 7.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from asyncio_socks_server.core.protocol import ProtocolError, build_udp_header, parse_udp_header
from asyncio_socks_server.core.types import Address

from core.errors import DecodeError
from core.flow import MAX_DATAGRAM_BYTES
from pac.hosts import read_host
from proxy.target import check_host

if TYPE_CHECKING:
    from core.flow import Buffer

LONGEST_HEADER_BYTES: Final = 262
"""That of a name of 255 bytes."""

LARGEST_BYTES: Final = LONGEST_HEADER_BYTES + MAX_DATAGRAM_BYTES
"""Nothing larger can be sent on, whatever its header."""

_SHORTEST_BYTES: Final = 5
"""With fewer there is not even the length of a name; the library would read past the end."""

_WHOLE: Final = b"\0\0\0"
"""RSV, and the FRAG of a datagram that is not in parts."""


class Datagram(NamedTuple):
    """Where a client's datagram shall go, as a `core.flow.FlowRequest` names it, and where its payload begins."""

    host: str
    port: int
    start: int


def read_datagram(data: Buffer) -> Datagram:
    """Read the header of a datagram from a client.

    Raises:
        DecodeError: it is cut off, is a fragment, has a reserved byte that is not 0, port 0 or an unknown type of
            address, or names no host. Fragments are not put together, and must be dropped then (RFC 1928, section 7).
    """
    head = bytes(data[:LONGEST_HEADER_BYTES])
    if len(head) < _SHORTEST_BYTES:
        raise DecodeError("datagram", "cut off")
    if not head.startswith(_WHOLE):
        raise DecodeError("datagram", "a fragment" if head.startswith(_WHOLE[:2]) else "a reserved byte is not 0")
    try:
        address, start, _ = parse_udp_header(head)
    except (ProtocolError, UnicodeDecodeError) as error:
        raise DecodeError("datagram", "no address that can be read") from error
    if not address.port:
        raise DecodeError("datagram", "port 0")
    return Datagram(check_host(address.host), address.port, start)


def write_header(host: str, port: int) -> bytes:
    """Make the header of a datagram to a client.

    Args:
        host: where it comes from, as the exit says: an IP literal.
        port: 1 to 65535.

    Raises:
        DecodeError: `host` is none.
    """
    address = read_host(host)
    if address is None or isinstance(address, str):
        raise DecodeError("datagram", "from no address")
    return build_udp_header(Address(str(address), port))
