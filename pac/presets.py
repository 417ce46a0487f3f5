"""Lists of rules that people want together, each rule with the document that justifies it."""

from __future__ import annotations

from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

from core.errors import ConfigError
from pac.rule import Rule

if TYPE_CHECKING:
    from collections.abc import Mapping


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

    def rules(self) -> tuple[Rule, ...]:
        """Read the entries."""
        return tuple(Rule.parse(entry.rule, f"preset {self.name}") for entry in self.entries)


LOCAL: Final = Preset(
    "local",
    "This machine and the local network",
    (
        Entry(".localhost", "RFC 6761, section 6.3: names of this machine"),
        Entry(".local", "RFC 6762, section 3: names of multicast DNS, valid on one link only"),
        Entry(".home.arpa", "RFC 8375: names inside a home network"),
        Entry("127.0.0.0/8", "RFC 1122, section 3.2.1.3: loopback"),
        Entry("[::1]", "RFC 4291, section 2.5.3: loopback"),
        Entry("10.0.0.0/8", "RFC 1918, section 3: private networks"),
        Entry("172.16.0.0/12", "RFC 1918, section 3: private networks"),
        Entry("192.168.0.0/16", "RFC 1918, section 3: private networks"),
        Entry("169.254.0.0/16", "RFC 3927, section 2.1: link-local"),
        Entry("fe80::/10", "RFC 4291, section 2.5.6: link-local"),
        Entry("fc00::/7", "RFC 4193, section 3.1: unique local addresses"),
    ),
)

PRESETS: Final[Mapping[str, Preset]] = MappingProxyType({LOCAL.name: LOCAL})


def preset_rules(name: str, where: str = "bypass presets") -> tuple[Rule, ...]:
    """Get the rules of a preset.

    Raises:
        ConfigError: there is no preset of that name.
    """
    preset = PRESETS.get(name)
    if preset is None:
        raise ConfigError(where, f"there is no such preset; there are: {', '.join(sorted(PRESETS))}")
    return preset.rules()
