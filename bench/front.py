"""`bench front`: the local port by itself, with a pipe in place of the tunnel, beside the origin asked directly.

Three figures of each way, the ways by turns, because shared machines are noisy: read ratios. First byte: from the
beginning of a connection to the first byte of the answer, one after the other. Throughput: one flow, both directions.
Connections: each opened, granted, answered with one byte and closed. What makes the load runs in this process, the port
and the origin in their own (`bench.front_ends`).
"""

from __future__ import annotations

import asyncio
import socket
import time
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any, Final, cast

from bench.figures import quantile, spread, tail
from bench.front_ends import DOWN, UP, WORDS
from bench.network import process
from bench.processes import cpu_s
from bench.report import say

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator, Sequence

TAKES_DEMO_OPTIONS: Final = False
_ROOM: Final = memoryview(bytearray(1 << 20))
_LIMIT_S: Final = 60.0

type Step = tuple[bytes, int]
"""What a client says, and how many bytes it then waits for."""

SOCKS: Final[tuple[Step, ...]] = ((b"\5\1\0", 2), (b"\5\1\0\3\x0corigin.bench\1\xbb", 10))
_GRANTED: Final = b"HTTP/1.1 200 Connection established\r\n\r\n"
CONNECT: Final[tuple[Step, ...]] = (
    (b"CONNECT origin.bench:443 HTTP/1.1\r\nHost: origin.bench:443\r\n\r\n", len(_GRANTED)),
)
DIRECT: Final[tuple[Step, ...]] = ()
_ONE_BYTE: Final[Step] = (WORDS.pack(DOWN, 1), 1)


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--pipes", nargs="+", choices=["memory", "tcp"], default=["memory", "tcp"])
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--first-bytes", type=int, default=1000, help="connections one after the other, of each way")
    parser.add_argument("--size", type=int, default=500_000_000, help="bytes of one transfer")
    parser.add_argument("--connections", type=int, default=3000, help="connections of one run")
    parser.add_argument("--at-once", type=int, default=50)


class Way:
    """One way to the origin: a port, and what is said there first."""

    def __init__(self, name: str, port: int, steps: Sequence[Step]) -> None:
        self.name = name
        self.port = port
        self.steps = steps

    def open(self) -> socket.socket:
        """Connect, and return when all is granted."""
        made = socket.create_connection(("127.0.0.1", self.port), _LIMIT_S)
        made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for words, length in self.steps:
            made.sendall(words)
            _take(made, length)
        return made

    def first_byte_s(self) -> float:
        began = time.perf_counter()
        with self.open() as made:
            made.sendall(_ONE_BYTE[0])
            _take(made, 1)
            return time.perf_counter() - began

    def down(self, size: int) -> float:
        """Download so many bytes; returns bytes per second, from the first byte on."""
        with self.open() as made:
            made.sendall(WORDS.pack(DOWN, size))
            _take(made, 1)
            began = time.perf_counter()
            _take(made, size - 1)
            return size / (time.perf_counter() - began)

    def up(self, size: int) -> float:
        """Send so many bytes, and wait until they have come; returns bytes per second."""
        with self.open() as made:
            made.sendall(WORDS.pack(UP, size))
            began, left = time.perf_counter(), size
            while left:
                left -= made.send(_ROOM[: min(left, len(_ROOM))])
            _take(made, 1)
            return size / (time.perf_counter() - began)

    async def per_s(self, count: int, at_once: int) -> float:
        """Open and close so many connections; returns how many that were in a second."""
        loop = asyncio.get_running_loop()
        left = count

        async def visit() -> None:
            nonlocal left
            while left > 0:
                left -= 1
                _, visit = await loop.create_connection(
                    lambda: _Visit([*self.steps, _ONE_BYTE]), "127.0.0.1", self.port
                )
                await visit.over

        began = time.perf_counter()
        async with asyncio.timeout(_LIMIT_S), asyncio.TaskGroup() as group:
            for _ in range(at_once):
                group.create_task(visit())
        return count / (time.perf_counter() - began)


class _Visit(asyncio.Protocol):
    """A connection that says its words, each after the answer to those before, and is closed by this side."""

    def __init__(self, steps: list[Step]) -> None:
        self._steps = iter(steps)
        self._missing = 0
        self.over: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._next()

    def data_received(self, data: bytes) -> None:
        self._missing -= len(data)
        if self._missing <= 0:
            self._next()

    def connection_lost(self, exc: Exception | None) -> None:
        if not self.over.done():
            self.over.set_exception(exc or ConnectionError("the proxy hung up"))

    def _next(self) -> None:
        step = next(self._steps, None)
        if step is None:
            self.over.set_result(None)
            self._transport.close()
        else:
            words, self._missing = step
            self._transport.write(words)


@contextmanager
def local_port(pipe: str, origin: int = 0, handshake_s: float = 10.0) -> Iterator[tuple[int, int]]:
    """Run the local port as `bench.front_ends` says; gives the process and the port."""
    command = ["bench.front_ends", "front", pipe, str(origin), str(handshake_s)]
    with process(command, "the port") as (pid, line):
        yield pid, int(line)


def _take(made: socket.socket, count: int) -> None:
    while count:
        got = made.recv_into(_ROOM[: min(count, len(_ROOM))])
        if not got:
            raise ConnectionError("the connection was cut short")
        count -= got


def _first_bytes(ways: Sequence[Way], count: int) -> dict[str, Any]:
    """One of each way by turns; what a way adds is the difference of the medians."""
    taken: dict[str, list[float]] = {way.name: [] for way in ways}
    for number in range(count + count // 10):
        for way in ways:
            took_s = way.first_byte_s()
            if number >= count // 10:  # the first ones make code and caches warm
                taken[way.name].append(took_s * 1e3)
    direct = quantile(taken["direct"], 0.5)
    added = {name: round(quantile(values, 0.5) - direct, 3) for name, values in taken.items() if name != "direct"}
    return {name: tail(values, 3) for name, values in taken.items()} | {"added_p50": added}


def _throughput(ways: Sequence[Way], runs: int, size: int) -> dict[str, Any]:
    rates: dict[str, list[float]] = {}
    for _ in range(runs):
        for way in ways:
            rates.setdefault(f"{way.name}_down", []).append(way.down(size) / 1e6)
            rates.setdefault(f"{way.name}_up", []).append(way.up(size) / 1e6)
    return {name: spread(values, 0) for name, values in rates.items()}


def _connections(ways: Sequence[Way], pid: int, options: argparse.Namespace) -> dict[str, Any]:
    import uvloop

    rates: dict[str, list[float]] = {way.name: [] for way in ways}
    costs: dict[str, list[float]] = {way.name: [] for way in ways if way.name != "direct"}
    for _ in range(options.runs):
        for way in ways:
            before = cpu_s([pid])
            rates[way.name].append(uvloop.run(way.per_s(options.connections, options.at_once)))
            if way.name in costs:
                costs[way.name].append((cpu_s([pid]) - before) / options.connections * 1e6)
    return {name: spread(values, 0) for name, values in rates.items()} | {
        f"{name}_cpu_us": spread(values, 0) for name, values in costs.items()
    }


def _measure(pipe: str, options: argparse.Namespace) -> dict[str, Any]:
    with ExitStack() as stack:
        _, origin = stack.enter_context(process(["bench.front_ends", "origin"], "the origin"))
        pid, port = stack.enter_context(local_port(pipe, int(origin)))
        direct, socks = Way("direct", int(origin), DIRECT), Way("socks", port, SOCKS)
        connect = Way("connect", port, CONNECT)
        say(f"front, pipe {pipe}: first bytes …")
        result: dict[str, Any] = {"first_byte_ms": _first_bytes([direct, socks, connect], options.first_bytes)}
        say(f"front, pipe {pipe}: throughput …")
        result["MBps"] = _throughput([direct, socks], options.runs, options.size)
        say(f"front, pipe {pipe}: connections …")
        result["per_s"] = {"at_once": options.at_once} | _connections([direct, socks, connect], pid, options)
        return result


def run(options: argparse.Namespace, _: list[str]) -> dict[str, Any]:
    """Measure, and return the figures."""
    return {pipe: _measure(pipe, options) for pipe in options.pipes}
