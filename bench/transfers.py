"""Transfers that run for a while beside whatever happens to the network, and note when they made progress."""

from __future__ import annotations

import hashlib
import os
import subprocess
import threading
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Final, Protocol

from websockets.exceptions import WebSocketException
from websockets.sync.client import ClientConnection
from websockets.sync.client import connect as connect_websocket

from bench import socks
from bench.content import STEP_S, content, digest, due

if TYPE_CHECKING:
    from collections.abc import Callable

    from bench.witness import Witness

ECHO_EVERY_S: Final = 0.02
_READ: Final = 1 << 18
_FILLER: Final = "." * 1000


class Transfer(Protocol):
    """One or more flows under way.

    Attributes:
        connections: how many the origin should see.
    """

    connections: int

    @property
    def moments(self) -> list[list[float]]:
        """When each flow made progress, as the receiving program saw it."""

    def running(self) -> bool:
        """Whether it goes on."""

    def finish(self, limit_s: float) -> bool:
        """Wait for the end; returns whether every byte arrived, once and in order. Ends it at the limit."""


def _curl(proxy: str, *arguments: str, stdin: int = subprocess.DEVNULL) -> subprocess.Popen[bytes]:
    command = ["curl", "-s", "-N", "--noproxy", "", "--socks5-hostname", proxy, *arguments]
    return subprocess.Popen(command, stdin=stdin, stdout=subprocess.PIPE)


class Downloads:
    """Downloads by curl, each hashed as it comes.

    Args:
        proxy: `ADDRESS:PORT` of the SOCKS5 proxy.
        witness: the origin.
        count: how many at once.
        size: bytes of each.
        rate: bytes per second of each.
        by_origin: the origin keeps to the rate, so that nothing waits anywhere and every byte is fresh; else curl
            does (`--limit-rate`), and what waits before it hides a part of each pause.
    """

    def __init__(self, proxy: str, witness: Witness, count: int, size: int, rate: int, *, by_origin: bool) -> None:
        self.connections = count
        self.moments: list[list[float]] = [[] for _ in range(count)]
        self._digest = digest(size)
        self._digests = [""] * count
        url = f"http://127.0.0.1:{witness.http}/{size}"
        arguments = [f"{url}/{rate}"] if by_origin else ["--limit-rate", str(rate), url]
        self._curls = [_curl(proxy, *arguments) for _ in range(count)]
        self._readers = [threading.Thread(target=self._read, args=(number,), daemon=True) for number in range(count)]
        for reader in self._readers:
            reader.start()

    def _read(self, number: int) -> None:
        output, state = self._curls[number].stdout, hashlib.sha256()
        assert output is not None
        while part := os.read(output.fileno(), _READ):
            self.moments[number].append(time.monotonic())
            state.update(part)
        self._digests[number] = state.hexdigest()

    def running(self) -> bool:
        return any(reader.is_alive() for reader in self._readers)

    def finish(self, limit_s: float) -> bool:
        codes = _end(self._curls, limit_s)
        for reader in self._readers:
            reader.join()
        return not any(codes) and all(found == self._digest for found in self._digests)


class Upload:
    """An upload by curl of what is fed to it at a steady rate, hashed at the origin.

    Args:
        proxy, witness, size, rate: as for `Downloads`.
    """

    connections = 1

    def __init__(self, proxy: str, witness: Witness, size: int, rate: int) -> None:
        self._witness = witness
        self._digest = digest(size)
        # Without a length in advance curl would send chunks.
        headers = ["-H", "Expect:", "-H", "Transfer-Encoding:", "-H", f"Content-Length: {size}"]
        url = f"http://127.0.0.1:{witness.http}/"
        self._curl = _curl(proxy, *headers, "-T", "-", url, stdin=subprocess.PIPE)
        self._feeder = threading.Thread(target=self._feed, args=(size, rate), daemon=True)
        self._feeder.start()

    def _feed(self, size: int, rate: int) -> None:
        assert self._curl.stdin is not None
        sent, started = 0, time.monotonic()
        with suppress(BrokenPipeError), self._curl.stdin as pipe:
            while sent < size:
                upto = due(size, rate, time.monotonic() - started)
                for part in content(sent, upto):
                    pipe.write(part)
                pipe.flush()
                sent = upto
                time.sleep(STEP_S)

    @property
    def moments(self) -> list[list[float]]:
        return [self._witness.uploaded]

    def running(self) -> bool:
        return self._curl.poll() is None

    def finish(self, limit_s: float) -> bool:
        code = _end([self._curl], limit_s)[0]
        self._feeder.join()
        assert self._curl.stdout is not None
        return code == 0 and self._curl.stdout.read().decode() == self._digest


def _end(processes: list[subprocess.Popen[bytes]], limit_s: float) -> list[int]:
    """Wait for processes, and kill those that still run at the limit. Returns their exit codes."""
    end = time.monotonic() + limit_s
    for process in processes:
        try:
            process.wait(max(0.0, end - time.monotonic()))
        except subprocess.TimeoutExpired:
            process.kill()
    return [process.wait() for process in processes]


class Echo:
    """A WebSocket whose messages go out at a steady beat and come back in order.

    Args:
        proxy, witness: as for `Downloads`.
        count: messages.
    """

    connections = 1

    def __init__(self, proxy: str, witness: Witness, count: int) -> None:
        self.moments: list[list[float]] = [[]]
        self._count = count
        self._right = 0
        self._link = self._connect(proxy, witness.echo)
        self._threads = [self._spawn(self._send), self._spawn(self._receive)]

    @staticmethod
    def _connect(proxy: str, port: int) -> ClientConnection:
        made = socks.connect(proxy, "127.0.0.1", port)
        made.settimeout(None)
        return connect_websocket(f"ws://127.0.0.1:{port}/", sock=made, proxy=None, ping_interval=None)

    @staticmethod
    def _spawn(work: Callable[[], None]) -> threading.Thread:
        thread = threading.Thread(target=work, daemon=True)
        thread.start()
        return thread

    def _send(self) -> None:
        started = time.monotonic()
        try:
            for number in range(self._count):
                time.sleep(max(0.0, started + number * ECHO_EVERY_S - time.monotonic()))
                self._link.send(f"{number}{_FILLER}")
        except (WebSocketException, OSError):
            return  # the receiver finds out as well, and what is missing shows in its count

    def _receive(self) -> None:
        try:
            for number in range(self._count):
                if self._link.recv() != f"{number}{_FILLER}":
                    return
                self.moments[0].append(time.monotonic())
                self._right += 1
        except (WebSocketException, OSError):
            return

    def running(self) -> bool:
        return self._threads[1].is_alive()

    def finish(self, limit_s: float) -> bool:
        self._threads[1].join(limit_s)
        self._link.close()
        return self._right == self._count
