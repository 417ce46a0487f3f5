"""The sealed layers of one flow: every counter of it is given out here, once.

The client has a layer for each hop, the exit has one. A counter is 1 bit kind (0: stream, 1: datagram), 23 bits flow
number and 40 bits sequence. On a stream the sequence must be exactly the next one, so nothing can be left out,
repeated or moved. Datagrams may be lost and overtake each other, but none is taken twice.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from core.errors import DecodeError
from tunnel.assembler import PREFIX_BYTES
from tunnel.limits import MAX_FLOWS_PER_CIRCUIT
from tunnel.wireguard.constants import TAG_BYTES
from tunnel.wireguard.replay import ReplayWindow
from tunnel.wireguard.session import OVERHEAD_BYTES, read_header

if TYPE_CHECKING:
    from collections.abc import Sequence

    from core.flow import Buffer
    from tunnel.wireguard.session import Session

MAX_FLOW_NUMBER: Final = (1 << 23) - 1
MAX_SEQUENCE: Final = (1 << 40) - 1
SEQUENCE_BITS: Final = 40
MAX_OVERTAKEN: Final = MAX_FLOWS_PER_CIRCUIT
"""How many younger flows may arrive before a flow does."""

RECORD_BYTES: Final = PREFIX_BYTES + TAG_BYTES
"""What a record on a link has besides its message: length before, link tag after."""


DATAGRAM: Final = 1 << 63
"""The kind bit of a datagram's counter."""

_KIND_AT: Final = 15
_KIND_BIT: Final = 0x80


def is_datagram(message: memoryview) -> bool:
    """Whether a type-4 message has a counter of kind datagram. It may be too short to have any."""
    return len(message) > _KIND_AT and bool(message[_KIND_AT] & _KIND_BIT)


def flow_number(counter: int) -> int:
    """The flow number in a counter of kind stream.

    Raises:
        DecodeError: the kind is not stream.
    """
    if counter >> 63:
        raise DecodeError("message", "wrong kind")
    return counter >> SEQUENCE_BITS


class FlowNumbers:
    """The flow numbers of one circuit that its client has used, each of which is good once.

    The client counts up, but each flow has a stream of its own, and one may overtake another on its way. So, as with
    WireGuard's counters, a number is good when it is higher than all before, or not far below and not used yet. Flow 0
    stands apart, because the others begin anywhere.
    """

    __slots__ = ("_highest", "_used", "_zero_used")

    def __init__(self) -> None:
        self._highest = 0
        self._used = 0
        self._zero_used = False

    def unused(self, number: int) -> bool:
        """Whether a flow of this number may begin."""
        if number == 0:
            return not self._zero_used
        below = self._highest - number
        return below < 0 or (below < MAX_OVERTAKEN and not self._used >> below & 1)

    def use(self, number: int) -> None:
        """Remember a number that was unused."""
        if number == 0:
            self._zero_used = True
        elif number <= self._highest:
            self._used |= 1 << self._highest - number
        else:
            above = min(number - self._highest, MAX_OVERTAKEN)
            self._used = (self._used << above | 1) & (1 << MAX_OVERTAKEN) - 1
            self._highest = number


class Layers:
    """Seals and opens one flow's messages.

    Args:
        sessions: the client's sessions with each hop, guard first; at the exit the one with the client.
        numbers: the flow's number at each of them.
    """

    __slots__ = ("_datagrams_sealed", "_opened", "_outward", "_sealed", "_sessions", "_windows")

    def __init__(self, sessions: Sequence[Session], numbers: Sequence[int]) -> None:
        self._sessions = [(session, number << SEQUENCE_BITS) for session, number in zip(sessions, numbers, strict=True)]
        self._outward = self._sessions[::-1]
        self._sealed = 0
        self._opened = 0
        self._datagrams_sealed = 0
        self._windows: list[DatagramWindow] | None = None

    @property
    def overhead_bytes(self) -> int:
        return len(self._sessions) * OVERHEAD_BYTES

    def seal(self, plaintext: Buffer) -> bytearray:
        """Seal the flow's next message, innermost layer first.

        Returns:
            A record: 2 bytes of room, the message, 16 bytes of room. The link fills in length and tag.
        """
        sequence = self._next(self._sealed)
        self._sealed = sequence + 1
        text = plaintext
        for session, base in self._outward[:-1]:
            out = bytearray(len(text) + OVERHEAD_BYTES)
            session.seal_into(base + sequence, text, memoryview(out))
            text = out
        record = bytearray(len(text) + OVERHEAD_BYTES + RECORD_BYTES)
        session, base = self._outward[-1]
        session.seal_into(base + sequence, text, memoryview(record)[PREFIX_BYTES:-TAG_BYTES])
        return record

    def open(self, message: memoryview) -> memoryview:
        """Open the flow's next message, outermost layer first.

        Returns:
            The frames, in memory of their own.

        Raises:
            DecodeError: a layer does not verify, or it is not the next message of this flow.
        """
        if len(message) < self.overhead_bytes:
            raise DecodeError("message", "too short")
        sequence = self._next(self._opened)
        text = message
        for session, base in self._sessions:
            out = bytearray(len(text) - OVERHEAD_BYTES)
            session.open_into(base + sequence, text, out)
            text = memoryview(out)
        self._opened = sequence + 1
        return text

    @staticmethod
    def _next(sequence: int) -> int:
        if sequence > MAX_SEQUENCE:
            raise DecodeError("message", "sequence used up")
        return sequence

    # -- datagrams

    def seal_datagram(self, plaintext: Buffer) -> Buffer:
        """Seal a datagram, innermost layer first; returns the message.

        Raises:
            DecodeError: the sequence is used up.
        """
        sequence = self._next(self._datagrams_sealed)
        self._datagrams_sealed += 1
        text = plaintext
        for session, base in self._outward:
            out = bytearray(len(text) + OVERHEAD_BYTES)
            session.seal_into(DATAGRAM | base | sequence, text, memoryview(out))
            text = out
        return text

    def open_datagram(self, message: memoryview) -> memoryview:
        """Open a datagram, outermost layer first.

        Returns:
            The frames, in memory of their own.

        Raises:
            DecodeError: a layer does not verify, or was opened before.
        """
        if self._windows is None:
            self._windows = [DatagramWindow(session, base) for session, base in self._sessions]
        for window in self._windows:
            message = memoryview(window.open(message))
        return message


class DatagramWindow:
    """Opens one hop's layer of a flow's datagrams, each at most once.

    Args:
        session: shared with the other end of the layer.
        base: the flow's number at this hop, where it stands in a counter.
    """

    __slots__ = ("_base", "_seen", "_session")

    def __init__(self, session: Session, base: int) -> None:
        self._session = session
        self._seen = ReplayWindow()
        self._base = DATAGRAM | base

    def open(self, message: memoryview) -> bytearray:
        """Check a message and open it.

        Raises:
            DecodeError: it belongs to another flow, does not verify, is repeated or very late.
        """
        _, counter = read_header(message)
        sequence = counter ^ self._base
        if sequence > MAX_SEQUENCE or not self._seen.fresh(sequence):
            raise DecodeError("datagram", "wrong flow or repeated")
        out = bytearray(len(message) - OVERHEAD_BYTES)
        self._session.open_into(counter, message, out)
        self._seen.commit(sequence)
        return out
