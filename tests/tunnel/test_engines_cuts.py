"""Streams that were cut off; and the fast engine's events in an order that the network seldom makes."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Any

from aiopquic.quic.events import StopSendingReceived, StreamDataReceived, StreamReset

from tests.harness.paired import Heard
from tunnel.engines.aiopquic import AiopquicConnection, AiopquicEngine
from tunnel.engines.cuts import REMEMBERED, Cuts

if TYPE_CHECKING:
    from aiopquic.quic.events import QuicEvent


def test_a_cut_is_news_once() -> None:
    cuts = Cuts({4, 8})
    assert cuts.add(4)
    assert not cuts.add(4)
    assert 4 in cuts
    assert 8 not in cuts


def test_streams_that_are_over_are_forgotten_in_time() -> None:
    alive = set(range(10))
    cuts = Cuts(alive)
    for stream in range(5 * REMEMBERED):
        assert cuts.add(stream)
        assert len(cuts._cut) <= REMEMBERED
    assert all(stream in cuts for stream in alive)


def test_streams_that_are_not_over_are_not_forgotten() -> None:
    streams = range(3 * REMEMBERED)
    cuts = Cuts(streams)
    assert all(cuts.add(stream) for stream in streams)
    assert not any(cuts.add(stream) for stream in streams)


class ScriptedQuic:
    """In the place of the library's connection: tells what a test wants, and notes what is asked of it."""

    def __init__(self, *events: QuicEvent) -> None:
        self.events = deque(events)
        self._stream_ctxs = {4: 1}
        self.asked: list[tuple[Any, ...]] = []

    def next_event(self) -> QuicEvent | None:
        return self.events.popleft() if self.events else None

    def reset_stream(self, stream: int, code: int) -> None:
        self.asked.append(("reset", stream))

    def stop_stream(self, stream: int, code: int) -> None:
        self.asked.append(("stop", stream))

    def send_stream_data(self, stream: int, data: bytes, end: bool) -> None:
        self.asked.append(("send", stream))


def data(stream: int) -> StreamDataReceived:
    return StreamDataReceived(stream, memoryview(b"x"), False)


async def test_nothing_is_heard_behind_a_reset_in_whatever_order_its_frames_come() -> None:
    for first, second in ((StreamReset, StopSendingReceived), (StopSendingReceived, StreamReset)):
        quic: Any = ScriptedQuic(data(4), first(4, 0), data(4), second(4, 0), data(8))
        connection = AiopquicConnection(AiopquicEngine(), quic, dialled=False)
        heard = Heard(connection)
        connection.handle_with(heard)
        connection._process_events()
        assert heard.data == {4: b"x", 8: b"x"}
        assert heard.reset == [4]
        assert quic.asked == [("reset", 4), ("stop", 4)]


async def test_nothing_is_heard_or_sent_behind_a_reset_of_our_own() -> None:
    quic: Any = ScriptedQuic(data(4), StreamReset(4, 0), data(8))
    connection = AiopquicConnection(AiopquicEngine(), quic, dialled=False)
    heard = Heard(connection)
    connection.handle_with(heard)
    connection.reset(4)
    connection.reset(4)
    assert connection.write(4, b"late")
    connection._process_events()
    assert heard.data == {8: b"x"}
    assert heard.reset == []
    assert quic.asked == [("reset", 4), ("stop", 4)]


async def test_a_stream_that_quic_does_not_know_any_more_is_not_reset() -> None:
    quic: Any = ScriptedQuic()
    connection = AiopquicConnection(AiopquicEngine(), quic, dialled=False)
    connection.reset(8)
    assert connection.write(8, b"late")
    assert quic.asked == []
