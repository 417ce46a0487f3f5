"""A stream that a client just opened to its exit, until its first frames say what it is."""

from __future__ import annotations

from typing import TYPE_CHECKING

from core.errors import DecodeError, Reason
from tunnel.carrier import StreamCarrier
from tunnel.frames import HEAD_BYTES, Frame, decode_flow_id, encode_reset, split
from tunnel.padding import decode_shape

if TYPE_CHECKING:
    from collections import Counter
    from collections.abc import Iterator

    from tunnel.layers import Layers
    from tunnel.link_stream import LinkStream
    from tunnel.terminal import ExitFlow, Terminal


class Arrival:
    """Receiver of the first message of a stream; the `tunnel.terminal.Entry` of a flow that has it for itself."""

    def __init__(self, stream: LinkStream, layers: Layers, terminal: Terminal) -> None:
        self._stream = stream
        self._layers = layers
        self._terminal = terminal

    @property
    def counters(self) -> Counter[str]:
        return self._stream.link.counters

    def carrier_for(self, flow: ExitFlow) -> StreamCarrier:
        self._stream.receiver = carrier = StreamCarrier(self._stream, self._layers, self._terminal.credit, flow)
        return carrier

    def message(self, body: memoryview) -> None:
        try:
            plaintext = self._layers.open(body)
            frames = split(plaintext)
            kind, content = next(frames, _NOTHING)
            if kind == Frame.SHAPE:
                lane = self._terminal.lane_arrived(self._stream, self._layers, decode_shape(content))
                lane.first_message(plaintext, HEAD_BYTES + len(content))
                return
            if kind == Frame.APART:
                flow_id = decode_flow_id(content)
                if next(frames, None) is not None:
                    raise DecodeError("APART", "not alone")
                self._terminal.set_apart(self._stream, self._layers, flow_id)
                return
        except DecodeError as error:
            self.counters[str(error)] += 1
            self._refuse(Reason.PROTOCOL)
            return
        flow = self._terminal.admit(kind, content, self)
        if isinstance(flow, Reason):
            self._refuse(flow)
        else:
            self._rest(flow, frames)

    def _rest(self, flow: ExitFlow, frames: Iterator[tuple[int, memoryview]]) -> None:
        try:
            flow.frames(frames)
        except DecodeError as error:
            self.counters[str(error)] += 1
            flow.break_off()

    def _refuse(self, reason: Reason) -> None:
        self._stream.send(self._layers.seal(encode_reset(reason)), last=True)
        self._stream.receiver = _Refused(self._stream)

    def datagram(self, body: memoryview) -> None:
        """Means nothing here."""

    def ended(self) -> None:
        self._stream.finish()
        self._stream.link.forget_stream(self._stream)

    def writable(self) -> None:
        """Nothing waits here."""


_NOTHING = (0, memoryview(b""))


class _Refused:
    """Receiver of a stream whose flow was refused: what still comes means nothing."""

    def __init__(self, stream: LinkStream) -> None:
        self._stream = stream

    def message(self, body: memoryview) -> None: ...

    def datagram(self, body: memoryview) -> None:
        """Means nothing here."""

    def ended(self) -> None:
        self._stream.link.forget_stream(self._stream)

    def writable(self) -> None: ...
