"""`bench flood`: thousands of connections to the local port, opened at once and held, of each kind after the other.

`silent` ones say nothing; those of `half_socks` and `half_http` stop in their request; `granted` ones have a flow and
do not use it; `used` ones have got a byte through it; `unread` ones ask for much and never read. Beside them a request
is made as a browser would, and at the end stands when those were cut that never said what they want.
"""

from __future__ import annotations

import asyncio
import resource
import time
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Final, cast

from bench.figures import spread, tail
from bench.front import SOCKS, Way, local_port
from bench.front_ends import DOWN, WORDS
from bench.network import process
from bench.processes import memory_mb, peak_mb, reset_peak
from bench.report import say

if TYPE_CHECKING:
    import argparse
    from collections.abc import AsyncIterator, Iterable

TAKES_DEMO_OPTIONS: Final = False
_ASK: Final = b"".join(words for words, _ in SOCKS)
_MUCH: Final = 1 << 19
MOST_UNREAD: Final = 1000
"""More would fill what the kernel has for TCP (tcp(7), tcp_mem), which is the whole machine's."""
_LIMIT_S: Final = 60.0
_GRACE_S: Final = 3.0
VISITS: Final = 20
_BETWEEN_S: Final = 0.1
_KEPT_BYTES: Final = 64
"""What is kept of an answer: enough to tell which it is."""


@dataclass(frozen=True, slots=True)
class Kind:
    """What all connections of a flood do.

    Args:
        words: what each says.
        answered: how many bytes it gets when it is let in.
        slow: it has not said what it wants, so it shall be cut.
        reads: it reads what it gets.
        most: of them at most.
    """

    words: bytes
    answered: int = 0
    slow: bool = False
    reads: bool = True
    most: int = 1 << 16


KINDS: Final = {
    "silent": Kind(b"", slow=True),
    "half_socks": Kind(b"\5\1\0\5\1\0\3\x0corigin", answered=2, slow=True),
    "half_http": Kind(b"GET http://origin.bench/ HTTP/1.1\r\nHost: ", slow=True),
    "granted": Kind(_ASK, answered=12),
    "used": Kind(_ASK + WORDS.pack(DOWN, 1), answered=13),
    "unread": Kind(_ASK + WORDS.pack(DOWN, _MUCH), reads=False, most=MOST_UNREAD),
}


class Held(asyncio.Protocol):
    """A connection that says its words and stays.

    Attributes:
        came: the beginning of what came.
        lasted_s: how long it lasted; None while it does.
    """

    def __init__(self, kind: Kind) -> None:
        self.kind = kind
        self._began_s = time.monotonic()
        self.came = b""
        self.lasted_s: float | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)
        self.transport.write(self.kind.words)
        if not self.kind.reads:
            # An event loop may begin to read only after this call.
            asyncio.get_running_loop().call_soon(self.transport.pause_reading)

    def data_received(self, data: bytes) -> None:
        self.came += data[: _KEPT_BYTES - len(self.came)]

    def connection_lost(self, exc: Exception | None) -> None:
        self.lasted_s = time.monotonic() - self._began_s

    @property
    def settled(self) -> bool:
        """Whether it has got what it will get."""
        return self.lasted_s is not None or len(self.came) >= self.kind.answered

    @property
    def refused(self) -> bool:
        """Whether it was told no, in its own language."""
        return self.came.startswith((b"\5\0\5\1", b"HTTP/1.1 503 "))


@asynccontextmanager
async def held(port: int, kinds: Iterable[Kind]) -> AsyncIterator[list[Held]]:
    """Open a connection of each kind, all at once, and wait until each has its answer. They are reset at the end."""
    loop = asyncio.get_running_loop()
    asked = [loop.create_connection(partial(Held, kind), "127.0.0.1", port) for kind in kinds]
    connections = []
    try:
        async with asyncio.timeout(_LIMIT_S):
            for opened in asyncio.as_completed(asked):
                connections.append((await opened)[1])
            while not all(connection.settled for connection in connections):  # noqa: ASYNC110
                await asyncio.sleep(0.02)
        yield connections
    finally:
        for connection in connections:
            connection.transport.abort()


async def visits(way: Way, count: int) -> AsyncIterator[float]:
    """Ask now and then, as a person does; gives the seconds to the first byte of those that were answered."""
    for _ in range(count):
        with suppress(ConnectionError):
            yield await asyncio.to_thread(way.first_byte_s)
        await asyncio.sleep(_BETWEEN_S)


async def flood(port: int, pid: int, kind: Kind, options: argparse.Namespace) -> dict[str, Any]:
    """Measure one kind."""
    browser = Way("socks", port, SOCKS)
    before = memory_mb(pid)
    reset_peak(pid)
    began = time.monotonic()
    async with held(port, [kind] * min(options.count, kind.most)) as connections:
        took_s = time.monotonic() - began
        next_ms = [took_s * 1e3 async for took_s in visits(browser, VISITS)]
        result = {
            "all_after_s": round(took_s, 2),
            "open": sum(connection.lasted_s is None for connection in connections),
            "told_no": sum(connection.refused for connection in connections),
            "next_requests": VISITS,
            "answered": len(next_ms),
            "answer_ms": tail(next_ms),
        }
        if kind.slow:
            at_first = [connection for connection in connections if connection.lasted_s is None]
            await asyncio.sleep(max(0.0, options.handshake_s + _GRACE_S - (time.monotonic() - began)))
            lasted = [connection.lasted_s for connection in at_first if connection.lasted_s is not None]
            result |= {"cut": len(lasted), "cut_after_s": spread(lasted)}
        else:
            await asyncio.sleep(_GRACE_S)  # until what nobody reads has piled up
        return result | {"before_MB": round(before, 1), "peak_MB": round(peak_mb(pid), 1)}


def raise_file_limit() -> None:
    """Take as many descriptors as the system allows; what is started later has them, too."""
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--only", nargs="+", choices=KINDS, default=list(KINDS))
    parser.add_argument("--pipe", choices=["memory", "tcp"], default="tcp")
    parser.add_argument("--count", type=int, default=5000)
    parser.add_argument("--handshake-s", type=float, default=10.0, help="the port's limit; 10 is a node's")


def run(options: argparse.Namespace, _: list[str]) -> dict[str, Any]:
    """Measure, and return the figures."""
    import uvloop

    raise_file_limit()
    result: dict[str, Any] = {"connections": options.count, "pipe": options.pipe}
    for name in options.only:
        say(f"flood: {name} …")
        with (
            process(["bench.front_ends", "origin"], "the origin") as (_pid, origin),
            local_port(options.pipe, int(origin), options.handshake_s) as (pid, port),
        ):
            result[name] = uvloop.run(flood(port, pid, KINDS[name], options))
    return result
