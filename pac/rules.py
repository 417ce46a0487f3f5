"""Decide whether a site goes through the tunnel or past it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import Enum
from ipaddress import IPv4Address, IPv4Network, IPv6Network, ip_network
from typing import TYPE_CHECKING, Final, Self

from core.errors import ConfigError
from pac.hosts import ENDS_IN_NUMBER, read_host

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from pac.hosts import Host

MAX_RULE_CHARACTERS: Final = 300

SCHEMES: Final = ("http", "https")

_CARRIER: Final = {"ws": "http", "wss": "https"}
"""A WebSocket begins as a request of HTTP (RFC 6455, section 1.2)."""

_PORT: Final = re.compile(r"[0-9]{1,5}")
_PREFIX: Final = re.compile(r"[0-9]{1,3}")
_GLOB: Final = re.compile(rf"(?!{ENDS_IN_NUMBER}$)[a-z0-9_*-]+(?:\.[a-z0-9_*-]+)*\.[a-z0-9_-]+")

type Network = IPv4Network | IPv6Network

type When = frozenset[str] | None
"""On what a hit depends: texts `scheme:`, `:port` and `scheme:port` of which one must fit; None: on nothing."""


class Action(Enum):
    """What happens to a connection."""

    TUNNEL = "tunnel"
    BYPASS = "bypass"


class Kind(Enum):
    """What a rule compares with the host."""

    EXACT = "exact"
    DOMAIN = "domain"
    WILDCARD = "wildcard"
    NETWORK = "network"


@dataclass(frozen=True, slots=True)
class Rule:
    """One line of a bypass list. `str()` gives the text that `parse` reads back.

    Args:
        kind: how `pattern` is compared.
        pattern: `example.com`; `.example.com` for the domain with what is below it; `*.corp.example`; `10.0.0.0/8`.
        port: the only port that is meant, 1 to 65535; None for all.
        scheme: the only scheme that is meant, `http` or `https`; None for all.
    """

    kind: Kind
    pattern: str
    port: int | None = None
    scheme: str | None = None

    @classmethod
    def parse(cls, text: str, where: str = "bypass rule") -> Self:
        """Read a rule as a person writes it.

        Args:
            text: `[http://|https://]` host `[:port]`, where the host is an exact name, a domain with a dot in front,
                a name with `*` (any characters, dots as well) before its last part, an address, or a network such as
                `10.0.0.0/8` or `fc00::/7`. An IPv6 address stands in brackets when a port follows.
            where: the setting or line that holds the text, for the error.

        Raises:
            ConfigError: the text is not a rule, or would name every site.
        """
        text = text.strip()
        if not text or len(text) > MAX_RULE_CHARACTERS:
            raise ConfigError(where, f"a rule has 1 to {MAX_RULE_CHARACTERS} characters")
        scheme, rest = _split_scheme(text, where)
        body, port = _split_port(rest, where)
        if rest.startswith("[") or ":" in body:
            return cls(Kind.NETWORK, _network(body, IPv6Network, where), port, scheme)
        if "/" in body or isinstance(read_host(body), IPv4Address):
            return cls(Kind.NETWORK, _network(body, IPv4Network, where), port, scheme)
        kind, pattern = _name(body, where)
        return cls(kind, pattern, port, scheme)

    def __str__(self) -> str:
        body = self.pattern
        if ":" in body and (self.port is not None or "/" not in body):
            body = f"[{body}]"
        scheme = "" if self.scheme is None else f"{self.scheme}://"
        return scheme + body + ("" if self.port is None else f":{self.port}")


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


def parse_rules(lines: Iterable[str], where: str = "bypass rules") -> tuple[Rule, ...]:
    """Read a list with one rule a line. Empty lines and what follows a `#` are left out.

    Raises:
        ConfigError: a line is not a rule; the error names the line, counted from 1.
    """
    found: dict[Rule, None] = {}
    for number, line in enumerate(lines, 1):
        if text := line.partition("#")[0].strip():
            found[Rule.parse(text, f"{where}, line {number}")] = None
    return tuple(found)


class RuleSet:
    """Many rules, made ready for quick answers: dictionaries for names, domains and networks.

    Args:
        rules: in any order; one that fits is enough for a bypass.
    """

    def __init__(self, rules: Iterable[Rule] = ()) -> None:
        self.rules: Final = tuple(dict.fromkeys(rules))
        self._names: dict[str, When] = {}
        self._globs: dict[tuple[str, ...], When] = {}
        self._nets4: dict[int, dict[int, When]] = {}
        self._nets6: dict[int, dict[int, When]] = {}
        for rule in self.rules:
            self._add(rule)

    @property
    def names(self) -> Mapping[str, When]:
        """`=host`, `.domain` (with the domain itself) and `*.domain` (without), each with its condition."""
        return self._names

    @property
    def globs(self) -> Mapping[tuple[str, ...], When]:
        """Wildcards that no dictionary can hold, split at each `*`."""
        return self._globs

    @property
    def nets4(self) -> Mapping[int, Mapping[int, When]]:
        """IPv4 networks: length of the prefix in bits, then the prefix as a number."""
        return self._nets4

    @property
    def nets6(self) -> Mapping[int, Mapping[int, When]]:
        """IPv6 networks, like `nets4`."""
        return self._nets6

    def __len__(self) -> int:
        return len(self.rules)

    def decide(self, host: str, port: int, scheme: str | None = None) -> Action:
        """Say where a connection goes. No name is ever looked up.

        Args:
            host: a name or an IP literal, in any case, with or without a final dot or brackets.
            port: 1 to 65535.
            scheme: `http`, `https`, `ws`, `wss` or any other; None when it is not known, and then no rule that names
                a scheme fits.
        """
        known = read_host(host)
        if known is None:
            return Action.TUNNEL
        scheme = None if scheme is None else _CARRIER.get(scheme.lower(), scheme.lower())
        wanted = {f":{port}"} if scheme is None else {f":{port}", f"{scheme}:", f"{scheme}:{port}"}
        for when in self._hits(known):
            if when is None or not wanted.isdisjoint(when):
                return Action.BYPASS
        return Action.TUNNEL

    def _hits(self, host: Host) -> Iterable[When]:
        if isinstance(host, str):
            yield from self._name_hits(host)
            return
        bits, nets = (32, self._nets4) if isinstance(host, IPv4Address) else (128, self._nets6)
        number = int(host)
        for prefix, table in nets.items():
            if (key := number >> (bits - prefix)) in table:
                yield table[key]

    def _name_hits(self, host: str) -> Iterable[When]:
        names = self._names
        keys = ["=" + host, "." + host]
        _, dot, parent = host.partition(".")
        while dot:
            keys += ("." + parent, "*." + parent)
            _, dot, parent = parent.partition(".")
        yield from (names[key] for key in keys if key in names)
        yield from (when for pieces, when in self._globs.items() if _fits(pieces, host))

    def _add(self, rule: Rule) -> None:
        when = None
        if rule.port is not None or rule.scheme is not None:
            when = frozenset({f"{rule.scheme or ''}:{'' if rule.port is None else rule.port}"})
        if rule.kind is Kind.NETWORK:
            network = ip_network(rule.pattern)
            nets = self._nets4 if isinstance(network, IPv4Network) else self._nets6
            prefix, bits = network.prefixlen, network.max_prefixlen
            _put(nets.setdefault(prefix, {}), int(network.network_address) >> (bits - prefix), when)
        elif rule.kind is Kind.EXACT:
            _put(self._names, "=" + rule.pattern, when)
        elif rule.kind is Kind.DOMAIN or (rule.pattern.startswith("*.") and "*" not in rule.pattern[1:]):
            _put(self._names, rule.pattern, when)
        else:
            _put(self._globs, tuple(rule.pattern.split("*")), when)


def _put[K](table: dict[K, When], key: K, when: When) -> None:
    known = table.get(key, when)
    table[key] = None if known is None or when is None else known | when


def _fits(pieces: tuple[str, ...], host: str) -> bool:
    """Match a wildcard in time linear in the host: each piece at its first place after the one before."""
    at, end = len(pieces[0]), len(host) - len(pieces[-1])
    if at > end or not host.startswith(pieces[0]) or not host.endswith(pieces[-1]):
        return False
    for piece in pieces[1:-1]:
        found = host.find(piece, at, end)
        if found < 0:
            return False
        at = found + len(piece)
    return True
