"""A client whose guards are hostile: they tell it of their friends alone, and say of all others that they are dead.

Nothing is sent: neighbours, the DHT and circuits are figures, and all that a client decides is decided by the code that
nodes use: directory, voices, guards, blame, weights, the search. Each client lives some days with two guards, begins a
session each day, and builds circuits. What comes of it: how many of the middle hops and exits are honest, by hours,
with all defences, without one of them, and without any.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from bench.eclipse.client import DEFENCES, Client
from bench.eclipse.crowd import Crowd
from bench.report import say

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterable

    from bench.eclipse.client import Tried

TAKES_DEMO_OPTIONS: Final = False
SCENES: Final = {"no guard hostile": 0, "the first of two hostile": 1, "both hostile": 2}


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add this command's options."""
    parser.add_argument("--peers", type=int, default=300, help="peers that everybody knows (default: %(default)s)")
    parser.add_argument("--hostile", type=float, default=20.0, help="percent of these that are hostile (default: 20)")
    parser.add_argument(
        "--hidden", type=int, default=600, help="friends that only hostile peers tell of (default: 600)"
    )
    parser.add_argument("--junk", type=float, default=20.0, help="percent hostile of what the DHT says (default: 20)")
    parser.add_argument("--clients", type=int, default=10, help="clients in each scene (default: %(default)s)")
    parser.add_argument("--hours", type=int, default=48, help="how long each lives (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=1, help="of everything (default: %(default)s)")


def run(options: argparse.Namespace, rest: list[str]) -> dict[str, Any]:
    """Run the experiment."""
    crowd = Crowd(options.peers, options.hostile / 100, options.hidden, options.junk / 100)
    scenes: dict[str, dict[str, Any]] = {}
    for scene, guards in SCENES.items():
        scenes[scene] = {}
        for name, defence in DEFENCES.items():
            tried: list[Tried] = []
            for number in range(options.clients):
                tried += Client(crowd, defence, guards, f"{options.seed} {number}").live(options.hours)
            scenes[scene][name] = summary(tried, options.hours)
            say(f"{scene}, {name}: {scenes[scene][name]}")
    return {
        "peers": options.peers,
        "hostile_percent": options.hostile,
        "hidden": options.hidden,
        "junk_percent": options.junk,
        "clients": options.clients,
        "hours": options.hours,
        "honest_percent": round(100 - options.hostile, 1),
        "scenes": scenes,
    }


def summary(tried: Iterable[Tried], hours: int) -> dict[str, dict[str, float]]:
    """For the first hour, the rest of the first day and what follows: percent of hops that were honest."""
    spans = {"first hour": (0, 1), "first day": (1, min(24, hours)), "later": (24, hours)}
    found = {}
    for name, (start, end) in spans.items():
        paths = [one for one in tried if start <= one.hour < end]
        circuits = [one for one in paths if one.built]
        found[name] = {
            "circuits": len(circuits),
            "tried_middle": percent(one.middle for one in paths),
            "tried_exit": percent(one.exit for one in paths),
            "middle": percent(one.middle for one in circuits),
            "exit": percent(one.exit for one in circuits),
            "both_ends_hostile": percent(not one.guard and not one.exit for one in circuits),
        }
    return found


def percent(flags: Iterable[bool]) -> float:
    """What part of some is true, in percent; 0 for none."""
    flags = list(flags)
    return round(100 * sum(flags) / max(1, len(flags)), 1)
