"""One plain request and its answer, with hostile ends on both sides."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import h11
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.errors import DecodeError, Reason
from proxy import exchange as module
from proxy.exchange import Exchange
from proxy.rewrite import rewrite_request
from tests.proxy.harness import MemoryFlow, until

if TYPE_CHECKING:
    from core.flow import Buffer

GET = b"GET http://a.example/path HTTP/1.1\r\nHost: a.example\r\n\r\n"
POST = b"POST http://a.example/path HTTP/1.1\r\nHost: a.example\r\nContent-Length: 5\r\n\r\n"
CHUNKED = b"POST http://a.example/path HTTP/1.1\r\nHost: a.example\r\nTransfer-Encoding: chunked\r\n\r\n"
UPGRADE = GET[:-2] + b"Connection: upgrade\r\nUpgrade: websocket\r\n\r\n"
SWITCHED = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: upgrade\r\n\r\n"
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi"


class Listener:
    """What a client sees. Takes everything at once unless told not to."""

    def __init__(self, exchange: Exchange) -> None:
        self.exchange = exchange
        self.data = bytearray()
        self.eof = False
        self.closed: Reason | None = None
        self.writable = 0
        self.slow = False

    def flow_data(self, data: Buffer) -> None:
        self.data += data
        if not self.slow:
            self.exchange.consumed(len(data))

    def flow_eof(self) -> None:
        self.eof = True

    def flow_writable(self) -> None:
        self.writable += 1

    def flow_closed(self, reason: Reason) -> None:
        assert self.closed is None
        self.closed = reason


class Visit:
    """A request under way: the client on one side, the site on the other."""

    def __init__(self, head: bytes, early: bytes = b"") -> None:
        client = h11.Connection(h11.SERVER)
        client.receive_data(head)
        request = client.next_event()
        assert isinstance(request, h11.Request)
        self.flow = MemoryFlow()
        self.exchange = Exchange(self.flow, client=client, request=rewrite_request(request, b"a.example", b"/path"))
        self.client = Listener(self.exchange)
        if early:
            self.exchange.write(early)
        self.exchange.attach(self.client)

    @property
    def seen(self) -> bytes:
        """The bytes that the client got."""
        return bytes(self.client.data)

    @property
    def sent(self) -> bytes:
        """The bytes that the site got."""
        return bytes(self.flow.written)

    def head_sent(self) -> list[bytes]:
        return self.sent.partition(b"\r\n\r\n")[0].split(b"\r\n")

    def answer(self, data: bytes, pieces: int = 1 << 20) -> None:
        for at in range(0, len(data), pieces):
            self.exchange.flow_data(data[at : at + pieces])


def test_request_is_rewritten_for_the_site() -> None:
    visit = Visit(
        b"GET http://a.example/path HTTP/1.1\r\nHost: wrong.example\r\nProxy-Connection: keep-alive\r\n"
        b"Connection: keep-alive, X-Private\r\nX-Private: 1\r\nKeep-Alive: 5\r\nTE: trailers\r\nUpgrade: h2c\r\n"
        b"Proxy-Authorization: Basic dTpw\r\nProxy-Anything: 1\r\nTrailer: X\r\nX-Kept: 2\r\nCookie: c\r\n\r\n"
    )
    assert visit.head_sent() == [
        b"GET /path HTTP/1.1",
        b"Host: a.example",
        b"X-Kept: 2",
        b"Cookie: c",
        b"TE: trailers",
        b"Connection: close, TE",
    ]


def test_headers_that_frame_the_body_cannot_be_named_away() -> None:
    visit = Visit(POST.replace(b"\r\n\r\n", b"\r\nConnection: Content-Length, host\r\n\r\n") + b"hello")
    assert b"Content-Length: 5" in visit.head_sent()
    assert visit.sent.endswith(b"\r\n\r\nhello")


@pytest.mark.parametrize("version", [b"1.1", b"1.0"])
def test_two_lengths_are_refused(version: bytes) -> None:
    headers = [(b"Host", b"a"), (b"Transfer-Encoding", b"chunked")]
    if version == b"1.1":
        headers.append((b"Content-Length", b"5"))
    request = h11.Request(method=b"POST", target=b"http://a/", headers=headers, http_version=version)
    with pytest.raises(DecodeError):
        rewrite_request(request, b"a", b"/")


@pytest.mark.parametrize("closes", [True, False])
def test_answer_reaches_the_client_and_ends_the_flow(*, closes: bool) -> None:
    visit = Visit(GET.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n") if closes else GET)
    visit.answer(
        b"HTTP/1.1 200 Fine\r\nContent-Length: 2\r\nConnection: keep-alive\r\nKeep-Alive: timeout=5\r\n"
        b"Date: x\r\nX-A: b\r\n\r\nhi"
    )
    last = b"Connection: close\r\n" if closes else b""
    assert visit.seen == b"HTTP/1.1 200 Fine\r\nContent-Length: 2\r\nDate: x\r\nX-A: b\r\n" + last + b"\r\nhi"
    assert visit.client.closed is Reason.DONE
    assert visit.flow.ended is Reason.LOCAL
    assert visit.exchange.rest == (None if closes else b"")


@pytest.mark.parametrize("pieces", [1, 3, 1000])
def test_chunked_answer(pieces: int) -> None:
    visit = Visit(GET)
    visit.answer(
        b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\nTransfer-Encoding: chunked\r\nTrailer: X\r\n\r\n"
        b"2;ext=1\r\nhi\r\n1\r\n!\r\n0\r\nX: trailer\r\n\r\n",
        pieces,
    )
    head, _, body = visit.seen.partition(b"\r\n\r\n")
    assert b"Content-Length" not in head
    assert b"\r\nTrailer: X" in head
    assert body.endswith(b"0\r\nX: trailer\r\n\r\n")
    assert dechunked(head, body) == b"hi!"
    assert visit.client.closed is Reason.DONE


def test_answer_that_ends_with_the_connection() -> None:
    visit = Visit(GET)
    visit.answer(b"HTTP/1.0 200 OK\r\n\r\nhello")
    assert visit.client.closed is None
    visit.exchange.flow_eof()
    head, _, body = visit.seen.partition(b"\r\n\r\n")
    assert dechunked(head, body) == b"hello"
    assert visit.client.closed is Reason.DONE


def test_early_hints_are_passed_on_and_continue_too() -> None:
    visit = Visit(POST.replace(b"\r\n\r\n", b"\r\nExpect: 100-continue\r\n\r\n"))
    assert b"Expect: 100-continue" in visit.head_sent()
    visit.answer(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n")
    assert visit.seen == b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n"
    visit.exchange.write(b"hello")
    visit.answer(OK)
    assert visit.client.closed is Reason.DONE
    assert visit.seen.count(b"200 OK") == 1


def test_old_client_gets_no_interim_answer() -> None:
    visit = Visit(b"GET http://a.example/path HTTP/1.0\r\n\r\n")
    visit.answer(b"HTTP/1.1 100 Continue\r\n\r\n" + OK)
    assert visit.seen.startswith(b"HTTP/1.1 200 OK\r\n")


def test_head_request_has_no_body() -> None:
    visit = Visit(GET.replace(b"GET", b"HEAD"))
    visit.answer(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n")
    assert visit.seen.endswith(b"\r\n\r\n")
    assert visit.client.closed is Reason.DONE


@pytest.mark.parametrize("early", [True, False])
def test_body_is_forwarded_and_what_follows_is_not(*, early: bool) -> None:
    second = b"GET http://b.example/ HTTP/1.1\r\nHost: b.example\r\nCookie: secret\r\n\r\n"
    visit = Visit(POST, b"hello" + second) if early else Visit(POST)
    if not early:
        visit.exchange.write(b"hel")
        visit.exchange.write(b"lo" + second)
        visit.exchange.write(second)
    assert visit.sent.endswith(b"\r\n\r\nhello")
    assert b"b.example" not in visit.sent


def test_second_request_in_the_bytes_of_the_head_is_not_forwarded() -> None:
    assert b"b.example" not in Visit(GET + GET.replace(b"a.example", b"b.example")).sent


def test_chunked_body_is_read_and_written_anew() -> None:
    visit = Visit(CHUNKED)
    for byte in b"3;ext=x\r\nhel\r\n2\r\nlo\r\n0\r\nX-Trailer: 1\r\n\r\nGET / HTTP/1.1\r\n":
        visit.exchange.write(bytes([byte]))
    head, _, body = visit.sent.partition(b"\r\n\r\n")
    assert b"Transfer-Encoding: chunked" in head.split(b"\r\n")
    assert body.endswith(b"0\r\nX-Trailer: 1\r\n\r\n")
    assert b"GET" not in body


@pytest.mark.parametrize("early", [True, False])
async def test_malformed_body_is_answered_and_the_flow_reset(*, early: bool) -> None:
    visit = Visit(CHUNKED, b"nonsense\r\n" if early else b"")
    visit.exchange.write(b"nonsense\r\n")
    assert visit.seen.startswith(b"HTTP/1.1 400 ")
    assert (visit.client.eof, visit.flow.ended) == (True, Reason.LOCAL)
    visit.exchange.finish()
    assert visit.client.closed is Reason.DONE
    assert visit.exchange.rest is None


def test_client_that_ends_inside_the_body_resets_the_flow() -> None:
    visit = Visit(POST)
    visit.exchange.write(b"hel")
    visit.exchange.finish()
    assert visit.flow.ended is Reason.LOCAL
    assert visit.client.closed is Reason.LOCAL


def test_client_that_has_finished_still_gets_its_answer() -> None:
    visit = Visit(GET)
    visit.exchange.finish()
    assert not visit.flow.finished
    visit.answer(OK)
    assert visit.seen.endswith(b"hi")


@pytest.mark.parametrize(
    "data",
    [
        b"nonsense\r\n\r\n",
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nX: " + b"x" * 70_000,
    ],
)
def test_malformed_answer_becomes_a_page(data: bytes) -> None:
    visit = Visit(GET)
    visit.answer(data)
    assert visit.seen.startswith(b"HTTP/1.1 502 ")
    assert visit.client.closed is Reason.DONE
    assert visit.flow.ended is Reason.PROTOCOL


def test_site_that_ends_without_an_answer_becomes_a_page() -> None:
    visit = Visit(GET)
    visit.exchange.flow_eof()
    assert visit.seen.startswith(b"HTTP/1.1 502 ")


def test_reset_before_the_answer_becomes_a_page() -> None:
    visit = Visit(GET)
    visit.exchange.flow_closed(Reason.TIMED_OUT)
    assert visit.seen.startswith(b"HTTP/1.1 504 ")
    assert visit.client.closed is Reason.DONE


@pytest.mark.parametrize("how", ["eof", "reset", "nonsense"])
def test_answer_that_is_cut_cuts_the_client(how: str) -> None:
    visit = Visit(GET)
    visit.answer(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n")
    if how == "eof":
        visit.exchange.flow_eof()
    elif how == "reset":
        visit.exchange.flow_closed(Reason.RESET)
    else:
        visit.answer(b"nonsense\r\n")
    assert b"502" not in visit.seen
    assert visit.client.closed not in (None, Reason.DONE), "the client must see that something is missing"


def test_credit_is_returned_once_the_client_has_taken_all() -> None:
    visit = Visit(GET)
    visit.client.slow = True
    visit.answer(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc")
    visit.answer(b"def")
    assert visit.flow.credit == 0
    visit.exchange.consumed(len(visit.client.data) - 1)
    assert visit.flow.credit == 0
    visit.exchange.consumed(1)
    assert visit.flow.credit == len(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabcdef")


def test_credit_is_returned_for_bytes_that_make_none() -> None:
    visit = Visit(GET)
    visit.answer(b"HTTP/1.1 200")
    assert visit.flow.credit == len(b"HTTP/1.1 200")


def test_full_flow_stops_the_client() -> None:
    visit = Visit(POST)
    visit.flow.free = False
    assert visit.exchange.write(b"hel") is False
    visit.exchange.flow_writable()
    assert visit.client.writable == 1


def test_reset_by_the_client_reaches_the_flow() -> None:
    visit = Visit(GET)
    visit.exchange.reset(Reason.LOCAL)
    visit.answer(OK)
    assert visit.flow.ended is Reason.LOCAL
    assert (visit.seen, visit.client.closed) == (b"", None)


async def test_early_answer_can_be_read_by_a_client_that_still_sends(monkeypatch: pytest.MonkeyPatch) -> None:
    visit = Visit(POST)
    visit.answer(b"HTTP/1.1 413 No\r\nContent-Length: 0\r\n\r\n")
    assert (visit.client.eof, visit.client.closed) == (True, None)
    before = visit.sent
    visit.exchange.write(b"hello")
    assert visit.sent == before
    visit.exchange.finish()
    assert visit.client.closed is Reason.DONE
    monkeypatch.setattr(module, "LINGER_S", 0.01)
    visit = Visit(POST)
    visit.answer(b"HTTP/1.1 413 No\r\nContent-Length: 0\r\n\r\n")
    await until(lambda: visit.client.closed is Reason.DONE)


# -- what follows a request


def test_what_follows_waits_for_the_answer() -> None:
    visit = Visit(POST, b"hello" + GET)
    visit.answer(OK)
    assert visit.exchange.rest == GET
    visit = Visit(POST)
    assert visit.exchange.write(b"hello" + GET[:9]) is True
    assert visit.exchange.write(GET[9:]) is False, "no more is read than one piece"
    visit.exchange.flow_writable()
    assert visit.client.writable == 0
    assert b"GET" not in visit.sent
    visit.answer(OK)
    assert (visit.exchange.rest, visit.client.closed) == (GET, Reason.DONE)


def test_client_that_has_finished_keeps_only_what_it_has_sent() -> None:
    for behind, rest in ((b"", None), (GET, GET)):
        visit = Visit(GET, behind)
        visit.exchange.finish()
        visit.answer(OK)
        assert (visit.exchange.rest, visit.exchange.eof, visit.client.closed) == (rest, True, Reason.DONE)


@pytest.mark.parametrize("words", [b"GET http://a.example/ HTTP/1.0\r\n\r\n", GET[:-2] + b"Connection: close\r\n\r\n"])
def test_what_follows_a_last_request_is_thrown_away(words: bytes) -> None:
    visit = Visit(words)
    assert visit.exchange.write(GET) is True
    visit.answer(OK)
    assert (visit.exchange.rest, visit.client.closed) == (None, Reason.DONE)
    assert not visit.exchange._behind


async def test_page_can_be_read_by_a_client_that_has_sent_more() -> None:
    visit = Visit(GET)
    assert visit.exchange.write(GET) is False
    visit.exchange.flow_closed(Reason.TIMED_OUT)
    assert visit.seen.startswith(b"HTTP/1.1 504 ")
    assert (visit.client.eof, visit.client.closed, visit.client.writable) == (True, None, 1)
    visit.exchange.finish()
    assert (visit.client.closed, visit.exchange.rest) == (Reason.DONE, None)


async def test_answer_that_overtakes_its_request_ends_the_connection() -> None:
    visit = Visit(POST)
    visit.answer(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nhi")
    assert b"\r\nConnection: close\r\n" in visit.seen
    visit.exchange.write(b"hello" + GET)
    visit.answer(b"ho")
    assert (visit.exchange.rest, visit.client.closed) == (None, Reason.DONE)


# -- a change of protocol


def switched(*, behind: bytes = b"", answer: bytes = SWITCHED) -> Visit:
    visit = Visit(UPGRADE)
    if behind:
        visit.exchange.write(behind)
    visit.answer(answer)
    assert visit.seen.startswith(b"HTTP/1.1 101 ")
    return visit


def test_bytes_go_both_ways_after_a_change_of_protocol() -> None:
    visit = switched(answer=SWITCHED + b"\0first")
    assert visit.seen.endswith(b"\r\n\r\n\0first")
    visit.exchange.write(b"\xffGET / HTTP/1.1\r\n\r\n")
    visit.answer(b"HTTP/1.1 200 OK\r\n\r\n")
    assert visit.sent.endswith(b"\r\n\r\n\xffGET / HTTP/1.1\r\n\r\n")
    assert visit.seen.endswith(b"\0firstHTTP/1.1 200 OK\r\n\r\n")
    visit.exchange.finish()
    visit.exchange.flow_eof()
    assert (visit.flow.finished, visit.client.eof, visit.client.closed) == (True, True, None)
    visit.exchange.flow_closed(Reason.RESET)
    assert (visit.client.closed, visit.exchange.failure, visit.exchange.rest) == (Reason.RESET, None, None)


def test_what_a_client_sends_before_the_change_goes_to_the_site_after_it() -> None:
    visit = Visit(UPGRADE)
    visit.exchange.write(b"\xfffirst")
    assert visit.exchange.write(b"second") is False
    assert b"first" not in visit.sent
    visit.exchange.finish()
    visit.answer(SWITCHED)
    assert visit.sent.endswith(b"\r\n\r\n\xfffirstsecond")
    assert visit.flow.finished
    assert switched(behind=b"x").client.writable == 1
    full = Visit(UPGRADE)
    full.exchange.write(b"x")
    full.flow.free = False
    full.answer(SWITCHED)
    assert full.client.writable == 0
    assert full.exchange.write(b"y") is False


def test_credit_is_returned_byte_for_byte_after_a_change_of_protocol() -> None:
    visit = Visit(UPGRADE)
    visit.client.slow = True
    visit.answer(SWITCHED + b"first")
    visit.answer(b"second")
    assert visit.flow.credit == 0
    visit.exchange.consumed(len(visit.seen) - 4)
    assert visit.flow.credit == len(SWITCHED + b"first") + 2
    visit.exchange.consumed(4)
    assert visit.flow.credit == len(SWITCHED + b"firstsecond")


@given(st.lists(st.binary(max_size=80) | st.sampled_from([b"\r\n", b"0\r\n\r\n", b"5\r\nhello\r\n", b"HTTP/1.1 "])))
@settings(max_examples=300, deadline=None)
def test_any_bytes_from_both_sides_raise_nothing(pieces: list[bytes]) -> None:
    async def run() -> None:
        for head in (GET, POST, CHUNKED, UPGRADE):
            visit = Visit(head)
            for number, piece in enumerate(pieces):
                if number % 2:
                    visit.exchange.write(piece)
                else:
                    visit.answer(piece)
            visit.exchange.flow_eof()
            visit.exchange.finish()
            visit.exchange.flow_closed(Reason.RESET)
            assert visit.client.closed is not None

    asyncio.run(run())


def dechunked(head: bytes, body: bytes) -> bytes:
    """Read the body of an answer, and require that nothing follows it."""
    client = h11.Connection(h11.CLIENT)
    client.send(h11.Request(method="GET", target="/", headers=[("Host", "a")]))
    client.send(h11.EndOfMessage())
    client.receive_data(head + b"\r\n\r\n" + body)
    assert isinstance(client.next_event(), h11.Response)
    found = bytearray()
    while isinstance(event := client.next_event(), h11.Data):
        found += event.data
    assert isinstance(event, h11.EndOfMessage)
    assert client.trailing_data[0] == b""
    return bytes(found)
