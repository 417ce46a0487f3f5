"""Read a host as browsers write it: a name, an IPv4 literal or an IPv6 literal, and nothing else."""

from __future__ import annotations

import re
from ipaddress import IPv4Address, IPv6Address
from typing import Final

MAX_NAME_BYTES: Final = 253
"""Longest name in dotted form without the final dot (RFC 1035, section 2.3.4)."""

NAME: Final = r"[a-z0-9_-]{1,63}(?:\.[a-z0-9_-]{1,63})*"
_OCTET: Final = r"(?:25[0-5]|2[0-4][0-9]|1[0-9][0-9]|[1-9]?[0-9])"
IPV4: Final = rf"{_OCTET}(?:\.{_OCTET}){{3}}"
ENDS_IN_NUMBER: Final = r"(?:.*\.)?(?:[0-9]+|0x[0-9a-f]*)"
"""The three expressions mean the same in Python and in ECMAScript 5; the PAC script uses them as they stand."""

_NAME: Final = re.compile(NAME)
_IPV4: Final = re.compile(IPV4)
_ENDS_IN_NUMBER: Final = re.compile(ENDS_IN_NUMBER)

_CHANGED_BY_IDNA_2008: Final = frozenset("\u00df\u03c2\u200c\u200d")
"""Characters that the 2003 and the 2008 form of IDNA turn into different names (RFC 5894, section 7.2)."""

type Host = str | IPv4Address | IPv6Address
"""A lower-case ASCII name without a final dot, or an address."""


def read_host(text: str) -> Host | None:
    """Bring a host into the one form in which hosts are compared.

    A text that ends in a number without being a dotted quad (`127.1`, `0x7f000001`) is nothing: programs disagree on
    what it means.

    Args:
        text: a name (Unicode is turned into A-labels), an IPv4 literal, or an IPv6 literal with or without brackets.

    Returns:
        The host, or None when `text` is not one.

    Source: the host parser of the WHATWG URL standard, sections 3.5 to 3.7.
    """
    if not text.isascii():
        text = _ascii(text)
    text = text.lower()
    if ":" in text:
        return _ipv6(text[1:-1] if text.startswith("[") and text.endswith("]") else text)
    text = text.removesuffix(".")
    if _IPV4.fullmatch(text):
        return IPv4Address(text)
    if len(text) > MAX_NAME_BYTES or _ENDS_IN_NUMBER.fullmatch(text) or not _NAME.fullmatch(text):
        return None
    return text


def _ipv6(text: str) -> IPv6Address | None:
    if "%" in text:
        return None
    try:
        return IPv6Address(text)
    except ValueError:
        return None


def _ascii(text: str) -> str:
    """Turn a Unicode name into A-labels, or into the empty text when the two forms of IDNA could disagree."""
    if _CHANGED_BY_IDNA_2008.intersection(text):
        return ""
    try:
        return text.encode("idna").decode("ascii")
    except UnicodeError:
        return ""
