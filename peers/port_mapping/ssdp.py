"""Find a UPnP gateway: the search, and the answer that says where it describes itself.

The library for the rest of UPnP can do this too. It is not used here, since it keeps hundreds of strangers' datagrams,
lets some of them raise in the event loop, and writes addresses into the log.

Source: UPnP Device Architecture 1.1, section 1.3.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from core.errors import DecodeError

if TYPE_CHECKING:
    from peers.addresses import Address

GROUP: Final[Address] = ("239.255.255.250", 1900)
GATEWAY_DEVICE: Final = "urn:schemas-upnp-org:device:InternetGatewayDevice:1"
"""Newer versions answer to this one too (section 1.3.2)."""
MAX_BYTES: Final = 2048

_LOCATION: Final = re.compile(r"http://([0-9.]{7,15})(?::([0-9]{1,5}))?(/[!-~]{0,200})?")


def encode_search(target: Address) -> bytes:
    """Write a search for gateways.

    Args:
        target: where it is sent.
    """
    lines = (
        "M-SEARCH * HTTP/1.1",
        f"HOST: {target[0]}:{target[1]}",
        'MAN: "ssdp:discover"',
        "MX: 1",
        f"ST: {GATEWAY_DEVICE}",
    )
    return "".join(f"{line}\r\n" for line in (*lines, "")).encode()


def decode_found(data: bytes, gateway: str) -> str:
    """Read the answer to a search.

    Args:
        data: a datagram that came from the gateway.
        gateway: its IPv4 literal. It may name no other host: who follows that would ask whatever it wants asked.

    Returns:
        The URL of its description, plain HTTP at the gateway.

    Raises:
        DecodeError: it is no such answer.
    """
    if len(data) > MAX_BYTES or not data.isascii():
        raise DecodeError("SSDP", "wrong length or characters")
    first, *lines = data.decode("ascii").split("\r\n")
    if not re.fullmatch(r"HTTP/1\.[01] 200( .*)?", first):
        raise DecodeError("SSDP", "no answer to a search")
    headers: dict[str, str] = {}
    for line in lines:
        name, colon, value = line.partition(":")
        if colon and headers.setdefault(name.strip().lower(), value.strip()) != value.strip():
            raise DecodeError("SSDP", "one header twice")
    if headers.get("st") != GATEWAY_DEVICE:
        raise DecodeError("SSDP", "not a gateway")
    location = headers.get("location", "")
    found = _LOCATION.fullmatch(location)
    if found is None or found[1] != gateway or not 0 < int(found[2] or 80) < 65536:
        raise DecodeError("SSDP", "describes itself elsewhere")
    return location
