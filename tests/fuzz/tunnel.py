"""Readers of the tunnel: what neighbours, hops, exits and clients send."""

from __future__ import annotations

import asyncio
import copy
import struct
from contextlib import suppress
from functools import cache
from typing import TYPE_CHECKING

from core.errors import CircuitError, DecodeError, Reason
from tests.fuzz.target import Target, in_loop, joined, parts
from tests.harness.joined import Ends, JoinedStream
from tests.harness.linked import Linked, Receiver, record
from tests.harness.network import Echo
from tests.harness.waiting import turns
from tests.tunnel.test_control import Two, machine_in
from tests.tunnel.test_creation import Chain
from tests.tunnel.wireguard.reference import mac1
from tunnel import control
from tunnel.assembler import Assembler
from tunnel.control import (
    DESCRIPTOR,
    ControlMachine,
    GotControl,
    Kind,
    State,
    decode_circuit,
    decode_hops,
    decode_reason,
    encode_circuit,
)
from tunnel.creation import ANSWER_BYTES, CREATION_BYTES, Creation, Slot, consume_creation
from tunnel.frames import (
    Frame,
    Position,
    Resume,
    decode_credit,
    decode_datagram,
    decode_flow_id,
    decode_open,
    decode_reset,
    decode_resume,
    decode_resumed,
    decode_token,
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
from tunnel.lane_frames import decode_select, encode_select
from tunnel.layers import Layers
from tunnel.limits import FLOW_WINDOW, LANE_BYTES, MAX_HOPS
from tunnel.memory import Memory
from tunnel.padding import Shape, decode_shape, encode_shape
from tunnel.terminal import FlowTable, Terminal
from tunnel.wireguard.handshake import Keys
from tunnel.wireguard.noise import NO_PSK
from tunnel.wireguard.primitives import public_bytes
from tunnel.wireguard.session import Session

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from core.flow import Buffer
    from tunnel.link_stream import StreamReceiver

ID = bytes(range(16))

# -- streams and frames


def _records(assembler: Assembler, chunks: Iterator[bytes]) -> tuple[list[bytes], bool]:
    found: list[bytes] = []
    try:
        for chunk in chunks:
            found += map(bytes, assembler.feed(memoryview(chunk)))
    except DecodeError:
        return found, False
    return found, True


def read_records(data: bytes) -> None:
    """Limit (1), size of a chunk (1), stream: the cut must not matter."""
    if len(data) < 2:
        return
    limit, step, stream = data[0], data[1] + 1, data[2:]
    whole, good = _records(Assembler(limit), iter([stream]))
    pieces = _records(Assembler(limit), (stream[at : at + step] for at in range(0, len(stream), step)))
    assert (whole, good) == pieces
    assert all(len(one) <= limit for one in whole)
    again = b"".join(len(one).to_bytes(2) + one for one in whole)
    assert stream.startswith(again)


def read_frames(data: bytes) -> None:
    found = list(split(memoryview(data)))
    assert b"".join(struct.pack(">I", kind << 24 | len(body)) + body for kind, body in found) == data


def _body(
    decode: Callable[[memoryview], object], encode: Callable[..., bytes], *, many: bool
) -> Callable[[bytes], None]:
    """What decodes must encode to the same bytes, so that nothing has two spellings."""

    def read(data: bytes) -> None:
        value = decode(memoryview(data))
        again = encode(*value) if many and isinstance(value, tuple) else encode(value)
        assert again[4:] == data, "two spellings of one frame"

    return read


def read_reset(data: bytes) -> None:
    reason = decode_reset(memoryview(data))
    assert encode_reset(reason)[4:] == data or reason is Reason.PROTOCOL


_LANE, _SELECT = encode_shape(Shape.EVEN), encode_select(1)
_POSITION = Position(5, 3, 1 << 20, True)
FRAMES = (
    frame(Frame.OPENED),
    frame(Frame.DATA, b"data"),
    frame(Frame.FIN),
    encode_reset(Reason.BUSY),
    encode_credit(0, FLOW_WINDOW),
    encode_token(Frame.PING, 1),
    encode_token(Frame.PONG, 1),
    frame(Frame.PAD, bytes(3)),
    encode_open(ID, "a.example", 443),
    encode_resume(Resume(ID, ID, 1, _POSITION)),
    encode_resumed(True, _POSITION),
    encode_open_datagrams(ID),
    encode_datagram("a.example", 53, b"payload"),
    encode_apart(ID),
)
"""One frame of each kind."""


def _bodies() -> Iterator[Target]:
    yield Target("frame-open", _body(decode_open, encode_open, many=True), (encode_open(ID, "a.example", 443)[4:],))
    yield Target("frame-reset", read_reset, (encode_reset(Reason.BUSY)[4:],))
    yield Target("frame-credit", _body(decode_credit, encode_credit, many=True), (encode_credit(1, 2)[4:],))
    ping = _body(decode_token, lambda token: encode_token(Frame.PING, token), many=False)
    yield Target("frame-ping", ping, (encode_token(Frame.PING, 1)[4:],))
    resume = Resume(ID, ID, 1, _POSITION)
    yield Target("frame-resume", _body(decode_resume, encode_resume, many=False), (encode_resume(resume)[4:],))
    resumed = encode_resumed(True, _POSITION)[4:]
    yield Target("frame-shape", _body(decode_shape, encode_shape, many=False), (_LANE[4:],))
    yield Target("frame-select", _body(decode_select, encode_select, many=False), (_SELECT[4:],))
    datagram = encode_datagram("a.example", 53, b"payload")[4:]
    yield Target("frame-datagram", _body(decode_datagram, encode_datagram, many=True), (datagram,))
    association = _body(decode_flow_id, encode_open_datagrams, many=False)
    yield Target("frame-apart", _body(decode_flow_id, encode_apart, many=False), (encode_apart(ID)[4:],))
    yield Target("frame-open-datagrams", association, (encode_open_datagrams(ID)[4:],))
    yield Target("frame-resumed", _body(decode_resumed, encode_resumed, many=True), (resumed,))


def read_flow(data: bytes) -> None:
    """Which end hears it, and whether it reads (1); then messages: an end takes what opens, and keeps its contract."""
    ends = Ends(hungry=data[:1] < b"\x80")
    end, other = (ends.near, ends.far) if data[:1] and data[0] & 1 else (ends.far, ends.near)
    end.flow.write(b"some bytes of its own")
    for message in parts(data[1:]):
        other.say(message)
        other.stream.deliver(end.carrier)
    assert end.credit.held_bytes == end.credit.memory.held_bytes == (0 if end.flow.over else end.flow.held_bytes)
    assert end.flow.over == bool(end.heard.closed) == end.stream.finished
    assert end.flow.overs == end.flow.over
    assert end.flow._sent == len(b"some bytes of its own")


def read_exit(data: bytes) -> None:
    """What a client that has the keys does with its circuits: the exit does not raise, and its books are right."""
    in_loop(_read_exit(data))


class _Stream(JoinedStream):
    """A stream whose receiver changes when it is known what flow it is of."""

    receiver: StreamReceiver

    def send_datagram(self, message: Buffer) -> bool:
        """Lose it."""
        return True


async def _read_exit(data: bytes) -> None:
    table, echo, memory = FlowTable(), Echo(), Memory()
    streams: dict[int, tuple[_Stream, Layers]] = {}
    terminal = Terminal(_EXIT_KEYS, echo, table, memory)
    for step in parts(data):
        operation, plaintext = (step[0], step[1:]) if step else (0, b"")
        number = operation & 7
        if number not in streams:
            stream = _Stream()
            stream.receiver = terminal.open(stream.as_stream, number)
            streams[number] = stream, Layers([Session(_CLIENT_KEYS)], [number])
        stream, layers = streams[number]
        if stream.cut or stream.end_delivered:
            continue
        if operation & 8:
            plaintext = plaintext.ljust(LANE_BYTES, b"\0")  # as lanes want it
        if operation < 0xC0:
            stream.receiver.message(memoryview(layers.seal(plaintext))[2:-16])
        elif operation < 0xE0:
            with suppress(DecodeError):
                stream.receiver.datagram(memoryview(layers.seal_datagram(plaintext)))
        elif operation < 0xF0:
            stream.end_delivered = True
            stream.receiver.ended()
        else:
            terminal.close()
            terminal, streams = Terminal(_EXIT_KEYS, echo, table, memory), {}
        await asyncio.sleep(0)
    held = len(table)
    assert held == sum(not flow.over for flow in table._flows.values())
    assert held == table.orphan_count + terminal.flow_count
    assert memory.held_bytes == sum(flow.held_bytes for flow in terminal.flows)
    table.close()
    assert (len(table), memory.held_bytes) == (0, 0)
    terminal.close()


_EXIT_KEYS = Keys(bytes(32), bytes([1] * 32), 1, 2, bytes(32), bytes(32))
_CLIENT_KEYS = Keys(bytes([1] * 32), bytes(32), 2, 1, bytes(32), bytes(32))


# -- the control stream


@cache
def _template(state: State) -> tuple[ControlMachine, Two]:
    return machine_in(state)


def _fresh(state: State) -> ControlMachine:
    """A machine in a state, apart from those before."""
    machine = copy.copy(_template(state)[0])
    machine.outgoing = []
    machine._sealed = copy.copy(machine._sealed)
    return machine


def read_clear(data: bytes) -> None:
    """State (1), record in clear: a refused one changes nothing."""
    if not data:
        return
    state = list(State)[data[0] % len(State)]
    machine = _fresh(state)
    try:
        machine.receive(data[1:])
    except DecodeError:
        assert (machine.state, machine.outgoing) == (state, [])
        raise


@cache
def _keyed(up: bool) -> Two:
    """Both machines have keys; far waits for HELLO, or has it."""
    two = Two()
    if up:
        two.up()
    else:
        two.near.receive(two.responded())
        assert two.near._sealed is not None
        two.near._sealed._sent = 0
    return two


def read_sealed(data: bytes) -> None:
    """Whether the link is up (1), then plaintexts under the right keys."""
    two = _keyed(data[:1] > b"\x7f")
    machine, sealer = copy.copy(two.far), copy.copy(two.near._sealed)
    machine.outgoing, machine._sealed = [], copy.copy(machine._sealed)
    assert sealer is not None
    for plaintext in parts(data[1:]):
        before = machine.state
        try:
            events = machine.receive(sealer.seal(plaintext))
        except DecodeError:
            assert machine.state is before
            raise
        for event in events:
            if isinstance(event, GotControl) and event.kind in (Kind.CREATE, Kind.CREATED, Kind.DESTROY, Kind.GOAWAY):
                number, rest = decode_circuit(event.kind, event.body)
                assert encode_circuit(number, rest) == event.body
                if event.kind == Kind.DESTROY:
                    decode_reason(rest)
                elif event.kind == Kind.GOAWAY:
                    assert decode_hops(rest) < MAX_HOPS
            elif isinstance(event, GotControl) and event.kind in (Kind.PING, Kind.PONG):
                assert control.encode_token(control.decode_token(event.body)) == event.body


def _first_records() -> tuple[bytes, ...]:
    two = Two()
    initiation = two.initiate()
    states = list(State)
    return (
        bytes([states.index(State.START), 16]),
        bytes([states.index(State.START)]) + initiation,
        bytes([states.index(State.WANTING), DESCRIPTOR]) + b"descriptor",
    )


def read_link(data: bytes) -> None:
    """Steps of a neighbour that has the keys: a link may end, but must not raise, nor deliver what was not tagged."""
    in_loop(_read_link(data))


async def _read_link(data: bytes) -> None:
    linked = await Linked.up()
    linked.far_events.refusing = bool(data[:1] > b"\x7f")
    near, far = linked.near, linked.far
    streams = [near.open_stream(Receiver()) for _ in range(3)]
    sent: dict[int, list[bytes]] = {stream.id: [] for stream in streams}
    for step in parts(data[1:]):
        operation, rest = (step[0], step[1:]) if step else (0, b"")
        stream = streams[operation >> 4 & 1]
        match operation & 7:
            case 0:
                far.stream_received(stream.id, memoryview(rest), bool(operation & 8))
            case 1:
                stream.send(record(rest))
                sent[stream.id].append(rest)
            case 2:
                near._machine._send(Kind.HELLO, b"") if not rest else near._machine.outgoing.append(
                    near._machine._sealed.seal(rest)  # type: ignore[union-attr]
                )
                near._flush()
            case 3:
                far.stream_reset(stream.id)
            case 4:
                far.stream_received(operation, memoryview(rest), bool(operation & 8))
            case 5:
                far.stream_drained(operation)
            case 6 if operation & 8:
                far.datagram_received(memoryview(rest))
            case 6:
                near.connection.send_datagram(near.datagram_tags.seal(stream.id, rest))
            case _:
                await _turn()
    await _turn()
    for receiver in linked.far_events.opened:
        assert receiver.stream is not None
        said = sent.get(receiver.stream.id, [])
        assert receiver.messages == said[: len(receiver.messages)], "delivered what was not sent"
    assert not far.counters["internal error"]
    assert far.closed or far.is_up


async def _turn() -> None:
    await turns(4)


# -- creation


def read_slot(data: bytes) -> None:
    data = data.ljust(48, b"\0")[:48]
    slot = Slot.decode(data)
    assert Slot.encode(slot) == data, "two spellings of one slot"


@cache
def _chain() -> Chain:
    return Chain(2, "fuzz")


def read_creation(data: bytes) -> None:
    """A creation whose mac1 every peer of the network can make."""
    data = data.ljust(CREATION_BYTES, b"\0")[:CREATION_BYTES]
    responder = _chain().responders[0]
    head = mac1(data[:1332], public_bytes(responder._static), NO_PSK)
    asked = consume_creation(head + data[1332:], responder)
    assert len(asked.onward) == CREATION_BYTES


def read_answer(data: bytes) -> None:
    """An answer to a creation; mac1 of its first part is made."""
    creation = _creation()
    own = creation._initiators[0]._static_public
    data = data.ljust(ANSWER_BYTES, b"\0")[:ANSWER_BYTES]
    creation.consume_answer(mac1(data[:1180], own, NO_PSK) + data[1180:])


@cache
def _creation() -> Creation:
    return _chain().create()


def _answer() -> bytes:
    chain = _chain()
    answers, _ = chain.answer(chain.pass_on(_creation().message))
    return answers[0]


TARGETS = (
    Target("records", read_records, (b"\xff\xff\0\3abc\0\0", b"\5\1\0\3abc\0\1d")),
    Target("frames", read_frames, (b"".join(FRAMES), *FRAMES)),
    *_bodies(),
    Target("flow", read_flow, tuple(bytes([side]) + joined(*FRAMES[1:6]) for side in (0, 1, 128))),
    Target(
        "exit",
        read_exit,
        (
            joined(b"\0" + FRAMES[5], b"\1" + FRAMES[8] + FRAMES[1], b"\1" + FRAMES[2], b"\xe1"),
            joined(b"\1" + FRAMES[8] + FRAMES[1], b"\xf0", b"\1" + FRAMES[9], b"\2" + FRAMES[8]),
            joined(
                b"\x09" + _LANE + _SELECT + FRAMES[8] + FRAMES[1] + _SELECT[:-1] + b"\2" + FRAMES[10],
                b"\x09" + _SELECT + FRAMES[2] + frame(Frame.END),
                b"\xe1",
            ),
            joined(
                b"\1" + encode_shape(Shape.FREE) + _SELECT + FRAMES[8] + FRAMES[1],
                b"\2" + encode_apart(ID),
                b"\2" + FRAMES[1] + FRAMES[2],
                b"\1" + FRAMES[1] + frame(Frame.LEAVE),
            ),
            joined(b"\x0a" + _LANE + _SELECT + FRAMES[8], b"\xf0", b"\x09" + _LANE + _SELECT + FRAMES[9]),
            joined(b"\1" + FRAMES[11], b"\xc1" + FRAMES[12], b"\1" + FRAMES[2]),
        ),
    ),
    Target("control-clear", read_clear, _first_records()),
    Target(
        "control-sealed",
        read_sealed,
        (
            b"\0" + joined(b"\1\0\1\0"),
            b"\xff" + joined(b"\4\0\0\0\1\7", b"\5gossip", b"\x63"),
            b"\xff" + joined(b"\6" + bytes(8), b"\x12\0\0\0\1\2"),
        ),
    ),
    Target(
        "link",
        read_link,
        (
            b"\0" + joined(b"\1one", b"\1two", b"\x11three", b"\7", b"\3", b"\2\5gossip", b"\x08end"),
            b"\xff"
            + joined(
                b"\1one", b"\7", b"\6four", b"\x0efive", b"\1two", b"\0\0\4junk", b"\2\4\0\0\0\0\1", b"\2\3\0\0\0\1"
            ),
        ),
    ),
    Target("slot", read_slot, (Slot(None, 1).encode(), b"\1" + bytes(range(32)) + bytes(15))),
    Target("creation", read_creation, (_creation().message,), longest=CREATION_BYTES),
    Target("answer", read_answer, (_answer(),), (CircuitError,), longest=ANSWER_BYTES),
)
