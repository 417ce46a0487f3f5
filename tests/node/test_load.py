"""What a node refuses and ends when time or memory runs out, with a clock of the test, and for real."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import pytest

from core.errors import FlowError, Reason
from core.flow import FlowRequest
from node import load as load_module
from node import load_memory
from node.client import ask_status
from node.load import (
    BUSY_S,
    EASE,
    LONGEST_S,
    LOOK_EVERY_S,
    MEMORY_EASE,
    OVERLOADED_S,
    PATIENCE_S,
    SHED_EVERY_S,
    WEIGHT,
    Lateness,
    Level,
    Load,
)
from tests.harness.demo import ROOT
from tests.harness.demo import until as wait_for
from tests.harness.network import chain
from tests.harness.waiting import until
from tests.harness.wire import Board
from tests.node.test_sharing import Stage
from tunnel.limits import NEIGHBOUR_S

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tunnel.link import Link

LIMIT = 1000


class Circuits:
    """Counts what is left, and remembers how many were ended each time."""

    def __init__(self, count: int) -> None:
        self.circuit_count = count
        self.ended: list[int] = []

    def shed(self, at_most: int) -> int:
        count = min(at_most, self.circuit_count)
        self.circuit_count -= count
        self.ended.append(count)
        return count


class Watched:
    """A load whose looks, clock and memory are the test's."""

    def __init__(self, circuits: int = 100, *, falls: bool = True) -> None:
        self.circuits = Circuits(circuits)
        self.used = 0
        self.now = 1000.0
        self.load = Load(self.circuits, lambda: self.used, LIMIT, falls=falls)

    def looks(self, late_s: float, for_s: float) -> None:
        for _ in range(round(for_s / LOOK_EVERY_S)):
            self.now += LOOK_EVERY_S + late_s
            self.load.look(late_s, self.now)

    def refused(self) -> tuple[Reason | None, Reason | None]:
        return self.load.refuses_circuit(), self.load.refuses_flow()


FREE = (None, None)


# -- hysteresis and means


def test_a_level_is_high_until_it_is_well_below() -> None:
    level = Level(100)
    assert [level.look(value, 0.6) for value in (99, 100, 61, 60, 59, 61, 99)] == [False, True, True, True] + [
        False
    ] * 3


def test_one_pause_however_long_is_no_load() -> None:
    lateness = Lateness()
    lateness.look(3600.0, 0.0)
    assert lateness.mean_s == pytest.approx(WEIGHT * LONGEST_S)
    assert not lateness.circuits.high
    lateness.look(-1.0, 0.0)
    assert lateness.mean_s < WEIGHT * LONGEST_S


def test_thresholds_are_in_order() -> None:
    assert WEIGHT * LONGEST_S < BUSY_S < OVERLOADED_S < NEIGHBOUR_S
    assert BUSY_S > OVERLOADED_S * EASE, "circuits are taken again before flows cease to be refused"


def test_circuits_are_refused_before_flows() -> None:
    watched = Watched()
    seen = []
    for _ in range(100):
        watched.looks(0.6, LOOK_EVERY_S)
        seen.append(watched.refused())
    assert list(dict.fromkeys(seen)) == [FREE, (Reason.BUSY, None), (Reason.BUSY, Reason.BUSY)]
    watched.looks(0.0, 5)
    assert watched.refused() == FREE


def test_what_is_a_little_late_is_taken() -> None:
    watched = Watched()
    watched.looks(BUSY_S - 0.01, 60)
    assert watched.refused() == FREE
    assert watched.circuits.ended == []
    assert watched.load.counters == {}


def test_busy_is_not_overloaded() -> None:
    watched = Watched()
    watched.looks(OVERLOADED_S - 0.01, 60)
    assert watched.refused() == (Reason.BUSY, None)
    assert watched.load.refuses == "circuits"
    assert watched.circuits.ended == []


# -- what ends


def test_circuits_end_only_when_refusing_does_not_help() -> None:
    watched = Watched()
    watched.looks(0.6, 1.5)
    assert watched.load.refuses == "flows"
    assert watched.circuits.ended == []
    begun = watched.now
    while not watched.circuits.ended:
        watched.looks(0.6, LOOK_EVERY_S)
    assert 1.0 < watched.now - begun <= PATIENCE_S + 1
    assert watched.circuits.ended == [5]


def test_a_few_end_at_a_time_until_it_is_better() -> None:
    watched = Watched()
    watched.looks(0.6, 3)
    begun, ended = watched.now, len(watched.circuits.ended)
    watched.looks(0.6, 5)
    ended = len(watched.circuits.ended) - ended
    assert 0 < ended <= (watched.now - begun) / SHED_EVERY_S + 1
    assert watched.circuits.ended[:4] == [5, 4, 4, 4]
    count = watched.circuits.circuit_count
    watched.looks(0.0, 3)
    assert watched.circuits.circuit_count >= count - 4
    assert watched.refused() == FREE
    assert watched.load.counters["circuit ended: late"] == 100 - watched.circuits.circuit_count


def test_memory_refuses_all_and_ends_at_once() -> None:
    watched = Watched(3)
    watched.used = LIMIT
    watched.looks(0.0, 1)
    assert watched.refused() == (Reason.BUSY, Reason.BUSY)
    assert watched.circuits.ended == [1]
    watched.looks(0.0, 5)
    assert watched.circuits.circuit_count == 0
    watched.used = round(LIMIT * MEMORY_EASE)
    watched.looks(0.0, 2)
    assert watched.load.refuses == "flows"
    watched.used = round(LIMIT * MEMORY_EASE) - 1
    watched.looks(0.0, 2)
    assert watched.refused() == FREE
    assert watched.load.counters == {
        "circuit ended: memory": 3,
        "circuit refused: memory": 1,
        "flow refused: memory": 1,
    }


def test_a_peak_that_never_falls_ends_nothing() -> None:
    watched = Watched(falls=False)
    watched.used = 2 * LIMIT
    watched.looks(0.0, 10)
    assert watched.refused() == (Reason.BUSY, Reason.BUSY)
    assert watched.circuits.ended == []


# -- how much memory


def group(folder: Path, name: str, text: str) -> None:
    (folder / name).mkdir(parents=True, exist_ok=True)
    (folder / name / "memory.max").write_text(text)


@pytest.mark.parametrize(
    ("own", "expected"),
    [
        ("0::/service/node/small\n", 80_000_000),
        ("0::/service/node\n", 160_000_000),
        ("4:memory:/old\n0::/service\n", 160_000_000),
        ("0::/elsewhere\n", 0),
        ("4:memory:/service/node\n", 0),
        ("", 0),
    ],
)
def test_a_groups_limit_counts_and_that_of_the_groups_around_it(tmp_path: Path, own: str, expected: int) -> None:
    group(tmp_path, "service", "200000000\n")
    group(tmp_path, "service/node", "max\n")
    group(tmp_path, "service/node/small", "100000000\n")
    (tmp_path / "own").write_text(own)
    whole = load_memory.limit_bytes(tmp_path, tmp_path / "none")
    assert load_memory.limit_bytes(tmp_path, tmp_path / "own") == (expected or whole)
    pages = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    assert whole == int(pages * load_memory.MACHINE_PART)


def test_what_the_process_has_is_what_the_system_says() -> None:
    before = load_memory.used_bytes()
    block = bytearray(os.urandom(1 << 20) * 64)
    assert 60e6 < load_memory.used_bytes() - before < 80e6
    del block
    assert load_memory.used_bytes() - before < 30e6


@pytest.mark.parametrize("text", [None, "", "12", "12 x"])
def test_without_that_the_peak_is_known(tmp_path: Path, text: str | None) -> None:
    file = tmp_path / "statm"
    if text is not None:
        file.write_text(text)
    peak = load_memory.used_bytes(file)
    assert load_memory.used_bytes() <= peak * 1.02
    assert peak < 100 * load_memory.used_bytes()


# -- for real


async def test_low_memory_really_ends_the_newest_circuits(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(load_module, "LOOK_EVERY_S", 0.01)
    monkeypatch.setattr(load_module, "SHED_EVERY_S", 0.02)
    async with chain(2, Board().engine) as (network, client, _):
        relay, sharing = network.nodes[1].relay, Stage(tmp_path).sharing
        await client.pool.dial(FlowRequest("echo.example", 80))
        await until(lambda: relay.circuit_count == 3)
        load = Load(relay, load_memory.used_bytes, load_memory.used_bytes() + 100_000_000)
        sharing.for_circuits.append(load.refuses_circuit)

        def admits(link: Link) -> Reason | None:
            return sharing.refuses_circuit(link)

        relay._admits = admits
        load.start()
        try:
            await until(lambda: load._looks > 8)
            assert load.refuses == ""
            turns = sorted(circuit.turn for circuit in relay._held())
            left: list[list[int]] = []
            shed = relay.shed

            def shed_seen(at_most: int) -> int:
                count = shed(at_most)
                left.append(sorted(circuit.turn for circuit in relay._held()))
                return count

            monkeypatch.setattr(relay, "shed", shed_seen)
            block = bytearray(os.urandom(1 << 20) * 200)
            await until(lambda: not relay.circuit_count)
            assert left[:3] == [turns[:2], turns[:1], []]
            await until(lambda: load.counters["circuit refused: memory"])
            with pytest.raises(FlowError):
                await client.pool.dial(FlowRequest("echo.example", 80))
            del block
            await until(lambda: client.pool.ready >= 2, 10)
            assert load.refuses == ""
        finally:
            await load.close()


@pytest.fixture
def slowed(tmp_path: Path) -> Iterator[tuple[Path, int]]:
    """A relay of its own process; gives its home and process."""
    home = tmp_path / "home"
    with (tmp_path / "log").open("wb") as log:
        arguments = ["share", "--role", "relay", "--no-dht", "--home", str(home)]
        process = subprocess.Popen([sys.executable, "-m", "node", *arguments], cwd=ROOT, stdout=log, stderr=log)
    try:
        wait_for("that it is up", lambda: (ask_status(home, process.pid) or {}).get("state") == "up", 20)
        yield home, process.pid
    finally:
        process.kill()
        process.wait()


async def test_a_process_that_is_really_slowed_refuses_and_recovers(slowed: tuple[Path, int]) -> None:
    home, pid = slowed

    def refuses() -> str:
        return str((ask_status(home, pid) or {}).get("refuses"))

    def stutter() -> str:
        for number, pause_s in ((signal.SIGSTOP, 0.6), (signal.SIGCONT, 0.05)):
            os.kill(pid, number)
            time.sleep(pause_s)  # the machine that this stands for has no time now
        return refuses()

    assert refuses() == ""
    await asyncio.to_thread(wait_for, "refusing all", lambda: stutter() == "flows", 30)
    await asyncio.to_thread(wait_for, "taking new work", lambda: refuses() == "", 10)
