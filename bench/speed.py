"""`bench speed`: the demo network beside a direct connection. Options that are not listed here go to `macrovpn demo`.

Each run pairs a download through the network with a direct one, because shared machines are noisy: read ratios.
CPU is that of all processes of the network, client included.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from bench.figures import spread, tail
from bench.load import Way
from bench.network import demo, local_origin
from bench.processes import cpu_s, memory_mb
from bench.report import say

if TYPE_CHECKING:
    import argparse

TAKES_DEMO_OPTIONS: Final = True
PARALLEL: Final = 8
AT_ONCE: Final = 50


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--size", type=int, default=100_000_000, help="bytes of one download")


def _single(through: Way, direct: Way, pids: list[int], runs: int, size: int) -> dict[str, Any]:
    speeds, references, costs = [], [], []
    for _ in range(runs):
        references.append(direct.get(size).speed / 1e6)
        before = cpu_s(pids)
        got = through.get(size)
        if got.size != size:
            raise SystemExit("a download was cut short")
        costs.append((cpu_s(pids) - before) / (size / 1e9))
        speeds.append(got.speed / 1e6)
    return {"MBps": spread(speeds), "direct_MBps": spread(references), "cpu_s_per_GB": spread(costs)}


def _parallel(through: Way, runs: int, size: int) -> dict[str, Any]:
    totals, unevenness = [], []
    for _ in range(runs):
        took, got = through.together(size, PARALLEL)
        totals.append(PARALLEL * size / took / 1e6)
        speeds = [one.speed for one in got]
        unevenness.append(max(speeds) / min(speeds) - 1)
    return {"flows": PARALLEL, "MBps": spread(totals), "fastest_over_slowest": spread(unevenness, 3)}


def _latency(way: Way, count: int) -> dict[str, Any]:
    _, got = way.many(1024, count, 1)
    first = [one.first_s * 1e3 for one in got if one.code == 200]
    return {"requests": count, "failed": count - len(first), "first_byte_ms": tail(first)}


def _rate(way: Way, runs: int, count: int) -> dict[str, Any]:
    rates, failed = [], 0
    for _ in range(runs):
        took, got = way.many(1024, count, AT_ONCE)
        good = sum(one.code == 200 for one in got)
        failed += count - good
        rates.append(good / took)
    return {"at_once": AT_ONCE, "per_s": spread(rates, 0), "failed": failed}


def run(options: argparse.Namespace, demo_options: list[str]) -> dict[str, Any]:
    """Measure, and return the figures."""
    say("speed: starting the network …")
    with local_origin() as origin, demo(*demo_options) as network:
        through, direct = Way(network.proxy, origin), Way("", origin)
        through.many(1024, 20, 1)
        result: dict[str, Any] = {"engine": network.engine}
        say("speed: single downloads …")
        result["single"] = _single(through, direct, network.pids, options.runs, options.size)
        say("speed: parallel downloads …")
        result["parallel"] = _parallel(through, max(1, options.runs // 2), options.size // 4)
        say("speed: first bytes and new connections …")
        result["latency"] = _latency(through, 200) | {"direct": _latency(direct, 200)["first_byte_ms"]}
        direct_rate = _rate(direct, 1, 1000)["per_s"]["median"]
        result["new_connections"] = _rate(through, 3, 1000) | {"direct_per_s": direct_rate}
        result["memory_MB"] = spread([memory_mb(pid) for pid in network.pids], 1)
        return result
