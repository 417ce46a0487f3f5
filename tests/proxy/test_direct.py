"""Connections past the tunnel: one function, never to the node itself."""

from __future__ import annotations

import ast
import asyncio
import socket
from ipaddress import ip_address
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import proxy
from core.errors import FlowError, Reason
from proxy.direct import READ_BYTES, DirectFlow, connect_direct, reaches_this_machine
from tests.proxy.harness import LIMIT_S, Stage, until

if TYPE_CHECKING:
    from core.flow import Buffer

OPENING = {"create_connection", "open_connection", "sock_connect", "connect", "connect_ex", "create_datagram_endpoint"}
OPENING |= {"create_unix_connection", "urlopen", "getaddrinfo", "gethostbyname", "sendto"}


class Heard:
    """A listener that keeps everything.

    Args:
        flow: takes more, as soon as what came is dealt with; None for one that deals with nothing.
    """

    def __init__(self, flow: DirectFlow | None = None) -> None:
        self._flow = flow
        self.data = bytearray()
        self.eof = False
        self.closed: Reason | None = None
        self.writable = 0

    def flow_data(self, data: Buffer) -> None:
        self.data += data
        if self._flow is not None:
            self._flow.consumed(len(data))

    def flow_eof(self) -> None:
        self.eof = True

    def flow_writable(self) -> None:
        self.writable += 1

    def flow_closed(self, reason: Reason) -> None:
        self.closed = reason


def test_only_one_module_opens_connections() -> None:
    found = set()
    for path in Path(proxy.__file__).parent.glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in OPENING:
                found.add(path.name)
    assert found == {"direct.py", "udp.py"}, "the latter answers its client, to whom alone `test_udp` sees it send"


async def test_both_ways_and_both_ends(stage: Stage) -> None:
    site = await stage.site()
    flow = await connect_direct("127.0.0.1", site.port, ())
    heard = Heard(flow)
    flow.attach(heard)
    flow.write(bytearray(b"hello"))
    await until(lambda: heard.data == b"hello")
    assert not heard.eof
    flow.finish()
    await until(lambda: heard.closed is not None)
    assert (heard.eof, heard.closed) == (True, Reason.DONE)


async def test_bytes_wait_for_the_listener(stage: Stage) -> None:
    async def greet(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"welcome")
        writer.write_eof()
        await reader.read()

    site = await stage.site(greet)
    flow = await connect_direct("localhost", site.port, ())
    await asyncio.sleep(0.05)
    heard = Heard(flow)
    flow.attach(heard)
    await until(lambda: heard.eof)
    assert heard.data == b"welcome"
    flow.finish()
    await until(lambda: heard.closed is Reason.DONE)


async def test_what_is_not_consumed_is_not_read(stage: Stage) -> None:
    sent = 0

    async def flood(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal sent
        while sent < 64 << 20:
            writer.write(bytes(1 << 16))
            await writer.drain()
            sent += 1 << 16

    site = await stage.site(flood)
    flow = await connect_direct("127.0.0.1", site.port, ())
    heard = Heard()
    flow.attach(heard)
    await until(lambda: len(heard.data) > 0)
    stuck = -1
    while stuck != sent:
        stuck = sent
        await asyncio.sleep(0.1)
    assert len(heard.data) <= READ_BYTES
    assert sent < 32 << 20
    before = len(heard.data)
    flow.consumed(before)
    await until(lambda: len(heard.data) > before)
    flow.reset(Reason.LOCAL)


async def test_full_connection_says_so(stage: Stage) -> None:
    go = asyncio.Event()

    async def later(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await go.wait()
        while await reader.read(1 << 16):
            pass

    site = await stage.site(later)
    flow = await connect_direct("127.0.0.1", site.port, ())
    heard = Heard(flow)
    flow.attach(heard)
    await until(lambda: not flow.write(bytes(1 << 18)))
    assert heard.writable == 0
    go.set()
    await until(lambda: heard.writable == 1)
    flow.reset(Reason.LOCAL)
    await asyncio.sleep(0)
    assert heard.closed is None, "the listener of a flow that was reset gets no call"


async def test_cut_connection_is_a_reset(stage: Stage) -> None:
    async def cut(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readexactly(1)
        writer.transport.abort()

    site = await stage.site(cut)
    flow = await connect_direct("127.0.0.1", site.port, ())
    heard = Heard(flow)
    flow.attach(heard)
    flow.write(b"many bytes that are not read")
    await until(lambda: heard.closed is not None or heard.eof)
    flow.write(b"x")
    flow.finish()
    await until(lambda: heard.closed is not None)


@pytest.mark.parametrize("all_said", [True, False])
async def test_a_site_sees_whether_all_was_said(stage: Stage, all_said: bool) -> None:
    ends: list[str] = []

    async def note(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await reader.readexactly(6)
            ends.append("got a part")
            ends.append("clean" if await reader.read() == b"" else "more")
        except ConnectionResetError:
            ends.append("reset")

    site = await stage.site(note)
    flow = await connect_direct("127.0.0.1", site.port, ())
    flow.attach(Heard())
    flow.write(b"a part")
    await until(lambda: bool(ends))
    if all_said:
        flow.finish()
    else:
        flow.reset(Reason.LOCAL)
    await until(lambda: len(ends) == 2)
    assert ends[1] == ("clean" if all_said else "reset")


async def test_refused_and_unknown() -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        with pytest.raises(FlowError) as refused:
            await connect_direct("127.0.0.1", unused.getsockname()[1], ())
    assert refused.value.reason is Reason.REFUSED
    with pytest.raises(FlowError) as unknown:
        await connect_direct("a" * 64 + ".invalid", 80, ())
    assert unknown.value.reason is Reason.NO_NAME


async def test_every_address_of_a_name_is_tried(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    site = await stage.site()
    resolves_to(monkeypatch, "127.0.0.77", "127.0.0.1")
    async with asyncio.timeout(LIMIT_S):
        flow = await connect_direct("printer.local", site.port, ())
    heard = Heard(flow)
    flow.attach(heard)
    flow.reset(Reason.LOCAL)
    await until(lambda: site.connections == 1)


@pytest.mark.parametrize(
    "host", ["127.0.0.1", "127.9.8.7", "0.0.0.0", "::1", "::ffff:127.0.0.1", "localhost", "a.localhost."]
)
async def test_own_port_is_never_reached(stage: Stage, host: str) -> None:
    site = await stage.site()
    with pytest.raises(FlowError) as refused:
        await connect_direct(host, site.port, {site.port})
    assert refused.value.reason is Reason.NOT_ALLOWED
    assert site.connections == 0


async def test_own_port_is_never_reached_by_a_name(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    site = await stage.site()
    resolves_to(monkeypatch, "192.0.2.1", "127.0.0.1")
    with pytest.raises(FlowError) as refused:
        await connect_direct("rebound.local", site.port, {site.port})
    assert refused.value.reason is Reason.NOT_ALLOWED
    assert site.connections == 0


def test_addresses_of_this_machine() -> None:
    assert reaches_this_machine(ip_address("127.0.0.1"))
    assert not reaches_this_machine(ip_address("192.0.2.1"))
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))
        except OSError:
            pytest.skip("this machine has no route to another network, and so no address to look for")
        assert reaches_this_machine(ip_address(probe.getsockname()[0]))


def resolves_to(monkeypatch: pytest.MonkeyPatch, *addresses: str) -> None:
    """Let every name have these addresses."""
    entries = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, 0)) for address in addresses]

    async def getaddrinfo(*args: object, **kwargs: object) -> list[object]:
        return list(entries)

    async def resolve(host: str, port: int) -> list[object]:
        return [ip_address(entry[4][0]) for entry in await getaddrinfo()]  # type: ignore[index]

    monkeypatch.setattr("proxy.direct._resolve", resolve)
