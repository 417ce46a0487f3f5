"""`bench memory`: what circuits and flows cost, and what dead readers do to a living one.

Three networks one after the other. `circuits`: idle circuits through one relay to one exit, pinged as clients do.
`idle_flows`: open connections that carry nothing. `dead_readers`: connections that ask for a lot and never read, and
beside them a download that does read, compared with one that was alone. Peaks are the kernel's own. Options that are
not listed here go to `macrovpn demo`.
"""

from __future__ import annotations

import asyncio
import resource
import time
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any, Final

from bench import socks
from bench.circuits import crowd
from bench.figures import spread
from bench.load import Way
from bench.network import demo, local_origin
from bench.processes import memory_mb, peak_mb, reset_peak
from bench.report import say

if TYPE_CHECKING:
    import argparse

    from bench.network import Network

TAKES_DEMO_OPTIONS: Final = True
DEAD_SIZE: Final = 100_000_000
"""What each dead reader asks for: more than all that could be in flight."""
KERNEL_BYTES: Final = 1 << 14
"""What the kernel may keep of it at both ends, so that 4,096 dead readers find room in it (see `bench.origin`)."""
SETTLE_S: Final = 5.0
_TWO_HOPS: Final = ("--relays", "1", "--exits", "1", "--hops", "2", "--tariff", "0")
_THREE_HOPS: Final = ("--relays", "2", "--exits", "1")
"""The smallest networks, so that every process carries everything."""


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--only", default="circuits,idle_flows,dead_readers", help="out of %(default)s")
    parser.add_argument("--circuits", type=int, default=1000)
    parser.add_argument("--clients", type=int, default=4, help="clients, and so links, that the circuits belong to")
    parser.add_argument("--per-second", type=float, default=25.0, help="circuits built per second at most")
    parser.add_argument("--idle-flows", type=int, default=1000)
    parser.add_argument("--dead-readers", type=int, default=499)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--size", type=int, default=100_000_000, help="bytes of one download")


def grown(before: dict[str, float], after: dict[str, float], count: int) -> dict[str, Any]:
    """MB of each process before and after, and MB per thing that came in between."""
    return {
        name: {
            "before_MB": round(before[name], 1),
            "after_MB": round(after[name], 1),
            "each_MB": round((after[name] - before[name]) / count, 4),
        }
        for name in before
    }


def _memory(network: Network) -> dict[str, float]:
    return {name: memory_mb(pid) for name, pid in network.named().items()}


async def _hold(network: Network, options: argparse.Namespace) -> dict[str, Any]:
    before = _memory(network)
    members = [member for role in ("relay", "exit") for member in network.members if member.role == role]
    async with crowd(members, options.clients) as held:
        await held.grow(options.circuits, options.per_second)
        await asyncio.sleep(SETTLE_S)
        after = _memory(network)
        del before["client"], after["client"]
        return {
            "circuits": len(held.circuits),
            "links": options.clients,
            "failures": dict(held.failures),
            "processes": grown(before, after, max(1, len(held.circuits))),
        }


def _circuits(options: argparse.Namespace, demo_options: list[str]) -> dict[str, Any]:
    with demo(*_TWO_HOPS, *demo_options) as network:
        return asyncio.run(_hold(network, options))


def _open(stack: ExitStack, network: Network, count: int, request: bytes = b"") -> None:
    """Open connections through the proxy, and send each a request: to two origins by turns, as an exit lets 3,072 go to
    one destination (`exits.limits`)."""
    origins = [stack.enter_context(local_origin()) for _ in range(2)]
    for number in range(count):
        host, _, port = origins[number % len(origins)].removeprefix("http://").partition(":")
        made = socks.connect(network.proxy, host, int(port), receive_bytes=KERNEL_BYTES if request else 0)
        stack.enter_context(made).sendall(request)


def _still_open(network: Network) -> int:
    """How many flows the client has. Who does not read does not see that its connection has ended."""
    return int(network.client.status()["flows"])


def _idle_flows(options: argparse.Namespace, demo_options: list[str]) -> dict[str, Any]:
    with local_origin() as origin, demo(*_THREE_HOPS, *demo_options) as network, ExitStack() as stack:
        Way(network.proxy, origin).many(1024, 20, 1)
        before = _memory(network)
        _open(stack, network, options.idle_flows)
        time.sleep(SETTLE_S)
        processes = grown(before, _memory(network), options.idle_flows)
        return {"flows": options.idle_flows, "flows_open": _still_open(network), "processes": processes}


def _dead_readers(options: argparse.Namespace, demo_options: list[str]) -> dict[str, Any]:
    request = b"GET /%d/%d HTTP/1.1\r\nHost: origin\r\n\r\n" % (DEAD_SIZE, KERNEL_BYTES)
    with local_origin() as origin, demo(*_THREE_HOPS, *demo_options) as network, ExitStack() as stack:
        way = Way(network.proxy, origin)
        way.many(1024, 20, 1)
        alone = [way.get(options.size).speed / 1e6 for _ in range(options.runs)]
        before = _memory(network)
        for pid in network.pids:
            reset_peak(pid)
        _open(stack, network, options.dead_readers, request)
        time.sleep(SETTLE_S)
        beside = [way.get(options.size) for _ in range(options.runs)]
        return {
            "dead_readers": options.dead_readers,
            "flows_open": _still_open(network),
            "alone_MBps": spread(alone),
            "beside_MBps": spread([got.speed / 1e6 for got in beside]),
            "cut_short": sum(got.size != options.size for got in beside),
            "before_MB": {name: round(value, 1) for name, value in before.items()},
            "peak_MB": {name: round(peak_mb(pid), 1) for name, pid in network.named().items()},
        }


_PARTS: Final = {"circuits": _circuits, "idle_flows": _idle_flows, "dead_readers": _dead_readers}


def run(options: argparse.Namespace, demo_options: list[str]) -> dict[str, Any]:
    """Measure, and return the figures."""
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    result = {}
    for name in options.only.split(","):
        say(f"memory: {name} …")
        result[name] = _PARTS[name](options, demo_options)
    return result
