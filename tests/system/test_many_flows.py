"""Thousands of flows through a whole network, and exits that run out of descriptors."""

from __future__ import annotations

import asyncio
import contextlib
import os
import resource
import socket
from pathlib import Path
from typing import TYPE_CHECKING, Self

import pytest

from bench import socks
from tests.harness.demo import alive, status_of
from tests.harness.waiting import until
from tunnel.limits import CLIENT_BYTES

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.harness.demo import Demo

pytestmark = pytest.mark.system

AT_ONCE = 2000
ROUND = 100
ROUND_S = 20.0
UNREAD = 1400
KERNEL_BYTES = 1 << 14
BEYOND = 1.3
"""By so much a client may grow beyond what its flows may take: 15 MB of it are the QUIC engine's, in relays as well."""

type Connection = tuple[asyncio.StreamReader, asyncio.StreamWriter]


def descriptors(pid: int) -> int:
    return len(os.listdir(f"/proc/{pid}/fd"))


def memory_mb(pid: int) -> float:
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * 4096 / 1e6


@contextlib.contextmanager
def descriptor_limit(pid: int, wanted: int) -> Iterator[None]:
    """Let a process have so many descriptors."""
    before = resource.prlimit(pid, resource.RLIMIT_NOFILE)
    resource.prlimit(pid, resource.RLIMIT_NOFILE, (wanted, before[1]))
    try:
        yield
    finally:
        resource.prlimit(pid, resource.RLIMIT_NOFILE, before)


class Echo:
    """A destination in this process."""

    def __init__(self) -> None:
        self._server: asyncio.Server | None = None
        self.port = 0
        self.open_connections = 0

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0, backlog=1024)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._server is not None
        self._server.close()
        await until(lambda: self.open_connections == 0, ROUND_S)
        await self._server.wait_closed()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.open_connections += 1
        with contextlib.suppress(ConnectionError):
            while data := await reader.read(1024):
                writer.write(data)
        writer.close()
        self.open_connections -= 1


async def connect(demo: Demo, port: int, user: str) -> Connection | None:
    """Open a flow to a port of loopback and send something through it; None if that does not come back."""
    host, _, proxy_port = demo.proxy.rpartition(":")
    reader, writer = await asyncio.open_connection(host, int(proxy_port))
    try:
        async with asyncio.timeout(ROUND_S):
            name = user.encode()
            writer.write(b"\5\1\2\1" + bytes([len(name)]) + name + b"\1x" + b"\5\1\0\1\x7f\0\0\1" + port.to_bytes(2))
            await reader.readexactly(4)
            answer = await reader.readexactly(10)
            writer.write(b"hello")
            if answer[1] == 0 and await reader.readexactly(5) == b"hello":
                return reader, writer
    except (OSError, EOFError, TimeoutError):
        pass
    writer.close()
    return None


class Spring:
    """A destination that sends for as long as anybody takes it."""

    async def __aenter__(self) -> Self:
        # The kernel has but so much for all connections of the machine, so each gets little of it (tcp(7), tcp_mem).
        listening = socket.create_server(("127.0.0.1", 0), backlog=1024)
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, KERNEL_BYTES)
        self._server = await asyncio.start_server(self._serve, sock=listening)
        self.port = listening.getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        await self._server.wait_closed()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError):
            while True:
                writer.write(bytes(KERNEL_BYTES))
                await writer.drain()


def leave_unread(stack: contextlib.ExitStack, demo: Demo, port: int, count: int) -> None:
    """Open so many flows to a port of loopback, and read nothing that comes."""
    for _ in range(count):
        stack.enter_context(socks.connect(demo.proxy, "127.0.0.1", port, "unread", ROUND_S, KERNEL_BYTES))


async def connect_many(demo: Demo, port: int, count: int, users: list[str]) -> list[Connection]:
    """Open so many flows, `ROUND` at a time; those that could not be opened are left out."""
    opened: list[Connection] = []
    for start in range(0, count, ROUND):
        asked = [connect(demo, port, users[number % len(users)]) for number in range(start, min(start + ROUND, count))]
        opened += [one for one in await asyncio.gather(*asked) if one is not None]
    return opened


async def close(connections: list[Connection]) -> None:
    for _, writer in connections:
        writer.close()
    await asyncio.gather(*(writer.wait_closed() for _, writer in connections), return_exceptions=True)


async def test_two_thousand_flows_at_once_and_as_many_in_turn(demo: Demo) -> None:
    pids, exits, users = demo.pids(), demo.pids("exit"), ["many-1", "many-2", "many-3"]
    async with Echo() as echo:
        await close(await connect_many(demo, echo.port, 3 * ROUND, users))
        await until(lambda: echo.open_connections == 0, ROUND_S)
        before = max(descriptors(pid) for pid in exits)
        flows = await connect_many(demo, echo.port, AT_ONCE, users)
        assert len(flows) == AT_ONCE
        assert sum(descriptors(pid) for pid in exits) > AT_ONCE
        await close(flows)
        # What flows at once took, the allocator keeps; what flows in turn leave behind would come on top of it.
        full = {pid: memory_mb(pid) for pid in pids}
        for _ in range(AT_ONCE // ROUND):
            flows = await connect_many(demo, echo.port, ROUND, users)
            assert len(flows) == ROUND
            await close(flows)
        await until(lambda: all(descriptors(pid) <= before + 20 for pid in exits), ROUND_S)
    assert all(memory_mb(pid) < full[pid] + 30 for pid in pids)
    assert all(alive(pid) for pid in pids)


async def test_exits_without_descriptors_refuse_and_recover(demo: Demo) -> None:
    homes = [Path(entry["home"]) for entry in demo.facts["processes"] if entry["role"] == "exit"]
    async with Echo() as echo:
        with contextlib.ExitStack() as limits:
            for pid in demo.pids("exit"):
                limits.enter_context(descriptor_limit(pid, 160))
            flows = await connect_many(demo, echo.port, 400, ["few-1", "few-2", "few-3"])
            assert 20 < len(flows) < 400
            for home in homes:
                assert status_of(home)["state"] == "up"
            busy = [status_of(home)["counters"]["exit"].get("busy", 0) for home in homes]
            assert sum(busy) > 0
            await close(flows)
            again = await connect_many(demo, echo.port, 10, ["few-1", "few-2", "few-3"])
            assert len(again) == 10
            await close(again)
    assert all(alive(pid) for pid in demo.pids())


@pytest.mark.long
async def test_what_nobody_reads_takes_no_more_of_a_client_than_its_bound(demo: Demo) -> None:
    """Each as full as it may be, the client grew by 115 kB for each, 161 MB, before it was kept to its bound."""
    [client] = demo.pids("client")
    before, shed = memory_mb(client), demo.status()["counters"]["memory"]["shed"]
    async with Spring() as spring:
        with contextlib.ExitStack() as held:
            await asyncio.to_thread(leave_unread, held, demo, spring.port, UNREAD)
            await until(lambda: demo.status()["counters"]["memory"]["shed"] > shed, 2 * ROUND_S)
            assert memory_mb(client) < before + BEYOND * CLIENT_BYTES / 1e6
            async with Echo() as echo:
                other = await connect(demo, echo.port, "unread")
                assert other is not None, "there is room for what is read"
                await close([other])
        await until(lambda: not demo.status()["flows"], 2 * ROUND_S)
