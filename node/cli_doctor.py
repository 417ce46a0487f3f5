"""`macrovpn doctor`: what would make a browser go direct, and what is wrong with the node."""

from __future__ import annotations

import os
import textwrap
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from node.cli_common import Command, common, plain, show

if TYPE_CHECKING:
    from collections.abc import Sequence

    from node.findings import Finding

WIDTH: Final = 100
_INDENT: Final = " " * 9


@click.command(cls=Command)
@common
@click.pass_context
def doctor(context: click.Context, /, home: Path, as_json: bool) -> None:
    """Look for leaks, and for what is wrong with the node.

    A leak is what would make a browser go direct. Nothing is changed. It ends with 1 if there is a problem; warnings
    alone are none.
    """
    from node.doctor import examine
    from node.findings import Level

    found = examine(home, Path.home(), os.environ)
    show(as_json, {"findings": [_row(finding) for finding in found]}, _text(found))
    context.exit(int(any(finding.level is Level.PROBLEM for finding in found)))


def _row(finding: Finding) -> dict[str, Any]:
    return {
        "check": finding.check,
        "level": finding.level.value,
        "sentence": finding.sentence,
        "remedy": finding.remedy,
    }


def _text(found: Sequence[Finding]) -> str:
    lines = []
    for finding in found:
        lines += _wrapped(f"{finding.level.value:<{len(_INDENT)}}", finding.sentence)
        lines += _wrapped(_INDENT, finding.remedy)
    levels = [finding.level.value for finding in found]
    lines.append(f"Problems: {levels.count('problem')}, warnings: {levels.count('warning')}.")
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
