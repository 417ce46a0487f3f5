"""Carry one plain HTTP request and its answer, reading both, so that nothing else slips through with them.

Both messages are parsed and written anew: the site sees exactly one request, in the form that a site expects, and the
client sees exactly one answer. What the client sends behind its request waits, unread, for the next `Exchange`; only a
site that agrees to change the protocol gets bytes that nobody here has understood.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

import h11

from core.errors import Reason
from proxy.answers import Form, http_complaint, http_refusal
from proxy.rewrite import rewrite_interim, rewrite_response, rewrite_trailers

if TYPE_CHECKING:
    from core.flow import Buffer, Flow, FlowListener

ANSWER_HEAD_BYTES: Final = 1 << 16
"""Longest head of an answer, and longest line of a chunked one."""

LINGER_S: Final = 2.0
"""How long a client that still sends may read an early answer before the connection is closed under it."""


class Exchange:
    """Stand between the pump of a client and the flow to a site, as a flow for the one and a listener for the other.

    Args:
        flow: to the site; it may still be on its way to be opened.
        client: the parser that has read the head of the request and nothing of its body.
        request: the request for the site.
        form: of the page that a failure becomes.

    Attributes:
        failure: why the client got a page of this program, or a cut connection, instead of an answer.
        rest: what the client has sent after its request, once the answer is complete and its connection can be used
            for the next; else None.
        eof: the client sends nothing more.
    """

    def __init__(self, flow: Flow, *, client: h11.Connection, request: h11.Request, form: Form = Form.HTML) -> None:
        self._flow = flow
        self._client = client
        self._site = h11.Connection(h11.CLIENT, max_incomplete_event_size=ANSWER_HEAD_BYTES)
        self._head = self._site.send(request) or b""
        self._form = form
        self._attached = False
        self._early = b""
        self._listener: FlowListener | None = None
        self._asked = False
        self._answering = False
        self._answered = False
        self._switched = False
        self._behind = bytearray()
        self._taken = 0
        self._unread = 0
        self._timer: asyncio.TimerHandle | None = None
        self.failure: Reason | None = None
        self.rest: bytes | None = None
        self.eof = False

    # -- the flow that the pump sees

    def attach(self, listener: FlowListener) -> None:
        self._listener, self._attached = listener, True
        self._flow.write(self._head)
        early, self._early = self._early, b""
        self.write(early)
        if self.eof:
            self.finish()
        self._flow.attach(self)

    def write(self, data: Buffer) -> bool:
        """Take bytes of the request. What follows it waits for its answer, and no more is read meanwhile; where the
        connection will be closed, it is thrown away: the client sends it again on another."""
        if not self._attached:
            self._early += data
            return True
        if self._switched:
            return self._flow.write(data)
        if self._answered or self._client.their_state is h11.MUST_CLOSE:
            return True
        if self._asked:
            self._behind += data
            return not self._behind
        if data:
            self._client.receive_data(bytes(data))
        try:
            return self._send_request()
        except h11.RemoteProtocolError:
            self._flow.reset(Reason.LOCAL)
            self._fail(Reason.LOCAL, http_complaint(400, "malformed", self._form).data)
            return True

    def _send_request(self) -> bool:
        free = True
        while not self._asked:
            event = self._client.next_event()
            if isinstance(event, h11.EndOfMessage):
                self._asked = True
                piece = self._site.send(h11.EndOfMessage(headers=rewrite_trailers(event.headers)))
            elif isinstance(event, h11.Data):
                piece = self._site.send(event)
            else:
                break
            if piece:
                free = self._flow.write(piece)
        return free

    def finish(self) -> None:
        """The client sends nothing more. The site is not told: it has the whole request, and may take it for a loss."""
        self.eof = True
        if not self._attached:
            return
        if self._switched:
            self._flow.finish()
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
        """Give back credit in bytes of the site: once the client has taken all that was made of them, and byte for
        byte after a change of protocol."""
        own = min(count, self._unread)
        self._unread -= own
        self._return_credit()
        if count > own:
            self._flow.consumed(count - own)

    # -- the listener that the flow sees

    def flow_data(self, data: Buffer) -> None:
        if self._switched and self._listener is not None:
            self._listener.flow_data(data)
            return
        self._taken += len(data)
        if data:
            self._read_answer(bytes(data))
        self._return_credit()

    def flow_eof(self) -> None:
        if self._switched and self._listener is not None:
            self._listener.flow_eof()
        else:
            self._read_answer(b"")

    def flow_writable(self) -> None:
        if self._listener is not None and not self._behind:
            self._listener.flow_writable()

    def flow_closed(self, reason: Reason) -> None:
        if self._switched:
            self._end(reason)
        elif not self._answered:
            reason = Reason.PROTOCOL if reason is Reason.DONE else reason
            self._fail(reason, http_refusal(reason, form=self._form))

    # -- the answer

    def _read_answer(self, data: bytes) -> None:
        if self._answered or self._listener is None:
            return
        self._site.receive_data(data)
        out: list[bytes] = []
        try:
            while not (self._answered or self._switched) and self._step(out):
                pass
        except h11.ProtocolError:
            self._deliver(b"".join(out))
            self._flow.reset(Reason.PROTOCOL)
            self._fail(Reason.PROTOCOL, http_complaint(502, Reason.PROTOCOL.word, self._form).data)
            return
        self._deliver(b"".join(out))
        if self._answered:
            self._close()
        elif self._switched:
            self._pass_behind()

    def _step(self, out: list[bytes]) -> bool:
        """Turn one event of the site into bytes for the client; False when there is none."""
        event = self._site.next_event()
        old = (self._client.their_http_version or b"") < b"1.1"
        if isinstance(event, h11.InformationalResponse):
            if not old:
                out.append(self._client.send(rewrite_interim(event)) or b"")
            if event.status_code == 101:
                self._answering = self._switched = True
                out.append(self._site.trailing_data[0])
        elif isinstance(event, h11.Response):
            self._answering = True
            out.append(self._client.send(rewrite_response(event, closing=not self._asked)) or b"")
        elif isinstance(event, h11.Data):
            out.append(self._client.send(event) or b"")
        elif isinstance(event, h11.EndOfMessage):
            self._answered = True
            trailers = [] if old else rewrite_trailers(event.headers)
            out.append(self._client.send(h11.EndOfMessage(headers=trailers)) or b"")
        elif event is h11.PAUSED or isinstance(event, h11.ConnectionClosed):
            raise h11.RemoteProtocolError("no answer")
        else:
            return False
        return True

    def _pass_behind(self) -> None:
        """The protocol is another one from here on: what the client has sent already is the site's."""
        behind = self._client.trailing_data[0] + self._behind
        waited, self._behind = bool(self._behind), bytearray()
        free = not behind or self._flow.write(behind)
        if self.eof:
            self._flow.finish()
        elif waited and free and self._listener is not None:
            self._listener.flow_writable()

    def _close(self) -> None:
        """The answer is complete. The flow ends; the client's connection goes on if both sides know where they are."""
        self._flow.reset(Reason.LOCAL)
        behind = self._client.trailing_data[0] + self._behind
        if self._client.our_state is self._client.their_state is h11.DONE and (behind or not self.eof):
            self.rest = behind
        self._part()

    def _fail(self, reason: Reason, page: bytes) -> None:
        """Tell the client with a page when it has seen nothing yet; cut the connection when it has."""
        self._answered = True
        self.failure = reason
        if self._answering:
            self._end(reason)
        else:
            self._deliver(page)
            self._part()

    def _part(self) -> None:
        """Nothing more is said here. A client that still sends gets time to read what was, since closing a socket with
        unread bytes may take back what was sent (RFC 9112, section 9.6)."""
        sends = not self._asked or (self._behind and self.rest is None)
        if not sends or self.eof:
            self._end(Reason.DONE)
        elif self._listener is not None:
            self._timer = asyncio.get_running_loop().call_later(LINGER_S, self._end, Reason.DONE)
            self._listener.flow_eof()
            self._listener.flow_writable()

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
        if self._unread <= 0 and self._taken:
            taken, self._taken = self._taken, 0
            self._flow.consumed(taken)
