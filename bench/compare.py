"""`bench compare`: this network beside Tor, Shadowsocks and WireGuard, with the same load, one after the other.

On loopback and over emulated distance; then this network alone by hops, connections at once, mode, engine and payments,
and what its nodes take at rest by circuits, links and peers.
Each system gets the smallest network in which every process carries everything. What is not installed is left out, and
said. Writes `figures.json` and plots into a folder. Distance and WireGuard need root; the whole takes 10 to 15 minutes.
"""

from __future__ import annotations

import json
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from bench import crowds
from bench.compare_plots import draw
from bench.emulator import DEVICE, Emulation
from bench.far import CLIENT, ORIGIN, foreign, names
from bench.far import running as far_running
from bench.figures import spread
from bench.load import Way
from bench.measures import latency, parallel, rate, single
from bench.namespaces import bridged, emulated
from bench.network import demo, local_origin, wait_for
from bench.noise import noise
from bench.processes import cpu_s, memory_mb
from bench.report import say
from bench.rivals import shadowsocks, tor, wireguard
from bench.rivals.programs import missing, tell

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable, Iterator, Sequence

    from bench.far import FarNetwork
    from bench.namespaces import Place

TAKES_DEMO_OPTIONS: Final = False
OURS: Final = "Macro VPN"
SMALLEST: Final = ("--relays", "2", "--exits", "1")
HOPS: Final = (1, 2, 3, 4, 5)
FLOWS: Final = (1, 4, 16, 64, 256)
MODES: Final = ("speed", "balanced", "privacy")
ENGINES: Final = ("aiopquic", "aioquic")
TARIFFS: Final = (0, 2)
LOSSES: Final = (0.0, 0.01)
PARTS: Final = ("loopback", "distance", "growth", "crowds")
FAR_S: Final = 60.0
FAR_BYTES: Final = 25_000_000
FAR_RUNS: Final = 3
READY_S: Final = 30.0
_TARGET: Final = "10.83.0.200"
"""A second address of the origin's, which WireGuard's routes lead to; the first is reached directly."""


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--out", type=Path, default=Path("build/bench"), help="folder of the figures and plots")
    parser.add_argument("--only", nargs="+", choices=PARTS, default=PARTS, help="parts to measure")
    parser.add_argument("--runs", type=int, default=3, help="of each download")
    parser.add_argument("--size", type=int, default=100_000_000, help="bytes of one download on loopback")


def lacking(rival: Any) -> str:
    """What to do before a rival can be measured; empty if it is there."""
    gone = missing(*rival.TOOLS)
    return f"not measured: {', '.join(gone)} missing (apt-get install {rival.PACKAGES})" if gone else ""


# -- loopback


def _beside(way: Way, direct: Way, pids: Sequence[int], options: argparse.Namespace) -> dict[str, Any]:
    """All figures of one system."""
    result: dict[str, Any] = {}
    with noise(result):
        way.many(1024, 20, 1)
        result["single"] = single(way, direct, pids, options.runs, options.size)
        result["parallel"] = parallel(way, max(1, options.runs // 2), options.size // 4)
        result["latency"] = latency(way, 200)
        result["new_connections"] = rate(way, options.runs, 1000)
        if pids:
            result["memory_MB"] = spread([memory_mb(pid) for pid in pids], 1)
    return result


def _loopback(options: argparse.Namespace) -> dict[str, Any]:
    found: dict[str, Any] = {}
    with local_origin() as origin:
        direct = Way("", origin)
        say("compare: direct …")
        found["direct"] = _beside(direct, direct, [], options)
        for name, *more in ((OURS,), (f"{OURS}, paid", "--tariff", "2")):
            say(f"compare: {name} …")
            with demo(*SMALLEST, *(more or ("--tariff", "0"))) as network:
                found[name] = _beside(Way(network.proxy, origin), direct, network.pids, options)
        for name, rival in (("Tor", tor), ("Shadowsocks", shadowsocks)):
            say(f"compare: {name} …")
            if why := lacking(rival):
                found[name] = why
                continue
            with rival.running() as running:
                found[name] = _beside(Way(running.proxy, origin), direct, list(running.pids.values()), options)
    say("compare: WireGuard …")
    found["WireGuard"] = lacking(wireguard) or _wireguard(options)
    return found


def _wireguard(options: argparse.Namespace) -> dict[str, Any]:
    with bridged(wireguard.PLACES) as places:
        _second_address(places[ORIGIN])
        with foreign(places, "") as far, wireguard.running(places, _TARGET) as running:
            enter, port = places[CLIENT].enter, far.origin.rpartition(":")[2]
            direct, way = Way("", far.origin, enter), Way("", f"http://{_TARGET}:{port}", enter)
            wait_for("the tunnels", lambda: way.get(1024).code == 200, READY_S)
            return _beside(way, direct, list(running.pids.values()), options)


def _second_address(place: Place) -> None:
    tell("ip", "address", "add", f"{_TARGET}/24", "dev", DEVICE, place=place)


# -- distance


def _far(way: Way, direct: Way, pids: Sequence[int]) -> dict[str, Any]:
    """All figures of one system over emulated distance."""
    result: dict[str, Any] = {}
    with noise(result):
        way.many(1024, 3, 1)
        result["latency"] = latency(way, 60)
        before = cpu_s(pids)
        got = [way.get(FAR_BYTES) for _ in range(FAR_RUNS)]
        result["MBps"] = spread([one.speed / 1e6 for one in got])
        result["cut_short"] = sum(one.size != FAR_BYTES for one in got)
        result["cpu_s_per_GB"] = round((cpu_s(pids) - before) / (FAR_RUNS * FAR_BYTES / 1e9), 1)
        result["direct_MBps"] = round(direct.get(FAR_BYTES).speed / 1e6, 2)
    return result


@contextmanager
def _far_tor(places: dict[str, Place]) -> Iterator[FarNetwork]:
    with tor.running(places) as running, foreign(places, running.proxy, running.pids) as network:
        yield network


@contextmanager
def _far_shadowsocks(places: dict[str, Place]) -> Iterator[FarNetwork]:
    with shadowsocks.running(places) as running, foreign(places, running.proxy, running.pids) as network:
        yield network


@contextmanager
def _far_ours(places: dict[str, Place]) -> Iterator[FarNetwork]:
    with far_running(places, 3, "auto") as network:
        yield network


def _distance(_options: argparse.Namespace) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for loss in LOSSES:
        part = found[f"{loss * 100:.0f} % lost"] = {}
        for name, rival, needed, start in (
            (OURS, None, names(2), _far_ours),
            ("Tor", tor, [*tor.PLACES, ORIGIN], _far_tor),
            ("Shadowsocks", shadowsocks, [*shadowsocks.PLACES, ORIGIN], _far_shadowsocks),
        ):
            say(f"compare: {name} over distance, {loss * 100:.0f} % lost …")
            if rival is not None and (why := lacking(rival)):
                part[name] = why
                continue
            with emulated(needed, Emulation(loss=loss)) as places, start(places) as network:
                enter = places[CLIENT].enter
                direct = Way("", network.origin, enter, FAR_S)
                if "direct" not in part:
                    part["direct"] = _far(direct, direct, [])
                part[name] = _far(Way(network.proxy, network.origin, enter, FAR_S), direct, list(network.pids.values()))
    return found


# -- this network alone


def _growth(options: argparse.Namespace) -> dict[str, Any]:
    found: dict[str, Any] = {}
    with local_origin() as origin:
        direct = Way("", origin)

        def one(*demo_options: str) -> dict[str, Any]:
            with demo(*demo_options) as network:
                return _brief(Way(network.proxy, origin), direct, network.pids, options)

        say("compare: by hops …")
        found["hops"] = {hops: one("--relays", str(hops - 1), "--exits", "1", "--hops", str(hops)) for hops in HOPS}
        say("compare: by mode …")
        found["mode"] = {mode: one(*SMALLEST, "--mode", mode) for mode in MODES}
        say("compare: by engine …")
        found["engine"] = {engine: one(*SMALLEST, "--engine", engine) for engine in ENGINES}
        say("compare: by connections at once …")
        with demo(*SMALLEST) as network:
            way = Way(network.proxy, origin)
            found["flows"] = {flows: _many(way, network.pids, flows, options.size) for flows in FLOWS}
    return found


def _brief(way: Way, direct: Way, pids: Sequence[int], options: argparse.Namespace) -> dict[str, Any]:
    result: dict[str, Any] = {}
    with noise(result):
        way.many(1024, 20, 1)
        result |= single(way, direct, pids, 2, options.size // 2)
        result |= latency(way, 50)
        result["memory_MB"] = spread([memory_mb(pid) for pid in pids], 1)
    return result


def _many(way: Way, pids: Sequence[int], flows: int, size: int) -> dict[str, Any]:
    result: dict[str, Any] = {}
    with noise(result):
        before, each = cpu_s(pids), 2 * size // flows
        result |= parallel(way, 1, each, flows)
        result["cpu_s_per_GB"] = round((cpu_s(pids) - before) / (flows * each / 1e9), 1)
        result["memory_MB"] = spread([memory_mb(pid) for pid in pids], 1)
    return result


def run(options: argparse.Namespace, demo_options: list[str]) -> dict[str, Any]:
    """Measure, write the files, and return the figures."""
    parts: dict[str, Callable[[argparse.Namespace], dict[str, Any]]] = {
        "loopback": _loopback,
        "distance": _distance,
        "growth": _growth,
        "crowds": lambda _options: crowds.measure(),
    }
    result: dict[str, Any] = {part: parts[part](options) for part in options.only}
    options.out.mkdir(parents=True, exist_ok=True)
    file = options.out / "figures.json"
    file.write_text(json.dumps(result, indent=1) + "\n")
    for path in [file, *draw(result, options.out)]:
        say(f"compare: wrote {path}")
    return result
