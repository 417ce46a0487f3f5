"""What carries one end of a flow on one circuit: here sealed layers on a stream of its own, or a lane."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

from core.errors import DecodeError
from tunnel.frames import split

if TYPE_CHECKING:
    from collections.abc import Iterator

    from core.flow import Buffer
    from tunnel.credit import CircuitCredit
    from tunnel.layers import Layers
    from tunnel.link_stream import LinkStream


class Carried(Protocol):
    """The end of a flow, as what carries it sees it."""

    def frames(self, frames: Iterator[tuple[int, memoryview]]) -> None:
        """Act on the frames of one message.

        Raises:
            DecodeError: one is malformed, or not legal now.
        """

    def datagram(self, frames: Iterator[tuple[int, memoryview]]) -> None:
        """The same for a message that came out of order, or after others were lost."""

    def break_off(self) -> None:
        """The other end broke the protocol."""

    def path_broke(self) -> None:
        """Nothing comes or goes any more, and the flow did not end before."""

    def carrier_writable(self) -> None:
        """`Carrier.send` returned False before, and there is room again."""


class Carrier(Protocol):
    """Sends frames, and hands those that come to a `Carried`."""

    credit: CircuitCredit[Any]

    def send(self, frames: Buffer, *, last: bool = False) -> bool:
        """Send frames; `last` when nothing follows.

        Returns:
            False to stop until `Carried.carrier_writable`.
        """

    def send_datagram(self, frames: Buffer) -> None:
        """Send frames that may get lost."""

    def finish(self) -> None:
        """Send nothing more."""

    def cut(self) -> None:
        """End both directions at once. The flow hears nothing more from here."""


class StreamCarrier:
    """A `Carrier` on a stream of the flow's own; the `tunnel.link_stream.StreamReceiver` of that stream.

    Args:
        stream: on the link to the guard, or to the hop before the exit.
        layers: the flow's sealed layers.
        credit: the circuit's.
        flow: whose end this is.
    """

    __slots__ = ("_flow", "_layers", "_stream", "credit")

    def __init__(
        self,
        stream: LinkStream,
        layers: Layers,
        credit: CircuitCredit[Any],
        flow: Carried,
    ) -> None:
        self._stream = stream
        self._layers = layers
        self._flow = flow
        self.credit = credit

    def send(self, frames: Buffer, *, last: bool = False) -> bool:
        try:
            record = self._layers.seal(frames)
        except DecodeError as error:
            # Nothing can be sealed here any more; over another circuit the flow begins at 0 again.
            self._stream.link.counters[str(error)] += 1
            self.cut()
            self._flow.path_broke()
            return True
        return self._stream.send(record, last=last)

    def send_datagram(self, frames: Buffer) -> None:
        try:
            message = self._layers.seal_datagram(frames)
        except DecodeError as error:
            self._stream.link.counters[str(error)] += 1
        else:
            self._stream.send_datagram(message)

    def finish(self) -> None:
        self._stream.finish()

    def cut(self) -> None:
        self._stream.leave()

    # -- tunnel.link_stream.StreamReceiver

    def message(self, body: memoryview) -> None:
        try:
            self._flow.frames(split(self._layers.open(body)))
        except DecodeError as error:
            self._stream.link.counters[str(error)] += 1
            self._flow.break_off()

    def datagram(self, body: memoryview) -> None:
        self._flow.datagram(split(self._layers.open_datagram(body)))

    def ended(self) -> None:
        self._flow.path_broke()
        self._stream.link.forget_stream(self._stream)

    def writable(self) -> None:
        self._flow.carrier_writable()
