"""Who may begin a connection with the `aioquic` engine: a decision over the first packet, before anything is kept.

A few handshakes may be under way at once without more. Beyond, a newcomer first shows with a token that packets reach
its address (Retry, RFC 9000 section 8.1.2), so that forged addresses cannot keep the places taken. What is not the
beginning of a QUIC connection gets no answer.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from aioquic._buffer import Buffer
from aioquic.quic.configuration import SMALLEST_MAX_DATAGRAM_SIZE
from aioquic.quic.packet import QuicPacketType, QuicProtocolVersion, encode_quic_retry, pull_quic_header
from aioquic.quic.retry import QuicRetryTokenHandler

from tunnel.limits import MAX_LINKS

if TYPE_CHECKING:
    from aioquic.quic.connection import NetworkAddress
    from aioquic.quic.packet import QuicHeader

CID_BYTES: Final = 8
"""Length of the connection ids that this side gives."""

VERSIONS: Final = [QuicProtocolVersion.VERSION_1]
UNPROVED: Final = 16
"""Handshakes under way from which on newcomers prove their address."""

MAX_HANDSHAKES: Final = 64
"""Handshakes that may be under way at once."""


@dataclass(frozen=True, slots=True)
class Admitted:
    """A newcomer.

    Attributes:
        cid: the connection id that it sends to now.
        original: the one that it chose first.
        after_retry: the one that it got with a Retry, if there was one.
    """

    cid: bytes
    original: bytes
    after_retry: bytes | None = None


class Admission:
    """Decides. Holds no state for any newcomer."""

    def __init__(self) -> None:
        self._tokens = QuicRetryTokenHandler()

    def consider(
        self, packet: bytes, address: NetworkAddress, now: float, handshakes: int, connections: int
    ) -> Admitted | bytes | None:
        """Look at a packet that belongs to no connection.

        Args:
            packet: one UDP payload.
            address: where it came from.
            now: seconds, monotonic.
            handshakes: how many are under way.
            connections: how many there are, handshakes included.

        Returns:
            The newcomer, or a packet to answer with, or None to drop it.
        """
        if len(packet) < SMALLEST_MAX_DATAGRAM_SIZE or handshakes >= MAX_HANDSHAKES or connections >= MAX_LINKS:
            return None
        try:
            header = pull_quic_header(Buffer(data=packet), host_cid_length=CID_BYTES)
        except ValueError:
            return None
        if header.packet_type != QuicPacketType.INITIAL or header.version not in VERSIONS:
            return None
        if header.token:
            return self._returned(header, address, now)
        if handshakes >= UNPROVED:
            return self._retry(header, address, now)
        return Admitted(header.destination_cid, header.destination_cid)

    def _returned(self, header: QuicHeader, address: NetworkAddress, now: float) -> Admitted | None:
        cid = header.destination_cid
        try:
            original = self._tokens.validate_token(address=address, destination_cid=cid, token=header.token, now=now)
        except ValueError:
            return None
        return Admitted(cid, original, cid)

    def _retry(self, header: QuicHeader, address: NetworkAddress, now: float) -> bytes:
        cid = os.urandom(CID_BYTES)
        token = self._tokens.create_token(
            address=address,
            original_destination_connection_id=header.destination_cid,
            retry_source_connection_id=cid,
            now=now,
        )
        return encode_quic_retry(
            version=header.version or VERSIONS[0],
            source_cid=cid,
            destination_cid=header.source_cid,
            original_destination_cid=header.destination_cid,
            retry_token=token,
        )
