"""What rules decide, by trying them all: slow, and too simple to be wrong."""

from __future__ import annotations

import re
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from typing import TYPE_CHECKING

from pac.rules import Kind, Rule

if TYPE_CHECKING:
    from collections.abc import Sequence

type Closeness = tuple[bool, int, int]
"""Whether the host is named exactly; the characters or bits that are; a wildcard, what is below a domain, the rest."""


def decide(rules: Sequence[Rule], host: str | IPv4Address | IPv6Address, port: int, scheme: str) -> Rule | None:
    """Give the rule that counts for a host in its plain form, or None."""
    carried = {"ws": "http", "wss": "https"}.get(scheme, scheme)
    found: Rule | None = None
    best: tuple[Closeness, int] | None = None
    for rule in rules:
        close = closeness(rule, host)
        if close is None or rule.port not in (None, port) or rule.scheme not in (None, carried):
            continue
        rank = close, 2 * (rule.port is not None) + (rule.scheme is not None)
        if best is None or rank > best:
            found, best = rule, rank
    return found


def closeness(rule: Rule, host: str | IPv4Address | IPv6Address) -> Closeness | None:
    """Say how closely a rule names a host; None if it does not."""
    if rule.kind is Kind.NETWORK:
        network = ip_network(rule.pattern)
        return (False, network.prefixlen, 0) if not isinstance(host, str) and host in network else None
    if not isinstance(host, str):
        return None
    pattern = rule.pattern
    if rule.kind is Kind.EXACT:
        return (True, 0, 0) if host == pattern else None
    if rule.kind is Kind.DOMAIN:
        return (False, len(pattern), 0) if ("." + host).endswith(pattern) else None
    if not re.fullmatch(re.escape(pattern).replace(r"\*", ".*"), host, re.DOTALL):
        return None
    return False, len(pattern.replace("*", "")), 1 if re.fullmatch(r"\*\.[^*]*", pattern) else 2


def plain(host: str) -> str | IPv4Address | IPv6Address:
    """Bring a host that is one into its plain form."""
    host = host.lower().removesuffix(".").strip("[]")
    try:
        return ip_address(host)
    except ValueError:
        return host
