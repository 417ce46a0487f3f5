"""`bench engines`: what each QUIC engine moves over one connection, alone and against the other.

Both ends run in this process, on uvloop, over UDP on loopback, with nothing of the tunnel above them: one stream,
written in pieces of 32 KiB. CPU is that of both ends together. Where there is gcc, the floor as well: what UDP costs
without any engine, with datagrams of the size of QUIC's packets.
"""

from __future__ import annotations

import asyncio
import shutil
import subprocess
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, Final

import uvloop

from tunnel.engines import load_engine

if TYPE_CHECKING:
    import argparse

    from tunnel.engines.seam import Connection

TAKES_DEMO_OPTIONS: Final = False
_NAMES: Final = ("aiopquic", "aioquic")
_PIECE: Final = bytes(32 * 1024)
_DIAL_S: Final = 5.0
_LIMIT_S: Final = 120.0
_PLAIN: Final = Path(__file__).with_name("plain_udp.c")
_PACKET: Final = 1440


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--size", type=int, default=40_000_000, help="bytes of each transfer")
    parser.add_argument("--idle", type=int, default=0, help="streams that are open meanwhile and carry nothing")


class _End:
    """One end of a connection: counts what arrives."""

    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        self.received = 0
        self.over = asyncio.Event()
        self.drained = asyncio.Event()

    def stream_received(self, stream: int, data: memoryview, end: bool) -> None:
        self.received += len(data)
        if end:
            self.over.set()

    def stream_reset(self, stream: int) -> None: ...

    def stream_drained(self, stream: int) -> None:
        self.drained.set()

    def datagram_received(self, data: memoryview) -> None: ...

    def connection_closed(self) -> None: ...


async def _transfer(names: tuple[str, str], size: int, idle: int) -> dict[str, Any]:
    """Send bytes from one engine to the other."""
    far: asyncio.Future[_End] = asyncio.get_running_loop().create_future()
    near: list[_End] = []

    def accept(connection: Connection) -> _End:
        far.set_result(_End(connection))
        return far.result()

    def handle(connection: Connection) -> _End:
        near.append(_End(connection))
        return near[0]

    sending, receiving = (load_engine(name) for name in names)
    try:
        await sending.listen(0, accept)
        port = await receiving.listen(0, accept)
        connection = await sending.dial(("127.0.0.1", port), handle, _DIAL_S)
        for _ in range(idle):
            connection.write(connection.open_stream(), b"idle")
        started, cpu = time.monotonic(), time.process_time()
        async with asyncio.timeout(_LIMIT_S):
            await _send(connection, near[0], size)
            await (await far).over.wait()
        took_s, cpu_s = time.monotonic() - started, time.process_time() - cpu
    finally:
        await sending.close()
        await receiving.close()
    return {
        "from": names[0],
        "to": names[1],
        "mb_per_s": round(size / took_s / 1e6, 1),
        "cpu_s_per_gb": round(cpu_s / size * 1e9, 1),
    }


async def _send(connection: Connection, end: _End, size: int) -> None:
    stream = connection.open_stream()
    while size > 0:
        end.drained.clear()
        piece = _PIECE[:size]
        size -= len(piece)
        if not connection.write(stream, piece, end=size == 0):
            await end.drained.wait()


def _plain_udp(size: int) -> dict[str, Any] | None:
    """What the same bytes cost over UDP alone; None without gcc."""
    if shutil.which("gcc") is None:
        return None
    with TemporaryDirectory() as folder:
        program = Path(folder, "plain_udp")
        subprocess.run(["gcc", "-O2", "-o", program, _PLAIN], check=True)
        words = [str(program), str(size), str(_PACKET)]
        told = subprocess.run(words, check=True, capture_output=True, text=True, timeout=_LIMIT_S).stdout
    took_s, cpu_s = map(float, told.split())
    return {"mb_per_s": round(size / took_s / 1e6, 1), "cpu_s_per_gb": round(cpu_s / size * 1e9, 1)}


def run(options: argparse.Namespace, rest: list[str]) -> dict[str, Any]:
    pairs = [(first, second) for first in _NAMES for second in _NAMES]
    transfers = [uvloop.run(_transfer(pair, options.size, options.idle)) for pair in pairs]
    return {
        "size": options.size,
        "idle_streams": options.idle,
        "transfers": transfers,
        "plain_udp": _plain_udp(max(options.size, _PACKET)),
    }
