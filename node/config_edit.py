"""Change one setting in the file and keep everything else of it as the user wrote it, comments included."""

from __future__ import annotations

import re
import tomllib
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final

from core.errors import ConfigError
from node.config import CONFIG_NAME, check, line_of, load_from, parse, read_text
from node.files import editing, write_private
from node.settings import FIELDS

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from node.settings import Settings

_STRING_OR_COMMENT: Final = re.compile(
    r'"""(?:\\.|[^\\])*?"""' r"|'''.*?'''" r'|"(?:\\.|[^"\\\n])*"' r"|'[^'\n]*'" r"|(?P<comment>\#[^\n]*)", re.DOTALL
)
SECRETS: Final = frozenset({"proxy.password", "payments.rpc"})

EDIT_WAIT_S: Final = 5.0
"""Patience with another process that changes settings."""

REDACTED: Final = "[redacted]"


def get_value(settings: Settings, name: str) -> Any:
    """Look one setting up.

    Args:
        settings: the settings.
        name: `section.key`.

    Raises:
        ConfigError: there is no such setting.
    """
    if name not in FIELDS:
        check(name, None, "config")
    section, _, key = name.partition(".")
    return as_toml(getattr(getattr(settings, section), key))


def as_toml(value: Any) -> Any:
    """Turn a setting's value into what TOML and JSON have: tuples into lists."""
    return list(value) if isinstance(value, tuple) else value


def set_value(home: Path, name: str, text: str) -> Any:
    """Write one setting into the file of a home; nothing is written when the result would not load.

    Args:
        home: the node's folder; made when it is missing.
        name: `section.key`.
        text: the value; lists are separated by commas or written as in TOML.

    Returns:
        The value as it stands in the file now.

    Raises:
        ConfigError: the name or the value is wrong, or the file is.
        MacroVpnError: the folder cannot be made, or another process goes on editing it.
    """
    value = check(name, text, name, text=True)
    with locked(home):
        return write_value(home, name, value)


@contextmanager
def locked(home: Path) -> Iterator[None]:
    """Keep others from changing settings between one's reading and one's writing of them.

    Args:
        home: the node's folder; made when it is missing.

    Raises:
        MacroVpnError: the folder cannot be made, or another process goes on editing it.
    """
    with editing(home, EDIT_WAIT_S):
        yield


def write_value(home: Path, name: str, value: Any) -> Any:
    """Write one setting as `set_value` does, while it is `locked`.

    Args:
        home: the node's folder.
        name: `section.key`.
        value: of the setting's type.

    Returns:
        The value as it stands in the file now.

    Raises:
        ConfigError: the value is wrong, or the file is.
    """
    value = as_toml(check(name, value, name))
    path = home / CONFIG_NAME
    new = edited(read_text(path), path, {name: value})
    load_from(new, path, environ={}, changed=[name])
    write_text(path, new)
    return value


def edited(text: str, path: Path, values: Mapping[str, Any]) -> str:
    """Put values into the text of a settings file, and see to it that nothing else of it changes.

    Args:
        text: TOML.
        path: its name, for errors.
        values: checked, by `section.key`.

    Returns:
        The new text.

    Raises:
        ConfigError: the file is wrong, or written in a form that `edit` cannot change.
    """
    new, wanted = text, parse(text, path)[0]
    for name, value in values.items():
        wanted[name] = check(name, value, name)
        new = edit(new, name, as_toml(value))
        try:
            kept = parse(new, path)[0] == wanted
        except ConfigError:
            kept = False
        if not kept:
            raise ConfigError(f"{path}, line {line_of(text, *name.split('.'))}", _FORM.format(*name.split(".")))
    return new


def write_text(path: Path, text: str) -> None:
    """Put a text in the place of a settings file, whole or not at all.

    Raises:
        ConfigError: it cannot be written.
    """
    try:
        write_private(path, text)
    except OSError as error:
        raise ConfigError(str(path), f"the file cannot be written: {error.strerror}") from error


_FORM: Final = "this form cannot be changed from here; write the setting as {1} = … on a line below [{0}]"


def edit(text: str, name: str, value: Any) -> str:
    """Put a value into the text of a settings file.

    Args:
        text: TOML.
        name: `section.key`.
        value: a text, number, truth value or list of texts.

    Returns:
        The new text. A line that has the key is replaced, else one is added below the section's header, else the
        section is added at the end.
    """
    section, _, key = name.partition(".")
    lines = text.splitlines()
    line = f"{key} = {format_value(value)}"
    header = re.compile(rf"\s*\[\s*{section}\s*\]\s*(#.*)?")
    start = next((number for number, old in enumerate(lines) if header.fullmatch(old)), None)
    if start is None:
        return "\n".join([*lines, *([""] if lines else []), f"[{section}]", line, ""])
    stop = next((n for n in range(start + 1, len(lines)) if lines[n].lstrip().startswith("[")), len(lines))
    wanted = re.compile(rf"\s*[\"']?{key}[\"']?\s*=")
    found = next((n for n in range(start + 1, stop) if wanted.match(lines[n])), None)
    if found is None:
        lines.insert(start + 1, line)
    else:
        end = _end_of_value(lines, found)
        comments = [match["comment"] for match in _STRING_OR_COMMENT.finditer("\n".join(lines[found:end]))]
        *above, beside = [comment for comment in comments if comment] or [""]
        lines[found:end] = [*above, f"{line}  {beside}".rstrip()]
    return "\n".join([*lines, ""])


def _end_of_value(lines: list[str], start: int) -> int:
    for end in range(start + 1, len(lines) + 1):
        try:
            tomllib.loads("\n".join(lines[start:end]))
        except tomllib.TOMLDecodeError:
            continue
        return end
    return start + 1


def format_value(value: Any) -> str:
    """Write a value as TOML: a text, number, truth value or a list of them."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return str(value)
    if isinstance(value, str):
        escaped = "".join(_escape(character) for character in value)
        return f'"{escaped}"'
    return f"[{', '.join(format_value(part) for part in value)}]"


def _escape(character: str) -> str:
    if character in '"\\':
        return "\\" + character
    return character if character.isprintable() else f"\\U{ord(character):08x}"


def format_file(tables: dict[str, dict[str, Any]]) -> str:
    """Write a whole settings file from sections, keys and values."""
    parts = []
    for section, table in tables.items():
        parts.append(
            "\n".join([f"[{section}]", *(f"{key} = {format_value(value)}" for key, value in table.items()), ""])
        )
    return "\n".join(parts)
