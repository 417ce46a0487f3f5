"""The rules for sites in a home's settings file: what is there, and how rules come and go. No node need run."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from core.errors import MacroVpnError
from node.config import CONFIG_NAME, load
from node.config_edit import locked, write_value
from node.site_rules import sources
from pac.rules import Rule, RuleSet

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from node.settings import BypassSettings

OWN: Final = "your rules"


class NoSuchRuleError(MacroVpnError):
    """A rule that shall be removed is not there.

    Args:
        rule: as it was given.
    """

    def __init__(self, rule: Rule) -> None:
        super().__init__(f"There is no rule {rule} among your own. `macrovpn bypass list` shows them.")


def own_rules(home: Path) -> tuple[list[Rule], BypassSettings]:
    """Read the rules of the file itself, whatever the environment says, and its section.

    Raises:
        ConfigError: the file is wrong.
    """
    now = load(home, environ={}).bypass
    return [Rule.parse(text) for text in now.rules], now


def listing(home: Path, *, everything: bool = False) -> dict[str, Any]:
    """Name what is obeyed.

    Args:
        home: the node's folder.
        everything: also the rules of presets and lists, of which there may be very many.

    Raises:
        ConfigError: the file, or a list that it names, is wrong.
    """
    found = dict(sources(load(home).bypass, home))
    return {
        "sources": [{"source": source, "count": len(rules)} for source, rules in found.items()],
        "rules": [
            {"rule": str(rule), "source": source}
            for source, rules in found.items()
            for rule in rules
            if everything or source == OWN
        ],
        "file": str(home / CONFIG_NAME),
    }


def add_rules(home: Path, new: Sequence[Rule], presets: Sequence[str] = ()) -> list[Rule]:
    """Add rules, each in place of one for the same hosts, port and scheme, and presets.

    Returns:
        The rules that were replaced.

    Raises:
        ConfigError: the file is wrong, or there would be too many rules; nothing was written.
    """
    with locked(home):
        own, now = own_rules(home)
        targets = {rule.target for rule in new}
        kept = [rule for rule in own if rule.target not in targets]
        others = [rules for source, rules in sources(now, home) if source != OWN]
        RuleSet([*kept, *new, *(rule for rules in others for rule in rules)])
        write_bypass(home, now, [*kept, *new], [*now.presets, *(name for name in presets if name not in now.presets)])
        return [rule for rule in own if rule.target in targets]


def find_rules(own: Sequence[Rule], wanted: Rule) -> list[Rule]:
    """Find a rule among others; of hosts alone, whatever shall happen there.

    Raises:
        NoSuchRuleError: there is none.
    """
    bare = str(wanted) == wanted.target
    found = [other for other in own if other == wanted or (bare and other.target == wanted.target)]
    if not found:
        raise NoSuchRuleError(wanted)
    return found


def remove_rule(home: Path, rule: Rule) -> list[Rule]:
    """Remove a rule, as `find_rules` finds it.

    Returns:
        What was removed.

    Raises:
        NoSuchRuleError: there is none.
        ConfigError: the file is wrong.
    """
    with locked(home):
        own, now = own_rules(home)
        gone = find_rules(own, rule)
        write_bypass(home, now, [other for other in own if other not in gone], now.presets)
        return gone


def write_bypass(home: Path, now: BypassSettings, rules: Sequence[Rule], presets: Sequence[str]) -> None:
    """Put what has changed into the file, while it is locked.

    Raises:
        ConfigError: the result would be wrong.
    """
    texts = list(dict.fromkeys(map(str, rules)))
    if texts != list(now.rules):
        write_value(home, "bypass.rules", texts)
    if list(presets) != list(now.presets):
        write_value(home, "bypass.presets", list(presets))
