"""The engine over `aioquic`: QUIC in Python, for systems that the other engine has no build for.

The library is a machine without I/O. Its socket is `udp`, its timers and events are in `aioquic_connection`, its
memory is held in bounds by `bounded`, and `admission` says who may connect. Here packets find their connection.
"""

from __future__ import annotations

import asyncio
import ssl
from typing import TYPE_CHECKING, Final

from aioquic.quic.configuration import QuicConfiguration
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from cryptography.x509 import load_pem_x509_certificate

from core.errors import LinkError, Reason
from tunnel.engines.admission import CID_BYTES, VERSIONS, Admission, Admitted
from tunnel.engines.aioquic_connection import AioquicConnection
from tunnel.engines.bounded import BoundedQuic
from tunnel.engines.certificate import self_signed
from tunnel.engines.seam import ALPN
from tunnel.engines.udp import UdpPort
from tunnel.limits import LINK_HANDSHAKE_S, LINK_IDLE_S, MAX_DATAGRAM

if TYPE_CHECKING:
    from collections.abc import Callable

    from tunnel.engines.seam import Address, Connection, ConnectionHandler
    from tunnel.engines.udp import Remote

_LONG_HEADER: Final = 0x80


class AioquicEngine:
    """See `tunnel.engines.seam.Engine`."""

    name = "aioquic"

    def __init__(self) -> None:
        self._accept: Callable[[Connection], ConnectionHandler] | None = None
        self._port: UdpPort | None = None
        self._admission = Admission()
        self._client, self._server = _configurations()
        self._by_cid: dict[bytes, AioquicConnection] = {}
        self._connections: set[AioquicConnection] = set()
        self._handshakes: set[AioquicConnection] = set()

    async def listen(self, port: int, accept: Callable[[Connection], ConnectionHandler]) -> int:
        self._accept = accept
        self._port = UdpPort(port, self._received)
        return self._port.number

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
                connection.connect(self._port.remote(address))
                failure = await connection.established
        except BaseException as error:
            connection.close()
            if isinstance(error, TimeoutError | OSError | ValueError):
                raise LinkError(Reason.NEXT_HOP) from error
            raise
        if failure is not None:
            raise failure
        return connection

    async def close(self) -> None:
        self._accept = None
        for connection in list(self._connections):
            connection.close()
        if self._port is not None:
            self._port.close()
            self._port = None

    # -- called by connections

    def send(self, packet: bytes, remote: Remote, local: bytes) -> None:
        if self._port is not None:
            self._port.send(packet, remote, local)

    def expect(self, cid: bytes, connection: AioquicConnection) -> None:
        self._by_cid[cid] = connection
        connection.cids.add(cid)

    def forget(self, cid: bytes, connection: AioquicConnection) -> None:
        connection.cids.discard(cid)
        self._by_cid.pop(cid, None)

    def connection_established(self, connection: AioquicConnection) -> None:
        """A newcomer gets its handler now."""
        if connection in self._handshakes and self._accept is not None:
            self._handshakes.discard(connection)
            connection.handle_with(self._accept(connection))

    def connection_over(self, connection: AioquicConnection) -> None:
        self._connections.discard(connection)
        self._handshakes.discard(connection)
        for cid in connection.cids:
            self._by_cid.pop(cid, None)

    # -- packets

    def _received(self, packet: bytes, remote: Remote, local: bytes) -> None:
        if len(packet) <= CID_BYTES:
            return
        is_long = packet[0] & _LONG_HEADER
        cid = packet[6 : 6 + packet[5]] if is_long else packet[1 : 1 + CID_BYTES]
        connection = self._by_cid.get(cid)
        if connection is not None:
            connection.received(packet, remote, local)
        elif is_long and self._accept is not None:
            self._newcomer(packet, remote, local)

    def _newcomer(self, packet: bytes, remote: Remote, local: bytes) -> None:
        now = asyncio.get_running_loop().time()
        admitted = self._admission.consider(packet, remote, now, len(self._handshakes), len(self._connections))
        if isinstance(admitted, Admitted):
            self._admit(admitted).begin(packet, remote, local)
        elif admitted is not None:
            self.send(admitted, remote, local)

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
