"""Where neighbours see each other, and dial-backs, over engines in memory; and whoever abuses them."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import pytest

from tests.harness.meeting import meeting
from tests.harness.paired import HOST, pair
from tests.harness.waiting import turns, until
from tunnel import observing as observing_module
from tunnel.address_messages import encode_address, encode_port
from tunnel.control import Kind
from tunnel.engines.aiopquic import AiopquicEngine
from tunnel.engines.aioquic import AioquicEngine
from tunnel.engines.knock import knock_from_elsewhere
from tunnel.limits import ALL_DIAL_BACKS_PER_MINUTE, DIAL_BACK_BURST

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.harness.meeting import Meeting, Member
    from tunnel.engines.seam import Address

ELSEWHERE = ("198.51.100.7", 4433)


class Knocks:
    """Stands for another port of a node: what was dialled from it, and whether somebody answers there."""

    def __init__(self) -> None:
        self.dialled: list[Address] = []
        self.answered = True
        self.go_on = asyncio.Event()
        self.go_on.set()

    async def __call__(self, address: Address, timeout_s: float) -> bool:
        self.dialled.append(address)
        await self.go_on.wait()
        return self.answered


@asynccontextmanager
async def two() -> AsyncIterator[tuple[Meeting, Member, Member, Knocks]]:
    """One that has dialled, and its neighbour with the knocks that this one makes."""
    async with meeting() as made:
        asker, neighbour = await made.add("asker"), await made.add("neighbour")
        knocks = Knocks()
        neighbour.tunnel.observing._knock = knocks
        await asker.link(neighbour)
        yield made, asker, neighbour, knocks


async def test_who_dialled_is_told_where_it_is_seen_and_the_other_is_not() -> None:
    async with two() as (_, asker, neighbour, _knocks):
        await until(lambda: asker.told)
        assert asker.told == [(asker.link_with(neighbour), asker.address)]
        assert not neighbour.told


async def test_an_address_told_by_who_dialled_is_left_aside() -> None:
    async with two() as (_, asker, neighbour, _knocks):
        asker.link_with(neighbour).tell(Kind.OBSERVED, encode_address(ELSEWHERE))
        await turns()
        assert not neighbour.told
        assert neighbour.tunnel.observing.counters == {"address told by who dialled": 1}


@pytest.mark.parametrize("answered", [True, False])
async def test_a_dial_back_goes_to_the_host_as_which_the_asker_is_seen(answered: bool) -> None:
    async with two() as (_, asker, neighbour, knocks):
        knocks.answered = answered
        assert await asker.tunnel.observing.reached(asker.link_with(neighbour), 99) is answered
        assert knocks.dialled == [(asker.address[0], 99)]


async def test_nobody_is_asked_who_did_not_answer_a_dial() -> None:
    async with two() as (_, asker, neighbour, knocks):
        assert await neighbour.tunnel.observing.reached(neighbour.link_with(asker), 99) is False
        neighbour.link_with(asker).tell(Kind.CHECK, encode_port(99))
        await until(lambda: asker.tunnel.observing.counters["dial-back not due"])
        assert not knocks.dialled


async def test_a_second_question_meanwhile_is_none() -> None:
    async with two() as (_, asker, neighbour, knocks):
        knocks.go_on.clear()
        link = asker.link_with(neighbour)
        first = asyncio.ensure_future(asker.tunnel.observing.reached(link, 99))
        await until(lambda: knocks.dialled)
        assert await asker.tunnel.observing.reached(link, 99) is False
        knocks.go_on.set()
        assert await first is True


async def test_a_neighbour_that_goes_or_is_silent_has_not_reached_anybody(monkeypatch: pytest.MonkeyPatch) -> None:
    async with two() as (made, asker, neighbour, knocks):
        monkeypatch.setattr(observing_module, "CHECKED_S", 0.05)
        knocks.go_on.clear()
        assert await asker.tunnel.observing.reached(asker.link_with(neighbour), 99) is False

        monkeypatch.setattr(observing_module, "CHECKED_S", 60)
        other = await made.add("other")
        other.tunnel.observing._knock = knocks
        link = await asker.link(other)
        asking = asyncio.ensure_future(asker.tunnel.observing.reached(link, 99))
        await until(lambda: len(knocks.dialled) == 2)
        link.close()
        await until(asking.done, 1)
        assert asking.result() is False


async def test_an_outcome_that_nobody_asked_for_is_counted() -> None:
    async with two() as (_, asker, neighbour, _knocks):
        neighbour.link_with(asker).tell(Kind.CHECKED, b"\1")
        await until(lambda: asker.tunnel.observing.counters["outcome of no check"])


@pytest.mark.parametrize(("kind", "body"), [(Kind.OBSERVED, b""), (Kind.CHECK, b"\0\0"), (Kind.CHECKED, b"\2")])
async def test_what_is_malformed_ends_the_link(kind: Kind, body: bytes) -> None:
    async with two() as (_, asker, neighbour, _knocks):
        link = asker.link_with(neighbour)
        neighbour.link_with(asker).tell(kind, body)
        await until(lambda: link.closed)


# -- as a weapon


async def test_who_seems_to_have_moved_sends_nobody_there() -> None:
    """A packet with a forged sender moves a QUIC connection for a moment. No dial-back follows it."""
    async with two() as (_, asker, neighbour, knocks):
        neighbour.wire_to(asker).peer_address = ELSEWHERE
        assert await asker.tunnel.observing.reached(asker.link_with(neighbour), 99) is False
        assert not knocks.dialled
        assert neighbour.tunnel.observing.counters == {"dial-back after a move": 1}


async def test_one_that_asks_again_and_again_gets_few() -> None:
    async with two() as (_, asker, neighbour, knocks):
        outcomes = [await asker.tunnel.observing.reached(asker.link_with(neighbour), 99) for _ in range(30)]
        assert outcomes == [True] * DIAL_BACK_BURST + [False] * (30 - DIAL_BACK_BURST)
        assert len(knocks.dialled) == DIAL_BACK_BURST


async def test_one_that_asks_without_waiting_gets_one_at_a_time() -> None:
    async with two() as (_, asker, neighbour, knocks):
        knocks.go_on.clear()
        for _ in range(30):
            asker.link_with(neighbour).tell(Kind.CHECK, encode_port(99))
        await until(lambda: neighbour.tunnel.observing.counters["dial-back not due"] == 29)
        await turns()
        assert len(knocks.dialled) == 1


async def test_many_that_ask_get_few_together() -> None:
    async with two() as (made, _, neighbour, knocks):
        for number in range(ALL_DIAL_BACKS_PER_MINUTE + 5):
            asker = await made.add(f"one of many {number}")
            await asker.tunnel.observing.reached(await asker.link(neighbour), 99)
        assert len(knocks.dialled) == ALL_DIAL_BACKS_PER_MINUTE


# -- the other port


@pytest.mark.parametrize("name", ["aiopquic", "aioquic"])
async def test_a_knock_from_elsewhere_is_answered_and_leaves_nothing(name: str) -> None:
    async with pair((name, "aioquic")) as both:
        engine = both.engines[0]
        assert isinstance(engine, AioquicEngine | AiopquicEngine)
        assert await knock_from_elsewhere((HOST, both.ports[0]), 5)
        await until(lambda: not engine._connections)
        assert all(heard.closed for heard in both.accepted)


async def test_a_knock_at_a_port_without_an_answer_fails_in_time(unused_udp_port: int) -> None:
    assert not await knock_from_elsewhere((HOST, unused_udp_port), 0.2)


async def test_no_dial_back_goes_where_nobody_may_be_dialled() -> None:
    async with two() as (_, asker, neighbour, knocks):
        neighbour.refuses.add(asker.address[0])
        assert await asker.tunnel.observing.reached(asker.link_with(neighbour), 99) is False
        assert neighbour.tunnel.observing.counters == {"dial-back not allowed": 1}
        assert not knocks.dialled
