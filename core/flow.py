"""The shape of a flow, as those who use one see it.

A flow is one browser connection on its way through the tunnel. Calls go down (`write`, `finish`, `reset`,
`consumed`), events come up through a `FlowListener`. No call blocks, and none raises: a flow that has ended ignores
what it is told.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Protocol

if TYPE_CHECKING:
    from core.errors import Reason

type Buffer = bytes | bytearray | memoryview

MAX_HOST_BYTES = 255
"""Longest host name, in bytes of ASCII (RFC 1035, section 2.3.4)."""


MAX_DATAGRAM_BYTES = 16 * 1024
"""Largest payload of a UDP datagram that travels; few networks carry a tenth of it."""


@dataclass(frozen=True, slots=True, repr=False)
class SiteOptions:
    """What a user wants of the circuits that carry one site's flows. What is None is as the node's settings say.

    Args:
        regions: countries in which the exit shall be, such as `NL` or `US-CA`; without one nothing is sent.
        mode: `speed`, `balanced` or `privacy`.
        max_tariff: the highest tariff step of any hop, 0 to 7.
        isolated: the site shares no circuit with any other.
    """

    regions: tuple[str, ...] | None = None
    mode: str | None = None
    max_tariff: int | None = None
    isolated: bool = False


NO_OPTIONS: Final = SiteOptions()


@dataclass(frozen=True, slots=True)
class FlowRequest:
    """Where a flow shall go.

    Args:
        host: an ASCII name of 1 to 255 bytes or an IP literal without brackets. Names are resolved at the exit.
        port: 1 to 65535.
        isolation: flows whose keys differ never share a circuit. Empty: the shared default.
        options: what the user wants for this site. Flows whose options differ never share a circuit either.
    """

    host: str
    port: int
    isolation: str = ""
    options: SiteOptions = NO_OPTIONS

    def __repr__(self) -> str:
        return "FlowRequest([redacted])"


class FlowListener(Protocol):
    """What the owner of a flow is told. Calls come from the event loop, one at a time, in order."""

    def flow_data(self, data: Buffer) -> None:
        """Take bytes from the other end. Call `Flow.consumed` for them once they are dealt with.

        The buffer belongs to the listener from now on.
        """

    def flow_eof(self) -> None:
        """The other end will send nothing more; this end may still send."""

    def flow_writable(self) -> None:
        """`Flow.write` returned False before, and there is room again."""

    def flow_closed(self, reason: Reason) -> None:
        """The flow is over: `Reason.DONE` after both ends finished, anything else after a reset. Last call."""


class Flow(Protocol):
    """One connection's bytes, both ways, with end-to-end credit."""

    def attach(self, listener: FlowListener) -> None:
        """Name the listener, once. What arrived before is delivered now, in order."""

    def write(self, data: Buffer) -> bool:
        """Send bytes. All are taken; the buffer may be reused at once.

        Returns:
            True to go on, False to stop until `flow_writable` is called.
        """

    def finish(self) -> None:
        """Send nothing more (half-close). What was written before still arrives."""

    def reset(self, reason: Reason) -> None:
        """End both directions now. The listener gets no further call."""

    def consumed(self, count: int) -> None:
        """Return credit for `count` bytes that `flow_data` delivered, so that the other end may send as many."""


class IncomingFlow(Flow, Protocol):
    """A flow that a client asked this exit for. Answer with `accept` or `reset`."""

    @property
    def circuit(self) -> object:
        """What stands for the circuit that carries the flow now, or did last: the same for all its flows, hashable,
        weakly referenced. It says nothing about the client."""

    def accept(self) -> None:
        """Say that the destination is connected. Call `attach` as well, before or after."""


class DatagramListener(Protocol):
    """What the owner of a UDP association is told. Calls come from the event loop."""

    def datagram_came(self, host: str, port: int, data: Buffer) -> None:
        """Take one datagram. Datagrams get lost and overtake each other; none comes twice.

        Args:
            host: at the client where it comes from, an IP literal; at the exit where it shall go, a name or literal.
            port: 1 to 65535, of the same.
            data: belongs to the listener from now on.
        """

    def flow_closed(self, reason: Reason) -> None:
        """The association is over. Last call."""


class DatagramFlow(Protocol):
    """A UDP association: one local port at the exit, any number of destinations."""

    def attach(self, listener: DatagramListener) -> None:
        """Name the listener, once. Datagrams that came before are lost."""

    def send(self, host: str, port: int, data: Buffer) -> bool:
        """Send one datagram.

        Args:
            host: 1 to 255 bytes of ASCII.
            port: 1 to 65535.
            data: at most `MAX_DATAGRAM_BYTES` bytes; the buffer may be reused at once.

        Returns:
            False when it was dropped here: too large, the path is being changed, or too much waits.
        """

    def close(self, reason: Reason) -> None:
        """End the association now. The listener gets no further call."""


class IncomingDatagrams(DatagramFlow, Protocol):
    """A UDP association that a client asked this exit for. Answer with `accept` or `close`."""

    @property
    def circuit(self) -> object:
        """As for `IncomingFlow`."""

    def accept(self) -> None:
        """Say that the association can be used."""
