"""What every engine must do, on real UDP: each of the two alone, and each against the other."""

from __future__ import annotations

import asyncio
import os
import socket
import sys
import time
from typing import TYPE_CHECKING

import pytest

from core.errors import ConfigError, LinkError
from tests.harness.paired import HOST, PAIRS, Heard, pair
from tests.harness.waiting import until
from tunnel.engines import aiopquic, load_engine
from tunnel.engines.aioquic_connection import AioquicConnection
from tunnel.limits import MAX_DATAGRAM

if TYPE_CHECKING:
    from tunnel.engines.seam import Connection

ENGINES = ["aiopquic", "aioquic"]

type Names = tuple[str, str]


@pytest.fixture(params=PAIRS, ids="-".join)
def names(request: pytest.FixtureRequest) -> Names:
    found: Names = request.param
    return found


async def test_bytes_come_back_exactly_on_many_streams(names: Names) -> None:
    async with pair(names) as both:
        connection, heard = await both.dial()
        sent = {connection.open_stream(): os.urandom(50_000 + place) for place in range(20)}
        for stream, data in sent.items():
            connection.write(stream, data, end=True)
        await until(lambda: heard.ended == sent.keys(), 15)
        assert {stream: bytes(data) for stream, data in heard.data.items()} == sent
        assert not heard.reset


async def test_hundreds_of_streams_are_open_at_once(names: Names) -> None:
    async with pair(names) as both:
        connection, heard = await both.dial()
        streams = [connection.open_stream() for _ in range(500)]
        for stream in streams:
            connection.write(stream, b"%200d" % stream)
        await until(lambda: len(heard.data) == 500, 15)
        for stream in reversed(streams):
            connection.write(stream, b"", end=True)
        await until(lambda: len(heard.ended) == 500, 15)
        assert all(heard.data[stream] == b"%200d" % stream for stream in streams)


async def test_more_streams_one_after_the_other_than_may_be_open_at_once(names: Names) -> None:
    async with pair(names) as both:
        connection, heard = await both.dial()
        for _ in range(20):
            streams = {connection.open_stream() for _ in range(50)}
            for stream in streams:
                connection.write(stream, b"x", end=True)
            await until(lambda streams=streams: streams <= heard.ended)  # type: ignore[misc]


async def test_both_sides_open_streams(names: Names) -> None:
    async with pair(names) as both:
        connection, heard = await both.dial()
        first = connection.open_stream()
        connection.write(first, b"hello")
        await until(lambda: both.accepted and both.accepted[0].data)
        other = both.accepted[0].connection.open_stream()
        assert (first % 4, other % 4) == (0, 1)
        both.accepted[0].connection.write(other, b"back", end=True)
        await until(lambda: other in heard.ended)
        assert heard.data[other] == b"back"


async def test_streams_may_be_used_in_another_order_than_they_were_opened(names: Names) -> None:
    async with pair(names) as both:
        connection, heard = await both.dial()
        first, second, third = (connection.open_stream() for _ in range(3))
        later = third + 12
        for stream in (third, first, later, second):
            connection.write(stream, b"%d" % stream, end=True)
        await until(lambda: heard.ended == {first, second, third, later})
        assert heard.data == {stream: b"%d" % stream for stream in (first, second, third, later)}


async def test_the_peer_address_is_where_packets_come_from(names: Names) -> None:
    async with pair(names) as both:
        connection, _ = await both.dial()
        connection.write(connection.open_stream(), b"x")
        await until(lambda: both.accepted and both.accepted[0].data)
        assert connection.peer_address == (HOST, both.ports[1])
        assert both.accepted[0].connection.peer_address == (HOST, both.ports[0])


@pytest.mark.parametrize("host", ["127.9.8.7", "::1"])
async def test_whichever_address_of_a_host_is_dialled_answers(names: Names, host: str) -> None:
    async with pair(names) as both:
        connection, heard = await both.dial(to=(host, both.ports[1]))
        stream = connection.open_stream()
        connection.write(stream, b"x", end=True)
        await until(lambda: stream in heard.ended)
        assert connection.peer_address == (host, both.ports[1])


async def test_eight_streams_share_a_connection_evenly(names: Names) -> None:
    async with pair(names) as both:
        both.echo = False
        connection, _ = await both.dial()
        streams = [connection.open_stream() for _ in range(8)]
        piece, size = bytes(32 * 1024), 6_000_000 if "aioquic" in names else 30_000_000
        while not both.accepted or sum(len(data) for data in both.accepted[0].data.values()) < size:
            for stream in streams:
                if connection.queued(stream) == 0:
                    connection.write(stream, piece)
            await asyncio.sleep(0)
        got = sorted(len(both.accepted[0].data.get(stream, b"")) for stream in streams)
        assert got[0] > 0.5 * got[-1], got


async def test_a_full_stream_says_so_and_then_says_when_it_is_empty(names: Names) -> None:
    async with pair(names) as both:
        both.echo = False
        connection, heard = await both.dial()
        stream, size = connection.open_stream(), 0
        while connection.write(stream, bytes(1 << 16)):
            size += 1 << 16
            assert size <= 4 << 20
        size += 1 << 16
        connection.write(stream, b"more")
        assert connection.queued(stream) == connection.queued_bytes > 0
        await until(lambda: heard.drained, 10)
        assert heard.drained == [stream]
        assert connection.queued(stream) == connection.queued_bytes == 0
        await until(lambda: len(both.accepted[0].data.get(stream, b"")) == size + 4, 10)


async def test_a_write_of_several_megabytes_is_taken_and_arrives_whole(names: Names) -> None:
    async with pair(names) as both:
        both.echo = False
        connection, heard = await both.dial()
        stream, data = connection.open_stream(), os.urandom(3_000_000)
        assert not connection.write(stream, data, end=True)
        assert 0 < connection.queued(stream) < len(data)
        await until(lambda: both.accepted and stream in both.accepted[0].ended, 10)
        assert both.accepted[0].data[stream] == data
        await until(lambda: heard.drained == [stream])


async def test_queued_bytes_are_those_of_all_streams_and_go_with_a_reset(names: Names) -> None:
    async with pair(names) as both:
        both.echo = False
        connection, _ = await both.dial()
        streams = [connection.open_stream() for _ in range(3)]
        for stream in streams:
            while connection.write(stream, bytes(1 << 16)):
                pass
        assert connection.queued_bytes == sum(connection.queued(stream) for stream in streams) > 0
        for stream in streams:
            connection.reset(stream)
        assert connection.queued_bytes == 0


@pytest.mark.parametrize("under_way", [False, True])
@pytest.mark.parametrize("finished", [False, True])
async def test_what_is_queued_can_be_dropped_in_whole_writes_and_the_rest_arrives_with_its_end(
    names: Names, finished: bool, under_way: bool
) -> None:
    async with pair(names) as both:
        connection, heard = await both.dial()
        stream, other = connection.open_stream(), connection.open_stream()
        sizes: list[int] = []
        connection.write(other, b"other")
        while connection.queued(stream) < 3_000_000:
            sizes.append(20_000 + len(sizes))
            connection.write(stream, bytes(sizes[-1]))
        if finished:
            connection.write(stream, b"", end=True)
        if under_way:
            await until(lambda: both.accepted and len(both.accepted[0].data.get(stream, b"")) > 1_500_000, 10)
        queued, dropped = connection.queued_bytes, connection.drop(stream)
        assert under_way or queued - 2 * sizes[-1] < dropped <= queued
        assert connection.queued_bytes == connection.queued(stream) <= max(0, queued - dropped)
        assert connection.drop(stream) == 0
        if not finished:
            connection.write(stream, b"", end=True)
        await until(lambda: stream in heard.ended, 10)
        kept = sum(sizes) - dropped
        assert len(both.accepted[0].data[stream]) == len(heard.data[stream]) == kept
        assert any(sum(sizes[:count]) == kept for count in range(len(sizes) + 1))
        assert not heard.reset
        connection.write(other, b"goes on", end=True)
        await until(lambda: other in heard.ended)
        assert heard.data[other] == b"othergoes on"


async def test_nothing_is_dropped_of_a_stream_that_has_nothing_queued(names: Names) -> None:
    async with pair(names) as both:
        connection, heard = await both.dial()
        stream = connection.open_stream()
        assert connection.drop(stream) == 0
        connection.write(stream, b"little")
        assert connection.drop(stream) == 0
        connection.write(stream, b"", end=True)
        await until(lambda: stream in heard.ended)
        assert heard.data[stream] == b"little"
        connection.reset(stream)
        assert connection.drop(stream) == 0
        await until(lambda: both.accepted[0].ended == {stream})
        assert not both.accepted[0].reset, "it was over"


@pytest.mark.parametrize("side", [0, 1])
async def test_what_never_left_is_known_when_a_connection_is_gone(names: Names, side: int) -> None:
    async with pair(names) as both:
        both.echo = False
        connection, heard = await both.dial()
        stream = connection.open_stream()
        connection.write(stream, b"here")
        await until(lambda: both.accepted)
        connection.write(stream, bytes(8 << 20))
        queued = connection.queued_bytes
        assert queued > 1 << 20
        (connection, both.accepted[0].connection)[side].close()
        await until(lambda: heard.closed)
        assert heard.never_left == queued if side == 0 else 0 < heard.never_left <= queued
        assert connection.queued_bytes == connection.queued(stream) == 0


async def test_datagrams_pass_up_to_their_limit_and_an_oversized_one_stops_none(names: Names) -> None:
    async with pair(names) as both:
        both.echo = False
        connection, _ = await both.dial()
        largest = os.urandom(MAX_DATAGRAM)
        await until(lambda: connection.send_datagram(largest))
        assert connection.datagram_room == MAX_DATAGRAM
        for size in (MAX_DATAGRAM + 1, 1500, 70_000):
            assert not connection.send_datagram(bytes(size))
        await until(lambda: both.accepted[0].datagrams == [largest])
        small = [b"%d" % number for number in range(20)]
        assert all(connection.send_datagram(data) for data in small)
        await until(lambda: both.accepted[0].datagrams == [largest, *small])
        connection.close()
        assert not connection.send_datagram(b"late")


async def test_a_small_datagram_passes_at_once(names: Names) -> None:
    async with pair(names) as both:
        connection, heard = await both.dial()
        assert connection.send_datagram(bytes(1100))
        await until(lambda: heard.datagrams == [bytes(1100)])


async def test_datagrams_that_cannot_go_out_are_refused_in_the_end(names: Names) -> None:
    async with pair(names) as both:
        connection, heard = await both.dial()
        sent = 0
        while connection.send_datagram(b"%1000d" % sent):
            sent += 1
            assert sent < 10_000
        await until(lambda: connection.send_datagram(b"again"))
        await until(lambda: b"again" in heard.datagrams)


async def test_datagrams_are_dropped_unread_while_too_many_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing else bounds what the fast engine keeps of them."""
    monkeypatch.setattr(aiopquic, "EVENTS_BEHIND", 500)
    async with pair(("aiopquic", "aiopquic")) as both:
        both.echo = False
        connection, _ = await both.dial()
        await until(lambda: both.accepted)
        sent, end = 0, time.monotonic() + 5
        while sent < 5000:
            sent += connection.send_datagram(b"%100d" % sent)  # the loop never gets to those that arrive
            assert time.monotonic() < end
        got = both.accepted[0].datagrams
        await until(lambda: connection.send_datagram(b"last") and b"last" in got)
        assert len(got) < 2500


async def test_a_reset_is_heard_once_and_the_connection_goes_on(names: Names) -> None:
    async with pair(names) as both:
        connection, heard = await both.dial()
        stream, other = connection.open_stream(), connection.open_stream()
        connection.write(stream, b"first")
        await until(lambda: stream in heard.data)
        connection.reset(stream)
        connection.reset(stream)
        connection.write(stream, b"into the void")
        await until(lambda: both.accepted[0].reset == [stream])
        connection.write(other, b"second", end=True)
        await until(lambda: other in heard.ended)
        assert both.accepted[0].reset == [stream]


async def test_a_reset_by_the_one_who_answers_is_heard_too(names: Names) -> None:
    async with pair(names) as both:
        both.echo = False
        connection, heard = await both.dial()
        stream = connection.open_stream()
        connection.write(stream, b"first")
        await until(lambda: both.accepted and both.accepted[0].data)
        both.accepted[0].connection.reset(stream)
        await until(lambda: heard.reset == [stream])


@pytest.mark.parametrize("answering", ENGINES)
async def test_a_reset_of_one_direction_is_answered_with_one_of_both(answering: str) -> None:
    async with pair(("aioquic", answering)) as both:
        connection, heard = await both.dial()
        assert isinstance(connection, AioquicConnection)
        stream = connection.open_stream()
        connection.write(stream, b"first")
        await until(lambda: stream in heard.data)
        connection._quic.reset_stream(stream, 0)
        connection._quic._wake(connection._quic._streams[stream])  # as whatever else changes a stream does
        connection._send_soon()
        await until(lambda: heard.reset == [stream])
        assert both.accepted[0].reset == [stream]


async def test_a_reset_after_the_end_is_heard_by_one_who_still_sends(names: Names) -> None:
    async with pair(names) as both:
        both.echo = False
        connection, heard = await both.dial()
        stream = connection.open_stream()
        connection.write(stream, b"all", end=True)
        await until(lambda: both.accepted and stream in both.accepted[0].ended)
        both.accepted[0].connection.write(stream, b"some")
        await until(lambda: stream in heard.data)
        connection.reset(stream)
        await until(lambda: both.accepted[0].reset == [stream])


async def test_a_close_is_heard_once_on_each_side(names: Names) -> None:
    async with pair(names) as both:
        connection, heard = await both.dial()
        connection.write(connection.open_stream(), b"x")
        await until(lambda: both.accepted)
        connection.close()
        connection.close()
        await until(lambda: both.accepted[0].closed)
        assert (heard.closed, both.accepted[0].closed) == (1, 1)
        late = connection.open_stream()
        assert connection.write(late, b"late") in (True, False)
        connection.reset(late)
        assert connection.queued(late) == connection.queued_bytes == 0


class Closing(Heard):
    """Closes its connection as soon as it hears anything, and then should hear no more."""

    def stream_received(self, stream: int, data: memoryview, end: bool) -> None:
        super().stream_received(stream, data, end)
        self.connection.close()


async def test_nothing_is_heard_after_a_close_from_inside_a_call(names: Names) -> None:
    async with pair(names) as both:
        closing: list[Closing] = []

        def accept(connection: Connection) -> Closing:
            closing.append(Closing(connection))
            return closing[0]

        engine = load_engine(names[1])
        port = await engine.listen(0, accept)
        try:
            connection, heard = await both.dial(to=(HOST, port))
            for stream in [connection.open_stream() for _ in range(20)]:
                connection.write(stream, b"x")
            await until(lambda: heard.closed)
            assert len(closing[0].data) == 1
            assert closing[0].closed == 1
        finally:
            await engine.close()


async def test_nobody_there_is_a_link_error_in_time(names: Names) -> None:
    async with pair(names) as both:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as silent:
            silent.bind((HOST, 0))
            started = time.monotonic()
            with pytest.raises(LinkError):
                await both.engines[0].dial((HOST, silent.getsockname()[1]), Heard, 0.5)
            assert time.monotonic() - started < 2
        await both.dial()


async def test_a_dial_is_known_as_one_although_the_loop_is_late(names: Names) -> None:
    """The handshake may be over before the loop hears that the connection exists."""
    async with pair(names) as both:
        for _ in range(3):
            dialling = asyncio.create_task(both.dial())
            for _ in range(3):
                await asyncio.sleep(0)
            time.sleep(0.2)  # noqa: ASYNC251  # what a busy machine does to the loop
            connection, heard = await dialling
            stream = connection.open_stream()
            connection.write(stream, b"x", end=True)
            await until(lambda heard=heard, stream=stream: stream in heard.ended)  # type: ignore[misc]
        assert len(both.accepted) == 3


async def test_both_dial_each_other_at_once(names: Names) -> None:
    async with pair(names) as both:
        for connection, heard in await asyncio.gather(both.dial(0), both.dial(1), both.dial(0), both.dial(1)):
            stream = connection.open_stream()
            connection.write(stream, b"x", end=True)
            await until(lambda heard=heard, stream=stream: stream in heard.ended)  # type: ignore[misc]
        assert len(both.accepted) == 4


@pytest.mark.parametrize("name", ENGINES)
async def test_a_taken_port_is_said(name: str) -> None:
    async with pair(("aiopquic", "aioquic")) as both:
        # One of them opens its port on a thread of its own, a moment after it says which.
        await both.dial(0)
        await both.dial(1)
        for port in both.ports:
            with pytest.raises(ConfigError, match="is taken"):
                await load_engine(name).listen(port, both.accept)


@pytest.mark.parametrize("name", ENGINES)
async def test_an_engine_that_does_not_listen_does_not_dial(name: str) -> None:
    engine = load_engine(name)
    with pytest.raises(LinkError):
        await engine.dial((HOST, 9), Heard, 1)
    await engine.close()


@pytest.mark.parametrize("name", ENGINES)
async def test_packets_that_are_no_quic_get_no_answer(name: str) -> None:
    async with pair((name, name)) as both:
        loop = asyncio.get_running_loop()
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as stranger:
            stranger.bind((HOST, 0))
            stranger.setblocking(False)
            for first in (b"", b"\0", b"\x40", b"\x80", b"\xff", b"\xc0\0\0\0\1"):
                for size in (0, 7, 30, 1200):
                    stranger.sendto(first + os.urandom(size), (HOST, both.ports[1]))
            connection, heard = await both.dial()
            stream = connection.open_stream()
            connection.write(stream, b"x", end=True)
            await until(lambda: stream in heard.ended)
            assert len(both.accepted) == 1
            if name == "aioquic":
                with pytest.raises(TimeoutError):
                    await asyncio.wait_for(loop.sock_recv(stranger, 2000), 0.1)


@pytest.mark.parametrize("name", ["auto", *ENGINES])
def test_engines_are_chosen_by_name(name: str) -> None:
    assert load_engine(name).name == ("aiopquic" if name == "auto" else name)


def test_without_the_fast_engine_auto_takes_the_portable_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "tunnel.engines.aiopquic", raising=False)
    monkeypatch.setitem(sys.modules, "aiopquic.quic.configuration", None)
    assert load_engine("auto").name == "aioquic"
    with pytest.raises(ConfigError, match="not installed"):
        load_engine("aiopquic")


def test_an_unknown_engine_is_said() -> None:
    with pytest.raises(ConfigError, match="no engine"):
        load_engine("steam")
