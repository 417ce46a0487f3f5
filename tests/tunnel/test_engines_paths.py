"""Both engines over bad paths: loss, reordering, narrow and changing paths, neighbours that hang."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from tests.harness.lossy import lossy
from tests.harness.paired import HOST, PAIRS, pair
from tests.harness.waiting import until
from tunnel.engines import aiopquic, aioquic, aioquic_connection
from tunnel.limits import MAX_DATAGRAM

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.harness.lossy import LossyPath
    from tests.harness.paired import Heard, Pair
    from tunnel.engines.seam import Connection

NARROW = 1300
"""Less than a packet with a datagram of the largest size."""


class Joined:
    """A pair of engines with a path between them that a test can spoil."""

    def __init__(self, both: Pair, path: LossyPath, connection: Connection, heard: Heard) -> None:
        self.both = both
        self.path = path
        self.connection = connection
        self.heard = heard

    async def echo(self, size: int, limit_s: float = 15) -> None:
        """Send bytes on a new stream and wait until the same come back."""
        stream, data = self.connection.open_stream(), os.urandom(size)
        self.connection.write(stream, data, end=True)
        await until(lambda: stream in self.heard.ended, limit_s)
        assert self.heard.data[stream] == data


@pytest.fixture(params=PAIRS, ids="-".join)
async def joined(request: pytest.FixtureRequest) -> AsyncIterator[Joined]:
    async with pair(request.param) as both, lossy((HOST, both.ports[1])) as (path, near):
        connection, heard = await both.dial(to=near)
        await until(lambda: both.accepted)
        yield Joined(both, path, connection, heard)


async def test_streams_are_exact_over_a_path_that_loses_repeats_and_reorders(joined: Joined) -> None:
    path = joined.path
    path.loss, path.twice, path.delay_s, path.jitter_s = 0.02, 0.02, 0.002, 0.003
    for size in (1, 300_000):
        await joined.echo(size)
    assert path.lost
    assert not joined.heard.reset
    assert joined.heard.closed == 0


async def test_many_streams_are_exact_over_a_bad_path(joined: Joined) -> None:
    joined.path.loss, joined.path.jitter_s = 0.02, 0.003
    connection, heard = joined.connection, joined.heard
    sent = {connection.open_stream(): os.urandom(2000) for _ in range(60)}
    for stream, data in sent.items():
        connection.write(stream, data, end=True)
    await until(lambda: heard.ended == sent.keys(), 15)
    assert {stream: bytes(data) for stream, data in heard.data.items()} == sent


async def test_a_handshake_gets_over_lost_packets(joined: Joined) -> None:
    joined.path.loss = 0.2
    for _ in range(3):
        _, heard = await joined.both.dial(to=(HOST, joined.path.port))
        assert heard.closed == 0


async def test_a_reset_gets_over_lost_packets(joined: Joined) -> None:
    joined.path.loss = 0.2
    for _ in range(5):
        stream = joined.connection.open_stream()
        joined.connection.write(stream, b"x")
        joined.connection.reset(stream)
        await until(lambda stream=stream: stream in joined.both.accepted[0].reset, 15)  # type: ignore[misc]


async def test_datagrams_come_whole_or_not_at_all(joined: Joined) -> None:
    joined.path.loss, joined.path.jitter_s = 0.1, 0.003
    sent = {os.urandom(1000) for _ in range(50)}
    for data in sent:
        await until(lambda data=data: joined.connection.send_datagram(data))  # type: ignore[misc]
    got = joined.both.accepted[0].datagrams
    await until(lambda: len(got) >= 20)
    assert set(got) <= sent
    assert len(set(got)) == len(got)


async def test_a_path_that_is_too_narrow_for_large_datagrams_carries_small_ones(joined: Joined) -> None:
    joined.path.largest = NARROW
    connection, _ = await joined.both.dial(to=(HOST, joined.path.port))
    await until(lambda: len(joined.both.accepted) == 2)
    heard = joined.both.accepted[1]
    largest = bytes(MAX_DATAGRAM)
    connection.send_datagram(largest)
    await until(lambda: connection.send_datagram(b"small") and b"small" in heard.datagrams, 10)
    assert largest not in heard.datagrams
    assert connection.datagram_room < len(largest)
    assert not connection.send_datagram(largest)
    stream = connection.open_stream()
    connection.write(stream, bytes(100_000), end=True)
    await until(lambda: stream in heard.ended, 10)


async def test_a_path_that_becomes_narrow_still_carries_everything(joined: Joined) -> None:
    await until(lambda: joined.connection.send_datagram(bytes(MAX_DATAGRAM)))
    await joined.echo(50_000)
    joined.path.largest = NARROW
    await joined.echo(50_000)
    await until(lambda: joined.connection.send_datagram(b"small") and b"small" in joined.both.accepted[0].datagrams, 10)


async def test_what_a_path_does_not_take_is_counted_and_goes_on_later(joined: Joined) -> None:
    joined.path.frozen = True
    connection, data = joined.connection, os.urandom(300_000)
    stream, size = connection.open_stream(), 10 * len(data)
    for _ in range(10):
        connection.write(stream, data)
    assert size - (2 << 20) <= connection.queued_bytes < size
    await until(lambda: connection.unsent(stream) > size - (1 << 19))  # written at the end of this turn
    assert connection.unsent(stream) <= size
    assert not joined.heard.drained
    joined.path.frozen = False
    await until(lambda: joined.heard.drained == [stream], 15)
    assert connection.queued_bytes == 0
    await until(lambda: connection.unsent(stream) == 0, 15)
    arrived = joined.both.accepted[0].data
    await until(lambda: len(arrived.get(stream, b"")) == size, 15)
    assert arrived[stream] == data * 10


async def test_what_was_under_way_on_a_stream_that_was_reset_is_not_heard(joined: Joined) -> None:
    joined.path.delay_s, joined.path.jitter_s = 0.01, 0.03
    connection, far = joined.connection, joined.both.accepted[0]
    far.echo = False
    stream = connection.open_stream()
    connection.write(stream, bytes(400_000))
    await until(lambda: far.data)
    far.connection.reset(stream)
    before = len(far.data[stream])
    await until(lambda: joined.heard.reset == [stream])
    joined.both.accepted[0].echo = True
    await joined.echo(1000)
    assert len(far.data[stream]) == before < 400_000
    assert far.reset == []


async def test_what_waits_on_a_stream_that_the_other_side_cut_off_is_dropped(joined: Joined) -> None:
    connection, far = joined.connection, joined.both.accepted[0]
    far.echo = False
    stream = connection.open_stream()
    connection.write(stream, b"first")
    await until(lambda: stream in far.data)
    joined.path.delay_s = 0.05
    connection.write(stream, bytes(8_000_000))
    far.connection.reset(stream)
    await until(lambda: joined.heard.reset == [stream])
    await until(lambda: connection.queued_bytes == connection.queued(stream) == 0)
    assert connection.write(stream, bytes(4_000_000))
    assert connection.queued_bytes == 0


async def test_an_address_that_changes_under_way_costs_nothing(joined: Joined) -> None:
    await joined.echo(1000)
    before = joined.both.accepted[0].connection.peer_address
    await joined.path.rebind()
    await joined.echo(100_000)
    await until(lambda: joined.both.accepted[0].connection.peer_address not in (before, None))
    assert joined.heard.closed == joined.both.accepted[0].closed == 0


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> float:
    for module in (aiopquic, aioquic):
        monkeypatch.setattr(module, "LINK_IDLE_S", 1.0)
    for module in (aiopquic, aioquic_connection):
        monkeypatch.setattr(module, "LINK_KEEPALIVE_S", 0.25)
    return 1.0


@pytest.mark.usefixtures("impatient")
class TestSilence:
    async def test_a_neighbour_that_hangs_is_given_up_by_both(self, joined: Joined) -> None:
        await joined.echo(1)
        joined.path.frozen = True
        await until(lambda: joined.heard.closed and joined.both.accepted[0].closed, 4)

    async def test_an_idle_connection_lives_on(self, joined: Joined) -> None:
        await joined.echo(1)
        passed = joined.path.passed
        await until(lambda: joined.path.passed > passed + 12, 10)
        assert joined.heard.closed == joined.both.accepted[0].closed == 0
        await joined.echo(1)
