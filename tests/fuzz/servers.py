"""Readers of what an exit's own name server sends over its encrypted connection."""

from __future__ import annotations

from typing import TYPE_CHECKING

import dns.message
import dns.rdatatype

from exits.dns_framing import HttpFraming, LengthFraming
from exits.dns_message import MAX_MESSAGE_BYTES
from tests.exits.test_dns_framing import HEADERS, NAME, SERVER, HttpServer
from tests.fuzz.target import Target

if TYPE_CHECKING:
    from exits.dns_framing import Framing

_QUESTIONS = 2


def _hear(framing: Framing, asked: set[int], data: bytes) -> None:
    """The first byte says how large the pieces are."""
    step = data[0] + 1 if data else 1
    for at in range(1, len(data), step):
        for number, answer in framing.receive(data[at : at + step]):
            assert number in asked, "an answer to what was not asked"
            assert len(answer) <= MAX_MESSAGE_BYTES
            framing.forget(number)
            asked.discard(number)
        framing.data_to_send()


def read_lengths(data: bytes) -> None:
    """DNS over TLS. Ids are drawn, so 0 and 1 in the input mean those that were."""
    framing = LengthFraming()
    numbers = [framing.ask(NAME, dns.rdatatype.A)[0] for _ in range(_QUESTIONS)]
    for at in range(1, len(data) - 3):
        if data[at : at + 4] in _MARKS:
            data = data[:at] + numbers[_MARKS.index(data[at : at + 4])].to_bytes(2) + data[at + 4 :]
    _hear(framing, set(numbers), data)


def read_http(data: bytes) -> None:
    """DNS over HTTPS: what follows the beginning of an HTTP/2 connection on which two things were asked."""
    framing = HttpFraming(SERVER)
    HttpServer(framing)
    _hear(framing, {framing.ask(NAME, dns.rdatatype.A)[0] for _ in range(_QUESTIONS)}, data)


_MARKS = (b"id 0", b"id 1")


def _answered() -> bytes:
    """What an honest server sends."""
    framing = HttpFraming(SERVER)
    server = HttpServer(framing)
    for _ in range(_QUESTIONS):
        number, query = framing.ask(NAME, dns.rdatatype.A)
        server.http.receive_data(framing.data_to_send())
        server.http.send_headers(number, HEADERS)
        server.http.send_data(number, dns.message.make_response(query).to_wire(), end_stream=True)
    sent: bytes = server.http.data_to_send()
    return sent


TARGETS = (
    Target("dns-tls", read_lengths, (b"\x03\0\x05id 0abc\0\x02id 1", b"\xff\0\x02id 0\0\x02id 0"), ()),
    Target("dns-https", read_http, (b"\x07" + _answered(), b"\xff" + _answered())),
)
