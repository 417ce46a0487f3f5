"""`macrovpn doctor`: what would make a browser go direct, and what is wrong with the node."""

from __future__ import annotations

import os
import sys
import textwrap
from collections import Counter
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from node.cli_common import Command, common, plain, show

if TYPE_CHECKING:
    from collections.abc import Sequence

    from node.findings import Finding

WIDTH: Final = 100
_INDENT: Final = " " * 15
_WORDS: Final = {"ok": "ok", "warning": "look", "problem": "bad", "unchecked": "not checked"}
"""What a terminal shows for each level."""


@click.command(cls=Command)
@common
@click.pass_context
def doctor(context: click.Context, /, home: Path, as_json: bool) -> None:
    """Look for leaks, and for what is wrong with the node.

    A leak is what would make a browser go direct. Nothing is changed, and no other machine is asked. It ends with 1 if
    something is bad; what only deserves a look is not.
    """
    from node.doctor import examine
    from node.findings import Level

    waiting = _Waiting(shows=sys.stderr.isatty() and not as_json)
    found = examine(home, Path.home(), os.environ, waiting.over)
    waiting.end()
    counts = Counter(finding.level for finding in found)
    rows = {"findings": [_row(finding) for finding in found], "counts": {each.value: counts[each] for each in Level}}
    show(as_json, rows, _text(found))
    context.exit(int(counts[Level.PROBLEM] > 0))


class _Waiting:
    """One line on a terminal, which says how far it is.

    Args:
        shows: whether there is a terminal.
    """

    def __init__(self, *, shows: bool) -> None:
        self._shows = shows
        self._over = 0

    def over(self, name: str) -> None:
        """Say that another look is over."""
        self._over += 1
        if self._shows:
            click.echo(f"\r\x1b[KLooked at {name} ({self._over}) …", err=True, nl=False)

    def end(self) -> None:
        """Take the line away."""
        if self._shows:
            click.echo("\r\x1b[K", err=True, nl=False)


def _row(finding: Finding) -> dict[str, Any]:
    return {
        "area": finding.area.value,
        "check": finding.check,
        "level": finding.level.value,
        "sentence": finding.sentence,
        "remedy": finding.remedy,
    }


def _text(found: Sequence[Finding]) -> str:
    lines = []
    for area, findings in groupby(found, lambda finding: finding.area):
        lines.append(area.value)
        for finding in findings:
            lines += _wrapped(f"  {_WORDS[finding.level.value]:<{len(_INDENT) - 2}}", finding.sentence)
            lines += _wrapped(_INDENT, finding.remedy)
    counts = Counter(finding.level.value for finding in found)
    lines.append(", ".join(f"{word}: {counts[level]}" for level, word in _WORDS.items()) + ".")
    return "\n".join(lines)


def _wrapped(begin: str, text: str) -> list[str]:
    return textwrap.wrap(
        plain(text),
        WIDTH,
        initial_indent=begin,
        subsequent_indent=_INDENT,
        break_long_words=False,
        break_on_hyphens=False,
    )
