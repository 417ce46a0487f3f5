"""Peers of a town: a process in each machine, and a test that tells them what to do."""

from __future__ import annotations

import json
import select
import subprocess
import sys
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any, Final

from tests.harness.demo import ROOT
from tests.harness.nat import Machine, Mapping, Town

if TYPE_CHECKING:
    from collections.abc import Iterator

PORT: Final = 4433
ANSWER_S: Final = 20.0


class Peer:
    """One process. Whatever `tests.harness.nat_worker.Worker` can do, it is told to do with `ask`."""

    def __init__(self, name: str, machine: Machine, engine: str) -> None:
        self.name = name
        self.machine = machine
        command = machine.inside(sys.executable, "-m", "tests.harness.nat_worker", name, engine, str(PORT))
        self._process = subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        self._answer()

    def ask(self, verb: str, *arguments: Any) -> Any:
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps([verb, *arguments]).encode() + b"\n")
        self._process.stdin.flush()
        return self._answer()

    def _answer(self) -> Any:
        assert self._process.stdout is not None
        ready, _, _ = select.select([self._process.stdout], [], [], ANSWER_S)
        assert ready, f"{self.name} does not answer"
        return json.loads(self._process.stdout.readline())

    def close(self) -> None:
        """End the process."""
        with self._process as process:
            assert process.stdin is not None
            process.stdin.close()
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()


@contextmanager
def peers(engine: str, publics: int, *homes: Mapping) -> Iterator[tuple[list[Peer], list[Peer]]]:
    """Start public peers, `r0`, `r1`, …, and peers at home, `h0`, `h1`, …, each knowing every other.

    Those at home have no address, and `r0` holds a link to each.

    Args:
        engine: the name of the QUIC engine.
        publics: how many public peers.
        homes: how the router of each home chooses ports.
    """
    with Town() as town, ExitStack() as stack:
        machines = [town.public() for _ in range(publics)]
        names = [(f"r{number}", machine) for number, machine in enumerate(machines)]
        names += [(f"h{number}", town.home(mapping)) for number, mapping in enumerate(homes)]
        started = []
        for name, machine in names:
            started.append(Peer(name, machine, engine))
            stack.callback(started[-1].close)
        for peer in started:
            for other in started:
                public = other.machine in machines
                peer.ask("know", other.name, [(other.machine.address, PORT)] if public else [], ["r0"])
        for home in started[publics:]:
            assert home.ask("link", "r0") is not None
        yield started[:publics], started[publics:]
