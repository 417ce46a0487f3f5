"""Carry one plain HTTP request and its answer, reading both, so that nothing else slips through with them.

Both messages are parsed and written anew: the site sees exactly one request, in the form that a site expects, and the
client sees exactly one answer, after which the connection is closed. What the two would understand differently (two
lengths, a header meant for the proxy) does not get past here.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

import h11

from core.errors import DecodeError, Reason
from proxy.answers import http_complaint, http_refusal

if TYPE_CHECKING:
    from h11._headers import Headers

    from core.flow import Buffer, Flow, FlowListener

ANSWER_HEAD_BYTES: Final = 1 << 16
"""Longest head of an answer, and longest line of a chunked one."""

LINGER_S: Final = 2.0
"""How long a client that still sends may read an early answer before the connection is closed under it."""

_HOP_BY_HOP: Final = frozenset(
    {b"connection", b"keep-alive", b"proxy-connection", b"te", b"trailer", b"transfer-encoding", b"upgrade"}
)
_FRAMING: Final = frozenset({b"host", b"content-length", b"transfer-encoding"})

type _Headers = list[tuple[bytes, bytes]]


def rewrite_request(request: h11.Request, authority: bytes, path: bytes) -> h11.Request:
    """Turn a request to a proxy into one to the site.

    No `Via` is added: it would tell every site that the user comes through this program.

    Args:
        request: as the client sent it.
        authority: the host and port of its URL; it replaces `Host` (RFC 9112, section 3.2.2).
        path: the new target.

    Raises:
        DecodeError: the request's length can be read in two ways (RFC 9112, section 6.1).
    """
    names = [name for name, _ in request.headers]
    if b"transfer-encoding" in names and (b"content-length" in names or request.http_version < b"1.1"):
        raise DecodeError("request", "the length of the body is given in two ways")
    headers: _Headers = [(b"Host", authority)]
    headers += [(name, value) for name, value in _end_to_end(request.headers) if name.lower() != b"host"]
    if b"transfer-encoding" in names:
        headers.append((b"Transfer-Encoding", b"chunked"))
    headers.append((b"Connection", b"close"))
    return h11.Request(method=request.method, target=path, headers=headers)


def _end_to_end(headers: Headers) -> _Headers:
    """Leave out what is meant for the next hop alone, by its name or because `Connection` names it.

    Source: RFC 9110, section 7.6.1.
    """
    dropped = set(_HOP_BY_HOP)
    for name, value in headers:
        if name == b"connection":
            dropped.update({option.strip().lower() for option in value.split(b",")} - _FRAMING)
    return [
        (raw, value)
        for (raw, value), (name, _) in zip(headers.raw_items(), headers, strict=True)
        if name not in dropped and not name.startswith(b"proxy-")
    ]


class Exchange:
    """Stand between the pump of a client and the flow to a site, as a flow for the one and a listener for the other.

    Args:
        flow: to the site; it may still be on its way to be opened.
        client: the parser that has read the head of the request and nothing of its body.
        request: the request for the site.

    Attributes:
        failure: why the client got a page of this program, or a cut connection, instead of an answer.
    """

    def __init__(self, flow: Flow, *, client: h11.Connection, request: h11.Request) -> None:
        self._flow = flow
        self._client = client
        self._site = h11.Connection(h11.CLIENT, max_incomplete_event_size=ANSWER_HEAD_BYTES)
        self._head = self._site.send(request) or b""
        self._attached = False
        self._early = b""
        self._early_eof = False
        self._listener: FlowListener | None = None
        self._asked = False
        self._answering = False
        self._answered = False
        self._taken = 0
        self._unread = 0
        self._timer: asyncio.TimerHandle | None = None
        self.failure: Reason | None = None

    # -- the flow that the pump sees

    def attach(self, listener: FlowListener) -> None:
        self._listener, self._attached = listener, True
        self._flow.write(self._head)
        early, self._early = self._early, b""
        self.write(early)
        if self._early_eof:
            self.finish()
        self._flow.attach(self)

    def write(self, data: Buffer) -> bool:
        """Take bytes of the request. What follows after it is thrown away: the client will see a closed connection
        and send it again on another."""
        if not self._attached:
            self._early += data
            return True
        if self._asked or self._answered:
            return True
        if data:
            self._client.receive_data(bytes(data))
        try:
            return self._send_request()
        except h11.RemoteProtocolError:
            self._flow.reset(Reason.LOCAL)
            self._fail(Reason.LOCAL, http_complaint(400, "malformed").data)
            return True

    def _send_request(self) -> bool:
        free = True
        while not self._asked:
            event = self._client.next_event()
            if not isinstance(event, h11.Data | h11.EndOfMessage):
                break
            self._asked = isinstance(event, h11.EndOfMessage)
            piece = self._site.send(h11.EndOfMessage() if self._asked else event)
            if piece:
                free = self._flow.write(piece)
        return free

    def finish(self) -> None:
        """The client sends nothing more. The site is not told: it has the whole request, and may take it for a loss."""
        if not self._attached:
            self._early_eof = True
        elif self._answered:
            self._end(Reason.DONE)
        elif not self._asked:
            self._flow.reset(Reason.LOCAL)
            self._end(Reason.LOCAL)

    def reset(self, reason: Reason) -> None:
        self._listener = None
        self._answered = True
        self._stop_timer()
        self._flow.reset(reason)

    def consumed(self, count: int) -> None:
        self._unread -= count
        self._return_credit()

    # -- the listener that the flow sees

    def flow_data(self, data: Buffer) -> None:
        self._taken += len(data)
        if data:
            self._read_answer(bytes(data))
        self._return_credit()

    def flow_eof(self) -> None:
        self._read_answer(b"")

    def flow_writable(self) -> None:
        if self._listener is not None:
            self._listener.flow_writable()

    def flow_closed(self, reason: Reason) -> None:
        if not self._answered:
            reason = Reason.PROTOCOL if reason is Reason.DONE else reason
            self._fail(reason, http_refusal(reason))

    # -- the answer

    def _read_answer(self, data: bytes) -> None:
        if self._answered or self._listener is None:
            return
        self._site.receive_data(data)
        out: list[bytes] = []
        try:
            while not self._answered and self._step(out):
                pass
        except h11.ProtocolError:
            self._deliver(b"".join(out))
            self._flow.reset(Reason.PROTOCOL)
            self._fail(Reason.PROTOCOL, http_complaint(502, Reason.PROTOCOL.word).data)
            return
        self._deliver(b"".join(out))
        if self._answered:
            self._close()

    def _step(self, out: list[bytes]) -> bool:
        """Turn one event of the site into bytes for the client; False when there is none."""
        event = self._site.next_event()
        if isinstance(event, h11.InformationalResponse):
            if (self._client.their_http_version or b"") >= b"1.1":
                known = h11.InformationalResponse(
                    status_code=event.status_code, headers=_end_to_end(event.headers), reason=event.reason
                )
                out.append(self._client.send(known) or b"")
        elif isinstance(event, h11.Response):
            self._answering = True
            out.append(self._client.send(_rewrite_response(event)) or b"")
        elif isinstance(event, h11.Data):
            out.append(self._client.send(event) or b"")
        elif isinstance(event, h11.EndOfMessage):
            self._answered = True
            out.append(self._client.send(h11.EndOfMessage()) or b"")
        elif event is h11.PAUSED or isinstance(event, h11.ConnectionClosed):
            raise h11.RemoteProtocolError("no answer")
        else:
            return False
        return True

    def _close(self) -> None:
        """The answer is complete. A client that still sends gets time to read it, since closing a socket with unread
        bytes may take back what was sent (RFC 9112, section 9.6)."""
        self._flow.reset(Reason.LOCAL)
        if self._asked:
            self._end(Reason.DONE)
        elif self._listener is not None:
            self._timer = asyncio.get_running_loop().call_later(LINGER_S, self._end, Reason.DONE)
            self._listener.flow_eof()

    def _fail(self, reason: Reason, page: bytes) -> None:
        """Tell the client with a page when it has seen nothing yet; cut the connection when it has."""
        self._answered = True
        self.failure = reason
        if not self._answering:
            self._deliver(page)
            reason = Reason.DONE
        self._end(reason)

    def _deliver(self, data: bytes) -> None:
        if data and self._listener is not None:
            self._unread += len(data)
            self._listener.flow_data(data)

    def _end(self, reason: Reason) -> None:
        self._answered = True
        self._stop_timer()
        listener, self._listener = self._listener, None
        if listener is not None:
            listener.flow_closed(reason)

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _return_credit(self) -> None:
        """Give back credit in bytes of the site once the client has taken all that was made of them."""
        if self._unread <= 0 and self._taken:
            taken, self._taken = self._taken, 0
            self._flow.consumed(taken)


def _rewrite_response(response: h11.Response) -> h11.Response:
    """Make the answer for the client. A length beside a coding is dropped (RFC 9112, section 6.3)."""
    headers = _end_to_end(response.headers)
    if any(name == b"transfer-encoding" for name, _ in response.headers):
        headers = [(name, value) for name, value in headers if name.lower() != b"content-length"]
    headers.append((b"Connection", b"close"))
    return h11.Response(status_code=response.status_code, headers=headers, reason=response.reason)
