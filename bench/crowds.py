"""What nodes cost at rest, with more circuits, more links and more peers. A part of `bench compare`."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any, Final

from bench.circuits import crowd
from bench.network import demo
from bench.processes import cpu_s, memory_mb
from bench.report import say

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bench.network import Member

CIRCUITS: Final = (50, 200, 800)
LINKS: Final = (8, 32, 128, 250)
"""To one relay. It takes 256 of one host."""
PEERS: Final = (4, 8, 16, 32)
"""Nodes in all, with the client."""

CLIENTS: Final = 4
"""Over whose links the circuits go."""
PER_S: Final = 40.0
"""Circuits that are built per second at most."""
SETTLE_S: Final = 3.0
"""After what began: pings and gossip of newcomers are over then, and nothing else says so."""
REST_S: Final = 5.0
"""For so long it is looked what nodes take while nothing is asked of them."""
_ROLES: Final = ("relay", "exit")
_TWO_HOPS: Final = ("--relays", "1", "--exits", "1", "--hops", "2", "--tariff", "0")


def at_rest(pids: Sequence[int]) -> dict[str, float]:
    """Megabytes of each process in the mean, and how much of a core it takes, in percent, over `REST_S`."""
    before, started = cpu_s(pids), time.monotonic()
    time.sleep(REST_S)
    share = (cpu_s(pids) - before) / (time.monotonic() - started) / len(pids)
    return {"MB": round(sum(map(memory_mb, pids)) / len(pids), 1), "cpu_percent": round(100 * share, 2)}


def _hops(members: Sequence[Member]) -> list[Member]:
    """The relay and the exit of the network of two hops, in the order of the path."""
    return [next(member for member in members if member.role == role) for role in _ROLES]


async def _rest(hops: Sequence[Member]) -> dict[str, dict[str, float]]:
    await asyncio.sleep(SETTLE_S)
    seen = await asyncio.gather(*(asyncio.to_thread(at_rest, [hop.pid]) for hop in hops))
    return {hop.role: rest for hop, rest in zip(hops, seen, strict=True)}


async def _circuits(hops: Sequence[Member]) -> dict[int, Any]:
    found: dict[int, Any] = {0: await _rest(hops)}
    async with crowd(hops, CLIENTS) as held:
        for count in CIRCUITS:
            await held.grow(count - len(held.circuits), PER_S)
            found[len(held.circuits)] = await _rest(hops)
    return found


async def _links(hops: Sequence[Member]) -> dict[int, Any]:
    found: dict[int, Any] = {0: await _rest(hops)}
    for count in LINKS:
        async with crowd(hops, count) as held:
            await held.grow(count, PER_S)
            found[count] = await _rest(hops)
    return found


def _peers(count: int) -> dict[str, dict[str, float]]:
    with demo("--relays", str(count - 2), "--exits", "1") as network:
        time.sleep(SETTLE_S)
        client = [member.pid for member in network.members if member.role == "client"]
        others = [member.pid for member in network.members if member.role != "client"]
        return {"client": at_rest(client), "relay": at_rest(others)}


def measure() -> dict[str, Any]:
    """Memory and CPU of the nodes concerned, by number of circuits, of links to one relay, and of peers."""
    found: dict[str, Any] = {}
    for what, hold in (("circuits", _circuits), ("links", _links)):
        say(f"compare: by {what} …")
        with demo(*_TWO_HOPS) as network:
            found[what] = asyncio.run(hold(_hops(network.members)))
    say("compare: by peers …")
    found["peers"] = {count: _peers(count) for count in PEERS}
    return found
