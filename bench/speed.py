"""`bench speed`: the demo network beside a direct connection. Options that are not listed here go to `macrovpn demo`.

Each run pairs a download through the network with a direct one, because shared machines are noisy: read ratios.
CPU is that of all processes of the network, client included.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from bench.figures import spread
from bench.load import Way
from bench.measures import latency, parallel, rate, single
from bench.network import demo, local_origin
from bench.processes import memory_mb
from bench.report import say

if TYPE_CHECKING:
    import argparse

TAKES_DEMO_OPTIONS: Final = True


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--size", type=int, default=100_000_000, help="bytes of one download")


def run(options: argparse.Namespace, demo_options: list[str]) -> dict[str, Any]:
    """Measure, and return the figures."""
    say("speed: starting the network …")
    with local_origin() as origin, demo(*demo_options) as network:
        through, direct = Way(network.proxy, origin), Way("", origin)
        through.many(1024, 20, 1)
        result: dict[str, Any] = {"engine": network.engine}
        say("speed: single downloads …")
        result["single"] = single(through, direct, network.pids, options.runs, options.size)
        say("speed: parallel downloads …")
        result["parallel"] = parallel(through, max(1, options.runs // 2), options.size // 4)
        say("speed: first bytes and new connections …")
        result["latency"] = latency(through, 200) | {"direct": latency(direct, 200)["first_byte_ms"]}
        direct_rate = rate(direct, 1, 1000)["per_s"]["median"]
        result["new_connections"] = rate(through, 3, 1000) | {"direct_per_s": direct_rate}
        result["memory_MB"] = spread([memory_mb(pid) for pid in network.pids], 1)
        return result
