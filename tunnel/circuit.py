"""A circuit as the client holds it: keys with each hop, flows, and a ping that says whether the exit still answers."""

from __future__ import annotations

import asyncio
import secrets
from typing import TYPE_CHECKING, Protocol

from core.errors import DecodeError, FlowError, Reason
from core.flow import NO_OPTIONS
from tunnel.apart import ApartCarrier
from tunnel.blame import PAYEES_FAULT
from tunnel.carrier import StreamCarrier
from tunnel.client_flow import ClientFlow
from tunnel.credit import CircuitCredit
from tunnel.datagrams import Datagrams
from tunnel.frames import (
    Frame,
    decode_credit,
    decode_nothing,
    decode_token,
    encode_token,
    split,
)
from tunnel.lane import LaneCarrier
from tunnel.lanes import Lanes
from tunnel.layers import MAX_FLOW_NUMBER, Layers
from tunnel.limits import CLIENT_FLOWS_PER_CIRCUIT, UNPAID_QUEUE
from tunnel.padding import Shape
from tunnel.pulse import Pulse
from tunnel.tally import Tally
from tunnel.terminal import ResumeKey
from tunnel.use import Use
from tunnel.wireguard.session import Session

if TYPE_CHECKING:
    from core.flow import FlowRequest
    from core.ids import PeerKey
    from tunnel.carrier import Carrier
    from tunnel.link import Link
    from tunnel.link_stream import LinkStream
    from tunnel.memory import Memory
    from tunnel.path import Path
    from tunnel.toll import Account
    from tunnel.wireguard.handshake import Keys

_FIRST_NUMBERS = 1 << 20
"""Numbers that a hop's first flow may have; drawn without repetition, so that no flow has one number at two hops."""

_random = secrets.SystemRandom()


class CircuitEvents(Protocol):
    """Whom a circuit tells. Calls come from the event loop."""

    def circuit_proved(self, circuit: Circuit, asked_at: float) -> None:
        """Its exit has answered a ping that was sent at this loop time, so every hop of it lives."""

    def circuit_over(self, circuit: Circuit, reason: Reason) -> None:
        """It has ended; called once, before `flows_lost`."""

    def circuit_leaving(self, circuit: Circuit, place: int) -> None:
        """The hop at this place is about to stop: the exit says so itself, of another one a hop before it may."""

    def flows_lost(self, circuit: Circuit, flows: list[ClientFlow]) -> None:
        """Flows that could go on over another circuit to the same exit."""


class Circuit:
    """A live keyed path.

    Args:
        path: its hops.
        link: the link to the guard.
        number: the circuit's number on that link.
        keys: shared with each hop, the guard's first.
        retire_at: loop time from which it takes no more new flows.
        events: whom to tell.
        memory: the node's.
        shape: how its flows look to relays.
        price: the account of that link and what the circuit costs there, units per MB; None if it costs nothing.

    Attributes:
        options: what the user wants for the sites that it may carry; it was built for that.
        used_at: loop time at which it was last seen to carry flows, or given to one; looked at only with options.
        leaver: the hop that is about to stop; None while no word of one was heeded.
        culprit: the hop that is to blame for its end; None while that is not known.
        blameless: whether it ended because this node paid no more.
        use: what came and what it was of use for.
    """

    def __init__(
        self,
        path: Path,
        link: Link,
        number: int,
        keys: list[Keys],
        retire_at: float,
        events: CircuitEvents,
        memory: Memory,
        shape: Shape,
        price: tuple[Account, int] | None = None,
    ) -> None:
        self.path = path
        self.link = link
        self.number = number
        self.isolation: str | None = None
        self.options = NO_OPTIONS
        self.retire_at = retire_at
        self.over = False
        self.moving = False
        self.leaver: PeerKey | None = None
        self.culprit: PeerKey | None = None
        self.blameless = False
        self.resume_key = ResumeKey(keys[-1])
        self._events = events
        self._shape = shape
        self._sessions = [Session(own) for own in keys]
        self._numbers = _random.sample(range(1, _FIRST_NUMBERS + 1), len(path))
        self._loop = asyncio.get_running_loop()
        self.credit: CircuitCredit[ClientFlow] = CircuitCredit(
            memory, self._loop.time, self._loop.call_soon, covered=None if price is None else _covered(*price)
        )
        self.made_at = self.used_at = self._loop.time()
        self._tally = None if price is None else Tally(*price, self._holds)
        self.use = Use(shape, self._loop.time(), paid=price is not None)
        self._lanes = Lanes(self.credit, shape, self.use)
        self._unpaid_bytes = 0
        self._frames_full = self._may_be_asked = False
        self._frames_layers = Layers(self._sessions, [0] * len(path))
        self._frames = link.open_stream(_CircuitFrames(self), self._tally, self)
        self.credit.tell_with(self._send_frames)
        self.pulse = Pulse(self._send_ping, self)
        self.pulse.ping()

    # -- flows

    @property
    def flows(self) -> set[ClientFlow]:
        """Those that the circuit carries now."""
        return self.credit.flows

    @property
    def full(self) -> bool:
        """Whether it takes no more flows beside those that it carries now."""
        return len(self.flows) >= CLIENT_FLOWS_PER_CIRCUIT

    def open_flow(self, request: FlowRequest) -> ClientFlow:
        """Ask the exit for a flow; wait for its `opened`.

        Raises:
            FlowError: the circuit has ended, is full, or has no flow number left.
        """
        self._check_usable()
        flow = ClientFlow(self)
        flow.start(self._carrier_for(flow))
        flow.ask(request)
        self.pulse.attend()
        return flow

    def open_datagrams(self) -> Datagrams[ClientFlow]:
        """Ask the exit for a UDP association; wait for its `flow.opened`.

        Raises:
            FlowError: the circuit has ended, is full, or has no flow number left.
        """
        self._check_usable()
        flow = ClientFlow(self)
        flow.apart = True
        flow.start(self._carrier_for(flow))
        datagrams = Datagrams(flow)
        flow.ask_datagrams()
        self.pulse.attend()
        return datagrams

    def adopt(self, flow: ClientFlow) -> None:
        """Take over a flow from another circuit to the same exit.

        Raises:
            FlowError: the circuit has ended, is full, or has no flow number left.
        """
        self._check_usable()
        flow.resume(self, self._carrier_for(flow))
        self.pulse.attend()

    def ask_again(self, flow: ClientFlow, request: FlowRequest) -> None:
        """Ask this circuit's exit for a flow that another exit did not open.

        Raises:
            FlowError: the circuit has ended, is full, or has no flow number left.
        """
        self._check_usable()
        flow.ask_another(self, self._carrier_for(flow), request)
        self.pulse.attend()

    def _check_usable(self) -> None:
        if max(self._numbers) > MAX_FLOW_NUMBER:
            self.retire_at = 0.0
            raise FlowError(Reason.CLOSED)
        if self.over or self.full:
            raise FlowError(Reason.CLOSED)

    def _carrier_for(self, flow: ClientFlow) -> Carrier:
        if self._shape is Shape.EVEN or not flow.apart:
            return self._lanes.carrier_for(flow, self._open_stream)
        stream, layers = self._open_stream()
        stream.receiver = carrier = StreamCarrier(stream, layers, self.credit, flow)
        return carrier

    def set_apart(self, flow: ClientFlow) -> None:
        """Give a flow a stream of its own, if the mode allows it and nothing stands against it."""
        lane_part = flow.carrier
        if self._shape is Shape.EVEN or self.over or flow.over or not isinstance(lane_part, LaneCarrier):
            return
        if max(self._numbers) <= MAX_FLOW_NUMBER:
            stream, layers = self._open_stream()
            stream.receiver = carrier = ApartCarrier(stream, layers, self.credit, flow, lane_part)
            flow.leave_lane(carrier)

    def _open_stream(self) -> tuple[LinkStream, Layers]:
        stream = self.link.open_stream(_Late(), self._tally, self)
        layers = Layers(self._sessions, self._numbers)
        self._numbers = [number + 1 for number in self._numbers]
        return stream, layers

    def flow_lost(self, flow: ClientFlow) -> None:
        """The flow's stream broke off while the circuit lives. What was under way on it is missing in the circuit's
        credit, so the circuit takes no more flows."""
        self.retire_at = 0.0
        if flow.lose_path():
            self._events.flows_lost(self, [flow])

    # -- payment

    def _holds(self, count: int) -> None:
        """So many bytes more wait until this node has paid."""
        self._unpaid_bytes += count
        self.credit.hold(count)
        if self._unpaid_bytes > UNPAID_QUEUE and count > 0:
            self.close(Reason.UNPAID)

    def cannot_pay(self, reason: Reason) -> None:
        """The guard is paid nothing more: end, if it would have to be paid."""
        if self._tally is not None and not self.over:
            if reason in PAYEES_FAULT:
                self.culprit = self.path[0].peer
            else:
                self.blameless = True
            self.link.destroy(self.number, Reason.CLOSED)  # why, is this node's own affair
            self.destroyed(reason)

    # -- tunnel.link_stream.Watcher

    def came(self, count: int) -> None:
        """Count a message; too much that is of no use ends the circuit."""
        if not self.use.came(count, self._loop.time()) and not self.over:
            self.culprit = None if self.use.foreign else self.path[-1].peer
            self.close(Reason.PROTOCOL)

    def strayed(self) -> None:
        self.use.strayed()

    # -- pings

    @property
    def rtt_s(self) -> float | None:
        """How long the exit's last answer took; None before the first."""
        return self.pulse.rtt_s

    def _send_ping(self, token: int) -> None:
        self._send_frames(encode_token(Frame.PING, token))

    def _send_frames(self, frames: bytes) -> None:
        self._frames_full = not self._frames.send(self._frames_layers.seal(frames))

    def _ping_came(self, token: int) -> None:
        """Answer, once for each answer of the exit's: this node pays for what it says. Not while earlier answers still
        wait: who asks so much does not want to know."""
        if self._may_be_asked and not self._frames_full:
            self._may_be_asked = False
            self._send_frames(encode_token(Frame.PONG, token))

    def frames_writable(self) -> None:
        """Flow 0's stream takes bytes again."""
        self._frames_full = False

    def frames_came(self, body: memoryview) -> None:
        """A message on flow 0.

        Raises:
            DecodeError: it is malformed, or answers nothing.
        """
        for kind, content in split(self._frames_layers.open(body)):
            match kind:
                case Frame.PONG:
                    self.credit.measured(self.pulse.pong(decode_token(content)))
                    self._may_be_asked = True
                case Frame.PING:
                    self._ping_came(decode_token(content))
                case Frame.CREDIT:
                    self.credit.credit_came(*decode_credit(content))
                case Frame.PAD:
                    pass
                case Frame.GOAWAY:
                    decode_nothing(content)
                    self._events.circuit_leaving(self, len(self.path) - 1)
                case _:
                    raise DecodeError("frame", "not legal on flow 0")

    # -- tunnel.pulse.PulseOwner

    def held_up(self) -> bool:
        return self._tally is not None and self._tally.waits

    def carries_flows(self) -> bool:
        return bool(self.flows)

    def uneasy(self) -> None:
        self.link.watch.ask()

    def fell_silent(self) -> None:
        self.close(Reason.TIMED_OUT)

    def proved(self, asked_at: float) -> None:
        self._events.circuit_proved(self, asked_at)

    # -- ending

    def leaving(self, hops: int) -> None:
        """The guard says that it is about to stop, or a relay so many places after it."""
        if hops < len(self.path) - 1:
            self._events.circuit_leaving(self, hops)

    def destroyed(self, reason: Reason) -> None:
        """The guard says that the circuit is over, or the link to it is gone."""
        if self.over:
            return
        self.over = True
        self.pulse.stop()
        if self._tally is not None:
            self.blameless |= reason is Reason.UNPAID and self._tally.waits
            self._tally.clear()
        lost = [flow for flow in list(self.flows) if flow.lose_path()]
        self._lanes.close()
        self._frames.leave()
        self._events.circuit_over(self, reason)
        if lost:
            self._events.flows_lost(self, lost)

    def close(self, reason: Reason) -> None:
        """End the circuit and every flow on it."""
        if not self.over:
            self.link.destroy(self.number, reason)
            self.destroyed(reason)


def _covered(account: Account, rate: int) -> int:
    """Bytes at a rate that this node pays ahead on an account at most."""
    return account.window // rate


class _Late:
    """Stands in until the flow of a new stream exists."""

    def message(self, body: memoryview) -> None:
        raise DecodeError("message", "before the flow")

    def datagram(self, body: memoryview) -> None: ...

    def ended(self) -> None: ...

    def writable(self) -> None: ...


class _CircuitFrames:
    """Receiver of flow 0's stream."""

    def __init__(self, circuit: Circuit) -> None:
        self._circuit = circuit

    def message(self, body: memoryview) -> None:
        try:
            self._circuit.frames_came(body)
        except DecodeError:
            self._circuit.close(Reason.PROTOCOL)

    def datagram(self, body: memoryview) -> None:
        raise DecodeError("datagram", "on flow 0")

    def ended(self) -> None:
        self._circuit.close(Reason.CLOSED)

    def writable(self) -> None:
        self._circuit.frames_writable()
