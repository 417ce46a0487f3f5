"""UDP associations at the local port (RFC 1928, sections 4, 6 and 7), with the tunnel played by the test."""

from __future__ import annotations

import asyncio
import socket
from itertools import pairwise
from typing import TYPE_CHECKING

import pytest

from core.errors import Reason
from core.flow import MAX_DATAGRAM_BYTES
from pac.rules import Rule, RuleSet
from proxy import udp as udp_module
from proxy.front import Front, FrontLimits
from proxy.intake import Intake
from tests.proxy.harness import (
    Client,
    DatagramDialer,
    FailingDialer,
    LoopbackDialer,
    SilentDialer,
    Stage,
    connect,
    until,
)
from tests.proxy.programs import ANY, V4, V6, Program, ask, named

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.proxy.harness import MemoryDatagrams


@pytest.fixture
def program() -> Iterator[Program]:
    program = Program()
    yield program
    program.socket.close()


@pytest.fixture
def stranger() -> Iterator[Program]:
    program = Program()
    yield program
    program.socket.close()


async def associated(
    stage: Stage, front: Front, dialer: DatagramDialer, program: Program, address: bytes = ANY, user: str = ""
) -> tuple[Client, MemoryDatagrams]:
    """A client with an association, and the tunnel's end of it."""
    client = await stage.client(front)
    code, program.relay = await ask(client, address, user)
    assert code == 0
    return client, dialer.flows[-1]


# -- datagrams


async def test_datagrams_go_both_ways(stage: Stage, program: Program) -> None:
    dialer = DatagramDialer()
    front = await stage.front(dialer)
    _, flow = await associated(stage, front, dialer, program)
    for datagram in (V4 + b"one", V6 + b"two", named("Name.Example", 53, b"three"), V4, V4 + bytes(MAX_DATAGRAM_BYTES)):
        program.send(datagram)
    await until(lambda: len(flow.sent) == 5)
    assert flow.sent == [
        ("198.51.100.7", 53, b"one"),
        ("2001:db8::1", 53, b"two"),
        ("name.example", 53, b"three"),
        ("198.51.100.7", 53, b""),
        ("198.51.100.7", 53, bytes(MAX_DATAGRAM_BYTES)),
    ]
    flow.heard.datagram_came("198.51.100.7", 53, memoryview(b"answer"))
    assert await program.heard() == V4 + b"answer"
    flow.heard.datagram_came("2001:db8::1", 53, bytes(MAX_DATAGRAM_BYTES))
    assert await program.heard() == V6 + bytes(MAX_DATAGRAM_BYTES)
    assert not front.counters


async def test_the_user_name_isolates(stage: Stage, program: Program) -> None:
    dialer = DatagramDialer()
    front = await stage.front(dialer)
    for user in ("", "alice"):
        await associated(stage, front, dialer, program, user=user)
    assert dialer.isolations == ["", "alice"]


async def test_over_ipv6(stage: Stage) -> None:
    dialer = DatagramDialer()
    front = Front(dialer)
    await front.start("::1", 0)
    program = Program(socket.AF_INET6, "::1")
    try:
        async with connect(front) as client:
            code, program.relay = await ask(client)
            assert (code, program.relay[0]) == (0, "::1")
            program.send(V4 + b"one")
            await until(lambda: len(dialer.flows[0].sent) == 1)
            dialer.flows[0].heard.datagram_came("198.51.100.7", 53, b"answer")
            assert await program.heard() == V4 + b"answer"
    finally:
        program.socket.close()
        await front.stop()


async def test_what_the_tunnel_does_not_take_is_dropped(stage: Stage, program: Program) -> None:
    dialer = DatagramDialer()
    front = await stage.front(dialer)
    _, flow = await associated(stage, front, dialer, program)
    flow.free = False
    program.send(V4 + b"lost")
    await until(lambda: front.counters["datagram_lost"] == 1)
    flow.free = True
    program.send(V4 + b"next")
    await until(lambda: bool(flow.sent))
    assert flow.sent == [("198.51.100.7", 53, b"next")]


async def test_an_exit_that_names_no_address_or_speaks_first(stage: Stage, program: Program) -> None:
    dialer = DatagramDialer()
    front = await stage.front(dialer)
    _, flow = await associated(stage, front, dialer, program)
    flow.heard.datagram_came("198.51.100.7", 53, b"before the client has sent anything")
    program.send(V4)
    await until(lambda: bool(flow.sent))
    flow.heard.datagram_came("name.example", 53, b"no address")
    flow.heard.datagram_came("198.51.100.7", 53, b"answer")
    assert await program.heard() == V4 + b"answer"
    assert front.counters == {"datagram_malformed": 1}


async def test_a_client_that_does_not_read_costs_no_memory(stage: Stage, program: Program) -> None:
    dialer = DatagramDialer()
    front = await stage.front(dialer)
    _, flow = await associated(stage, front, dialer, program)
    program.send(V4)
    await until(lambda: bool(flow.sent))
    for _ in range(2000):
        flow.heard.datagram_came("198.51.100.7", 53, bytes(MAX_DATAGRAM_BYTES))
    program.socket.close()
    flow.heard.datagram_came("198.51.100.7", 53, b"to nobody")
    assert flow.ended is None


async def test_a_flood_leaves_time_for_others(stage: Stage, program: Program, monkeypatch: pytest.MonkeyPatch) -> None:
    dialer = DatagramDialer()
    front = await stage.front(dialer)
    _, flow = await associated(stage, front, dialer, program)
    monkeypatch.setattr(udp_module, "BATCH", 2)
    seen: list[int] = []
    loop = asyncio.get_running_loop()

    def look() -> None:
        seen.append(len(flow.sent))
        if len(flow.sent) < 20:
            loop.call_soon(look)

    loop.call_soon(look)
    for _ in range(20):
        program.send(V4)
    await until(lambda: len(flow.sent) == 20)
    assert max(after - before for before, after in pairwise(seen)) <= 2


# -- whose datagrams


@pytest.mark.parametrize("told", [False, True], ids=["first datagram", "port in the request"])
async def test_nobody_else_is_heard(stage: Stage, program: Program, stranger: Program, *, told: bool) -> None:
    dialer = DatagramDialer()
    front = await stage.front(dialer)
    address = b"\x01\x7f\0\0\1" + program.port.to_bytes(2, "big") if told else ANY
    _, flow = await associated(stage, front, dialer, program, address)
    stranger.relay = program.relay
    if told:
        stranger.send(V4 + b"first")
    program.send(V4 + b"one")
    await until(lambda: bool(flow.sent))
    stranger.send(V4 + b"from elsewhere")
    program.send(V4 + b"two")
    await until(lambda: len(flow.sent) > 1)
    assert [payload for *_, payload in flow.sent] == [b"one", b"two"]
    flow.heard.datagram_came("198.51.100.7", 53, b"answer")
    assert await program.heard() == V4 + b"answer"
    assert front.counters == {"datagram_foreign": 1 + told}


async def test_another_host_is_not_heard(stage: Stage, program: Program) -> None:
    dialer = DatagramDialer()
    front = await stage.front(dialer)
    _, flow = await associated(stage, front, dialer, program)
    neighbour = Program(host="127.0.0.2")
    try:
        neighbour.relay = program.relay
        neighbour.send(V4 + b"from elsewhere")
        program.send(V4 + b"one")
        await until(lambda: bool(flow.sent))
        assert [payload for *_, payload in flow.sent] == [b"one"]
        assert front.counters == {"datagram_foreign": 1}
    finally:
        neighbour.socket.close()


async def test_what_is_malformed_pins_nobody(stage: Stage, program: Program, stranger: Program) -> None:
    dialer = DatagramDialer()
    front = await stage.front(dialer)
    _, flow = await associated(stage, front, dialer, program)
    stranger.relay = program.relay
    stranger.send(b"\0\0\1" + V4[3:])
    program.send(V4 + b"one")
    await until(lambda: bool(flow.sent))
    assert [payload for *_, payload in flow.sent] == [b"one"]


# -- where to


async def test_nothing_goes_past_the_tunnel(stage: Stage, program: Program) -> None:
    dialer = DatagramDialer()
    rules = RuleSet([Rule.parse("direct.example"), Rule.parse("192.0.2.0/24")])
    front = await stage.front(dialer, rules)
    _, flow = await associated(stage, front, dialer, program)
    for host in ("direct.example", "192.0.2.1", "other.example"):
        program.send(named(host, 53))
    await until(lambda: bool(flow.sent))
    assert flow.sent == [("other.example", 53, b"x")]
    assert front.counters == {"datagram_not_allowed": 2}
    front.rules = RuleSet()
    program.send(named("direct.example", 53))
    await until(lambda: flow.sent[-1][0] == "direct.example")


async def test_what_is_blocked_or_wants_circuits_of_its_own_is_dropped(stage: Stage, program: Program) -> None:
    texts = ["block .ads.example", "tunnel ok.ads.example", ".bank.example region=NL"]
    dialer = DatagramDialer()
    front = await stage.front(dialer, RuleSet([Rule.parse(text) for text in texts]))
    _, flow = await associated(stage, front, dialer, program)
    for host in ("x.ads.example", "www.bank.example", "ok.ads.example"):
        program.send(named(host, 53))
    await until(lambda: bool(flow.sent))
    assert flow.sent == [("ok.ads.example", 53, b"x")]
    assert front.counters == {"datagram_not_allowed": 2}


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "127.9.9.9", "::1", "0.0.0.0"])
async def test_the_nodes_own_ports_are_refused(stage: Stage, program: Program, host: str) -> None:
    dialer = DatagramDialer()
    front = await stage.front(dialer)
    _, flow = await associated(stage, front, dialer, program)
    program.send(named(host, front.address[1]))
    program.send(named("other.example", front.address[1]))
    await until(lambda: bool(flow.sent))
    assert flow.sent == [("other.example", front.address[1], b"x")]
    assert front.counters == {"datagram_not_allowed": 1}


async def test_a_client_on_another_machine_gets_no_bypass(
    stage: Stage, program: Program, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Intake, "is_from_this_machine", lambda intake: False)
    dialer = DatagramDialer()
    front = await stage.front(dialer, RuleSet([Rule.parse("direct.example")]))
    _, flow = await associated(stage, front, dialer, program)
    program.send(named("direct.example", 53))
    await until(lambda: flow.sent == [("direct.example", 53, b"x")])


async def test_a_password_is_asked_for_and_the_address_that_was_reached_is_named(program: Program) -> None:
    dialer = DatagramDialer()
    front = Front(dialer, password="secret")
    await front.start("0.0.0.0", 0)
    reader, writer = await asyncio.open_connection("127.0.0.3", front.address[1], local_addr=("127.0.0.1", 0))
    try:
        client = Client(reader, writer)
        client.send(b"\5\1\2\1\1u\6secret\5\3\0" + ANY)
        assert await client.read(4) == b"\5\2\1\0"
        assert await client.read(8) == b"\5\0\0\1\x7f\0\0\3"
        program.relay = "127.0.0.3", int.from_bytes(await client.read(2), "big")
        program.send(V4)
        await until(lambda: len(dialer.flows[0].sent) == 1)
    finally:
        writer.close()
        await front.stop()


async def test_without_the_password_there_is_none(stage: Stage) -> None:
    dialer = DatagramDialer()
    front = await stage.front(dialer, password="secret")
    client = await stage.client(front)
    assert await client.asks(b"\5\1\0\5\3\0" + ANY) == b"\5\xff"
    assert not dialer.flows


# -- its beginning and its end


@pytest.mark.parametrize(
    ("reason", "code"),
    [
        (Reason.NO_PATH, 1),
        (Reason.BUSY, 1),
        (Reason.NOT_ALLOWED, 2),
        (Reason.TIMED_OUT, 6),
    ],
)
async def test_one_that_cannot_be_opened_is_refused(stage: Stage, reason: Reason, code: int) -> None:
    front = await stage.front(FailingDialer(reason))
    client = await stage.client(front)
    assert await ask(client) == (code, ("0.0.0.0", 0))
    assert await client.read_all() == b""
    assert front.counters == {reason.word: 1}


async def test_an_exit_without_udp_refuses(stage: Stage) -> None:
    front = await stage.front(LoopbackDialer())
    assert (await ask(await stage.client(front)))[0] == 2


async def test_the_dial_has_an_outer_limit(stage: Stage) -> None:
    dialer = SilentDialer()
    front = await stage.front(dialer, limits=FrontLimits(dial_s=0.05))
    assert (await ask(await stage.client(front)))[0] == 6
    assert dialer.cancelled.is_set()


@pytest.mark.parametrize("end", ["close", "half", "reset", "words", "stop"])
async def test_it_ends_with_the_connection(stage: Stage, program: Program, end: str) -> None:
    dialer = DatagramDialer()
    front = await stage.front(dialer)
    client, flow = await associated(stage, front, dialer, program)
    match end:
        case "close":
            client.writer.close()
        case "half":
            client.writer.write_eof()
        case "reset":
            client.writer.transport.abort()
        case "words":
            client.send(b"?")
        case "stop":
            await front.stop()
    await until(lambda: flow.ended is Reason.LOCAL)
    if end not in ("close", "reset"):
        assert await client.read_all() == b""
    await until(lambda: not front._seats.intakes)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as same:
        same.bind(program.relay)  # its port is free again


@pytest.mark.parametrize("reason", [Reason.CLOSED, Reason.TIMED_OUT, Reason.DONE])
async def test_the_connection_ends_with_it(stage: Stage, program: Program, reason: Reason) -> None:
    dialer = DatagramDialer()
    front = await stage.front(dialer)
    client, flow = await associated(stage, front, dialer, program)
    flow.heard.flow_closed(reason)
    assert await client.read_all() == b""
    assert front.counters == {reason.word: 1}
    await until(lambda: not len(front._tasks))


async def test_no_more_than_the_limit_at_once(stage: Stage, program: Program) -> None:
    dialer = DatagramDialer()
    front = await stage.front(dialer, limits=FrontLimits(associations=3))
    clients = [(await associated(stage, front, dialer, program))[0] for _ in range(3)]
    assert (await ask(await stage.client(front)))[0] == 1
    assert len(dialer.flows) == 3
    clients[0].writer.close()
    await until(lambda: dialer.flows[0].ended is not None)
    await associated(stage, front, dialer, program)
    assert front.counters["busy"] == 1


async def test_silent_connections_do_not_push_one_out(stage: Stage, program: Program) -> None:
    dialer = DatagramDialer()
    front = await stage.front(dialer, limits=FrontLimits(connections=2))
    _, flow = await associated(stage, front, dialer, program)
    for _ in range(4):
        await stage.client(front)
    await until(lambda: front.counters["full"] == 3)
    program.send(V4)
    await until(lambda: bool(flow.sent))


async def test_without_a_socket_it_is_refused(stage: Stage, program: Program, monkeypatch: pytest.MonkeyPatch) -> None:
    def none_left(*_: object) -> socket.socket:
        raise OSError(24, "too many open files")

    dialer = DatagramDialer()
    front = await stage.front(dialer)
    client = await stage.client(front)
    with monkeypatch.context() as patch:
        patch.setattr("proxy.front.open_socket", none_left)
        assert (await ask(client))[0] == 1
    assert dialer.flows[0].ended is Reason.LOCAL
    await associated(stage, front, dialer, program)
