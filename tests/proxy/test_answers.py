"""One word for each way to fail, in each language."""

from __future__ import annotations

from html import unescape
from html.parser import HTMLParser

import h11
import pytest

from core.errors import Reason
from proxy.answers import Form, http_complaint, http_last_hop, http_refusal, socks_refusal
from proxy.ask import Place

FAILURES = [reason for reason in Reason if reason is not Reason.DONE]


@pytest.mark.parametrize(
    ("reason", "reply", "status"),
    [
        (Reason.REFUSED, 5, 502),
        (Reason.HOST_UNREACHABLE, 4, 502),
        (Reason.NETWORK_UNREACHABLE, 3, 502),
        (Reason.NOT_ALLOWED, 2, 403),
        (Reason.TIMED_OUT, 6, 504),
        (Reason.NO_NAME, 4, 502),
        (Reason.BUSY, 1, 503),
        (Reason.CLOSED, 1, 503),
        (Reason.PROTOCOL, 1, 502),
        (Reason.NO_PATH, 1, 503),
        (Reason.NEXT_HOP, 1, 503),
        (Reason.UNKNOWN_PEER, 1, 503),
        (Reason.RESET, 1, 502),
        (Reason.LOCAL, 1, 502),
        (Reason.LIMIT, 1, 503),
        (Reason.LEAVING, 1, 503),
        (Reason.NOT_SERVED, 2, 403),
        (Reason.INSIDE, 2, 403),
        (Reason.SITE_OPTIONS, 1, 503),
        (Reason.UNPAID, 1, 503),
        (Reason.PRICE, 1, 503),
        (Reason.NO_CHANNEL, 1, 503),
        (Reason.SPENDING_CAP, 1, 402),
        (Reason.COUNTS_DIFFER, 1, 503),
        (Reason.BAD_VOUCHER, 1, 502),
        (Reason.NO_FUNDS, 1, 402),
        (Reason.NOT_OPEN, 1, 503),
        (Reason.TOO_EARLY, 1, 502),
        (Reason.SETTLEMENT, 1, 503),
    ],
)
def test_every_reason_has_its_answers(reason: Reason, reply: int, status: int) -> None:
    assert socks_refusal(reason) == bytes([5, reply, 0, 1, 0, 0, 0, 0, 0, 0])
    answer, body = parsed(http_refusal(reason))
    assert answer.status_code == status
    assert dict(answer.headers)[b"x-macrovpn-reason"].decode() == reason.word
    assert reason.sentence in body


def test_no_reason_is_forgotten() -> None:
    assert len(FAILURES) == 29
    for reason in FAILURES:
        assert socks_refusal(reason)[1] != 0
        assert parsed(http_refusal(reason))[0].status_code >= 400


def test_place_changes_the_sentence() -> None:
    assert "bypass rule" in parsed(http_refusal(Reason.REFUSED, Place.DIRECT))[1]
    assert "own port" in parsed(http_refusal(Reason.NOT_ALLOWED, Place.NODE))[1]
    assert "exit" not in parsed(http_refusal(Reason.NO_NAME, Place.DIRECT))[1]
    assert "You block this site" in parsed(http_refusal(Reason.NOT_ALLOWED, Place.BLOCKED))[1]
    assert "switched off" in parsed(http_refusal(Reason.CLOSED, Place.OFF))[1]


@pytest.mark.parametrize("status", [400, 403, 404, 405, 407, 408, 414, 431, 501, 502, 505])
def test_complaints_are_whole_answers(status: int) -> None:
    answer, body = parsed(http_complaint(status, "word").data)
    assert answer.status_code == status
    assert body.startswith("<!DOCTYPE html>")
    assert (b"connection", b"close") in list(answer.headers)


PAGES = [http_refusal(reason, place) for reason in FAILURES for place in Place]


class Reader(HTMLParser):
    """Reads a page, and requires that each element is closed by its name."""

    def __init__(self, page: bytes) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: set[str] = set()
        self.attributes: set[str] = set()
        self.texts: list[str] = []
        self.feed(page.partition(b"\r\n\r\n")[2].decode())
        self.close()
        assert not self.open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.attributes |= {name for name, _ in attrs}
        if tag != "meta":
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.texts.append(data.strip())


def test_pages_are_kept_by_nobody_and_load_nothing() -> None:
    for page in PAGES:
        headers = dict(parsed(page)[0].headers)
        assert headers[b"cache-control"] == b"no-store"
        assert headers[b"content-security-policy"].startswith(b"default-src 'none'; ")
        assert headers[b"x-content-type-options"] == b"nosniff"
        reader = Reader(page)
        assert reader.tags == {"html", "head", "meta", "title", "body", "h1", "p"}
        assert reader.attributes == {"lang", "charset", "name", "content"}
        _, happened, advice, word = filter(None, reader.texts)
        assert happened[0].isupper()
        assert happened.endswith(".")
        assert advice[0].isupper()
        assert word.startswith("Macro VPN: ")


def test_texts_are_escaped() -> None:
    assert b"destination&#x27;s network" in http_refusal(Reason.NETWORK_UNREACHABLE)


def test_programs_get_text_and_head_gets_no_body() -> None:
    answer, body = parsed(http_refusal(Reason.NETWORK_UNREACHABLE, form=Form.TEXT))
    assert dict(answer.headers)[b"content-type"] == b"text/plain; charset=utf-8"
    assert "the destination's network.\n" in body
    assert "<" not in body
    head = http_refusal(Reason.NO_NAME, form=Form.HEAD)
    assert head.endswith(b"\r\n\r\n")
    assert len(head) == http_refusal(Reason.NO_NAME).index(b"\r\n\r\n") + 4
    assert http_complaint(407, "word", Form.HEAD).data.endswith(b"\r\n\r\n")


@pytest.mark.parametrize(("method", "status"), [(b"OPTIONS", 200), (b"TRACE", 405)])
def test_last_hop(method: bytes, status: int) -> None:
    answer, body = parsed(http_last_hop(method).data)
    assert (answer.status_code, body) == (status, "")
    assert b"GET" in dict(answer.headers)[b"allow"]


def test_unknown_status_is_a_bad_request() -> None:
    assert parsed(http_complaint(418, "word").data)[0].status_code == 400


def parsed(data: bytes) -> tuple[h11.Response, str]:
    """Read one whole answer and nothing after it."""
    client = h11.Connection(h11.CLIENT)
    client.send(h11.Request(method="GET", target="/", headers=[("Host", "a")]))
    client.send(h11.EndOfMessage())
    client.receive_data(data)
    answer, body = client.next_event(), bytearray()
    assert isinstance(answer, h11.Response)
    while isinstance(event := client.next_event(), h11.Data):
        body += event.data
    assert isinstance(event, h11.EndOfMessage)
    assert client.trailing_data[0] == b""
    return answer, unescape(body.decode())
