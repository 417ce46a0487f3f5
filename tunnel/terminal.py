"""The last hop of a circuit: flows end here and are handed to whoever connects them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from core.errors import DecodeError, Reason
from tunnel.flow import FlowEnd
from tunnel.frames import Frame, decode_open, decode_token, encode_token, frame, split
from tunnel.layers import Layers
from tunnel.limits import MAX_FLOWS_PER_CIRCUIT

if TYPE_CHECKING:
    from core.flow import IncomingFlow
    from tunnel.link import LinkStream, StreamReceiver
    from tunnel.wireguard.session import Session


class FlowAcceptor(Protocol):
    """Who makes the connections that clients ask this exit for."""

    def flow_requested(self, flow: IncomingFlow, host: str, port: int) -> None:
        """Connect, then `flow.accept()`; or `flow.reset(reason)`."""


class ExitFlow(FlowEnd):
    """A flow as the exit holds it. The first frame is OPEN."""

    def __init__(self, stream: LinkStream, layers: Layers, terminal: Terminal) -> None:
        super().__init__(stream, layers)
        self._terminal = terminal
        self._asked = False
        self._accepted = False

    def accept(self) -> None:
        if not self._accepted and self._reason is None:
            self._accepted = True
            self._send(frame(Frame.OPENED))

    def _frame(self, kind: int, content: memoryview) -> None:
        if self._asked:
            super()._frame(kind, content)
            return
        if kind != Frame.OPEN:
            raise DecodeError("frame", "OPEN comes first")
        asked = decode_open(content)
        self._asked = True
        self._terminal.requested(self, asked.host, asked.port)

    def cut(self) -> None:
        """End at once: the circuit is over, and nobody listens at the other end."""
        self._stream.reset()
        self.ended()

    def _over(self) -> None:
        self._terminal.flows.discard(self)


class CircuitFrames:
    """Flow 0: the frames of the circuit itself. Answers pings."""

    def __init__(self, stream: LinkStream, layers: Layers) -> None:
        self._stream = stream
        self._layers = layers

    def message(self, body: memoryview) -> None:
        try:
            for kind, content in split(self._layers.open(body)):
                if kind == Frame.PING:
                    self._stream.send(self._layers.seal(encode_token(Frame.PONG, decode_token(content))))
                elif kind != Frame.PAD:
                    raise DecodeError("frame", "not legal on flow 0")
        except DecodeError:
            self._stream.reset()

    def ended(self) -> None:
        self._stream.finish()
        self._stream.link.forget_stream(self._stream)

    def writable(self) -> None:
        """Pings come one at a time; nothing waits here."""


class Terminal:
    """One circuit that ends here.

    Args:
        session: keys shared with the client.
        acceptor: who makes the connections; None at a relay that is no exit.
    """

    def __init__(self, session: Session, acceptor: FlowAcceptor | None) -> None:
        self._session = session
        self._acceptor = acceptor
        self.flows: set[ExitFlow] = set()

    @property
    def flow_count(self) -> int:
        return len(self.flows)

    def open(self, stream: LinkStream, number: int) -> StreamReceiver:
        """A receiver for the flow `number`, which its client just opened on `stream`."""
        layers = Layers([self._session], [number])
        if number == 0:
            return CircuitFrames(stream, layers)
        flow = ExitFlow(stream, layers, self)
        self.flows.add(flow)
        return flow

    def requested(self, flow: ExitFlow, host: str, port: int) -> None:
        """Pass a request on, within the limit."""
        if self._acceptor is None:
            flow.reset(Reason.NOT_ALLOWED)
        elif self.flow_count > MAX_FLOWS_PER_CIRCUIT:
            flow.reset(Reason.BUSY)
        else:
            self._acceptor.flow_requested(flow, host, port)

    def close(self) -> None:
        """End every flow."""
        for flow in list(self.flows):
            flow.cut()
