"""Read an HTTP request: `CONNECT` for a tunnel, a whole URL for plain HTTP, or a path for this node itself.

Source: RFC 9112, section 3.2; RFC 9110, sections 7.6 and 9.3.6.
"""

from __future__ import annotations

import asyncio
import base64
import hmac
import re
from functools import partial
from typing import TYPE_CHECKING, Final

import h11

from core.errors import DecodeError
from core.flow import FlowRequest
from proxy import pac_server
from proxy.answers import HTTP_GRANTED, Form, http_complaint, http_last_hop, http_refusal
from proxy.ask import Answer, Ask
from proxy.exchange import Exchange
from proxy.rewrite import hops_left, rewrite_request, values, wants_upgrade
from proxy.target import read_authority

if TYPE_CHECKING:
    from proxy.pac_server import PacSite

_URL: Final = re.compile(r"(?i:(http|ws)://)([^#]*)")
"""A `ws:` URL is the `http:` one to which a WebSocket is asked for (RFC 6455, section 3); aiohttp writes it so."""

_HEAD: Final = re.compile(rb"(?:[!-~\x80-\xff][\t -~\x80-\xff]*\r\n)+\r\n")
"""Lines that end with CR LF, hold no other control character, and do not go on from the line before. `h11` would take
some of the rest, and join folded lines; others read that in another way (RFC 9112, sections 2.2 and 5.2)."""

_LENGTHS: Final = re.compile(rb"\ncontent-length[ \t]*:([^\r]*)", re.IGNORECASE)

_ONCE: Final = (b"host", b"proxy-authorization", b"expect")


async def first_byte(reader: asyncio.StreamReader) -> bytes:
    """Read where a request begins; an empty line before it is passed over (RFC 9112, section 2.2).

    Raises:
        asyncio.IncompleteReadError: the client went away.
    """
    first = await reader.readexactly(1)
    if first == b"\r" and await reader.readexactly(1) == b"\n":
        first = await reader.readexactly(1)
    return first


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
    form = Form.HTML
    try:
        request = await _read_head(reader, client, first, head_bytes)
        if isinstance(request, Answer):
            return request
        form = _form(request)
        if request.target.startswith(b"/"):
            return pac_server.answer(request, site, form)
        isolation = _isolation(request, password)
        if isolation is None:
            return http_complaint(407, "unauthorized", form)
        if request.method == b"CONNECT":
            return _connect(client, request, isolation, form)
        return _plain(client, request, isolation, form)
    except h11.RemoteProtocolError as error:
        return http_complaint(error.error_status_hint, "malformed", form)
    except DecodeError:
        return http_complaint(400, "malformed", form)


async def _read_head(
    reader: asyncio.StreamReader, client: h11.Connection, data: bytes, head_bytes: int
) -> h11.Request | Answer:
    """Feed the parser until the head is complete; or complain that it would be longer than `head_bytes`."""
    seen = bytearray()
    while True:
        seen += data
        client.receive_data(data)
        event = client.next_event()
        if isinstance(event, h11.Request):
            behind, _ = client.trailing_data
            return _checked(event, bytes(seen[: len(seen) - len(behind)]))
        left = head_bytes - len(seen)
        if left <= 0:
            return http_complaint(431 if b"\r\n" in seen else 414, "malformed")
        data = await reader.read(left)
        if not data:
            raise asyncio.IncompleteReadError(b"", None)


def _checked(request: h11.Request, head: bytes) -> h11.Request | Answer:
    """Refuse what the parser takes and others read in another way.

    Raises:
        DecodeError: the head is malformed.
    """
    if not request.http_version.startswith(b"1."):
        return http_complaint(505, "malformed", _form(request))
    lengths = _LENGTHS.findall(head)
    if not _HEAD.fullmatch(head) or len(lengths) > 1 or (lengths and b"," in lengths[0]):
        raise DecodeError("request", "the head can be read in several ways")
    names = [name for name, _ in request.headers]
    if any(names.count(name) > 1 for name in _ONCE):
        raise DecodeError("request", "a header stands there twice")
    if host := _header(request, b"host"):
        read_authority(host.decode("latin-1"), default_port=80)
    return request


def _form(request: h11.Request) -> Form:
    if request.method == b"HEAD":
        return Form.HEAD
    kinds = {kind.partition(b";")[0].strip() for kind in values(request.headers, b"accept")}
    return Form.HTML if b"text/html" in kinds else Form.TEXT


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


def _connect(client: h11.Connection, request: h11.Request, isolation: str, form: Form) -> Ask:
    """Read a CONNECT. It has no body, so a length or a coding has no meaning that two readers share."""
    if _header(request, b"transfer-encoding") or _header(request, b"content-length") not in (b"", b"0"):
        raise DecodeError("request", "a CONNECT has no body")
    host, port = read_authority(request.target.decode("ascii"))
    early, _ = client.trailing_data
    scheme = "https" if port == 443 else None
    return Ask(FlowRequest(host, port, isolation), scheme, HTTP_GRANTED, partial(http_refusal, form=form), early)


def _plain(client: h11.Connection, request: h11.Request, isolation: str, form: Form) -> Ask | Answer:
    """Read a request for an `http` URL."""
    target = request.target.decode("ascii")
    url = _URL.fullmatch(target)
    if url is None or (url[1].lower() == "ws" and not wants_upgrade(request)):
        raise DecodeError("request", "the target is no http URL")
    rest = url[2]
    end = min((at for at in (rest.find("/"), rest.find("?")) if at >= 0), default=len(rest))
    authority, path = rest[:end], rest[end:]
    host, port = read_authority(authority, default_port=80)
    if not path.startswith("/"):
        path = "*" if request.method == b"OPTIONS" and not path else "/" + path
    if hops_left(request) == 0:
        return http_last_hop(request.method)
    forwarded = rewrite_request(request, authority.removesuffix(":").encode(), path.encode())
    wrap = partial(Exchange, client=client, request=forwarded, form=form)
    return Ask(FlowRequest(host, port, isolation), "http", b"", partial(http_refusal, form=form), wrap=wrap)


def _header(request: h11.Request, name: bytes) -> bytes:
    return next((value for key, value in request.headers if key == name), b"")
