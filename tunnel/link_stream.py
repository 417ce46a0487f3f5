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
from tunnel.limits import DATAGRAM_QUEUE, MAX_MESSAGE
from tunnel.wireguard.constants import TAG_BYTES

if TYPE_CHECKING:
    from core.flow import Buffer
    from tunnel.link import Link

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


class LinkStream:
    """One stream of a link, in tagged records."""

    __slots__ = ("_assembler", "_link", "_received", "_sent", "cut", "id", "receiver")

    def __init__(self, link: Link, number: int, receiver: StreamReceiver | None) -> None:
        self._link = link
        self._assembler = Assembler(MAX_MESSAGE + TAG_BYTES)
        self._sent = 0
        self._received = 0
        self.cut = False
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
        _LENGTH.pack_into(record, 0, len(record) - PREFIX_BYTES)
        view = memoryview(record)
        nonce = _TAG_NONCE.pack(self.id, self._sent)
        self._link.tag_sealer.encrypt_into(nonce, b"", view[PREFIX_BYTES:-TAG_BYTES], view[-TAG_BYTES:])
        self._sent += 1
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
            if not link.connection.send_datagram(link.datagram_tags.seal(self.id, message)):
                link.counters["datagram dropped"] += 1  # late on the stream it would be worth less than none
            return True
        if self.queued > DATAGRAM_QUEUE:
            link.counters["datagram dropped"] += 1
            return True
        record = bytearray(len(message) + RECORD_BYTES)
        record[PREFIX_BYTES:-TAG_BYTES] = message
        return self.send(record)

    def finish(self) -> None:
        """Send nothing more on this stream."""
        if not self.cut:
            self._link.connection.write(self.id, b"", end=True)

    def reset(self) -> None:
        """Cut the stream off and forget it. The receiver gets no further call."""
        if not self.cut:
            self.cut = True
            self._link.forget_stream(self)
            self._link.connection.reset(self.id)

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
            self._deliver(body)
            if self.cut:
                return

    def _deliver(self, body: memoryview) -> None:
        """Hand a message on. What is wrong inside may be the doing of someone behind an honest neighbour, so it costs
        the stream and not the link."""
        try:
            if self.receiver is None:
                self.receiver = self._link.events.stream_opened(self, body)
            if is_datagram(body):
                self.datagram(body)
            else:
                self.receiver.message(body)
        except DecodeError as error:
            self._link.counters[str(error)] += 1
            self.reset()
        except Exception as error:
            _log.error("stream cut after an unexpected error: %s", place(error))
            self._link.counters["internal error"] += 1
            self.reset()

    def datagram(self, body: memoryview) -> None:
        """Hand a datagram on. What is wrong inside costs the datagram alone."""
        try:
            if self.receiver is not None:
                self.receiver.datagram(body)
        except DecodeError as error:
            self._link.counters[str(error)] += 1

    def ended(self) -> None:
        if self.receiver is not None:
            self.receiver.ended()
