"""The words for each way a request can fail: SOCKS5 replies, HTTP statuses and pages."""

from __future__ import annotations

from email.utils import formatdate
from enum import Enum
from html import escape
from http import HTTPStatus
from typing import Final

from asyncio_socks_server.core.address import encode_reply
from asyncio_socks_server.core.types import Rep

from core.errors import Reason
from proxy.ask import Answer, Place

SOCKS_GRANTED: Final = encode_reply(Rep.SUCCEEDED)
HTTP_GRANTED: Final = b"HTTP/1.1 200 Connection established\r\n\r\n"

_REPLIES: Final = {
    Reason.REFUSED: Rep.CONNECTION_REFUSED,
    Reason.HOST_UNREACHABLE: Rep.HOST_UNREACHABLE,
    Reason.NO_NAME: Rep.HOST_UNREACHABLE,
    Reason.NETWORK_UNREACHABLE: Rep.NETWORK_UNREACHABLE,
    Reason.NOT_ALLOWED: Rep.CONNECTION_NOT_ALLOWED,
    Reason.NOT_SERVED: Rep.CONNECTION_NOT_ALLOWED,
    Reason.INSIDE: Rep.CONNECTION_NOT_ALLOWED,
    Reason.TIMED_OUT: Rep.TTL_EXPIRED,
}

_STATUSES: Final = {
    Reason.NOT_ALLOWED: HTTPStatus.FORBIDDEN,
    Reason.NOT_SERVED: HTTPStatus.FORBIDDEN,
    Reason.INSIDE: HTTPStatus.FORBIDDEN,
    Reason.TIMED_OUT: HTTPStatus.GATEWAY_TIMEOUT,
    Reason.BUSY: HTTPStatus.SERVICE_UNAVAILABLE,
    Reason.LIMIT: HTTPStatus.SERVICE_UNAVAILABLE,
    Reason.LEAVING: HTTPStatus.SERVICE_UNAVAILABLE,
    Reason.CLOSED: HTTPStatus.SERVICE_UNAVAILABLE,
    Reason.NO_PATH: HTTPStatus.SERVICE_UNAVAILABLE,
    Reason.SITE_OPTIONS: HTTPStatus.SERVICE_UNAVAILABLE,
    Reason.NEXT_HOP: HTTPStatus.SERVICE_UNAVAILABLE,
    Reason.UNKNOWN_PEER: HTTPStatus.SERVICE_UNAVAILABLE,
    Reason.SPENDING_CAP: HTTPStatus.PAYMENT_REQUIRED,
    Reason.NO_FUNDS: HTTPStatus.PAYMENT_REQUIRED,
    Reason.NO_CHANNEL: HTTPStatus.SERVICE_UNAVAILABLE,
    Reason.NOT_OPEN: HTTPStatus.SERVICE_UNAVAILABLE,
    Reason.SETTLEMENT: HTTPStatus.SERVICE_UNAVAILABLE,
    Reason.UNPAID: HTTPStatus.SERVICE_UNAVAILABLE,
    Reason.PRICE: HTTPStatus.SERVICE_UNAVAILABLE,
    Reason.COUNTS_DIFFER: HTTPStatus.SERVICE_UNAVAILABLE,
}

_ADVICE: Final = {
    Reason.NOT_ALLOWED: "Use another exit, or put the site on the bypass list.",
    Reason.NOT_SERVED: "Allow exits in more regions, or put the site on the bypass list.",
    Reason.INSIDE: "To open it from this machine, put it on the bypass list.",
    Reason.NO_NAME: "Check the spelling of the address.",
    Reason.TIMED_OUT: "Try again, or change the route with: macrovpn hop",
    Reason.BUSY: "Try again in a moment.",
    Reason.LIMIT: "Try again in a moment: another path is taken.",
    Reason.LEAVING: "Try again in a moment: another path is taken.",
    Reason.CLOSED: "Try again in a moment: another path is taken.",
    Reason.NEXT_HOP: "Try again in a moment: another path is taken.",
    Reason.UNKNOWN_PEER: "Try again in a moment: another path is taken.",
    Reason.NO_PATH: "Try again in a moment. To see what is missing, run: macrovpn status",
    Reason.SITE_OPTIONS: "Try again in a moment, or change the rule. To see which exits there are, run: macrovpn peers",
    Reason.SPENDING_CAP: "To raise it, run: macrovpn wallet cap COINS. To see what was spent: macrovpn wallet",
    Reason.NO_FUNDS: "Put money into the account that this shows: macrovpn wallet",
    Reason.NO_CHANNEL: "Try again in a moment: it is being opened.",
    Reason.NOT_OPEN: "Try again in a moment: another one is opened.",
    Reason.SETTLEMENT: "Look at payments.rpc or payments.ledger in your settings. To see more, run: macrovpn wallet",
    Reason.UNPAID: "Try again in a moment: another path is taken.",
    Reason.PRICE: "Try again in a moment: another path is taken.",
    Reason.COUNTS_DIFFER: "Try again in a moment: another path is taken.",
}
_TRY_AGAIN: Final = "Check the address and try again."

_METHODS: Final = "CONNECT, DELETE, GET, HEAD, OPTIONS, PATCH, POST, PUT"
_POLICY: Final = "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"

_DIRECT: Final = "A bypass rule sends this site past the tunnel, and this machine could not connect to it."
_TRUSTED: Final = (
    "This machine is on a trusted network, so the site was tried past the tunnel, and could not be connected to."
)
_NODE: Final = "This address is the VPN's own port on this machine. It cannot be reached through the VPN."

_OFF: Final = "Macro VPN is switched off, so nothing was sent."
_BLOCKED: Final = "You block this site by a rule, so nothing was sent."

_MALFORMED: Final = {
    HTTPStatus.BAD_REQUEST: ("The request is not valid HTTP for a proxy.", "Check the program's proxy settings."),
    HTTPStatus.FORBIDDEN: ("This page may not be read from here.", "Open its address in the browser itself."),
    HTTPStatus.NOT_FOUND: ("There is nothing at this address.", "To see the address of the script: macrovpn pac"),
    HTTPStatus.METHOD_NOT_ALLOWED: ("This address is only for reading.", "Use GET or HEAD."),
    HTTPStatus.PROXY_AUTHENTICATION_REQUIRED: ("This proxy asks for its password.", "Enter it in the proxy settings."),
    HTTPStatus.REQUEST_TIMEOUT: ("The request did not arrive in time.", "Try again."),
    HTTPStatus.REQUEST_URI_TOO_LONG: ("The address of the page is too long.", "Open the site's first page instead."),
    HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE: ("The head of the request is too large.", "Delete the site's cookies."),
    HTTPStatus.NOT_IMPLEMENTED: ("The request uses a transfer coding that is not known.", "Use chunked or a length."),
    HTTPStatus.HTTP_VERSION_NOT_SUPPORTED: ("This proxy speaks HTTP/1.1 and HTTP/1.0.", "Use one of them."),
    HTTPStatus.SERVICE_UNAVAILABLE: (
        "This proxy has as many connections as it can hold.",
        "Close pages or programs that you do not need, and try again.",
    ),
    HTTPStatus.BAD_GATEWAY: ("The site's answer is not valid HTTP.", "Try again later."),
}

_EXTRA: Final = {
    HTTPStatus.METHOD_NOT_ALLOWED: "Allow: GET, HEAD\r\n",
    HTTPStatus.PROXY_AUTHENTICATION_REQUIRED: 'Proxy-Authenticate: Basic realm="Macro VPN", charset="UTF-8"\r\n',
}


def socks_granted(host: str, port: int) -> bytes:
    """Build the SOCKS5 reply that names where an association's datagrams shall be sent.

    Args:
        host: an address of this machine.
        port: 1 to 65535.

    Source: RFC 1928, sections 6 and 7.
    """
    return encode_reply(Rep.SUCCEEDED, host.partition("%")[0], port)


def socks_refusal(reason: Reason, place: Place = Place.TUNNEL) -> bytes:
    """Build a SOCKS5 reply for a flow that was not opened; the place has no word in SOCKS5.

    Source: RFC 1928, section 6.
    """
    return encode_reply(_REPLIES.get(reason, Rep.GENERAL_FAILURE))


class Form(Enum):
    """How a page is sent: as a browser shows it, as a program prints it, or without a body as HEAD asks for."""

    HTML = "html"
    TEXT = "text"
    HEAD = "head"


def http_refusal(reason: Reason, place: Place = Place.TUNNEL, form: Form = Form.HTML) -> bytes:
    """Build an HTTP answer for a flow that was not opened."""
    sentence, advice = reason.sentence, _ADVICE.get(reason, _TRY_AGAIN)
    if place is Place.DIRECT:
        sentence, advice = _DIRECT, _TRY_AGAIN
    elif place is Place.TRUSTED:
        sentence, advice = _TRUSTED, _TRY_AGAIN
    elif place is Place.NODE:
        sentence, advice = _NODE, "Open it without the proxy."
    elif place is Place.BLOCKED:
        sentence, advice = _BLOCKED, "To see which rule it is, run: macrovpn bypass test ADDRESS"
    elif place is Place.OFF:
        sentence, advice = _OFF, "Switch it on where you switched it off, or run: macrovpn on"
    return _page(_STATUSES.get(reason, HTTPStatus.BAD_GATEWAY), word_of(reason, place), sentence, advice, form)


def word_of(reason: Reason, place: Place) -> str:
    """Give the word under which a refusal is counted."""
    return place.value if place in (Place.BLOCKED, Place.OFF) else reason.word


def http_complaint(status: int, word: str, form: Form = Form.HTML) -> Answer:
    """Build an HTTP answer for a request that cannot even be tried.

    Args:
        status: one of those that have a sentence here; any other is sent as 400.
        word: the word for the counter and for the header.
        form: of the page; a program whose request cannot be read gets the one for browsers.
    """
    known = HTTPStatus(status) if status in _MALFORMED else HTTPStatus.BAD_REQUEST
    return Answer(_page(known, word, *_MALFORMED[known], form), word)


def http_last_hop(method: bytes) -> Answer:
    """Build the answer of this proxy to a request that may not be passed on: OPTIONS, or TRACE, which is refused, as
    an echo of a browser's request would show it to a page.

    Source: RFC 9110, sections 7.6.2, 9.3.7 and 9.3.8.
    """
    status = HTTPStatus.METHOD_NOT_ALLOWED if method == b"TRACE" else HTTPStatus.OK
    return Answer(_head(status, f"Allow: {_METHODS}\r\nContent-Length: 0\r\n"), "last_hop")


def _page(status: HTTPStatus, word: str, sentence: str, advice: str, form: Form) -> bytes:
    """Build a whole answer. Every text in it is a constant of this module or of `Reason`: nothing is echoed."""
    title = f"{status.value} {status.phrase}"
    kind = "html"
    body = (
        '<!DOCTYPE html><html lang="en"><head><meta charset="utf-8"><meta name="color-scheme" content="light dark">'
        f'<meta name="viewport" content="width=device-width"><title>{title}</title></head><body>'
        f"<h1>{escape(sentence)}</h1><p>{escape(advice)}</p><p>Macro VPN: {title} ({word})</p></body></html>\n"
    )
    if form is Form.TEXT:
        kind, body = "plain", f"{sentence}\n{advice}\nMacro VPN: {title} ({word})\n"
    head = _head(
        status,
        f"Content-Type: text/{kind}; charset=utf-8\r\n"
        f"Content-Length: {len(body.encode())}\r\n"
        "X-Content-Type-Options: nosniff\r\n"
        f"Content-Security-Policy: {_POLICY}\r\n"
        f"{_EXTRA.get(status, '')}"
        f"X-MacroVPN-Reason: {word}\r\n",
    )
    return head if form is Form.HEAD else head + body.encode()


def _head(status: HTTPStatus, lines: str) -> bytes:
    return (
        f"HTTP/1.1 {status.value} {status.phrase}\r\nDate: {formatdate(usegmt=True)}\r\n{lines}"
        "Cache-Control: no-store\r\nConnection: close\r\n\r\n"
    ).encode("ascii")
