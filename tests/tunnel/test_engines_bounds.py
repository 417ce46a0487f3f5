"""What a hostile peer can make the portable engine hold or do; and that an honest one does not notice the bounds."""

from __future__ import annotations

import os
import socket
from typing import TYPE_CHECKING, Any

import pytest
from aioquic.quic.connection import QuicConnection, QuicConnectionState
from aioquic.quic.events import ConnectionTerminated, StreamDataReceived, StreamReset
from aioquic.quic.packet import QuicErrorCode

from core.errors import ConfigError
from tests.harness.paired import HOST, Heard, pair
from tests.harness.quics import Quics
from tests.harness.waiting import until
from tunnel.engines import admission, aioquic, bounded
from tunnel.engines.admission import Admission, Admitted
from tunnel.engines.aioquic import AioquicEngine
from tunnel.engines.aioquic_connection import AioquicConnection
from tunnel.limits import MAX_LINKS

if TYPE_CHECKING:
    from aioquic.quic.configuration import QuicConfiguration
    from aioquic.quic.stream import QuicStream

NEWCOMER = ("192.0.2.9", 9)


def jump_ahead(quics: Quics, rounds: int) -> None:
    """Again and again, send one byte at the far end of the window and one that can be delivered."""
    quics.send_at(0, rounds + 1)
    for place in range(rounds):
        quics.send_at(0, quics.window(0) - 1)
        quics.send_at(0, place)


def test_the_library_alone_lets_bytes_far_ahead_open_its_window() -> None:
    """The reason for the bounds. When this fails, the library has changed, and they may be more than is needed."""
    quics = Quics(QuicConnection)
    jump_ahead(quics, 5)
    assert quics.held() >= 8 << 20


def test_bytes_far_ahead_open_no_window() -> None:
    quics = Quics()
    jump_ahead(quics, 8)
    assert quics.held() <= bounded.FIRST_STREAM_WINDOW
    assert quics.window(0) <= bounded.FIRST_STREAM_WINDOW + 8


def test_all_streams_together_hold_no_more_than_the_connection_may() -> None:
    quics = Quics()
    for stream in range(0, 4 * 50, 4):
        quics.send_at(stream, 0)
        quics.send_at(stream, min(quics.window(stream), bounded.FIRST_STREAM_WINDOW) - 1)
    assert quics.held() <= bounded.FIRST_WINDOW + 50


def test_gaps_of_streams_that_were_reset_are_not_kept_and_not_held_against_anyone() -> None:
    quics = Quics()
    for stream in range(0, 4 * 50, 4):
        quics.send_at(stream, bounded.FIRST_STREAM_WINDOW - 1)
        quics.client.reset_stream(stream, 0)
        quics.exchange()
    assert quics.held() == 0
    assert len(quics.events_of(StreamReset)) == 50
    quics.client.send_stream_data(400, b"honest")
    quics.exchange()
    assert quics.events_of(StreamDataReceived)[-1].data == b"honest"


def test_a_stream_in_a_thousand_pieces_ends_the_connection() -> None:
    quics = Quics()
    for piece in range(bounded.MAX_GAPS + 2):
        quics.send_at(0, 2 * piece + 1)
    quics.exchange()
    quics.server.handle_timer(quics.now + 60)
    assert quics.server._close_event is not None
    assert quics.server._close_event.error_code == QuicErrorCode.FLOW_CONTROL_ERROR


def test_streams_that_say_nothing_let_no_more_be_opened() -> None:
    quics = Quics()
    for stream in range(0, 4 * 200, 4):
        quics.client._get_or_create_stream_for_send(stream)
        quics.client.reset_stream(stream, 0)
    quics.exchange()
    assert len(quics.server._streams) <= bounded.FIRST_STREAMS
    assert quics.client._remote_max_streams_bidi <= bounded.FIRST_STREAMS


def test_streams_that_carry_something_let_more_be_opened_up_to_the_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    most = 512
    monkeypatch.setattr(bounded, "MAX_STREAMS", most)
    quics = Quics()
    opened = 0
    while opened < most and opened < quics.client._remote_max_streams_bidi:
        while opened < min(most, quics.client._remote_max_streams_bidi):
            quics.client.send_stream_data(4 * opened, b"x")
            opened += 1
        quics.exchange(300)
    assert opened == most
    quics.client.send_stream_data(4 * opened, b"x")
    quics.exchange(300)
    assert len(quics.server._streams) == most
    quics.client.reset_stream(0, 0)
    quics.server.reset_stream(0, 0)
    quics.exchange(300)
    assert quics.server._local_max_streams_bidi.value == most + 1


def test_a_stream_that_is_over_makes_room_for_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bounded, "MAX_STREAMS", bounded.FIRST_STREAMS)
    quics = Quics()
    server = quics.server
    assert isinstance(server, bounded.BoundedQuic)
    for number in range(3 * bounded.FIRST_STREAMS):
        assert number < quics.client._remote_max_streams_bidi
        quics.client.send_stream_data(4 * number, b"x", end_stream=True)
        quics.exchange()
        server.write(4 * number, b"x", end=True)
        quics.exchange()
    assert not server._streams
    assert not server._streams.started


def test_an_honest_sender_gets_the_whole_window() -> None:
    quics = Quics()
    size = 6 << 20
    quics.client.send_stream_data(0, bytes(size))
    quics.exchange(20_000)
    assert sum(len(event.data) for event in quics.events_of(StreamDataReceived)) == size
    assert quics.window(0) - size >= bounded.STREAM_WINDOW // 2
    assert quics.client._remote_max_data - size >= min(size, bounded.WINDOW // 2)


def test_idle_streams_cost_a_packet_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    quics = Quics()
    server = quics.server
    assert isinstance(server, bounded.BoundedQuic)
    for stream in range(0, 4 * 100, 4):
        quics.client.send_stream_data(stream, bytes(100))
    quics.exchange()
    for stream in range(0, 4 * 100, 4):
        server.write(stream, b"answer", end=False)
    quics.exchange(200)
    asked = []
    look = bounded.BoundedQuic._write_stream_limits

    def counted(self: bounded.BoundedQuic, builder: Any, space: Any, stream: QuicStream) -> None:
        asked.append(stream.stream_id)
        look(self, builder, space, stream)

    monkeypatch.setattr(bounded.BoundedQuic, "_write_stream_limits", counted)
    quics.client.send_stream_data(0, bytes(100))
    server.write(0, b"more", end=False)
    quics.exchange()
    assert len(server._streams) == 100
    assert len(server._streams_queue) <= 1
    assert set(asked) == {0}


def test_streams_that_are_over_are_forgotten() -> None:
    quics = Quics()
    server = quics.server
    assert isinstance(server, bounded.BoundedQuic)
    for stream in range(0, 4 * 50, 4):
        quics.client.send_stream_data(stream, b"ask", end_stream=True)
    quics.exchange()
    for stream in range(0, 4 * 50, 4):
        server.write(stream, b"answer", end=True)
    quics.exchange(200)
    assert not server._streams
    assert not server._streams_queue


def test_the_path_is_probed_and_large_packets_are_used() -> None:
    quics = Quics()
    server = quics.server
    assert isinstance(server, bounded.BoundedQuic)
    quics.exchange()
    assert server._max_datagram_size == bounded.WIDE
    assert server.datagram(bytes(1400))
    assert not server.datagram(bytes(1401))


def test_a_lost_probe_is_no_congestion_and_is_tried_again() -> None:
    quics = Quics()
    server = quics.server
    assert isinstance(server, bounded.BoundedQuic)
    server._max_datagram_size, server._probe_at = bounded.NARROW, 0.0
    assert [len(data) for data, _ in server._probe(quics.now)] == [bounded.PROBE]
    for uid in range(10):
        server.send_ping(uid)
        quics.exchange()
        quics.now += bounded.PROBE_AGAIN_S / 5
    assert server._probes == 3
    assert server._loss._cc.ssthresh is None
    assert server._max_datagram_size == bounded.WIDE


def test_datagrams_that_wait_are_bounded() -> None:
    quics = Quics()
    server = quics.server
    assert isinstance(server, bounded.BoundedQuic)
    taken = 0
    while server.datagram(b"x"):
        taken += 1
    assert taken == bounded.DATAGRAMS_WAITING


# -- who may begin


def initial() -> bytes:
    """The first packet of a genuine newcomer."""
    configuration: QuicConfiguration = aioquic._configurations()[0]
    quic = QuicConnection(configuration=configuration)
    quic.connect(("192.0.2.2", 2), now=0)
    return quic.datagrams_to_send(now=0)[0][0]


def test_a_newcomer_is_admitted_while_there_is_room() -> None:
    packet, door = initial(), Admission()
    admitted = door.consider(packet, NEWCOMER, 0, 0, 0)
    assert isinstance(admitted, Admitted)
    assert admitted.cid == admitted.original == packet[6 : 6 + packet[5]]
    assert door.consider(packet, NEWCOMER, 0, admission.MAX_HANDSHAKES, 0) is None
    assert door.consider(packet, NEWCOMER, 0, 0, MAX_LINKS) is None


@pytest.mark.parametrize(
    "packet",
    [
        b"",
        bytes(1200),
        b"\x40" + bytes(1300),
        b"\xc0" + bytes(1300),
        b"\xc0\xff\xff\xff\xff\x08" + bytes(1300),
        b"\xe0\0\0\0\1\x08" + bytes(1300),
        initial()[:1100],
        b"\xff" * 1300,
    ],
)
def test_what_is_no_beginning_is_dropped(packet: bytes) -> None:
    for handshakes in (0, admission.UNPROVED):
        assert Admission().consider(packet, NEWCOMER, 0, handshakes, 0) is None


def test_a_token_is_good_for_the_address_that_got_it() -> None:
    door = Admission()
    configuration = aioquic._configurations()[0]
    quic = QuicConnection(configuration=configuration)
    quic.connect(NEWCOMER, now=0)
    first = quic.datagrams_to_send(now=0)[0][0]
    retry = door.consider(first, NEWCOMER, 0, admission.UNPROVED, 0)
    assert isinstance(retry, bytes)
    assert len(retry) < len(first)
    quic.receive_datagram(retry, NEWCOMER, now=0)
    second = quic.datagrams_to_send(now=0)[0][0]
    admitted = door.consider(second, NEWCOMER, 1, admission.UNPROVED, 0)
    assert isinstance(admitted, Admitted)
    assert admitted.original == first[6 : 6 + first[5]] != admitted.cid == admitted.after_retry
    assert door.consider(second, ("192.0.2.10", 9), 1, admission.UNPROVED, 0) is None
    assert door.consider(second, NEWCOMER, 100, admission.UNPROVED, 0) is None
    assert Admission().consider(second, NEWCOMER, 1, admission.UNPROVED, 0) is None


@pytest.mark.parametrize("dialler", ["aioquic", "aiopquic"])
async def test_forged_beginnings_do_not_keep_others_out(dialler: str) -> None:
    async with pair((dialler, "aioquic")) as both:
        engine = both.engines[1]
        assert isinstance(engine, AioquicEngine)
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as forger:
            for _ in range(admission.UNPROVED + 20):
                forger.sendto(initial(), (HOST, both.ports[1]))
            await until(lambda: len(engine._handshakes) >= admission.UNPROVED)
            connection, heard = await both.dial()
            stream = connection.open_stream()
            connection.write(stream, b"x", end=True)
            await until(lambda: stream in heard.ended)
        assert len(engine._handshakes) == admission.UNPROVED
        assert len(both.accepted) == 1


async def test_a_beginning_that_was_not_genuine_leaves_nothing() -> None:
    async with pair(("aioquic", "aioquic")) as both:
        engine = both.engines[1]
        assert isinstance(engine, AioquicEngine)
        spoiled = bytearray(initial())
        spoiled[100] ^= 1
        engine._received(bytes(spoiled), NEWCOMER, b"")
        assert not engine._connections
        assert not engine._by_cid
        assert not both.accepted


async def test_a_handshake_that_takes_too_long_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(aioquic, "LINK_HANDSHAKE_S", 0.1)
    async with pair(("aioquic", "aioquic")) as both:
        engine = both.engines[1]
        assert isinstance(engine, AioquicEngine)
        engine._received(initial(), ("::ffff:127.0.0.1", 9, 0, 0), b"")
        assert len(engine._handshakes) == 1
        await until(lambda: not engine._handshakes)
        assert not engine._by_cid
        assert not both.accepted


async def test_connections_leave_nothing_behind() -> None:
    async with pair(("aioquic", "aioquic")) as both:
        for _ in range(5):
            connection, heard = await both.dial()
            stream = connection.open_stream()
            connection.write(stream, b"x", end=True)
            await until(lambda heard=heard, stream=stream: stream in heard.ended)  # type: ignore[misc]
            connection.close()
        for engine in both.engines:
            assert isinstance(engine, AioquicEngine)
            await until(lambda engine=engine: not engine._connections)  # type: ignore[misc]
            assert not engine._by_cid


async def test_an_error_inside_the_library_costs_one_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    async with pair(("aioquic", "aioquic")) as both:
        connection, heard = await both.dial()
        other, _ = await both.dial()
        assert isinstance(connection, AioquicConnection)

        def broken(*args: object, **kwargs: object) -> None:
            raise AssertionError("secret.example")

        monkeypatch.setattr(connection._quic, "receive_datagram", broken)
        connection.write(connection.open_stream(), os.urandom(10))
        await until(lambda: heard.closed == 1)
        assert other.send_datagram(b"alive")


async def test_the_library_logs_nothing(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(0):
        async with pair(("aioquic", "aioquic")) as both:
            connection, heard = await both.dial()
            stream = connection.open_stream()
            connection.write(stream, b"x", end=True)
            await until(lambda: stream in heard.ended)
            with pytest.raises(ConfigError):
                await AioquicEngine().listen(both.ports[0], Heard)
    assert [record for record in caplog.records if record.name.startswith(("quic", "aioquic"))] == []


def test_the_end_of_a_connection_is_an_event() -> None:
    quics = Quics()
    quics.client.close()
    quics.exchange()
    quics.server.handle_timer(quics.now + 60)
    assert quics.server._state == QuicConnectionState.TERMINATED
    while (event := quics.server.next_event()) is not None:
        quics.events.append(event)
    assert quics.events_of(ConnectionTerminated)
