"""Read the host that a client asks for: an address, or a name that may be resolved.

What a resolver of the C library would take for an address although it is not written as one (`127.1`, `0x7f.1`,
`2130706433`) is refused, as is every name that the public name system does not know. An encoded label has to encode
something: what decodes to plain letters or digits, or to what people and programs take for such, is refused.
"""

from __future__ import annotations

import re
import unicodedata
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
        # In use inside networks, and not delegated (RFC 6762, appendix G; mail by ICANN's decision of 2018-02-04 too).
        "corp",
        "home",
        "mail",
        "intranet",
        "lan",
        "localdomain",
        "private",
    }
)
"""Last labels of names that mean something else on every network, and are not looked up."""

_LABEL: Final = re.compile(r"[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?", re.ASCII)
_NUMBER: Final = re.compile(r"[0-9]+|0x[0-9a-f]*", re.ASCII)
_ENCODED: Final = "xn--"

_DOTS: Final = frozenset(".\u3002")
"""What stands between labels, or is read as if it did, once compatible forms are one. Source: RFC 3490, section 3.1."""

_NEVER: Final = frozenset({"Cc", "Cs", "Zl", "Zp", "Zs"})
"""Categories of characters that no label has: controls, halves of characters, spaces."""

_IGNORED: Final = re.compile("[\u00ad\u034f\u200b-\u200f\u202a-\u202e\u2060-\u206f\ufe00-\ufe0f\ufeff]")
"""Characters that are not seen, and dropped when a name is read. Source: RFC 5892, section 2.6; Unicode, table
DerivedCoreProperties, of which these are the ones in use."""


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
            name; with `Reason.NO_NAME` for what is no name at all, also when decoded.

    Source: RFC 1123, section 2.1 (names); RFC 3986, section 7.4 (rare address forms); RFC 3492 (encoded labels).
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
    if not all(_encodes_something(label) for label in labels if label.startswith(_ENCODED)):
        raise FlowError(Reason.NO_NAME)
    if _NUMBER.fullmatch(labels[-1]):
        raise FlowError(Reason.NOT_ALLOWED)
    if not allow_special and (len(labels) == 1 or labels[-1] in SPECIAL_NAMES):
        raise FlowError(Reason.NOT_ALLOWED)
    return name


def _encodes_something(label: str) -> bool:
    """Tell whether an encoded label has one reading, and stands for a text that is not ASCII by any reading.

    Labels that the rules for registries do not admit, such as emoji, are in use and pass.

    Args:
        label: `xn--` and up to 59 characters, in lower case.
    """
    encoded = label.removeprefix(_ENCODED)
    try:
        text = encoded.encode("ascii").decode("punycode")
        one_reading = text.encode("punycode") == encoded.encode("ascii")
    except UnicodeError:
        return False
    if not one_reading or any(unicodedata.category(character) in _NEVER for character in text):
        return False
    seen = unicodedata.normalize("NFKC", _IGNORED.sub("", text))
    return not seen.isascii() and not _DOTS.intersection(seen)
