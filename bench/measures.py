"""What is measured of every way to an origin."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from bench.figures import spread, tail
from bench.processes import cpu_s

if TYPE_CHECKING:
    from collections.abc import Collection

    from bench.load import Way

PARALLEL: Final = 8
AT_ONCE: Final = 50


def single(through: Way, direct: Way, pids: Collection[int], runs: int, size: int) -> dict[str, Any]:
    """Downloads one after the other, each paired with a direct one, and the CPU of some processes.

    Raises:
        SystemExit: one was cut short.
    """
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


def parallel(through: Way, runs: int, size: int, flows: int = PARALLEL) -> dict[str, Any]:
    """Several downloads at once, each of `size` bytes."""
    totals, unevenness = [], []
    for _ in range(runs):
        took, got = through.together(size, flows)
        totals.append(flows * size / took / 1e6)
        speeds = [one.speed for one in got]
        unevenness.append(max(speeds) / min(speeds) - 1)
    return {"flows": flows, "MBps": spread(totals), "fastest_over_slowest": spread(unevenness, 3)}


def latency(way: Way, count: int) -> dict[str, Any]:
    """The first byte of small requests, each on a new connection, one after the other."""
    _, got = way.many(1024, count, 1)
    first = [one.first_s * 1e3 for one in got if one.code == 200]
    return {"requests": count, "failed": count - len(first), "first_byte_ms": tail(first)}


def rate(way: Way, runs: int, count: int) -> dict[str, Any]:
    """New connections per second, `AT_ONCE` at a time."""
    rates, failed = [], 0
    for _ in range(runs):
        took, got = way.many(1024, count, AT_ONCE)
        good = sum(one.code == 200 for one in got)
        failed += count - good
        rates.append(good / took)
    return {"at_once": AT_ONCE, "per_s": spread(rates, 0), "failed": failed}
