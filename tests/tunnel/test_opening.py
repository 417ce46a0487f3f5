"""Flows at exits that decline them, and flows to ports that not every exit serves."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest

from core.errors import FlowError, Reason
from core.flow import FlowRequest
from core.ids import PeerKey
from tests.harness.bare import check_alive, circuit_of
from tests.harness.network import Came, Collect, Echo, Network
from tests.harness.waiting import turns, until
from tests.harness.wire import Board
from tunnel import builder as builder_module
from tunnel import opening
from tunnel.building import build
from tunnel.frames import Frame, encode_credit, encode_reset, frame
from tunnel.limits import MAX_ASKED, OPEN_S, PORT_REFUSALS
from tunnel.opening import Asked
from tunnel.padding import Shape
from tunnel.path import Wish
from tunnel.refusals import DECLINES
from tunnel.terminal import ExitFlow

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from core.flow import IncomingDatagrams, IncomingFlow
    from tunnel.carrier import Carrier
    from tunnel.circuit import Circuit
    from tunnel.client_flow import ClientFlow
    from tunnel.frames import Resume
    from tunnel.service import Tunnel
    from tunnel.terminal import Terminal

pytestmark = pytest.mark.usefixtures("quick_signs")

ASKED = FlowRequest("echo.example", 8000)
POST = b"POST /order HTTP/1.1\r\n\r\nonce"
SHAPED = pytest.mark.parametrize("shape", [Shape.STEPS, Shape.EVEN], ids=lambda shape: shape.name.lower())
BOTH = pytest.mark.parametrize("early", [False, True], ids=["waits", "early"])


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(opening, "PATH_S", 1.5)


class Declining(Echo):
    """An exit that opens nothing, and says so with these frames or this reason."""

    def __init__(self, reason: Reason = Reason.NOT_ALLOWED, frames: bytes = b"") -> None:
        super().__init__()
        self.reason = reason
        self.frames = frames

    def flow_requested(self, flow: IncomingFlow, host: str, port: int) -> None:
        self.asked.append((host, port))
        if self.frames:
            assert isinstance(flow, ExitFlow)
            flow._send(self.frames)
        flow.reset(self.reason)

    def datagrams_requested(self, flow: IncomingDatagrams) -> None:
        self.asked.append(("", 0))
        flow.close(self.reason)


class Holding(Echo):
    """An exit that takes its time."""

    def __init__(self) -> None:
        super().__init__()
        self.held: list[tuple[IncomingFlow, str, int]] = []

    def flow_requested(self, flow: IncomingFlow, host: str, port: int) -> None:
        self.held.append((flow, host, port))

    def go_on(self) -> None:
        for held in self.held:
            super().flow_requested(*held)


@asynccontextmanager
async def exits(*acceptors: Echo, shape: Shape = Shape.STEPS) -> AsyncIterator[tuple[Network, Tunnel]]:
    """Guard, relay and exits: circuits stand ready to the first of them, and then there are paths to the others."""
    network = Network(Board().engine, shape)
    try:
        for acceptor in (None, None, *acceptors):
            await network.add(acceptor)
        network.paths = [[0, 1, 2]]
        client = network.client()
        await client.start(0, client=True)
        await until(lambda: sum(circuit.rtt_s is not None for circuit in client.pool.circuits) == 2)
        network.paths = [[0, 1, place] for place in range(2, 2 + len(acceptors))]
        yield network, client
    finally:
        await network.close()


async def ask(client: Tunnel, request: FlowRequest = ASKED, *, early: bool = True) -> tuple[ClientFlow, Collect]:
    """Open a flow, and send a request and its end at once."""
    flow = await client.pool.dial(request, early=early)
    heard = Collect(flow)
    flow.attach(heard)
    flow.write(POST)
    flow.finish()
    return flow, heard


def ready_ends(client: Tunnel) -> set[PeerKey]:
    return {circuit.path[-1].peer for circuit in client.pool.circuits if circuit.isolation is None}


# -- after asking


@BOTH
@SHAPED
@pytest.mark.parametrize("reason", sorted(DECLINES), ids=lambda reason: reason.word)
async def test_another_exit_is_asked_and_nobody_notices(reason: Reason, shape: Shape, early: bool) -> None:
    first, second = Declining(reason), Echo()
    async with exits(first, second, shape=shape) as (network, client):
        flow, heard = await ask(client, early=early)
        await until(lambda: heard.reason is not None)
        assert (bytes(heard.data), heard.eof, heard.reason) == (POST, True, Reason.DONE)
        assert flow.opened.result() is None
        assert (first.asked, second.asked) == ([("echo.example", 8000)], [("echo.example", 8000)])
        assert bytes(second.listeners[0].data) == POST, "once, and whole"
        await until(lambda: all(node.relay.flow_count == 0 for node in network.nodes[2:-1]))
        assert not any(circuit.flows for circuit in client.pool.circuits)


@SHAPED
async def test_all_that_was_written_meanwhile_arrives(shape: Shape) -> None:
    second = Echo()
    async with exits(Declining(), second, shape=shape) as (_, client):
        flow = await client.pool.dial(ASKED, early=True)
        heard = Collect(flow)
        flow.attach(heard)
        data = bytes(range(256)) * 1000  # far beyond what may be sent before the exit speaks
        free = flow.write(data)
        assert not free
        await until(lambda: heard.writable)
        flow.write(POST)
        flow.finish()
        await until(lambda: heard.reason is not None)
        assert (heard.data == data + POST, heard.reason) == (True, Reason.DONE)


@BOTH
@pytest.mark.parametrize(
    "reason",
    [Reason.REFUSED, Reason.NO_NAME, Reason.TIMED_OUT, Reason.HOST_UNREACHABLE],
    ids=lambda reason: reason.word,
)
async def test_what_is_said_of_the_destination_is_final(reason: Reason, early: bool) -> None:
    second = Echo()
    async with exits(Declining(reason), second) as (_, client):
        assert await refusal(client, early=early) is reason
        assert second.asked == []


async def refusal(client: Tunnel, request: FlowRequest = ASKED, *, early: bool = True) -> Reason | None:
    """Why a flow is not opened, however that is said."""
    try:
        flow, heard = await ask(client, request, early=early)
    except FlowError as error:
        return error.reason
    await until(lambda: heard.reason is not None)
    assert not heard.data
    assert flow.opened.exception() is not None
    return heard.reason


@BOTH
async def test_three_exits_are_asked_at_most(early: bool) -> None:
    acceptors = [Declining() for _ in range(5)]
    async with exits(*acceptors) as (network, client):
        assert await refusal(client, early=early) is Reason.NOT_ALLOWED
        assert sum(len(acceptor.asked) for acceptor in acceptors) == MAX_ASKED == 3
        assert max(len(acceptor.asked) for acceptor in acceptors) == 1
        await until(lambda: all(node.relay.flow_count == 0 for node in network.nodes[2:-1]))


@BOTH
async def test_what_may_pass_is_said_rather_than_that_it_is_not_allowed(early: bool) -> None:
    async with exits(Declining(), Declining(Reason.LIMIT), Declining()) as (_, client):
        assert await refusal(client, early=early) is Reason.LIMIT


@BOTH
async def test_where_there_is_no_other_exit_the_answer_comes_at_once(early: bool) -> None:
    async with exits(Declining()) as (_, client):
        loop = asyncio.get_running_loop()
        start = loop.time()
        assert await refusal(client, early=early) is Reason.NOT_ALLOWED
        assert loop.time() - start < 1.0


def test_all_exits_share_the_time_for_an_answer() -> None:
    asked, exits = Asked(80, 100.0), [PeerKey(bytes([number]) * 32) for number in range(2)]
    assert (asked.path_by, asked.answer_by) == (100.0 + 1.5, 100.0 + OPEN_S)
    assert asked.declined(exits[0], Reason.LIMIT, asked.answer_by - 0.5)
    assert asked.path_by == asked.answer_by == 100.0 + OPEN_S, "never beyond"
    assert asked.wish == Wish(80, frozenset(exits[:1]))
    assert not asked.declined(exits[1], Reason.LIMIT, asked.answer_by)


@BOTH
async def test_a_flow_moves_only_to_circuits_of_its_key_or_nobodys(early: bool) -> None:
    first, second = Declining(), Echo()
    async with exits(first, second) as (network, client):
        flows = []
        for name in ("one", "two", "one"):
            flow = await client.pool.dial(FlowRequest("sink.example", 80, name), early=early)
            await until(flow.opened.done)
            flows.append((name, flow))
        carried = {circuit_of(client, flow): name for name, flow in flows}
        assert sorted(carried.values()) == ["one", "two"]
        assert all(circuit.isolation == name for circuit, name in carried.items())
        assert {circuit.path[-1].peer for circuit in carried} == {network.keys[3]}


def done(heard: Collect) -> bool:
    return heard.reason is Reason.DONE


class Gate:
    """Holds up every circuit that is begun, until it is opened."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.open = asyncio.Event()
        self.held = 0

        async def slow(*parts: Any) -> Circuit:
            self.held += 1
            await self.open.wait()
            return await build(*parts)

        monkeypatch.setattr(builder_module, "build", slow)


async def test_a_flow_that_is_cancelled_meanwhile_is_not_opened(monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = Declining(), Echo()
    async with exits(first, second) as (_, client):
        gate = Gate(monkeypatch)
        flow, heard = await ask(client)
        await until(lambda: flow.between_exits and gate.held)
        flow.reset(Reason.LOCAL)
        gate.open.set()
        await check_alive(client)
        assert len(second.asked) == 1, "the one of the check"
        assert heard.reason is None
        assert isinstance(flow.opened.exception(), FlowError)


async def test_a_flow_between_exits_ends_with_the_pool(monkeypatch: pytest.MonkeyPatch) -> None:
    async with exits(Declining(), Echo()) as (_, client):
        gate = Gate(monkeypatch)
        flow, heard = await ask(client)
        await until(lambda: flow.between_exits and gate.held)
        await client.pool.close()
        assert heard.reason is Reason.CLOSED
        assert client.memory.held_bytes == 0


async def test_a_route_that_changes_meanwhile_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    second = Echo()
    async with exits(Declining(), second) as (_, client):
        gate = Gate(monkeypatch)
        flow, heard = await ask(client)
        await until(lambda: flow.between_exits and gate.held)
        client.pool.hop()
        for circuit in client.pool.circuits:
            circuit.close(Reason.TIMED_OUT)
        gate.open.set()
        await until(lambda: heard.reason is not None)
        assert (bytes(heard.data), heard.reason) == (POST, Reason.DONE)
        assert bytes(second.listeners[0].data) == POST


@SHAPED
async def test_a_circuit_that_dies_before_the_second_answer_is_resumed(shape: Shape) -> None:
    second = Holding()
    async with exits(Declining(), second, shape=shape) as (_, client):
        flow, heard = await ask(client)
        await until(lambda: second.held)
        circuit_of(client, flow).close(Reason.TIMED_OUT)
        second.go_on()
        await until(lambda: heard.reason is not None)
        assert (bytes(heard.data), heard.reason) == (POST, Reason.DONE)
        assert bytes(second.listeners[0].data) == POST
        assert len(second.held) == 1


# -- hostile exits


async def test_what_an_exit_says_after_its_refusal_does_not_count() -> None:
    lies = encode_reset(Reason.NOT_ALLOWED) + frame(Frame.OPENED) + frame(Frame.DATA, b"lies") + frame(Frame.FIN)
    second = Echo()
    async with exits(Declining(frames=lies), second) as (_, client):
        _, heard = await ask(client)
        await until(lambda: heard.reason is not None)
        assert (bytes(heard.data), heard.reason) == (POST, Reason.DONE)


@pytest.mark.parametrize(
    "frames", [encode_credit(len(POST), 1 << 16), frame(Frame.OPENED)], ids=["dealt with some", "opened"]
)
async def test_an_exit_that_may_have_passed_bytes_on_is_the_last_one(frames: bytes) -> None:
    second = Echo()
    async with exits(Declining(Reason.BUSY, frames), second) as (_, client):
        _, heard = await ask(client)
        await until(lambda: heard.reason is not None)
        assert (heard.reason, second.asked) == (Reason.BUSY, [])


async def test_an_exit_that_refuses_to_go_on_is_the_last_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """RESUMED would say whether the flow was opened; without it the bytes may have gone on."""

    def refuse(flow: ExitFlow, carrier: Carrier, terminal: Terminal, asked: Resume) -> None:
        flow.move(carrier)
        flow._paused = False
        flow.reset(Reason.BUSY)

    first, second = Holding(), Echo()
    async with exits(first, second) as (_, client):
        flow, heard = await ask(client)
        await until(lambda: first.held)
        monkeypatch.setattr(ExitFlow, "resume", refuse)
        circuit_of(client, flow).close(Reason.TIMED_OUT)
        await until(lambda: heard.reason is not None)
        assert (heard.reason, second.asked) == (Reason.BUSY, [])


async def test_windows_of_the_first_exit_are_not_the_seconds() -> None:
    """Credit that the one gave is not used up with the other, which did not give it."""
    second = Holding()
    async with exits(Declining(frames=encode_credit(0, 1 << 20)), second) as (_, client):
        flow = await client.pool.dial(ASKED, early=True)
        heard = Collect(flow)
        flow.attach(heard)
        flow.write(bytes(500_000))
        flow.finish()
        await until(lambda: second.held)
        await turns()
        second.go_on()
        await until(lambda: heard.reason is not None)
        assert (len(heard.data), heard.reason) == (500_000, Reason.DONE)


# -- what is remembered


async def test_an_exit_that_keeps_refusing_a_port_is_asked_last() -> None:
    first, second = Declining(), Echo()
    async with exits(first, second) as (network, client):
        for number in range(PORT_REFUSALS + 3):
            if len(first.asked) >= PORT_REFUSALS:
                await until(lambda: network.keys[3] in ready_ends(client))
            _, heard = await ask(client, FlowRequest("echo.example", 8000, f"key {number}"))
            await until(partial(done, heard))
        assert len(first.asked) <= PORT_REFUSALS
        assert len(second.asked) == PORT_REFUSALS + 3


async def test_all_that_refuse_are_asked_again_all_the_same() -> None:
    first = Declining()
    async with exits(first) as (_, client):
        for number in range(PORT_REFUSALS + 2):
            assert await refusal(client, early=bool(number % 2)) is Reason.NOT_ALLOWED
        assert len(first.asked) == PORT_REFUSALS + 2


@BOTH
async def test_an_exit_of_which_nothing_is_heard_yet_is_waited_for(early: bool) -> None:
    first, second = Declining(), Echo()
    async with exits(first) as (network, client):
        await network.add(second)
        asking = asyncio.create_task(ask(client, early=early))
        network.early = True
        await until(lambda: first.asked)
        asyncio.get_running_loop().call_later(0.3, heard_of_another, network)
        _, heard = await asking
        await until(lambda: heard.reason is Reason.DONE)
        assert bytes(heard.data) == POST


def heard_of_another(network: Network) -> None:
    network.early = False
    network.paths.append([0, 1, 3])


# -- before asking


@BOTH
async def test_a_flow_goes_to_an_exit_that_serves_its_port(early: bool) -> None:
    first, second = Echo(), Echo()
    async with exits(first, second) as (network, client):
        network.closed_ports[network.keys[2]] = frozenset({22})
        _, heard = await ask(client, FlowRequest("echo.example", 22), early=early)
        await until(lambda: heard.reason is Reason.DONE)
        assert (first.asked, second.asked) == ([], [("echo.example", 22)])


@BOTH
async def test_a_port_that_nobody_serves_is_refused_at_once(early: bool) -> None:
    first = Echo()
    async with exits(first) as (network, client):
        network.closed_ports[network.keys[2]] = frozenset({22})
        loop = asyncio.get_running_loop()
        start = loop.time()
        assert await refusal(client, FlowRequest("echo.example", 22), early=early) is Reason.NOT_SERVED
        assert loop.time() - start < 0.5
        assert first.asked == []
        await check_alive(client)


async def test_a_circuit_is_kept_ready_for_a_port_that_was_used() -> None:
    async with exits(Echo(), Echo()) as (network, client):
        network.closed_ports[network.keys[2]] = frozenset({22})
        await ask(client, FlowRequest("echo.example", 22))
        await until(lambda: network.keys[3] in ready_ends(client))


async def test_flows_of_many_keys_to_a_port_that_few_serve_all_find_their_way() -> None:
    second = Echo()
    async with exits(Echo(), second) as (network, client):
        network.closed_ports[network.keys[2]] = frozenset({22})
        requests = [FlowRequest("echo.example", 22, f"key {number}") for number in range(5)]
        flows = await asyncio.gather(*(client.pool.dial(request) for request in requests))
        assert len({circuit_of(client, flow) for flow in flows}) == 5
        assert len(second.asked) == 5


async def test_what_a_flow_wants_does_not_move_flows_that_run() -> None:
    first, second = Echo(), Echo()
    async with exits(first, second) as (network, client):
        network.closed_ports[network.keys[2]] = frozenset({22})
        web = await client.pool.dial(FlowRequest("echo.example", 443))
        before = circuit_of(client, web)
        await client.pool.dial(FlowRequest("echo.example", 22))
        again = await client.pool.dial(FlowRequest("echo.example", 443))
        assert circuit_of(client, web) is circuit_of(client, again) is before


# -- associations


async def test_an_association_finds_an_exit_that_takes_it() -> None:
    first, second = Declining(), Echo()
    async with exits(first, second) as (_, client):
        datagrams = await client.pool.dial_datagrams()
        came = Came(datagrams)
        datagrams.send("echo.example", 53, b"question")
        await until(lambda: came.datagrams)
        assert (first.asked, len(second.associations)) == ([("", 0)], 1)


async def test_an_association_that_nobody_takes_is_refused() -> None:
    async with exits(Declining(), Declining()) as (_, client):
        with pytest.raises(FlowError) as caught:
            await client.pool.dial_datagrams()
        assert caught.value.reason is Reason.NOT_ALLOWED
