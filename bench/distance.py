"""`bench distance`: one path over emulated distance, beside a direct connection. Needs root and gcc.

Namespaces `client`, `r1`, `r2`, `exit` and `origin`, each one hop from every other, so that the path of three hops
passes four times DELAY_MS one way. Both relays are alike in this, so their order does not matter. A direct connection
goes from client to origin in one hop. The kernel's own congestion control serves direct connections and the origin.
"""

from __future__ import annotations

import dataclasses
import json
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from bench.emulator import Emulation
from bench.far import CLIENT, ORIGIN, foreign, names, running
from bench.figures import last_half_rate, spread, tail
from bench.load import Way
from bench.namespaces import emulated, existing
from bench.processes import cpu_s, peak_mb
from bench.report import say

if TYPE_CHECKING:
    import argparse

    from bench.far import FarNetwork

TAKES_DEMO_OPTIONS: Final = False
PARALLEL: Final = 4
RELAYS: Final = 2
HOPS: Final = 3
LIMIT_S: Final = 120.0
_USUAL: Final = Emulation()
_CONTROL: Final = Path("/proc/sys/net/ipv4/tcp_congestion_control")


def add_options(parser: argparse.ArgumentParser) -> None:
    add_emulation(parser, loss=0.0)
    parser.add_argument("--engine", default="auto")
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--size", type=int, default=25_000_000, help="bytes of one download")
    parser.add_argument("--long-size", type=int, default=100_000_000, help="bytes of the one whose last half counts")
    parser.add_argument("--requests", type=int, default=100, help="new connections for the first byte")
    parser.add_argument("--join", type=Path, metavar="STATE", help="JSON of namespaces to use, instead of new ones")
    parser.add_argument("--proxy", help="measure this SOCKS5 proxy, which others run in the client's namespace")
    parser.add_argument("--hold", action="store_true", help="measure nothing: print what runs, and wait for Ctrl-C")


def add_emulation(parser: argparse.ArgumentParser, loss: float) -> None:
    """Add the options that `emulation` reads."""
    parser.add_argument("--delay-ms", type=float, default=_USUAL.delay_ms, help="one way, from place to place")
    parser.add_argument("--rate-mbit", type=float, default=_USUAL.rate_mbit, help="of each place's line, each way")
    parser.add_argument("--queue-ms", type=float, default=_USUAL.queue_ms, help="longest wait for a line")
    parser.add_argument("--loss", type=float, default=loss, help="share of packets that get lost, 0 to 1")
    parser.add_argument("--seed", type=int, default=_USUAL.seed, help="decides which")


def emulation(options: argparse.Namespace) -> Emulation:
    """The network that the options describe."""
    return Emulation(options.delay_ms, options.rate_mbit, options.queue_ms, options.loss, options.seed)


def _throughput(way: Way, options: argparse.Namespace) -> dict[str, Any]:
    single = [way.get(options.size) for _ in range(options.runs)]
    took, together = way.together(options.size, PARALLEL)
    return {
        "MBps": spread([got.speed / 1e6 for got in single]),
        "cut_short": sum(got.size != options.size for got in [*single, *together]),
        "steady_MBps": round(last_half_rate(way.watched(options.long_size)) / 1e6, 2),
        "parallel_MBps": round(sum(got.size for got in together) / took / 1e6, 2),
    }


def _first_byte(way: Way, count: int) -> dict[str, Any]:
    _, got = way.many(1024, count, 1)
    first = [one.first_s * 1e3 for one in got if one.code == 200]
    return {"failed": count - len(first), "first_byte_ms": tail(first, 1)}


def _measure(network: FarNetwork, options: argparse.Namespace) -> dict[str, Any]:
    enter, pids = network.places[CLIENT].enter, network.pids
    before = cpu_s(pids.values())
    ways = {
        "direct": Way("", network.origin, enter, LIMIT_S),
        "through": Way(network.proxy, network.origin, enter, LIMIT_S),
    }
    result: dict[str, Any] = {}
    for name, way in ways.items():
        say(f"distance: {name} …")
        way.many(1024, 3, 1)
        result[name] = _first_byte(way, options.requests)
        result[name] |= _throughput(way, options)
    medians = [result[name]["MBps"]["median"] for name in ("through", "direct")]
    result["share_of_direct"] = round(medians[0] / medians[1], 3)
    if not pids:
        return result
    moved = sum(options.size * count for count in (options.runs, PARALLEL)) + options.long_size
    result["cpu_s_per_GB"] = round((cpu_s(pids.values()) - before) / (moved / 1e9), 1)
    result["peak_MB"] = {name: round(peak_mb(pid), 1) for name, pid in pids.items()}
    return result


def _told(network: FarNetwork) -> dict[str, Any]:
    return {
        "proxy": network.proxy,
        "origin": network.origin,
        "home": str(network.home),
        "pids": network.pids,
        "nodes": {name: {"ns": place.namespace, "ip": place.address} for name, place in network.places.items()},
    }


def run(options: argparse.Namespace, demo_options: list[str]) -> dict[str, Any]:
    """Measure, and return the figures."""
    if options.proxy and not options.join:
        raise SystemExit("--proxy needs --join: namespaces in which others run it")
    needed = [CLIENT, ORIGIN] if options.proxy else names(RELAYS)
    far = emulation(options)
    say("distance: starting the network …")
    with (
        existing(options.join, needed) if options.join else emulated(needed, far) as places,
        foreign(places, options.proxy) if options.proxy else running(places, HOPS, options.engine) as network,
    ):
        if options.hold:
            sys.stdout.write(json.dumps(_told(network), indent=1) + "\n")
            sys.stdout.flush()
            signal.pause()
        about: dict[str, Any] = (
            {"joined": str(options.join)} if options.join else {"emulation": dataclasses.asdict(far)}
        )
        about["congestion_control"] = _CONTROL.read_text().strip()
        if not options.join:
            about["link_MBps"] = options.rate_mbit / 8
            about["chain_round_trip_ms"] = 2 * (HOPS + 1) * options.delay_ms
        return about | _measure(network, options)
