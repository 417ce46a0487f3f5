"""A desktop's proxy settings in memory, and a node that dies while they point to it."""

from __future__ import annotations

import json
import socket
from contextlib import suppress
from typing import TYPE_CHECKING, ClassVar, Final

from node.desktops import SystemProxyError, Values
from node.system_proxy import held

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

BEFORE: Final[Values] = {"http": "corp:3128", "https": "", "hosts": "corp", "mode": "none"}


class KilledError(BaseException):
    """The process is gone: what it would do at its end, it cannot do any more."""


class Desk:
    """A place with two servers, a list and a switch.

    Args:
        home: the folder in which the record of the system's settings lies.

    Attributes:
        port: a free one, for the proxy.
        writes_left: how often a value can be written before the process dies; None: always.
        keeps: whether values that are written stay.
        fails: whether it refuses everything.
    """

    name: ClassVar = "gnome"
    switch: ClassVar = "mode"
    bypass: ClassVar = "hosts"

    def __init__(self, home: Path) -> None:
        self.home = home
        self.port = free_port()
        self.values = dict(BEFORE)
        self.written: list[tuple[str, str]] = []
        self.writes_left: int | None = None
        self.keeps = True
        self.fails = False
        self.record = home / "system-proxy" / "before.json"

    def read(self) -> Values:
        self._live()
        return dict(self.values)

    def ours(self, host: str, port: int, present: Mapping[str, str]) -> Values:
        here = f"{host}:{port}"
        values = {"http": here, "https": here, "hosts": "loopback", "mode": "manual"}
        return {key: value for key, value in values.items() if key in present}

    def write(self, values: Mapping[str, str]) -> None:
        for key, value in values.items():
            assert json.loads(self.record.read_text())["places"]["gnome"]["ours"].keys() == BEFORE.keys()
            self._live()
            if self.writes_left is not None:
                self.writes_left -= 1
            self.written.append((key, value))
            if self.keeps:
                self.values[key] = value

    def _live(self) -> None:
        if self.fails:
            raise SystemProxyError("The desktop is away.")
        if self.writes_left == 0:
            raise KilledError


def crash(desk: Desk, writes: int = 100) -> None:
    """Have a node die after some values were written, or while it runs."""
    desk.writes_left = writes
    with suppress(KilledError), held("127.0.0.1", desk.port):
        desk.writes_left = 0
    desk.writes_left = None


def free_port() -> int:
    """A TCP port of loopback that nothing uses."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
