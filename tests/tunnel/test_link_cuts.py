"""What is wrong inside a stream costs the stream, and not the link."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.harness.linked import Linked, Receiver, record
from tests.harness.waiting import turns
from tunnel import link as link_module

if TYPE_CHECKING:
    import pytest


async def test_what_is_wrong_inside_costs_the_stream_and_not_the_link() -> None:
    linked = await Linked.up()
    linked.far_events.refusing = True
    mine, theirs = await linked.send(b"junk", b"more")
    assert theirs.messages == [b"junk"]
    assert (mine.ends, theirs.ends) == (1, 0)
    assert await linked.alive()
    assert linked.far.stream_count == 0


async def test_what_still_comes_on_a_cut_stream_is_ignored() -> None:
    linked = await Linked.up()
    linked.far_events.refusing = True
    mine = Receiver()
    stream = linked.near.open_stream(mine)
    linked.far_wire.resets.clear()
    for number in range(5):
        stream.send(record(bytes([number])))
        linked.far_wire._soon(lambda: None)
    stream.finish()
    await turns()
    assert len(linked.far_events.opened) == 1
    assert linked.far_events.opened[0].ends == 0
    assert await linked.alive()


async def test_the_end_of_a_cut_stream_in_the_same_bytes_is_not_told() -> None:
    linked = await Linked.up()
    linked.far_events.refusing = True
    stream = linked.near.open_stream(Receiver())
    linked.near_wire.stalled = True
    stream.send(record(b"junk"))
    (held,) = linked.near_wire._held[stream.id]
    linked.far.stream_received(stream.id, memoryview(held[0]), True)
    assert linked.far_events.opened[0].ends == 0
    assert not linked.far._cut


async def test_many_cut_streams_do_not_cost_the_link() -> None:
    """Somebody behind an honest neighbour opens flow after flow with junk in them, and sends on in all of them."""
    linked = await Linked.up()
    linked.far_events.refusing = True
    linked.near_wire.deaf = True
    streams = [linked.near.open_stream(Receiver()) for _ in range(3000)]
    for _ in range(2):
        for stream in streams:
            stream.send(record(b"junk"))
        await turns(4)
    linked.near_wire.deaf = False
    assert len(linked.far_events.opened) == 3000
    assert await linked.alive()


async def test_cut_streams_are_remembered_until_they_end() -> None:
    linked = await Linked.up()
    linked.far_events.refusing = True
    for number in range(20):
        mine, _ = await linked.send(b"junk")
        assert mine.stream is not None
        if number % 2:
            linked.near_wire.write(mine.stream.id, b"", end=True)
        else:
            linked.near_wire.reset(mine.stream.id)
    await turns()
    assert not linked.far._cut


async def test_the_memory_of_cut_streams_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(link_module, "MAX_CUT", 5)
    linked = await Linked.up()
    linked.far_events.refusing = True
    linked.near_wire.deaf = True
    for _ in range(20):
        await linked.send(b"junk")
    assert len(linked.far._cut) == 5


async def test_an_unexpected_error_costs_the_stream_and_not_the_link(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    linked = await Linked.up()

    def broken(stream: object, body: object) -> Receiver:
        raise ZeroDivisionError

    monkeypatch.setattr(linked.far_events, "stream_opened", broken)
    linked.near.open_stream(Receiver()).send(record(b"text"))
    await turns()
    assert not linked.far.closed
    assert linked.far.stream_count == 0
    assert linked.far.counters == {"internal error": 1}
    assert "ZeroDivisionError" in caplog.text
