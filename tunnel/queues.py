"""What waits at a hop because a link or the operator's limit takes it more slowly than it comes, and who goes when it
is too much.

A hop cannot read credit. But the ends of a circuit keep to one that the protocol bounds, so a circuit for which more
waits than that is not honest and is ended. Over all circuits there is a bound as well: then the link for which most
waits loses the circuit that has been held up longest.

Source: Jansen, Tschorsch, Johnson and Scheuermann, "The Sniper Attack" (NDSS 2014), section VI.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from tunnel.limits import CIRCUIT_QUEUE, QUEUE_STEP, RELAY_BYTES

if TYPE_CHECKING:
    from collections.abc import Iterable

    from tunnel.link import Link
    from tunnel.link_stream import LinkStream


class Held(Protocol):
    """A circuit, as far as it can be ended."""

    @property
    def queue(self) -> CircuitQueue:
        """What waits for it."""

    @property
    def overdrawn(self) -> bool:
        """Whether its payer has had this hop pay out too much."""

    def over_budget(self) -> None:
        """End the circuit."""


class CircuitQueue:
    """The streams of one circuit that are held up.

    Args:
        circuit: whose they are.
        node: the node's queues.
    """

    __slots__ = ("_circuit", "_held_bytes", "_held_since", "_node", "_since_counted", "_streams")

    def __init__(self, circuit: Held, node: Queues) -> None:
        self._circuit = circuit
        self._node = node
        self._streams: dict[LinkStream, int] = {}
        self._since_counted = 0
        self._held_bytes = 0
        self._held_since: int | None = None

    def holds(self, count: int) -> None:
        """Count bytes that wait for their turn at this hop's own limit, or for money; negative for those that wait no
        more, and none for a datagram that could not wait."""
        self._held_bytes += count
        self._node.held_bytes += count
        if not self._held_bytes:
            self._held_since = None
            self._goes_on_if_all()
        elif count > 0:
            if self._held_since is None:
                self._held_since = self._node.turn()
                self._node.held_up(self._circuit)
            self._counted(count)
        if count >= 0 and self._circuit.overdrawn:
            self._circuit.over_budget()

    def queued(self, stream: LinkStream, size: int) -> None:
        """Count `size` bytes more that wait on a stream."""
        if stream not in self._streams:
            self._streams[stream] = self._node.turn()
            self._node.held_up(self._circuit)
        self._counted(size)

    def _counted(self, size: int) -> None:
        self._since_counted += size
        if self._since_counted >= QUEUE_STEP:
            self._since_counted = 0
            if sum(stream.queued for stream in self._streams) + self._held_bytes > CIRCUIT_QUEUE:
                self._circuit.over_budget()
            else:
                self._node.check()

    def drained(self, stream: LinkStream) -> None:
        """Nothing waits on a stream any more, or it is over."""
        if self._streams.pop(stream, None) is not None:
            self._goes_on_if_all()

    def _goes_on_if_all(self) -> None:
        if not self._streams and self._held_since is None:
            self._node.goes_on(self._circuit)

    def clear(self) -> None:
        """The circuit is over."""
        self._node.held_bytes -= self._held_bytes
        self._held_bytes, self._held_since = 0, None
        self._streams.clear()
        self._node.goes_on(self._circuit)

    def oldest(self, link: Link | None) -> int | None:
        """The turn in which the first of the streams on a link was held up, or what waits for its turn if there is no
        link; None when none of them is."""
        if link is None:
            return self._held_since
        return min((turn for stream, turn in self._streams.items() if stream.link is link), default=None)


class Queues:
    """What waits at one hop, in all.

    Args:
        links: the links that are up, asked for when needed.

    Attributes:
        held_bytes: what waits for its turn at this hop's own limit, and for no link.
    """

    def __init__(self, links: Iterable[Link]) -> None:
        self._links = links
        self._held_up: dict[Held, None] = {}
        self._turns = 0
        self.held_bytes = 0

    def turn(self) -> int:
        """Numbers that rise: which stream was held up before which."""
        self._turns += 1
        return self._turns

    def held_up(self, circuit: Held) -> None:
        self._held_up[circuit] = None

    def goes_on(self, circuit: Held) -> None:
        self._held_up.pop(circuit, None)

    def check(self) -> None:
        """End circuits until what waits is within the bound."""
        while self._held_up:
            waiting: dict[Link | None, int] = {link: link.connection.queued_bytes for link in self._links}
            waiting[None] = self.held_bytes
            if sum(waiting.values()) <= RELAY_BYTES:
                return
            worst = max(waiting, key=waiting.__getitem__)
            turns = {circuit: turn for circuit in self._held_up if (turn := circuit.queue.oldest(worst)) is not None}
            if not turns:
                return
            min(turns, key=turns.__getitem__).over_budget()
