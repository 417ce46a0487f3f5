"""An exit dies: new connections leave from another of the same region, and from the next region if it was the last."""

from __future__ import annotations

import os
import signal
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Final, NamedTuple

import pytest

from tests.harness.demo import Demo, until

if TYPE_CHECKING:
    from pathlib import Path

    from tests.harness.origin import Origin

pytestmark = pytest.mark.system

LIMIT_S: Final = 2.0
"""For so long no new connection may come about after an exit died."""
BETWEEN_S: Final = 0.1
ATTEMPTS: Final = 40


class Attempt(NamedTuple):
    """One new connection: when it was begun and when it was answered, and where it left; `inf` and "" for never."""

    begun: float
    answered: float
    left_from: str


class Exits:
    """The exits of a demo, by the address that they leave from."""

    def __init__(self, demo: Demo, origin: Origin) -> None:
        self._demo = demo
        self._url = f"http://127.0.0.1:{origin.http}/"
        exits = [entry for entry in demo.facts["processes"] if entry["role"] == "exit"]
        self.ids = [entry["peer_id"] for entry in exits]
        self.pids = {f"127.22.0.{number}": entry["pid"] for number, entry in enumerate(exits, start=1)}

    def connect(self) -> Attempt:
        begun = time.monotonic()
        done = self._demo.curl(self._url, timeout=8)
        answered = time.monotonic() if done.returncode == 0 else float("inf")
        return Attempt(begun, answered, done.stdout.partition("id=who>")[2].partition("<")[0])

    def kill(self, address: str) -> list[Attempt]:
        """Kill an exit, and give the connections that were begun from then on, one each tenth of a second."""
        with ThreadPoolExecutor(ATTEMPTS) as pool:
            os.kill(self.pids[address], signal.SIGKILL)
            attempts = []
            for _ in range(ATTEMPTS):
                attempts.append(pool.submit(self.connect))
                time.sleep(BETWEEN_S)
            return [attempt.result() for attempt in attempts]


def gap_s(attempts: list[Attempt]) -> float:
    """Seconds from the first attempt until one of them was answered."""
    return min(attempt.answered for attempt in attempts) - attempts[0].begun


def test_another_exit_of_the_region_takes_over_then_the_next_region(origin: Origin, tmp_path: Path) -> None:
    options = ["--relays", "6", "--exits", "3", "--allow-destination", "127.0.0.0/8"]
    options += ["--exit-region", "NL", "--exit-region", "NL", "--exit-region", "DE", "--region", "NL", "--region", "DE"]
    with Demo(*options, log=tmp_path / "log") as demo:
        exits = Exits(demo, origin)
        north = {"127.22.0.1", "127.22.0.2"}
        # A circuit to the third may stand as well: it was there before the others were known.
        until("circuits to both exits of the region", lambda: _ends(demo).issuperset(exits.ids[:2]), 30)
        first = exits.connect().left_from
        assert first in north
        attempts = exits.kill(first)
        [second] = north - {first}
        assert {attempt.left_from for attempt in attempts} <= {second, ""}
        print(f"another of the region after {gap_s(attempts):.2f} s")
        assert gap_s(attempts) < LIMIT_S
        attempts = exits.kill(second)
        assert {attempt.left_from for attempt in attempts} <= {"127.22.0.3", ""}
        print(f"the next region after {gap_s(attempts):.2f} s")
        assert attempts[-1].left_from == "127.22.0.3"


def _ends(demo: Demo) -> set[str]:
    return {circuit["hops"][-1]["peer_id"] for circuit in demo.node.route()["circuits"]}
