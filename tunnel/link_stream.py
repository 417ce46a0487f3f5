"""One stream of a link, in tagged records, and datagrams beside it.

length (2) ‖ message ‖ link tag (16)
"""

from __future__ import annotations

import logging
import struct
from typing import TYPE_CHECKING, Final, Protocol

from cryptography.exceptions import InvalidTag

from core.errors import DecodeError
from core.fault import place
from tunnel.assembler import PREFIX_BYTES, Assembler
from tunnel.datagram_tags import DATAGRAM_BYTES
from tunnel.layers import RECORD_BYTES, is_datagram
from tunnel.limits import BLANK_BYTES, DATAGRAM_QUEUE, MAX_MESSAGE
from tunnel.wireguard.constants import TAG_BYTES

if TYPE_CHECKING:
    from core.flow import Buffer
    from tunnel.link import Link
    from tunnel.tally import Tally

_LENGTH: Final = struct.Struct(">H")
_TAG_NONCE: Final = struct.Struct("<QI")

_log = logging.getLogger(__name__)


class StreamReceiver(Protocol):
    """Who gets the messages of one stream."""

    def message(self, body: memoryview) -> None:
        """A message whose link tag verified. The memory is valid during the call only.

        Raises:
            DecodeError: it is wrong inside; the stream is cut off.
        """

    def datagram(self, body: memoryview) -> None:
        """As `message`, for one whose counter is of kind datagram: it may overtake others, and others get lost.

        Raises:
            DecodeError: it is wrong inside, or repeated; it is dropped.
        """

    def ended(self) -> None:
        """The stream is over in this direction, or the link is. It says nothing about the flow. May come twice."""

    def writable(self) -> None:
        """`LinkStream.send` returned False before, and there is room again."""


class Watcher(Protocol):
    """Who looks after a circuit whose streams these are, whatever it costs."""

    def came(self, count: int) -> None:
        """A message of so many bytes has come, and is handed on if the stream is not cut off for it."""

    def strayed(self) -> None:
        """The datagram that has just come does not open, was repeated, or is wrong inside."""


class LinkStream:
    """One stream of a link, in tagged records.

    Attributes:
        watcher: told what comes; None where nobody asks.
        tally: of the circuit that it belongs to; None where that costs nothing on this link.
        begun_bytes: what the other side has begun and not finished.
        cut: whether this side takes no more part in it: nothing is sent, and the receiver hears nothing.
        left: whether it is cut, and what still comes is counted.
    """

    __slots__ = (
        "_assembler",
        "_link",
        "_over_in",
        "_over_out",
        "_received",
        "_sent",
        "_sent_bytes",
        "begun_bytes",
        "cut",
        "id",
        "left",
        "receiver",
        "tally",
        "watcher",
    )

    def __init__(self, link: Link, number: int, receiver: StreamReceiver | None) -> None:
        self._link = link
        self._assembler = Assembler(MAX_MESSAGE + TAG_BYTES)
        self._sent = 0
        self._sent_bytes = 0
        self._received = 0
        self._over_in = self._over_out = False
        self.begun_bytes = 0
        self.tally: Tally | None = None
        self.watcher: Watcher | None = None
        self.cut = self.left = False
        self.id = number
        self.receiver = receiver

    @property
    def link(self) -> Link:
        return self._link

    @property
    def queued(self) -> int:
        """Bytes that wait outside of QUIC's own buffer."""
        return self._link.connection.queued(self.id)

    def send(self, record: bytearray, *, last: bool = False) -> bool:
        """Send one record. A stream that was cut off ignores it.

        Args:
            record: 2 bytes of room, the message, 16 bytes of room.
            last: nothing follows; as `finish`.

        Returns:
            False to stop until `StreamReceiver.writable`.
        """
        if self.cut:
            return True
        if self.tally is not None:
            if not self.tally.may_send(self, record, last=last):
                return self.cut  # what was too much may have ended the circuit
            self._sent_bytes += len(record)
        _LENGTH.pack_into(record, 0, len(record) - PREFIX_BYTES)
        view = memoryview(record)
        nonce = _TAG_NONCE.pack(self.id, self._sent)
        self._link.tag_sealer.encrypt_into(nonce, b"", view[PREFIX_BYTES:-TAG_BYTES], view[-TAG_BYTES:])
        self._sent += 1
        self._over_out = last
        return self._link.connection.write(self.id, bytes(record), last)

    def send_datagram(self, message: Buffer) -> bool:
        """Send a message of kind datagram: as a QUIC datagram, or on the stream where none so large fits the path.

        Returns:
            False when it waits on the stream, until `StreamReceiver.writable`. If too much waits there it is dropped.
        """
        link = self._link
        if self.cut or link.closed:
            return True
        if len(message) + DATAGRAM_BYTES <= link.connection.datagram_room:
            self._send_beside(message)
            return True
        if self.queued > DATAGRAM_QUEUE or (self.tally is not None and self.tally.holds_up(self)):
            link.counters["datagram dropped"] += 1
            return True
        record = bytearray(len(message) + RECORD_BYTES)
        record[PREFIX_BYTES:-TAG_BYTES] = message
        return self.send(record)

    def _send_beside(self, message: Buffer) -> None:
        link, tally = self._link, self.tally
        if tally is not None and not tally.may_send_datagram(len(message)):
            link.counters["datagram unpaid"] += 1
        elif not link.connection.send_datagram(link.datagram_tags.seal(self.id, message)):
            link.counters["datagram dropped"] += 1  # late on the stream it would be worth less than none
            if tally is not None:
                tally.datagram_unsent(len(message))

    def finish(self) -> None:
        """Send nothing more on this stream."""
        if not self.cut and (self.tally is None or self.tally.may_finish(self)):
            self._end()

    def _end(self) -> None:
        if not self._over_out:
            self._over_out = True
            self._link.connection.write(self.id, b"", end=True)

    def reset(self) -> None:
        """Cut the stream off and forget it. The receiver gets no further call."""
        if not self.cut:
            self.cut = True
            if self.tally is not None:
                self.tally.forget(self, self._in_messages(self.queued))
            self._link.forget_stream(self)
            self._link.connection.reset(self.id)

    def leave(self) -> None:
        """End the stream here, so that both ends count the same. The receiver gets no further call.

        Where it costs nothing it is cut off, as by `reset`. Else what is under way is still counted when it comes, and
        dropped; see `tunnel.leftover`.
        """
        if self.cut or self.tally is None or self._link.closed or not (self._sent or self._received):
            self.reset()
            return
        self.cut = True
        self.tally.forget(self, self._in_messages(self._link.connection.drop(self.id)))
        self._end()
        self.receiver = None
        self._link.leftovers.add(self)
        self.left = True
        if self._over_in:
            self.let_go()

    def let_go(self) -> None:
        """What still comes on a stream that was left does not count any more."""
        self.left = False
        self.tally = None
        self._link.forget_stream(self)

    def _in_messages(self, unsent: int) -> int:
        """How much of so many bytes, of whole records, is messages, if as much of each as of all records so far."""
        overhead = self._sent * RECORD_BYTES
        return unsent * (self._sent_bytes - overhead) // self._sent_bytes if self._sent_bytes else 0

    def received(self, data: memoryview) -> None:
        """Take bytes from the link.

        Raises:
            DecodeError: a record is too long or too short, or its tag is wrong.
        """
        for record in self._assembler.feed(data):
            if len(record) < TAG_BYTES:
                raise DecodeError("record", "too short")
            body = record[:-TAG_BYTES]
            nonce = _TAG_NONCE.pack(self.id, self._received)
            try:
                self._link.tag_opener.decrypt(nonce, record[-TAG_BYTES:], body)
            except InvalidTag as error:
                raise DecodeError("record", "link tag does not verify") from error
            self._received += 1
            if not self.left:
                self.deliver(body)
            elif self.tally is not None and not self.tally.may_come_late(len(body)):
                self.let_go()
                self._link.connection.reset(self.id)
            if self.cut and not self.left:
                return
        begun = self._assembler.held_bytes + (0 if self._received else BLANK_BYTES)
        if begun != self.begun_bytes:
            self._link.has_begun(self, begun)

    def deliver(self, body: memoryview) -> None:
        """Hand a message on, if it is paid. What is wrong inside may be the doing of someone behind an honest
        neighbour, so it costs the stream and not the link."""
        try:
            if self.receiver is None:
                self.receiver = self._link.events.stream_opened(self, body)
            if self.tally is not None and not self.tally.may_come(self, body):
                return
            if self.watcher is not None:
                self.watcher.came(len(body))
                if self.cut:
                    return
            if is_datagram(body):
                self.datagram(body)
            else:
                self.receiver.message(body)
        except DecodeError as error:
            self._link.counters[str(error)] += 1
            self.leave()
        except Exception as error:
            _log.error("stream cut after an unexpected error: %s", place(error))
            self._link.counters["internal error"] += 1
            self.leave()

    def datagram_came(self, body: memoryview) -> None:
        """Take a datagram that came beside the stream."""
        if self.tally is not None and not self.tally.may_come_datagram(len(body)):
            self._link.counters["datagram unpaid"] += 1
            return
        if self.watcher is not None:
            self.watcher.came(len(body))
        if not self.cut:
            self.datagram(body)

    def datagram(self, body: memoryview) -> None:
        """Hand a datagram on. What is wrong inside costs the datagram alone."""
        try:
            if self.receiver is not None:
                self.receiver.datagram(body)
        except DecodeError as error:
            self._link.counters[str(error)] += 1
            if self.watcher is not None:
                self.watcher.strayed()

    def drained(self) -> None:
        """QUIC has taken everything."""
        if self.receiver is not None and (self.tally is None or not self.tally.holds_up(self)):
            self.receiver.writable()

    def finished(self) -> None:
        """Nothing more comes."""
        self._over_in = True
        if self.left:
            self.let_go()
        elif self.tally is None or self.tally.may_end(self):
            self.ended()

    def broken(self) -> None:
        """The other side has cut the stream off, or the link is gone."""
        self.cut, self.left = True, False
        if self.tally is not None:
            self.tally.forget(self, 0)
        self.ended()

    def ended(self) -> None:
        if self.receiver is not None:
            self.receiver.ended()
