"""Every frame in every state of a flow, at the exit's end and at the client's, and on a circuit's own stream."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

import pytest

from core.errors import Reason
from core.flow import FlowRequest
from tests.harness.bare import bare, check_alive
from tests.harness.network import Collect, chain
from tests.harness.waiting import turns, until
from tests.harness.wire import Board
from tests.tunnel.test_circuit import built, exit_flow, exit_frames
from tunnel.apart import ApartCarrier
from tunnel.frames import (
    Frame,
    Position,
    Resume,
    encode_apart,
    encode_credit,
    encode_datagram,
    encode_open,
    encode_open_datagrams,
    encode_reset,
    encode_resume,
    encode_resumed,
    encode_token,
    frame,
    split,
)
from tunnel.limits import CIRCUIT_WINDOW, FLOW_WINDOW, MAX_PLAINTEXT

if TYPE_CHECKING:
    from tests.harness.bare import Bare
    from tests.harness.linked import Receiver
    from tests.harness.network import Echo, Network
    from tunnel.circuit import Circuit
    from tunnel.client_flow import ClientFlow
    from tunnel.layers import Layers
    from tunnel.link_stream import LinkStream
    from tunnel.terminal import ExitFlow

ID, OTHER_ID = bytes(16), bytes([1] * 16)
START: Final = Position(0, 0, FLOW_WINDOW, False)

FRAMES: Final[dict[str, bytes]] = {
    "OPEN": encode_open(OTHER_ID, "sink.example", 80),
    "OPEN_DATAGRAMS": encode_open_datagrams(OTHER_ID),
    "OPENED": frame(Frame.OPENED),
    "DATA": frame(Frame.DATA, b"data"),
    "FIN": frame(Frame.FIN),
    "RESET": encode_reset(Reason.LOCAL),
    "CREDIT": encode_credit(0, CIRCUIT_WINDOW - 1),
    "PING": encode_token(Frame.PING, 1),
    "PONG": encode_token(Frame.PONG, 1),
    "PAD": frame(Frame.PAD, bytes(100)),
    "RESUME": encode_resume(Resume(OTHER_ID, bytes(16), 1, START)),
    "RESUMED": encode_resumed(True, START),
    "DATAGRAM": encode_datagram("sink.example", 53, b"data"),
    "APART": encode_apart(OTHER_ID),
    "BLOCKED": frame(Frame(14)) if 14 in [*Frame] else frame(Frame.PAD),
    "the largest": frame(Frame.PAD, bytes(MAX_PLAINTEXT - 4)),
    "nothing": b"",
    "type 0": bytes(4),
    "type 255": b"\xff\0\0\0",
    "half a head": b"\x03\0",
    "DATA cut off": frame(Frame.DATA, b"data")[:-1],
    "DATA far too long": b"\x03\xff\xff\xff" + bytes(64),
    "OPENED with a body": frame(Frame.OPENED, b"x"),
    "FIN with a body": frame(Frame.FIN, b"x"),
    "CREDIT short": frame(Frame.CREDIT, bytes(11)),
    "CREDIT long": frame(Frame.CREDIT, bytes(13)),
    "CREDIT for what was not sent": encode_credit(1 << 40, FLOW_WINDOW),
    "CREDIT taken back": encode_credit(0, FLOW_WINDOW - 1),
    "CREDIT of all": encode_credit((1 << 64) - 1, (1 << 32) - 1),
    "RESET short": frame(Frame.RESET),
    "RESET long": frame(Frame.RESET, b"\1\1"),
}

ALIVE, PROTOCOL, OVER, CLOSED, SILENT = "goes on", "broke the protocol", "is over", "refused", "no answer"
_RUNNING: Final = {
    **dict.fromkeys(["DATA", "FIN", "CREDIT", "PAD", "BLOCKED", "the largest", "nothing"], ALIVE),
    "RESET": OVER,
}


class AtExit(NamedTuple):
    """A flow as its client drives it."""

    circuit: Bare
    stream: LinkStream
    layers: Layers
    receiver: Receiver

    def say(self, *frames: bytes) -> None:
        self.stream.send(self.layers.seal(b"".join(frames)))

    def heard(self) -> list[tuple[int, bytes]]:
        """What the exit has answered since the last call."""
        messages, self.receiver.messages[:] = list(self.receiver.messages), []
        return [(kind, bytes(body)) for one in messages for kind, body in split(self.layers.open(memoryview(one)))]


def only_flow(network: Network) -> ExitFlow:
    (flow,) = network.nodes[0].relay.table._flows.values()
    return flow


async def at_exit(state: str, network: Network, circuit: Bare, again: Bare, echo: Echo) -> AtExit:
    """Bring a flow into a state, at an exit that is the only hop."""
    there = AtExit(circuit, *circuit.stream([1]))
    if state == "new":
        return there
    if state == "an association":
        there.say(encode_open_datagrams(ID))
        await until(lambda: echo.associations)
    elif state == "asked":
        there.say(encode_open(ID, "silent.example", 80))
        await until(lambda: echo.asked)
    else:
        there.say(encode_open(ID, "sink.example", 80))
        await until(lambda: echo.listeners)
    listener = echo.listeners[0] if echo.listeners else None
    if state == "FIN came":
        there.say(frame(Frame.FIN))
        await until(lambda: listener is not None and listener.eof)
    elif state == "FIN sent":
        assert listener is not None
        assert listener.flow is not None
        listener.flow.finish()
    elif state == "over":
        there.say(encode_reset(Reason.LOCAL))
        await until(lambda: listener is not None and listener.reason is not None)
    elif state == "resumed":
        there = AtExit(again, *again.stream([1]))
        there.say(encode_resume(Resume(ID, only_flow(network).secret, 1, START)))
        await until(lambda: there.receiver.messages)
    await turns()
    there.heard()
    return there


EXIT: Final[dict[str, dict[str, str]]] = {
    "new": {"OPEN": ALIVE, "OPEN_DATAGRAMS": ALIVE, "RESUME": CLOSED},
    "asked": _RUNNING,
    "open": _RUNNING,
    "resumed": _RUNNING,
    "FIN came": {name: what for name, what in _RUNNING.items() if name not in ("DATA", "FIN")},
    "FIN sent": _RUNNING | {"FIN": OVER},
    "an association": {name: what for name, what in _RUNNING.items() if name != "DATA"} | {"FIN": OVER},
    "over": dict.fromkeys(FRAMES, SILENT),
}


@pytest.mark.parametrize("name", FRAMES)
@pytest.mark.parametrize("state", EXIT)
async def test_at_the_exit(state: str, name: str) -> None:
    expected = EXIT[state].get(name, PROTOCOL)
    async with chain(1, Board().engine) as (network, client, echo):
        circuit, again = await bare(network, client), await bare(network, client)
        exit_ = network.nodes[0]
        there = await at_exit(state, network, circuit, again, echo)
        there.say(FRAMES[name])
        await turns()
        heard = there.heard()
        resets = [Reason(body[0]) for kind, body in heard if kind == Frame.RESET]
        assert resets == {PROTOCOL: [Reason.PROTOCOL], CLOSED: [Reason.CLOSED]}.get(expected, [])
        assert len(exit_.relay.table) == (expected == ALIVE)
        counted = sum(sum(link.counters.values()) for link in exit_.links)
        assert counted == (expected in (PROTOCOL, CLOSED)) or expected == SILENT
        if expected == SILENT:
            assert heard == []
        if expected != ALIVE:
            assert exit_.memory.held_bytes == 0
        assert circuit.link.is_up
        assert not any(link.counters["internal error"] for link in exit_.links)
        await check_alive(client)


# -- the client's end


async def at_client(
    state: str, network: Network, circuit: Circuit, other: Circuit, *, apart: bool
) -> tuple[ClientFlow, ExitFlow]:
    """Bring a flow into a state, seen from its client: on a stream of its own, or on a lane."""
    flow = circuit.open_flow(FlowRequest("silent.example" if state == "asked" else "sink.example", 80))
    await until(lambda: len(network.nodes[1].relay.table))
    if apart:
        flow.apart = True
        circuit.set_apart(flow)
        await turns()
        assert isinstance(exit_flow(network).carrier, ApartCarrier)
    theirs = exit_flow(network)
    if state == "asked":
        return flow, theirs
    await flow.opened
    flow.attach(Collect(flow))
    if state == "FIN came":
        theirs.finish()
    elif state == "FIN sent":
        flow.finish()
    elif state == "over":
        flow.reset(Reason.LOCAL)
        # The exit hears of it, and goes on talking on a stream that its client has done with.
        carrier = theirs._carrier
        await turns()
        theirs._carrier = carrier
    elif state == "moved":
        other.adopt(flow)
    await turns()
    return flow, theirs


CLIENT: Final[dict[str, dict[str, str]]] = {
    "asked": {name: what for name, what in _RUNNING.items() if name not in ("DATA", "FIN")} | {"OPENED": ALIVE},
    "open": _RUNNING,
    "moved": _RUNNING,
    "FIN came": {name: what for name, what in _RUNNING.items() if name not in ("DATA", "FIN")},
    "FIN sent": _RUNNING | {"FIN": OVER},
    "over": dict.fromkeys(FRAMES, SILENT),
}


NO_FRAMES: Final = {"type 0", "half a head", "DATA cut off", "DATA far too long"}
"""On a lane these are padding, or spoil what comes after them; see test_lane.py."""


@pytest.mark.parametrize("name", FRAMES)
@pytest.mark.parametrize("state", CLIENT)
async def test_at_the_client(state: str, name: str) -> None:
    await _at_the_client(state, name, apart=True)


@pytest.mark.parametrize("name", FRAMES.keys() - NO_FRAMES)
@pytest.mark.parametrize("state", CLIENT)
async def test_at_the_client_on_a_lane(state: str, name: str) -> None:
    await _at_the_client(state, name, apart=False)


async def _at_the_client(state: str, name: str, *, apart: bool) -> None:
    expected = CLIENT[state].get(name, PROTOCOL)
    async with chain(2, Board().engine) as (network, client, _):
        circuit, ended = await built(network, client)
        other, _ = await built(network, client)
        flow, theirs = await at_client(state, network, circuit, other, apart=apart)
        theirs._send(FRAMES[name])
        await turns()
        assert flow.over == (expected != ALIVE)
        if expected == PROTOCOL:
            assert flow.reason is Reason.PROTOCOL
            assert sum(circuit.link.counters.values()) == 1
        assert flow.held_bytes == 0 or expected == ALIVE
        assert (circuit.over, ended.lost) == (False, [])
        assert circuit.link.is_up
        await check_alive(client)


# -- flow 0

_CIRCUIT: Final = {"PING", "PAD", "the largest", "nothing"}


@pytest.mark.parametrize("name", [*FRAMES, "circuit CREDIT"])
async def test_on_flow_0_at_the_exit(name: str) -> None:
    said = (FRAMES | {"circuit CREDIT": encode_credit(0, CIRCUIT_WINDOW)})[name]
    async with chain(1, Board().engine) as (network, client, _):
        circuit = await bare(network, client)
        there = AtExit(circuit, *circuit.stream([0]))
        there.say(said)
        await turns()
        fits = name in _CIRCUIT or name == "circuit CREDIT"
        assert bool(there.receiver.ends) is not fits
        assert [kind for kind, _ in there.heard()][:1] == ([Frame.PONG] if name == "PING" else [])
        assert circuit.link.is_up
        await check_alive(client)


@pytest.mark.parametrize("name", [*FRAMES, "circuit CREDIT"])
async def test_on_flow_0_at_the_client(name: str) -> None:
    said = (FRAMES | {"circuit CREDIT": encode_credit(0, CIRCUIT_WINDOW)})[name]
    async with chain(2, Board().engine) as (network, client, _):
        circuit, ended = await built(network, client)
        await turns()
        for frames in exit_frames(network, client):
            if name == "PING":
                frames._asked = 1, 0.0  # as if it had been the exit's own
            frames._stream.send(frames._layers.seal(said))
        await turns()
        fits = name in _CIRCUIT or name == "circuit CREDIT"
        assert ended.reasons == ([] if fits else [Reason.PROTOCOL])
        assert circuit.over is not fits
