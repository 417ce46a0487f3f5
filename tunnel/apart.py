"""A flow that leaves its lane for a stream of its own, on the same circuit and without a pause.

Each end sends what still waits on the lane, then LEAVE there, and everything after on the new stream. What comes on the
new stream waits until the other end's LEAVE has come on the lane, so the flow gets all in order.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from core.errors import DecodeError
from tunnel.carrier import StreamCarrier
from tunnel.frames import Frame, split
from tunnel.limits import HELD_EXTRA

if TYPE_CHECKING:
    from core.flow import Buffer
    from tunnel.credit import CircuitCredit
    from tunnel.flow import FlowEnd
    from tunnel.lane import LaneCarrier
    from tunnel.layers import Layers
    from tunnel.link_stream import LinkStream


class ApartCarrier(StreamCarrier):
    """A `tunnel.carrier.Carrier` on a flow's own stream, after its lane. A `tunnel.lane.Successor`.

    Args:
        stream: on the link to the guard, or to the hop before the exit.
        layers: the stream's sealed layers.
        credit: the circuit's.
        flow: whose end this is.
        lane_part: what carried it until now; gets nothing more to send.
    """

    __slots__ = ("_ended", "_held", "_held_bytes", "_lane_part", "_owner")

    def __init__(
        self,
        stream: LinkStream,
        layers: Layers,
        credit: CircuitCredit[Any],
        flow: FlowEnd,
        lane_part: LaneCarrier,
    ) -> None:
        super().__init__(stream, layers, credit, flow)
        self._owner = flow
        self._lane_part: LaneCarrier | None = lane_part
        self._ended = False
        self._held: list[memoryview] = []
        self._held_bytes = 0
        lane_part.hand_over(self)  # may call lane_left

    def send(self, frames: Buffer, *, last: bool = False) -> bool:
        room = super().send(frames, last=last)
        if last:
            self._leave_lane()
        return room

    def finish(self) -> None:
        super().finish()
        self._leave_lane()

    def cut(self) -> None:
        super().cut()
        if self._lane_part is not None:
            self._lane_part.cut()
        self._leave_lane()

    def message(self, body: memoryview) -> None:
        if self._lane_part is None:
            super().message(body)
            return
        try:
            self._hold(self._layers.open(body))
        except DecodeError as error:
            self._stream.link.counters[str(error)] += 1
            self._flow.break_off()

    def ended(self) -> None:
        """What waits comes first."""
        self._ended = True
        if self._lane_part is None:
            super().ended()

    def _hold(self, plaintext: memoryview) -> None:
        """Keep a message until nothing comes on the lane any more.

        Raises:
            DecodeError: it is more than the other end may send.
        """
        if self._held_bytes + len(plaintext) > self._owner.may_come + HELD_EXTRA:
            raise DecodeError("APART", "too much before LEAVE")
        self._held.append(plaintext)
        self._held_bytes += len(plaintext)
        self._owner.hold_back(len(plaintext))

    # -- tunnel.lane.Successor

    def lane_left(self) -> None:
        held = self._take_held()
        for plaintext in held:
            try:
                self._flow.frames(split(plaintext))
            except DecodeError as error:
                self._stream.link.counters[str(error)] += 1
                self._flow.break_off()
            if self._stream.cut:
                return
        if self._ended:
            super().ended()

    def _leave_lane(self) -> None:
        """The flow sends nothing more; of what is kept only the circuit's credit is to hear."""
        if self._lane_part is not None:
            self._lane_part.drop()
            for plaintext in self._take_held():
                self._count(plaintext)
            if self._ended:
                self._stream.link.forget_stream(self._stream)

    def _count(self, plaintext: memoryview) -> None:
        try:
            for kind, content in split(plaintext):
                if kind == Frame.DATA:
                    self.credit.came(len(content))
        except DecodeError as error:
            self._stream.link.counters[str(error)] += 1

    def _take_held(self) -> list[memoryview]:
        held, self._held = self._held, []
        self._owner.hold_back(-self._held_bytes)
        self._held_bytes = 0
        self._lane_part = None
        return held
