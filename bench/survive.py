"""`bench survive`: what running transfers notice while their path dies and changes.

Options that are not listed here go to `macrovpn demo`. Each run is a new network with one transfer on it. First nothing
happens, for reference; then the guard's successor and the guard are killed (`kill`) or frozen (`stop`), always those of
the circuit that carries most flows; then the route is changed a few times, as `macrovpn hop` does. A stall is the
longest time without progress from an event to the next, as the receiving program sees it: at the end of curl's pipe, at
the origin for uploads, and by the echo's beat.

Senders send at a steady rate, so that every byte is fresh. With `--paced-by curl` the download is slowed down by
`--limit-rate` instead: full queues are the harder test of exactness, but curl itself then pauses for seconds.
"""

from __future__ import annotations

import os
import signal
import statistics
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from bench.figures import longest_pause, spread
from bench.network import demo, wait_for
from bench.report import say
from bench.transfers import ECHO_EVERY_S, Downloads, Echo, Upload
from bench.witness import Witness

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterable

    from bench.network import Network
    from bench.transfers import Transfer

TAKES_DEMO_OPTIONS: Final = True
KINDS: Final = ("download", "upload", "echo", "flows")
SIGNALS: Final = {"kill": signal.SIGKILL, "stop": signal.SIGSTOP}
FLOWS: Final = 50
RELAYS: Final = "6"
QUIET_S: Final = 3.0
SPARE_S: Final = 6.0
FIND_S: Final = 30.0
END_S: Final = 60.0
HOP: Final = "hop"
_GUARD, _SECOND = 0, 1


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--runs", type=int, default=1, help="runs of each kind and way")
    parser.add_argument("--kinds", default=",".join(KINDS), help="out of %(default)s")
    parser.add_argument("--how", default=",".join(SIGNALS), help="what befalls the hops, out of %(default)s")
    parser.add_argument("--size", type=int, default=500_000_000, help="bytes of each run, all flows together")
    parser.add_argument("--messages", type=int, default=1000, help="of the echo, at least")
    parser.add_argument("--gap", type=float, default=4.0, help="seconds from event to event")
    parser.add_argument("--hops", dest="changes", type=int, default=5, help="changes of the route")
    parser.add_argument("--paced-by", choices=["curl", "origin"], default="origin", help="who slows the download down")


@dataclass(frozen=True, slots=True)
class Event:
    """Something that was done to the network: what, and when in seconds of the monotonic clock."""

    what: str
    at: float


def stall_s(flows: Iterable[list[float]], start: float, end: float) -> list[float]:
    """The longest pause in a window of each flow that made progress after its beginning.

    A flow's last progress is its end. One that never goes on has no stall here; its run is not right.
    """
    return [
        longest_pause(moments, start, min(end, moments[-1])) for moments in flows if moments and moments[-1] > start
    ]


def _begin(kind: str, network: Network, witness: Witness, options: argparse.Namespace) -> Transfer:
    lasts_s = QUIET_S + (2 + options.changes) * options.gap + SPARE_S
    rate = int(options.size / lasts_s)
    match kind:
        case "download":
            by_origin = options.paced_by == "origin"
            return Downloads(network.proxy, witness, 1, options.size, rate, by_origin=by_origin)
        case "flows":
            return Downloads(network.proxy, witness, FLOWS, options.size // FLOWS, rate // FLOWS, by_origin=True)
        case "upload":
            return Upload(network.proxy, witness, options.size, rate)
        case _:
            return Echo(network.proxy, witness, max(options.messages, int(lasts_s / ECHO_EVERY_S)))


def _events(
    network: Network, transfer: Transfer, how: str, options: argparse.Namespace
) -> tuple[list[Event], set[int]]:
    """Let everything happen, one event after the other; returns the events and the processes that were hit."""
    events, hit = [], set()
    for what in (f"{how} second", f"{how} guard", *[HOP] * options.changes):
        circuit = wait_for("a living circuit with a flow", network.busiest, FIND_S) if transfer.running() else []
        if not circuit:
            break
        events.append(Event(what, time.monotonic()))
        if what == HOP:
            network.client.hop()
        else:
            pid = circuit[_SECOND if what.endswith("second") else _GUARD]
            os.kill(pid, SIGNALS[how])
            hit.add(pid)
        time.sleep(options.gap)
    return events, hit


def _run(kind: str, how: str, witness: Witness, options: argparse.Namespace, demo_options: list[str]) -> dict[str, Any]:
    witness.forget()
    hit: set[int] = set()
    with demo("--relays", RELAYS, *demo_options) as network:
        transfer = _begin(kind, network, witness, options)
        try:
            wait_for("progress", lambda: all(transfer.moments), FIND_S)
            started = time.monotonic()
            time.sleep(QUIET_S)
            events, hit = _events(network, transfer, how, options)
        finally:
            right = transfer.finish(END_S)
            if how == "stop":
                for pid in hit:
                    os.kill(pid, signal.SIGCONT)
        flows = transfer.moments
        ends = [*(event.at for event in events[1:]), time.monotonic()]
        return {
            "kind": kind,
            "how": how,
            "right": right,
            "connections": witness.connections,
            "connections_expected": transfer.connections,
            "events_left_out": 2 + options.changes - len(events),
            "reference_pause_s": round(max(stall_s(flows, started, started + QUIET_S), default=0.0), 3),
            "events": [_told(event, stall_s(flows, event.at, end)) for event, end in zip(events, ends, strict=False)],
        }


def _told(event: Event, stalls: list[float]) -> dict[str, Any]:
    if not stalls:
        return {"what": event.what}
    return {"what": event.what, "stall_s": round(max(stalls), 3), "median_stall_s": round(statistics.median(stalls), 3)}


def summary(runs: list[dict[str, Any]]) -> dict[str, Any]:
    """The runs of one kind and way in short: how many were right, and the longest stall of each event."""
    right = sum(run["right"] and run["connections"] == run["connections_expected"] for run in runs)
    events = [event for run in runs for event in run["events"] if "stall_s" in event]
    deaths = [event["stall_s"] for event in events if event["what"] != HOP]
    changes = [event["stall_s"] for event in events if event["what"] == HOP]
    return {
        "runs": len(runs),
        "right": right,
        "reference_pause_s": spread([run["reference_pause_s"] for run in runs], 3),
        "death_stall_s": spread(deaths, 3) if deaths else None,
        "hop_stall_s": spread(changes, 3) if changes else None,
        "all_stall_s": spread(deaths + changes, 3) if events else None,
    }


def run(options: argparse.Namespace, demo_options: list[str]) -> dict[str, Any]:
    """Measure, and return the figures."""
    result: dict[str, Any] = {"relays": int(RELAYS), "summary": {}, "runs": []}
    with Witness() as witness:
        for kind in options.kinds.split(","):
            for how in options.how.split(","):
                done = []
                for number in range(options.runs):
                    say(f"survive: {kind}, {how}, run {number + 1} of {options.runs} …")
                    done.append(_run(kind, how, witness, options, demo_options))
                    say(f"  right: {done[-1]['right']}, {[event.get('stall_s') for event in done[-1]['events']]}")
                result["summary"][f"{kind} {how}"] = summary(done)
                result["runs"] += done
    return result
