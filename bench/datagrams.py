"""`bench datagrams`: UDP through three hops, beside UDP without. Options not listed here go to `macrovpn demo`.

Two streams at once, one each way, between a program behind the proxy and a destination. Every datagram has a number
and the moment of its sending, so both ends tell what was lost and overtaken and how long it took. `largest` is the
highest rate at which fewer than one in a thousand got lost, in steps of a quarter. With `--far` the hops stand in
namespaces over emulated distance, as for `distance`, and each way is lossy by itself. The direct way has one hop then.
"""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final

from bench.datagram_ends import DIRECT
from bench.distance import HOPS, RELAYS, add_emulation, emulation
from bench.far import CLIENT, ORIGIN, names, running
from bench.namespaces import emulated
from bench.network import demo
from bench.processes import cpu_s
from bench.report import say

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator, Sequence

TAKES_DEMO_OPTIONS: Final = True
ENGINES: Final = ("aiopquic", "aioquic")
LOST: Final = 0.001
_GROWTH: Final = 1.25
_HIGHEST_MBIT: Final = 1000.0
_LIMIT_S: Final = 90.0


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--engines", nargs="+", default=ENGINES, choices=ENGINES)
    parser.add_argument("--mbit", type=float, default=10.0, help="payload each way")
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--size", type=int, default=1200, help="bytes of payload of each datagram")
    parser.add_argument("--step-s", type=float, default=3.0, help="for how long each rate is tried for the largest")
    parser.add_argument("--far", action="store_true", help="over emulated distance; needs root and gcc")
    add_emulation(parser, loss=0.0)


@dataclasses.dataclass(frozen=True)
class Ends:
    """Where the ends are.

    Args:
        enter: words before a command that runs at the program's place.
        proxy: `ADDRESS:PORT` there.
        host: the destination's IPv4 address.
        port: likewise.
        size: bytes of each datagram.
    """

    enter: Sequence[str]
    proxy: str
    host: str
    port: int
    size: int

    def stream(self, mbit: float, seconds: float, *, direct: bool = False) -> dict[str, Any]:
        """Stream both ways, and return the reports of both ends."""
        words = [DIRECT if direct else self.proxy, self.host, self.port, mbit, seconds, self.size]
        done = subprocess.run(
            [*self.enter, sys.executable, "-m", "bench.datagram_ends", "near", *map(str, words)],
            stdout=subprocess.PIPE,
            text=True,
            timeout=_LIMIT_S + seconds,
            check=True,
        )
        reports: dict[str, Any] = json.loads(done.stdout)
        return reports

    def largest(self, mbit: float, seconds: float, *, direct: bool = False) -> float:
        """Raise the rate until too many get lost; returns the last good one in Mbit/s, 0 if there was none."""
        good = 0.0
        while mbit <= _HIGHEST_MBIT:
            reports = self.stream(mbit, seconds, direct=direct)
            if any(report["lost"] >= LOST for report in reports.values()):
                break
            good, mbit = mbit, mbit * _GROWTH
        return round(good, 1)


@contextmanager
def far_end(address: str, enter: Sequence[str] = ()) -> Iterator[int]:
    """Run the destination, and give its port."""
    command = [*enter, sys.executable, "-m", "bench.datagram_ends", "far", address]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            yield int(process.stdout.readline())
        finally:
            process.terminate()


def _measure(ends: Ends, pids: Sequence[int], options: argparse.Namespace) -> dict[str, Any]:
    ends.stream(1.0, 1.0)
    before = cpu_s(pids)
    through = ends.stream(options.mbit, options.seconds)
    cpu = cpu_s(pids) - before
    return {
        "mbit": options.mbit,
        **through,
        "cpu_cores": round(cpu / options.seconds, 2),
        "largest_mbit": ends.largest(options.mbit, options.step_s),
    }


def _direct(ends: Ends, options: argparse.Namespace) -> dict[str, Any]:
    say("datagrams: direct …")
    return {
        **ends.stream(options.mbit, options.seconds, direct=True),
        "largest_mbit": ends.largest(options.mbit, options.step_s, direct=True),
    }


def _near_by(options: argparse.Namespace, demo_options: list[str]) -> dict[str, Any]:
    result: dict[str, Any] = {}
    with far_end("127.0.0.1") as port:
        for engine in options.engines:
            say(f"datagrams: {engine} …")
            with demo("--engine", engine, *demo_options) as network:
                ends = Ends((), network.proxy, "127.0.0.1", port, options.size)
                result[engine] = _measure(ends, network.pids, options)
        return {"direct": _direct(ends, options)} | result


def _far_away(options: argparse.Namespace) -> dict[str, Any]:
    about = emulation(options)
    result: dict[str, Any] = {"emulation": dataclasses.asdict(about)}
    with emulated(names(RELAYS), about) as places, far_end(places[ORIGIN].address, places[ORIGIN].enter) as port:
        for engine in options.engines:
            say(f"datagrams: {engine} …")
            with running(places, HOPS, engine) as network:
                ends = Ends(places[CLIENT].enter, network.proxy, places[ORIGIN].address, port, options.size)
                result[engine] = _measure(ends, list(network.pids.values()), options)
        return result | {"direct": _direct(ends, options)}


def run(options: argparse.Namespace, demo_options: list[str]) -> dict[str, Any]:
    """Measure, and return the figures."""
    about = {"size": options.size, "seconds": options.seconds}
    return about | (_far_away(options) if options.far else _near_by(options, demo_options))
