"""How questions share a connection, without one."""

from __future__ import annotations

import contextlib

import dns.message
import dns.rdatatype
import h2.config
import h2.connection
import h2.events
import h2.settings
import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.errors import DecodeError
from exits.dns_framing import MAX_QUESTIONS, Framing, HttpFraming, LengthFraming
from exits.dns_message import MAX_MESSAGE_BYTES
from exits.name_server import NameServer

NAME = "www.example.org"
A = dns.rdatatype.A
SERVER = NameServer("https", "127.0.0.1", 443, "dns.example.net", "/dns-query")
HEADERS = [(b":status", b"200"), (b"content-type", b"application/dns-message")]


class HttpServer:
    """The other end of an `HttpFraming`."""

    def __init__(self, framing: HttpFraming) -> None:
        self.http = h2.connection.H2Connection(h2.config.H2Configuration(client_side=False))
        self.http.initiate_connection()
        self._framing = framing
        self.events = list(self.http.receive_data(framing.begin()))
        self.exchange()

    def exchange(self) -> list[tuple[int, bytes]]:
        """Move what waits, both ways, and return the answers that are whole."""
        found = list(self._framing.receive(self.http.data_to_send()))
        self.events += self.http.receive_data(self._framing.data_to_send())
        return found


def length_framed(message: bytes) -> bytes:
    return len(message).to_bytes(2, "big") + message


def test_answers_may_come_in_pieces() -> None:
    framing = LengthFraming()
    number, query = framing.ask(NAME, A)
    sent = framing.data_to_send()
    assert sent == length_framed(query.to_wire())
    assert framing.data_to_send() == b""
    answer = dns.message.make_response(query).to_wire()
    found = [item for byte in length_framed(answer) * 2 for item in framing.receive(bytes([byte]))]
    assert found == [(number, answer)] * 2
    framing.forget(number)
    assert list(framing.receive(length_framed(answer))) == []


def test_ids_differ_and_are_bounded() -> None:
    framing = LengthFraming()
    numbers = {framing.ask(NAME, A)[0] for _ in range(MAX_QUESTIONS)}
    assert len(numbers) == MAX_QUESTIONS
    assert not framing.has_room
    framing.forget(numbers.pop())
    assert framing.has_room


@given(st.binary(max_size=300))
def test_arbitrary_bytes_answer_nothing(data: bytes) -> None:
    framing = LengthFraming()
    number, _ = framing.ask(NAME, A)
    assert all(found == number for found, _ in framing.receive(data))
    http = HttpFraming(SERVER)
    HttpServer(http)
    http.ask(NAME, A)
    with contextlib.suppress(DecodeError):
        assert list(http.receive(data)) == []


def test_request_and_response() -> None:
    framing = HttpFraming(SERVER)
    server = HttpServer(framing)
    number, query = framing.ask(NAME, A)
    server.exchange()
    asked = [event.data for event in server.events if isinstance(event, h2.events.DataReceived)]
    assert asked == [query.to_wire()]
    server.http.send_headers(number, HEADERS)
    server.http.send_data(number, b"half")
    assert server.exchange() == []
    server.http.send_data(number, b"whole", end_stream=True)
    assert server.exchange() == [(number, b"halfwhole")]


@pytest.mark.parametrize(
    "headers", [[(b":status", b"404"), HEADERS[1]], HEADERS[:1], [HEADERS[0], (b"content-type", b"a/b")]]
)
def test_refusal_is_an_empty_answer(headers: list[tuple[bytes, bytes]]) -> None:
    framing = HttpFraming(SERVER)
    server = HttpServer(framing)
    number, _ = framing.ask(NAME, A)
    server.exchange()
    server.http.send_headers(number, headers)
    assert server.exchange() == [(number, b"")]


def test_body_that_is_too_long_is_given_up() -> None:
    framing = HttpFraming(SERVER)
    server = HttpServer(framing)
    number, _ = framing.ask(NAME, A)
    server.exchange()
    server.http.send_headers(number, HEADERS)
    found: list[tuple[int, bytes]] = []
    sent = 0
    while not found and sent < 2 * MAX_MESSAGE_BYTES:
        server.http.send_data(number, bytes(8192))
        sent += 8192
        found = server.exchange()
    assert found == [(number, b"")]
    assert sent <= MAX_MESSAGE_BYTES + 8192


def test_abandoned_question_is_taken_back() -> None:
    framing = HttpFraming(SERVER)
    server = HttpServer(framing)
    number, _ = framing.ask(NAME, A)
    server.exchange()
    framing.forget(number)
    framing.forget(number)
    server.exchange()
    assert [event.stream_id for event in server.events if isinstance(event, h2.events.StreamReset)] == [number]
    assert framing.has_room


def test_server_sets_how_much_at_once() -> None:
    framing = HttpFraming(SERVER)
    server = HttpServer(framing)
    server.http.update_settings({h2.settings.SettingCodes.MAX_CONCURRENT_STREAMS: 2})
    server.exchange()
    for left in (True, False):
        framing.ask(NAME, A)
        assert framing.has_room is left


def test_server_that_leaves_no_room_to_send() -> None:
    framing = HttpFraming(SERVER)
    server = HttpServer(framing)
    server.http.update_settings({h2.settings.SettingCodes.INITIAL_WINDOW_SIZE: 0})
    server.exchange()
    with pytest.raises(DecodeError):
        framing.ask(NAME, A)


def test_server_that_says_goodbye() -> None:
    framing = HttpFraming(SERVER)
    server = HttpServer(framing)
    framing.ask(NAME, A)
    server.exchange()
    server.http.close_connection()
    with pytest.raises(DecodeError):
        server.exchange()


@pytest.mark.parametrize("framing", [LengthFraming(), HttpFraming(SERVER)])
def test_what_was_never_asked_is_forgotten_without_harm(framing: Framing) -> None:
    framing.begin()
    framing.forget(5)
    assert framing.has_room
