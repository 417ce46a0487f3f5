"""`bench alarms`: circuits that are given up although nobody died. Needs root and gcc.

Slow flows run for a long time over emulated distance with packet loss: first for reference, then beside processes that
keep every core busy. What the client counts as the end of a circuit, other than that it had done its work, is a false
alarm here, since nobody dies. Circuits without flows count as well; only the hours of those with flows are divided by.
"""

from __future__ import annotations

import dataclasses
import os
import time
from collections import Counter
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any, Final

from bench.distance import add_emulation, emulation
from bench.far import CLIENT, names, running
from bench.load import Way
from bench.namespaces import emulated
from bench.processes import hogs
from bench.report import say

if TYPE_CHECKING:
    import argparse
    import subprocess
    from collections.abc import Mapping

    from bench.far import FarNetwork

TAKES_DEMO_OPTIONS: Final = False
HOPS: Final = 3
RATE: Final = 40_000
"""Bytes per second of one flow."""
_LOOK_S: Final = 5.0
_PREFIX: Final = "circuit "
_DONE: Final = "circuit done"
_EXIT: Final = "exit given up"


def add_options(parser: argparse.ArgumentParser) -> None:
    add_emulation(parser, loss=0.01)
    parser.add_argument("--minutes", type=float, default=60.0, help="on a busy machine")
    parser.add_argument("--quiet-minutes", type=float, default=15.0, help="before that, for reference")
    parser.add_argument("--hogs", type=int, default=os.cpu_count(), help="processes that keep the machine busy")
    parser.add_argument("--relays", type=int, default=4)
    parser.add_argument("--flows", type=int, default=8, help="flows at a time")
    parser.add_argument("--users", type=int, default=4, help="users that they belong to; each has circuits of its own")
    parser.add_argument("--engine", default="auto")


def alarms(before: Mapping[str, int], after: Mapping[str, int]) -> dict[str, int]:
    """The false alarms by reason between two looks at the counters of the client's circuits."""
    grown = Counter(after)
    grown.subtract(before)
    return {
        name.removeprefix(_PREFIX): count
        for name, count in grown.items()
        if count > 0 and (name == _EXIT or (name.startswith(_PREFIX) and name != _DONE))
    }


class _Flows:
    """Slow downloads; what ends is begun anew."""

    def __init__(self, way: Way, count: int, users: int, seconds: float) -> None:
        self._way = way
        self._users = users
        self._size = int(RATE * seconds)
        self._running = [self._start(number) for number in range(count)]
        self.failed = 0

    def _start(self, number: int) -> subprocess.Popen[bytes]:
        return self._way.slow(self._size, RATE, f"user{number % self._users}")

    def renew(self) -> None:
        """Count those that failed, and replace those that ended."""
        for number, process in enumerate(self._running):
            if (code := process.poll()) is not None:
                self.failed += code != 0
                self._running[number] = self._start(number)

    def stop(self) -> None:
        for process in self._running:
            process.kill()
            process.wait()


def _watch(network: FarNetwork, flows: _Flows, minutes: float) -> dict[str, Any]:
    before, failed_before = network.ask("status")["counters"]["circuits"], flows.failed
    circuit_s, looked_at = 0.0, time.monotonic()
    end = looked_at + minutes * 60
    while time.monotonic() < end:
        time.sleep(min(_LOOK_S, max(0.0, end - time.monotonic())))
        flows.renew()
        carrying = sum(bool(circuit["flows"]) for circuit in network.ask("route")["circuits"])
        now = time.monotonic()
        circuit_s += carrying * (now - looked_at)
        looked_at = now
    found = alarms(before, network.ask("status")["counters"]["circuits"])
    hours = circuit_s / 3600
    return {
        "minutes": minutes,
        "circuit_hours": round(hours, 3),
        "false_alarms": sum(found.values()),
        "by_reason": found,
        "per_circuit_hour": round(sum(found.values()) / hours, 3) if hours else None,
        "failed_flows": flows.failed - failed_before,
    }


def run(options: argparse.Namespace, demo_options: list[str]) -> dict[str, Any]:
    """Measure, and return the figures."""
    far = emulation(options)
    say("alarms: starting the network …")
    with emulated(names(options.relays), far) as places, running(places, HOPS, options.engine) as network:
        way = Way(network.proxy, network.origin, places[CLIENT].enter)
        seconds = 60 * (options.minutes + options.quiet_minutes) + 60
        flows = _Flows(way, options.flows, options.users, seconds)
        result: dict[str, Any] = {"emulation": dataclasses.asdict(far), "flows": options.flows}
        try:
            for name, minutes, count in (("quiet", options.quiet_minutes, 0), ("busy", options.minutes, options.hogs)):
                say(f"alarms: {name} for {minutes} minutes …")
                with hogs(count) if count else nullcontext():
                    result[name] = _watch(network, flows, minutes)
        finally:
            flows.stop()
        return result
