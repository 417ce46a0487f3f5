"""The end of a circuit: what a client may say to an exit, and what it may not."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from core.errors import Reason
from tests.harness.bare import bare, check_alive
from tests.harness.network import chain
from tests.harness.waiting import turns, until
from tests.harness.wire import Board
from tunnel.frames import Frame, encode_open, encode_reset, encode_token, frame, split

if TYPE_CHECKING:
    from tests.harness.linked import Receiver
    from tunnel.layers import Layers

OPEN = encode_open(bytes(16), "echo.example", 443)


def said(layers: Layers, receiver: Receiver) -> list[tuple[int, bytes]]:
    """The frames that the exit has answered."""
    return [
        (kind, bytes(body)) for message in receiver.messages for kind, body in split(layers.open(memoryview(message)))
    ]


async def test_open_and_the_first_bytes_travel_together() -> None:
    async with chain(2, Board().engine) as (network, client, echo):
        circuit = await bare(network, client)
        stream, layers, receiver = circuit.stream([3, 9])
        stream.send(layers.seal(OPEN + frame(Frame.DATA, b"first")))
        await until(lambda: len(receiver.messages) == 2)
        assert echo.asked == [("echo.example", 443)]
        assert said(layers, receiver) == [(Frame.OPENED, b""), (Frame.DATA, b"first")]


@pytest.mark.parametrize(
    "frames",
    [
        [frame(Frame.DATA, b"x")],
        [frame(Frame.PAD)],
        [frame(Frame.FIN)],
        [frame(Frame.OPENED)],
        [encode_token(Frame.PING, 1)],
        [frame(Frame.OPEN, b"short")],
        [frame(Frame.OPEN, bytes(16) + b"\0\0a")],
        [frame(Frame.OPEN, bytes(16) + b"\0\x50a b")],
        [b"\1\0\0"],
        [OPEN, OPEN],
        [OPEN, frame(Frame.OPENED)],
        [OPEN, encode_token(Frame.PONG, 1)],
    ],
    ids=lambda frames: b"|".join(frames).hex(),
)
async def test_what_breaks_a_flow_at_the_exit(frames: list[bytes]) -> None:
    async with chain(1, Board().engine) as (network, client, echo):
        circuit = await bare(network, client)
        stream, layers, receiver = circuit.stream([1])
        stream.send(layers.seal(b"".join(frames)))
        await until(lambda: receiver.ends)
        assert said(layers, receiver)[-1] == (Frame.RESET, bytes([Reason.PROTOCOL]))
        assert len(echo.asked) == (frames[0] == OPEN)
        assert network.nodes[0].relay.flow_count == 0
        await check_alive(client)


async def test_a_refused_flow_is_answered_once() -> None:
    async with chain(2, Board().engine) as (network, client, echo):
        circuit = await bare(network, client)
        stream, layers, receiver = circuit.stream([1, 1])
        for _ in range(5):
            stream.send(layers.seal(frame(Frame.DATA, b"x")))
        stream.send(layers.seal(OPEN))
        await until(lambda: receiver.ends)
        await turns()
        assert said(layers, receiver) == [(Frame.RESET, bytes([Reason.PROTOCOL]))]
        assert receiver.ends == 1
        assert not echo.asked
        assert network.nodes[1].relay.flow_count == 0
        await check_alive(client)


async def test_a_flow_that_is_reset_before_it_is_answered() -> None:
    async with chain(1, Board().engine) as (network, client, echo):
        circuit = await bare(network, client)
        stream, layers, receiver = circuit.stream([1])
        stream.send(layers.seal(OPEN + encode_reset(Reason.LOCAL)))
        stream.finish()
        await until(lambda: receiver.ends)
        assert said(layers, receiver) == [(Frame.OPENED, b"")]
        assert echo.listeners[0].reason is Reason.LOCAL
        assert network.nodes[0].relay.flow_count == 0


async def test_pings_are_answered_in_order() -> None:
    async with chain(2, Board().engine) as (network, client, _):
        circuit = await bare(network, client)
        stream, layers, receiver = circuit.stream([0, 0])
        stream.send(layers.seal(encode_token(Frame.PING, 7) + frame(Frame.PAD, bytes(9)) + encode_token(Frame.PING, 8)))
        await until(lambda: len(receiver.messages) == 2)
        heard = said(layers, receiver)
        assert [body for kind, body in heard if kind == Frame.PONG] == [bytes(7) + b"\7", bytes(7) + b"\x08"]
        assert [kind for kind, _ in heard].count(Frame.PING) == 1  # its own, until that is answered


@pytest.mark.parametrize("wrong", [OPEN, frame(Frame.DATA, b"x"), frame(Frame.PING, b"short"), b"\7", b"\xff\0\0\0"])
async def test_what_is_not_legal_on_flow_0(wrong: bytes) -> None:
    async with chain(2, Board().engine) as (network, client, echo):
        circuit = await bare(network, client)
        stream, layers, receiver = circuit.stream([0, 0])
        stream.send(layers.seal(wrong))
        await until(lambda: receiver.ends)
        assert not receiver.messages
        assert not echo.asked
        await check_alive(client)


async def test_junk_on_flow_0_of_the_exit_costs_only_that_stream() -> None:
    async with chain(2, Board().engine) as (network, client, _):
        circuit = await bare(network, client)
        stream, layers, receiver = circuit.stream([0, 0])
        stream.send(layers.seal(encode_token(Frame.PING, 7)))
        await until(lambda: receiver.messages)
        guard_layer = layers._sessions[:1]
        layers._sessions, layers._outward = guard_layer, guard_layer
        stream.send(layers.seal(bytes(100)))
        await until(lambda: receiver.ends)
        _, _, flow = circuit.open(1)
        await until(lambda: flow.messages)
        await turns()
        assert circuit.link.is_up
