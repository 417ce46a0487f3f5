"""One connection of the `aioquic` engine: the library's machine, its timer, and what its owner is told.

What the library leaves to its caller, and how it is met here:

- Writing never blocks. The first `SEND_BUFFER` bytes of a stream count as QUIC's own buffer, what is beyond as queued.
- Its events come out when they are asked for, also after sending: the ids under which packets may come are among them.
- It may raise on what a stranger sends, and it logs addresses. An error costs the connection; its logger is shut.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from typing import TYPE_CHECKING, Final, Protocol

from aioquic.quic.events import (
    ConnectionIdIssued,
    ConnectionIdRetired,
    ConnectionTerminated,
    DatagramFrameReceived,
    HandshakeCompleted,
    StopSendingReceived,
    StreamDataReceived,
    StreamReset,
)

from core.errors import LinkError, Reason
from core.fault import place
from tunnel.engines.cuts import Cuts
from tunnel.engines.udp import address_of
from tunnel.limits import LINK_KEEPALIVE_S

if TYPE_CHECKING:
    from aioquic.quic.events import QuicEvent

    from tunnel.engines.bounded import BoundedQuic
    from tunnel.engines.seam import Address, ConnectionHandler
    from tunnel.engines.udp import Remote

SEND_BUFFER: Final = 512 * 1024
TICK_S: Final = 0.001
"""No timer is set for less: event loops round it down to nothing, and the library would be asked again and again."""

_log = logging.getLogger(__name__)
logging.getLogger("quic").disabled = True


class Owner(Protocol):
    """What a connection needs of its engine."""

    def send(self, packet: bytes, remote: Remote, local: bytes) -> None:
        """Send a packet."""

    def expect(self, cid: bytes, connection: AioquicConnection) -> None:
        """Give a connection the packets to one more connection id."""

    def forget(self, cid: bytes, connection: AioquicConnection) -> None:
        """Drop the packets to a connection id from now on."""

    def connection_established(self, connection: AioquicConnection) -> None:
        """The handshake is over."""

    def connection_over(self, connection: AioquicConnection) -> None:
        """Last call."""


class AioquicConnection:
    """See `tunnel.engines.seam.Connection`."""

    def __init__(self, owner: Owner, quic: BoundedQuic, dialled: bool) -> None:
        self._owner = owner
        self._quic = quic
        self._loop = asyncio.get_running_loop()
        self._dialled = dialled
        self._local = b""
        self._next_stream = 0 if dialled else 1
        self._handler: ConnectionHandler | None = None
        self._over = False
        self._queued: dict[int, int] = {}
        self._ends: dict[int, deque[int]] = {}
        """Offsets at which writes end that were queued, and are not acknowledged as far as known."""
        self.queued_bytes = 0
        self._cuts = Cuts(quic.streams)
        self._sending: asyncio.Handle | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at = 0.0
        self._heard_at = self._loop.time()
        self._ping_at = self._heard_at + LINK_KEEPALIVE_S
        self.cids: set[bytes] = set()
        self.established: asyncio.Future[LinkError | None] = self._loop.create_future()

    # -- for the owner

    def handle_with(self, handler: ConnectionHandler) -> None:
        self._handler = handler

    @property
    def peer_address(self) -> Address | None:
        remote = self._quic.get_peer_address()
        return None if remote is None else address_of(remote)

    def open_stream(self) -> int:
        stream = self._next_stream
        self._next_stream += 4
        self._quic.open_stream(stream)
        return stream

    def write(self, stream: int, data: bytes, end: bool = False) -> bool:
        if self._over or stream in self._cuts:
            return True
        self._quic.write(stream, data, end)
        self._send_soon()
        if self._count_queued(stream) == 0:
            return True
        ends = self._ends.setdefault(stream, deque())
        acknowledged, written = self._quic.offsets(stream)
        ends.append(written)
        while ends[0] <= acknowledged:
            ends.popleft()
        return False

    def _count_queued(self, stream: int) -> int:
        """Bring the count of a stream's queued bytes up to date."""
        before = self._queued.get(stream, 0)
        waiting = max(0, self._quic.unacknowledged(stream) - SEND_BUFFER)
        if waiting or before:
            self.queued_bytes += waiting - before
            self._queued[stream] = waiting
        return waiting

    def _tell_drained(self) -> None:
        for stream in list(self._queued):
            if self._count_queued(stream) == 0:
                self._queued.pop(stream, None)
                self._ends.pop(stream, None)
                if self._handler is not None and not self._over:
                    self._handler.stream_drained(stream)

    def queued(self, stream: int) -> int:
        return self._queued.get(stream, 0)

    def unsent(self, stream: int) -> int:
        return self._quic.unacknowledged(stream)

    @property
    def datagram_room(self) -> int:
        return self._quic.datagram_room

    def send_datagram(self, data: bytes) -> bool:
        if self._over or not self._quic.datagram(data):
            return False
        self._send_soon()
        return True

    def drop(self, stream: int) -> int:
        dropped = self._quic.cut_short(stream, self._ends.pop(stream, ()))
        self._count_queued(stream)
        return dropped

    def reset(self, stream: int) -> None:
        if self._over or not self._cuts.add(stream):
            return
        self._ends.pop(stream, None)
        self.queued_bytes -= self._queued.pop(stream, 0)
        self._quic.cut(stream)
        self._send_soon()

    def close(self) -> None:
        if not self._over:
            self._quic.close()
            self._send_packets(self._loop.time())
            self._end()

    # -- the machine

    def connect(self, remote: Remote) -> None:
        self._quic.connect(remote, now=self._loop.time())
        self._send()

    def begin(self, packet: bytes, remote: Remote, local: bytes) -> None:
        """Take a newcomer's first packet, and be over if it was not genuine."""
        self.received(packet, remote, local)
        if not self._quic.has_begun:
            self._end()

    def received(self, packet: bytes, remote: Remote, local: bytes) -> None:
        """Take one packet.

        Args:
            packet: the payload.
            remote: where it came from.
            local: the local address that it came to. One that was dialled keeps to it; one that dials may move.
        """
        if not self._dialled:
            self._local = local
        self._heard_at = self._loop.time()
        try:
            self._quic.receive_datagram(packet, remote, now=self._heard_at)
        except Exception as error:
            # The library parses what strangers send; whatever it meets there may cost this connection only.
            self._fail(error)
        self._tell_events()
        self._send_soon()

    def _send_soon(self) -> None:
        if self._sending is None and not self._over:
            self._sending = self._loop.call_soon(self._send)

    def _send(self) -> None:
        self._sending = None
        if self._over:
            return
        now = self._loop.time()
        self._send_packets(now)
        self._tell_events()
        if self._queued:
            self._tell_drained()
        self._arm(now)

    def _send_packets(self, now: float) -> None:
        try:
            packets = self._quic.datagrams_to_send(now=now)
        except Exception as error:
            self._fail(error)
            return
        for packet, remote in packets:
            self._owner.send(packet, remote, self._local)

    def _arm(self, now: float) -> None:
        """Set the timer, or leave one that comes sooner: it costs nothing to look."""
        wanted = None if self._over else self._quic.get_timer()
        if wanted is None:
            return
        if self.established.done():
            wanted = min(wanted, self._ping_at)
        wanted = max(wanted, now + TICK_S)
        if self._timer is not None:
            if self._timer_at <= wanted:
                return
            self._timer.cancel()
        self._timer_at = wanted
        self._timer = self._loop.call_at(wanted, self._time_passed)

    def _time_passed(self) -> None:
        self._timer = None
        now = self._loop.time()
        if now >= self._ping_at:
            self._ping_at = max(self._heard_at, now - LINK_KEEPALIVE_S / 2) + LINK_KEEPALIVE_S
            if now - self._heard_at >= LINK_KEEPALIVE_S:
                self._quic.send_ping(0)
        try:
            self._quic.handle_timer(now=now)
        except Exception as error:
            self._fail(error)
        self._tell_events()
        self._send()

    def _fail(self, error: Exception) -> None:
        _log.error("connection dropped after an unexpected error: %s", place(error))
        self._end()

    # -- events

    def _tell_events(self) -> None:
        while not self._over and (event := self._quic.next_event()) is not None:
            self._tell(event)

    def _tell(self, event: QuicEvent) -> None:
        match event:
            case StreamDataReceived():
                if self._handler is not None and event.stream_id not in self._cuts:
                    self._handler.stream_received(event.stream_id, memoryview(event.data), event.end_stream)
            case DatagramFrameReceived():
                if self._handler is not None:
                    self._handler.datagram_received(memoryview(event.data))
            case StreamReset() | StopSendingReceived():
                self._was_reset(event.stream_id)
            case HandshakeCompleted():
                if not self.established.done():
                    self.established.set_result(None)
                    self._owner.connection_established(self)
            case ConnectionIdIssued():
                self._owner.expect(event.connection_id, self)
            case ConnectionIdRetired():
                self._owner.forget(event.connection_id, self)
            case ConnectionTerminated():
                self._end()

    def _was_reset(self, stream: int) -> None:
        if stream in self._cuts:
            return
        self.reset(stream)
        if self._handler is not None:
            self._handler.stream_reset(stream)

    def _end(self) -> None:
        if self._over:
            return
        self._over = True
        for handle in (self._timer, self._sending):
            if handle is not None:
                handle.cancel()
        if not self.established.done():
            self.established.set_result(LinkError(Reason.NEXT_HOP))
        self._owner.connection_over(self)
        if self._handler is not None:
            self._handler.connection_closed()
        self._queued.clear()
        self._ends.clear()
        self.queued_bytes = 0
