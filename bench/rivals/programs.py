"""Programs of others, started in a folder of their own, each perhaps in a network namespace."""

from __future__ import annotations

import shutil
import subprocess
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Final

from bench.network import wait_for

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from bench.namespaces import Place

_STOP_S: Final = 5.0
_OPEN_S: Final = 10.0


@dataclass(frozen=True, slots=True)
class Rival:
    """A network that runs.

    Args:
        proxy: `ADDRESS:PORT` of its SOCKS5 proxy, at the client; empty where the client's routes lead through it.
        pids: its processes by name.
    """

    proxy: str
    pids: Mapping[str, int]


def missing(*tools: str) -> list[str]:
    """Which of some programs are not installed."""
    return [tool for tool in tools if shutil.which(tool) is None]


class Programs:
    """Those of one network.

    Args:
        folder: for their files.

    Attributes:
        pids: of those that were started, by name.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.pids: dict[str, int] = {}
        self._running: list[subprocess.Popen[bytes]] = []

    def start(self, name: str, command: Sequence[str], place: Place | None = None) -> None:
        """Start one; what it says goes to NAME.log."""
        enter = place.enter if place is not None else ()
        with (self.folder / f"{name}.log").open("wb") as log:
            process = subprocess.Popen([*enter, *command], stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        self._running.append(process)
        self.pids[name] = process.pid

    def stop(self) -> None:
        """End all of them."""
        for process in self._running:
            process.terminate()
        for process in self._running:
            try:
                process.wait(_STOP_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


@contextmanager
def programs() -> Iterator[Programs]:
    """Give a folder for a network's programs, and end them with the block."""
    with TemporaryDirectory() as folder:
        made = Programs(Path(folder))
        try:
            yield made
        finally:
            made.stop()


def tell(*command: str, place: Place | None = None, text: str = "") -> str:
    """Run a command to its end, with `text` as its input, and return what it says.

    Raises:
        SystemExit: it failed.
    """
    enter = place.enter if place is not None else ()
    done = subprocess.run([*enter, *command], input=text, capture_output=True, text=True, timeout=60, check=False)
    if done.returncode:
        raise SystemExit(f"{' '.join(command)}: {done.stderr.strip()}")
    return done.stdout


def await_port(address: str, port: int, place: Place | None = None) -> None:
    """Wait until a TCP port answers.

    Raises:
        SystemExit: it does not.
    """
    enter = place.enter if place is not None else ()
    probe = ["timeout", "2", "bash", "-c", f"exec 3<>/dev/tcp/{address}/{port}"]

    def answers() -> bool:
        return not subprocess.run([*enter, *probe], stderr=subprocess.DEVNULL, check=False).returncode

    wait_for(f"port {port} of {address}", answers, _OPEN_S, 0.1)
