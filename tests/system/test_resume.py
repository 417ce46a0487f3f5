"""Connections that do not notice that their path dies, falls silent and changes."""

from __future__ import annotations

import asyncio
import hashlib
import os
import signal
import subprocess
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest
from websockets.asyncio.client import connect
from websockets.asyncio.server import serve

from tests.harness.demo import Demo, alive, until
from tests.harness.origin import content

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from websockets.asyncio.server import ServerConnection

    from tests.harness.origin import Origin

pytestmark = pytest.mark.system

SIZE = 150_000_000
FLOWS = 50
MESSAGES = 1000
BETWEEN_S = 0.004
"""Between two messages."""


def _busy(demo: Demo) -> dict[str, Any] | None:
    circuits = demo.node.route()["circuits"]
    return next((circuit for circuit in circuits if circuit["flows"]), None)


class Trouble:
    """What happens to the path of the flows that a demo carries."""

    def __init__(self, demo: Demo) -> None:
        self._demo = demo
        self._stopped: list[int] = []

    def _pid(self, place: int) -> int:
        """The process at a place of the circuit that carries the flows, once all of its processes run."""

        def find() -> int:
            circuit = _busy(self._demo)
            by_peer = {entry["peer_id"]: entry["pid"] for entry in self._demo.facts["processes"]}
            pids = [by_peer[hop["peer_id"]] for hop in circuit["hops"]] if circuit else []
            runs = bool(pids) and all(map(alive, pids)) and not set(pids) & set(self._stopped)
            return pids[place] if runs else 0

        found: int = until("a living circuit with a flow", find, 20)
        return found

    def kill(self, place: int) -> None:
        os.kill(self._pid(place), signal.SIGKILL)

    def stop(self, place: int) -> None:
        """Let a process hang: it says nothing, and nothing says that it is gone."""
        pid = self._pid(place)
        self._stopped.append(pid)
        os.kill(pid, signal.SIGSTOP)

    def hop(self) -> None:
        self._demo.node.hop()

    def deaths_and_hops(self) -> None:
        """The guard's successor dies, then a guard, then the route is changed again and again."""
        self.kill(1)
        time.sleep(2.5)
        self.kill(0)
        time.sleep(2.5)
        for _ in range(3):
            self.hop()
            time.sleep(0.3)

    def silence(self) -> None:
        """The guard's successor hangs, then a guard."""
        self.stop(1)
        time.sleep(2.5)
        self.stop(0)

    def end(self) -> None:
        for pid in self._stopped:
            os.kill(pid, signal.SIGCONT)


@contextmanager
def _demo(log: Path) -> Iterator[tuple[Demo, Trouble]]:
    with Demo("--relays", "6", "--allow-destination", "127.0.0.0/8", log=log) as demo:
        trouble = Trouble(demo)
        try:
            yield demo, trouble
        finally:
            trouble.end()


def _curl(demo: Demo, *what: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen(["curl", "-sS", "--noproxy", "", "--socks5-hostname", demo.proxy, *what])


def _connections(origin: Origin, before: int) -> int:
    return [host for _, host in origin.seen[before:]].count("")


@pytest.mark.parametrize("way", ["down", pytest.param("up", marks=pytest.mark.long)])
def test_a_transfer_survives_death_and_hops(origin: Origin, tmp_path: Path, way: str) -> None:
    target, source = tmp_path / "target", tmp_path / "source"
    url = f"http://127.0.0.1:{origin.http}"
    if way == "down":
        what = ["-o", str(target), f"{url}/bytes/{SIZE}"]
    else:
        source.write_bytes(content(SIZE))
        what = ["-o", str(target), "-H", "Expect:", "--data-binary", f"@{source}", f"{url}/"]
    with _demo(tmp_path / "log") as (demo, trouble):
        before = len(origin.seen)
        transfer = _curl(demo, "--limit-rate", "14M", *what)
        try:
            # Before, a flow that lost its path would be opened a second time: nothing was sent on it.
            until("the request", lambda: len(origin.seen) - before == 2)
            trouble.deaths_and_hops()
            assert transfer.wait(60) == 0
        finally:
            transfer.kill()
            transfer.wait()
        digest = hashlib.sha256(content(SIZE))
        if way == "down":
            assert hashlib.sha256(target.read_bytes()).digest() == digest.digest()
        else:
            assert target.read_text() == digest.hexdigest()
        assert _connections(origin, before) == 1


@pytest.mark.long
def test_fifty_transfers_at_once_survive_death_and_hops(origin: Origin, tmp_path: Path) -> None:
    first = 1_400_001
    sizes = range(first, first + FLOWS)
    with _demo(tmp_path / "log") as (demo, trouble):
        before = len(origin.seen)
        urls = f"http://127.0.0.1:{origin.http}/bytes/[{sizes[0]}-{sizes[-1]}]"
        together = ["--parallel", "--parallel-immediate", "--parallel-max", str(FLOWS), "--limit-rate", "150K"]
        transfer = _curl(demo, *together, "-o", str(tmp_path / "#1"), urls)
        try:
            until("all connections", lambda: _connections(origin, before) == FLOWS)
            until("first bytes of all", lambda: all((tmp_path / str(size)).exists() for size in sizes))
            trouble.deaths_and_hops()
            assert transfer.wait(60) == 0
        finally:
            transfer.kill()
            transfer.wait()
        assert [(tmp_path / str(size)).read_bytes() == content(size) for size in sizes] == [True] * FLOWS
        assert _connections(origin, before) == FLOWS


@pytest.mark.parametrize("what", ["deaths_and_hops", pytest.param("silence", marks=pytest.mark.long)])
async def test_a_web_socket_survives(tmp_path: Path, what: str) -> None:
    """1,000 messages or more, there and back; the longest that one takes is how long the path's trouble is felt."""
    connections: list[ServerConnection] = []

    async def echo(connection: ServerConnection) -> None:
        connections.append(connection)
        async for message in connection:
            await connection.send(message)

    with _demo(tmp_path / "log") as (demo, trouble):
        async with serve(echo, "127.0.0.1", 0, ping_interval=None) as server:
            port = server.sockets[0].getsockname()[1]
            async with connect(f"ws://127.0.0.1:{port}", proxy=f"http://{demo.proxy}", ping_interval=None) as socket:
                happening = asyncio.create_task(asyncio.to_thread(getattr(trouble, what)))
                longest_s = 0.0
                number = 0
                while number < MESSAGES or not happening.done():
                    number += 1
                    start = time.monotonic()
                    text = f"{number} {'x' * (number * 7 % 3000)}"
                    await socket.send(text)
                    assert await asyncio.wait_for(socket.recv(), 20) == text
                    longest_s = max(longest_s, time.monotonic() - start)
                    await asyncio.sleep(BETWEEN_S)
                await happening
    print(f"longest stall: {longest_s:.2f} s")
    assert len(connections) == 1
    assert longest_s < 8
