"""One flow through a hop: the layer that comes off towards the exit, and the one that is added on the way back."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from core.errors import DecodeError
from tunnel.assembler import PREFIX_BYTES
from tunnel.gate import Line
from tunnel.layers import DATAGRAM, MAX_SEQUENCE, RECORD_BYTES, SEQUENCE_BITS, DatagramWindow
from tunnel.limits import MAX_MESSAGE
from tunnel.wireguard.constants import TAG_BYTES
from tunnel.wireguard.session import OVERHEAD_BYTES

if TYPE_CHECKING:
    from tunnel.hop_circuit import HopCircuit
    from tunnel.link import Link
    from tunnel.link_stream import LinkStream

LONGEST_BACKWARD: Final = MAX_MESSAGE - OVERHEAD_BYTES
"""A longer message from the next hop would, with this hop's layer, cost the link to the hop before."""


class _Backward:
    """The far side of a relayed flow: what comes from the next hop."""

    __slots__ = ("_flow",)

    def __init__(self, flow: RelayFlow) -> None:
        self._flow = flow

    def message(self, body: memoryview) -> None:
        self._flow.backward(body)

    def datagram(self, body: memoryview) -> None:
        self._flow.backward_datagram(body)

    def ended(self) -> None:
        self._flow.far_ended()

    def writable(self) -> None:
        self._flow.far_writable()


class RelayFlow:
    """One flow through this hop; receiver of the near stream."""

    __slots__ = (
        "_back",
        "_base",
        "_circuit",
        "_datagrams",
        "_datagrams_sealed",
        "_far",
        "_far_over",
        "_forth",
        "_near",
        "_near_over",
        "_opened",
        "_sealed",
        "_session",
    )

    def __init__(self, circuit: HopCircuit, number: int, near: LinkStream, far_link: Link) -> None:
        self._circuit = circuit
        self._session = circuit.session
        self._base = number << SEQUENCE_BITS
        self._datagrams = DatagramWindow(circuit.session, self._base)
        self._datagrams_sealed = 0
        self._opened = 0
        self._sealed = 0
        self._near = near
        self._near_over = False
        self._far = far_link.open_stream(_Backward(self), circuit.far)
        self._far_over = False
        self._forth = self._back = None
        if (orders := circuit.orders_of(number)) is not None:
            forth, back = orders
            self._forth = Line(forth, self._far, circuit.queue, self._forget, self._went_forth)
            self._back = Line(back, near, circuit.queue, self._forget, self._went_back)

    def message(self, body: memoryview) -> None:
        """From the client's side: open this hop's layer and pass on what is inside."""
        size = len(body) - OVERHEAD_BYTES
        if size < OVERHEAD_BYTES or self._opened > MAX_SEQUENCE:
            self._refuse()
            return
        record = bytearray(size + RECORD_BYTES)
        try:
            self._session.open_into(self._base + self._opened, body, memoryview(record)[PREFIX_BYTES:-TAG_BYTES])
        except DecodeError:
            self._refuse()
            return
        self._opened += 1
        if self._forth is not None:
            self._forth.send(record)
            return
        self._went_forth(len(record))
        if not self._far.send(record):
            self._circuit.queue.queued(self._far, len(record))

    def _went_forth(self, record_bytes: int) -> None:
        self._circuit.forth_bytes += record_bytes - RECORD_BYTES

    def _refuse(self) -> None:
        """The client, or a hop between, sent what this hop's key does not open."""
        self._circuit.refused("message does not open")
        self.cut()

    def backward(self, body: memoryview) -> None:
        """From the exit's side: add this hop's layer."""
        if self._sealed > MAX_SEQUENCE or len(body) > LONGEST_BACKWARD:
            self._circuit.refused("message cannot be sealed")
            self.cut()
            return
        record = bytearray(len(body) + OVERHEAD_BYTES + RECORD_BYTES)
        self._session.seal_into(self._base + self._sealed, body, memoryview(record)[PREFIX_BYTES:-TAG_BYTES])
        self._sealed += 1
        if self._back is not None:
            self._back.send(record)
            return
        self._went_back(len(record))
        if not self._near.send(record):
            self._circuit.queue.queued(self._near, len(record))

    def _went_back(self, record_bytes: int) -> None:
        self._circuit.back_bytes += record_bytes - RECORD_BYTES - OVERHEAD_BYTES

    def datagram(self, body: memoryview) -> None:
        """From the client's side, unreliable."""
        inner = self._datagrams.open(body)
        if len(inner) < OVERHEAD_BYTES:
            raise DecodeError("datagram", "too short")
        if not self._admitted(len(inner)):
            return
        self._circuit.forth_bytes += len(inner)
        if not self._far_over and not self._far.send_datagram(inner):
            self._circuit.queue.queued(self._far, len(inner))

    def backward_datagram(self, body: memoryview) -> None:
        """From the exit's side, unreliable.

        Raises:
            DecodeError: it is too long, or the sequence is used up.
        """
        if len(body) > LONGEST_BACKWARD:
            raise DecodeError("datagram", "too long")
        if self._datagrams_sealed > MAX_SEQUENCE:
            raise DecodeError("datagram", "sequence used up")
        if not self._admitted(len(body)):
            return
        self._circuit.back_bytes += len(body)
        out = bytearray(len(body) + OVERHEAD_BYTES)
        self._session.seal_into(DATAGRAM | self._base | self._datagrams_sealed, body, memoryview(out))
        self._datagrams_sealed += 1
        if not self._near_over and not self._near.send_datagram(out):
            self._circuit.queue.queued(self._near, len(out))

    def _admitted(self, size: int) -> bool:
        """Whether the operator's limit leaves something for a datagram. It is dropped else: late ones are of no use."""
        gate = self._circuit.gate
        if gate is None or gate.admits(self._circuit, size):
            return True
        self._circuit.refused("datagram over the limit")
        return False

    def ended(self) -> None:
        if not self._near_over:
            self._near_over = True
            self._end(self._far, self._forth)

    def far_ended(self) -> None:
        if not self._far_over:
            self._far_over = True
            self._end(self._near, self._back)

    def _end(self, stream: LinkStream, line: Line | None) -> None:
        """One side sends nothing more. What the other one still sends is passed on: its circuit counts it."""
        if line is None:
            stream.finish()
        else:
            line.finish()
        self._forget()

    def writable(self) -> None:
        self._circuit.queue.drained(self._near)

    def far_writable(self) -> None:
        """The far stream takes bytes again."""
        self._circuit.queue.drained(self._far)

    def _forget(self) -> None:
        waits = any(line is not None and line.waits for line in (self._forth, self._back))
        if self._near_over and self._far_over and not waits:
            self._near.link.forget_stream(self._near)
            self._far.link.forget_stream(self._far)
            self._over()

    def _over(self) -> None:
        for line in (self._forth, self._back):
            if line is not None:
                line.clear()
        self._circuit.queue.drained(self._near)
        self._circuit.queue.drained(self._far)
        self._circuit.flows.discard(self)

    def cut(self) -> None:
        """End both streams at once."""
        self._near_over = self._far_over = True
        self._near.leave()
        self._far.leave()
        self._over()
