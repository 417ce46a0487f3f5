"""`macrovpn config`: look at the settings and change them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from node.cli_common import common, show

if TYPE_CHECKING:
    from pathlib import Path


@click.group()
def config() -> None:
    """List, read and change settings."""


@config.command("list")
@common
def list_command(home: Path, as_json: bool) -> None:
    """Show every setting as it counts now: file, then environment."""
    from node.config import CONFIG_NAME, load
    from node.config_edit import format_value, list_values

    values = list_values(load(home))
    text = "\n".join(f"{name} = {format_value(value)}" for name, value in values.items())
    show(as_json, {"settings": values, "file": str(home / CONFIG_NAME)}, text)


@config.command("get")
@common
@click.argument("name")
def get_command(home: Path, as_json: bool, name: str) -> None:
    """Show one setting, such as `tunnel.mode`."""
    from node.config import load
    from node.config_edit import format_value, get_value

    value = get_value(load(home), name)
    show(as_json, {"name": name, "value": value}, value if isinstance(value, str) else format_value(value))


@config.command("set")
@common
@click.argument("name")
@click.argument("value")
def set_command(home: Path, as_json: bool, name: str, value: str) -> None:
    """Change one setting in the file. A list is separated by commas. A running node reads it at its next start."""
    from node.config import CONFIG_NAME
    from node.config_edit import format_value, set_value

    written = set_value(home, name, value)
    text = f"{name} = {format_value(written)}"
    show(as_json, {"name": name, "value": written, "file": str(home / CONFIG_NAME)}, text)
