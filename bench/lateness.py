"""`bench lateness`: how late the event loops of a demo network's nodes are, idle and under load, and what they refuse.

A node that is late refuses new work, so this says how far healthy nodes are from that (`node/load.py`).
"""

from __future__ import annotations

import os
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from bench.load import Way
from bench.network import demo, local_origin
from bench.processes import hogs
from bench.report import say
from node.client import ask_status
from node.load import BUSY_S

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable

    from bench.network import Network

TAKES_DEMO_OPTIONS: Final = True
LOOK_EVERY_S: Final = 0.1
_LARGE: Final = 1 << 30
_SMALL: Final = 1024
_REQUESTS: Final = 200


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--seconds", type=float, default=20.0, help="of each kind of load")
    parser.add_argument("--flows", type=int, default=20, help="downloads, or new connections, at once")
    parser.add_argument("--hogs", type=int, default=0, help="processes that keep the machine busy beside")


def summary(statuses: list[dict[str, Any]]) -> dict[str, Any]:
    """Put together what nodes said: the highest mean lateness, and how often one of them refused work."""
    late_ms = sorted(int(status["late_ms"]) for status in statuses)
    return {
        "looks": len(late_ms),
        "late_ms": {"median": late_ms[len(late_ms) // 2], "max": late_ms[-1]} if late_ms else None,
        "refusing": sum(bool(status["refuses"]) for status in statuses),
    }


def _watch(network: Network, seconds: float) -> dict[str, Any]:
    serving = [member for member in network.members if member.role != "client"]
    end, found = time.monotonic() + seconds, []
    while time.monotonic() < end:
        found += [status for member in serving if (status := ask_status(Path(member.home), member.pid)) is not None]
        time.sleep(LOOK_EVERY_S)
    return summary(found)


def _beside(network: Network, seconds: float, work: Callable[[], object], count: int) -> dict[str, Any]:
    """Watch while so many threads do their work again and again."""
    end = time.monotonic() + seconds

    def go_on() -> None:
        while time.monotonic() < end:
            work()

    with ThreadPoolExecutor(count) as pool:
        for _ in range(count):
            pool.submit(go_on)
        return _watch(network, seconds)


def run(options: argparse.Namespace, demo_options: list[str]) -> dict[str, Any]:
    """Measure, and return the figures."""
    seconds, count = options.seconds, options.flows
    with local_origin() as origin, demo(*demo_options) as network:
        way = Way(network.proxy, origin, limit_s=seconds)
        with hogs(options.hogs) if options.hogs else nullcontext():
            result: dict[str, Any] = {"refused_from_ms": BUSY_S * 1e3, "engine": network.engine, "hogs": options.hogs}
            say("lateness: idle …")
            result["idle"] = _watch(network, seconds)
            say(f"lateness: {count} downloads at once …")
            result["downloads"] = _beside(network, seconds, lambda: way.together(_LARGE, count), 1)
            say(f"lateness: {count} new connections at once …")
            result["connections"] = _beside(network, seconds, lambda: way.many(_SMALL, _REQUESTS, count), 1)
            result["load_after"] = os.getloadavg()[0]
    return result
