"""Read an HTTP request: `CONNECT` for a tunnel, a whole URL for plain HTTP, or a path for this node itself.

Source: RFC 9112, section 3.2; RFC 9110, sections 7.6 and 9.3.6.
"""

from __future__ import annotations

import asyncio
import base64
import hmac
from functools import partial
from typing import TYPE_CHECKING, Final

import h11

from core.errors import DecodeError
from core.flow import FlowRequest
from proxy import pac_server
from proxy.answers import HTTP_GRANTED, http_complaint, http_refusal
from proxy.ask import Answer, Ask
from proxy.exchange import Exchange, rewrite_request
from proxy.target import read_authority

if TYPE_CHECKING:
    from proxy.pac_server import PacSite

_SCHEME: Final = "http://"


async def hear(
    reader: asyncio.StreamReader, first: bytes, head_bytes: int, site: PacSite, password: str | None
) -> Ask | Answer:
    """Read a request's head.

    Args:
        reader: the client's bytes after `first`.
        first: what was read of the request before.
        head_bytes: the longest head.
        site: what this node itself serves.
        password: what the client of a proxy request must know; None when anyone may come.

    Returns:
        What it wants, or the whole answer to it.

    Raises:
        asyncio.IncompleteReadError: the client went away before the head was complete.
    """
    client = h11.Connection(h11.SERVER, max_incomplete_event_size=head_bytes)
    try:
        request = await _read_head(reader, client, first, head_bytes)
        if request is None:
            return http_complaint(431, "malformed")
        if request.target.startswith(b"/"):
            return pac_server.answer(request, site)
        isolation = _isolation(request, password)
        if isolation is None:
            return http_complaint(407, "unauthorized")
        if request.method == b"CONNECT":
            return _connect(client, request, isolation)
        return _plain(client, request, isolation)
    except h11.RemoteProtocolError as error:
        return http_complaint(error.error_status_hint, "malformed")
    except DecodeError:
        return http_complaint(400, "malformed")


async def _read_head(
    reader: asyncio.StreamReader, client: h11.Connection, data: bytes, head_bytes: int
) -> h11.Request | None:
    """Feed the parser until the head is complete; None when it would be longer than `head_bytes`."""
    left = head_bytes - len(data)
    while True:
        client.receive_data(data)
        event = client.next_event()
        if isinstance(event, h11.Request):
            return event
        if left <= 0:
            return None
        data = await reader.read(left)
        if not data:
            raise asyncio.IncompleteReadError(b"", None)
        left -= len(data)


def _isolation(request: h11.Request, password: str | None) -> str | None:
    """Get the user name of a proxy request; None when it does not know the password.

    Source: RFC 7617.
    """
    kind, _, code = _header(request, b"proxy-authorization").partition(b" ")
    user, given = "", ""
    if kind.lower() == b"basic":
        try:
            user, _, given = base64.b64decode(code.strip(), validate=True).decode().partition(":")
        except ValueError as error:
            raise DecodeError("proxy-authorization", "this is not Base64 of UTF-8") from error
    if password is not None and not hmac.compare_digest(given.encode(), password.encode()):
        return None
    return user


def _connect(client: h11.Connection, request: h11.Request, isolation: str) -> Ask:
    """Read a CONNECT. It has no body, so a length or a coding has no meaning that two readers share."""
    if _header(request, b"transfer-encoding") or _header(request, b"content-length") not in (b"", b"0"):
        raise DecodeError("request", "a CONNECT has no body")
    host, port = read_authority(request.target.decode("ascii"))
    early, _ = client.trailing_data
    scheme = "https" if port == 443 else None
    return Ask(FlowRequest(host, port, isolation), scheme, HTTP_GRANTED, http_refusal, early)


def _plain(client: h11.Connection, request: h11.Request, isolation: str) -> Ask:
    """Read a request for an `http` URL."""
    target = request.target.decode("ascii")
    if target[: len(_SCHEME)].lower() != _SCHEME or "#" in target:
        raise DecodeError("request", "the target is no http URL")
    rest = target[len(_SCHEME) :]
    end = min((at for at in (rest.find("/"), rest.find("?")) if at >= 0), default=len(rest))
    authority, path = rest[:end], rest[end:]
    host, port = read_authority(authority, default_port=80)
    if not path.startswith("/"):
        path = "*" if request.method == b"OPTIONS" and not path else "/" + path
    forwarded = rewrite_request(request, authority.encode(), path.encode())
    wrap = partial(Exchange, client=client, request=forwarded)
    return Ask(FlowRequest(host, port, isolation), "http", b"", http_refusal, wrap=wrap)


def _header(request: h11.Request, name: bytes) -> bytes:
    return next((value for key, value in request.headers if key == name), b"")
