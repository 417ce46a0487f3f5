"""Rewrite heads and trailers: what a client says to a proxy becomes what a site expects, and its answer a proxy's.

Each is made anew out of what was understood. What the two ends could understand differently (two lengths, a header
meant for the proxy) ends here.
"""

from __future__ import annotations

import re
from email.utils import formatdate
from typing import TYPE_CHECKING, Final

import h11

from core.errors import DecodeError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from h11._headers import Headers

UPGRADE: Final = b"websocket"
"""The only protocol that a request may change to. `h2c` would carry further requests that nobody here reads."""

HOPS_METHODS: Final = frozenset({b"OPTIONS", b"TRACE"})
"""The methods for which `Max-Forwards` counts (RFC 9110, section 7.6.2)."""

_HOP_BY_HOP: Final = frozenset(
    {b"connection", b"keep-alive", b"proxy-connection", b"te", b"transfer-encoding", b"upgrade"}
)
_FRAMING: Final = frozenset({b"host", b"content-length", b"transfer-encoding"})
_NO_TRAILERS: Final = _FRAMING | {
    *(b"age", b"authorization", b"cache-control", b"content-encoding", b"content-range", b"content-type", b"cookie"),
    *(b"date", b"expect", b"expires", b"location", b"max-forwards", b"pragma", b"range", b"retry-after"),
    *(b"set-cookie", b"trailer", b"vary", b"warning", b"www-authenticate"),
}
"""Fields that frame, route, authenticate or change a message; nobody may send them behind it (RFC 9110, 6.5.1)."""

_VALUE: Final = re.compile(rb"[\t -~\x80-\xff]*")
_HOPS: Final = re.compile(rb"[0-9]{1,10}")

type _Fields = list[tuple[bytes, bytes]]


def values(headers: Headers, name: bytes) -> list[bytes]:
    """Give the members of a list-valued header in lower case, from all its lines."""
    lines = [value for key, value in headers if key == name]
    return [item for line in lines for part in line.split(b",") if (item := part.strip().lower())]


def hops_left(request: h11.Request) -> int | None:
    """Read how often a request may still be passed on; None when nothing limits it.

    Raises:
        DecodeError: it is no number.

    Source: RFC 9110, section 7.6.2.
    """
    if request.method not in HOPS_METHODS:
        return None
    found = [value for name, value in request.headers if name == b"max-forwards"]
    if not found:
        return None
    if len(found) > 1 or not _HOPS.fullmatch(found[0]):
        raise DecodeError("request", "Max-Forwards is a number")
    return int(found[0])


def wants_upgrade(request: h11.Request) -> bool:
    """Tell whether a request asks for a WebSocket.

    Source: RFC 9110, section 7.8; RFC 6455, section 4.1.
    """
    return (
        request.method == b"GET"
        and request.http_version >= b"1.1"
        and b"upgrade" in values(request.headers, b"connection")
        and UPGRADE in values(request.headers, b"upgrade")
        and not any(name in (b"content-length", b"transfer-encoding") for name, _ in request.headers)
    )


def rewrite_request(request: h11.Request, authority: bytes, path: bytes) -> h11.Request:
    """Turn a request to a proxy into one to the site.

    No `Via` is added: it would tell every site that the user comes through this program.

    Args:
        request: as the client sent it, with at least one hop left.
        authority: the host and port of its URL; it replaces `Host` (RFC 9112, section 3.2.2).
        path: the new target.

    Raises:
        DecodeError: the request's length can be read in two ways (RFC 9112, section 6.1), or it cannot have a body.
    """
    names = [name for name, _ in request.headers]
    coded, new = b"transfer-encoding" in names, request.http_version >= b"1.1"
    if coded and (b"content-length" in names or not new):
        raise DecodeError("request", "the length of the body is given in two ways")
    if request.method == b"TRACE" and (coded or b"content-length" in names):
        raise DecodeError("request", "a TRACE has no body")
    dropped = {b"host"} | (set() if coded else {b"trailer"}) | (set() if new else {b"expect"})
    headers: _Fields = [(b"Host", authority), *_end_to_end(request.headers, dropped)]
    if (hops := hops_left(request)) is not None:
        headers = [(name, value) for name, value in headers if name.lower() != b"max-forwards"]
        headers.append((b"Max-Forwards", b"%d" % (hops - 1)))
    if coded:
        headers.append((b"Transfer-Encoding", b"chunked"))
    options = [b"upgrade" if wants_upgrade(request) else b"close"]
    if options == [b"upgrade"]:
        headers.append((b"Upgrade", UPGRADE))
    if new and b"trailers" in values(request.headers, b"te"):
        headers.append((b"TE", b"trailers"))
        options.append(b"TE")
    headers.append((b"Connection", b", ".join(options)))
    return h11.Request(method=request.method, target=path, headers=headers)


def rewrite_response(response: h11.Response, *, closing: bool) -> h11.Response:
    """Make the answer for the client. A length beside a coding is dropped (RFC 9112, section 6.3).

    Args:
        response: of the site.
        closing: the client's connection ends after it.
    """
    names = [name for name, _ in response.headers]
    coded = b"transfer-encoding" in names
    dropped = set() if coded else {b"trailer"}
    if coded or response.status_code == 204:
        dropped.add(b"content-length")
    headers = _end_to_end(response.headers, dropped)
    if b"date" not in names:  # RFC 9110, section 6.6.1
        headers.append((b"Date", formatdate(usegmt=True).encode()))
    if closing:
        headers.append((b"Connection", b"close"))
    return h11.Response(status_code=response.status_code, headers=headers, reason=response.reason)


def rewrite_interim(response: h11.InformationalResponse) -> h11.InformationalResponse:
    """Make an answer before the answer. One that changes the protocol says so to the client as well.

    Raises:
        h11.RemoteProtocolError: it changes to a protocol that was not offered.
    """
    headers = _end_to_end(response.headers, {b"content-length"})
    if response.status_code == 101:
        if values(response.headers, b"upgrade") != [UPGRADE]:
            raise h11.RemoteProtocolError("this protocol was not offered")
        headers += [(b"Upgrade", UPGRADE), (b"Connection", b"upgrade")]
    return h11.InformationalResponse(status_code=response.status_code, headers=headers, reason=response.reason)


def rewrite_trailers(trailers: Headers) -> _Fields:
    """Keep what may stand behind a message. `h11` takes control characters, which others refuse."""
    return [(name, value) for name, value in _end_to_end(trailers, _NO_TRAILERS) if _VALUE.fullmatch(value)]


def _end_to_end(headers: Headers, dropped: Iterable[bytes]) -> _Fields:
    """Leave out `dropped` and what is meant for the next hop alone, by its name or because `Connection` names it.

    Source: RFC 9110, section 7.6.1.
    """
    left_out = _HOP_BY_HOP.union(dropped, set(values(headers, b"connection")) - _FRAMING)
    return [
        (raw, value)
        for (raw, value), (name, _) in zip(headers.raw_items(), headers, strict=True)
        if name not in left_out and not name.startswith(b"proxy-")
    ]
