"""A flow as the client holds it: resumed over other circuits, and asked of another exit if one declines it."""

from __future__ import annotations

import asyncio
import secrets
from typing import TYPE_CHECKING

from core.errors import DecodeError, FlowError, Reason
from tunnel.flow import FlowEnd
from tunnel.frames import (
    FLOW_ID_BYTES,
    Frame,
    Resume,
    decode_nothing,
    decode_resumed,
    encode_apart,
    encode_open,
    encode_open_datagrams,
    encode_resume,
)
from tunnel.limits import APART_BYTES, OPEN_S
from tunnel.use import CROSSING_BYTES, WORD_BYTES

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from core.flow import FlowRequest
    from tunnel.apart import ApartCarrier
    from tunnel.carrier import Carrier
    from tunnel.circuit import Circuit
    from tunnel.frames import Position
    from tunnel.path import Path


class ClientFlow(FlowEnd):
    """A flow as the client holds it. `opened` is done when the exit has connected, or fails with FlowError.

    It may be used before: what is written then follows OPEN at once. If its circuit is lost, a flow that is used goes
    on with the same exit or ends, opened or not; the exit may have passed on what it got. Only when the exit itself
    says that it did not open the flow, another one may be asked, from the first byte on.

    Attributes:
        declined: told when the exit did not open the flow; gives the reason that it ends with, None if another exit
            will be asked.
        lost_at: loop time since which it has no path that works; None while it has one.
        apart: it has a stream of its own, on whatever circuit, unless the circuit's lanes are EVEN.
    """

    def __init__(self, circuit: Circuit) -> None:
        super().__init__(circuit.credit)
        self._circuit = circuit
        self._loop = asyncio.get_running_loop()
        self._flow_id = secrets.token_bytes(FLOW_ID_BYTES)
        self._secret = self._next_secret = circuit.resume_key.secret(self._flow_id)
        self._epoch = 0
        self._awaits_resumed = False
        self._between_exits = False
        self.declined: Callable[[ClientFlow, Reason], Reason | None] = lambda flow, reason: reason
        self.lost_at: float | None = None
        self.opened: asyncio.Future[None] = self._loop.create_future()
        self.apart = False

    @property
    def path(self) -> Path:
        """Of the circuit that carries it, or did last."""
        return self._circuit.path

    @property
    def between_exits(self) -> bool:
        """Whether one exit has declined it, and no other was asked yet."""
        return self._between_exits and not self.over

    def ask(self, request: FlowRequest) -> None:
        """Send OPEN."""
        self._send(encode_open(self._flow_id, request.host, request.port) + self._first_credit())

    def ask_datagrams(self) -> None:
        """Send OPEN_DATAGRAMS."""
        self._send(encode_open_datagrams(self._flow_id))

    def limit_opening(self) -> None:
        """End the flow when it is not opened in time, for one that nobody waits for."""
        timer = self._loop.call_later(OPEN_S, self._abort, Reason.TIMED_OUT)
        self.opened.add_done_callback(lambda _: timer.cancel())

    def frames(self, frames: Iterator[tuple[int, memoryview]]) -> None:
        self._circuit.pulse.silence.heard_at = self._loop.time()
        before, use = self._progress(), self._circuit.use
        super().frames(frames)
        use.good(max(0, self._progress() - before))
        if not self.apart and self.dealt_with >= APART_BYTES:
            self.apart = True
            self._circuit.set_apart(self)

    # -- what it is of use for

    def _progress(self) -> int:
        """A number that rises by what the exit's frames are worth."""
        words = self.opened.done() + self._fin_received + self.over + (not self._awaits_resumed)
        return self._window.received + self._dealt_with + WORD_BYTES * words

    def datagram(self, frames: Iterator[tuple[int, memoryview]]) -> None:
        super().datagram(self._circuit.use.taken(frames))

    def hold_back(self, count: int) -> None:
        super().hold_back(count)
        if count > 0:
            self._circuit.use.good(count)

    def _excuse(self) -> None:
        """What is under way on the circuit, now that the flow has left it, is nobody's fault."""
        if self._carrier is not None:
            self._circuit.use.excuse(CROSSING_BYTES + (0 if self._reason is Reason.DONE else self.may_come))

    # -- frames

    def _frame(self, kind: int, content: memoryview) -> None:
        if kind == Frame.OPENED:
            decode_nothing(content)
            if self.opened.done() or self._awaits_resumed:
                raise DecodeError("OPENED", "not legal now")
            self.opened.set_result(None)
        elif kind == Frame.RESUMED:
            self._resumed(*decode_resumed(content))
        elif kind in (Frame.DATA, Frame.FIN) and not self.opened.done():
            raise DecodeError("frame", "before OPENED")
        else:
            super()._frame(kind, content)

    # -- asking another exit

    def _reset_came(self, reason: Reason) -> None:
        """Nothing was ever received: there is no DATA before OPENED. Of an exit that says it has dealt with some of the
        bytes, or did not answer RESUME first, it cannot be told what it did. A flow that is not opened travels on a
        lane, which hands it nothing that follows."""
        untouched = not self.opened.done() and not self._awaits_resumed and not self.dealt_with
        final = self.declined(self, reason) if untouched else reason
        if final is not None:
            super()._reset_came(final)
            return
        self._between_exits = True
        self.suspend()

    def ask_another(self, circuit: Circuit, carrier: Carrier, request: FlowRequest) -> None:
        """Begin anew with another exit, under another flow id and with the same bytes."""
        self._circuit = circuit
        self._flow_id = secrets.token_bytes(FLOW_ID_BYTES)
        self._secret = self._next_secret = circuit.resume_key.secret(self._flow_id)
        self._epoch = 0
        self._between_exits = False
        self.start_over(carrier)
        self.ask(request)
        self.go_on()

    def give_up_asking(self, reason: Reason = Reason.CLOSED) -> None:
        """End, if it is still between exits."""
        if self.between_exits:
            self._fail(reason)

    # -- going on over another circuit

    def lose_path(self) -> bool:
        """The circuit is over.

        Returns:
            Whether the flow can go on over another one to the same exit. One that was neither opened nor used has
            ended, and may be opened elsewhere.
        """
        if self.over or not (self.opened.done() or self.in_use):
            self._fail(Reason.CLOSED)
            return False
        if self.lost_at is None:
            self.lost_at = self._loop.time()
        self.suspend()
        return True

    def leave_lane(self, carrier: ApartCarrier) -> None:
        """Go on on a stream of its own on the same circuit."""
        self.go_apart(carrier)
        self._send(encode_apart(self._flow_id))
        self.go_on()

    def resume(self, circuit: Circuit, carrier: Carrier) -> None:
        """Go on over another circuit to the same exit."""
        self._circuit = circuit
        self._epoch += 1
        self._awaits_resumed = True
        if self.lost_at is None:
            self.lost_at = self._loop.time()
        self.move(carrier)
        self._send(encode_resume(Resume(self._flow_id, self._secret, self._epoch, self._tell_position())))
        self._next_secret = circuit.resume_key.secret(self._flow_id)

    def _resumed(self, opened: bool, position: Position) -> None:
        if not self._awaits_resumed or (self.opened.done() and not opened):
            raise DecodeError("RESUMED", "not legal now")
        if not self.opened.done() and opened:
            self.opened.set_result(None)
        self._awaits_resumed = False
        self._secret = self._next_secret
        self.lost_at = None
        self.go_on_from(position)

    def give_up(self) -> None:
        """There is no way to the exit any more."""
        self._fail(Reason.CLOSED)

    def _path_broke(self) -> None:
        self._circuit.flow_lost(self)

    def suspend(self) -> None:
        self._excuse()
        super().suspend()

    def _over(self) -> None:
        self._excuse()
        if not self.opened.done() and self._reason is not None:
            self.opened.set_exception(FlowError(self._reason))
            self.opened.exception()  # seen; whoever waits gets it all the same
