"""One end of a flow: frames in sealed layers on one stream, with credit, half-close and reset.

The client's end and the exit's end are the same machine. Each tells the other how many bytes of DATA it has dealt
with and how many more may come; nobody sends beyond that, so a flow that is not read stops its sender.

What was sent is kept until the other end says that it has dealt with it, so an end can go on over another circuit from
where the other end stands (`suspend`, `move`). An end is over when it was reset, or when both sides have sent FIN and
the other end has dealt with everything. Then, and only then, it finishes its direction of the stream.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Final

from core.errors import DecodeError, Reason
from tunnel.frames import (
    HEAD,
    HEAD_BYTES,
    Frame,
    Position,
    decode_credit,
    decode_reset,
    encode_credit,
    encode_reset,
    frame,
    split,
)
from tunnel.limits import CREDIT_WINDOW, MAX_PLAINTEXT

if TYPE_CHECKING:
    from collections.abc import Iterator

    from core.flow import Buffer, FlowListener
    from tunnel.layers import Layers
    from tunnel.link import LinkStream

MAX_DATA: Final = MAX_PLAINTEXT - HEAD_BYTES
_DATA: Final = Frame.DATA << 24


class FlowEnd:
    """A `core.flow.Flow`, and the `tunnel.link.StreamReceiver` of its stream.

    Args:
        stream: the flow's stream on the link to the guard, or to the hop before the exit.
        layers: the flow's sealed layers.
    """

    def __init__(self, stream: LinkStream, layers: Layers) -> None:
        self._stream: LinkStream | None = stream
        self._layers = layers
        self._kept: deque[bytearray] = deque()
        self._dealt_with = 0
        self._held = False
        self._listener: FlowListener | None = None
        self._early = bytearray()
        self._waiting: deque[memoryview] = deque()
        self._told_to_stop = False
        self._sent = 0
        self._may_send = CREDIT_WINDOW
        self._link_full = False
        self._received = 0
        self._consumed = 0
        self._credited = 0
        self._finish_wanted = False
        self._fin_sent = False
        self._fin_received = False
        self._reason: Reason | None = None

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
            self._go_on()

    def write(self, data: Buffer) -> bool:
        if self._reason is not None or self._finish_wanted:
            return True
        view = memoryview(data)
        if not self._waiting:
            view = view[self._push(view) :]
            if not len(view):
                return True
        self._waiting.append(memoryview(bytes(view)))
        self._told_to_stop = True
        return False

    def finish(self) -> None:
        self._finish_wanted = True
        self._go_on()

    def reset(self, reason: Reason) -> None:
        if self._reason is None:
            self._listener = None
            self._send(encode_reset(reason))
            self._end(reason)

    def consumed(self, count: int) -> None:
        self._consumed += count
        if self._consumed - self._credited >= CREDIT_WINDOW // 4 and self._reason is None and not self._fin_received:
            self._send(self._credit())

    def _credit(self) -> bytes:
        """CREDIT for what is dealt with. After FIN all that came counts, since nothing more can come."""
        self._credited = self._received if self._fin_received else self._consumed
        return encode_credit(self._credited, CREDIT_WINDOW)

    # -- sending

    def _send(self, plaintext: Buffer) -> None:
        if self._stream is not None and not self._stream.send(self._layers.seal(plaintext)):
            self._link_full = True

    def _push(self, view: memoryview) -> int:
        """Send as much of `view` as credit and link allow; return how many bytes that was."""
        at, size = 0, min(len(view), self._may_send - self._sent)
        while at < size and not self._link_full and not self._held:
            part = view[at : min(at + MAX_DATA, size)]
            plaintext = bytearray(HEAD_BYTES + len(part))
            HEAD.pack_into(plaintext, 0, _DATA | len(part))
            plaintext[HEAD_BYTES:] = part
            self._kept.append(plaintext)
            self._send(plaintext)
            at += len(part)
        self._sent += at
        return at

    def _go_on(self) -> None:
        """Send what waits, then FIN if it is wanted, then say that there is room."""
        if self._reason is not None or self._held:
            return
        while self._waiting:
            view = self._waiting[0]
            taken = self._push(view)
            if taken < len(view):
                self._waiting[0] = view[taken:]
                return
            self._waiting.popleft()
        if self._finish_wanted and not self._fin_sent:
            self._fin_sent = True
            self._send(self._credit() + frame(Frame.FIN))
            self._done_if_both()
        elif self._told_to_stop and self._listener is not None and not self._link_full and self._sent < self._may_send:
            self._told_to_stop = False
            self._listener.flow_writable()

    # -- tunnel.link.StreamReceiver

    def message(self, body: memoryview) -> None:
        if self._reason is not None:
            return
        try:
            self.frames(split(self._layers.open(body)))
        except DecodeError:
            self.break_off()

    def frames(self, frames: Iterator[tuple[int, memoryview]]) -> None:
        """Act on the frames of one message.

        Raises:
            DecodeError: one is malformed, or not legal now.
        """
        for kind, content in frames:
            self._frame(kind, content)
            if self._reason is not None:
                return

    def ended(self) -> None:
        stream = self._stream
        if self._reason is None:
            self._path_broke()
        if stream is not None:
            stream.link.forget_stream(stream)

    def writable(self) -> None:
        self._link_full = False
        self._go_on()

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
                self._fin_came()
            case Frame.RESET:
                self._reset_came(decode_reset(content))
            case Frame.PAD:
                pass
            case _:
                raise DecodeError("frame", "not legal here")

    def _data_came(self, content: memoryview) -> None:
        if self._fin_received:
            raise DecodeError("DATA", "after FIN")
        self._received += len(content)
        if self._received > self._credited + CREDIT_WINDOW:
            raise DecodeError("DATA", "beyond the credit")
        if self._listener is None:
            # Joined, so that what waits is bounded by the credit and not by the number of frames.
            self._early += content
        else:
            self._listener.flow_data(content)

    def _credit_came(self, consumed: int, window: int) -> None:
        if consumed > self._sent or consumed + window < self._may_send:
            raise DecodeError("CREDIT", "out of range")
        self._may_send = min(consumed + window, self._sent + CREDIT_WINDOW)
        self._forget_until(consumed)
        self._go_on()
        self._done_if_both()

    def _forget_until(self, consumed: int) -> None:
        """The other end has dealt with the first `consumed` bytes; they need not be sent again."""
        while self._kept and self._dealt_with + len(self._kept[0]) - HEAD_BYTES <= consumed:
            self._dealt_with += len(self._kept.popleft()) - HEAD_BYTES

    def _fin_came(self) -> None:
        if self._fin_received:
            raise DecodeError("FIN", "twice")
        self._fin_received = True
        if self._fin_sent:
            self._send(self._credit())
        if self._listener is not None:
            self._listener.flow_eof()
        self._done_if_both()

    def _reset_came(self, reason: Reason) -> None:
        self._end(reason if reason is not Reason.DONE else Reason.CLOSED)
        self._tell_closed()

    # -- going on over another circuit

    @property
    def waiting_bytes(self) -> int:
        """Bytes that are kept or wait here, for the other end or for a listener."""
        return sum(map(len, self._kept)) + sum(map(len, self._waiting)) + len(self._early)

    @property
    def over(self) -> bool:
        return self._reason is not None

    def _tell_position(self) -> Position:
        """Where this end stands, for RESUME and RESUMED. Like CREDIT, it gives the other end credit."""
        self._credited = self._received if self._fin_received else self._consumed
        return Position(self._received, self._credited, CREDIT_WINDOW, self._fin_received)

    def _path_broke(self) -> None:
        """The stream is over without FIN or RESET. Here the flow ends with it."""
        self._fail(Reason.CLOSED)

    def suspend(self) -> None:
        """The path is gone: send nothing, keep everything, until `move`."""
        stream, self._stream = self._stream, None
        self._held = True
        if stream is not None:
            stream.reset()

    def move(self, stream: LinkStream, layers: Layers) -> None:
        """Go on over another stream. Nothing that was kept is sent before `go_on_from`."""
        self.suspend()
        self._stream, self._layers, self._link_full = stream, layers, False

    def go_on_from(self, position: Position) -> None:
        """Send again what the other end has not received, and go on.

        Raises:
            DecodeError: it cannot have received that.
        """
        received, consumed, window, finished = position
        if not self._dealt_with <= received <= self._sent or consumed > received or (finished and not self._fin_sent):
            raise DecodeError("RESUME", "out of range")
        self._may_send = max(self._may_send, min(consumed + window, self._sent + CREDIT_WINDOW))
        self._forget_until(received if finished else consumed)
        self._held = False
        at = self._dealt_with
        for plaintext in self._kept:
            size = len(plaintext) - HEAD_BYTES
            if at >= received:
                self._send(plaintext)
            elif at + size > received:
                self._send(frame(Frame.DATA, bytes(plaintext[HEAD_BYTES + received - at :])))
            at += size
        if self._fin_sent and not finished:
            self._send(self._credit() + frame(Frame.FIN))
        elif self._fin_received:
            self._send(self._credit())
        self._go_on()
        self._done_if_both()

    # -- ending

    def _done_if_both(self) -> None:
        if self._fin_sent and self._fin_received and not self._kept and self._reason is None:
            self._end(Reason.DONE)
            self._tell_closed()

    def _fail(self, reason: Reason) -> None:
        """The path is gone: nothing can be sent any more."""
        self._end(reason)
        self._tell_closed()

    def break_off(self) -> None:
        """The other end broke the protocol."""
        if self._reason is None:
            self._send(encode_reset(Reason.PROTOCOL))
            self._end(Reason.PROTOCOL)
            self._tell_closed()

    def _end(self, reason: Reason) -> None:
        if self._reason is None:
            self._reason = reason
            self._waiting.clear()
            self._kept.clear()
            if self._stream is not None:
                self._stream.finish()
            self._over()

    def _over(self) -> None:
        """For the owner's books: the flow has just ended. Called once."""

    def _tell_closed(self) -> None:
        listener, self._listener = self._listener, None
        if listener is not None and self._reason is not None:
            self._early.clear()
            listener.flow_closed(self._reason)
