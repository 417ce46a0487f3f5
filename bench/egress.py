"""`bench egress`: what an exit's own work costs, without a tunnel, and what a browser asks of it.

`flows`: CPU of one flow from the request to its end, with a destination that closes at once. `datagrams`: 1,200 bytes
to a destination that sends them back, at several rates, and how many come back. `browser`: what Chromium asks a SOCKS5
proxy for on a page with four pictures from each of 150 hosts, each 20 ms away.
"""

from __future__ import annotations

import asyncio
import contextlib
import multiprocessing
import socket
import time
from contextlib import contextmanager
from ipaddress import ip_network
from typing import TYPE_CHECKING, Any, Final

import uvloop

from bench.report import say
from core.errors import Reason
from exits.addresses import AddressFilter
from exits.egress import Egress
from exits.policy import Policy
from exits.resolver import SystemResolver

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable, Iterator
    from multiprocessing.connection import Connection

    from core.flow import Buffer, DatagramListener, FlowListener

TAKES_DEMO_OPTIONS: Final = False
AT_ONCE: Final = 50
DATAGRAM: Final = bytes(1200)
HOSTS: Final = 150
PICTURES: Final = 4
DISTANCE_S: Final = 0.02


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--flows", type=int, default=4000)
    parser.add_argument("--rates", default="1042,5000,20000", help="datagrams a second, each way")
    parser.add_argument("--seconds", type=float, default=5.0, help="time for each rate")
    parser.add_argument("--no-browser", action="store_true", help="leave Chromium out")


class _Circuit:
    """What stands for a circuit."""


class _Flow:
    """A flow whose client finishes when its destination does."""

    def __init__(self, circuit: object) -> None:
        self.circuit = circuit
        self.over: asyncio.Future[Reason] = asyncio.get_running_loop().create_future()
        self._listener: FlowListener | None = None

    def attach(self, listener: FlowListener) -> None:
        self._listener = listener

    def accept(self) -> None:
        """The client is not told."""

    def write(self, data: Buffer) -> bool:
        return bool(len(data))

    def finish(self) -> None:
        asyncio.get_running_loop().call_soon(self._finished)

    def _finished(self) -> None:
        assert self._listener is not None
        self._listener.flow_eof()
        self._listener.flow_closed(Reason.DONE)
        self.over.set_result(Reason.DONE)

    def reset(self, reason: Reason) -> None:
        if not self.over.done():
            self.over.set_result(reason)

    def consumed(self, count: int) -> None:
        """Credit is not counted."""


class _Datagrams:
    """An association that counts what comes back."""

    def __init__(self) -> None:
        self.circuit = self
        self.returned = 0
        self.listener: DatagramListener | None = None

    def attach(self, listener: DatagramListener) -> None:
        self.listener = listener

    def accept(self) -> None:
        """The client is not told."""

    def send(self, host: str, port: int, data: Buffer) -> bool:
        self.returned += len(data) == len(DATAGRAM) and bool(host) and port > 0
        return True

    def close(self, reason: Reason) -> None:
        """It is not opened again."""


def _close_at_once(told: Connection) -> None:
    server = socket.create_server(("127.0.0.1", 0), backlog=4096)
    told.send(server.getsockname()[1])
    while True:
        server.accept()[0].close()


def _send_back(told: Connection) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
        sock.bind(("127.0.0.1", 0))
        told.send(sock.getsockname()[1])
        while True:
            sock.sendto(*sock.recvfrom(65536))


@contextmanager
def _destination(work: Callable[[Connection], None]) -> Iterator[int]:
    """A destination in a process of its own; gives its port."""
    here, there = multiprocessing.Pipe()
    process = multiprocessing.get_context("spawn").Process(target=work, args=(there,), daemon=True)
    process.start()
    try:
        yield int(here.recv())
    finally:
        process.kill()
        process.join()


def _egress() -> Egress:
    return Egress(
        resolver=SystemResolver(),
        address_filter=AddressFilter(allow=[ip_network("127.0.0.0/8")]),
        policy=Policy.preset("default"),
    )


async def _flows(count: int) -> dict[str, Any]:
    with _destination(_close_at_once) as port:
        egress, circuit, before = _egress(), _Circuit(), time.process_time()
        for _ in range(count // AT_ONCE):
            flows = [_Flow(circuit) for _ in range(AT_ONCE)]
            for flow in flows:
                egress.flow_requested(flow, "127.0.0.1", port)
            await asyncio.gather(*(flow.over for flow in flows))
        cpu_s = time.process_time() - before
        await egress.stop()
    return {"flows": count, "cpu_us_each": round(cpu_s / count * 1e6), "ended": dict(egress.counters)}


async def _datagrams(rate: int, seconds: float) -> dict[str, Any]:
    loop = asyncio.get_running_loop()
    with _destination(_send_back) as port:
        egress, flow, sent = _egress(), _Datagrams(), 0
        egress.datagrams_requested(flow)
        assert flow.listener is not None
        before, started = time.process_time(), loop.time()
        while (passed := loop.time() - started) < seconds:
            due = int(passed * rate) - sent
            for _ in range(due):
                flow.listener.datagram_came("127.0.0.1", port, DATAGRAM)
            sent += due
            await asyncio.sleep(0.001)
        await asyncio.sleep(0.3)
        cpu_s = time.process_time() - before
        await egress.stop()
    return {
        "per_s": rate,
        "sent_per_s": round(sent / seconds),
        "lost_percent": round(100 * (1 - flow.returned / sent), 2),
        "cpu_us_each": round(cpu_s / (sent + flow.returned) * 1e6, 1),
        "dropped": {word: count for word, count in egress.counters.items() if word.startswith("datagram")},
    }


class _Page:
    """A SOCKS5 proxy that is the whole web: one page, and pictures from many hosts."""

    def __init__(self) -> None:
        self.asked: list[float] = []
        self.hosts: set[bytes] = set()
        self.open = self.most = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(EOFError, ConnectionError):
            await reader.readexactly((await reader.readexactly(2))[1])
            writer.write(b"\5\0")
            await reader.readexactly(4)  # Chromium names hosts
            self.hosts.add(await reader.readexactly((await reader.readexactly(1))[0] + 2))
            writer.write(b"\5\0\0\1" + bytes(6))
            self.asked.append(time.monotonic())
            self.open += 1
            self.most = max(self.most, self.open)
            try:
                while True:
                    await self._answer(await reader.readuntil(b"\r\n\r\n"), writer)
            finally:
                self.open -= 1
        writer.close()

    async def _answer(self, head: bytes, writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(DISTANCE_S)
        kind, body = "image/png", bytes(2000)
        if head.startswith(b"GET / "):
            pictures = [f"<img src=http://h{host}.example.com/{n}>" for n in range(PICTURES) for host in range(HOSTS)]
            kind, body = "text/html", "".join(pictures).encode()
        fields = f"Content-Type: {kind}\r\nContent-Length: {len(body)}\r\nCache-Control: no-store\r\n\r\n"
        writer.write(b"HTTP/1.1 200 OK\r\n" + fields.encode() + body)


async def _browser() -> dict[str, Any]:
    from playwright.async_api import async_playwright

    page = _Page()
    server = await asyncio.start_server(page.serve, "127.0.0.1", 0, backlog=1024)
    proxy = f"--proxy-server=socks5://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    async with async_playwright() as programs:
        browser = await programs.chromium.launch(executable_path="/usr/bin/chromium", args=["--no-sandbox", proxy])
        await (await browser.new_page()).goto("http://page.example.com/", wait_until="load", timeout=60_000)
        await browser.close()
    server.close()
    in_a_second = max(sum(start <= at < start + 1 for at in page.asked) for start in page.asked)
    return {
        "connections": len(page.asked),
        "in_one_second": in_a_second,
        "at_once": page.most,
        "hosts": len(page.hosts),
    }


def run(options: argparse.Namespace, _: list[str]) -> dict[str, Any]:
    """Measure, and return the figures."""
    say("egress: flows …")
    result: dict[str, Any] = {"flows": uvloop.run(_flows(options.flows))}
    say("egress: datagrams …")
    rates = [int(rate) for rate in options.rates.split(",")]
    result["datagrams"] = [uvloop.run(_datagrams(rate, options.seconds)) for rate in rates]
    if not options.no_browser:
        say("egress: a browser …")
        result["browser"] = asyncio.run(_browser())
    return result
