"""The words for each way a request can fail: SOCKS5 replies, HTTP statuses and pages."""

from __future__ import annotations

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
    Reason.NEXT_HOP: HTTPStatus.SERVICE_UNAVAILABLE,
    Reason.UNKNOWN_PEER: HTTPStatus.SERVICE_UNAVAILABLE,
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
}
_TRY_AGAIN: Final = "Check the address and try again."

_DIRECT: Final = "A bypass rule sends this site past the tunnel, and this machine could not connect to it."
_NODE: Final = "This address is the VPN's own port on this machine. It cannot be reached through the VPN."

_MALFORMED: Final = {
    HTTPStatus.BAD_REQUEST: ("The request is not valid HTTP for a proxy.", "Check the program's proxy settings."),
    HTTPStatus.FORBIDDEN: ("This page may not be read from here.", "Open its address in the browser itself."),
    HTTPStatus.NOT_FOUND: ("There is nothing at this address.", "To see the address of the script: macrovpn pac"),
    HTTPStatus.METHOD_NOT_ALLOWED: ("This address is only for reading.", "Use GET or HEAD."),
    HTTPStatus.PROXY_AUTHENTICATION_REQUIRED: ("This proxy asks for its password.", "Enter it in the proxy settings."),
    HTTPStatus.REQUEST_TIMEOUT: ("The request did not arrive in time.", "Try again."),
    HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE: ("The head of the request is too large.", "Delete the site's cookies."),
    HTTPStatus.NOT_IMPLEMENTED: ("The request uses a transfer coding that is not known.", "Use chunked or a length."),
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


def http_refusal(reason: Reason, place: Place = Place.TUNNEL) -> bytes:
    """Build an HTTP answer for a flow that was not opened."""
    sentence, advice = reason.sentence, _ADVICE.get(reason, _TRY_AGAIN)
    if place is Place.DIRECT:
        sentence, advice = _DIRECT, _TRY_AGAIN
    elif place is Place.NODE:
        sentence, advice = _NODE, "Open it without the proxy."
    return _page(_STATUSES.get(reason, HTTPStatus.BAD_GATEWAY), reason.word, sentence, advice)


def http_complaint(status: int, word: str) -> Answer:
    """Build an HTTP answer for a request that cannot even be tried.

    Args:
        status: one of those that have a sentence here; any other is sent as 400.
        word: the word for the counter and for the header.
    """
    known = HTTPStatus(status) if status in _MALFORMED else HTTPStatus.BAD_REQUEST
    return Answer(_page(known, word, *_MALFORMED[known]), word)


def _page(status: HTTPStatus, word: str, sentence: str, advice: str) -> bytes:
    """Build a whole answer. Every text in it is a constant of this module or of `Reason`: nothing is echoed."""
    title = f"{status.value} {status.phrase}"
    body = (
        f'<!DOCTYPE html><html lang="en"><meta charset="utf-8"><title>{title}</title>'
        f"<h1>{title}</h1><p>{sentence}</p><p>{advice}</p><p>Macro VPN: {word}</p></html>\n"
    ).encode()
    head = (
        f"HTTP/1.1 {title}\r\n"
        "Content-Type: text/html; charset=utf-8\r\n"
        f"Content-Length: {len(body)}\r\n"
        "Cache-Control: no-store\r\n"
        "Content-Security-Policy: default-src 'none'\r\n"
        f"{_EXTRA.get(status, '')}"
        f"X-MacroVPN-Reason: {word}\r\n"
        "Connection: close\r\n\r\n"
    )
    return head.encode("ascii") + body
