"""What `macrovpn share` shows while it runs: live figures on a terminal, else a line when something changes.

What goes into a file or a pipe has no figures, and names no limit that bites for a moment: many of them one after the
other would be a record of the traffic.
"""

from __future__ import annotations

import json
import logging
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import click

from node.cli_common import plain
from node.reach import sentence
from node.sharing_view import DRAINING, PASSING, rows, state_sentence

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from rich.console import Console
    from rich.table import Table

_KEYS = ("state", "reason", "reachable", "via")
_STOP = "Ctrl-C takes nothing new and lets running connections finish."
_STOP_NOW = "Ctrl-C again ends at once."


@contextmanager
def watching(*, as_json: bool, log_level: str) -> Iterator[Callable[[dict[str, Any]], None]]:
    """Give what a running node's status is to be told to.

    Args:
        as_json: write JSON lines, whatever standard output is.
        log_level: of the node, whose lines go above the live figures.
    """
    if as_json or not sys.stdout.isatty():
        yield Changes(as_json=as_json).show
        return
    screen = Screen(log_level)
    try:
        yield screen.show
    finally:
        screen.close()


class Changes:
    """Writes a line whenever what others can get from this node, or how they reach it, has changed.

    Args:
        as_json: write an object with `state`, `reason`, `reachable`, `via`, `sharing` and `biting`, as in `status`.
    """

    def __init__(self, *, as_json: bool) -> None:
        self._as_json = as_json
        self._shown: dict[str, Any] = {}

    def show(self, status: dict[str, Any]) -> None:
        """Take the status of now."""
        section = status.get("sharing") or {}
        lasting = [word for word in section.get("biting", []) if word not in PASSING]
        facts = {key: status.get(key, "") for key in _KEYS} | {"sharing": section.get("state", ""), "biting": lasting}
        if facts == self._shown:
            return
        self._shown = facts
        # The number of those that are to finish changes all the time: it is no part of the line.
        text = (
            "stopping: takes nothing new"
            if facts["sharing"] == DRAINING
            else state_sentence({**section, "biting": lasting})
        )
        how = sentence(str(facts["reachable"]), int(facts["via"] or 0))
        click.echo(json.dumps(facts) if self._as_json else plain("; ".join(part for part in (text, how) if part)))


class Screen:
    """Live figures at the foot of a terminal.

    Args:
        log_level: see `watching`.
        console: where to draw; None for standard output.
    """

    def __init__(self, log_level: str, console: Console | None = None) -> None:
        from rich.console import Console
        from rich.live import Live

        from node import logs

        self._console = console or Console(highlight=False, markup=False)
        self._live = Live(console=self._console, auto_refresh=False)
        logs.set_up(log_level, _Above(self._console))

    def show(self, status: dict[str, Any]) -> None:
        """Take the status of now."""
        if not self._live.is_started:
            self._live.start()
            # A second Ctrl-C may end the process without a chance to bring it back.
            self._console.show_cursor(True)
        self._live.update(_table(status), refresh=True)

    def close(self) -> None:
        """Leave the last figures where they are."""
        self._live.stop()


class _Above(logging.Handler):
    """Writes log lines above the figures."""

    def __init__(self, console: Console) -> None:
        super().__init__()
        self._console = console

    def emit(self, record: logging.LogRecord) -> None:
        self._console.out(plain(self.format(record)), highlight=False)


def _table(status: dict[str, Any]) -> Table:
    from rich.table import Table
    from rich.text import Text

    section = status.get("sharing") or {}
    how = sentence(str(status.get("reachable", "")), int(status.get("via") or 0))
    state = plain(f"{status.get('state', '')}: {status.get('reason', '')}".rstrip(": "))
    stop = _STOP_NOW if section.get("state") == DRAINING else _STOP
    table = Table.grid(padding=(0, 2))
    table.add_column(style="dim", no_wrap=True)
    table.add_column(overflow="fold")
    for name, text in [("node", state), ("reach", how), *rows(section), ("", stop)]:
        if text:
            table.add_row(name, Text(plain(text)))
    return table
