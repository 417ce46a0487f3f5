"""How questions and answers share one encrypted connection: behind their lengths, or as HTTP/2 requests.

Bytes in, answers out: a connection (`dns_encrypted`) moves the bytes. What a server for browsers could add (redirects,
cookies, compression, pushes) is not asked for, and not followed.

Source: RFC 7858 (DNS over TLS); RFC 8484 (DNS over HTTPS), which recommends HTTP/2 as the least.
"""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING, Final, Protocol

import h2.config
import h2.connection
import h2.errors
import h2.events
import h2.exceptions
import h2.settings

from core.errors import DecodeError
from exits.dns_message import MAX_MESSAGE_BYTES, make_query

if TYPE_CHECKING:
    from collections.abc import Iterator

    import dns.message
    import dns.rdatatype

    from exits.name_server import NameServer

MAX_QUESTIONS: Final = 256
"""Questions on one connection at once; fewer if the server says so."""

_MAX_QUERY_BYTES: Final = 512
"""More than a padded question for one name has: 255 bytes of name, and less than 50 of the rest."""

_MEDIA_TYPE: Final = b"application/dns-message"


class Framing(Protocol):
    """One connection's way to carry questions."""

    @property
    def has_room(self) -> bool:
        """One more question can be asked."""

    def begin(self) -> bytes:
        """Return the bytes that open the connection."""

    def ask(self, name: str, kind: dns.rdatatype.RdataType) -> tuple[int, dns.message.QueryMessage]:
        """Take in a question; there must be room.

        Returns:
            Its number on this connection, and the message.

        Raises:
            DecodeError: the connection is of no more use.
        """

    def forget(self, number: int) -> None:
        """Nobody waits for this answer any more, or it is there."""

    def receive(self, data: bytes) -> Iterator[tuple[int, bytes]]:
        """Take in what the server sent.

        Yields:
            The number of a question, and what answers it: bytes to be read strictly, none if it was refused.

        Raises:
            DecodeError: the connection is of no more use.
        """

    def data_to_send(self) -> bytes:
        """Return what has to be sent after any of the other calls."""


class LengthFraming:
    """DNS over TLS: each message behind its length in two bytes. Answers are told apart by the messages' ids."""

    def __init__(self) -> None:
        self._asked: set[int] = set()
        self._received = bytearray()
        self._to_send = bytearray()

    @property
    def has_room(self) -> bool:
        """See `Framing`, as for all below."""
        return len(self._asked) < MAX_QUESTIONS

    def begin(self) -> bytes:
        return b""

    def ask(self, name: str, kind: dns.rdatatype.RdataType) -> tuple[int, dns.message.QueryMessage]:
        while (number := secrets.randbelow(1 << 16)) in self._asked:
            pass
        self._asked.add(number)
        query = make_query(name, kind, number, padded=True)
        self._to_send += query.to_wire(prepend_length=True)
        return number, query

    def forget(self, number: int) -> None:
        self._asked.discard(number)

    def receive(self, data: bytes) -> Iterator[tuple[int, bytes]]:
        self._received += data
        while len(self._received) >= 2:
            end = 2 + int.from_bytes(self._received[:2], "big")
            if len(self._received) < end:
                return
            message = bytes(self._received[2:end])
            del self._received[:end]
            if (number := int.from_bytes(message[:2], "big")) in self._asked:
                yield number, message

    def data_to_send(self) -> bytes:
        data = bytes(self._to_send)
        self._to_send.clear()
        return data


class HttpFraming:
    """DNS over HTTPS: each message the body of a POST request.

    Args:
        server: its name, port and path stand in each request.
    """

    def __init__(self, server: NameServer) -> None:
        name = f"[{server.name}]" if ":" in server.name else server.name
        self._headers = (
            (b":method", b"POST"),
            (b":scheme", b"https"),
            (b":authority", (name if server.port == 443 else f"{name}:{server.port}").encode()),
            (b":path", server.path.encode()),
            (b"accept", _MEDIA_TYPE),
            (b"content-type", _MEDIA_TYPE),
        )
        config = h2.config.H2Configuration(client_side=True, header_encoding=None)
        self._http = h2.connection.H2Connection(config)
        self._bodies: dict[int, bytearray] = {}

    @property
    def has_room(self) -> bool:
        limit = min(self._http.remote_settings.max_concurrent_streams, MAX_QUESTIONS)
        return len(self._bodies) < limit and self._http.outbound_flow_control_window > _MAX_QUERY_BYTES

    def begin(self) -> bytes:
        self._http.initiate_connection()
        self._http.update_settings({h2.settings.SettingCodes.ENABLE_PUSH: 0})
        return self._http.data_to_send()

    def ask(self, name: str, kind: dns.rdatatype.RdataType) -> tuple[int, dns.message.QueryMessage]:
        query = make_query(name, kind, 0, padded=True)
        wire = query.to_wire()
        try:
            number = self._http.get_next_available_stream_id()
            self._http.send_headers(number, (*self._headers, (b"content-length", b"%d" % len(wire))))
            self._http.send_data(number, wire, end_stream=True)
        except h2.exceptions.ProtocolError:
            raise DecodeError("name server", "takes no questions") from None
        self._bodies[number] = bytearray()
        return number, query

    def forget(self, number: int) -> None:
        if self._bodies.pop(number, None) is not None:
            self._reset(number)

    def receive(self, data: bytes) -> Iterator[tuple[int, bytes]]:
        try:
            events = self._http.receive_data(data)
        except h2.exceptions.ProtocolError:
            raise DecodeError("name server", "broke HTTP/2") from None
        for event in events:
            if isinstance(event, h2.events.ConnectionTerminated):
                raise DecodeError("name server", "ends the connection")
            number = getattr(event, "stream_id", None)
            if isinstance(event, h2.events.DataReceived) and event.flow_controlled_length:
                self._acknowledge(event.flow_controlled_length, event.stream_id or 0)
            if number in self._bodies and (answer := self._read(event, self._bodies[number])) is not None:
                del self._bodies[number]
                yield number, answer

    def data_to_send(self) -> bytes:
        return self._http.data_to_send()

    def _read(self, event: h2.events.Event, body: bytearray) -> bytes | None:
        """Take in what came for one question.

        Returns:
            The whole answer, empty if there is none worth reading; None to wait on.
        """
        if isinstance(event, h2.events.ResponseReceived):
            fields = [(name, value) for name, value in event.headers or () if name in (b":status", b"content-type")]
            return None if sorted(fields) == [(b":status", b"200"), (b"content-type", _MEDIA_TYPE)] else b""
        if isinstance(event, h2.events.DataReceived):
            body += event.data or b""
            return b"" if len(body) > MAX_MESSAGE_BYTES else None
        if isinstance(event, h2.events.StreamEnded):
            return bytes(body)
        return b"" if isinstance(event, h2.events.StreamReset) else None

    def _acknowledge(self, count: int, number: int) -> None:
        try:
            self._http.acknowledge_received_data(count, number)
        except h2.exceptions.ProtocolError:
            return  # the answer is no longer wanted, and its stream is reset

    def _reset(self, number: int) -> None:
        try:
            self._http.reset_stream(number, h2.errors.ErrorCodes.CANCEL)
        except h2.exceptions.ProtocolError:
            return  # it has ended already
