"""`aioquic`'s connection with its memory bounded, and without the work that it does for idle streams.

What the library does, and what is done here instead:

- It doubles a window as soon as half of it is *named*: one byte far ahead is enough, and the gap before it is
  allocated. Here windows follow what was delivered in order, and begin small, so that a peer that has shown nothing
  yet can make this side hold little. A peer may have a number of streams open that carry nothing, and one more for
  each that does.
- It keeps every range of a stream that came out of order, in a list. Here a stream may have a limited number of gaps.
- For each packet it walks over all streams, twice. Here it walks over those that have something to say.
- It sends datagrams of one size for ever. Here the path is probed for a larger one, and a path that stops to carry
  large packets is given small ones again.
- A datagram that does not fit stays at the head of its queue for ever. Here the sizes are checked.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from aioquic.quic.congestion.base import register_congestion_control
from aioquic.quic.congestion.reno import RenoCongestionControl
from aioquic.quic.connection import (
    CONNECTION_LIMIT_FRAME_CAPACITY,
    MAX_STREAM_DATA_FRAME_CAPACITY,
    QuicConnection,
    QuicConnectionError,
    QuicConnectionState,
    stream_is_client_initiated,
)
from aioquic.quic.events import StopSendingReceived, StreamDataReceived, StreamReset
from aioquic.quic.packet import QuicErrorCode, QuicFrameType, QuicPacketType
from aioquic.quic.packet_builder import QuicDeliveryState, QuicPacketBuilder
from aioquic.quic.stream import QuicStream
from aioquic.tls import Epoch

from tunnel.engines.seam import MAX_STREAMS
from tunnel.limits import MAX_DATAGRAM

if TYPE_CHECKING:
    from collections.abc import Container, Iterable

    from aioquic.quic.connection import NetworkAddress, QuicNetworkPath
    from aioquic.quic.events import QuicEvent
    from aioquic.quic.packet_builder import QuicSentPacket
    from aioquic.quic.recovery import QuicPacketSpace

FIRST_STREAM_WINDOW: Final = 64 * 1024
FIRST_WINDOW: Final = 128 * 1024
"""Bytes that a stream, and a connection, may have ahead of what was delivered in order, at first."""

STREAM_WINDOW: Final = 1 << 20
WINDOW: Final = 16 << 20
"""The same at most."""

FIRST_STREAMS: Final = 128
"""Streams that the other side may have open without anything on them."""

MAX_GAPS: Final = 512
"""Missing pieces that a stream may have. A window full of loss and reordering has fewer."""

NARROW: Final = 1200
"""UDP payload that every path carries."""

WIDE: Final = 1439
"""UDP payload that is used where the path carries it."""

PROBE: Final = WIDE + 1
"""A packet of this size is a probe, and no other has it."""

PROBE_TRIES: Final = 3
PROBE_AGAIN_S: Final = 1.0
PROBE_LATER_S: Final = 60.0
LOST_PROBES: Final = 3
"""Probe timeouts in a row after which large packets are blamed."""

DATAGRAMS_WAITING: Final = 64
_DATAGRAM_FRAME: Final = 3
"""Type and length."""

_PACKET: Final = 1 + 2 + 16
"""First byte, packet number and tag."""


class ProbingReno(RenoCongestionControl):
    """Reno that does not take the loss of a probe for congestion."""

    def on_packets_lost(self, *, now: float, packets: Iterable[QuicSentPacket]) -> None:
        lost = list(packets)
        probes = [packet for packet in lost if packet.sent_bytes == PROBE]
        if probes:
            self.on_packets_expired(packets=probes)
            lost = [packet for packet in lost if packet.sent_bytes != PROBE]
        if lost:
            super().on_packets_lost(now=now, packets=lost)


register_congestion_control("probing-reno", ProbingReno)


class Streams(dict[int, QuicStream]):
    """The streams of a connection by number.

    `moved`: those whose window should move. The library asks for all values in order to find them, and gets these.
    `started`: numbers of those of the other side's that carried something.
    """

    def __init__(self) -> None:
        super().__init__()
        self.moved: dict[QuicStream, None] = {}
        self.started: set[int] = set()

    def pop(self, number: int) -> QuicStream:  # type: ignore[override]  # what the library does with one that is over
        self.started.discard(number)
        return super().pop(number)

    def values(self) -> list[QuicStream]:  # type: ignore[override]  # the library walks over it and does no more
        return list(self.moved)


class BoundedQuic(QuicConnection):
    """One QUIC connection. See the module's text."""

    _streams: Streams

    def __init__(self, **arguments: Any) -> None:
        super().__init__(**arguments)
        self._streams = Streams()
        self._awake: set[QuicStream] = set()
        self._settled = 0
        self._finished_streams = 0
        self._granted_streams = FIRST_STREAMS
        self._local_max_data.value = self._local_max_data.sent = FIRST_WINDOW
        self._local_max_stream_data_bidi_local = FIRST_STREAM_WINDOW
        self._local_max_stream_data_bidi_remote = FIRST_STREAM_WINDOW
        self._local_max_streams_bidi.value = self._local_max_streams_bidi.sent = FIRST_STREAMS
        self._local_max_streams_uni.value = self._local_max_streams_uni.sent = 0
        self._probe_at = 0.0
        self._probes = 0
        self._probing = False

    # -- what the engine asks for

    @property
    def has_begun(self) -> bool:
        """Whether any packet of the other side was genuine."""
        return self._state != QuicConnectionState.FIRSTFLIGHT

    def open_stream(self, number: int) -> None:
        """Open a stream of this side, and those before it: the library takes one that was skipped for finished."""
        for each in range(self._local_next_stream_id_bidi, number + 4, 4):
            self._get_or_create_stream_for_send(each)

    def write(self, number: int, data: bytes, end: bool) -> None:
        """Send bytes on a stream. What comes after the end, or after a reset by either side, is dropped."""
        if number >= self._local_next_stream_id_bidi and stream_is_client_initiated(number) == self._is_client:
            self.open_stream(number)
        stream = self._streams.get(number)
        if stream is None or not _takes_bytes(stream):
            return
        stream.sender.write(data, end_stream=end)
        self._wake(stream)

    def unacknowledged(self, number: int) -> int:
        """Bytes of a stream that wait here to be sent or acknowledged."""
        acknowledged, written = self.offsets(number)
        return written - acknowledged

    def offsets(self, number: int) -> tuple[int, int]:
        """How much of what was written on a stream is acknowledged, and how much was written; both 0 once it is cut."""
        stream = self._streams.get(number)
        if stream is None or not stream.sender._buffer:
            return 0, 0
        return stream.sender._buffer_start, stream.sender._buffer_stop

    def cut_short(self, number: int, ends: Iterable[int]) -> int:
        """Drop what was written on a stream after the first of these offsets beyond which nothing was sent yet.

        Returns:
            Bytes that were dropped.
        """
        stream = self._streams.get(number)
        if stream is None or not stream.sender._buffer:
            return 0
        sender = stream.sender
        stop = next((end for end in ends if end >= sender.highest_offset), sender._buffer_stop)
        dropped = sender._buffer_stop - stop
        if dropped:
            sender._pending.subtract(stop, sender._buffer_stop)
            del sender._buffer[stop - sender._buffer_start :]
            sender._buffer_stop = stop
            if sender._buffer_fin is not None:
                sender._buffer_fin = stop
            self._wake(stream)
        return dropped

    def cut(self, number: int) -> None:
        """Cut a stream off in both directions."""
        stream = self._streams.get(number)
        if stream is None:
            return
        stream.sender.reset(QuicErrorCode.NO_ERROR)
        stream.sender._buffer.clear()
        if not stream.receiver.is_finished:
            stream.receiver.stop(QuicErrorCode.NO_ERROR)
        self._wake(stream)

    @property
    def streams(self) -> Container[int]:
        """Numbers of the streams that are not over."""
        return self._streams

    def datagram(self, data: bytes) -> bool:
        """Queue one datagram, if it fits into a packet as this path is known, and if there is room."""
        if len(data) > self.datagram_room or len(self._datagrams_pending) >= DATAGRAMS_WAITING:
            return False
        self._datagrams_pending.append(data)
        return True

    @property
    def datagram_room(self) -> int:
        """The largest datagram that fits into a packet as this path is known, in bytes."""
        frame = self._max_datagram_size - _PACKET - len(self._peer_cid.cid)
        return min(MAX_DATAGRAM, min(frame, self._remote_max_datagram_frame_size or 0) - _DATAGRAM_FRAME)

    # -- windows

    def next_event(self) -> QuicEvent | None:
        event = super().next_event()
        if isinstance(event, StreamDataReceived):
            self._settle(event.stream_id, len(event.data))
        elif isinstance(event, StreamReset):
            self._forget_received(event.stream_id)
        elif isinstance(event, StopSendingReceived):
            self._forget_written(event.stream_id)
        return event

    def _settle(self, number: int, size: int) -> None:
        self._settled += size
        stream = self._streams.get(number)
        if stream is not None:
            self._streams.moved[stream] = None
            if stream_is_client_initiated(number) != self._is_client:
                self._streams.started.add(number)
            self._wake(stream)

    def _forget_written(self, number: int) -> None:
        stream = self._streams.get(number)
        if stream is not None:
            stream.sender._buffer.clear()
            self._wake(stream)

    def _forget_received(self, number: int) -> None:
        stream = self._streams.get(number)
        if stream is not None:
            receiver = stream.receiver
            self._settle(number, receiver.highest_offset - receiver.starting_offset())
            receiver._buffer.clear()

    def _get_or_create_stream(self, frame_type: int, stream_id: int) -> QuicStream:
        stream = super()._get_or_create_stream(frame_type, stream_id)
        if len(stream.receiver._ranges) > MAX_GAPS:
            raise QuicConnectionError(QuicErrorCode.FLOW_CONTROL_ERROR, frame_type, "too many gaps")
        return stream

    def _write_stream_limits(self, builder: QuicPacketBuilder, space: QuicPacketSpace, stream: QuicStream) -> None:
        window = min(max(self._settled, FIRST_STREAM_WINDOW), STREAM_WINDOW)
        limit = stream.receiver.starting_offset() + window
        if limit - stream.max_stream_data_local >= window // 2 and not stream.receiver.is_finished:
            stream.max_stream_data_local = limit
        if stream.max_stream_data_local_sent != stream.max_stream_data_local:
            frame = builder.start_frame(
                QuicFrameType.MAX_STREAM_DATA,
                capacity=MAX_STREAM_DATA_FRAME_CAPACITY,
                handler=self._on_max_stream_data_delivery,
                handler_args=(stream,),
            )
            frame.push_uint_var(stream.stream_id or 0)
            frame.push_uint_var(stream.max_stream_data_local)
            stream.max_stream_data_local_sent = stream.max_stream_data_local
        self._streams.moved.pop(stream, None)

    def _on_max_stream_data_delivery(self, delivery: QuicDeliveryState, stream: QuicStream) -> None:
        super()._on_max_stream_data_delivery(delivery, stream)
        if delivery != QuicDeliveryState.ACKED and not stream.receiver.is_finished:
            self._streams.moved[stream] = None

    def _write_connection_limits(self, builder: QuicPacketBuilder, space: QuicPacketSpace) -> None:
        data, streams = self._local_max_data, self._local_max_streams_bidi
        window = min(max(2 * self._settled, FIRST_WINDOW), WINDOW)
        if self._settled + window - data.value >= window // 2:
            data.value = self._settled + window
        # The library adds one for each that is over.
        self._finished_streams += streams.value - self._granted_streams
        streams.value = self._finished_streams + min(FIRST_STREAMS + len(self._streams.started), MAX_STREAMS)
        self._granted_streams = streams.value
        for limit, step in ((data, 1), (streams, FIRST_STREAMS // 2)):
            if limit.value - limit.sent >= step or limit.sent == 0:
                frame = builder.start_frame(
                    limit.frame_type,
                    capacity=CONNECTION_LIMIT_FRAME_CAPACITY,
                    handler=self._on_connection_limit_delivery,
                    handler_args=(limit,),
                )
                frame.push_uint_var(limit.value)
                limit.sent = limit.value

    # -- idle streams

    def _wake(self, stream: QuicStream) -> None:
        if stream not in self._awake:
            self._awake.add(stream)
            self._streams_queue.append(stream)

    def _write_application(self, builder: QuicPacketBuilder, network_path: QuicNetworkPath, now: float) -> None:
        self._streams_queue = [stream for stream in dict.fromkeys(self._streams_queue) if _is_busy(stream)]
        self._awake = set(self._streams_queue)
        super()._write_application(builder, network_path, now)

    # -- the path's size

    def datagrams_to_send(self, now: float) -> list[tuple[bytes, NetworkAddress]]:
        packets = super().datagrams_to_send(now)
        if self._handshake_confirmed and not self._probing and self._max_datagram_size < WIDE and now >= self._probe_at:
            packets += self._probe(now)
        return packets

    def _probe(self, now: float) -> list[tuple[bytes, NetworkAddress]]:
        path = self._network_paths[0]
        if self._state != QuicConnectionState.CONNECTED or not path.is_validated:
            return []
        self._probing = True
        self._probes += 1
        self._probe_at = now + (PROBE_LATER_S if self._probes % PROBE_TRIES == 0 else PROBE_AGAIN_S)
        builder = QuicPacketBuilder(
            host_cid=self.host_cid,
            is_client=self._is_client,
            max_datagram_size=PROBE,
            packet_number=self._packet_number,
            peer_cid=self._peer_cid.cid,
            spin_bit=self._spin_bit,
            version=self._version or 0,
        )
        builder.start_packet(QuicPacketType.ONE_RTT, self._cryptos[Epoch.ONE_RTT])
        frame = builder.start_frame(QuicFrameType.PING, handler=self._probed)
        frame.push_bytes(bytes(builder.remaining_buffer_space))
        return self._flush_builder(builder=builder, network_path=path, peer_cid=self._peer_cid.cid, now=now)

    def _probed(self, delivery: QuicDeliveryState) -> None:
        self._probing = False
        if delivery == QuicDeliveryState.ACKED:
            self._max_datagram_size = WIDE

    def handle_timer(self, now: float) -> None:
        super().handle_timer(now)
        if self._loss._pto_count >= LOST_PROBES and self._max_datagram_size > NARROW:
            self._max_datagram_size = NARROW
            self._probe_at = now + PROBE_LATER_S
            room = self.datagram_room
            fitting = [data for data in self._datagrams_pending if len(data) <= room]
            self._datagrams_pending.clear()
            self._datagrams_pending.extend(fitting)


def _takes_bytes(stream: QuicStream) -> bool:
    sender = stream.sender
    return not sender.is_finished and sender._buffer_fin is None and sender._reset_error_code is None


def _is_busy(stream: QuicStream) -> bool:
    """Whether a stream has something to send, waits for an acknowledgement, or is to be taken off the books."""
    sender, receiver = stream.sender, stream.receiver
    if sender.is_finished:
        unsaid = False
    else:
        unsaid = (
            not sender.buffer_is_empty
            or sender._buffer_stop != sender._buffer_start
            or sender._buffer_fin is not None
            or sender._reset_error_code is not None
        )
    return unsaid or stream.is_finished or (receiver._stop_error_code is not None and not receiver.is_finished)
