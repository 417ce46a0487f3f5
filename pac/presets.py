"""Lists of rules that people want together, each rule with the document that justifies it."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Final

from core.errors import ConfigError
from pac.rule import Rule


@dataclass(frozen=True, slots=True)
class Entry:
    """One rule of a preset, as text, and where it comes from."""

    rule: str
    source: str


@dataclass(frozen=True, slots=True)
class Preset:
    """A named list of rules.

    Args:
        name: what settings call it.
        title: one line for a person.
        entries: the rules. None of them may name a host that serves several owners.
    """

    name: str
    title: str
    entries: tuple[Entry, ...]

    def source(self, rule: Rule) -> str:
        """Say where a rule of the preset comes from."""
        return next((entry.source for entry in self.entries if entry.rule == str(rule)), "")

    def rules(self) -> tuple[Rule, ...]:
        """Read the entries."""
        return tuple(Rule.parse(entry.rule, f"preset {self.name}") for entry in self.entries)


PRESETS: Final = ("local", "banking", "streaming")
"""Each has a file in `data/`: its title in the first line, then on each line a rule, `#` and the rule's source."""


@cache
def get_preset(name: str, where: str = "bypass presets") -> Preset:
    """Read a preset.

    Raises:
        ConfigError: there is no preset of that name.
    """
    if name not in PRESETS:
        raise ConfigError(where, f"there is no such preset; there are: {', '.join(PRESETS)}")
    title, *lines = (resources.files("pac") / "data" / f"{name}.txt").read_text(encoding="ascii").splitlines()
    split = [line.partition("#") for line in lines]
    return Preset(
        name, title.removeprefix("# "), tuple(Entry(rule.strip(), source.strip()) for rule, _, source in split)
    )


def preset_rules(name: str, where: str = "bypass presets") -> tuple[Rule, ...]:
    """Get the rules of a preset.

    Raises:
        ConfigError: there is no preset of that name.
    """
    return get_preset(name, where).rules()
