"""The seam between the tunnel and whichever QUIC engine runs.

Everything is told by callbacks from the event loop, and forwarding happens inside them. A handler must not raise.
TLS is only a carrier here: certificates are self-signed and not verified, links prove themselves inside.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable

type Address = tuple[str, int]
"""IP literal and UDP port."""

ALPN: Final = "h3"
MAX_STREAMS: Final = 8192
"""Streams that the other side of a connection may have open at once."""


class ConnectionHandler(Protocol):
    """What the owner of a connection is told."""

    def stream_received(self, stream: int, data: memoryview, end: bool) -> None:
        """Bytes of a stream, in order; `end` with the last ones. A new number is a stream that the other side opened.

        The memory may be kept.
        """

    def stream_reset(self, stream: int) -> None:
        """The other side cut the stream off. Nothing more is heard of it, and what is written on it is dropped."""

    def stream_drained(self, stream: int) -> None:
        """`Connection.write` returned False before, and everything has been passed on to QUIC since."""

    def datagram_received(self, data: memoryview) -> None:
        """One datagram of the other side. Datagrams get lost, come twice or out of order. The memory may be kept."""

    def connection_closed(self) -> None:
        """The connection is gone. Last call; `Connection.queued` still says what never left."""


class Connection(Protocol):
    """One QUIC connection."""

    @property
    def peer_address(self) -> Address | None:
        """Where the other side's packets come from."""

    def open_stream(self) -> int:
        """Number of a new bidirectional stream. The other side learns of it with the first bytes."""

    def write(self, stream: int, data: bytes, end: bool = False) -> bool:
        """Send bytes on a stream. All are taken.

        Returns:
            False when they had to be queued; stop until `stream_drained`.
        """

    def queued(self, stream: int) -> int:
        """Bytes of a stream that were taken and not yet passed on to QUIC's own buffer."""

    def unsent(self, stream: int) -> int:
        """Bytes of a stream that were taken and wait for the other side to let them come: those that are queued, and
        those in QUIC's own buffer."""

    @property
    def queued_bytes(self) -> int:
        """What is queued of all streams together. Costs no walk over them."""

    @property
    def datagram_room(self) -> int:
        """The largest datagram that the path carries, in bytes, as far as it is known; at most `MAX_DATAGRAM`."""

    def send_datagram(self, data: bytes) -> bool:
        """Send bytes that may get lost. Does not raise.

        Args:
            data: at most `tunnel.limits.MAX_DATAGRAM` bytes.

        Returns:
            True: handed to QUIC, which may lose it. False: too large for a datagram or for the path as far as it is
            known, or no room for it now; nothing was sent.
        """

    def drop(self, stream: int) -> int:
        """Drop what is queued on a stream; its end stays, if that was written. What comes is heard as before.

        Returns:
            How many bytes were dropped, of whole writes. Of what is queued the first write may stay.
        """

    def reset(self, stream: int) -> None:
        """Cut a stream off in both directions and drop what is queued on it. Nothing more is heard of it."""

    def close(self) -> None:
        """Close the connection. `connection_closed` follows."""


class Engine(Protocol):
    """A QUIC stack on one UDP port, for listening and for dialling."""

    @property
    def name(self) -> str:
        """What the setting calls it."""

    async def listen(self, port: int, accept: Callable[[Connection], ConnectionHandler]) -> int:
        """Open the UDP port.

        Args:
            port: 0 for any free one.
            accept: called with each connection that another peer opened.

        Returns:
            The port.

        Raises:
            ConfigError: the port is taken.
        """

    async def dial(
        self, address: Address, handle: Callable[[Connection], ConnectionHandler], timeout_s: float
    ) -> Connection:
        """Open a connection from the listening port, and wait for QUIC's handshake.

        Raises:
            LinkError: nobody answered in time.
        """

    async def close(self) -> None:
        """Close every connection and the port."""
