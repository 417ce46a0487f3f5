"""The command line as tests call it, and what stands in for the part that runs nodes."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from click.testing import CliRunner, Result

from node import background
from node.cli import cli

if TYPE_CHECKING:
    from pathlib import Path

    import pytest

    from node.settings import Settings


def call(*arguments: object) -> Result:
    return CliRunner().invoke(cli, [str(argument) for argument in arguments])


def answer(*arguments: object) -> dict[str, Any]:
    """Run a command with `--json`; it must succeed and print one line."""
    result = call(*arguments, "--json")
    assert result.exit_code == 0, result.output
    assert result.stdout.count("\n") == 1
    found: dict[str, Any] = json.loads(result.stdout)
    return found


class Started:
    """What the commands gave to the part that runs nodes."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.here: list[tuple[Settings, Path]] = []
        self.away: list[tuple[list[str], Path]] = []
        self.system_proxy: list[bool] = []
        self.overrides: dict[str, object] = {}
        self.code = 3
        self.status: dict[str, Any] = {"state": "up", "proxy": "127.0.0.1:1080", "pac": "http://x/proxy.pac", "pid": 7}
        monkeypatch.setattr(background, "run_here", self.run_here)
        monkeypatch.setattr(background, "start", self.start)

    def run_here(
        self,
        settings: Settings,
        home: Path,
        announce: Any,
        watch: Any = None,
        *,
        overrides: dict[str, object],
        system_proxy: bool = False,
    ) -> int:
        self.here.append((settings, home))
        self.overrides = overrides
        self.system_proxy.append(system_proxy)
        announce(self.status)
        if watch is not None:
            watch(self.status | {"sharing": {"state": "open"}})
        return self.code

    def start(self, arguments: list[str], home: Path, progress: Any) -> dict[str, Any]:
        self.away.append((arguments, home))
        progress("starting …")
        return self.status
