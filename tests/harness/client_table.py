"""The table of `docs/clients.md`: tests find their rows in it, or write them."""

from __future__ import annotations

import os
import platform
import re
import subprocess
from importlib import metadata
from typing import Final

from tests.harness.demo import ROOT

PAGE: Final = ROOT / "docs" / "clients.md"
WRITE: Final = "WRITE_CLIENTS"
"""The environment variable with which a run of all clients writes the table instead of being held against it."""
_HEAD: Final = "| client | set up | what went through | version |\n|---|---|---|---|\n"


class Table:
    """Rows, in the order in which they are told."""

    def __init__(self) -> None:
        self._writes = bool(os.environ.get(WRITE))
        self._page = PAGE.read_text(encoding="utf-8")
        self._rows: list[str] = []

    def row(self, client: str, how: str, outcome: str) -> None:
        """Tell what a client did, after it has done so.

        Args:
            client: name of its package in Debian, or of its distribution in Python's index.
            how: how it was set up; with backquotes where it is code.
            outcome: what was seen to arrive.
        """
        cells = " | ".join(cell.replace("|", "\\|") for cell in (client, how, outcome))
        if self._writes:
            self._rows.append(f"| {cells} | {_version(client)} |\n")
        else:
            assert f"\n| {cells} | " in self._page, f"docs/clients.md has no such row; {WRITE}=1 writes it"

    def finish(self) -> None:
        """Put what was told into the page, if that is wanted."""
        if self._writes:
            rows = _HEAD + "".join(self._rows)
            page, found = re.subn(re.escape(_HEAD) + r"(?:\|.*\n)*", lambda _: rows, self._page)
            assert found == 1
            PAGE.write_text(page, encoding="utf-8")


def _version(client: str) -> str:
    if client == "Python":
        return platform.python_version()
    try:
        return metadata.version(client)
    except metadata.PackageNotFoundError:
        command = ["dpkg-query", "-W", "-f", "${Version}", client]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout
