"""A hostile guard or relay: it has keys of its own, so its link tags are right, and does what it likes with what
passes."""

from __future__ import annotations

import os
from collections import Counter
from typing import TYPE_CHECKING, Final

import pytest

from core.errors import DecodeError
from core.flow import FlowRequest
from tests.harness.bare import check_alive
from tests.harness.entropy import flipped
from tests.harness.network import Collect, three_hops
from tests.harness.waiting import until
from tests.harness.wire import Board
from tests.tunnel.test_creation import Chain
from tunnel.creation import CREATION_BYTES, HEAD_BYTES, consume_creation
from tunnel.layers import RECORD_BYTES
from tunnel.link_stream import LinkStream

if TYPE_CHECKING:
    from collections.abc import Callable

    from tunnel.link import Link
    from tunnel.service import Tunnel

    type Act = Callable[[list[bytes]], list[bytes]]

ECHO: Final = FlowRequest("echo.example", 80)
LARGE: Final = 700
"""Messages with the flow's data are longer than this, those with pings are not."""
LIMIT_S: Final = 60.0
"""For a machine on which much else runs; alone it takes tenths of a second."""

FILLED: Final = CREATION_BYTES - 2 * HEAD_BYTES
"""What follows in what the last of three hops reads, it and the one before it have filled up themselves."""
DATA: Final = os.urandom(300_000)


class HostileHop:
    """A hop that changes, once, what it sends on: messages that it has opened, or sealed, as an honest one would.

    Args:
        node: the hop.
        patch: undoes it.
        forth: whether it does so towards the exit, or towards the client.
        act: is shown two messages that follow each other on one stream, and says what is sent instead.
    """

    def __init__(self, node: Tunnel, patch: pytest.MonkeyPatch, *, forth: bool, act: Act) -> None:
        self.done = 0
        self._seen: dict[LinkStream, list[bytes]] = {}
        self._passed: Counter[LinkStream] = Counter()
        pass_on = LinkStream.send

        def send(stream: LinkStream, record: bytearray, *, last: bool = False) -> bool:
            if not self._is_mine(node, stream.link) or stream.link.dialled != forth or self.done or len(record) < LARGE:
                return pass_on(stream, record, last=last)
            self._passed[stream] += 1
            if self._passed[stream] < 3:
                return pass_on(stream, record, last=last)
            seen = self._seen.setdefault(stream, [])
            seen.append(bytes(record[2:-16]))
            if len(seen) < 2:
                return True
            self.done += 1
            for message in act(seen):
                changed = bytearray(len(message) + RECORD_BYTES)
                changed[2:-16] = message
                pass_on(stream, changed)
            return True

        patch.setattr(LinkStream, "send", send)

    @staticmethod
    def _is_mine(node: Tunnel, link: Link) -> bool:
        return link.events is node


ACTS: Final[dict[str, Act]] = {
    "drops one": lambda seen: seen[1:],
    "sends one twice": lambda seen: [seen[0], *seen],
    "sends one again later": lambda seen: [*seen, seen[0]],
    "swaps two": lambda seen: seen[::-1],
    "marks one": lambda seen: [flipped(seen[0], 8 * 500), *seen[1:]],
    "marks a head": lambda seen: [flipped(seen[0], 8 * 4), *seen[1:]],
    "cuts one short": lambda seen: [seen[0][:-1], *seen[1:]],
    "makes one longer": lambda seen: [seen[0] + b"\0", *seen[1:]],
    "joins two": lambda seen: [seen[0] + seen[1]],
    "makes one up": lambda seen: [seen[0], os.urandom(len(seen[1]))],
}


@pytest.mark.parametrize("place", [pytest.param(0, id="guard", marks=pytest.mark.long), pytest.param(1, id="relay")])
@pytest.mark.parametrize("forth", [True, False], ids=["forth", "back"])
@pytest.mark.parametrize("name", ACTS)
async def test_nothing_that_a_hop_changes_reaches_an_end(
    monkeypatch: pytest.MonkeyPatch, name: str, place: int, forth: bool
) -> None:
    """The flow goes on over another circuit, and both ends get every byte once and in order."""
    async with three_hops(Board().engine) as (network, client, echo):
        flow = await client.pool.dial(ECHO)
        heard = Collect(flow)
        flow.attach(heard)
        hop = HostileHop(network.nodes[place], monkeypatch, forth=forth, act=ACTS[name])
        flow.write(DATA)
        flow.finish()
        await until(lambda: heard.reason is not None, LIMIT_S)
        assert hop.done == 1
        assert bytes(echo.listeners[0].data) == DATA
        assert bytes(heard.data) == DATA
        await check_alive(client)


# -- creations


def test_a_mark_in_the_filling_is_read_by_nobody() -> None:
    """A guard can change what it does not have to open, and the exit gets the same change. But it lies on bytes that
    are random to both, so an exit cannot tell a marked creation from another one."""
    mark, at, views = b"\xff" * 64, CREATION_BYTES - 2 * HEAD_BYTES - 100, []
    for number in range(40):
        chain = Chain(3, f"marked {number}")
        passed = consume_creation(chain.create().message, chain.responders[0]).onward
        marked = passed[:at] + bytes(byte ^ 0xFF for byte in passed[at : at + len(mark)]) + passed[at + len(mark) :]
        views.append(tuple(seen_at_the_end(chain, creation) for creation in (passed, marked)))
    changed = [place for place in range(FILLED) if all(plain[place] != marked[place] for plain, marked in views)]
    assert len(changed) == len(mark), "it arrives"
    bits = 8 * len(mark) * len(views)
    for view in range(2):
        ones = sum(seen[view][place].bit_count() for seen in views for place in changed)
        assert abs(ones - bits / 2) < 5 * (bits / 4) ** 0.5, "and looks like what nobody has marked"


def seen_at_the_end(chain: Chain, creation: bytes) -> bytes:
    """All that the last of three hops can know of a creation that the second one gets, beyond its own head."""
    return consume_creation(consume_creation(creation, chain.responders[1]).onward, chain.responders[2]).onward


def test_a_mark_anywhere_else_ends_the_creation() -> None:
    chain = Chain(3, "ended")
    passed = consume_creation(chain.create().message, chain.responders[0]).onward
    for place in range(0, HEAD_BYTES, 61):
        with pytest.raises(DecodeError):
            consume_creation(flipped(passed, 8 * place), chain.responders[1])
