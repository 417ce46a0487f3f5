"""A lane: one stream on which several flows of a circuit travel.

Relays see one stream and cannot tell how many flows it carries, nor when one begins or ends. A flow's frames wait in
turn with those of the others; a flow for which too much waits is stopped, so a slow one holds up nobody but itself.

What flows say within one turn of the event loop shares messages, so that many small flows cost little.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Any, Protocol

from core.errors import DecodeError
from tunnel.frames import Frame, decode_nothing, frame
from tunnel.lane_frames import LaneReader, decode_select, encode_select
from tunnel.limits import LANE_QUEUE, MAX_FLOWS_PER_CIRCUIT
from tunnel.padding import Sizes, encode_shape

if TYPE_CHECKING:
    from collections import Counter
    from collections.abc import Callable

    from core.flow import Buffer
    from tunnel.carrier import Carried
    from tunnel.credit import CircuitCredit
    from tunnel.layers import Layers
    from tunnel.link_stream import LinkStream
    from tunnel.padding import Shape
    from tunnel.use import Use

    type Begin = Callable[[int, memoryview, LaneCarrier], None]
    """Takes the first frame of a flow that the client began."""

_END = frame(Frame.END)
_LEAVE = frame(Frame.LEAVE)


class Successor(Protocol):
    """What carries a flow after its lane."""

    def lane_left(self) -> None:
        """Nothing more comes for the flow on the lane."""


class LaneCarrier:
    """A `tunnel.carrier.Carrier` for one flow on a lane; at the exit also the `tunnel.terminal.Entry` of that flow.

    Args:
        lane: where it travels.
        number: the flow's number there.
    """

    __slots__ = (
        "_flow",
        "_lane",
        "_left",
        "_over",
        "_stopped",
        "_successor",
        "_waiting",
        "_waiting_bytes",
        "credit",
        "number",
    )

    def __init__(self, lane: Lane, number: int) -> None:
        self._lane = lane
        self._flow: Carried | None = None
        self._waiting: deque[Buffer] = deque()
        self._waiting_bytes = 0
        self._stopped = False
        self._over = False
        self._left = False
        self._successor: Successor | None = None
        self.number = number
        self.credit = lane.credit

    @property
    def counters(self) -> Counter[str]:
        return self._lane.counters

    def carrier_for(self, flow: Carried) -> LaneCarrier:
        """Name the flow."""
        self._flow = flow
        return self

    # -- tunnel.carrier.Carrier

    def send(self, frames: Buffer, *, last: bool = False) -> bool:
        if self._over:
            return True
        self._waiting.append(frames)
        self._waiting_bytes += len(frames)
        self._lane.wants(self)
        if last:
            self.finish()
        self._stopped = self._waiting_bytes >= LANE_QUEUE
        return not self._stopped

    def send_datagram(self, frames: Buffer) -> None:
        if self._waiting_bytes >= LANE_QUEUE:
            self.counters["datagram dropped"] += 1
        else:
            self.send(frames)

    def finish(self) -> None:
        if not self._over:
            self._over = True
            self._waiting.append(_END)
            self._forget()
            self._lane.wants(self)

    def cut(self) -> None:
        if not self._over:
            self._waiting.clear()
            self._waiting_bytes = 0
            self.finish()
        elif self._successor is not None and self._waiting:
            self._waiting.clear()  # LEAVE among it
            self._waiting.append(_END)

    # -- leaving the lane

    def hand_over(self, successor: Successor) -> None:
        """Send what waits and nothing more; what comes is still the flow's, until the other end has left as well."""
        self._successor = successor
        self._over = True
        self._waiting.append(_LEAVE)
        self._lane.wants(self)
        if self._left:
            self.left()

    def left(self) -> None:
        """The other end has left. Its stream may be slower than the lane, so there may be no successor here yet."""
        self._left = True
        if self._successor is not None:
            self._forget()
            self._successor.lane_left()

    def drop(self) -> None:
        """What still comes does not matter any more."""
        self._forget()

    def _forget(self) -> None:
        """Hear nothing more for the flow. The two let go of each other: what is over must not wait for a collection of
        garbage, which is rare, to free its memory."""
        self._lane.forget(self)
        self._flow = None

    # -- for the lane

    @property
    def waits(self) -> bool:
        return bool(self._waiting)

    def take(self) -> Buffer:
        """What is sent next; only when something waits."""
        frames = self._waiting.popleft()
        self._waiting_bytes = max(0, self._waiting_bytes - len(frames))
        return frames

    def go_on(self) -> None:
        """Tell the flow that there is room, if it was stopped and there is."""
        if self._stopped and self._waiting_bytes < LANE_QUEUE and self._flow is not None:
            self._stopped = False
            if not self._over:
                self._flow.carrier_writable()

    def came(self, kind: int, content: memoryview) -> None:
        """Hand one frame to the flow."""
        flow = self._flow
        if flow is None:
            self._lane.begin(kind, content, self)
            return
        try:
            if kind == Frame.DATAGRAM:
                flow.datagram(iter(((kind, content),)))
            else:
                flow.frames(iter(((kind, content),)))
        except DecodeError as error:
            self.counters[str(error)] += 1
            flow.break_off()

    def path_broke(self) -> None:
        """The flow did not end, and nothing more comes."""
        if self._flow is not None:
            self._flow.path_broke()
        self.cut()


class Lane:
    """One end of a lane; the `tunnel.link_stream.StreamReceiver` of its stream.

    Args:
        stream: on the link to the guard, or to the hop before the exit.
        layers: the stream's sealed layers.
        credit: the circuit's.
        shape: which sizes its messages have.
        later: calls a function when the event loop has dealt with what is at hand, so that flows share messages.
        carried: told the bytes of each message that carries something.
        begin: takes the first frame of a new flow; None at the client, where no flow begins by itself.
        use: told what messages that came were padded with; None where nobody asks.
    """

    def __init__(
        self,
        stream: LinkStream,
        layers: Layers,
        credit: CircuitCredit[Any],
        shape: Shape,
        later: Callable[[Callable[[], None]], object],
        carried: Callable[[int], None],
        begin: Begin | None = None,
        use: Use | None = None,
    ) -> None:
        self._stream = stream
        self._layers = layers
        self._later = later
        self._carried = carried
        self._begin = begin
        self._use = use
        self._sizes = Sizes(shape)
        self.credit = credit
        self.closed = False
        self._full = False
        # What goes out
        self._turns: dict[LaneCarrier, None] = {}
        self._out = bytearray() if begin is not None else bytearray(encode_shape(shape))
        self._out_number = 0
        self._flush_due = False
        # What comes in
        self._reader = LaneReader()
        self._carriers: dict[int, LaneCarrier] = {}
        self._in_number = 0
        self._highest = 0

    @property
    def counters(self) -> Counter[str]:
        return self._stream.link.counters

    @property
    def flow_count(self) -> int:
        return len(self._carriers)

    def carrier_for(self, flow: Carried) -> LaneCarrier:
        """Put one more flow of the client's on the lane."""
        self._highest += 1
        carrier = self._carriers[self._highest] = LaneCarrier(self, self._highest)
        return carrier.carrier_for(flow)

    # -- sending

    def wants(self, carrier: LaneCarrier) -> None:
        """A carrier has something to send."""
        if self.closed:
            return
        self._turns.setdefault(carrier)
        if not self._flush_due:
            self._flush_due = True
            self._later(self._flush)

    def _flush(self) -> None:
        self._flush_due = False
        served: dict[LaneCarrier, None] = {}
        while not self.closed and not self._full and (self._out or self._turns):
            self._fill(served)
            if self._out:
                self._send_message()
        for carrier in served:
            carrier.go_on()

    def _fill(self, served: dict[LaneCarrier, None]) -> None:
        """Take from each carrier in turn until there is enough for a message."""
        while self._turns and len(self._out) < self._sizes.longest:
            carrier = next(iter(self._turns))
            del self._turns[carrier]
            if carrier.number != self._out_number:
                self._out_number = carrier.number
                self._out += encode_select(carrier.number)
            self._out += carrier.take()
            served.setdefault(carrier)
            if carrier.waits:
                self._turns[carrier] = None

    def _send_message(self) -> None:
        longest = self._sizes.longest
        part, self._out = (
            (self._out, bytearray()) if len(self._out) <= longest else (self._out[:longest], self._out[longest:])
        )
        message = self._sizes.fill(part)
        self._carried(len(message))
        self._seal(message)

    def _seal(self, plaintext: Buffer) -> None:
        try:
            record = self._layers.seal(plaintext)
        except DecodeError as error:
            self._wrong(error)
        else:
            self._full = not self._stream.send(record)

    def cover(self) -> None:
        """Send a message that carries nothing, unless others wait."""
        if not (self.closed or self._full or self._out or self._turns):
            self._seal(bytes(self._sizes.longest))

    # -- tunnel.link_stream.StreamReceiver

    def message(self, body: memoryview) -> None:
        try:
            self._read(self._layers.open(body), 0)
        except DecodeError as error:
            self._wrong(error)

    def first_message(self, plaintext: memoryview, at: int) -> None:
        """Read a message that was opened already, from a place in its plaintext on."""
        try:
            self._read(plaintext, at)
        except DecodeError as error:
            self._wrong(error)

    def _wrong(self, error: DecodeError) -> None:
        self.counters[str(error)] += 1
        self._break()

    def _read(self, plaintext: memoryview, at: int) -> None:
        """Act on the frames that end in a message.

        Raises:
            DecodeError: it has another size, or a frame is not legal now.
        """
        self._sizes.check(plaintext)
        for kind, content in self._reader.frames(plaintext[at:]):
            if self.closed:
                return
            self._frame(kind, content)
        if self._use is not None:
            self._use.padded(self._reader.padding)

    def _frame(self, kind: int, content: memoryview) -> None:
        if kind == Frame.SELECT:
            self._select(decode_select(content))
            return
        if not self._in_number:
            raise DecodeError("lane", "SELECT comes first")
        carrier = self._carriers.get(self._in_number)
        if kind == Frame.END:
            decode_nothing(content)
            if carrier is not None:
                carrier.path_broke()
        elif kind == Frame.LEAVE:
            decode_nothing(content)
            if carrier is not None:
                carrier.left()
        elif carrier is not None:
            carrier.came(kind, content)
        elif kind == Frame.DATA:
            self.credit.came(len(content))  # the flow is over; its circuit still counts

    def _select(self, number: int) -> None:
        if number > self._highest:
            if self._begin is None:
                raise DecodeError("SELECT", "of no flow")
            if max(len(self._carriers), len(self._turns)) >= MAX_FLOWS_PER_CIRCUIT:
                raise DecodeError("SELECT", "too many flows")
            self._highest = number
            self._carriers[number] = LaneCarrier(self, number)
        self._in_number = number

    def begin(self, kind: int, content: memoryview, carrier: LaneCarrier) -> None:
        """Pass on the first frame of a flow that began here."""
        if self._begin is not None:
            self._begin(kind, content, carrier)

    def datagram(self, body: memoryview) -> None:
        raise DecodeError("datagram", "on a lane")

    def ended(self) -> None:
        self._break()

    def writable(self) -> None:
        self._full = False
        self._flush()

    # -- ending

    def forget(self, carrier: LaneCarrier) -> None:
        """Nothing that comes for this flow matters any more."""
        self._carriers.pop(carrier.number, None)

    def _break(self) -> None:
        """The lane is over, and with it the path of its flows."""
        carriers = list(self._carriers.values())
        self.close()
        for carrier in carriers:
            carrier.path_broke()

    def close(self) -> None:
        """End the lane. Its flows are not told."""
        if not self.closed:
            self.closed = True
            self._turns.clear()
            self._out.clear()
            self._carriers.clear()
            self._stream.leave()
