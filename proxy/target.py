"""Read a destination out of a client's words, and tell whether it is this machine."""

from __future__ import annotations

import re
from ipaddress import IPv4Address, IPv6Address
from typing import Final

from core.errors import DecodeError
from core.flow import MAX_HOST_BYTES
from pac.hosts import read_host

_NAME: Final = re.compile(r"[!$&'()*+,;=~._0-9A-Za-z-]+")
"""The characters of a registered name without percent-encoding (RFC 3986, section 3.2.2)."""

_PORT: Final = re.compile(r"[0-9]{1,5}")

type Address = IPv4Address | IPv6Address


def check_host(text: str) -> str:
    """Bring a destination's host into the form that a `FlowRequest` has.

    Args:
        text: an ASCII name of 1 to 255 bytes, or an IP literal without brackets.

    Returns:
        The name in lower case, or the literal in its shortest form.

    Raises:
        DecodeError: it is neither, or holds characters that no host has.
    """
    if not 0 < len(text) <= MAX_HOST_BYTES or not text.isascii():
        raise DecodeError("host", "a host is 1 to 255 bytes of ASCII")
    if ":" in text:
        address = None if text.startswith("[") else read_host(text)
        if address is None:
            raise DecodeError("host", "this is no IPv6 address")
        return str(address)
    if not _NAME.fullmatch(text):
        raise DecodeError("host", "a host holds letters, digits, dots and hyphens")
    return text.lower()


def check_port(text: str) -> int:
    """Read a destination's port, 1 to 65535.

    Raises:
        DecodeError: it is not one.
    """
    if not text.isascii() or not _PORT.fullmatch(text) or not 0 < int(text) < 65536:
        raise DecodeError("port", "a port is a number from 1 to 65535")
    return int(text)


def read_authority(text: str, default_port: int | None = None) -> tuple[str, int]:
    """Read `host:port`, with an IPv6 address in brackets.

    Args:
        text: at most a request's head long; a user name before `@` is refused (RFC 9110, section 4.2.4).
        default_port: used when no port is given; None when one must be.

    Raises:
        DecodeError: the text is anything else.

    Source: RFC 9112, section 3.2.3.
    """
    if text.startswith("["):
        host, mark, rest = text[1:].partition("]")
        if not mark or ":" not in host or (rest and not rest.startswith(":")):
            raise DecodeError("authority", "after [ comes an IPv6 address, then ], then nothing or :port")
        digits = rest[1:]
    else:
        host, mark, digits = text.partition(":")
        if ":" in digits:
            raise DecodeError("authority", "an IPv6 address stands in brackets")
    if not digits and default_port is not None:
        return check_host(host), default_port
    return check_host(host), check_port(digits)


def is_localhost(host: str) -> bool:
    """Tell whether a name always means this machine (RFC 6761, section 6.3)."""
    name = host.lower().removesuffix(".")
    return name == "localhost" or name.endswith(".localhost")


def is_local(address: Address) -> bool:
    """Tell whether an address means this machine on every machine. The unspecified one connects to loopback."""
    if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
        address = address.ipv4_mapped
    return address.is_loopback or address.is_unspecified
