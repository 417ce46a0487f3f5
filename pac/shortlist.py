"""Choose the rules that a PAC script needs, and as many of them as it has room for.

The script only tells what is bypassed from what is not. So of the rules that do not bypass it needs those that except
something from one that does, and a list of 50,000 blocked hosts costs it nothing.

What is left out is never bypassed by mistake: without a rule that bypasses, its hosts go to the proxy, which decides by
all rules; and a rule that does not bypass stays with the first that it may except something from.
"""

from __future__ import annotations

from ipaddress import ip_network
from itertools import accumulate
from typing import TYPE_CHECKING, Final

from pac.rule import Action, Kind, Rule, network_key
from pac.rules import RuleSet

if TYPE_CHECKING:
    from collections.abc import Iterator

_SCRIPT_BYTES: Final = 6_000
"""The script without rules; tests hold it to that."""
_PAIR_BYTES: Final = 20
"""What a rule with a port or a scheme takes beside its host."""


def shortlist(rules: RuleSet, room: int) -> RuleSet:
    """Choose the rules of a script.

    Args:
        rules: all.
        room: for about how many bytes of script.

    Returns:
        Rules that decide to bypass only where all do, and everywhere where all do if there is room for them.
    """
    bypasses = [rule for rule in rules.rules if rule.action is Action.BYPASS]
    needed = _exceptions(rules.rules, bypasses)
    costs = [_bytes(rule) for rule in bypasses]
    for rule, place in needed.items():
        costs[place] += _bytes(rule)
    count = sum(total <= room for total in accumulate(costs, initial=_SCRIPT_BYTES)) - 1
    kept = set(bypasses[: max(0, count)])
    return RuleSet(rule for rule in rules.rules if rule in kept or needed.get(rule, count) < count)


def _exceptions(rules: tuple[Rule, ...], bypasses: list[Rule]) -> dict[Rule, int]:
    """Find the rules that do not bypass and may come before one that does, each with the place of the first such."""
    first: dict[str, int] = {}
    for place, rule in enumerate(bypasses):
        first.setdefault(_reach(rule), place)
    lengths = {kind: {int(key.split("/")[1]) for key in first if key.startswith(kind)} for kind in ("4", "6")}
    needed = {}
    for rule in rules:
        if rule.action is not Action.BYPASS:
            places = [first[key] for key in _covers(rule, lengths) if key in first]
            if rule.key is None and bypasses:
                places = [0]  # few, and what they may have in common with others is not looked for
            if places:
                needed[rule] = min(places)
    return needed


def _reach(rule: Rule) -> str:
    """Name the smallest domain (or network) that holds everything that a rule fits."""
    if rule.kind is Kind.NETWORK or rule.kind is Kind.EXACT:
        return rule.key or ""
    literal = rule.pattern.rpartition("*")[2]
    return literal[literal.index(".") :]


def _covers(rule: Rule, lengths: dict[str, set[int]]) -> Iterator[str]:
    """Name what can hold a rule's hosts: the host, and each domain or network around it."""
    if rule.kind is Kind.NETWORK:
        network = ip_network(rule.pattern)
        address = network.network_address
        yield from (network_key(address, bits) for bits in lengths[str(network.version)] if bits <= network.prefixlen)
        return
    name = "." + rule.pattern.removeprefix("*").removeprefix(".")
    yield "=" + name[1:]
    at = 0
    while at >= 0:
        yield name[at:]
        at = name.find(".", at + 1)


def _bytes(rule: Rule) -> int:
    """About how much a rule takes in the script; what is shared by many is left out."""
    if rule.conditions or rule.key is None:
        return len(rule.pattern) + _PAIR_BYTES
    if rule.kind is Kind.NETWORK:
        return len((rule.key or "").rpartition("/")[2]) + 1
    return len(rule.pattern.rpartition(".")[0]) + 1
