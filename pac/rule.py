"""One rule as a person writes it: what happens, to which hosts, and how the tunnel shall carry them."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import Enum
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_network
from typing import Final, Self

from core.errors import ConfigError
from core.flow import NO_OPTIONS, SiteOptions
from pac.hosts import ENDS_IN_NUMBER, read_host
from pac.options import format_options, read_options

MAX_RULE_CHARACTERS: Final = 300

SCHEMES: Final = ("http", "https")

_PORT: Final = re.compile(r"[0-9]{1,5}")
_PREFIX: Final = re.compile(r"[0-9]{1,3}")
_GLOB: Final = re.compile(rf"(?!{ENDS_IN_NUMBER}$)[a-z0-9_*-]+(?:\.[a-z0-9_*-]+)*\.[a-z0-9_-]+")

type Network = IPv4Network | IPv6Network


class Action(Enum):
    """What happens to a connection."""

    TUNNEL = "tunnel"
    BYPASS = "bypass"
    BLOCK = "block"


class Kind(Enum):
    """What a rule compares with the host."""

    EXACT = "exact"
    DOMAIN = "domain"
    WILDCARD = "wildcard"
    NETWORK = "network"


_ACTIONS: Final = {action.value: action for action in Action}


@dataclass(frozen=True, slots=True)
class Rule:
    """One line of a list of rules. `str()` gives the text that `parse` reads back.

    Args:
        kind: how `pattern` is compared.
        pattern: `example.com`; `.example.com` for the domain with what is below it; `*.corp.example`; `10.0.0.0/8`.
        port: the only port that is meant, 1 to 65535; None for all.
        scheme: the only scheme that is meant, `http` or `https`; None for all.
        action: what happens to a connection there.
        options: of the circuits that carry it; only for what is tunnelled.
    """

    kind: Kind
    pattern: str
    port: int | None = None
    scheme: str | None = None
    action: Action = Action.BYPASS
    options: SiteOptions = NO_OPTIONS

    @classmethod
    def parse(cls, text: str, where: str = "rule") -> Self:
        """Read a rule as a person writes it.

        Args:
            text: `[bypass|tunnel|block]` `[http://|https://]` host `[:port]` `[option …]`. The host is an exact name, a
                domain with a dot in front, a name with `*` (any characters, dots as well) before its last part, an
                address, or a network such as `10.0.0.0/8` or `fc00::/7`. An IPv6 address stands in brackets when a
                port follows. A rule that says no action bypasses, or tunnels if it has options.
            where: the setting or line that holds the text, for the error.

        Raises:
            ConfigError: the text is not a rule, or would name every site.
        """
        words = text.split()
        if not words or len(text) > MAX_RULE_CHARACTERS:
            raise ConfigError(where, f"a rule has 1 to {MAX_RULE_CHARACTERS} characters")
        action = _ACTIONS.get(words[0].lower()) if len(words) > 1 else None
        if action is not None:
            del words[0]
        options = read_options(words[1:], where) if len(words) > 1 else NO_OPTIONS
        if action is None:
            action = Action.BYPASS if options == NO_OPTIONS else Action.TUNNEL
        elif action is not Action.TUNNEL and options != NO_OPTIONS:
            raise ConfigError(where, f"options say how a site is tunnelled, and this rule says {action.value}")
        rule = cls(*_target(words[0], where), action, options)
        may_grow = not text.isascii() or len(text) + len(words[0]) > MAX_RULE_CHARACTERS
        if may_grow and len(str(rule)) > MAX_RULE_CHARACTERS:
            raise ConfigError(where, f"a rule has 1 to {MAX_RULE_CHARACTERS} characters, names in their xn-- form")
        return rule

    def __str__(self) -> str:
        word = "" if self.action is Action.BYPASS else f"{self.action.value} "
        if self.options != NO_OPTIONS and self.target not in _ACTIONS:
            word = ""
        return word + self.target + format_options(self.options)

    @property
    def target(self) -> str:
        """The hosts, the port and the scheme that are meant, as text. Two rules for the same have the same."""
        body = self.pattern
        if ":" in body and (self.port is not None or "/" not in body):
            body = f"[{body}]"
        scheme = "" if self.scheme is None else f"{self.scheme}://"
        return scheme + body + ("" if self.port is None else f":{self.port}")

    @property
    def conditions(self) -> int:
        """How much is asked beside the host, to tell narrower rules from wider ones: 0 to 3."""
        return 2 * (self.port is not None) + (self.scheme is not None)

    @property
    def key(self) -> str | None:
        """Where a table holds the rule: `=host`, `.domain`, `*.domain` (what is below it) or as `network_key` says.

        Returns:
            None for a wildcard that no table can hold.
        """
        if self.kind is Kind.NETWORK:
            network = ip_network(self.pattern)
            return network_key(network.network_address, network.prefixlen)
        if self.kind is Kind.EXACT:
            return "=" + self.pattern
        if self.kind is Kind.DOMAIN or (self.pattern.startswith("*.") and "*" not in self.pattern[1:]):
            return self.pattern
        return None


def network_key(address: IPv4Address | IPv6Address, prefix: int) -> str:
    """Name the network of an address in a table.

    Args:
        address: any of the network's.
        prefix: its length in bits, 1 to 32 or 128.

    Returns:
        `4/8/10`: version, length and the first bits as a number. For version 6 the bits are groups of 16 in hex, with
        what is left as the last group: `6/19/2001:1`.
    """
    number = int(address) >> (address.max_prefixlen - prefix)
    if isinstance(address, IPv4Address):
        return f"4/{prefix}/{number}"
    full, rest = divmod(prefix, 16)
    groups = [f"{number & ((1 << rest) - 1):x}"] if rest else []
    number >>= rest
    for _ in range(full):
        groups.append(f"{number & 0xFFFF:x}")
        number >>= 16
    return f"6/{prefix}/{':'.join(reversed(groups))}"


def _target(text: str, where: str) -> tuple[Kind, str, int | None, str | None]:
    scheme, rest = _split_scheme(text, where)
    body, port = _split_port(rest, where)
    if rest.startswith("[") or ":" in body:
        return Kind.NETWORK, _network(body, IPv6Network, where), port, scheme
    if "/" in body or isinstance(read_host(body), IPv4Address):
        return Kind.NETWORK, _network(body, IPv4Network, where), port, scheme
    return *_name(body, where), port, scheme


def _split_scheme(text: str, where: str) -> tuple[str | None, str]:
    before, mark, after = text.partition("://")
    if not mark:
        return None, text
    if before.lower() not in SCHEMES:
        raise ConfigError(where, "a rule's scheme is http or https")
    return before.lower(), after


def _split_port(text: str, where: str) -> tuple[str, int | None]:
    if text.startswith("["):
        body, mark, after = text[1:].partition("]")
        if not mark or (after and not after.startswith(":")):
            raise ConfigError(where, "after [ comes an IPv6 address, then ], then nothing or :port")
        digits = after[1:] if after else None
    elif text.count(":") > 1:
        body, digits = text, None
    else:
        body, mark, after = text.partition(":")
        digits = after if mark else None
    if digits is None:
        return body, None
    if not digits.isascii() or not _PORT.fullmatch(digits) or not 0 < int(digits) < 65536:
        raise ConfigError(where, "a port is a number from 1 to 65535")
    return body, int(digits)


def _network(body: str, family: type[IPv4Network | IPv6Network], where: str) -> str:
    """Read an address or a network, and write it in the shortest form."""
    address, mark, prefix = body.partition("/")
    host = read_host(address)
    if isinstance(host, str) and mark:
        raise ConfigError(where, "a rule names a host and no path; write the host alone")
    if host is None or isinstance(host, str) or (mark and not _PREFIX.fullmatch(prefix)):
        raise ConfigError(where, "this is no address and no network; write for example 192.168.1.7 or 10.0.0.0/8")
    try:
        network = family(f"{host}/{prefix}" if mark else str(host))
    except ValueError as error:
        raise ConfigError(where, "the length of the network is wrong, or bits after it are not zero") from error
    if network.prefixlen == 0:
        raise ConfigError(where, "this rule would name every address; switch the tunnel off instead")
    return str(host) if network.num_addresses == 1 else str(network)


def _name(body: str, where: str) -> tuple[Kind, str]:
    if "*" in body:
        pattern = body.lower().removesuffix(".")
        if not _GLOB.fullmatch(pattern):
            raise ConfigError(where, "a wildcard stands before the last part of an ASCII name, as in *.corp.example")
        return Kind.WILDCARD, pattern
    host = read_host(body.removeprefix("."))
    if not isinstance(host, str):
        raise ConfigError(
            where, "this is no host name; write for example example.com, or an international name in its xn-- form"
        )
    return (Kind.DOMAIN, "." + host) if body.startswith(".") else (Kind.EXACT, host)
