"""Who makes room at a port that is full, who is told no, and in which words."""

from __future__ import annotations

import asyncio
import resource
from collections import Counter
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING

import pytest

from core.errors import Reason
from proxy import intake as intake_module
from proxy import seats as module
from proxy.front import Front, FrontLimits
from proxy.intake import Intake
from tests.proxy.harness import (
    LIMIT_S,
    Client,
    DatagramDialer,
    FailingDialer,
    LoopbackDialer,
    MemoryFlow,
    SilentDialer,
    TcpOnly,
    connect,
    until,
)
from tests.proxy.programs import ask

if TYPE_CHECKING:
    from core.flow import Flow, FlowRequest
    from tests.proxy.harness import Stage

CONNECT = b"CONNECT site.example:443 HTTP/1.1\r\nHost: site.example:443\r\n\r\n"
GET = b"GET http://site.example/ HTTP/1.1\r\nHost: site.example\r\n\r\n"


@pytest.fixture(autouse=True)
def _patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let nothing depend on how fast the machine is."""
    for name in ("IDLE_S", "ROOM_EVERY_S"):
        monkeypatch.setattr(module, name, 1000)


async def full_of_flows(stage: Stage, count: int) -> tuple[Front, list[Client]]:
    """A port whose seats are all taken by flows that have just been used."""
    site = await stage.site()
    front = await stage.front(LoopbackDialer(site.port), limits=FrontLimits(connections=count))
    clients = [await stage.client(front) for _ in range(count)]
    for client in clients:
        assert await client.socks("site.example", 443) == 0
        client.send(b"x")
        assert await client.read(1) == b"x"
    return front, clients


@pytest.mark.parametrize("words", [CONNECT, GET])
async def test_who_finds_no_seat_is_told_in_http(stage: Stage, words: bytes) -> None:
    front, _ = await full_of_flows(stage, 5)
    page = await (await stage.client(front)).asks(words)
    assert page.startswith(b"HTTP/1.1 503 ")
    assert b"X-MacroVPN-Reason: full\r\n" in page
    assert front.open_flows == 5
    assert front.counters == {"full": 1}


async def test_who_finds_no_seat_is_told_in_socks(stage: Stage) -> None:
    front, _ = await full_of_flows(stage, 5)
    client = await stage.client(front)
    assert await client.socks("site.example", 443) == 1
    assert await client.read_all() == b""
    assert (await ask(await stage.client(front)))[0] == 1
    assert front.open_flows == 5
    assert front.counters == {"full": 2}


async def test_the_flow_that_was_idle_for_longest_makes_room(stage: Stage) -> None:
    front, clients = await full_of_flows(stage, 4)
    now = asyncio.get_running_loop().time()
    for pump, age_s in zip(front._seats._flows.values(), (5000, 60000, 7000, 0), strict=True):
        pump.busy_at = now - age_s
    assert await (await stage.client(front)).socks("site.example", 443) == 0
    assert await clients[1].read_all() == b""
    assert await (await stage.client(front)).socks("site.example", 443) == 1, "only one in a while"
    for client in (clients[2], clients[0]):
        front._seats._next_room_at = 0.0
        assert await (await stage.client(front)).socks("site.example", 443) == 0
        assert await client.read_all() == b""
    front._seats._next_room_at = 0.0
    assert await (await stage.client(front)).socks("site.example", 443) == 1, "the others are busy"
    clients[3].send(b"z")
    assert await clients[3].read(1) == b"z"


class Memory(TcpOnly):
    """Gives one flow, which the test plays."""

    def __init__(self) -> None:
        self.flow = MemoryFlow()

    async def dial(self, request: FlowRequest, *, early: bool) -> Flow:
        return self.flow


async def test_bytes_of_either_direction_keep_a_flow_busy(stage: Stage) -> None:
    dialer = Memory()
    front = await stage.front(dialer)
    client = await stage.client(front)
    assert await client.socks("site.example", 443) == 0
    await until(lambda: dialer.flow.listener is not None)
    (pump,) = front._seats._flows.values()
    pump.busy_at = 0.0
    client.send(b"x")
    await until(lambda: pump.busy_at > 0)
    pump.busy_at = 0.0
    dialer.flow.heard.flow_data(b"x")
    assert pump.busy_at > 0


@pytest.mark.parametrize(("words", "last"), [(b"", b""), (b"\5\1\0\5\1", b"\5\0"), (b"GET http://a", b"HTTP/1.1 503 ")])
async def test_the_oldest_silent_connection_makes_room(stage: Stage, words: bytes, last: bytes) -> None:
    front = await stage.front(FailingDialer(Reason.NO_PATH), limits=FrontLimits(connections=2))
    silent = await stage.client(front)
    silent.send(words)
    await until(lambda: sum(intake._taken_bytes for intake in front._seats.intakes) == len(words))
    younger = await stage.client(front)
    newest = await stage.client(front)
    async with asyncio.timeout(LIMIT_S):
        assert (await silent.reader.read())[: len(last) or None] == last, "a clean end, with words where there are some"
    for client in (younger, newest):
        assert await client.socks("site.example", 443) == 1
    assert front.counters["full"] == 1


async def test_who_waits_for_a_flow_makes_room_for_nobody(stage: Stage) -> None:
    dialer = SilentDialer()
    front = await stage.front(dialer, limits=FrontLimits(connections=2))
    for _ in range(2):
        (await stage.client(front)).send(CONNECT)
    await until(lambda: dialer.dialing == 2)
    assert (await (await stage.client(front)).asks(CONNECT)).startswith(b"HTTP/1.1 503 ")
    assert not dialer.cancelled.is_set()


async def test_spare_seats_are_few(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "SPARE", 3)
    front, _ = await full_of_flows(stage, 1)
    late = [await stage.client(front) for _ in range(4)]
    assert await late[0].read_all() == b"", "nobody has heard what it wants"
    for client in late[1:]:
        assert await client.socks("site.example", 443) == 1
    assert front.counters == {"full": 4}


async def test_who_was_refused_and_stays_makes_room(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(intake_module, "LINGER_S", 60)
    front = await stage.front(FailingDialer(Reason.NO_PATH), limits=FrontLimits(connections=1))
    for _ in range(3):
        assert await (await stage.client(front)).socks("site.example", 443) == 1
    assert front.counters == {"no_path": 3, "full": 2}


async def test_who_does_not_read_the_rest_keeps_a_seat(stage: Stage) -> None:
    dialer = Memory()
    front = await stage.front(dialer, limits=FrontLimits(connections=1))
    client = await stage.client(front)
    assert await client.socks("site.example", 443) == 0
    await until(lambda: dialer.flow.listener is not None)
    dialer.flow.heard.flow_data(bytes(1 << 24))
    dialer.flow.heard.flow_closed(Reason.DONE)
    assert await (await stage.client(front)).socks("site.example", 443) == 1
    (timer,) = front._seats._flushing.values()
    assert len(await client.read_all()) == 1 << 24
    await until(lambda: not front._seats.flushing)
    assert timer.cancelled()
    assert await (await stage.client(front)).socks("site.example", 443) == 0


# -- other machines


@pytest.fixture
def others(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let clients count as on another machine each, by their address on loopback."""
    monkeypatch.setattr(Intake, "is_from_this_machine", lambda intake: intake.client_host == "127.0.0.1")


async def test_another_machine_gets_its_share_and_no_more(stage: Stage, others: None) -> None:
    site = await stage.site()
    front = await stage.front(LoopbackDialer(site.port), limits=FrontLimits(connections=8))
    async with AsyncExitStack() as stack:
        first = [await stack.enter_async_context(connect(front, "127.0.0.2")) for _ in range(3)]
        assert [await client.socks("site.example", 443) for client in first] == [0, 0, 1]
        assert (await first[2].read_all(), front.counters) == (b"", {"full": 1})
        for host in ("127.0.0.3", "127.0.0.1"):
            client = await stack.enter_async_context(connect(front, host))
            assert await client.socks("site.example", 443) == 0
    await until(lambda: not front.open_flows and not front._seats._machines)
    assert not front._seats._by_machine
    async with connect(front, "127.0.0.2") as again:
        assert await again.socks("site.example", 443) == 0


async def test_another_machine_gets_its_share_of_associations(stage: Stage, others: None) -> None:
    dialer = DatagramDialer()
    front = await stage.front(dialer, limits=FrontLimits(associations=8))
    async with AsyncExitStack() as stack:
        clients = [await stack.enter_async_context(connect(front, "127.0.0.2")) for _ in range(3)]
        assert [(await ask(client))[0] for client in clients] == [0, 0, 1]
        assert (await ask(await stack.enter_async_context(connect(front))))[0] == 0
        clients[0].writer.close()
        await until(lambda: dialer.flows[0].ended is not None)
        assert (await ask(await stack.enter_async_context(connect(front, "127.0.0.2"))))[0] == 0


@pytest.mark.parametrize(
    ("host", "machine"),
    [
        ("127.0.0.1", ""),
        ("::1", ""),
        ("192.0.2.7", "192.0.2.7"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("2001:db8:1:2:ffff::", "2001:db8:1:2::/64"),
        ("2001:db8:1:3::1", "2001:db8:1:3::/64"),
        ("fe80::7%lo", "fe80::/64"),
        ("", "gone"),
    ],
)
async def test_what_a_machine_cannot_choose_of_its_address(
    monkeypatch: pytest.MonkeyPatch, host: str, machine: str
) -> None:
    monkeypatch.setattr(Intake, "client_host", host)
    assert module._machine_of(Intake(Front(FailingDialer(Reason.NO_PATH)), 1)) == machine


# -- what the system allows


@pytest.mark.parametrize(
    ("allowed", "seats", "spare"), [(resource.RLIM_INFINITY, 4096, 512), (20_000, 4096, 512), (1024, 512, 128)]
)
def test_no_more_seats_than_the_descriptors_are_enough_for(
    monkeypatch: pytest.MonkeyPatch, allowed: int, seats: int, spare: int
) -> None:
    monkeypatch.setattr(resource, "getrlimit", lambda which: (allowed, allowed))
    made = module.Seats(4096, 64, Counter())
    assert (made._limit, made._spare_limit) == (seats, spare)
