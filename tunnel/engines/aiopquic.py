"""The engine over `aiopquic`: picoquic in C on a thread of its own, events on the asyncio loop.

What the library leaves to its caller, and how it is met here:

- It dials from a listening transport only through the transport itself. The connection then arrives like an accepted
  one, but without a known peer address, because the handshake has not begun. Dials go one at a time, so the next such
  connection is the one that was dialled. The address becomes known when a later event is taken out of the library's
  queue, so while a dial waits for its connection, events are taken out one by one.
- It numbers streams for a server. Numbers are given out here: 0, 4, 8, … at the dialling side, 1, 5, 9, … at the other.
- It leaves it to its caller to stop when the other side does not want a stream any more; what is written fills the
  ring of that stream and stays there. A reset of either direction is answered with one of both.
- Each write wakes its thread. Small ones of one turn of the loop are joined: see `turns`. It announces what it received
  in small pieces: see `aiopquic_events`.
- A full send ring raises `BufferError` and nothing was taken. What does not fit waits here, and one task per stream
  passes it on.
- Streams of the default priority are served first come, first served, and the last one starves. An even priority is
  round robin.
- Datagrams have traps of their own: see `aiopquic_datagrams`.
- What does not fit into its queue of events it keeps elsewhere, without a limit. Credit bounds the events of streams;
  datagrams are dropped unread while many events wait, which is quicker than any sender.
- A handler that raises loses its event, so handlers must not raise; the link above catches what it throws.
"""

from __future__ import annotations

import asyncio
import logging
import socket
import ssl
import tempfile
import time
from collections import deque
from pathlib import Path
from typing import TYPE_CHECKING, Final

from aiopquic.quic.configuration import QuicConfiguration
from aiopquic.quic.connection import QuicConnection, QuicEngine
from aiopquic.quic.events import (
    ConnectionTerminated,
    DatagramFrameReceived,
    HandshakeCompleted,
    StopSendingReceived,
    StreamDataReceived,
    StreamReset,
)

from core.errors import ConfigError, LinkError, Reason
from core.tasks import Tasks
from tunnel.engines.aiopquic_datagrams import Datagrams
from tunnel.engines.aiopquic_events import EventLooks
from tunnel.engines.certificate import self_signed
from tunnel.engines.cuts import Cuts
from tunnel.engines.seam import ALPN, MAX_STREAMS
from tunnel.engines.turns import Turn, Turns
from tunnel.limits import LINK_IDLE_S, LINK_KEEPALIVE_S, MAX_DATAGRAM, MAX_LINKS

if TYPE_CHECKING:
    from collections.abc import Callable

    from tunnel.engines.seam import Address, Connection, ConnectionHandler

ROUND_ROBIN: Final = 8
STREAM_WINDOW: Final = 1 << 21
"""Receive window and receive ring of a stream, allocated per stream. While a lost packet is sent again, what comes
behind it takes room."""

SEND_RING: Final = 1 << 20
MAX_PIECE: Final = SEND_RING // 2
"""The library refuses a write that is larger than its ring."""

CREATED_S: Final = 1.0
"""Until the network thread has made a connection object that was asked for."""
EVENTS: Final = 16384
EVENTS_BEHIND: Final = EVENTS // 2
DATAGRAM_OVERHEAD: Final = 8
"""What the frame around a datagram's payload may take."""

DATAGRAM_RING: Final = 64 * 1024
logging.getLogger("aiopquic").setLevel(logging.CRITICAL)


class AiopquicConnection:
    """One connection; also the object that the library calls with its events."""

    def __init__(self, engine: AiopquicEngine, quic: QuicConnection, dialled: bool) -> None:
        self._engine = engine
        self._quic = quic
        self._next_stream = 0 if dialled else 1
        self._turn = Turn(engine.turns, self._pass_on)
        self._waiting: dict[int, deque[tuple[bytes, bool]]] = {}
        self._queued: dict[int, int] = {}
        self.queued_bytes = 0
        self._datagrams = Datagrams(quic)
        self._cuts = Cuts(quic._stream_ctxs)
        self._handler: ConnectionHandler | None = None
        self._over = False
        self.established: asyncio.Future[LinkError | None] = asyncio.get_running_loop().create_future()
        self._loop: asyncio.AbstractEventLoop | None = None  # the library sets it

    def handle_with(self, handler: ConnectionHandler) -> None:
        self._handler = handler

    @property
    def peer_address(self) -> Address | None:
        address: Address | None = self._quic.peer_address()
        return address

    def open_stream(self) -> int:
        stream = self._next_stream
        self._next_stream += 4
        return stream

    def write(self, stream: int, data: bytes, end: bool = False) -> bool:
        return stream in self._cuts or self._turn.write(stream, data, end)

    def _pass_on(self, stream: int, data: bytes, end: bool) -> bool:
        free = True
        while len(data) > MAX_PIECE:
            free = self._write(stream, data[:MAX_PIECE], False)
            data = data[MAX_PIECE:]
        return self._write(stream, data, end) and free

    def _write(self, stream: int, data: bytes, end: bool) -> bool:
        waiting = self._waiting.get(stream)
        if waiting is None:
            try:
                self._quic.send_stream_data(stream, data, end)
            except BufferError:
                waiting = self._waiting[stream] = deque()
                self._queued[stream] = 0
                self._engine.tasks.spawn(self._drain(stream, waiting), "drain")
            else:
                return True
        waiting.append((data, end))
        self._queued[stream] += len(data)
        self.queued_bytes += len(data)
        return False

    async def _drain(self, stream: int, waiting: deque[tuple[bytes, bool]]) -> None:
        while waiting and not self._over:
            data, end = waiting[0]
            await self._quic.send_stream_data_drained(stream, data, end)
            if self._waiting.get(stream) is not waiting:
                return
            waiting.popleft()
            self._queued[stream] -= len(data)
            self.queued_bytes -= len(data)
        self._waiting.pop(stream, None)
        self._queued.pop(stream, None)
        if not self._over and self._handler is not None:
            self._handler.stream_drained(stream)

    def queued(self, stream: int) -> int:
        return self._queued.get(stream, 0)

    def unsent(self, stream: int) -> int:
        in_ring: int = 0 if self._over else self._quic.tx_data_ring_used(stream)
        return self.queued(stream) + in_ring

    @property
    def datagram_room(self) -> int:
        return self._datagrams.room(time.monotonic())

    def send_datagram(self, data: bytes) -> bool:
        return not self._over and self._datagrams.send(data)

    def drop(self, stream: int) -> int:
        if self._over:
            return 0
        self._turn.settle(stream)
        waiting = self._waiting.get(stream)
        if not waiting:
            return 0
        later = [waiting.pop() for _ in range(len(waiting) - 1)]  # the first one is under way
        if any(end for _, end in later):
            waiting.append((b"", True))
        dropped = sum(len(data) for data, _ in later)
        self._queued[stream] -= dropped
        self.queued_bytes -= dropped
        return dropped

    def reset(self, stream: int) -> None:
        if self._over:
            return
        self._turn.settle(stream)
        if not self._cuts.add(stream):
            return
        if waiting := self._waiting.pop(stream, None):
            waiting.clear()
            self.queued_bytes -= self._queued.pop(stream, 0)
        if stream not in self._quic._stream_ctxs:
            return  # QUIC has not heard of it, or knows that it is over
        try:
            self._quic.reset_stream(stream, 0)
            self._quic.stop_stream(stream, 0)
        except BufferError:
            # The command ring is full of other work. Ending the connection is the only sure way left.
            self.close()

    def close(self) -> None:
        if self._over:
            return
        self._turn.end()
        try:
            self._quic.close()
        except BufferError:
            self._engine.later(self._quic.close)
        self._terminated()

    # -- called by the library

    def _process_events(self) -> None:
        while (event := self._quic.next_event()) is not None:
            if isinstance(event, StreamDataReceived):
                self._engine.stream_bytes += len(event.data)
                if self._handler is not None and not self._over and event.stream_id not in self._cuts:
                    self._handler.stream_received(event.stream_id, event.data, event.end_stream)
            elif isinstance(event, DatagramFrameReceived):
                if self._handler is not None and not self._over and not self._engine.is_behind():
                    self._handler.datagram_received(event.data)
            elif isinstance(event, HandshakeCompleted):
                if not self.established.done():
                    self.established.set_result(None)
            elif isinstance(event, StreamReset | StopSendingReceived):
                self._was_reset(event.stream_id)
            elif isinstance(event, ConnectionTerminated):
                self._terminated()

    def _was_reset(self, stream: int) -> None:
        if self._over or stream in self._cuts:
            return
        self.reset(stream)
        if self._handler is not None and not self._over:
            self._handler.stream_reset(stream)

    def _terminated(self) -> None:
        if self._over:
            return
        self._over = True
        self._waiting.clear()
        if not self.established.done():
            self.established.set_result(LinkError(Reason.NEXT_HOP))
        self._engine.connection_over(self)
        if self._handler is not None:
            self._handler.connection_closed()
        self._queued.clear()
        self.queued_bytes = 0


class AiopquicEngine:
    """See `tunnel.engines.seam.Engine`."""

    name = "aiopquic"

    def __init__(self) -> None:
        self.tasks = Tasks()
        self.turns = Turns()
        self.stream_bytes = 0
        self._looks: EventLooks | None = None
        self._quic: QuicEngine | None = None
        self._accept: Callable[[Connection], ConnectionHandler] | None = None
        self._connections: set[AiopquicConnection] = set()
        self._dialling: asyncio.Future[AiopquicConnection] | None = None
        self._dial_turn = asyncio.Lock()

    async def listen(self, port: int, accept: Callable[[Connection], ConnectionHandler]) -> int:
        self._accept = accept
        port = _free_port(port)
        certificate, key = self_signed()
        with tempfile.TemporaryDirectory(prefix="macrovpn-") as folder:
            paths = Path(folder, "certificate.pem"), Path(folder, "key.pem")
            for path, content in zip(paths, (certificate, key), strict=True):
                path.touch(mode=0o600)
                path.write_bytes(content)
            self._quic = QuicEngine(configuration=_configuration(*paths), create_protocol=self._arrived)
            self._quic._start_transport(port=port)
        self._transport.set_default_stream_priority(ROUND_ROBIN)
        self._looks = EventLooks(self._quic.eventfd, self._look)
        return port

    def _look(self) -> int:
        before = self.stream_bytes
        self.turns.run(self._drain)
        return self.stream_bytes - before

    def _drain(self) -> None:
        """Take events from the library and act on them."""
        if self._quic is None:
            return
        while self._dialling is not None and not self._dialling.done():
            events = self._transport.drain_rx(max_events=1)
            if not events:
                return
            self._quic.route_event(events[0])
            self._transport.release_batch()
        self._quic.drain_and_route()

    @property
    def _transport(self):  # type: ignore[no-untyped-def]  # the library has no types here
        assert self._quic is not None
        return self._quic._transport

    def _arrived(self, quic: QuicConnection, stream_handler: object = None) -> AiopquicConnection:
        dialling = self._dialling
        dialled = dialling is not None and not dialling.done() and quic.peer_address() is None
        connection = AiopquicConnection(self, quic, dialled)
        self._connections.add(connection)
        if dialled and dialling is not None:
            dialling.set_result(connection)
        elif self._accept is not None:
            connection.handle_with(self._accept(connection))
        return connection

    async def dial(
        self, address: Address, handle: Callable[[Connection], ConnectionHandler], timeout_s: float
    ) -> Connection:
        if self._quic is None:
            raise LinkError(Reason.CLOSED)
        try:
            async with asyncio.timeout(timeout_s):
                connection = await self._create(address)
                try:
                    connection.handle_with(handle(connection))
                    failure = await connection.established
                except BaseException:
                    connection.close()
                    raise
        except (TimeoutError, OSError, ValueError, BufferError) as error:
            raise LinkError(Reason.NEXT_HOP) from error
        if failure is not None:
            raise failure
        return connection

    async def _create(self, address: Address) -> AiopquicConnection:
        async with self._dial_turn:
            self._dialling = asyncio.get_running_loop().create_future()
            try:
                self._transport.create_client_connection(*address, sni="localhost", alpn=ALPN)
                async with asyncio.timeout(CREATED_S):
                    return await self._dialling
            finally:
                self._dialling = None

    def is_behind(self) -> bool:
        """Whether so many events wait that datagrams are better lost."""
        return self._quic is None or self._transport.rx_event_ring_count > EVENTS_BEHIND

    def later(self, action: Callable[[], None]) -> None:
        """Try once more what found the command ring full."""
        asyncio.get_running_loop().call_later(0.05, action)

    def connection_over(self, connection: AiopquicConnection) -> None:
        self._connections.discard(connection)

    async def close(self) -> None:
        if self._quic is None:
            return
        quic, self._quic = self._quic, None
        for connection in list(self._connections):
            connection.close()
        await self.tasks.cancel()
        await asyncio.sleep(0)
        if self._looks is not None:
            self._looks.close()
        quic.close()


def _free_port(port: int) -> int:
    """Find a free UDP port, or check the one asked for; the library does not say which port it got."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.bind(("", port))
        except OSError as error:
            raise ConfigError("peers.port", f"UDP port {port} is taken; choose another or 0 for any") from error
        return int(probe.getsockname()[1])


def _configuration(certificate: Path, key: Path) -> QuicConfiguration:
    return QuicConfiguration(
        is_client=False,
        alpn_protocols=[ALPN],
        certificate_file=str(certificate),
        private_key_file=str(key),
        verify_mode=ssl.CERT_NONE,
        idle_timeout=LINK_IDLE_S,
        keep_alive_interval=LINK_KEEPALIVE_S,
        max_connections=MAX_LINKS,
        max_streams_bidi=MAX_STREAMS,
        max_streams_uni=0,
        max_data=64 * STREAM_WINDOW,
        max_stream_data=STREAM_WINDOW,
        stream_ring_cap=SEND_RING,
        tx_max_queued_bytes=None,
        socket_buffer_size=4 << 20,
        event_ring_capacity=EVENTS,
        max_datagram_frame_size=MAX_DATAGRAM + DATAGRAM_OVERHEAD,
        datagram_max_payload=MAX_DATAGRAM,
        datagram_ring_bytes=DATAGRAM_RING,
    )
