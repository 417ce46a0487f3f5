"""Settings as people and programs see them: what each is for, what it may be, what it is and where that comes from."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, Literal, get_args, get_origin

import msgspec

from node.applying import LIVE
from node.config import FROM_FILE, FROM_FLAG
from node.config_edit import REDACTED, SECRETS, get_value
from node.settings import FIELDS, Settings
from node.settings_help import HELP
from pac.presets import PRESETS

if TYPE_CHECKING:
    from collections.abc import Collection

    from node.config import Loaded

_KINDS: Final = {
    msgspec.inspect.BoolType: "switch",
    msgspec.inspect.IntType: "integer",
    msgspec.inspect.FloatType: "number",
    msgspec.inspect.StrType: "text",
    msgspec.inspect.LiteralType: "choice",
    msgspec.inspect.VarTupleType: "list",
}
"""`choice`: one of `choices`. `list`: texts, and where there are `choices` only these."""


def kind_of(name: str) -> str:
    """Say in a word what a setting's value is: see `_KINDS`."""
    return _KINDS[type(msgspec.inspect.type_info(FIELDS[name]))]


def choices_of(name: str) -> list[str]:
    """Name all that a setting, or each member of a list, may be; empty where that is no small number of words."""
    if name == "bypass.presets":
        return list(PRESETS)
    kind = get_args(FIELDS[name])[0]
    if get_origin(kind) is tuple:
        kind = get_args(kind)[0]
    return list(get_args(kind)) if get_origin(kind) is Literal else []


def must_be(name: str) -> str:
    """Say what a setting must be."""
    return str(get_args(FIELDS[name])[1].text)


def rows(loaded: Loaded, pending: Collection[str] = ()) -> list[dict[str, Any]]:
    """Describe every setting.

    Args:
        loaded: the settings, and where they come from.
        pending: those of which the running node still has another value.

    Returns:
        For each: `key`, `value` and `default` (secrets that are set read `[redacted]`), `kind`, `choices`, `must`,
        `help`, `secret`, `source` (`default`, `file`, `flag` or an environment variable), `live` (whether a change
        takes effect without a restart) and `pending`.
    """
    defaults = Settings()
    found = []
    for name in FIELDS:
        value, secret = get_value(loaded.settings, name), name in SECRETS
        found.append(
            {
                "key": name,
                "value": REDACTED if secret and value else value,
                "default": get_value(defaults, name),
                "kind": kind_of(name),
                "choices": choices_of(name),
                "must": must_be(name),
                "help": HELP[name],
                "secret": secret,
                "source": loaded.source(name),
                "live": name in LIVE,
                "pending": name in pending,
            }
        )
    return found


def source_text(source: str) -> str:
    """Say where a value comes from, for people; empty for a default."""
    return {"default": "", FROM_FILE: "the file", FROM_FLAG: "an option of this run"}.get(source, source)
