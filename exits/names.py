"""Read the host that a client asks for: an address, or a name that may be resolved.

What a resolver of the C library would take for an address although it is not written as one (`127.1`, `0x7f.1`,
`2130706433`) is refused, as is every name that the public name system does not know.
"""

from __future__ import annotations

import re
from ipaddress import AddressValueError, IPv4Address, IPv6Address
from typing import TYPE_CHECKING, Final

from core.errors import FlowError, Reason
from exits.addresses import normalise

if TYPE_CHECKING:
    from exits.addresses import Address

MAX_NAME_BYTES: Final = 253
"""Longest name without the trailing dot, in bytes (RFC 1035, section 2.3.4: 255 on the wire)."""

SPECIAL_NAMES: Final = frozenset(
    {
        "localhost",  # RFC 6761, section 6.3
        "test",  # RFC 6761, section 6.2
        "invalid",  # RFC 6761, section 6.4
        "example",  # RFC 6761, section 6.5; example.com and its like are real
        "local",  # RFC 6762, section 3
        "onion",  # RFC 7686
        "alt",  # RFC 9476
        "arpa",  # RFC 3172; home.arpa is RFC 8375
        "internal",  # set apart for private use by ICANN, 2024
        # In use inside networks, and not delegated (RFC 6762, appendix G).
        "corp",
        "home",
        "intranet",
        "lan",
        "localdomain",
        "private",
    }
)
"""Last labels of names that mean something else on every network, and are not looked up."""

_LABEL: Final = re.compile(r"[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?", re.ASCII)
_NUMBER: Final = re.compile(r"[0-9]+|0x[0-9a-f]*", re.ASCII)


def parse_destination(host: str, *, allow_special: bool = False) -> Address | str:
    """Read a host out of a request.

    Args:
        host: what the client sent: an IP literal without brackets or an ASCII name of up to 253 bytes, with or without
            a trailing dot.
        allow_special: let single labels and the names under `SPECIAL_NAMES` pass; for a resolver that knows them.

    Returns:
        An address, with IPv4-mapped ones as IPv4; or a name in lower case without the trailing dot.

    Raises:
        FlowError: with `Reason.NOT_ALLOWED` for a scoped address, a number in disguise, a single label or a special
            name; with `Reason.NO_NAME` for what is no name at all.

    Source: RFC 1123, section 2.1 (names); RFC 3986, section 7.4 (rare address forms).
    """
    if not host.isascii():
        raise FlowError(Reason.NO_NAME)
    if ":" in host:
        return _parse_v6(host)
    try:
        return IPv4Address(host)
    except AddressValueError:
        return _parse_name(host.lower().removesuffix("."), allow_special)


def _parse_v6(host: str) -> Address:
    try:
        address = IPv6Address(host)
    except AddressValueError:
        raise FlowError(Reason.NO_NAME) from None
    if address.scope_id is not None:
        raise FlowError(Reason.NOT_ALLOWED)
    return normalise(address)


def _parse_name(name: str, allow_special: bool) -> str:
    labels = name.split(".")
    if len(name) > MAX_NAME_BYTES or not all(_LABEL.fullmatch(label) for label in labels):
        raise FlowError(Reason.NO_NAME)
    if _NUMBER.fullmatch(labels[-1]):
        raise FlowError(Reason.NOT_ALLOWED)
    if not allow_special and (len(labels) == 1 or labels[-1] in SPECIAL_NAMES):
        raise FlowError(Reason.NOT_ALLOWED)
    return name
