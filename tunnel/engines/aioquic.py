"""The engine over `aioquic`: QUIC in Python, for systems that the other engine has no build for.

The library is a machine without I/O; here are its socket, its timers and its events. What it leaves to its caller:

- Writing never blocks. The first `SEND_BUFFER` bytes of a stream count as QUIC's own buffer, what is beyond as queued.
- Memory: see `tunnel.engines.bounded`. Who may connect: see `tunnel.engines.admission`.
- Its events come out when they are asked for, also after sending: the ids under which packets may come are among them.
- It logs addresses. Its logger is shut.
"""

from __future__ import annotations

import asyncio
import logging
import socket
import ssl
from typing import TYPE_CHECKING, Final

from aioquic.quic.configuration import QuicConfiguration
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
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from cryptography.x509 import load_pem_x509_certificate

from core.errors import ConfigError, LinkError, Reason
from core.fault import place
from tunnel.engines.admission import CID_BYTES, VERSIONS, Admission, Admitted
from tunnel.engines.bounded import BoundedQuic
from tunnel.engines.certificate import self_signed
from tunnel.engines.resets import Resets
from tunnel.engines.seam import ALPN
from tunnel.limits import LINK_HANDSHAKE_S, LINK_IDLE_S, LINK_KEEPALIVE_S, MAX_DATAGRAM

if TYPE_CHECKING:
    from collections.abc import Callable

    from aioquic.quic.connection import NetworkAddress
    from aioquic.quic.events import QuicEvent

    from tunnel.engines.seam import Address, Connection, ConnectionHandler

SEND_BUFFER: Final = 512 * 1024
SOCKET_BUFFER: Final = 4 << 20

_LONG_HEADER: Final = 0x80
_MAPPED: Final = "::ffff:"

_log = logging.getLogger(__name__)
logging.getLogger("quic").disabled = True


class AioquicConnection:
    """One connection: the library's machine, its timer, and what its owner is told."""

    def __init__(self, engine: AioquicEngine, quic: BoundedQuic, dialled: bool) -> None:
        self._engine = engine
        self._quic = quic
        self._loop = asyncio.get_running_loop()
        self._next_stream = 0 if dialled else 1
        self._handler: ConnectionHandler | None = None
        self._over = False
        self._queued: dict[int, int] = {}
        self.queued_bytes = 0
        self._resets = Resets(quic.streams)
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
        address = self._quic.get_peer_address()
        return None if address is None else (address[0].removeprefix(_MAPPED), address[1])

    def open_stream(self) -> int:
        stream = self._next_stream
        self._next_stream += 4
        self._quic.open_stream(stream)
        return stream

    def write(self, stream: int, data: bytes, end: bool = False) -> bool:
        if self._over:
            return True
        self._quic.write(stream, data, end)
        self._send_soon()
        return self._count_queued(stream) == 0

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
                if self._handler is not None and not self._over:
                    self._handler.stream_drained(stream)

    def queued(self, stream: int) -> int:
        return self._queued.get(stream, 0)

    def send_datagram(self, data: bytes) -> bool:
        if self._over or not self._quic.datagram(data):
            return False
        self._send_soon()
        return True

    def reset(self, stream: int) -> None:
        self.queued_bytes -= self._queued.pop(stream, 0)
        if not self._over:
            self._quic.cut(stream)
            self._send_soon()

    def close(self) -> None:
        if not self._over:
            self._quic.close()
            self._send()
            self._end()

    # -- the machine

    def connect(self, address: NetworkAddress) -> None:
        self._quic.connect(address, now=self._loop.time())
        self._send()

    def begin(self, packet: bytes, address: NetworkAddress) -> None:
        """Take a newcomer's first packet, and be over if it was not genuine."""
        self.received(packet, address)
        if not self._quic.has_begun:
            self._end()

    def received(self, packet: bytes, address: NetworkAddress) -> None:
        """Take one packet."""
        self._heard_at = self._loop.time()
        try:
            self._quic.receive_datagram(packet, address, now=self._heard_at)
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
        try:
            packets = self._quic.datagrams_to_send(now=now)
        except Exception as error:
            self._fail(error)
            return
        for packet, address in packets:
            self._engine.send(packet, address)
        self._tell_events()
        if self._queued:
            self._tell_drained()
        self._arm()

    def _arm(self) -> None:
        """Set the timer, or leave one that comes sooner: it costs nothing to look."""
        wanted = self._quic.get_timer()
        if self._over or wanted is None:
            return
        if self.established.done():
            wanted = min(wanted, self._ping_at)
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
                if self._handler is not None:
                    self._handler.stream_received(event.stream_id, memoryview(event.data), event.end_stream)
            case DatagramFrameReceived():
                if self._handler is not None:
                    self._handler.datagram_received(memoryview(event.data))
            case StreamReset() | StopSendingReceived():
                self._tell_reset(event.stream_id)
            case HandshakeCompleted():
                if not self.established.done():
                    self.established.set_result(None)
                    self._engine.connection_established(self)
            case ConnectionIdIssued():
                self._engine.expect(event.connection_id, self)
            case ConnectionIdRetired():
                self._engine.forget(event.connection_id, self)
            case ConnectionTerminated():
                self._end()

    def _tell_reset(self, stream: int) -> None:
        self.queued_bytes -= self._queued.pop(stream, 0)
        if self._handler is not None and self._resets.is_news(stream):
            self._handler.stream_reset(stream)

    def _end(self) -> None:
        if self._over:
            return
        self._over = True
        self._queued.clear()
        self.queued_bytes = 0
        for handle in (self._timer, self._sending):
            if handle is not None:
                handle.cancel()
        if not self.established.done():
            self.established.set_result(LinkError(Reason.NEXT_HOP))
        self._engine.connection_over(self)
        if self._handler is not None:
            self._handler.connection_closed()


class AioquicEngine(asyncio.DatagramProtocol):
    """See `tunnel.engines.seam.Engine`. Also the protocol of the UDP port."""

    name = "aioquic"

    def __init__(self) -> None:
        self._accept: Callable[[Connection], ConnectionHandler] | None = None
        self._port: asyncio.DatagramTransport | None = None
        self._family = socket.AF_INET
        self._admission = Admission()
        self._client, self._server = _configurations()
        self._by_cid: dict[bytes, AioquicConnection] = {}
        self._connections: set[AioquicConnection] = set()
        self._handshakes: set[AioquicConnection] = set()

    async def listen(self, port: int, accept: Callable[[Connection], ConnectionHandler]) -> int:
        self._accept = accept
        opened = _open_port(port)
        self._family = opened.family
        self._port, _ = await asyncio.get_running_loop().create_datagram_endpoint(lambda: self, sock=opened)
        return int(opened.getsockname()[1])

    async def dial(
        self, address: Address, handle: Callable[[Connection], ConnectionHandler], timeout_s: float
    ) -> Connection:
        if self._port is None:
            raise LinkError(Reason.CLOSED)
        quic = BoundedQuic(configuration=self._client)
        connection = AioquicConnection(self, quic, dialled=True)
        self._connections.add(connection)
        self.expect(quic.host_cid, connection)
        try:
            connection.handle_with(handle(connection))
            async with asyncio.timeout(timeout_s):
                connection.connect(self._reachable(address))
                failure = await connection.established
        except BaseException as error:
            connection.close()
            if isinstance(error, TimeoutError | OSError | ValueError):
                raise LinkError(Reason.NEXT_HOP) from error
            raise
        if failure is not None:
            raise failure
        return connection

    def _reachable(self, address: Address) -> NetworkAddress:
        """Write an address as the socket reports the packets that come from it."""
        host, port = address
        if self._family == socket.AF_INET:
            return host, port
        return (host if ":" in host else _MAPPED + host), port, 0, 0

    async def close(self) -> None:
        self._accept = None
        for connection in list(self._connections):
            connection.close()
        if self._port is not None:
            self._port.close()
            self._port = None
            await asyncio.sleep(0)

    # -- called by connections

    def send(self, packet: bytes, address: NetworkAddress) -> None:
        if self._port is not None:
            self._port.sendto(packet, address)

    def expect(self, cid: bytes, connection: AioquicConnection) -> None:
        """Give a connection the packets to one more connection id."""
        self._by_cid[cid] = connection
        connection.cids.add(cid)

    def forget(self, cid: bytes, connection: AioquicConnection) -> None:
        """Drop the packets to a connection id from now on."""
        connection.cids.discard(cid)
        self._by_cid.pop(cid, None)

    def connection_established(self, connection: AioquicConnection) -> None:
        """A handshake is over. A newcomer gets its owner now."""
        if connection in self._handshakes and self._accept is not None:
            self._handshakes.discard(connection)
            connection.handle_with(self._accept(connection))

    def connection_over(self, connection: AioquicConnection) -> None:
        self._connections.discard(connection)
        self._handshakes.discard(connection)
        for cid in connection.cids:
            self._by_cid.pop(cid, None)

    # -- called by the UDP port

    def datagram_received(self, data: bytes, addr: NetworkAddress) -> None:
        if len(data) <= CID_BYTES:
            return
        is_long = data[0] & _LONG_HEADER
        cid = data[6 : 6 + data[5]] if is_long else data[1 : 1 + CID_BYTES]
        connection = self._by_cid.get(cid)
        if connection is not None:
            connection.received(data, addr)
        elif is_long and self._accept is not None:
            self._newcomer(data, addr)

    def _newcomer(self, packet: bytes, address: NetworkAddress) -> None:
        now = asyncio.get_running_loop().time()
        admitted = self._admission.consider(packet, address, now, len(self._handshakes), len(self._connections))
        if isinstance(admitted, Admitted):
            self._admit(admitted).begin(packet, address)
        elif admitted is not None:
            self.send(admitted, address)

    def _admit(self, newcomer: Admitted) -> AioquicConnection:
        quic = BoundedQuic(
            configuration=self._server,
            original_destination_connection_id=newcomer.original,
            retry_source_connection_id=newcomer.after_retry,
        )
        connection = AioquicConnection(self, quic, dialled=False)
        self._connections.add(connection)
        self._handshakes.add(connection)
        self.expect(newcomer.cid, connection)
        self.expect(quic.host_cid, connection)
        late = asyncio.get_running_loop().call_later(LINK_HANDSHAKE_S, connection.close)
        connection.established.add_done_callback(lambda _: late.cancel())
        return connection


def _open_port(port: int) -> socket.socket:
    """Bind a UDP port for IPv6 and IPv4, or for IPv4 where there is no IPv6."""
    for family in (socket.AF_INET6, socket.AF_INET):
        try:
            opened = socket.socket(family, socket.SOCK_DGRAM)
        except OSError:
            continue
        try:
            for option in (socket.SO_RCVBUF, socket.SO_SNDBUF):
                opened.setsockopt(socket.SOL_SOCKET, option, SOCKET_BUFFER)
            if family == socket.AF_INET6:
                opened.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
            opened.bind(("", port))
            opened.setblocking(False)
        except OSError as error:
            opened.close()
            if family == socket.AF_INET:
                raise ConfigError("peers.port", f"UDP port {port} is taken; choose another or 0 for any") from error
            continue
        return opened
    raise ConfigError("peers.port", "this system has no UDP")


def _configurations() -> tuple[QuicConfiguration, QuicConfiguration]:
    """Settings of the dialling side, and of the other."""
    client, server = (
        QuicConfiguration(
            is_client=is_client,
            alpn_protocols=[ALPN],
            connection_id_length=CID_BYTES,
            congestion_control_algorithm="probing-reno",
            idle_timeout=LINK_IDLE_S,
            max_datagram_frame_size=MAX_DATAGRAM + 8,
            server_name="localhost" if is_client else None,
            supported_versions=list(VERSIONS),
            verify_mode=ssl.CERT_NONE,
        )
        for is_client in (True, False)
    )
    certificate, key = self_signed()
    server.certificate = load_pem_x509_certificate(certificate)
    server.private_key = load_pem_private_key(key, password=None)
    return client, server
