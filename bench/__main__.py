"""Start the demo network, load it, print JSON: `python -m bench [--runs N] [--size BYTES] [demo options …]`.

Each run pairs a download through the network with a direct one, because shared machines are noisy: read ratios.
CPU is that of all processes of the network, client included. MB = 10^6 bytes, GB = 10^9 bytes.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from typing import Any

from bench.load import Way, cpu_s, memory_mb, quantile, spread

PARALLEL = 8
AT_ONCE = 50


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
    quantiles = {f"p{round(share * 100)}": round(quantile(first, share), 2) for share in (0.5, 0.95, 0.99)}
    return {"requests": count, "failed": count - len(first), "first_byte_ms": quantiles}


def _rate(way: Way, runs: int, count: int) -> dict[str, Any]:
    rates, failed = [], 0
    for _ in range(runs):
        took, got = way.many(1024, count, AT_ONCE)
        good = sum(one.code == 200 for one in got)
        failed += count - good
        rates.append(good / took)
    return {"at_once": AT_ONCE, "per_s": spread(rates, 0), "failed": failed}


def _measure(facts: dict[str, Any], origin: str, options: argparse.Namespace) -> dict[str, Any]:
    through, direct = Way(facts["proxy"], origin), Way("", origin)
    pids = [entry["pid"] for entry in facts["processes"]]
    through.many(1024, 20, 1)
    return {
        "engine": facts["engine"],
        "cores": os.cpu_count(),
        "load_before": os.getloadavg()[0],
        "single": _single(through, direct, pids, options.runs, options.size),
        "parallel": _parallel(through, max(1, options.runs // 2), options.size // 4),
        "latency": _latency(through, 200) | {"direct": _latency(direct, 200)["first_byte_ms"]},
        "new_connections": _rate(through, 3, 1000) | {"direct_per_s": _rate(direct, 1, 1000)["per_s"]["median"]},
        "memory_MB": spread([memory_mb(pid) for pid in pids], 1),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--size", type=int, default=100_000_000)
    options, demo_options = parser.parse_known_args()
    server = subprocess.Popen(
        [sys.executable, "-m", "bench.origin"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    demo = subprocess.Popen(
        [sys.executable, "-m", "node", "demo", "--json", "--allow-destination", "127.0.0.0/8", *demo_options],
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert server.stdout is not None
        assert demo.stdout is not None
        origin = f"http://127.0.0.1:{int(server.stdout.readline())}"
        line = demo.stdout.readline()
        if not line:
            raise SystemExit("the demo network did not get ready")
        sys.stdout.write(json.dumps(_measure(json.loads(line), origin, options), indent=1) + "\n")
    finally:
        demo.terminate()
        server.terminate()
        demo.wait(10)
        server.wait(10)


if __name__ == "__main__":
    main()
