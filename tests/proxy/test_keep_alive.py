"""Many requests on one connection to the local port, with real sockets."""

from __future__ import annotations

import asyncio
import base64
from typing import TYPE_CHECKING

import pytest
from websockets.asyncio.server import serve
from websockets.client import ClientProtocol
from websockets.frames import Frame
from websockets.uri import parse_uri

from core.errors import Reason
from pac.rules import Rule, RuleSet
from proxy.direct import READ_BYTES
from proxy.front import FrontLimits
from tests.harness.network import far_apart
from tests.proxy.harness import FailingDialer, LoopbackDialer, Stage, until
from tests.proxy.test_front import CONNECT, GRANTED, serve_http

if TYPE_CHECKING:
    from websockets.asyncio.server import ServerConnection

    from core.flow import Flow, FlowRequest
    from proxy.front import Front
    from tests.proxy.harness import Client, Handler

QUICK = FrontLimits(idle_s=0.2)


def get(host: str = "site.example", user: str = "", last: str = "") -> bytes:
    lines = [f"GET http://{host}/ HTTP/1.1", "Host: x"]
    if user:
        lines.append(f"Proxy-Authorization: Basic {base64.b64encode(user.encode()).decode()}")
    if last:
        lines.append("Connection: close")
    return "\r\n".join([*lines, "", ""]).encode()


async def answer(client: Client) -> bytes:
    """Read one answer with a length."""
    head = await client.reader.readuntil(b"\r\n\r\n")
    return head + await client.read(int(head.lower().partition(b"content-length: ")[2].split(b"\r\n")[0]))


async def kept(front: Front, client: Client) -> None:
    """Ask once, and wait until the front waits for more."""
    client.send(get())
    assert b" 200 OK\r\n" in await answer(client)
    await until(lambda: any(intake.kept for intake in front._seats.intakes))


async def test_each_request_is_decided_anew(stage: Stage) -> None:
    site, direct = await stage.site(serve_http), await stage.site(serve_http)
    dialer = LoopbackDialer(site.port)
    front = await stage.front(dialer)
    client = await stage.client(front)
    for host, user in (("a.example", "one:x"), ("b.example:81", "two:x"), ("a.example", "")):
        client.send(get(host, user))
        assert f"\r\nHost: {host}\r\n".encode() in await answer(client)
    assert [(ask.host, ask.port, ask.isolation) for ask in dialer.requests] == [
        ("a.example", 80, "one"),
        ("b.example", 81, "two"),
        ("a.example", 80, ""),
    ]
    front.rules = RuleSet([Rule.parse("127.0.0.1")])
    client.send(get(f"127.0.0.1:{direct.port}"))
    assert b" 200 OK\r\n" in await answer(client)
    front.rules = RuleSet()
    client.send(get(f"127.0.0.1:{direct.port}"))
    assert b" 200 OK\r\n" in await answer(client)
    assert (site.connections, direct.connections) == (4, 1)
    front.own_ports.add(direct.port)
    client.send(get(f"127.0.0.1:{direct.port}"))
    assert (await client.read_all()).startswith(b"HTTP/1.1 403 ")
    assert front.counters == {"done": 5, "not_allowed": 1}


async def test_password_counts_for_each_request(stage: Stage) -> None:
    site = await stage.site(serve_http)
    front = await stage.front(LoopbackDialer(site.port), password="word")
    client = await stage.client(front)
    client.send(get(user="u:word"))
    assert b" 200 OK\r\n" in await answer(client)
    client.send(get())
    assert (await client.read_all()).startswith(b"HTTP/1.1 407 ")
    assert site.connections == 1


async def test_tunnel_after_a_plain_request(stage: Stage) -> None:
    async def either(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if (first := await reader.readexactly(3)) == b"GET":
            return await serve_http(reader, writer)
        writer.write(first + await reader.read())
        return None

    site = await stage.site(either)
    front = await stage.front(LoopbackDialer(site.port))
    client = await stage.client(front)
    client.send(get() + CONNECT + b"\0hello")
    assert b" 200 OK\r\n" in await answer(client)
    assert await client.read(len(GRANTED)) == GRANTED
    client.writer.write_eof()
    assert await client.read_all() == b"\0hello"
    await until(lambda: front.counters == {"done": 2})


async def test_socks_does_not_follow_http(stage: Stage) -> None:
    site = await stage.site(serve_http)
    front = await stage.front(LoopbackDialer(site.port))
    client = await stage.client(front)
    await kept(front, client)
    client.send(b"\x05\x01\x00")
    assert await client.read_all() == b""
    assert front.counters == {"done": 1, "malformed": 1}


async def test_all_at_once_and_the_end(stage: Stage) -> None:
    site = await stage.site(serve_http)
    front = await stage.front(LoopbackDialer(site.port))
    client = await stage.client(front)
    client.send(get("a.example") + get("b.example") + get("c.example"))
    client.writer.write_eof()
    for host in (b"a.example", b"b.example", b"c.example"):
        assert b"\r\nHost: " + host in await answer(client)
    assert await client.read_all() == b""
    await until(lambda: front.counters == {"done": 3})
    assert not front._seats.intakes


async def test_idle_connection_ends_in_silence(stage: Stage) -> None:
    site = await stage.site(serve_http)
    front = await stage.front(LoopbackDialer(site.port), limits=QUICK)
    client = await stage.client(front)
    await kept(front, client)
    assert await client.read_all() == b""
    assert front.counters == {"done": 1}


async def test_next_head_has_its_own_limit(stage: Stage) -> None:
    site = await stage.site(serve_http)
    front = await stage.front(LoopbackDialer(site.port), limits=FrontLimits(handshake_s=0.5))
    client = await stage.client(front)
    await kept(front, client)
    client.send(b"G")
    assert (await client.read_all()).startswith(b"HTTP/1.1 408 ")
    assert front.counters == {"done": 1, "slow": 1}


async def test_idle_connections_give_way(stage: Stage) -> None:
    site = await stage.site(serve_http)
    front = await stage.front(LoopbackDialer(site.port), limits=FrontLimits(connections=3))
    clients = [await stage.client(front) for _ in range(3)]
    for client in clients:
        await kept(front, client)
    clients[0].send(get())
    assert b" 200 OK\r\n" in await answer(clients[0])
    await until(lambda: len(front._seats.intakes) == 3)
    await kept(front, await stage.client(front))
    assert await clients[1].read_all() == b"", "the one that has kept silent for longest"
    for client in (clients[0], clients[2]):
        client.send(get())
        assert b" 200 OK\r\n" in await answer(client)
    assert front.counters["full"] == 1


class Watching(LoopbackDialer):
    """Remembers how much of the answer before waited in this program at each dial."""

    def __init__(self, port: int) -> None:
        super().__init__(port)
        self.front: Front | None = None
        self.waiting: list[int] = []

    async def dial(self, request: FlowRequest, *, early: bool) -> Flow:
        assert self.front is not None
        (intake,) = self.front._seats.intakes
        self.waiting.append(intake.transport.get_write_buffer_size())
        return await super().dial(request, early=early)


def pages(size: int) -> Handler:
    """Make a site whose answers have so many bytes, and are all said long before a client that does not read."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % size + bytes(size))
        await writer.drain()
        await reader.read()

    return serve


def is_stuck(front: Front) -> bool:
    """Tell whether a client's next request waits because its answer does."""
    return any(intake.kept and intake.transport.get_write_buffer_size() for intake in front._seats.intakes)


@pytest.mark.parametrize(("size", "count"), [(15_000, 100), (READ_BYTES - 5000, 100)])
async def test_answers_that_nobody_reads_do_not_pile_up(stage: Stage, size: int, count: int) -> None:
    """Both sizes fit one read of a site, so that all of an answer has come before a client has read any of it."""
    site = await stage.site(pages(size))
    dialer = Watching(site.port)
    front = dialer.front = await stage.front(dialer)
    client = await stage.client(front)
    client.send(get() * count)
    await until(lambda: is_stuck(front) or len(dialer.requests) == count)
    async with asyncio.timeout(60):
        for _ in range(count):
            assert (await answer(client)).endswith(bytes(size))
    assert dialer.waiting == [0] * count


async def test_client_that_does_not_read_is_cut(stage: Stage) -> None:
    site = await stage.site(pages(15_000))
    dialer = Watching(site.port)
    front = dialer.front = await stage.front(dialer, limits=QUICK)
    client = await stage.client(front)
    client.send(get() * 400)
    await until(lambda: is_stuck(front))
    await until(lambda: not (front._seats.intakes or front.open_flows))
    assert len(await client.read_all()) < 400 * 15_000


async def test_stop_ends_idle_connections(stage: Stage) -> None:
    site = await stage.site(serve_http)
    front = await stage.front(LoopbackDialer(site.port))
    client = await stage.client(front)
    await kept(front, client)
    await front.stop()
    assert await client.read_all() == b""


async def test_client_that_hangs_up_is_forgotten(stage: Stage) -> None:
    site = await stage.site(serve_http)
    front = await stage.front(LoopbackDialer(site.port))
    client = await stage.client(front)
    await kept(front, client)
    client.writer.close()
    await until(lambda: not front._seats.intakes)
    assert front.counters == {"done": 1}


async def test_page_ends_the_connection(stage: Stage) -> None:
    front = await stage.front(FailingDialer(Reason.NO_NAME))
    client = await stage.client(front)
    page = await client.asks(get() + get())
    assert page.count(b"HTTP/1.1 502 ") == 1
    assert b"\r\nConnection: close\r\n" in page


@pytest.mark.parametrize("size", [5, 200_000])
async def test_websocket(stage: Stage, size: int) -> None:
    """As a browser asks for `ws:` where its proxy takes no CONNECT for it."""

    async def back(connection: ServerConnection) -> None:
        async for message in connection:
            await connection.send(message)

    async with serve(back, "127.0.0.1", 0) as server:
        port = next(iter(server.sockets)).getsockname()[1]
        front = await stage.front(LoopbackDialer(port))
        client = await stage.client(front)
        peer = ClientProtocol(parse_uri("ws://site.example/chat"))
        peer.send_request(peer.connect())
        (request,) = peer.data_to_send()
        client.send(request.replace(b"GET /chat", b"GET http://site.example/chat"))
        peer.receive_data(await client.reader.readuntil(b"\r\n\r\n"))
        assert peer.state.name == "OPEN"
        peer.events_received()
        peer.send_binary(bytes(size))
        for data in peer.data_to_send():
            client.send(data)
        found = bytearray()
        while len(found) < size:
            peer.receive_data(await client.reader.read(1 << 16))
            for event in peer.events_received():
                assert isinstance(event, Frame)
                found += event.data
            for data in peer.data_to_send():
                client.send(data)
        assert found == bytes(size)
        assert front.open_flows == 1
        peer.send_close()
        for data in peer.data_to_send():
            client.send(data)
        assert await client.read_all(), "the closing frame of the other"
        client.writer.write_eof()
        await until(lambda: front.open_flows == 0)


async def test_new_flow_of_each_request_costs_no_trip(stage: Stage) -> None:
    """The exit sends the request back, which is no answer; the page that says so comes after one trip."""
    async with far_apart() as (tunnel, trip_s):
        front = await stage.front(tunnel.pool, early="never")
        client = await stage.client(front)
        loop = asyncio.get_running_loop()
        start = loop.time()
        client.send(get("echo.example"))
        assert (await client.reader.readuntil(b"\r\n")).startswith(b"HTTP/1.1 502 ")
        # Some loops' clocks count whole milliseconds.
        assert 0.95 < (loop.time() - start) / trip_s < 1.7
