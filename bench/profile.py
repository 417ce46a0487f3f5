"""`bench profile`: where the CPU goes, in downloads and in new connections.

First by thread of each process, from the kernel's counters: `main` runs Python, `others` are the engine's. Then, in
runs of their own since that slows everything down, by function of the main thread, sampled by py-spy; C code counts
for the function that called it, and uvloop's for `Runner.run`. The network is the smallest of three hops, so that every
process carries everything. Options that are not listed here go to `macrovpn demo`; with `--tariff 2` its peers are
paid, and `payments_percent` says how much of all CPU that took, by the samples. Windows grow with what was paid before,
so vouchers are many at first: `payments_percent_at_first` is of a first download, of which CPU and samples are taken at
once, so that it is rather too high.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from bench.load import Way
from bench.network import demo, local_origin
from bench.processes import thread_cpu_s
from bench.report import say
from bench.stacks import program, recorded, samples_in, top

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable, Mapping

    from bench.network import Network
    from bench.stacks import Recording

TAKES_DEMO_OPTIONS: Final = True
AT_ONCE: Final = 50
_NETWORK: Final = ("--relays", "2", "--exits", "1")


PAYMENTS: Final = (
    "ledger/",
    "node/pay",
    "node/wallet",
    "node/money",
    "tunnel/tally",
    "tunnel/toll",
    "aiosqlite/",
)
"""Files of this project that do nothing without payments, and the library that only the books use."""
CARRIES: Final = ("tunnel/link_stream",)
"""Called by those it moves what waited until it was paid."""


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--size", type=int, default=300_000_000, help="bytes of the download")
    parser.add_argument("--connections", type=int, default=2000)
    parser.add_argument("--functions", type=int, default=15, help="how many to list for each process")
    parser.add_argument("--rate", type=int, default=100, help="samples per second")


type Used = dict[str, dict[int, float]]
"""CPU seconds of each process, by its threads' numbers."""


def used_since(before: Used, after: Used) -> Used:
    """CPU seconds of each process between two moments, by thread."""
    return {
        name: {thread: used - before[name].get(thread, 0.0) for thread, used in threads.items()}
        for name, threads in after.items()
    }


def by_thread(used: Used, mains: Mapping[str, int], units: float) -> dict[str, dict[str, float]]:
    """CPU seconds per unit of work of each process: its main thread, and all its other threads.

    Args:
        used: as `used_since` gives it.
        mains: the numbers of the main threads.
        units: of work.
    """
    found = {}
    for name, threads in used.items():
        main = threads[mains[name]]
        found[name] = {
            "main": round(main / units, 3),
            "others": round((sum(threads.values()) - main) / units, 3),
        }
    return found


def payments_percent(recording: Recording, used: Used, mains: Mapping[str, int]) -> float:
    """The part of all CPU that was spent on payments: of the main threads by samples, and the threads of the books.

    Args:
        recording: samples of all processes.
        used: CPU of the same work without samples.
        mains: the numbers of the main threads.
    """
    paying = 0.0
    for name, threads in used.items():
        stacks = recording.stacks[name]
        paying += threads[mains[name]] * samples_in(stacks, PAYMENTS, CARRIES) / max(1, stacks.total())
        books = [number for number, beside in recording.beside[name].items() if samples_in(beside, PAYMENTS)]
        paying += sum(threads.get(number, 0.0) for number in books)
    return round(100 * paying / sum(sum(threads.values()) for threads in used.values()), 2)


def _threads(network: Network) -> Used:
    return {name: thread_cpu_s(pid) for name, pid in network.named().items()}


def _profile(network: Network, work: Callable[[], float], units: float, options: argparse.Namespace) -> dict[str, Any]:
    """Do some work twice: once to count CPU by thread, once to sample functions."""
    mains, before = network.named(), _threads(network)
    speed = work()
    used = used_since(before, _threads(network))
    whole = sum(sum(threads.values()) for threads in used.values())
    result: dict[str, Any] = {
        "speed": round(speed, 2),
        "cpu_s": by_thread(used, mains, units) | {"all": round(whole / units, 2)},
    }
    if program() is None:
        return result | {"functions": "py-spy is not installed"}
    with recorded(mains, options.rate) as recording:
        result["speed_while_sampled"] = round(work(), 2)
    return result | {
        "payments_percent": payments_percent(recording, used, mains),
        "functions": {name: top(found, options.functions) for name, found in recording.stacks.items()},
    }


def _payments_at_first(network: Network, work: Callable[[], float], options: argparse.Namespace) -> float | None:
    """The part of all CPU that payments take in work for which nobody has paid before; None without py-spy."""
    if program() is None:
        return None
    mains, before = network.named(), _threads(network)
    with recorded(mains, options.rate) as recording:
        work()
    return payments_percent(recording, used_since(before, _threads(network)), mains)


def run(options: argparse.Namespace, demo_options: list[str]) -> dict[str, Any]:
    """Measure, and return the figures."""
    say("profile: starting the network …")
    with local_origin() as origin, demo(*_NETWORK, *demo_options) as network:
        way, direct = Way(network.proxy, origin), Way("", origin)
        way.many(1024, 20, 1)

        def download(through: Way = way) -> float:
            return through.get(options.size).speed / 1e6

        def connect(through: Way = way) -> float:
            took, got = through.many(1024, options.connections, AT_ONCE)
            return sum(one.code == 200 for one in got) / took

        say("profile: first download …")
        result: dict[str, Any] = {"engine": network.engine}
        result["payments_percent_at_first"] = _payments_at_first(network, download, options)
        say("profile: download …")
        result["download_MBps_and_s_per_GB"] = _profile(network, download, options.size / 1e9, options)
        result["download_MBps_and_s_per_GB"]["direct"] = round(download(direct), 2)
        say("profile: new connections …")
        result["connections_per_s_and_s_per_1000"] = _profile(network, connect, options.connections / 1e3, options)
        result["connections_per_s_and_s_per_1000"]["direct"] = round(connect(direct), 2)
        return result
