"""The rules of a home: those in its settings, its presets, and its lists, which are files of their own."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Final

from core.errors import ConfigError
from node.files import make_home, write_private
from pac.presets import preset_rules
from pac.rules import Rule, RuleSet, parse_rules

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    from node.settings import BypassSettings

FOLDER: Final = "rules"
MAX_LIST_BYTES: Final = 16 << 20
"""200,000 rules of 80 bytes."""

type Source = tuple[str, tuple[Rule, ...]]
"""From where rules come, in words, and the rules."""


def sources(bypass: BypassSettings, home: Path) -> Iterator[Source]:
    """Give all rules, first those that count first where others are alike.

    Args:
        bypass: the settings.
        home: where the lists are.

    Raises:
        ConfigError: a list is missing or has a line that is no rule.
    """
    yield "your rules", tuple(Rule.parse(text, "bypass.rules") for text in bypass.rules)
    for name in bypass.presets:
        yield f"preset {name}", preset_rules(name)
    for name in bypass.lists:
        yield f"list {name}", read_rules(home, name)


def load_rules(bypass: BypassSettings, home: Path) -> RuleSet:
    """Make all rules ready for quick answers; 50,000 take half a second.

    Raises:
        ConfigError: as for `sources`, or there are too many.
    """
    return RuleSet(rule for _, rules in sources(bypass, home) for rule in rules)


def list_path(home: Path, name: str) -> Path:
    """Name the file of a list."""
    return home / FOLDER / f"{name}.txt"


def read_rules(home: Path, name: str) -> tuple[Rule, ...]:
    """Read a list.

    Raises:
        ConfigError: it is missing, too large, or has a line that is no rule. A list that blocks must not be missed in
            silence.
    """
    path = list_path(home, name)
    try:
        if path.stat().st_size > MAX_LIST_BYTES:
            raise ConfigError(str(path), f"a list has at most {MAX_LIST_BYTES} bytes")
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError as error:
        raise ConfigError("bypass.lists", f"there is no file {path}; import the list {name} again") from error
    except UnicodeDecodeError as error:
        raise ConfigError(str(path), "this is not UTF-8 text") from error
    except OSError as error:
        raise ConfigError(str(path), f"the file cannot be read: {error.strerror}") from error
    return parse_rules(text.splitlines(), str(path))


def write_rules(home: Path, name: str, rules: Iterable[Rule]) -> None:
    """Write a list, readable by its owner only.

    Raises:
        ConfigError: it cannot be written.
    """
    path = list_path(make_home(home), name)
    try:
        path.parent.mkdir(mode=0o700, exist_ok=True)
        write_private(path, "".join(f"{rule}\n" for rule in rules))
    except OSError as error:
        raise ConfigError(str(path), f"the file cannot be written: {error.strerror}") from error


def remove_rules(home: Path, name: str) -> None:
    """Delete a list's file, if it is there."""
    with suppress(FileNotFoundError):
        list_path(home, name).unlink()
