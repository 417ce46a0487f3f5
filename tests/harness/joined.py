"""Two ends of one flow in memory: streams that a test moves by hand, and a listener that checks its contract."""

from __future__ import annotations

from collections import Counter, deque
from functools import partial
from typing import TYPE_CHECKING, Any, cast

from tunnel.apart import ApartCarrier
from tunnel.carrier import StreamCarrier
from tunnel.credit import CircuitCredit
from tunnel.flow import FlowEnd
from tunnel.frames import decode_credit, split
from tunnel.lane import Lane, LaneCarrier
from tunnel.layers import Layers
from tunnel.memory import Memory
from tunnel.wireguard.handshake import Keys
from tunnel.wireguard.session import Session

if TYPE_CHECKING:
    from collections.abc import Callable

    from core.errors import Reason
    from core.flow import Buffer, Flow
    from tunnel.link_stream import LinkStream, StreamReceiver
    from tunnel.padding import Shape

ONE, TWO = bytes([1] * 32), bytes([2] * 32)


class JoinedStream:
    """One end of a stream. See `tunnel.link_stream.LinkStream`; it is its own link as well.

    `sent` holds what is on its way; `full` makes `send` say stop.
    """

    def __init__(self) -> None:
        self.sent: deque[bytes] = deque()
        self.full = False
        self.finished = False
        self.cut = False
        self.forgotten = False
        self.end_delivered = False
        self.id = 4
        self.counters: Counter[str] = Counter()

    @property
    def link(self) -> JoinedStream:
        return self

    @property
    def queued(self) -> int:
        return sum(map(len, self.sent))

    def send(self, record: bytearray, *, last: bool = False) -> bool:
        assert not self.finished, "bytes after the end of the stream"
        self.sent.append(bytes(record[2:-16]))
        self.finished = last
        return not self.full

    def finish(self) -> None:
        assert not self.finished
        self.finished = True

    def leave(self) -> None:
        self.cut = True

    def forget_stream(self, stream: JoinedStream) -> None:
        self.forgotten = True

    @property
    def as_stream(self) -> LinkStream:
        return cast("LinkStream", self)

    def deliver(self, receiver: StreamReceiver) -> bool:
        """Hand the next message, or the end of the stream, to the other end; False when there is nothing."""
        if self.sent:
            receiver.message(memoryview(self.sent.popleft()))
        elif self.finished and not self.end_delivered:
            self.end_delivered = True
            receiver.ended()
        else:
            return False
        return True


class Listener:
    """Keeps what it hears, and fails when it hears what the contract rules out.

    Args:
        flow: to return credit to.
        hungry: return credit at once.
        finish_on_eof: finish this end as soon as the other has.
    """

    def __init__(self, flow: Flow, *, hungry: bool = True, finish_on_eof: bool = False) -> None:
        self._flow = flow
        self.hungry = hungry
        self._finish_on_eof = finish_on_eof
        self.data = bytearray()
        self.eof = 0
        self.writable = 0
        self.closed: list[Reason] = []

    def flow_data(self, data: Buffer) -> None:
        assert not self.eof
        assert not self.closed
        self.data += data
        if self.hungry:
            self._flow.consumed(len(data))

    def flow_eof(self) -> None:
        assert not self.eof
        assert not self.closed
        self.eof += 1
        if self._finish_on_eof:
            self._flow.finish()

    def flow_writable(self) -> None:
        assert not self.closed
        self.writable += 1

    def flow_closed(self, reason: Reason) -> None:
        assert not self.closed
        self.closed.append(reason)


class Counted(FlowEnd):
    """A flow end that counts how often it ended."""

    overs = 0

    def _over(self) -> None:
        self.overs += 1


class Clock:
    """Stands still unless it is moved."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class Later:
    """What is to happen when the event loop has dealt with what is at hand."""

    def __init__(self) -> None:
        self._calls: list[Callable[[], None]] = []

    def __call__(self, call: Callable[[], None]) -> None:
        self._calls.append(call)

    def run(self) -> int:
        """Let it happen; returns how many calls that were."""
        calls, self._calls = self._calls, []
        for call in calls:
            call()
        return len(calls)


class End:
    """One end with its circuit's credit, its stream, its layers and its listener."""

    def __init__(self, session: Session, clock: Clock, shape: Shape | None, **options: Any) -> None:
        self.session = session
        self.stream = JoinedStream()
        self.own: JoinedStream | None = None
        self.layers = Layers([session], [7])
        self.later = Later()
        self.credit: CircuitCredit[FlowEnd] = CircuitCredit(Memory(), clock, self.later)
        self.flow = Counted(self.credit)
        self.carried: list[int] = []
        self.carrier: StreamCarrier | Lane
        if shape is not None:
            self.carrier = self.lane = self._lane(shape)
            self.flow.start(self.lane.carrier_for(self.flow))
        else:
            self.carrier = StreamCarrier(self.stream.as_stream, self.layers, self.credit, self.flow)
            self.flow.start(self.carrier)
        self.heard = Listener(self.flow, **options)

    def check_closed(self, reason: Reason) -> None:
        """The flow has ended once, with this reason, and its stream with it."""
        assert self.heard.closed == [reason]
        assert self.flow.overs == 1
        assert self.stream.finished

    def _lane(self, shape: Shape) -> Lane:
        lane = Lane(self.stream.as_stream, self.layers, self.credit, shape, self.later, self.carried.append)
        lane._out.clear()  # both ends make the same flow, so neither has to tell
        return lane

    def leave(self) -> JoinedStream:
        """Take the flow off its lane; `own` is its stream from now on."""
        lane_part = self.flow.carrier
        assert isinstance(lane_part, LaneCarrier)
        self.own = stream = JoinedStream()
        layers = Layers([self.session], [9])
        self.flow.go_apart(ApartCarrier(stream.as_stream, layers, self.credit, self.flow, lane_part))
        self.flow.go_on()
        return stream

    @property
    def own_carrier(self) -> StreamCarrier | None:
        """What carries the flow on a stream of its own, if it has one."""
        return self.flow.carrier if isinstance(self.flow.carrier, StreamCarrier) else None

    def turn(self) -> int:
        """Let what waits for the end of a loop turn happen; returns how many calls that were."""
        return self.later.run()

    def attach(self) -> None:
        self.flow.attach(self.heard)

    def say(self, *frames: bytes) -> None:
        """Send frames that the flow end itself would not send."""
        self.stream.send(self.layers.seal(b"".join(frames)))


def _tell(credit: CircuitCredit[FlowEnd], told: bytes) -> None:
    for _, content in split(memoryview(told)):
        credit.credit_came(*decode_credit(content))


class Ends:
    """Both ends of one flow."""

    def __init__(self, *, attach: bool = True, shape: Shape | None = None, **options: Any) -> None:
        self.clock = Clock()
        self.near = End(Session(Keys(ONE, TWO, 1, 2, b"", b"")), self.clock, shape, **options)
        self.far = End(Session(Keys(TWO, ONE, 2, 1, b"", b"")), self.clock, shape, **options)
        self.near.credit.tell_with(partial(_tell, self.far.credit))
        self.far.credit.tell_with(partial(_tell, self.near.credit))
        if attach:
            self.near.attach()
            self.far.attach()

    def run(self) -> None:
        """Deliver everything until nothing is on its way."""
        while (
            self.near.turn()
            or self.far.turn()
            or self.near.stream.deliver(self.far.carrier)
            or self.far.stream.deliver(self.near.carrier)
            or self.deliver_own(self.near, self.far)
            or self.deliver_own(self.far, self.near)
        ):
            pass

    def deliver_own(self, end: End, other: End) -> bool:
        """Deliver the next message of a flow's own stream; at the first one the other end leaves its lane as well."""
        if end.own is None:
            return False
        if other.own is None and not other.flow.over and end.own.sent:
            other.leave()
        return other.own_carrier is not None and end.own.deliver(other.own_carrier)

    def unstop(self, end: End) -> None:
        """The link takes bytes again."""
        end.stream.full = False
        end.carrier.writable()
