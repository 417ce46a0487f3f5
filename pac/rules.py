"""Decide what happens to a connection: many rules, one answer."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cached_property
from ipaddress import IPv4Address
from typing import TYPE_CHECKING, Final

from core.errors import ConfigError
from core.flow import NO_OPTIONS, SiteOptions
from pac.hosts import read_host
from pac.rule import Action, Kind, Rule, network_key

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from pac.hosts import Host

__all__ = ["Action", "Decision", "Kind", "Rule", "RuleSet", "parse_rules"]

MAX_RULES: Final = 200_000
"""Of all sources together; about 60 MB."""

MAX_WILDCARDS: Final = 1_000
"""Of those that stand in no table and are tried one after another, in the browser as well."""

_CARRIER: Final = {"ws": "http", "wss": "https"}
"""A WebSocket begins as a request of HTTP (RFC 6455, section 1.2)."""


@dataclass(frozen=True, slots=True)
class Decision:
    """What happens to a connection.

    Args:
        rule: the one that decided; None when none fits, and then it is tunnelled as the settings say.
    """

    rule: Rule | None = None

    @property
    def action(self) -> Action:
        """Tunnel, bypass or block."""
        return Action.TUNNEL if self.rule is None else self.rule.action

    @property
    def options(self) -> SiteOptions:
        """What the user wants of the circuit, if it is tunnelled."""
        return NO_OPTIONS if self.rule is None else self.rule.options


NO_RULE: Final = Decision()


@dataclass(frozen=True, slots=True)
class Glob:
    """A wildcard that no table can hold.

    Args:
        pieces: the text between its `*`, two or more.
        length: how many characters it names.
        rule: what it belongs to.
    """

    pieces: tuple[str, ...]
    length: int
    rule: Rule


def parse_rules(lines: Iterable[str], where: str = "rules") -> tuple[Rule, ...]:
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
    """Many rules, made ready for quick answers.

    Of several rules that fit, the one that names the host most closely decides: an exact name or address before all,
    then the domain, wildcard or network of which most characters (bits) are named; what is below a domain (`*.a.b`)
    before the domain with itself (`.a.b`), and other wildcards before both. Then a rule with a port before one
    without, and with a scheme before one without. Of what is still alike, the first.

    Args:
        rules: in the order in which they were written.

    Raises:
        ConfigError: there are too many.
    """

    def __init__(self, rules: Iterable[Rule] = ()) -> None:
        self.rules: Final = tuple(dict.fromkeys(rules))
        if len(self.rules) > MAX_RULES:
            raise ConfigError("rules", f"there are {len(self.rules)}; at most {MAX_RULES} may be in use")
        table: dict[str, list[Rule]] = {}
        globs: list[Glob] = []
        for rule in self.rules:
            key = rule.key
            if key is None:
                text = rule.pattern
                globs.append(Glob(tuple(text.split("*")), len(text) - text.count("*"), rule))
            else:
                table.setdefault(key, []).append(rule)
        if len(globs) > MAX_WILDCARDS:
            raise ConfigError(
                "rules", f"there are {len(globs)} wildcards not of the form *.domain; at most {MAX_WILDCARDS} may be"
            )
        for rules_of_key in table.values():
            if len(rules_of_key) > 1:
                rules_of_key.sort(key=lambda rule: -rule.conditions)
        self._table: Final = table
        self._globs: Final = tuple(sorted(globs, key=lambda glob: (-glob.length, -glob.rule.conditions)))
        networks = {tuple(key.split("/", 2)[:2]) for key in table if key[1] == "/"}
        self._prefixes: Final = {
            version: tuple(sorted((int(bits) for kind, bits in networks if kind == version), reverse=True))
            for version in ("4", "6")
        }

    @property
    def table(self) -> Mapping[str, Sequence[Rule]]:
        """The rules by their keys; of each key, the narrowest first."""
        return self._table

    @property
    def globs(self) -> Sequence[Glob]:
        """What stands in no table, by the number of characters named, the most first."""
        return self._globs

    @property
    def prefixes(self) -> Mapping[str, Sequence[int]]:
        """By `4` and `6`, the lengths of networks that the table holds, in bits, the longest first."""
        return self._prefixes

    @cached_property
    def digest(self) -> str:
        """What two sets have in common only if they have the same rules in the same order: 64 hex digits."""
        return hashlib.sha256("\n".join(map(str, self.rules)).encode("ascii")).hexdigest()

    def __len__(self) -> int:
        return len(self.rules)

    def decide(self, host: str, port: int, scheme: str | None = None) -> Decision:
        """Say what happens to a connection. No name is ever looked up.

        Args:
            host: a name or an IP literal, in any case, with or without a final dot or brackets.
            port: 1 to 65535.
            scheme: `http`, `https`, `ws`, `wss` or any other; None when it is not known, and then a rule that names
                one bypasses nothing, and blocks or tunnels all the same.
        """
        known = read_host(host)
        if known is None:
            return NO_RULE
        if scheme is not None:
            scheme = _CARRIER.get(scheme.lower(), scheme.lower())
        for rules in self._hits(known):
            for rule in rules:
                if rule.port is not None and rule.port != port:
                    continue
                unsure = scheme is None and rule.action is not Action.BYPASS
                if rule.scheme is None or rule.scheme == scheme or unsure:
                    return Decision(rule)
        return NO_RULE

    def _hits(self, host: Host) -> Iterator[Sequence[Rule]]:
        """The rules whose hosts fit, the closest first."""
        table = self._table
        if not isinstance(host, str):
            version = "4" if isinstance(host, IPv4Address) else "6"
            keys = (network_key(host, prefix) for prefix in self._prefixes[version])
            yield from (table[key] for key in keys if key in table)
            return
        yield from (table[key] for key in ("=" + host, "." + host) if key in table)
        globs = iter(self._globs)
        glob = next(globs, None)
        dot = host.find(".")
        while dot >= 0:
            tail = host[dot:]
            while glob is not None and glob.length >= len(tail):
                if fits(glob.pieces, host):
                    yield (glob.rule,)
                glob = next(globs, None)
            yield from (table[key] for key in ("*" + tail, tail) if key in table)
            dot = host.find(".", dot + 1)
        while glob is not None:
            if fits(glob.pieces, host):
                yield (glob.rule,)
            glob = next(globs, None)


def fits(pieces: Sequence[str], host: str) -> bool:
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
