"""Flows that go on over another circuit."""

from __future__ import annotations

import asyncio
import secrets
from typing import TYPE_CHECKING

import pytest

from core.errors import DecodeError, FlowError, Reason
from core.flow import FlowRequest
from tests.harness.bare import circuit_of
from tests.harness.network import Collect, Network, three_hops
from tests.harness.waiting import until
from tests.harness.wire import Board
from tunnel import terminal
from tunnel.frames import (
    Frame,
    Position,
    Resume,
    decode_resume,
    decode_resumed,
    encode_open,
    encode_resume,
    encode_resumed,
)
from tunnel.limits import FLOW_WINDOW
from tunnel.link_stream import LinkStream
from tunnel.padding import Shape

if TYPE_CHECKING:
    from tunnel.circuit import Circuit
    from tunnel.client_flow import ClientFlow
    from tunnel.layers import Layers
    from tunnel.service import Tunnel
    from tunnel.terminal import ExitFlow

ECHO = FlowRequest("echo.example", 80)
SHAPED = pytest.mark.parametrize("shape", [Shape.STEPS, Shape.EVEN], ids=lambda shape: shape.name.lower())
START = Position(0, 0, 0, False)


def test_resume_in_hex() -> None:
    asked = Resume(b"i" * 16, b"s" * 16, 7, Position(1, 2, 3, True))
    body = b"i" * 16 + b"s" * 16 + bytes.fromhex("00000007 0000000000000001 0000000000000002 00000003 01")
    assert encode_resume(asked) == bytes([Frame.RESUME, 0, 0, len(body)]) + body
    assert decode_resume(memoryview(body)) == asked


def test_resumed_in_hex() -> None:
    body = bytes.fromhex("01 0000000000000001 0000000000000002 00000003 00")
    assert encode_resumed(True, Position(1, 2, 3, False)) == bytes([Frame.RESUMED, 0, 0, len(body)]) + body
    assert decode_resumed(memoryview(body)) == (True, Position(1, 2, 3, False))


@pytest.mark.parametrize("change", [-1, 1])
def test_wrong_lengths_are_refused(change: int) -> None:
    with pytest.raises(DecodeError):
        decode_resume(memoryview(bytes(57 + change)))
    with pytest.raises(DecodeError):
        decode_resumed(memoryview(bytes(22 + change)))


async def _talking(client: Tunnel) -> tuple[ClientFlow, Collect]:
    flow = await client.pool.dial(ECHO)
    heard = Collect(flow)
    flow.attach(heard)
    return flow, heard


async def _send(flow: ClientFlow, heard: Collect, data: bytes) -> None:
    for at in range(0, len(data), 100_000):
        told = heard.writable
        if not flow.write(data[at : at + 100_000]):
            await until(lambda told=told: heard.writable > told or heard.reason is not None, 20)  # type: ignore[misc]


def _exit_flow(network: Network) -> ExitFlow:
    (flow,) = network.nodes[2].relay.table._flows.values()
    return flow


@SHAPED
async def test_bytes_stay_exact_while_the_route_changes_again_and_again(shape: Shape) -> None:
    async with three_hops(shape=shape) as (network, client, _):
        await network.add()
        network.paths.append([0, 3, 2])
        flow, heard = await _talking(client)
        data = secrets.token_bytes(6_000_000)
        sending = asyncio.create_task(_send(flow, heard, data))
        for _ in range(6):
            got = len(heard.data)
            await until(lambda got=got: len(heard.data) > got or sending.done(), 20)  # type: ignore[misc]
            client.pool.hop()
        await sending
        flow.finish()
        await until(lambda: heard.reason is not None, 20)
        assert (heard.data == data, heard.eof, heard.reason) == (True, True, Reason.DONE)
        await until(lambda: len(network.nodes[2].relay.table) == 0)


@SHAPED
@pytest.mark.usefixtures("first_windows")
async def test_a_claim_gives_credit_as_credit_does(shape: Shape) -> None:
    """What was dealt with and not yet credited when the route changed may be filled by the other end at once."""
    async with three_hops(Board().engine, shape) as (network, client, echo):
        flow, heard = await _talking(client)
        heard.hungry = False
        exit_side = echo.listeners[0].flow
        assert exit_side is not None
        exit_side.write(bytes(FLOW_WINDOW))
        await until(lambda: len(heard.data) == FLOW_WINDOW)
        flow.consumed(FLOW_WINDOW // 4 - 1)
        client.pool.hop()
        exit_side.write(bytes(FLOW_WINDOW))
        await until(lambda: len(heard.data) == FLOW_WINDOW + FLOW_WINDOW // 4 - 1)
        assert heard.reason is None
        flow.consumed(FLOW_WINDOW)
        await until(lambda: len(heard.data) == 2 * FLOW_WINDOW)
        assert _exit_flow(network).epoch == 1


@SHAPED
async def test_many_flows_survive_the_death_of_their_relay(shape: Shape) -> None:
    async with three_hops(shape=shape) as (network, client, _):
        await network.add()
        network.paths.append([0, 3, 2])
        flows = [await _talking(client) for _ in range(20)]
        data = [secrets.token_bytes(300_000) for _ in flows]
        sending = [
            asyncio.create_task(_send(flow, heard, part)) for (flow, heard), part in zip(flows, data, strict=True)
        ]
        await until(lambda: all(heard.data for _, heard in flows), 20)
        await network.nodes[1].close()
        await asyncio.gather(*sending)
        for flow, _ in flows:
            flow.finish()
        await until(lambda: all(heard.reason is not None for _, heard in flows), 20)
        assert [heard.data == part for (_, heard), part in zip(flows, data, strict=True)] == [True] * 20
        assert {heard.reason for _, heard in flows} == {Reason.DONE}


# -- flows that are used before the exit has connected


async def _used_early(client: Tunnel, host: str = "echo.example") -> tuple[ClientFlow, Collect]:
    """A flow whose dialler did not wait, with a listener, and with a request written to it."""
    flow = await client.pool.dial(FlowRequest(host, 80), early=True)
    heard = Collect(flow)
    flow.attach(heard)
    flow.write(POST)
    return flow, heard


POST = b"POST /order HTTP/1.1\r\n\r\nonce"


def _next_of(client: Tunnel) -> Circuit:
    """The circuit that the next flow takes."""
    circuit = client.pool._pick("")
    assert circuit is not None
    return circuit


async def test_a_lost_opened_does_not_send_a_post_twice() -> None:
    async with three_hops(Board().engine) as (network, client, echo):
        _lose(_next_of(client), answers=True)
        flow, heard = await _used_early(client)
        await until(lambda: echo.listeners and echo.listeners[0].data == POST)
        assert not flow.opened.done()
        circuit_of(client, flow).close(Reason.TIMED_OUT)
        await until(lambda: heard.data == POST)
        assert flow.opened.result() is None
        assert (len(echo.asked), bytes(echo.listeners[0].data), _exit_flow(network).epoch) == (1, POST, 1)


async def test_an_exit_that_was_never_asked_is_not_asked_for_a_post_later() -> None:
    """Nobody can tell whether it was; so the flow ends."""
    async with three_hops(Board().engine) as (_, client, echo):
        _lose(_next_of(client), answers=False)
        flow, heard = await _used_early(client)
        circuit_of(client, flow).close(Reason.TIMED_OUT)
        await until(lambda: heard.reason is not None)
        assert (heard.reason, echo.asked) == (Reason.CLOSED, [])
        assert isinstance(flow.opened.exception(), FlowError)


@pytest.mark.parametrize("accepted", ["while it has no path", "afterwards"])
async def test_an_exit_may_connect_after_the_path_was_lost(accepted: str) -> None:
    async with three_hops(Board().engine) as (network, client, echo):
        flow, heard = await _used_early(client, "silent.example")
        await until(lambda: len(network.nodes[2].relay.table) == 1)
        theirs = _exit_flow(network)
        await until(lambda: theirs._early == POST)
        if accepted == "afterwards":
            circuit_of(client, flow).close(Reason.TIMED_OUT)
            await until(lambda: theirs.epoch == 1 and flow.lost_at is None)
            assert not flow.opened.done()
        else:
            theirs.lose_path()
        there = Collect(theirs, echo=True)
        theirs.accept()
        theirs.attach(there)
        if accepted == "while it has no path":
            circuit_of(client, flow).close(Reason.TIMED_OUT)
        await until(lambda: heard.data == POST)
        assert (bytes(there.data), flow.opened.result(), len(echo.asked)) == (POST, None, 1)


async def test_an_exit_cannot_take_back_that_it_connected() -> None:
    async with three_hops(Board().engine) as (network, client, _):
        flow, heard = await _talking(client)
        _exit_flow(network)._accepted = False
        circuit_of(client, flow).close(Reason.TIMED_OUT)
        await until(lambda: heard.reason is Reason.PROTOCOL)


async def test_a_flow_that_nobody_used_yet_may_be_opened_elsewhere() -> None:
    async with three_hops(Board().engine) as (_, client, echo):
        _lose(_next_of(client), answers=True)
        dialling = asyncio.ensure_future(client.pool.dial(ECHO))
        await until(lambda: echo.asked)
        next(circuit for circuit in client.pool.circuits if circuit.flows).close(Reason.TIMED_OUT)
        assert (await dialling).opened.done()
        assert len(echo.asked) == 2


# -- who may resume


async def _first_frame(client: Tunnel, first: bytes) -> Collect:
    """Open a stream of a flow with a first frame of one's own making; returns the plaintext that comes back."""
    stream, layers = next(circuit for circuit in client.pool.circuits if not circuit.over)._open_stream()
    answer = Collect()
    stream.receiver = _Raw(answer, layers)
    stream.send(layers.seal(first))
    return answer


class _Raw:
    """Receiver that keeps the plaintext of what comes."""

    def __init__(self, heard: Collect, layers: Layers) -> None:
        self.heard = heard
        self.layers = layers

    def message(self, body: memoryview) -> None:
        self.heard.data += self.layers.open(body)

    def datagram(self, body: memoryview) -> None: ...

    def ended(self) -> None:
        self.heard.eof = True

    def writable(self) -> None: ...


@pytest.mark.parametrize("wrong", ["secret", "epoch", "id"])
async def test_nobody_takes_a_flow_without_its_secret(wrong: str) -> None:
    async with three_hops(Board().engine) as (network, client, _):
        flow, heard = await _talking(client)
        flow.write(b"before")
        await until(lambda: heard.data == b"before")
        theirs = _exit_flow(network)
        right = Resume(theirs.flow_id, theirs.secret, theirs.epoch + 1, Position(6, 6, 1000, False))
        asked = {
            "secret": right._replace(secret=bytes(16)),
            "epoch": right._replace(epoch=theirs.epoch),
            "id": right._replace(flow_id=bytes(16)),
        }[wrong]
        answer = await _first_frame(client, encode_resume(asked))
        await until(lambda: answer.data)
        assert answer.data == bytes([Frame.RESET, 0, 0, 1, Reason.CLOSED])
        flow.write(b" after")
        await until(lambda: heard.data == b"before after")


@SHAPED
async def test_a_secret_is_worth_nothing_after_the_next_one_was_used(shape: Shape) -> None:
    async with three_hops(Board().engine, shape) as (network, client, _):
        flow, heard = await _talking(client)
        old = _exit_flow(network).secret
        for epoch in (1, 2):
            client.pool.hop()
            flow.write(b"x")
            await until(lambda epoch=epoch: (_exit_flow(network).epoch, len(heard.data)) == (epoch, epoch))  # type: ignore[misc]
        replay = Resume(_exit_flow(network).flow_id, old, 9, START)
        answer = await _first_frame(client, encode_resume(replay))
        await until(lambda: answer.data)
        assert answer.data[0] == Frame.RESET


@pytest.mark.parametrize("lost", ["the claim", "its answer"])
async def test_a_claim_that_gets_lost_is_made_again(lost: str) -> None:
    async with three_hops(Board().engine) as (network, client, _):
        flow, heard = await _talking(client)
        flow.write(b"before")
        await until(lambda: heard.data == b"before")
        for epoch in range(1, 4):
            circuit = await client.pool.builder.build(client.pool.builder.path())
            client.pool._circuits.append(circuit)
            circuit.isolation = f"{epoch}"  # so that its flow does not come back to one of these
            _lose(circuit, answers=lost == "its answer")
            circuit.adopt(flow)
            if lost == "its answer":
                await until(lambda epoch=epoch: _exit_flow(network).epoch == epoch)  # type: ignore[misc]
        circuit.close(Reason.TIMED_OUT)
        flow.write(b" after")
        await until(lambda: heard.data == b"before after")


def _lose(circuit: Circuit, *, answers: bool) -> None:
    """Make the next stream of a circuit lose what is sent on it, or what comes back."""
    opened = circuit._open_stream

    def open_stream() -> tuple[LinkStream, Layers]:
        stream, layers = opened()
        kind = _Deaf if answers else _Mute
        stream = circuit.link._streams[stream.id] = kind(circuit.link, stream.id, None)
        return stream, layers

    circuit._open_stream = open_stream  # type: ignore[method-assign]


class _Mute(LinkStream):
    def send(self, record: bytearray, *, last: bool = False) -> bool:
        return True


class _Deaf(LinkStream):
    def received(self, data: memoryview) -> None:
        """Lose it."""


@pytest.mark.parametrize(
    "lie", [Position(99, 99, 1000, False), Position(0, 1, 1000, False), Position(4, 4, 1000, True)]
)
async def test_an_impossible_position_ends_the_flow(lie: Position) -> None:
    async with three_hops(Board().engine) as (network, client, echo):
        flow, heard = await _talking(client)
        flow.write(b"text")
        await until(lambda: heard.data == b"text")
        theirs = _exit_flow(network)
        await _first_frame(client, encode_resume(Resume(theirs.flow_id, theirs.secret, 1, lie)))
        await until(lambda: echo.listeners[0].reason is Reason.PROTOCOL)
        assert len(network.nodes[2].relay.table) == 0


async def test_a_flow_id_is_used_once() -> None:
    async with three_hops(Board().engine) as (network, client, echo):
        flow, heard = await _talking(client)
        answer = await _first_frame(client, encode_open(_exit_flow(network).flow_id, "echo.example", 80))
        await until(lambda: answer.data)
        assert answer.data == bytes([Frame.RESET, 0, 0, 1, Reason.PROTOCOL])
        assert len(echo.asked) == 1
        flow.write(b"text")
        await until(lambda: heard.data == b"text")


async def test_orphans_are_bounded_in_number(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(terminal, "MAX_ORPHANS", 3)
    async with three_hops(Board().engine) as (network, client, echo):
        for _ in range(5):
            await _talking(client)
        await client.close()
        await until(lambda: network.nodes[2].relay.table.orphan_count == 3)
        assert [listener.reason for listener in echo.listeners].count(Reason.CLOSED) == 2


async def test_orphans_are_bounded_in_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(terminal, "ORPHAN_BYTES", 10)
    async with three_hops(Board().engine) as (network, client, echo):
        flow, heard = await _talking(client)
        flow.write(b"more than ten bytes")
        await until(lambda: heard.data)
        await client.close()
        await until(lambda: echo.listeners[0].reason is Reason.CLOSED)
        assert network.nodes[2].relay.table.orphan_count == 0


async def test_orphans_are_given_up_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(terminal, "ORPHAN_S", 0.1)
    async with three_hops(Board().engine) as (network, client, echo):
        await _talking(client)
        await client.close()
        await until(lambda: echo.listeners[0].reason is Reason.CLOSED)
        assert len(network.nodes[2].relay.table) == 0
