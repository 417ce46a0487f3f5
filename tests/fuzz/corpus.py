"""The kept inputs: `corpus/TARGET.txt`, one a line, in base64. Seeds stand in the targets and not here.

Of what a search found, an input is kept if it takes a reader to a line of the project that no smaller one did.
"""

from __future__ import annotations

import sys
from base64 import b64decode, b64encode
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from types import CodeType

    from tests.fuzz.target import Target

FOLDER: Final = Path(__file__).parent / "corpus"
ROOT: Final = Path(__file__).resolve().parents[2]
SOURCES: Final = tuple(
    f"{ROOT / package}/" for package in ("core", "pac", "ledger", "tunnel", "peers", "exits", "proxy", "node")
)

type Line = tuple[str, str, int]
"""File, function and number."""


def kept(name: str) -> list[bytes]:
    """The inputs of a target; none if there is no file."""
    path = FOLDER / f"{name}.txt"
    return [b64decode(line, validate=True) for line in path.read_text().splitlines()] if path.exists() else []


def write(target: Target, inputs: Iterable[bytes]) -> None:
    """Keep those of the inputs, and of what is kept already, that show something new."""
    found = smallest(target, {*inputs, *kept(target.name)})
    FOLDER.mkdir(exist_ok=True)
    path = FOLDER / f"{target.name}.txt"
    path.write_text("".join(f"{b64encode(data).decode()}\n" for data in found))


def smallest(target: Target, inputs: Iterable[bytes]) -> list[bytes]:
    """Choose inputs that reach together what all of them reach, small ones first."""
    with watching() as watch:
        for seed in (*target.seeds, *target.seeds):  # twice, since much is made at the first use
            watch.run(target, seed)
        seen = set(watch.lines)
        chosen = []
        for data in sorted(inputs, key=lambda one: (len(one), one)):
            watch.run(target, data)
            if watch.lines - seen:
                seen |= watch.lines
                chosen.append(data)
    return chosen


class Watch:
    """What lines of the project an input reaches."""

    def __init__(self) -> None:
        self.lines: set[Line] = set()

    def run(self, target: Target, data: bytes) -> None:
        """Read an input; `lines` are those that it came by."""
        self.lines = set()
        sys.monitoring.restart_events()
        target.run(data)

    def on_line(self, code: CodeType, number: int) -> object:
        if code.co_filename.startswith(SOURCES):
            self.lines.add((code.co_filename, code.co_qualname, number))
        return sys.monitoring.DISABLE


@contextmanager
def watching() -> Iterator[Watch]:
    """Have the interpreter tell of each line, once for each input."""
    watch, tool = Watch(), sys.monitoring.COVERAGE_ID
    sys.monitoring.use_tool_id(tool, "corpus")
    try:
        sys.monitoring.register_callback(tool, sys.monitoring.events.LINE, watch.on_line)
        sys.monitoring.set_events(tool, sys.monitoring.events.LINE)
        yield watch
    finally:
        sys.monitoring.set_events(tool, 0)
        sys.monitoring.register_callback(tool, sys.monitoring.events.LINE, None)
        sys.monitoring.free_tool_id(tool)
