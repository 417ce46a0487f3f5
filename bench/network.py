"""The demo network and an origin as processes, and who stands where on the circuits of its client."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from bench.processes import runs
from node.client import NodeClient

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

STOP_S: Final = 10.0


def wait_for[Found](what: str, check: Callable[[], Found], limit_s: float, step_s: float = 0.02) -> Found:
    """Ask every `step_s` until the answer is true, and return it.

    Raises:
        SystemExit: that took longer than the limit.
    """
    end = time.monotonic() + limit_s
    while not (found := check()):
        if time.monotonic() > end:
            raise SystemExit(f"{what}: not within {limit_s:.0f} s")
        time.sleep(step_s)
    return found


@dataclass(frozen=True, slots=True)
class Member:
    """A process of the network: its role, process id, peer id (empty for a client), address, folder and engine."""

    role: str
    pid: int
    peer_id: str
    address: str
    home: str
    engine: str


class Network:
    """A running demo network, as its first line of output describes it."""

    def __init__(self, facts: dict[str, Any]) -> None:
        self.proxy: str = facts["proxy"]
        self.engine: str = facts["engine"]
        self.members = [Member(**entry) for entry in facts["processes"]]
        self.client = NodeClient(Path(facts["home"]))

    @property
    def pids(self) -> list[int]:
        return [member.pid for member in self.members]

    def named(self) -> dict[str, int]:
        """The processes by a name that people read, such as `relay-2`."""
        counts: dict[str, int] = {}
        found = {}
        for member in self.members:
            counts[member.role] = counts.get(member.role, 0) + 1
            several = sum(other.role == member.role for other in self.members) > 1
            found[f"{member.role}-{counts[member.role]}" if several else member.role] = member.pid
        return found

    def busiest(self) -> list[int]:
        """The processes of the circuit that carries most flows, guard first; empty while one of them does not run."""
        circuits = self.client.route()["circuits"]
        circuit = max(circuits, key=lambda each: int(each["flows"]), default=None)
        if circuit is None or not circuit["flows"]:
            return []
        by_peer = {member.peer_id: member.pid for member in self.members}
        pids = [by_peer[hop["peer_id"]] for hop in circuit["hops"]]
        return pids if all(map(runs, pids)) else []


@contextmanager
def process(command: Sequence[str], what: str) -> Iterator[tuple[int, str]]:
    """Run a program of this project that says one line when it is ready; gives its id and that line."""
    running = subprocess.Popen(
        [sys.executable, "-m", *command], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    try:
        assert running.stdout is not None
        line = running.stdout.readline()
        if not line:
            raise SystemExit(f"{what} did not get ready")
        yield running.pid, line.strip()
    finally:
        running.terminate()
        running.communicate(timeout=STOP_S)


@contextmanager
def demo(*options: str) -> Iterator[Network]:
    """Run the demo network, whose exits reach this machine."""
    command = ["node", "demo", "--json", "--find", "gossip", "--allow-destination", "127.0.0.0/8", *options]
    with process(command, "the demo network") as (_, line):
        yield Network(json.loads(line))


@contextmanager
def local_origin() -> Iterator[str]:
    """Run `bench.origin` on this machine; gives `http://127.0.0.1:PORT`."""
    with process(["bench.origin"], "the origin") as (_, line):
        yield f"http://127.0.0.1:{int(line)}"
