"""One stream of a link: what its watcher hears."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.harness.linked import Linked, Receiver, record
from tests.harness.waiting import turns

if TYPE_CHECKING:
    from collections.abc import Callable


class Watching:
    """Keeps what a stream tells its watcher, and does something with each message."""

    def __init__(self) -> None:
        self.sizes: list[int] = []
        self.strays = 0
        self.then: Callable[[], object] = lambda: None

    def came(self, count: int) -> None:
        self.sizes.append(count)
        self.then()

    def strayed(self) -> None:
        self.strays += 1


@pytest.mark.parametrize("last", ["datagram", "message"])
async def test_a_watcher_hears_of_all_that_comes_before_it_is_handed_on(last: str) -> None:
    linked, watcher, receiver = await Linked.up(), Watching(), Receiver()
    stream = linked.near.open_stream(receiver, watcher=watcher)
    stream.send(record(b"asked"))
    await turns()
    (far,) = linked.far_events.opened
    assert far.stream is not None
    datagram = bytes(15) + b"\x80" + bytes(84)
    far.stream.send(record(b"answer"))
    far.stream.send_datagram(datagram)
    far.stream.send(record(datagram))
    await turns()
    assert sorted(watcher.sizes) == [6, 100, 100], "either may overtake the other"
    receiver.refusing = True
    far.stream.send_datagram(datagram)
    await turns()
    assert watcher.strays == 1
    assert len(receiver.datagrams) == 3
    watcher.then = stream.reset
    if last == "datagram":
        far.stream.send_datagram(datagram)
    else:
        far.stream.send(record(b"more"))
    await turns()
    assert stream.cut
    assert len(receiver.datagrams) == 3
    assert receiver.messages == [b"answer"]
