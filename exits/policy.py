"""The operator's own rules: which networks, names and ports this exit serves. The first rule that matches decides.

A rule is a line such as `reject *:25`, `accept *:80,443`, `accept 203.0.113.0/24:8000-9000`,
`reject [2001:db8::/32]:*`, `reject *.example.com:*` (every name below) or `reject example.com:*` (that name). A name
rule knows only what the client asks by name. What no rule matches is rejected. The filter of special addresses stands
beside the policy: no rule opens it.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from ipaddress import IPv4Address, IPv6Address, ip_network
from typing import TYPE_CHECKING, Final

from core.errors import ConfigError, FlowError
from core.ports import MAX_SUMMARY_BYTES, complement, ports_text
from exits.addresses import normalise
from exits.names import parse_destination

if TYPE_CHECKING:
    from collections.abc import Sequence

    from core.ports import Ports
    from exits.addresses import Address, Network

MAX_RULES: Final = 1000
"""Most rules of one policy: each is looked at for each flow."""

_ALL_PORTS: Final = ((1, 65535),)
_WEB_PORTS: Final = (80, 443)

PRESETS: Final = {
    "default": """
        reject *:23,2323    # telnet: searched by programs that take over cameras and routers
        reject *:25         # mail between servers: spam
        reject *:119,563    # news: spam, and copyright complaints
        reject *:135-139    # Windows remote calls and NetBIOS: worms
        reject *:445        # Windows file sharing: worms
        reject *:3389       # remote desktop: guessing of passwords
        reject *:5060-5061  # telephony: calls at someone else's cost
        reject *:5555       # debug port of Android devices: taken over by worms
        reject *:6881-6999  # BitTorrent: copyright complaints
        accept *:*
    """,
    "web": """
        accept *:80,443
        accept *:8080,8443,8880                           # second ports of web servers
        accept *:2052-2053,2082-2083,2086-2087,2095-2096  # web ports of content networks and of hosting panels
        reject *:*
    """,
}
"""Policies by name."""


@dataclass(frozen=True, slots=True)
class Rule:
    """One line of a policy.

    Args:
        accept: what the rule says.
        target: a network, a name in lower case, a `.suffix`, or None for everything.
        ports: the ports that the rule speaks of.
    """

    accept: bool
    target: Network | str | None
    ports: Ports

    def has_port(self, port: int) -> bool:
        """Tell whether the rule speaks of a port."""
        return any([low <= port <= high for low, high in self.ports])  # a generator would take twice as long

    def has_name(self, name: str | None) -> bool:
        """Tell whether the rule speaks of a name, whatever its addresses."""
        if self.target is None:
            return True
        if name is None or not isinstance(self.target, str):
            return False
        return name.endswith(self.target) if self.target.startswith(".") else name == self.target

    def has_address(self, address: Address) -> bool:
        """Tell whether the rule speaks of an address, whatever its name."""
        if self.target is None:
            return True
        return not isinstance(self.target, str) and normalise(address) in self.target


@dataclass(frozen=True)
class Policy:
    """Ordered rules."""

    rules: tuple[Rule, ...]

    @classmethod
    def parse(cls, text: str) -> Policy:
        """Read rules, one a line; `#` starts a comment.

        Raises:
            ConfigError: a line is no rule, or there are more than `MAX_RULES`.
        """
        rules = []
        for number, line in enumerate(text.splitlines(), start=1):
            if words := line.partition("#")[0].split():
                rules.append(_parse_rule(words, f"exit policy, line {number}"))
        return cls(_limited(rules))

    @classmethod
    def preset(cls, name: str) -> Policy:
        """Take a policy of `PRESETS`.

        Raises:
            ConfigError: there is none of that name.
        """
        if name not in PRESETS:
            raise ConfigError("exit policy", f"there is no preset of this name; choose from {', '.join(PRESETS)}")
        return cls.parse(PRESETS[name])

    def after(self, first: Policy) -> Policy:
        """Put other rules in front of these.

        Raises:
            ConfigError: together they are more than `MAX_RULES`.
        """
        return Policy(_limited((*first.rules, *self.rules)))

    def may_allow(self, name: str, port: int) -> bool:
        """Tell, before a name is resolved, whether any address of it could be allowed."""
        for rule in self.rules:
            if rule.has_port(port):
                if rule.has_name(name):
                    return rule.accept
                if rule.accept and not isinstance(rule.target, str):
                    return True
        return False

    def allows(self, address: Address, port: int, name: str | None = None) -> bool:
        """Decide on a destination.

        Args:
            address: what would be dialled.
            port: 1 to 65535.
            name: the name that the address was found under; None if the client gave the address.
        """
        for rule in self.rules:
            if rule.has_port(port) and (rule.has_name(name) or rule.has_address(address)):
                return rule.accept
        return False

    def summary(self) -> str:
        """Say in at most `MAX_SUMMARY_BYTES` which ports are served, so that clients do not ask in vain.

        Returns:
            `+` and the accepted ports or `-` and the rejected ones, such as `+80,443` or `-25,135-139`. Rules for some
            networks or names only are left out. What does not fit is said to be rejected, 80 and 443 last.
        """
        return self._summary

    @cached_property
    def _summary(self) -> str:
        rejected = self._rejected_ports()
        accepted = complement(rejected)
        texts = [sign + ports_text(ports) for sign, ports in (("+", accepted), ("-", rejected)) if ports]
        shortest = min(texts, key=len)
        while len(shortest) > MAX_SUMMARY_BYTES:
            rejected = _close_smallest_gap(rejected)
            shortest = "-" + ports_text(rejected)
        return shortest

    def _rejected_ports(self) -> Ports:
        """Find the ports on which the rules for everything reject, as ranges in order that do not touch."""
        general = [rule for rule in self.rules if rule.target is None]
        edges = {1} | {edge for rule in general for low, high in rule.ports for edge in (low, high + 1)}
        starts = sorted(edges - {65536})
        ranges: list[tuple[int, int]] = []
        for start, following in zip(starts, [*starts[1:], 65536], strict=True):
            if next((rule.accept for rule in general if rule.has_port(start)), False):
                continue
            if ranges and ranges[-1][1] == start - 1:
                ranges[-1] = (ranges[-1][0], following - 1)
            else:
                ranges.append((start, following - 1))
        return tuple(ranges)


def _limited(rules: Sequence[Rule]) -> tuple[Rule, ...]:
    if len(rules) > MAX_RULES:
        raise ConfigError("exit policy", f"more than {MAX_RULES} rules")
    return tuple(rules)


def _parse_rule(words: list[str], where: str) -> Rule:
    match words:
        case ["accept" | "reject" as verb, destination] if ":" in destination:
            target, _, ports = destination.rpartition(":")
            return Rule(verb == "accept", _parse_target(target, where), _parse_ports(ports, where))
    raise ConfigError(where, "write accept or reject, and a target with its ports, as in: reject *:25")


def _parse_target(text: str, where: str) -> Network | str | None:
    if text == "*":
        return None
    if text.startswith("[") and text.endswith("]"):
        return _parse_network(text[1:-1], where)
    if ":" in text:
        raise ConfigError(where, "put an IPv6 address or network in brackets")
    if "/" in text:
        return _parse_network(text, where)
    try:
        found = parse_destination(text.removeprefix("*."), allow_special=True)
    except FlowError:
        raise ConfigError(where, "the target is no address, network or name") from None
    if isinstance(found, IPv4Address | IPv6Address):
        return _parse_network(text, where)
    return f".{found}" if text.startswith("*.") else found


def _parse_network(text: str, where: str) -> Network:
    try:
        return ip_network(text)
    except ValueError:
        raise ConfigError(where, "the target is no network, or has bits set behind its prefix") from None


def _parse_ports(text: str, where: str) -> Ports:
    if text == "*":
        return _ALL_PORTS
    ranges = []
    for part in text.split(","):
        low, dash, high = part.partition("-")
        first, last = _parse_port(low, where), _parse_port(high if dash else low, where)
        if first > last:
            raise ConfigError(where, "a range of ports runs backwards")
        ranges.append((first, last))
    return tuple(ranges)


def _parse_port(text: str, where: str) -> int:
    if text.isascii() and text.isdecimal() and len(text) <= 5 and 1 <= int(text) <= 65535:
        return int(text)
    raise ConfigError(where, "a port is a number from 1 to 65535")


def _close_smallest_gap(ranges: Ports) -> Ports:
    """Join the two neighbouring ranges with the fewest ports between them; those around web ports last."""

    def cost(index: int) -> tuple[bool, int]:
        low, high = ranges[index][1] + 1, ranges[index + 1][0] - 1
        return any(low <= port <= high for port in _WEB_PORTS), high - low

    index = min(range(len(ranges) - 1), key=cost)
    joined = (ranges[index][0], ranges[index + 1][1])
    return (*ranges[:index], joined, *ranges[index + 2 :])
