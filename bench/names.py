"""`bench names`: look-ups per second of each kind of resolver, against a DNS server on this machine.

Each look-up asks for both families of a name that was not asked for before; `cached` is one name, again and again, for
one circuit. The server is a process of its own and answers at once, so that the resolver is what is measured. `system`
needs a `resolv.conf` that names 127.0.0.1, port 53: a namespace with its own `/etc` has one.
"""

from __future__ import annotations

import asyncio
import gc
import json
import ssl
import statistics
import subprocess
import sys
import tempfile
import time
import tracemalloc
from ipaddress import ip_address
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import uvloop

from bench.name_server import HOST, NAME
from bench.report import say
from exits.dns_message import Answer
from exits.name_cache import MAX_ALL_NAMES, MAX_NAMES
from exits.name_server import NameServer
from exits.resolver import NameResolver, open_resolver

if TYPE_CHECKING:
    import argparse
    from collections.abc import Coroutine

    from exits.addresses import Address

TAKES_DEMO_OPTIONS: Final = False
KINDS: Final = ("udp", "tls", "https", "cached", "system")
_DNS_PORT: Final = 53


class _Circuit:
    """Stands for a circuit."""


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=KINDS[:-1])
    parser.add_argument("--lookups", type=int, default=3000, help="of each kind in one round")
    parser.add_argument("--at-once", type=int, default=50)
    parser.add_argument("--rounds", type=int, default=3)


def run(options: argparse.Namespace, _: list[str]) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as folder:
        port = [str(_DNS_PORT)] if "system" in options.kinds else []
        command = [sys.executable, "-m", "bench.name_server", folder, *port]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
            try:
                assert server.stdout is not None
                ports = json.loads(server.stdout.readline())
                rounds = [uvloop.run(_round(options, ports, Path(folder), number)) for number in range(options.rounds)]
            finally:
                server.kill()
    kept_bytes = uvloop.run(_kept_bytes())
    figures = {kind: {name: _spread([r[kind][name] for r in rounds]) for name in rounds[0][kind]} for kind in rounds[0]}
    return {"lookups": options.lookups, "at_once": options.at_once, "kinds": figures, "kept_bytes": kept_bytes}


async def _round(options: argparse.Namespace, ports: dict[str, int], folder: Path, number: int) -> dict[str, Any]:
    figures = {}
    for kind in options.kinds:
        resolver = _open(kind, ports, folder)
        say(f"round {number + 1}: {kind}")
        figures[kind] = await _measure(resolver, options, f"r{number}.example.org", cached=kind == "cached")
        await resolver.close()
    return figures


def _open(kind: str, ports: dict[str, int], folder: Path) -> NameResolver:
    if kind == "system":
        return open_resolver(None)
    if kind in ("udp", "cached"):
        return open_resolver(NameServer("udp", HOST, ports["udp"]))
    trust = ssl.create_default_context(cafile=str(folder / "authority.pem"))
    if kind == "tls":
        return open_resolver(NameServer("tls", HOST, ports["tls"], NAME), trust)
    return open_resolver(NameServer("https", HOST, ports["https"], NAME, "/dns-query"), trust)


async def _measure(
    resolver: NameResolver, options: argparse.Namespace, under: str, *, cached: bool
) -> dict[str, float]:
    circuit = _Circuit()
    names = iter([f"n{number}.{under}" for number in range(options.lookups)])
    delays = []

    async def work() -> None:
        for name in names:
            begin = time.perf_counter()
            await (resolver.resolve(under, circuit) if cached else resolver.resolve(name))
            delays.append(time.perf_counter() - begin)

    await resolver.resolve(under, circuit)
    begin, cpu_s = time.perf_counter(), time.process_time()
    await asyncio.gather(*(work() for _ in range(options.at_once)))
    took_s = time.perf_counter() - begin
    return {
        "per_s": round(options.lookups / took_s),
        "p50_ms": round(statistics.median(delays) * 1e3, 2),
        "cpu_ms_each": round((time.process_time() - cpu_s) / options.lookups * 1e3, 3),
    }


def _spread(values: list[float]) -> dict[str, float]:
    return {"min": min(values), "median": statistics.median(values), "max": max(values)}


async def _kept_bytes() -> float:
    """Measure what a name with 16 addresses takes while it is remembered, in bytes."""
    addresses = tuple(ip_address(f"2606:4700::{number}") for number in range(16))

    class Known:
        def questions(self, _: str) -> list[Coroutine[Any, Any, Answer]]:
            return [self._answer(addresses[:8]), self._answer(addresses[8:])]

        async def close(self) -> None: ...

        async def _answer(self, found: tuple[Address, ...]) -> Answer:
            return Answer(tuple(type(address)(int(address)) for address in found), 300)

    resolver = NameResolver(Known())
    circuits = [_Circuit() for _ in range(MAX_ALL_NAMES // MAX_NAMES)]
    tracemalloc.start()
    for number, circuit in enumerate(circuits):
        for name in range(MAX_NAMES):
            await resolver.resolve(f"n{name}.r{number}.example.org", circuit)
    gc.collect()
    taken, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    kept = len(resolver.cache)
    await resolver.close()
    return round(taken / kept)
