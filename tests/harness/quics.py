"""Two of `aioquic`'s machines joined in memory: one that may be made to misbehave, and the one under test."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from aioquic.quic.connection import QuicConnection

from tunnel.engines import aioquic
from tunnel.engines.bounded import BoundedQuic

if TYPE_CHECKING:
    from collections.abc import Callable

    from aioquic.quic.events import QuicEvent
    from aioquic.quic.stream import QuicStream

CLIENT, SERVER = ("192.0.2.1", 1), ("192.0.2.2", 2)


class Quics:
    """A dialling machine, straight from the library, and a machine of ours that answers; with a clock of their own.

    Args:
        answering: class of the machine that answers.
    """

    def __init__(self, answering: Callable[..., QuicConnection] = BoundedQuic) -> None:
        client, server = aioquic._configurations()
        client.max_data = client.max_stream_data = 64 << 20
        self.now = 0.0
        self.client = QuicConnection(configuration=client)
        self.client.connect(SERVER, now=self.now)
        self.server = answering(
            configuration=server,
            original_destination_connection_id=self.client.original_destination_connection_id,
        )
        self.events: list[QuicEvent] = []
        self.exchange()

    def exchange(self, rounds: int = 30) -> None:
        """Carry packets to and fro, and let time pass, until nothing more is said."""
        for _ in range(rounds):
            there = self.client.datagrams_to_send(now=self.now)
            for data, _ in there:
                self.server.receive_datagram(data, CLIENT, now=self.now)
            while (event := self.server.next_event()) is not None:
                self.events.append(event)
            back = self.server.datagrams_to_send(now=self.now)
            for data, _ in back:
                self.client.receive_datagram(data, SERVER, now=self.now)
            while self.client.next_event() is not None:
                pass
            self.now += 0.002
            if not there and not back:
                return

    def events_of(self, kind: type[Any]) -> list[Any]:
        return [event for event in self.events if isinstance(event, kind)]

    def send_at(self, stream: int, offset: int, data: bytes = b"x") -> None:
        """Have the client send bytes at any place of a stream, within the window that it was given."""
        self.client._get_or_create_stream_for_send(stream)
        sender = self.client._streams[stream].sender
        sender._buffer[:] = data
        sender._buffer_start, sender._buffer_stop = offset, offset + len(data)
        sender._pending.add(offset, offset + len(data))
        sender._acked.__init__()  # type: ignore[misc]
        sender.buffer_is_empty = False
        self.exchange()

    def window(self, stream: int) -> int:
        """How far the client may send on a stream."""
        return self.client._streams[stream].max_stream_data_remote

    def held(self) -> int:
        """Bytes that the server keeps for streams that it cannot deliver yet."""
        streams: dict[int, QuicStream] = self.server._streams
        return sum(len(streams[number].receiver._buffer) for number in streams)
