"""`macrovpn status --watch`: the state of the node, told by the node itself whenever it changes."""

from __future__ import annotations

import json
import sys
import time
from typing import TYPE_CHECKING, Any, Final

import click

from core.errors import MacroVpnError
from node.cli_ask import ask
from node.cli_common import plain
from node.client import NoNodeError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from rich.text import Text

AGAIN_S: Final = 1.0
"""A node that is gone is looked for so often."""
SECONDS: Final = 60
"""Speeds that the picture shows."""
_BARS: Final = " ▁▂▃▄▅▆▇█"
_COLOURS: Final = {"up": "green", "connecting": "yellow", "leaving": "yellow", "blocked": "red", "down": "red"}


def watch(
    home: Path,
    as_json: bool,
    now: Callable[[], dict[str, Any]],
    whole: Callable[[dict[str, Any]], dict[str, Any]],
    text: Callable[[dict[str, Any]], str],
) -> None:
    """Show what the node tells until Ctrl-C.

    Args:
        home: of the node; it may start, stop and start again meanwhile.
        as_json: print each event as a line of JSON, with its name as `event`.
        now: the status without a node that tells.
        whole: completes what a node tells of its status.
        text: writes a status for people.
    """
    try:
        if as_json:
            for name, value in _events(home, now):
                click.echo(json.dumps({"event": name} | (whole(value) if name == "status" else value)))
        elif sys.stdout.isatty():
            _live(home, now, text)
        else:
            _lines(home, now)
    except KeyboardInterrupt:
        return


def _events(home: Path, now: Callable[[], dict[str, Any]]) -> Iterator[tuple[str, dict[str, Any]]]:
    """What the node tells, and what there is to say while none does."""
    told: dict[str, Any] = {}
    while True:
        try:
            for name, value in ask(home).events():
                told = {}
                yield name, value
        except NoNodeError:
            pass
        except MacroVpnError as error:
            click.echo(str(error), err=True)
        if told != (told := now()):
            yield "status", told
        time.sleep(AGAIN_S)


def _lines(home: Path, now: Callable[[], dict[str, Any]]) -> None:
    """Write a line for each change that lasts. There are no figures in it: in a file they would be a record of use."""
    told = ""
    for name, value in _events(home, now):
        if name == "status":
            where = " and ".join(value.get("exit_regions", [])) or value.get("exit_region", "")
            way = f"{where or 'region unknown'}, {value.get('hops', 0)} hops" if value["state"] == "up" else ""
            line = ": ".join(part for part in (value["state"], value.get("reason") or way) if part)
            if line != told:
                click.echo(plain(line))
            told = line


def _live(home: Path, now: Callable[[], dict[str, Any]], text: Callable[[dict[str, Any]], str]) -> None:
    from rich.live import Live

    status = now()
    seconds: list[dict[str, Any]] = []
    with Live(_picture(text(status), str(status["state"]), seconds), auto_refresh=False) as live:
        for name, value in _events(home, now):
            if name == "status":
                status = value
            else:
                seconds = [*seconds, value][-SECONDS:]
            if status["state"] == "down":
                seconds = []
            live.update(_picture(text(status), str(status["state"]), seconds), refresh=True)


def _picture(text: str, state: str, seconds: list[dict[str, Any]]) -> Text:
    """Lay the text out, the state's word in its colour, and below it the speeds of the last minute."""
    from rich.text import Text

    word, rest = text[: len(state)], text[len(state) :]
    picture = Text.assemble((word, f"bold {_COLOURS.get(state, '')}".rstrip()), rest, no_wrap=True, overflow="ellipsis")
    for key, name in (("back_bytes_s", "down"), ("forth_bytes_s", "up")):
        if seconds:
            rates = [second[key] for second in seconds]
            picture.append(f"\n{name:<9} {rate_text(rates[-1]):>12}  {bars(rates)}")
    if seconds:
        times = [f"{second['first_byte_ms']:.0f} ms" for second in seconds if second["first_byte_ms"] is not None]
        picture.append(f"\n{'answers':<9} {times[-1] if times else '–':>12}  from asking to the first byte")
    return picture


def rate_text(bytes_s: int) -> str:
    """Write a speed in the unit of providers."""
    mbit = bytes_s * 8 / 1e6
    return f"{mbit:.0f} Mbit/s" if mbit >= 10 else f"{mbit:.2f} Mbit/s"


def bars(rates: list[int]) -> str:
    """Draw rates as columns, the highest as high as a line is."""
    top = max(*rates, 1) if rates else 1
    return "".join(_BARS[-(-rate * (len(_BARS) - 1) // top)] for rate in rates)
