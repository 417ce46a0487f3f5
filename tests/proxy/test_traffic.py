"""How much went through the tunnel, and how long clients waited: sums of whole and running connections."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from pac.rules import RuleSet, parse_rules
from tests.proxy.harness import LoopbackDialer, Stage, echo, until

if TYPE_CHECKING:
    from proxy.front import Front

GREETING = b"\x05\x01\x00"


async def connected(front: Front, host: str, port: int) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """A SOCKS5 client for which a connection is open."""
    reader, writer = await asyncio.open_connection(*front.address)
    name = host.encode()
    writer.write(GREETING + b"\x05\x01\x00\x03" + bytes([len(name)]) + name + port.to_bytes(2, "big"))
    assert (await reader.readexactly(12))[3] == 0
    return reader, writer


async def test_running_and_ended_connections_count(stage: Stage) -> None:
    site = await stage.site(echo)
    front = await stage.front(LoopbackDialer(site.port))
    assert front.traffic.carried_bytes == (0, 0)
    reader, writer = await connected(front, "site.test", 80)
    writer.write(b"12345")
    assert await reader.readexactly(5) == b"12345"
    assert front.traffic.carried_bytes == (5, 5)
    others = [await connected(front, "site.test", 80) for _ in range(2)]
    for other_reader, other in others:
        other.write(b"123")
        await other_reader.readexactly(3)
    assert front.traffic.carried_bytes == (11, 11)
    assert len(front.traffic) == 3
    for each in (writer, *(other for _, other in others)):
        each.close()
    await until(lambda: not front.open_flows)
    assert len(front.traffic) == 0
    assert front.traffic.carried_bytes == (11, 11), "what is over is not forgotten"


async def test_what_goes_past_the_tunnel_does_not(stage: Stage) -> None:
    site = await stage.site(echo)
    front = await stage.front(LoopbackDialer(0), rules=RuleSet(parse_rules(["127.0.0.1"], "test")))
    reader, writer = await connected(front, "127.0.0.1", site.port)
    writer.write(b"12345")
    await reader.readexactly(5)
    assert front.traffic.carried_bytes == (0, 0)
    assert front.traffic.take_times() == []
    writer.close()


async def test_the_wait_for_a_first_byte_counts_once(stage: Stage) -> None:
    gate = asyncio.Event()

    async def slow(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1)
        await gate.wait()
        writer.write(b"a")
        await reader.read(1)
        writer.write(b"b")

    site = await stage.site(slow)
    front = await stage.front(LoopbackDialer(site.port))
    loop = asyncio.get_running_loop()
    reader, writer = await connected(front, "site.test", 80)
    assert front.traffic.take_times() == [], "nothing was asked yet"
    asked_at = loop.time()
    writer.write(b"x")
    loop.call_later(0.05, gate.set)
    await reader.readexactly(1)
    answered_s = loop.time() - asked_at
    (wait_s,) = front.traffic.take_times()
    assert 0.04 < wait_s < answered_s + 0.01 + 0.05
    writer.write(b"y")
    await reader.readexactly(1)
    assert front.traffic.take_times() == []
    writer.close()


async def test_who_speaks_before_being_asked_is_no_answer(stage: Stage) -> None:
    async def greet(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"hello")
        await reader.read(1)

    site = await stage.site(greet)
    front = await stage.front(LoopbackDialer(site.port))
    reader, writer = await connected(front, "site.test", 22)
    await reader.readexactly(5)
    assert (front.traffic.take_times(), front.traffic.carried_bytes) == ([], (0, 5))
    writer.close()
