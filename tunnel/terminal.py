"""The last hop of a circuit: flows end here and are handed to whoever connects them.

A flow belongs to its client and not to a circuit. When its path goes, it waits in the exit's `FlowTable` for a RESUME
over another circuit, for a limited time and in limited memory. Who resumes a flow must know a secret that only the
client of the circuit before could derive; each resume replaces it.
"""

from __future__ import annotations

import asyncio
import secrets
from hmac import compare_digest
from typing import TYPE_CHECKING, Final, Protocol

from core.errors import DecodeError, Reason
from tunnel.apart import ApartCarrier
from tunnel.arrival import Arrival
from tunnel.credit import CircuitCredit
from tunnel.datagrams import Datagrams
from tunnel.flow import FlowEnd
from tunnel.frames import (
    SECRET_BYTES,
    Frame,
    decode_credit,
    decode_flow_id,
    decode_open,
    decode_resume,
    decode_token,
    encode_reset,
    encode_resumed,
    encode_token,
    frame,
    split,
)
from tunnel.lane import LaneCarrier
from tunnel.lanes import Lanes
from tunnel.layers import Layers
from tunnel.limits import MAX_FLOWS_PER_CIRCUIT, MAX_ORPHANS, ORPHAN_BYTES, ORPHAN_S
from tunnel.wireguard.primitives import mac
from tunnel.wireguard.session import Session

if TYPE_CHECKING:
    from collections import Counter

    from core.flow import IncomingDatagrams, IncomingFlow
    from tunnel.carrier import Carrier
    from tunnel.frames import Open, Resume
    from tunnel.lane import Lane
    from tunnel.link_stream import LinkStream, StreamReceiver
    from tunnel.memory import Memory
    from tunnel.padding import Shape
    from tunnel.wireguard.handshake import Keys

_LABEL_RESUME: Final = b"Macro VPN v1 resume"


class FlowAcceptor(Protocol):
    """Who makes the connections that clients ask this exit for."""

    def flow_requested(self, flow: IncomingFlow, host: str, port: int) -> None:
        """Connect, then `flow.accept()`; or `flow.reset(reason)`."""

    def datagrams_requested(self, flow: IncomingDatagrams) -> None:
        """Open a UDP socket, then `flow.accept()`; or `flow.close(reason)`."""


class ResumeKey:
    """Makes the secrets of the flows of one circuit; both its ends have the same.

    Args:
        keys: shared by the client and the exit.
    """

    def __init__(self, keys: Keys) -> None:
        self._key = keys.derive(_LABEL_RESUME, 1)[0]

    def secret(self, flow_id: bytes) -> bytes:
        """16 bytes that prove who has the flow now."""
        return mac(self._key, flow_id)[:SECRET_BYTES]


class FlowTable:
    """Every flow of an exit, by id, and those among them that have no path."""

    def __init__(self) -> None:
        self._flows: dict[bytes, ExitFlow] = {}
        self._orphans: dict[ExitFlow, asyncio.TimerHandle] = {}

    def __len__(self) -> int:
        return len(self._flows)

    @property
    def orphan_count(self) -> int:
        return len(self._orphans)

    def add(self, flow: ExitFlow) -> None:
        """Take in a new flow.

        Raises:
            DecodeError: there is one with its id.
        """
        if flow.flow_id in self._flows:
            raise DecodeError("OPEN", "flow id used")
        self._flows[flow.flow_id] = flow

    def get(self, flow_id: bytes) -> ExitFlow | None:
        return self._flows.get(flow_id)

    def claim(self, asked: Resume) -> ExitFlow | None:
        """The flow that a client may resume; None when there is none, or the client cannot prove that it is its own."""
        flow = self._flows.get(asked.flow_id)
        if flow is None or not flow.is_claimed_by(asked):
            return None
        self._adopted(flow)
        return flow

    def orphan(self, flow: ExitFlow) -> None:
        """Keep a flow whose path is gone, for a while; the oldest gives way when there are too many."""
        self._adopted(flow)
        timer = asyncio.get_running_loop().call_later(ORPHAN_S, flow.give_up)
        self._orphans[flow] = timer
        while len(self._orphans) > MAX_ORPHANS or self._waiting_bytes() > ORPHAN_BYTES:
            next(iter(self._orphans)).give_up()

    def _waiting_bytes(self) -> int:
        return sum(flow.held_bytes for flow in self._orphans)

    def _adopted(self, flow: ExitFlow) -> None:
        timer = self._orphans.pop(flow, None)
        if timer is not None:
            timer.cancel()

    def remove(self, flow: ExitFlow) -> None:
        """Forget a flow that is over."""
        self._adopted(flow)
        if self._flows.get(flow.flow_id) is flow:
            del self._flows[flow.flow_id]

    def end(self, reason: Reason) -> None:
        """Tell both sides of every flow that it is over, if that can be told."""
        for flow in list(self._flows.values()):
            flow.end(reason)

    def close(self) -> None:
        """End every flow."""
        for flow in list(self._flows.values()):
            flow.give_up()


class ExitFlow(FlowEnd):
    """A flow as the exit holds it.

    Args:
        terminal: the circuit it was opened on.
        flow_id: 16 bytes that the client chose.
    """

    def __init__(self, terminal: Terminal, flow_id: bytes) -> None:
        super().__init__(terminal.credit)
        self._terminal = terminal
        self._accepted = False
        self.flow_id = flow_id
        self.secret = self._proven = terminal.resume_key.secret(flow_id)
        self.epoch = 0

    @property
    def circuit(self) -> object:
        """As `core.flow.IncomingFlow` says."""
        return self._terminal

    def accept(self) -> None:
        if not self._accepted and self._reason is None:
            self._accepted = True
            self._send(frame(Frame.OPENED) + self._first_credit())

    def is_claimed_by(self, asked: Resume) -> bool:
        """Whether a RESUME proves the right to this flow, and is newer than the last one.

        A client whose last RESUME was not answered does not know whether it arrived, and proves with the same secret
        again; one that has the answer proves with the secret of that circuit.
        """
        known = [compare_digest(secret, asked.secret) for secret in (self.secret, self._proven)]
        return any(known) and asked.epoch > self.epoch

    def resume(self, carrier: Carrier, terminal: Terminal, asked: Resume) -> None:
        """Go on over another circuit.

        Raises:
            DecodeError: the client says that it received what was never sent.
        """
        self._terminal = terminal
        self._proven, self.epoch = asked.secret, asked.epoch
        self.secret = terminal.resume_key.secret(self.flow_id)
        self.move(carrier)
        self._send(encode_resumed(self._accepted, self._tell_position()))
        self.go_on_from(asked.position)

    def lose_path(self) -> None:
        """The circuit is over; wait for another one."""
        self.suspend()
        self._terminal.table.orphan(self)

    def give_up(self) -> None:
        """Nobody came back, or the exit ends."""
        if self._reason is None:
            self._fail(Reason.CLOSED)

    def end(self, reason: Reason) -> None:
        """The exit wants to be rid of it."""
        self._abort(reason)

    def _path_broke(self) -> None:
        self.lose_path()

    def _over(self) -> None:
        self._terminal.table.remove(self)


class CircuitFrames:
    """Flow 0: the frames of the circuit itself. Answers pings, each with one of its own to learn the round trip."""

    def __init__(self, stream: LinkStream, layers: Layers, credit: CircuitCredit[ExitFlow]) -> None:
        self._stream = stream
        self._layers = layers
        self._credit = credit
        self._asked: tuple[int, float] | None = None
        self._full = False
        self._owed: int | None = None
        credit.tell_with(self._send)

    def go_away(self) -> None:
        """Tell the client that this exit is about to stop."""
        self._send(frame(Frame.GOAWAY))

    def _send(self, frames: bytes) -> None:
        self._full = not self._stream.send(self._layers.seal(frames))

    def message(self, body: memoryview) -> None:
        try:
            for kind, content in split(self._layers.open(body)):
                self._frame(kind, content)
        except DecodeError as error:
            self._stream.link.counters[str(error)] += 1
            self._stream.leave()

    def _frame(self, kind: int, content: memoryview) -> None:
        match kind:
            case Frame.PING:
                self._ping_came(decode_token(content))
            case Frame.PONG:
                self._answered(decode_token(content))
            case Frame.CREDIT:
                self._credit.credit_came(*decode_credit(content))
            case Frame.PAD:
                pass
            case _:
                raise DecodeError("frame", "not legal on flow 0")

    def _ping_came(self, token: int) -> None:
        """Answer, now or when the client takes it. Who asks and does not read gets an answer to the last ping alone."""
        self._owed = token if self._full else None
        if not self._full:
            self._send(encode_token(Frame.PONG, token) + self._ask())

    def _ask(self) -> bytes:
        if self._asked is not None:
            return b""
        self._asked = secrets.randbits(64), self._credit.clock()
        return encode_token(Frame.PING, self._asked[0])

    def _answered(self, token: int) -> None:
        if self._asked is None or token != self._asked[0]:
            raise DecodeError("PONG", "answers nothing")
        self._credit.measured(self._credit.clock() - self._asked[1])
        self._asked = None

    def datagram(self, body: memoryview) -> None:
        """Means nothing here."""

    def ended(self) -> None:
        self._stream.finish()
        self._stream.link.forget_stream(self._stream)

    def writable(self) -> None:
        self._full = False
        if self._owed is not None:
            self._ping_came(self._owed)


class ExitDatagrams(Datagrams[ExitFlow]):
    """A UDP association as the exit holds it: a `core.flow.IncomingDatagrams`."""

    @property
    def circuit(self) -> object:
        """As `core.flow.IncomingFlow` says."""
        return self.flow.circuit

    def accept(self) -> None:
        self.flow.accept()


class Entry(Protocol):
    """Where a flow of a client comes in."""

    @property
    def counters(self) -> Counter[str]:
        """Why something was refused."""

    def carrier_for(self, flow: ExitFlow) -> Carrier:
        """Bind what carries frames between the client and `flow`."""


class Terminal:
    """One circuit that ends here.

    Args:
        keys: shared with the client.
        acceptor: who makes the connections; None at a relay that is no exit.
        table: the exit's flows.
        memory: the node's.
        paid: whether the circuit costs something.
    """

    def __init__(
        self, keys: Keys, acceptor: FlowAcceptor | None, table: FlowTable, memory: Memory, *, paid: bool = False
    ) -> None:
        self._session = Session(keys)
        self._acceptor = acceptor
        self.resume_key = ResumeKey(keys)
        self.table = table
        loop = asyncio.get_running_loop()
        self.credit: CircuitCredit[ExitFlow] = CircuitCredit(memory, loop.time, loop.call_soon, paid=paid)
        self._lanes = Lanes(self.credit)
        self._frames: CircuitFrames | None = None
        self._leaving = False

    @property
    def flows(self) -> set[ExitFlow]:
        """Those that the circuit carries now."""
        return self.credit.flows

    @property
    def flow_count(self) -> int:
        return len(self.flows)

    def open(self, stream: LinkStream, number: int) -> StreamReceiver:
        """A receiver for the stream of flow `number`, which the client just opened."""
        layers = Layers([self._session], [number])
        if number:
            return Arrival(stream, layers, self)
        self._frames = CircuitFrames(stream, layers, self.credit)
        if self._leaving:
            self._frames.go_away()
        return self._frames

    def go_away(self) -> None:
        """Tell the client that this exit is about to stop, as soon as there is a way to."""
        self._leaving = True
        if self._frames is not None:
            self._frames.go_away()

    # -- flows that come

    def lane_arrived(self, stream: LinkStream, layers: Layers, shape: Shape) -> Lane:
        """Take in a lane, on which flows will come.

        Raises:
            DecodeError: the circuit has too many.
        """
        return self._lanes.arrived(stream, layers, shape, self._begin_on_lane)

    def set_apart(self, stream: LinkStream, layers: Layers, flow_id: bytes) -> None:
        """Let a flow of this circuit leave its lane for a stream of its own.

        Raises:
            DecodeError: there is no such flow on a lane of this circuit.
        """
        flow = self.table.get(flow_id)
        lane_part = None if flow is None or flow not in self.flows else flow.carrier
        if flow is None or not isinstance(lane_part, LaneCarrier):
            raise DecodeError("APART", "no such flow on a lane")
        stream.receiver = carrier = ApartCarrier(stream, layers, self.credit, flow, lane_part)
        flow.go_apart(carrier)
        flow.go_on()

    def _begin_on_lane(self, kind: int, content: memoryview, carrier: LaneCarrier) -> None:
        refused = self.admit(kind, content, carrier)
        if isinstance(refused, Reason):
            carrier.send(encode_reset(refused), last=True)

    def admit(self, kind: int, content: memoryview, entry: Entry) -> ExitFlow | Reason:
        """Act on a flow's first frame; returns the flow, or why it is refused."""
        try:
            flow = self._first_frame(kind, content, entry)
        except DecodeError as error:
            entry.counters[str(error)] += 1
            return Reason.PROTOCOL
        if flow is None:
            entry.counters["RESUME: no such flow"] += 1
            return Reason.CLOSED
        return flow

    def _first_frame(self, kind: int, content: memoryview, entry: Entry) -> ExitFlow | None:
        match kind:
            case Frame.OPEN:
                return self._opened(decode_open(content), entry)
            case Frame.OPEN_DATAGRAMS:
                return self._opened_datagrams(decode_flow_id(content), entry)
            case Frame.RESUME:
                return self._resumed(decode_resume(content), entry)
            case _:
                raise DecodeError("frame", "OPEN comes first")

    def _opened(self, asked: Open, entry: Entry) -> ExitFlow:
        """Begin a flow, and pass the request on, within the limit.

        Raises:
            DecodeError: its id is used.
        """
        flow = self._begin(asked.flow_id, entry)
        if self._acceptor is not None and not flow.over:
            self._acceptor.flow_requested(flow, asked.host, asked.port)
        return flow

    def _opened_datagrams(self, flow_id: bytes, entry: Entry) -> ExitFlow:
        """Begin a UDP association likewise.

        Raises:
            DecodeError: its id is used.
        """
        flow = self._begin(flow_id, entry)
        if self._acceptor is not None and not flow.over:
            self._acceptor.datagrams_requested(ExitDatagrams(flow))
        return flow

    def _begin(self, flow_id: bytes, entry: Entry) -> ExitFlow:
        flow = ExitFlow(self, flow_id)
        self.table.add(flow)
        flow.start(entry.carrier_for(flow))
        if self._acceptor is None:
            flow.reset(Reason.NOT_ALLOWED)
        elif self.flow_count > MAX_FLOWS_PER_CIRCUIT:
            flow.reset(Reason.BUSY)
        return flow

    def _resumed(self, asked: Resume, entry: Entry) -> ExitFlow | None:
        """Go on with a flow, if the client proves that it is its own."""
        flow = self.table.claim(asked)
        if flow is not None:
            try:
                flow.resume(entry.carrier_for(flow), self, asked)
            except DecodeError as error:
                entry.counters[str(error)] += 1
                flow.break_off()
        return flow

    def close(self) -> None:
        """The circuit is over; its flows wait for another one."""
        for flow in list(self.flows):
            flow.lose_path()
        self._lanes.close()
