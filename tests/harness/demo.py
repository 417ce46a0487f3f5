"""The demo network as a process, and curl as its user."""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
import time
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from core.errors import MacroVpnError
from node.client import NodeClient

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from types import TracebackType

ROOT = Path(__file__).resolve().parents[2]
READY_S = 40.0


def until(what: str, check: Callable[[], Any], limit_s: float = 10.0) -> Any:
    """Wait until `check` gives something true, and return it."""
    end = time.monotonic() + limit_s
    while not (found := check()):
        assert time.monotonic() < end, f"{what} did not happen within {limit_s} s"
        time.sleep(0.02)
    return found


def alive(pid: int) -> bool:
    """Whether a process runs (a zombie does not)."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def udp_port(pid: int) -> int:
    """The UDP port on which a process is bound to every address."""
    names: set[str] = set()
    for link in Path(f"/proc/{pid}/fd").iterdir():
        with suppress(FileNotFoundError):  # closed meanwhile
            names.add(link.readlink().name)
    inodes = {name.split("[")[1].rstrip("]") for name in names if name.startswith("socket:")}
    for table in ("udp", "udp6"):
        for line in Path(f"/proc/{pid}/net/{table}").read_text().splitlines()[1:]:
            fields = line.split()
            host, _, port = fields[1].rpartition(":")
            if fields[9] in inodes and not host.strip("0"):
                return int(port, 16)
    raise AssertionError("the client has no UDP socket")


def command(*arguments: str, home: Path | str | None = None, timeout: float = 40) -> dict[str, Any]:
    """Run `macrovpn … --json` and return what it prints."""
    where = ["--home", str(home)] if home is not None else []
    done = subprocess.run(
        [sys.executable, "-m", "node", *arguments, "--json", *where],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
    )
    assert done.returncode == 0, (done.returncode, done.stderr)
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer


def books(home: Path) -> dict[str, Any]:
    """What `macrovpn wallet books` says of a network."""
    return command("wallet", "books", str(home))


def settled(home: Path) -> dict[str, dict[str, Any]]:
    """The books of all, by node, once nothing is under way."""
    seen: list[dict[str, Any]] = []

    def still() -> bool:
        seen.append(books(home))
        return len(seen) > 1 and seen[-1]["agree"] and seen[-1]["sums"] == seen[-2]["sums"]

    until("the books agree", still, 20)
    return {row["node"]: row for row in seen[-1]["books"]}


def status_of(home: Path) -> dict[str, Any]:
    """The status of a home's node, without the work of a command; empty while none answers."""
    with suppress(MacroVpnError):
        return NodeClient(home).status()
    return {}


@contextmanager
def newcomer(home: Path, environment: Mapping[str, str], *options: str) -> Iterator[None]:
    """A client with an empty home."""
    arguments = ["up", "--foreground", "--port", "0", "--allow-address", "127.0.0.0/8", "--home", str(home), *options]
    process = subprocess.Popen(
        [sys.executable, "-m", "node", *arguments],
        cwd=ROOT,
        env=os.environ | environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        yield
    finally:
        process.terminate()
        process.wait(10)


class Demo:
    """`macrovpn demo --json`, running. Its nodes ask for money only where a test says so: who joins it pays nothing.

    Args:
        arguments: options.
        log: what it says goes there.
        environment: variables beside those of this process.
        program: the module that is `macrovpn`.
        ready_s: how long it may take to be ready.
        python: whose `macrovpn` it is.
        folder: where it is started.
    """

    def __init__(
        self,
        *arguments: str,
        log: Path,
        environment: dict[str, str] | None = None,
        program: str = "node",
        ready_s: float = READY_S,
        python: Path | str = sys.executable,
        folder: Path = ROOT,
    ) -> None:
        self.log = log
        with log.open("wb") as errors:
            self.process = subprocess.Popen(
                [python, "-m", program, "demo", "--json", "--tariff", "0", *arguments],
                cwd=folder,
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
                env=os.environ | (environment or {}),
            )
        assert self.process.stdout is not None
        ready, _, _ = select.select([self.process.stdout], [], [], ready_s)
        line = self.process.stdout.readline() if ready else ""
        if not line:
            self.stop()
            raise AssertionError(f"the demo did not get ready: {log.read_text()}")
        self.facts: dict[str, Any] = json.loads(line)
        self.proxy: str = self.facts["proxy"]
        self.pac: str = self.facts["pac"]
        self.home = Path(self.facts["home"])

    def pids(self, role: str = "") -> list[int]:
        return [entry["pid"] for entry in self.facts["processes"] if role in ("", entry["role"])]

    def curl(
        self, *arguments: str, way: str = "--socks5-hostname", timeout: float = 60
    ) -> subprocess.CompletedProcess[str]:
        """Run curl through the proxy."""
        proxy = self.proxy if way == "--socks5-hostname" else f"http://{self.proxy}"
        return subprocess.run(
            ["curl", "-sS", "--noproxy", "", "--max-time", str(timeout), way, proxy, *arguments],
            capture_output=True,
            text=True,
            timeout=timeout + 5,
            check=False,
        )

    @property
    def node(self) -> NodeClient:
        """The client, as its control interface shows it."""
        return NodeClient(self.home)

    def status(self) -> dict[str, Any]:
        return self.node.status()

    def stop(self, number: signal.Signals = signal.SIGTERM) -> int:
        """End the demo; returns its exit code."""
        if self.process.poll() is None:
            os.kill(self.process.pid, number)
        try:
            return self.process.wait(10)
        finally:
            if self.process.stdout is not None:
                self.process.stdout.close()

    def __enter__(self) -> Demo:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()
