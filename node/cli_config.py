"""`macrovpn config`: look at the settings and change them, in a running node or in the file."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any, Final

import click

from node.cli_common import Group, common, show, usage
from node.cli_completing import SETTINGS, VALUES

if TYPE_CHECKING:
    from pathlib import Path

_MOST_CHARACTERS: Final = 1 << 20
"""Of a value that comes from standard input."""
_EFFECTS: Final = {
    "now": "The node goes by it now; no connection breaks.",
    "for_new": "The node goes by it now. What runs for others already goes on without a limit until it ends.",
    "after_restart": "The node goes by it after a restart: `macrovpn down`, then start it as before.",
    "next_start": "No node runs here; the next one goes by it.",
}


@click.group(cls=Group)
def config() -> None:
    """List, read and change settings.

    docs/settings.md says what each is for.
    """


@config.command("list")
@common
def list_command(home: Path, as_json: bool) -> None:
    """Show every setting, and where it comes from.

    That is the file, the environment, or an option with which the node was started.
    """
    from node.config_edit import format_value
    from node.settings_view import source_text

    found = _settings(home)
    lines = []
    for row in found["settings"]:
        said = source_text(row["source"]), "the node goes by it after a restart" if row["pending"] else ""
        remark = "; ".join(part for part in said if part)
        lines.append(f"{row['key']} = {format_value(row['value'])}{f'  # {remark}' if remark else ''}")
    if found["problem"]:
        lines.append(f"The file is wrong, and the node goes by what it read before: {found['problem']}")
    value = {
        "settings": {row["key"]: row["value"] for row in found["settings"]},
        "sources": {row["key"]: row["source"] for row in found["settings"]},
        "after_restart": [row["key"] for row in found["settings"] if row["pending"]],
        "file": found["file"],
        "problem": found["problem"],
    }
    show(as_json, value, "\n".join(lines))


@config.command("get")
@common
@click.argument("name", shell_complete=SETTINGS)
def get_command(home: Path, as_json: bool, name: str) -> None:
    """Show one setting, such as `tunnel.mode`."""
    from node.config import check, load
    from node.config_edit import format_value, get_value
    from node.settings import FIELDS

    if name not in FIELDS:
        with usage():
            check(name, None, "NAME")
    (row,) = [row for row in _settings(home)["settings"] if row["key"] == name]
    value = get_value(load(home), name) if row["secret"] else row["value"]
    text = value if isinstance(value, str) else format_value(value)
    show(as_json, {"name": name, "value": value, "source": row["source"]}, text)


@config.command("set")
@common
@click.argument("name", shell_complete=SETTINGS)
@click.argument("value", shell_complete=VALUES)
def set_command(home: Path, as_json: bool, name: str, value: str) -> None:
    """Change one setting, also in the running node.

    What it cannot change there counts from its next start on, and the command says so. A list is separated by commas;
    "" is an empty one. VALUE may be - to read it from standard input: others on this machine can see what is typed
    behind a command.
    """
    from node.cli_ask import ask
    from node.client import NoNodeError
    from node.config import CONFIG_NAME, FROM_FILE, check, load_from, read_text
    from node.config_edit import REDACTED, SECRETS, as_toml, format_value, set_value
    from node.settings import FIELDS

    path = home / CONFIG_NAME
    if value == "-":
        value = sys.stdin.read(_MOST_CHARACTERS).rstrip("\n")
    with usage():
        written = as_toml(check(name, value, name if name in FIELDS else "NAME", text=True))
    try:
        done = ask(home).change({name: written})
        effect = next((effect for effect in ("after_restart", "for_new") if done[effect]), "now")
        lines = [_EFFECTS[effect]]
    except NoNodeError:
        effect = "next_start"
        set_value(home, name, value)
        source = load_from(read_text(path), path).source(name)
        lines = [_EFFECTS[effect] if source == FROM_FILE else f"{source} counts more, as long as it is set."]
    shown = REDACTED if name in SECRETS and written else written
    answer = {"name": name, "value": shown, "file": str(path), "effect": effect}
    show(as_json, answer, "\n".join([f"{name} = {format_value(shown)}", *lines]))


def _settings(home: Path) -> dict[str, Any]:
    """Ask the node that runs here for its settings, or read what the next one will go by."""
    from node.cli_ask import ask
    from node.client import NoNodeError
    from node.config import CONFIG_NAME, load_from, read_text
    from node.settings_view import rows

    try:
        return ask(home).settings()
    except NoNodeError:
        path = home / CONFIG_NAME
        return {"settings": rows(load_from(read_text(path), path)), "file": str(path), "problem": ""}
