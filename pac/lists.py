"""Read rules out of lists that others wrote: hosts one a line, hosts files, and filter lists of ad blockers.

What a line means follows from its form. A bare host is bypassed, as in a rule. A hosts file that gives a host an
address which leads nowhere, and a filter `||host^`, block it: to bypass the hosts of such a list would show the user's
address to just those who were to get nothing.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

from core.errors import ConfigError
from pac.hosts import read_host
from pac.rule import Action, Kind, Rule

if TYPE_CHECKING:
    from collections.abc import Iterator

_NOWHERE: Final = frozenset({"0.0.0.0", "127.0.0.1", "::", "::1"})

_OF_THIS_MACHINE: Final = frozenset(
    {
        *("localhost", "localhost.localdomain", "local", "broadcasthost", "0.0.0.0"),
        *("ip6-localhost", "ip6-loopback", "ip6-localnet", "ip6-mcastprefix"),
        *("ip6-allnodes", "ip6-allrouters", "ip6-allhosts"),
    }
)
"""Names that hosts files have for the machine's own sake."""

_HIDING: Final = ("##", "#@#", "#?#", "#$#")
"""What filters have that change a page and name no host to block (Adblock Plus, "How to write filters")."""


@dataclass(frozen=True, slots=True)
class LeftOut:
    """A line that gave no rule.

    Args:
        line: its number, from 1.
        problem: why.
    """

    line: int
    problem: str


@dataclass(frozen=True, slots=True)
class Imported:
    """What was read.

    Args:
        rules: in the order in which they stand there, each once.
        left_out: lines that say something which no rule can say.
    """

    rules: tuple[Rule, ...]
    left_out: tuple[LeftOut, ...]


def read_list(text: str, action: Action | None = None) -> Imported:
    """Read a list.

    Args:
        text: all of it.
        action: what shall happen to hosts whose line names no action; None for what its form says.
    """
    found: dict[Rule, None] = {}
    left_out: list[LeftOut] = []
    for number, line in enumerate(text.removeprefix("\ufeff").splitlines(), 1):
        try:
            for rule in _read_line(line.strip(), action):
                found[rule] = None
        except ConfigError as error:
            left_out.append(LeftOut(number, error.problem))
    return Imported(tuple(found), tuple(left_out))


def _read_line(line: str, action: Action | None) -> Iterator[Rule]:
    if not line or line[0] in "#!" or line.startswith("[Adblock"):
        return
    if line.startswith(("||", "@@")) or any(mark in line for mark in _HIDING):
        yield _filter(line, action or Action.BLOCK)
        return
    words = line.partition("#")[0].split()
    if len(words) > 1 and (address := read_host(words[0])) is not None and not isinstance(address, str):
        if str(address) not in _NOWHERE:
            raise ConfigError("", "this gives a host an address, which no rule can do")
        for name in words[1:]:
            if name.lower() not in _OF_THIS_MACHINE:
                yield replace(_exact(name), action=action or Action.BLOCK)
        return
    rule = Rule.parse(" ".join(words))
    says_none = len(words) == 1
    yield replace(rule, action=action) if says_none and action is not None else rule


def _filter(line: str, action: Action) -> Rule:
    host, mark, rest = line.removeprefix("||").partition("^")
    if line.startswith("@@") or not mark or rest not in ("", "|"):
        raise ConfigError("", "only filters of the form ||host^ can be taken")
    rule = Rule.parse("." + host.removeprefix("."))
    if rule.kind is not Kind.DOMAIN or rule.conditions:
        raise ConfigError("", "only filters of the form ||host^ can be taken")
    return replace(rule, action=action)


def _exact(name: str) -> Rule:
    rule = Rule.parse(name)
    if rule.kind is not Kind.EXACT or rule.conditions:
        raise ConfigError("", "a hosts file has names, and this is none")
    return rule
