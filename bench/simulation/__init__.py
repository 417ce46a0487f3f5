"""Choose paths in a world of thousands of peers, with the code that nodes use, and compare with two simpler ways.

Nothing is sent: peers are figures. Clients of each way live through the same days in the same world, learn from the
circuits they build, and hold on to guards and second hops as nodes do. What comes of it: how long paths are against the
shortest that could be had, how load is spread over capacity, and on how many paths attackers stood. `--out FOLDER`
draws it.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from bench.report import say
from bench.simulation.clients import USUAL, Habits, Origin, Way, live
from bench.simulation.world import World
from peers.scores import LEANS

if TYPE_CHECKING:
    import argparse

    from bench.simulation.outcome import Outcome

TAKES_DEMO_OPTIONS: Final = False


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add this command's options."""
    parser.add_argument("--peers", type=int, default=10_000, help="relays and exits (default: %(default)s)")
    parser.add_argument("--known", type=int, default=512, help="peers that a client knows (default: %(default)s)")
    parser.add_argument("--clients", type=int, default=80, help="clients of each way (default: %(default)s)")
    parser.add_argument("--days", type=int, default=60, help="days (default: %(default)s)")
    parser.add_argument("--circuits", type=int, default=6, help="circuits of a client in a day (default: %(default)s)")
    parser.add_argument("--attacker", type=float, default=5.0, help="percent that each attacker holds (default: 5)")
    parser.add_argument("--in-middle", action="store_true", help="one attacker's many small peers stand in the middle")
    names = [way.value for way in Way]
    parser.add_argument("--ways", nargs="+", choices=names, default=names, help="which of the ways (default: all)")
    parser.add_argument("--mode", choices=sorted(LEANS), default=USUAL.mode, help="of ours (default: %(default)s)")
    hours = "hours in which what ours knows of delays halves (default: %(default)g)"
    parser.add_argument("--half-life", type=float, default=USUAL.half_s / 3600, metavar="HOURS", help=hours)
    origins = [origin.value for origin in Origin]
    parser.add_argument(
        "--distance-from", choices=origins, default=USUAL.origin.value, help="for ours (default: %(default)s)"
    )
    parser.add_argument("--seed", type=int, default=1, help="of everything (default: %(default)s)")
    parser.add_argument("--out", type=Path, help="folder for the plots")


def run(options: argparse.Namespace, rest: list[str]) -> dict[str, Any]:
    """Run the simulation."""
    world = World(options.peers, options.attacker / 100, options.seed, in_middle=options.in_middle)
    outcomes: dict[str, Outcome] = {}
    habits = Habits(options.mode, options.half_life * 3600, Origin(options.distance_from))
    for way in [Way(name) for name in options.ways]:
        say(f"{way.value}: {options.clients} clients, {options.days} days …")
        outcomes[way.value] = live(world, way, options.clients, options.known, options.days, options.circuits, habits)
    if options.out is not None:
        from bench.simulation.plots import draw

        for path in draw(outcomes, options.out):
            say(f"wrote {path}")
    return {
        "peers": options.peers,
        "known": options.known,
        "clients": options.clients,
        "days": options.days,
        "circuits_a_day": options.circuits,
        "mode": options.mode,
        "half_life_h": options.half_life,
        "distance_from": options.distance_from,
        "attacker_percent": options.attacker,
        "in_middle": options.in_middle,
        "attackers": world.attackers(),
        "ways": {name: outcome.summary() for name, outcome in outcomes.items()},
    }
