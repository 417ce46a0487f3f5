"""Figures of several systems, drawn."""

from __future__ import annotations

import argparse
import os
from typing import TYPE_CHECKING, Any

from bench import compare, crowds
from bench.compare_plots import DISTANCE, LOOPBACK, draw, value
from bench.crowds import at_rest
from bench.load import Way
from bench.noise import noise, parse_machine
from bench.processes import hogs

if TYPE_CHECKING:
    from pathlib import Path

    import pytest

SPREAD = {"min": 1.0, "median": 2.0, "max": 3.0}
TAIL = {"p50": 1.0, "p95": 2.0, "p99": 3.0}
BRIEF = {"MBps": SPREAD, "cpu_s_per_GB": SPREAD, "first_byte_ms": TAIL}
SYSTEM = {
    "single": {"MBps": SPREAD, "cpu_s_per_GB": SPREAD},
    "parallel": {"MBps": SPREAD},
    "latency": {"first_byte_ms": TAIL},
    "new_connections": {"per_s": SPREAD},
}
FAR = {"MBps": SPREAD, "latency": {"first_byte_ms": TAIL}}
REST = {"MB": 80.0, "cpu_percent": 1.0}
RESTING = {"relay": REST, "exit": REST}
RESULT: dict[str, Any] = {
    "loopback": {"direct": SYSTEM, "ours": SYSTEM, "theirs": "not measured: theirs missing"},
    "distance": {"0 % lost": {"ours": FAR}, "1 % lost": {"ours": FAR, "theirs": "not measured"}},
    "growth": {
        "hops": {1: BRIEF, 3: BRIEF},
        "flows": {1: BRIEF, 256: {"MBps": SPREAD, "cpu_s_per_GB": 20.0}},
        "mode": {"speed": BRIEF},
        "engine": {"aioquic": BRIEF},
    },
    "crowds": {"circuits": {0: RESTING, 50: RESTING}, "peers": {4: {"client": REST}}},
}


def test_every_figure_that_is_drawn_is_one_that_is_measured() -> None:
    assert all(value(SYSTEM, path) is not None for _, path in LOOPBACK)
    assert all(value(FAR, path) is not None for _, path in DISTANCE)
    assert value("not measured", ("MBps",)) is None
    assert value({}, ("MBps",)) is None


def test_parts_that_were_measured_are_drawn(tmp_path: Path) -> None:
    assert [path.name for path in draw(RESULT, tmp_path)] == [f"{part}.png" for part in RESULT]
    assert all(path.read_bytes().startswith(b"\x89PNG") for path in tmp_path.iterdir())
    assert [path.name for path in draw({"distance": RESULT["distance"]}, tmp_path)] == ["distance.png"]


def test_who_has_no_processes_has_no_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("single", "parallel", "latency", "rate"):
        monkeypatch.setattr(compare, name, lambda *_: {})
    options = argparse.Namespace(runs=1, size=1)
    way = Way("", "http://127.0.0.1:1")
    assert "memory_MB" not in compare._beside(way, way, [], options)
    assert compare._beside(way, way, [os.getpid()], options)["memory_MB"]["max"] > 1


def test_what_a_process_takes_at_rest_is_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(crowds, "REST_S", 0.3)
    with hogs(1) as pids:
        busy = at_rest(pids)
    assert at_rest([os.getpid()])["cpu_percent"] < busy["cpu_percent"] <= 110
    assert busy["MB"] > 1


def test_cpu_of_the_machine_without_what_is_idle() -> None:
    assert parse_machine("cpu  100 200 300 4000 5000 600 700 800 0 0\ncpu0 1 1\n") == (19.0, 8.0)


def test_noise_is_told_and_is_not_ours() -> None:
    result: dict[str, Any] = {}
    with noise(result):
        sum(range(3_000_000))
    assert set(result["noise"]) == {"others_cpu_s", "stolen_s", "load"}
