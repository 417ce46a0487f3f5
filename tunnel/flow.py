"""One end of a flow: frames over whatever carries it, with credit, half-close and reset.

The client's end and the exit's end are the same machine. Each tells the other how many bytes of DATA it has dealt
with and how many more may come; nobody sends beyond that, so a flow that is not read stops its sender.

What was sent is kept until the other end says that it has dealt with it, so an end can go on over another circuit from
where the other end stands (`suspend`, `move`). An end is over when it was reset, or when both sides have sent FIN and
the other end has dealt with everything. Then, and only then, it finishes its direction of what carries it.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Any, Final

from core.errors import DecodeError, Reason
from tunnel.frames import (
    HEAD,
    HEAD_BYTES,
    Frame,
    Position,
    decode_credit,
    decode_datagram,
    decode_nothing,
    decode_reset,
    encode_credit,
    encode_reset,
    frame,
)
from tunnel.limits import DATA_COST, FLOW_WINDOW, MAX_FLOW_WINDOW, MAX_PLAINTEXT

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from core.flow import Buffer, FlowListener
    from tunnel.apart import ApartCarrier
    from tunnel.carrier import Carrier
    from tunnel.credit import CircuitCredit
    from tunnel.frames import Datagram

MAX_DATA: Final = MAX_PLAINTEXT - 3 * HEAD_BYTES
"""Bytes in one DATA frame: with SELECT before it, it fits into one message of a lane."""

_DATA: Final = Frame.DATA << 24


class FlowEnd:
    """A `core.flow.Flow`, and the `tunnel.carrier.Carried` of what carries it.

    Args:
        credit: of the circuit that the flow begins on. Call `start` before anything else.

    Attributes:
        datagram_listener: takes the flow's datagrams; None at a flow that has none.
        moved_at: when some of its bytes were last dealt with, here or at the other end, or when it began.
    """

    def __init__(self, credit: CircuitCredit[Any]) -> None:
        self._carrier: Carrier | None = None
        self._credit = credit
        self._paused = False
        self.moved_at = credit.clock()
        self.datagram_listener: Callable[[Datagram], None] | None = None
        self._listener: FlowListener | None = None
        self._reason: Reason | None = None
        # What goes out
        self._kept: deque[bytearray] = deque()
        self._kept_bytes = 0
        self._waiting: deque[memoryview] = deque()
        self._waiting_bytes = 0
        self._dealt_with = 0
        self._sent = 0
        self._may_send = FLOW_WINDOW
        self._link_full = False
        self._told_to_stop = False
        self._asked = False
        self._finish_wanted = False
        self._fin_sent = False
        # What comes in
        self._window = credit.flow_window()
        self._early = bytearray()
        self._held_back = 0
        self._fin_received = False

    def start(self, carrier: Carrier) -> None:
        """Name what carries the flow."""
        self._carrier = carrier
        self._credit.join(self)

    # -- core.flow.Flow

    def attach(self, listener: FlowListener) -> None:
        self._listener = listener
        if self._early:
            early, self._early = self._early, bytearray()
            listener.flow_data(early)
        if self._fin_received and self._listener is not None:
            listener.flow_eof()
        if self._reason is not None:
            self._tell_closed()
        else:
            self.go_on()

    def write(self, data: Buffer) -> bool:
        if self._reason is not None or self._finish_wanted:
            return True
        view = memoryview(data)
        if not self._waiting:
            view = view[self._push(view) :]
            if not len(view):
                return True
        self._waiting.append(memoryview(bytes(view)))
        self._waiting_bytes += len(view)
        self._hold(len(view))
        self._wait_for_circuit()
        self._told_to_stop = True
        return False

    def finish(self) -> None:
        self._finish_wanted = True
        self.go_on()

    def reset(self, reason: Reason) -> None:
        if self._reason is None:
            self._listener = None
            self._send(encode_reset(reason), last=True)
            self._end(reason)

    def consumed(self, count: int) -> None:
        if self._reason is not None:
            return
        self._hold(-count)
        self.moved_at = self._credit.clock()
        if self._window.dealt_with(count, slow=self._credit.slow) and not self._fin_received:
            self._send(self._credit_frame())

    # -- sending

    def _send(self, frames: Buffer, *, last: bool = False) -> None:
        if self._carrier is not None and not self._carrier.send(frames, last=last):
            self._link_full = True

    def _credit_frame(self) -> bytes:
        """CREDIT for what is dealt with. After FIN all that came counts, since nothing more can come."""
        return encode_credit(*self._tell_window())

    def _first_credit(self) -> bytes:
        """CREDIT at the flow's beginning, if its window is wider than what the other end takes for granted."""
        return self._credit_frame() if self._window.window > FLOW_WINDOW else b""

    def _tell_window(self) -> tuple[int, int]:
        return self._window.tell(self._credit.clock(), self._credit.rtt_s, everything=self._fin_received)

    def _hold(self, count: int) -> None:
        if self._carrier is not None:
            self._credit.hold(count)

    def _push(self, view: memoryview) -> int:
        """Send as much of `view` as flow, circuit and link allow; return how many bytes that was."""
        if self._paused:
            return 0
        at, size = 0, min(len(view), self._may_send - self._sent)
        while at < size and not self._link_full:
            count = min(MAX_DATA, size - at, self._credit.room(self._kept_bytes))
            if count <= 0:
                break
            plaintext = bytearray(HEAD_BYTES + count)
            HEAD.pack_into(plaintext, 0, _DATA | count)
            plaintext[HEAD_BYTES:] = view[at : at + count]
            self._kept.append(plaintext)
            self._keep(self._credit.sent(count))
            self._send(plaintext)
            at += count
        self._sent += at
        return at

    def _wait_for_circuit(self) -> None:
        """Something waits. If neither the link nor the flow's own credit holds it up, the circuit does."""
        if not self._paused and not self._link_full and self._sent < self._may_send:
            self._credit.wait(self)
            if not self._asked and self._credit.may_not_keep_more(self._kept_bytes):
                # The other end may think that there is no need to say what it has dealt with.
                self._asked = True
                self._send(frame(Frame.BLOCKED))

    def go_on(self) -> None:
        """Send what waits, then FIN if it is wanted, then say that there is room."""
        if self._reason is not None or self._paused:
            return
        while self._waiting:
            view = self._waiting[0]
            taken = self._push(view)
            self._waiting_bytes -= taken
            self._hold(-taken)
            if taken < len(view):
                self._waiting[0] = view[taken:]
                self._wait_for_circuit()
                return
            self._waiting.popleft()
        if self._finish_wanted and not self._fin_sent:
            self._fin_sent = True
            self._send(self._credit_frame() + frame(Frame.FIN))
            self._done_if_both()
        elif self._told_to_stop and self._listener is not None and not self._link_full and self._sent < self._may_send:
            self._told_to_stop = False
            self._listener.flow_writable()

    # -- tunnel.carrier.Carried

    def frames(self, frames: Iterator[tuple[int, memoryview]]) -> None:
        for kind, content in frames:
            if self._reason is None:
                self._frame(kind, content)
            elif kind == Frame.DATA:
                self._credit.came(len(content))  # the flow is over; its circuit still counts

    def datagram(self, frames: Iterator[tuple[int, memoryview]]) -> None:
        for kind, content in frames:
            if kind == Frame.DATAGRAM and self._reason is None and self.datagram_listener is not None:
                self.datagram_listener(decode_datagram(content))
            elif kind != Frame.PAD:
                raise DecodeError("datagram", "not legal now")

    def send_datagram(self, frames: bytes) -> bool:
        """Send a message that may get lost; returns False when there is no path now."""
        if self._carrier is None or self._paused or self._reason is not None:
            return False
        self._carrier.send_datagram(frames)
        return True

    def carrier_writable(self) -> None:
        self._link_full = False
        self.go_on()

    def path_broke(self) -> None:
        if self._reason is None:
            self._path_broke()

    # -- receiving

    def _frame(self, kind: int, content: memoryview) -> None:
        """Act on one frame.

        Raises:
            DecodeError: it is malformed, or not legal now.
        """
        match kind:
            case Frame.DATA:
                self._data_came(content)
            case Frame.CREDIT:
                self._credit_came(*decode_credit(content))
            case Frame.FIN:
                decode_nothing(content)
                self._fin_came()
            case Frame.RESET:
                self._reset_came(decode_reset(content))
            case Frame.BLOCKED:
                if self._window.untold and not self._fin_received:
                    self._send(self._credit_frame())
            case Frame.PAD:
                pass
            case _:
                raise DecodeError("frame", "not legal here")

    def _data_came(self, content: memoryview) -> None:
        if self._fin_received:
            raise DecodeError("DATA", "after FIN")
        size = len(content)
        self._window.came(size)
        self._credit.came(size)
        self._hold(size)
        if self._listener is None:
            # Joined, so that what waits is bounded by the credit and not by the number of frames.
            self._early += content
        else:
            self._listener.flow_data(content)

    def _credit_came(self, consumed: int, window: int) -> None:
        if consumed > self._sent or consumed + window < self._may_send:
            raise DecodeError("CREDIT", "out of range")
        self._may_send = max(self._may_send, consumed + min(window, MAX_FLOW_WINDOW))
        self._asked = False
        self._forget_until(consumed)
        self.go_on()
        self._done_if_both()

    def _forget_until(self, consumed: int) -> None:
        """The other end has dealt with the first `consumed` bytes; they need not be sent again."""
        forgotten = 0
        while self._kept and self._dealt_with + len(self._kept[0]) - HEAD_BYTES <= consumed:
            count = len(self._kept.popleft()) - HEAD_BYTES
            self._dealt_with += count
            forgotten += count + DATA_COST
        if forgotten:
            self.moved_at = self._credit.clock()
        self._keep(-forgotten)

    def _keep(self, cost: int) -> None:
        before = self._kept_bytes
        self._kept_bytes += cost
        self._credit.keep(before, self._kept_bytes)

    def _fin_came(self) -> None:
        if self._fin_received:
            raise DecodeError("FIN", "twice")
        self._fin_received = True
        if self._fin_sent and self._window.unfinished:
            self._send(self._credit_frame())
        if self._listener is not None:
            self._listener.flow_eof()
        self._done_if_both()

    def _reset_came(self, reason: Reason) -> None:
        self._end(reason if reason is not Reason.DONE else Reason.CLOSED, finish=True)
        self._tell_closed()

    # -- going on elsewhere

    @property
    def carrier(self) -> Carrier | None:
        """What carries the flow now; None while nothing does."""
        return self._carrier

    @property
    def dealt_with(self) -> int:
        """Bytes that either end has dealt with, in the direction where it was more, as far as known here."""
        return max(self._window.consumed, self._dealt_with)

    def go_apart(self, carrier: ApartCarrier) -> None:
        """Go on on a stream of the flow's own, on the same circuit."""
        self._carrier, self._link_full = carrier, False

    def hold_back(self, count: int) -> None:
        """Count bytes that came before their turn; negative when it has come."""
        if self._reason is None:
            self._held_back += count
            self._hold(count)

    @property
    def may_come(self) -> int:
        """Bytes of DATA that the other end may send before it hears of more credit."""
        return self._window.may_come

    @property
    def held_bytes(self) -> int:
        """Bytes that are kept or wait here, for the other end, for a listener or with it, or before their turn."""
        with_listener = self._window.received - self._window.consumed
        return self._kept_bytes + self._waiting_bytes + self._held_back + with_listener

    @property
    def kept_bytes(self) -> int:
        """What was sent and is not dealt with yet, as far as known, each frame with `DATA_COST`."""
        return self._kept_bytes

    @property
    def in_use(self) -> bool:
        """Whether somebody listens, or has written or finished: the other end may have passed on what it got."""
        return self._listener is not None or bool(self._sent or self._waiting) or self._finish_wanted

    @property
    def over(self) -> bool:
        return self._reason is not None

    @property
    def reason(self) -> Reason:
        """Why the flow is over; only when it is."""
        return Reason.DONE if self._reason is None else self._reason

    def _tell_position(self) -> Position:
        """Where this end stands, for RESUME and RESUMED. Like CREDIT, it gives the other end credit."""
        consumed, window = self._tell_window()
        return Position(self._window.received, consumed, window, self._fin_received)

    def _path_broke(self) -> None:
        """The path is over without FIN or RESET. Here the flow ends with it."""
        self._fail(Reason.CLOSED)

    def suspend(self) -> None:
        """The path is gone: send nothing, keep everything, until `move`."""
        carrier, self._carrier = self._carrier, None
        self._paused = True
        self._credit.leave(self)
        if carrier is not None:
            carrier.cut()

    def move(self, carrier: Carrier) -> None:
        """Go on over another circuit. Nothing that was kept is sent before `go_on_from`."""
        self.suspend()
        self._carrier, self._credit, self._link_full, self._asked = carrier, carrier.credit, False, False
        self._window.join(self._credit.growth)
        self._credit.join(self)

    def start_over(self, carrier: Carrier) -> None:
        """Go on elsewhere as if nothing had been sent. Nothing may have been received, or dealt with at the other end.
        What was written waits again, FIN included; `go_on` sends it."""
        self.move(carrier)
        self._take_back(0)
        self._may_send = FLOW_WINDOW
        self._fin_sent = False
        self._paused = False

    def go_on_from(self, position: Position) -> None:
        """Send again what the other end has not received, and go on.

        Raises:
            DecodeError: it cannot have received that.
        """
        received, consumed, window, finished = position
        if not self._dealt_with <= received <= self._sent or consumed > received or (finished and not self._fin_sent):
            raise DecodeError("RESUME", "out of range")
        self._may_send = max(self._may_send, consumed + min(window, MAX_FLOW_WINDOW))
        self._forget_until(received if finished else consumed)
        self._take_back(received)
        self._paused = False
        if self._fin_sent and not finished:
            self._fin_sent = False
        elif self._fin_received:
            self._send(self._credit_frame())
        self.go_on()
        self._done_if_both()

    def _take_back(self, received: int) -> None:
        """What was sent beyond the first `received` bytes waits again, before everything else."""
        lost, cost = self._sent - received, 0
        self._sent = received
        self._waiting_bytes += lost
        self._hold(lost)
        while lost:
            data = memoryview(self._kept.pop())[HEAD_BYTES:]
            cost += len(data) + DATA_COST
            if len(data) > lost:
                arrived = len(data) - lost
                self._kept.append(bytearray(frame(Frame.DATA, bytes(data[:arrived]))))
                cost -= arrived + DATA_COST
                data = data[arrived:]
            lost -= len(data)
            self._waiting.appendleft(data)
        self._keep(-cost)

    # -- ending

    def _done_if_both(self) -> None:
        if self._fin_sent and self._fin_received and not self._kept and self._reason is None:
            self._end(Reason.DONE, finish=True)
            self._tell_closed()

    def _fail(self, reason: Reason) -> None:
        """The path is gone: nothing can be sent any more."""
        self._end(reason, finish=True)
        self._tell_closed()

    def break_off(self) -> None:
        """The other end broke the protocol."""
        self._abort(Reason.PROTOCOL)

    def shed(self) -> None:
        """This node has no memory left for the flow."""
        self._abort(Reason.BUSY)

    def _abort(self, reason: Reason) -> None:
        if self._reason is None:
            self._send(encode_reset(reason), last=True)
            self._end(reason)
            self._tell_closed()

    def _end(self, reason: Reason, *, finish: bool = False) -> None:
        """Let go of everything; `finish` unless the last frames said already that nothing follows."""
        if self._reason is None:
            self._credit.leave(self)
            self._reason = reason
            self._waiting.clear()
            self._kept.clear()
            self._kept_bytes = self._waiting_bytes = self._held_back = 0
            self._window.leave()
            if finish and self._carrier is not None:
                self._carrier.finish()
            self._over()

    def _over(self) -> None:
        """For the owner's books: the flow has just ended. Called once."""

    def _tell_closed(self) -> None:
        listener, self._listener = self._listener, None
        if listener is not None and self._reason is not None:
            self._early.clear()
            listener.flow_closed(self._reason)
