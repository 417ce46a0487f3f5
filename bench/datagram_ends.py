"""Both ends of a stream of datagrams, each numbered and stamped with the moment at which it was sent.

Delays are one way: both ends must read the same clock, so run on the same machine, if in different namespaces.

`python -m bench.datagram_ends far [ADDRESS]` prints a port, and stays until its input ends.
`python -m bench.datagram_ends near PROXY ADDRESS PORT MBIT SECONDS SIZE` streams both ways at once, through a SOCKS5
proxy or, with `direct` in its place, without; prints JSON.
"""

from __future__ import annotations

import asyncio
import json
import math
import socket
import struct
import sys
import time
from contextlib import ExitStack, asynccontextmanager, suppress
from ipaddress import IPv4Address
from typing import TYPE_CHECKING, Any, Final

from bench.figures import tail

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

DIRECT: Final = "direct"
_ASK: Final = struct.Struct(">BIfH")
"""Kind 0, how many datagrams to send, how many a second, of how many bytes."""
_DATA: Final = struct.Struct(">BId")
"""Kind 1, number, moment."""
_REPORT: Final = b"\2"
"""Asks for the tally, which comes behind the same byte."""
_KINDS: Final = {"ask": 0, "data": 1, "report": 2}

_BUFFER_BYTES: Final = 1 << 22
_STEP_S: Final = 0.001
_AGAIN_S: Final = 0.2
_LIMIT_S: Final = 10.0
_LATE_S: Final = 1.0
"""How long the last datagrams may be under way."""


class Tally:
    """What came of the other end's datagrams."""

    def __init__(self) -> None:
        self.delays_s: list[float] = []
        self.reordered = 0
        self._highest = -1

    def take(self, number: int, sent_at: float, now: float) -> None:
        self.delays_s.append(now - sent_at)
        self.reordered += number < self._highest
        self._highest = max(self._highest, number)

    def report(self, sent: int) -> dict[str, Any]:
        """Shares of those that were sent or came, and delays in ms."""
        came = len(self.delays_s)
        return {
            "sent": sent,
            "lost": round(1 - came / sent, 5) if sent else 0.0,
            "reordered": round(self.reordered / came, 5) if came else 0.0,
            "delay_ms": tail([delay * 1e3 for delay in self.delays_s]),
        }


class End:
    """Sends a stream, and tallies that of the other end."""

    def __init__(self, send: Callable[[bytes], None]) -> None:
        self._send = send
        self.tally = Tally()
        self.started = False

    async def stream(self, count: int, per_s: float, size: int) -> None:
        """Send datagrams evenly. What this process was late with follows at once."""
        self.started = True
        padding, began, sent = bytes(size - _DATA.size), time.monotonic(), 0
        while sent < count:
            due = min(count, math.ceil((time.monotonic() - began) * per_s))
            for number in range(sent, due):
                self._send(_DATA.pack(_KINDS["data"], number, time.monotonic()) + padding)
            sent = due
            await asyncio.sleep(_STEP_S)

    def came(self, data: memoryview) -> None:
        """Take a datagram of a stream."""
        if len(data) >= _DATA.size:
            _, number, sent_at = _DATA.unpack_from(data)
            self.tally.take(number, sent_at, time.monotonic())


def _socket(address: str) -> socket.socket:
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    for option in (socket.SO_RCVBUF, socket.SO_SNDBUF):
        sock.setsockopt(socket.SOL_SOCKET, option, _BUFFER_BYTES)
    sock.setblocking(False)
    sock.bind((address, 0))
    return sock


def _read_all(sock: socket.socket, take: Callable[[memoryview, Any], None]) -> None:
    with suppress(BlockingIOError):
        while True:
            data, source = sock.recvfrom(1 << 16)
            take(memoryview(data), source)


# -- far


class Far:
    """The destination: answers whoever asks with a stream of its own."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self._ends: dict[Any, End] = {}
        self._tasks: list[asyncio.Task[None]] = []

    def take(self, data: memoryview, source: Any) -> None:
        end = self._ends.get(source)
        if end is None:
            end = self._ends[source] = End(lambda sent: self._answer(sent, source))
        match data[0]:
            case 0 if len(data) == _ASK.size and not end.started:
                _, count, per_s, size = _ASK.unpack(data)
                end.started = True
                self._tasks.append(asyncio.ensure_future(end.stream(count, per_s, size)))
            case 1:
                end.came(data)
            case 2 if len(data) > 1:
                report = end.tally.report(int.from_bytes(data[1:]))
                self._answer(_REPORT + json.dumps(report).encode(), source)

    def _answer(self, data: bytes, source: Any) -> None:
        with suppress(BlockingIOError):
            self._sock.sendto(data, source)


async def far(address: str = "127.0.0.1") -> None:
    """Be the destination until the input ends."""
    loop = asyncio.get_running_loop()
    with _socket(address) as sock:
        end = Far(sock)
        loop.add_reader(sock, _read_all, sock, end.take)
        sys.stdout.write(f"{sock.getsockname()[1]}\n")
        sys.stdout.flush()
        await loop.run_in_executor(None, sys.stdin.read)


# -- near


@asynccontextmanager
async def _way(proxy: str, host: str, port: int) -> AsyncIterator[tuple[tuple[str, int], bytes]]:
    """Where to send datagrams, and what to put before each."""
    if proxy == DIRECT:
        yield (host, port), b""
        return
    address, _, proxy_port = proxy.rpartition(":")
    reader, writer = await asyncio.open_connection(address, int(proxy_port))
    try:
        writer.write(b"\5\1\0" + b"\5\3\0\1" + bytes(6))
        reply = await asyncio.wait_for(reader.readexactly(2 + 10), _LIMIT_S)
        if reply[3]:
            raise ConnectionError(f"the proxy answered {reply[3]}")
        header = b"\0\0\0\1" + IPv4Address(host).packed + struct.pack(">H", port)
        yield (str(IPv4Address(reply[6:10])), int.from_bytes(reply[10:12])), header
    finally:
        writer.close()


async def near(proxy: str, host: str, port: int, mbit: float, seconds: float, size: int = 1200) -> dict[str, Any]:
    """Stream both ways at once.

    Args:
        proxy: `ADDRESS:PORT`, or `DIRECT`.
        host: an IPv4 address.
        port: of the far end.
        mbit: 10^6 bits of payload a second, each way.
        seconds: for how long.
        size: bytes of payload of each datagram.

    Returns:
        A tally's report for `out` and `back`.
    """
    per_s = mbit * 1e6 / 8 / size
    count = round(per_s * seconds)
    reports: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
    with ExitStack() as stack:
        sock = stack.enter_context(_socket("0.0.0.0"))
        loop = asyncio.get_running_loop()
        async with _way(proxy, host, port) as (where, header):
            end = End(lambda data: _send(sock, header + data, where))

            def take(data: memoryview, source: Any) -> None:
                inner = data[len(header) :]
                if inner[0] == _KINDS["data"]:
                    end.came(inner)
                else:
                    reports.put_nowait(json.loads(bytes(inner[1:])))

            loop.add_reader(sock, _read_all, sock, take)
            stack.callback(loop.remove_reader, sock)
            await _begin(lambda data: _send(sock, header + data, where), end, _ASK.pack(0, count, per_s, size))
            await end.stream(count, per_s, size)
            await _settle(end, count)
            while reports.empty():
                _send(sock, header + _REPORT + count.to_bytes(4), where)
                await asyncio.sleep(_AGAIN_S)
            return {"out": reports.get_nowait(), "back": end.tally.report(count)}


def _send(sock: socket.socket, data: bytes, where: tuple[str, int]) -> None:
    with suppress(BlockingIOError):
        sock.sendto(data, where)


async def _begin(send: Callable[[bytes], None], end: End, ask: bytes) -> None:
    """Ask for the far end's stream until it comes."""
    limit = time.monotonic() + _LIMIT_S
    while not end.tally.delays_s:
        if time.monotonic() > limit:
            raise SystemExit("the far end did not answer")
        send(ask)
        await asyncio.sleep(_AGAIN_S)


async def _settle(end: End, count: int) -> None:
    """Wait until all have come, or it has been quiet for a while."""
    came = -1
    while came < len(end.tally.delays_s) < count:
        came = len(end.tally.delays_s)
        await asyncio.sleep(_LATE_S)


if __name__ == "__main__":
    import uvloop

    match sys.argv[1:]:
        case ["far", *rest]:
            uvloop.run(far(*rest))
        case ["near", proxy, host, port, mbit, seconds, size]:
            print(json.dumps(uvloop.run(near(proxy, host, int(port), float(mbit), float(seconds), int(size)))))
        case _:
            raise SystemExit(__doc__)
