"""A circuit as a hop holds it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from core.errors import DecodeError, Reason
from tunnel.gate import Order
from tunnel.layers import SEQUENCE_BITS, FlowNumbers
from tunnel.limits import MAX_FLOWS_PER_CIRCUIT, MAX_HOPS
from tunnel.queues import CircuitQueue
from tunnel.relay_flow import RelayFlow
from tunnel.wireguard.session import OVERHEAD_BYTES

if TYPE_CHECKING:
    from tunnel.gate import Gate
    from tunnel.link import Link
    from tunnel.link_stream import LinkStream, StreamReceiver
    from tunnel.relay import Relay
    from tunnel.tally import Tally
    from tunnel.terminal import Terminal
    from tunnel.toll import Income
    from tunnel.wireguard.session import Session


class HopCircuit:
    """A circuit as this hop holds it: keys, the link before, and the link after or the end.

    Args:
        relay: the hop's service.
        link: the link it was created on.
        number: its number there.
        session: keys shared with the client.

    Attributes:
        turn: higher than that of every circuit that is older.
        gate: as for `Relay`.
        near, far: what it costs on the link before, and on the one after; None where it costs nothing.
        income: from which it is paid.
        forth_bytes, back_bytes: bytes of messages that were passed on, towards the exit and back.
    """

    def __init__(self, relay: Relay, link: Link, number: int, session: Session) -> None:
        self._relay = relay
        self._link = link
        self._number = number
        self.session = session
        self.turn = next(relay.turns)
        self.flows: set[RelayFlow] = set()
        self.terminal: Terminal | None = None
        self.next_link: Link | None = None
        self.next_number = 0
        self.near: Tally | None = None
        self.far: Tally | None = None
        self.income: Income | None = None
        self.queue: CircuitQueue = CircuitQueue(self, relay.queues)
        self.gate: Gate | None = relay.gate
        self._orders = self._new_orders()
        self.forth_bytes = 0
        self.back_bytes = 0
        self._numbers = FlowNumbers()

    def opened(self, stream: LinkStream, number: int, body: memoryview) -> StreamReceiver:
        """The client opened a flow, and `body` is its first message.

        Raises:
            DecodeError: its number was used before, the client did not seal it, or there are too many flows.
        """
        stream.tally = self.near
        if not self._numbers.unused(number):
            raise DecodeError("message", "flow number used")
        # Others whose flows come over the same link can guess an index. Only this circuit's client may use numbers up.
        self.session.open_into(number << SEQUENCE_BITS, body, bytearray(len(body) - OVERHEAD_BYTES))
        self._numbers.use(number)
        if self.terminal is not None:
            return self.terminal.open(stream, number)
        if self.next_link is None or len(self.flows) >= MAX_FLOWS_PER_CIRCUIT:
            raise DecodeError("message", "too many flows")
        flow = RelayFlow(self, number, stream, self.next_link)
        self.flows.add(flow)
        return flow

    def orders_of(self, number: int) -> tuple[Order, Order] | None:
        """Where a flow's messages wait, towards the exit and back; None where there is no limit. Flow 0, with pings and
        credit, is by itself."""
        return self._orders if number else self._new_orders(urgent=True)

    def _new_orders(self, *, urgent: bool = False) -> tuple[Order, Order] | None:
        if self.gate is None:
            return None
        forth, back = (Order(self.gate, self, self.queue, urgent=urgent) for _ in range(2))
        return forth, back

    def refused(self, why: str) -> None:
        """Count what a flow of this circuit was cut for."""
        self._relay.counters[why] += 1

    @property
    def overdrawn(self) -> bool:
        """Whether who pays for it has had this node pay out too much."""
        return self.income is not None and self.income.overdrawn

    def over_budget(self) -> None:
        """Too much waits here: end the circuit."""
        self._relay.counters["over budget"] += 1
        overdrawn = self.overdrawn
        unpaid = overdrawn or any(tally is not None and tally.waits for tally in (self.near, self.far))
        self.close(Reason.UNPAID if unpaid else Reason.BUSY)
        if overdrawn and self.income is not None:
            self.income.call_in()

    def is_paid_on(self, link: Link, *, pays: bool) -> bool:
        """Whether this node pays something for it on a link, or is paid something there."""
        there, tally = (self.next_link, self.far) if pays else (self._link, self.near)
        return there is link and tally is not None

    def destroyed(self, reason: Reason) -> None:
        """The link before says that the circuit is over, or is gone itself."""
        self._drop()
        if self.next_link is not None:
            self.next_link.destroy(self.next_number, reason)

    def close(self, reason: Reason) -> None:
        """End the circuit in both directions."""
        self._link.destroy(self._number, reason)
        self.destroyed(reason)

    def go_away(self) -> None:
        """Tell the client that this peer is about to stop."""
        if self.terminal is not None:
            self.terminal.go_away()
        else:
            self._link.go_away(self._number, 0)

    def next_leaving(self, hops: int) -> None:
        """The next hop is about to stop, or one so many places after it: pass it on towards the client."""
        if hops < MAX_HOPS - 2:
            self._link.go_away(self._number, hops + 1)

    def _drop(self) -> None:
        self._relay.drop(self._link, self)
        for order in self._orders or ():
            order.clear()
        for tally in (self.near, self.far):
            if tally is not None:
                tally.clear()
        for flow in list(self.flows):
            flow.cut()
        self.queue.clear()
        if self.terminal is not None:
            self.terminal.close()
