"""`bench sharing`: whether an operator's limit holds: how exactly, and how fairly.

For each rate, place (`exit`, `relay`) and setting (`up`, `down`) a new network of two relays, an exit and a client
runs, with that limit there. In it 1 and 20 flows download and upload as much as they can for some seconds, then 1 flow
of one circuit beside 19 of another. What arrives is counted. `error` is how far it is from the limit; `uneven` how far
the flow (or circuit) that is farthest from the mean is from it, both as shares. Options that are not listed here go to
`macrovpn demo`.
"""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any, Final

from bench.network import demo
from bench.report import say
from bench.steady import WAYS, measure, unevenness

if TYPE_CHECKING:
    import argparse

TAKES_DEMO_OPTIONS: Final = True
BYTES_PER_MBIT: Final = 125_000
_BACKLOG_BYTES: Final = 1_500_000
"""What a circuit may have under way before it is known how slow the path is, with the queue in front of it."""

_NETWORK: Final = ("--relays", "2", "--exits", "1")
"""The smallest network, so that everything passes the limit."""


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--rates", default="1,5,20,100", help="Mbit/s (default: %(default)s)")
    parser.add_argument("--places", default="exit,relay", help="whose limit (default: %(default)s)")
    parser.add_argument("--settings", default="up,down", help="which setting (default: %(default)s)")
    parser.add_argument("--flows", default="1,20", help="flows at once (default: %(default)s)")
    parser.add_argument("--ways", default=",".join(WAYS), help="(default: %(default)s)")
    parser.add_argument("--seconds", type=float, default=10.0, help="of each measurement (default: %(default)s)")
    parser.add_argument("--settle", type=float, default=2.0, help="seconds before each at least (default: %(default)s)")
    parser.add_argument("--no-circuits", action="store_true", help="leave out the two circuits")


def _one(proxy: str, way: str, users: list[str], rate: float, options: argparse.Namespace) -> dict[str, Any]:
    settle_s = max(options.settle, _BACKLOG_BYTES / (rate * BYTES_PER_MBIT))
    took_s, counts = measure(proxy, way, users, settle_s, options.seconds)
    mbit = sum(counts) / BYTES_PER_MBIT / took_s
    circuits = [sum(n for n, user in zip(counts, users, strict=True) if user == each) for each in dict.fromkeys(users)]
    return {
        "Mbit_s": round(mbit, 3),
        "error": round(mbit / rate - 1, 4),
        "uneven": round(unevenness(circuits if len(circuits) > 1 else counts), 3),
    }


def _network(place: str, setting: str, rate: float, options: argparse.Namespace, rest: list[str]) -> dict[str, Any]:
    # Both relays stand on every path. Each has the limit, and one after the other carries as much as one alone.
    limit = f"{place}:sharing.{setting}_mbit={rate:g}"
    found: dict[str, Any] = {}
    with demo(*_NETWORK, "--set", limit, *rest) as network:
        for way in options.ways.split(","):
            for count in map(int, options.flows.split(",")):
                found[f"{way}_{count}"] = _one(network.proxy, way, [""] * count, rate, options)
            if not options.no_circuits:
                users = ["one"] + ["other"] * 19
                found[f"{way}_circuits_1_19"] = _one(network.proxy, way, users, rate, options)
    return found


def run(options: argparse.Namespace, demo_options: list[str]) -> dict[str, Any]:
    """Measure, and return the figures."""
    result: dict[str, Any] = {}
    rates = [float(text) for text in options.rates.split(",")]
    for place, rate, setting in itertools.product(options.places.split(","), rates, options.settings.split(",")):
        say(f"sharing: {place} {setting} {rate:g} Mbit/s …")
        result[f"{place}_{setting}_{rate:g}"] = found = _network(place, setting, rate, options, demo_options)
        for name, row in found.items():
            say(f"  {name:<24} {row['Mbit_s']:>8} Mbit/s  error {row['error']:+.2%}  uneven {row['uneven']:.1%}")
    return result
