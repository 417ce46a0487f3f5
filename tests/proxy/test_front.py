"""The local port with real sockets: a site behind a dialer, and clients that speak SOCKS5 and HTTP."""

from __future__ import annotations

import asyncio
import hashlib
import logging
import os
import socket
import struct
from typing import TYPE_CHECKING, cast

import pytest

from core.errors import ConfigError, Reason
from pac.pac import build_pac
from pac.rules import Rule, RuleSet
from proxy.front import Front
from proxy.intake import Intake
from tests.proxy.harness import LIMIT_S, FailingDialer, LoopbackDialer, SilentDialer, Stage, by_name, until

if TYPE_CHECKING:
    from core.flow import Flow, FlowRequest
    from tests.proxy.harness import Client

BULK = 5_000_000
CONNECT = b"CONNECT site.example:443 HTTP/1.1\r\nHost: site.example:443\r\n\r\n"
GRANTED = b"HTTP/1.1 200 Connection established\r\n\r\n"

LOCAL_RULES = RuleSet([Rule.parse("127.0.0.1"), Rule.parse(".localhost")])


async def opened(client: Client, kind: str) -> None:
    """Ask for a connection in one of the two languages."""
    if kind == "socks":
        assert await client.socks("site.example", 443) == 0
    else:
        client.send(CONNECT)
        assert await client.read(len(GRANTED)) == GRANTED


@pytest.mark.parametrize("kind", ["socks", "http"])
async def test_bytes_are_exact_both_ways(stage: Stage, kind: str) -> None:
    site = await stage.site()
    dialer = LoopbackDialer(site.port)
    front = await stage.front(dialer)
    client = await stage.client(front)
    await opened(client, kind)
    assert (dialer.requests[0].host, dialer.requests[0].port) == ("site.example", 443)
    assert front.open_flows == 1
    data = os.urandom(BULK)
    client.send(data)
    client.writer.write_eof()
    back = await client.read_all()
    assert hashlib.sha256(back).digest() == hashlib.sha256(data).digest()
    await until(lambda: front.open_flows == 0)
    assert front.counters == {"done": 1}


@pytest.mark.parametrize("kind", ["socks", "http"])
async def test_site_may_finish_first(stage: Stage, kind: str) -> None:
    heard = bytearray()

    async def greet_and_listen(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"welcome")
        writer.write_eof()
        heard.extend(await reader.read())

    site = await stage.site(greet_and_listen)
    front = await stage.front(LoopbackDialer(site.port))
    client = await stage.client(front)
    await opened(client, kind)
    assert await client.read_all() == b"welcome"
    client.send(b"still here")
    client.writer.write_eof()
    await until(lambda: heard == b"still here")
    await until(lambda: front.counters == {"done": 1})


@pytest.mark.parametrize("count", [0, 5, 100_000])
@pytest.mark.parametrize("kind", ["socks", "http"])
async def test_everything_at_once_with_early_bytes_and_end(stage: Stage, kind: str, count: int) -> None:
    class Late(LoopbackDialer):
        async def dial(self, request: FlowRequest, *, early: bool) -> Flow:
            (intake,) = front._seats.intakes
            await until(lambda: intake.eof or intake._taken_bytes >= 1 << 14)
            return await super().dial(request, early=early)

    site = await stage.site()
    front = await stage.front(Late(site.port))
    client = await stage.client(front)
    head = b"\x05\x01\x00" + b"\x05\x01\x00" + by_name("site.example", 443) if kind == "socks" else CONNECT
    data = os.urandom(count)
    client.send(head + data)
    client.writer.write_eof()
    granted = b"\x05\x00" + b"\x05\x00\x00\x01" + bytes(6) if kind == "socks" else GRANTED
    assert await client.read_all() == granted + data
    await until(lambda: front.counters == {"done": 1})


@pytest.mark.parametrize("kind", ["socks", "http"])
async def test_one_byte_at_a_time(stage: Stage, kind: str) -> None:
    site = await stage.site()
    front = await stage.front(LoopbackDialer(site.port))
    client = await stage.client(front)
    head = b"\x05\x01\x00" + b"\x05\x01\x00" + by_name("site.example", 443) if kind == "socks" else CONNECT
    for byte in head + b"hello":
        client.send(bytes([byte]))
        await client.writer.drain()
        await asyncio.sleep(0.001)
    client.writer.write_eof()
    assert (await client.read_all()).endswith(b"hello")


@pytest.mark.parametrize("reason", [reason for reason in Reason if reason is not Reason.DONE])
async def test_refusal_has_its_reply_and_nothing_goes_direct(stage: Stage, reason: Reason) -> None:
    site = await stage.site()
    front = await stage.front(FailingDialer(reason))
    socks = await stage.client(front)
    assert await socks.socks("127.0.0.1", site.port) != 0
    assert await socks.read_all() == b""
    for head in (f"CONNECT 127.0.0.1:{site.port}", f"GET http://127.0.0.1:{site.port}/"):
        client = await stage.client(front)
        page = await client.asks(f"{head} HTTP/1.1\r\nHost: a\r\n\r\n".encode())
        assert f"\r\nX-MacroVPN-Reason: {reason.word}\r\n".encode() in page
    assert site.connections == 0
    assert front.counters == {reason.word: 3}


async def test_dialer_that_breaks_refuses_as_well(stage: Stage, caplog: pytest.LogCaptureFixture) -> None:
    class Broken(FailingDialer):
        async def dial(self, request: FlowRequest, *, early: bool) -> Flow:
            raise RuntimeError(f"cannot dial {request!r} canary")

    front = await stage.front(Broken(Reason.LOCAL))
    client = await stage.client(front)
    assert await client.asks(CONNECT) == b""
    assert "RuntimeError" in caplog.text
    assert "canary" not in caplog.text


async def test_isolation_key_reaches_the_dialer(stage: Stage) -> None:
    site = await stage.site()
    dialer = LoopbackDialer(site.port)
    front = await stage.front(dialer)
    for user in ("first", "second", ""):
        assert await (await stage.client(front)).socks("site.example", 443, user) == 0
    assert [request.isolation for request in dialer.requests] == ["first", "second", ""]


async def serve_http(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Answer one request with what it was."""
    head = await reader.readuntil(b"\r\n\r\n")
    body = await reader.readexactly(5) if b"Content-Length: 5" in head else b""
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(head + body), head + body))
    await writer.drain()
    await reader.read()


async def test_plain_request_is_forwarded(stage: Stage) -> None:
    site = await stage.site(serve_http)
    dialer = LoopbackDialer(site.port)
    front = await stage.front(dialer)
    client = await stage.client(front)
    answer = await client.asks(
        b"POST http://site.example:8080/a?b HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nConnection: close\r\n\r\nhello"
    )
    assert (dialer.requests[0].host, dialer.requests[0].port) == ("site.example", 8080)
    assert answer.startswith(b"HTTP/1.1 200 OK\r\n")
    assert (
        b"POST /a?b HTTP/1.1\r\nHost: site.example:8080\r\nContent-Length: 5\r\nConnection: close\r\n\r\nhello"
        in answer
    )
    await until(lambda: front.open_flows == 0)


async def test_large_plain_answer_is_exact(stage: Stage) -> None:
    data = os.urandom(BULK)

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(data) + data)
        await writer.drain()
        await reader.read()

    site = await stage.site(serve)
    front = await stage.front(LoopbackDialer(site.port))
    client = await stage.client(front)
    answer = await client.asks(b"GET http://site.example/ HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
    assert hashlib.sha256(answer.partition(b"\r\n\r\n")[2]).digest() == hashlib.sha256(data).digest()


async def test_large_plain_body_is_exact(stage: Stage) -> None:
    data = os.urandom(BULK)

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        await asyncio.sleep(0.05)
        digest = hashlib.sha256(await reader.readexactly(BULK)).hexdigest().encode()
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 64\r\n\r\n" + digest)
        await reader.read()

    site = await stage.site(serve)
    front = await stage.front(LoopbackDialer(site.port))
    client = await stage.client(front)
    head = b"POST http://site.example/ HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\nConnection: close\r\n\r\n" % BULK
    answer = await client.asks(head + data)
    assert answer.endswith(hashlib.sha256(data).hexdigest().encode())


async def test_pac_is_served_and_follows_the_rules(stage: Stage) -> None:
    front = await stage.front(FailingDialer(Reason.NO_PATH), LOCAL_RULES)
    path = front.pac_url.removeprefix(f"http://127.0.0.1:{front.address[1]}").encode()
    assert path.endswith(b"/proxy.pac")
    assert len(path) > 30
    request = b"GET " + path + b" HTTP/1.1\r\nHost: 127.0.0.1:%d\r\n\r\n" % front.address[1]
    answer = await (await stage.client(front)).asks(request)
    assert answer.partition(b"\r\n\r\n")[2].decode() == build_pac(LOCAL_RULES, f"127.0.0.1:{front.address[1]}")
    front.rules = RuleSet([Rule.parse("other.example")])
    script = build_pac(front.rules, f"127.0.0.1:{front.address[1]}").encode()
    assert (await (await stage.client(front)).asks(request)).endswith(b"\r\n\r\n" + script)
    refused = await (await stage.client(front)).asks(request.replace(b"127.0.0.1", b"evil.example"))
    assert refused.startswith(b"HTTP/1.1 403 ")


async def test_bypass_goes_direct_and_only_it(stage: Stage) -> None:
    site, tunnel = await stage.site(serve_http), await stage.site(serve_http)
    dialer = LoopbackDialer(tunnel.port)
    front = await stage.front(dialer, LOCAL_RULES)
    get = f"GET http://{{}}:{site.port}/ HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
    assert b"200 OK" in await (await stage.client(front)).asks(get.format("127.0.0.1").encode())
    assert await (await stage.client(front)).socks("a.localhost", site.port) == 0
    assert (site.connections, tunnel.connections, dialer.requests) == (2, 0, [])
    assert b"200 OK" in await (await stage.client(front)).asks(get.format("127.0.0.2").encode())
    assert (site.connections, tunnel.connections) == (2, 1)
    front.rules = RuleSet()
    assert b"200 OK" in await (await stage.client(front)).asks(get.format("127.0.0.1").encode())
    assert (site.connections, tunnel.connections) == (2, 2)


@pytest.mark.parametrize(
    ("client", "here"),
    [
        (("127.0.0.1", 5), True),
        (("::1", 5, 0, 0), True),
        (("192.0.2.1", 5), False),
        (("fe80::1%a", 5, 0, 2), False),
        (None, False),
    ],
)
async def test_clients_on_other_machines_get_no_bypass(
    stage: Stage, monkeypatch: pytest.MonkeyPatch, client: tuple[str, int] | None, *, here: bool
) -> None:
    class Transport:
        def get_extra_info(self, name: str) -> object:
            return client if name == "peername" else None

    intake = Intake(Front(FailingDialer(Reason.NO_PATH)), 1)
    intake.transport = cast("asyncio.Transport", Transport())
    assert intake.is_from_this_machine() is here
    site, tunnel = await stage.site(), await stage.site()
    front = await stage.front(LoopbackDialer(tunnel.port), LOCAL_RULES)
    monkeypatch.setattr(Intake, "is_from_this_machine", lambda intake: here)
    assert await (await stage.client(front)).socks("127.0.0.1", site.port) == 0
    assert (site.connections, tunnel.connections) == ((1, 0) if here else (0, 1))


async def test_bypass_that_fails_is_refused_and_not_tunnelled(stage: Stage) -> None:
    tunnel = await stage.site()
    front = await stage.front(LoopbackDialer(tunnel.port), LOCAL_RULES)
    async with asyncio.timeout(5):
        server = await asyncio.start_server(lambda reader, writer: None, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        server.close()
        await server.wait_closed()
    page = await (await stage.client(front)).asks(b"GET http://127.0.0.1:%d/ HTTP/1.1\r\nHost: x\r\n\r\n" % port)
    assert page.startswith(b"HTTP/1.1 502 ")
    assert b"A bypass rule" in page
    assert await (await stage.client(front)).socks("127.0.0.1", port) == 5
    assert tunnel.connections == 0


@pytest.mark.parametrize(
    "host", ["127.0.0.1", "127.1.2.3", "[::1]", "0.0.0.0", "localhost", "x.localhost", "LOCALHOST."]
)
@pytest.mark.parametrize(
    "rules", [RuleSet(), RuleSet([*LOCAL_RULES.rules, Rule.parse("127.0.0.0/8"), Rule.parse("[::1]")])]
)
async def test_own_ports_are_refused_both_ways(stage: Stage, host: str, rules: RuleSet) -> None:
    tunnel, control = await stage.site(), await stage.site()
    front = await stage.front(LoopbackDialer(tunnel.port), rules)
    front.own_ports.add(control.port)
    for port in (front.address[1], control.port):
        for head in (f"CONNECT {host}:{port}", f"GET http://{host}:{port}/"):
            page = await (await stage.client(front)).asks(f"{head} HTTP/1.1\r\nHost: a\r\n\r\n".encode())
            assert page.startswith(b"HTTP/1.1 403 ")
            assert b"own port" in page
        assert await (await stage.client(front)).socks(host.strip("[]"), port) == 2
    assert (tunnel.connections, control.connections) == (0, 0)


async def test_password(stage: Stage) -> None:
    site = await stage.site()
    front = await stage.front(LoopbackDialer(site.port), password="x")
    assert await (await stage.client(front)).socks("site.example", 443, "user") == 0
    assert await (await stage.client(front)).asks(b"\x05\x01\x00") == b"\x05\xff"
    assert (await (await stage.client(front)).asks(CONNECT)).startswith(b"HTTP/1.1 407 ")
    assert front.counters["unauthorized"] == 2


async def test_client_that_goes_away_cancels_its_dial(stage: Stage) -> None:
    dialer = SilentDialer()
    front = await stage.front(dialer)
    client = await stage.client(front)
    client.send(CONNECT)
    await until(lambda: dialer.dialing == 1)
    linger_not = struct.pack("ii", 1, 0)
    client.writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger_not)
    client.writer.transport.abort()
    async with asyncio.timeout(LIMIT_S):
        await dialer.cancelled.wait()
    await until(lambda: not front._seats.intakes)


async def test_stop_ends_everything(stage: Stage) -> None:
    site = await stage.site()
    front = await stage.front(LoopbackDialer(site.port))
    waiting, flowing = await stage.client(front), await stage.client(front)
    await opened(flowing, "http")
    waiting.send(b"G")
    await front.stop()
    assert await waiting.read_all() == b""
    assert await flowing.read_all() == b""
    assert front.open_flows == 0
    with pytest.raises(ConnectionRefusedError):
        await asyncio.open_connection(*front.address)
    await front.stop()


@pytest.mark.parametrize("host", ["localhost", "", "example.com", "0.0.0.0", "192.0.2.1", "::"])
async def test_only_loopback_without_a_password(host: str) -> None:
    with pytest.raises(ConfigError):
        await Front(FailingDialer(Reason.NO_PATH)).start(host, 0)


async def test_addresses_beyond_loopback_with_a_password() -> None:
    front = Front(FailingDialer(Reason.NO_PATH), password="secret")
    await front.start("0.0.0.0", 0)
    assert front.pac_url.startswith(f"http://127.0.0.1:{front.address[1]}/")
    assert f"PROXY 127.0.0.1:{front.address[1]};" in front.pac_text
    await front.stop()


async def test_logs_name_nothing(stage: Stage, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    asyncio.get_running_loop().set_debug(True)
    site = await stage.site(serve_http)
    rules = RuleSet([Rule.parse("127.0.0.1")])
    for dialer in (LoopbackDialer(site.port), FailingDialer(Reason.NO_NAME)):
        front = await stage.front(dialer, rules)
        await (await stage.client(front)).socks("canary.example", 47474, "canaryuser")
        for words in (b"GET http://canary.example:47474/canary", b"CONNECT canary.example:47474", b"GET /canary"):
            client = await stage.client(front)
            client.send(words + b" HTTP/1.1\r\nHost: canary\r\nProxy-Authorization: Basic Y2FuYXJ5OmNhbmFyeQ==\r\n\r\n")
            await client.reader.read(1)
        await (await stage.client(front)).asks(b"GET http://127.0.0.1:1/canary HTTP/1.1\r\nHost: x\r\n\r\n")
        await front.stop()
    assert "canary" not in caplog.text
    assert "47474" not in caplog.text
