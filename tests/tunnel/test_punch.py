"""Meetings: two peers without addresses and a neighbour of both, over engines in memory; and whoever abuses them."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import pytest

from core.errors import LinkError
from tests.harness.meeting import meeting
from tests.harness.waiting import turns, until
from tunnel.address_messages import encode_address, encode_meeting
from tunnel.control import Kind
from tunnel.limits import ALL_KNOCKS_PER_MINUTE, MAX_MEETERS, MEET_BURST

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.harness.meeting import Meeting, Member

STRANGER = ("198.51.100.7", 4433)


@asynccontextmanager
async def three() -> AsyncIterator[tuple[Meeting, Member, Member, Member]]:
    """One that asks, the neighbour, and one that is named; each of the two holds a link to the neighbour."""
    async with meeting() as made:
        asker, helper, named = [await made.add(name) for name in ("asker", "helper", "named")]
        named.helpers.append(helper)
        for member in (asker, named):
            await member.link(helper)
            member.engine.dialled.clear()
        yield made, asker, helper, named


async def test_both_dial_at_the_neighbours_word() -> None:
    async with three() as (_, asker, helper, named):
        link = await asker.tunnel.links.to(named.hop)
        assert link.peer == named.hop.peer
        assert asker.engine.dialled == [named.address]
        assert named.engine.dialled == [asker.address]
        assert asker.tunnel.links.of_key(named.hop.link_key) is link
        assert not helper.tunnel.punch.counters


async def test_who_has_an_address_is_not_met() -> None:
    async with three() as (_, asker, _, named):
        await asker.link(named)
        assert not named.engine.dialled


async def test_nobody_is_asked_but_those_whom_the_peer_names() -> None:
    async with three() as (made, asker, helper, named):
        stranger = await made.add("stranger")
        named.helpers[:] = [stranger]
        with pytest.raises(LinkError):
            await asker.tunnel.links.to(named.hop)
        assert not helper.tunnel.punch.counters
        assert not named.engine.dialled


async def test_a_neighbour_that_cannot_help_says_so() -> None:
    async with three() as (made, asker, helper, named):
        made.unknown.add(named.hop.peer)
        with pytest.raises(LinkError):
            await asker.tunnel.links.to(named.hop)
        assert helper.tunnel.punch.counters == {"meeting with nobody": 1}
        assert not named.engine.dialled


async def test_the_next_neighbour_is_asked_when_one_does_not_help() -> None:
    async with three() as (made, asker, helper, named):
        idle = await made.add("idle")
        await asker.link(idle)
        asker.engine.dialled.clear()
        named.helpers[:] = [idle, helper]
        await asker.tunnel.links.to(named.hop)
        assert idle.tunnel.punch.counters == {"meeting with nobody": 1}
        assert asker.engine.dialled == [named.address]


async def test_so_many_neighbours_are_asked_and_no_more() -> None:
    async with three() as (made, asker, _, named):
        named.helpers.clear()
        for number in range(MAX_MEETERS + 2):
            named.helpers.append(await made.add(f"idle {number}"))
            await asker.link(named.helpers[-1])
        with pytest.raises(LinkError):
            await asker.tunnel.links.to(named.hop)
        asked = [idle.tunnel.punch.counters["meeting with nobody"] for idle in named.helpers]
        assert asked == [1] * MAX_MEETERS + [0, 0]


async def test_a_neighbour_that_goes_meanwhile_ends_the_wait() -> None:
    async with three() as (_, asker, helper, named):
        asker.wire_to(helper).mute = True
        task = asker.tunnel.links._tasks.spawn(asker.tunnel.punch.meet(named.hop), "meet")
        await until(lambda: asker.tunnel.punch._waiting)
        asker.link_with(helper).close()
        await until(task.done, 0.5)
        assert task.result() is None
        assert not asker.tunnel.punch._waiting


# -- a neighbour that lies


async def test_another_peer_at_the_address_is_not_taken_for_the_one_that_was_named(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with three() as (made, asker, helper, named):
        other = await made.add("other")
        monkeypatch.setattr(helper.tunnel.punch, "_introduce", lambda link, peer: other.address)
        with pytest.raises(LinkError):
            await asker.tunnel.links.to(named.hop)
        assert asker.engine.dialled == [other.address]
        assert asker.tunnel.links.of_key(other.hop.link_key) is None
        assert asker.link_with(helper).is_up


async def test_an_address_that_is_not_allowed_is_not_dialled(monkeypatch: pytest.MonkeyPatch) -> None:
    async with three() as (_, asker, helper, named):
        monkeypatch.setattr(helper.tunnel.punch, "_introduce", lambda link, peer: STRANGER)
        for member in (asker, named):
            member.refuses.add(STRANGER[0])
        with pytest.raises(LinkError):
            await asker.tunnel.links.to(named.hop)
        helper.link_with(named).tell(Kind.KNOCK, encode_address(STRANGER))
        await turns()
        assert not asker.engine.dialled
        assert not named.engine.dialled
        assert named.tunnel.punch.counters == {"knock refused": 1}


async def test_what_nobody_asked_for_is_counted_and_not_dialled() -> None:
    async with three() as (_, asker, helper, named):
        helper.link_with(asker).tell(Kind.MET, encode_meeting(named.hop.peer, named.address))
        await turns()
        assert asker.tunnel.punch.counters == {"meeting that nobody asked for": 1}
        assert not asker.engine.dialled
        assert asker.link_with(helper).is_up


async def test_a_node_that_takes_no_links_opens_no_ways_and_helps_nobody() -> None:
    async with three() as (made, asker, helper, named):
        client = await made.add("client", serves=False)
        await client.link(helper)
        client.engine.dialled.clear()
        known = (asker.hop.link_key, named.hop.link_key)
        (link,) = (link for link in helper.tunnel.links if link.static not in known)
        link.tell(Kind.KNOCK, encode_address(STRANGER))
        link.tell(Kind.MEET, named.hop.peer)
        await turns()
        assert client.tunnel.punch.counters == {"knock refused": 1, "meeting refused": 1}
        assert not client.engine.dialled


# -- one that asks for what is not its business


async def test_a_link_is_not_told_of_unless_its_peer_does() -> None:
    async with three() as (_, asker, helper, named):
        named.helpers.clear()
        asker.link_with(helper).tell(Kind.MEET, named.hop.peer)
        await until(lambda: asker.tunnel.punch.counters["meeting that nobody asked for"])
        await turns()
        assert helper.tunnel.punch.counters == {"meeting with nobody": 1}
        assert not named.engine.dialled


@pytest.mark.parametrize("mover", ["asker", "named"])
async def test_who_seems_to_have_moved_is_met_nowhere(mover: str) -> None:
    """A packet with a forged sender moves a QUIC connection for a moment. Nobody is sent there."""
    async with three() as (_, asker, helper, named):
        helper.wire_to(asker if mover == "asker" else named).peer_address = STRANGER
        with pytest.raises(LinkError):
            await asker.tunnel.links.to(named.hop)
        assert helper.tunnel.punch.counters == {"meeting after a move": 1}
        assert not asker.engine.dialled
        assert not named.engine.dialled


# -- floods


async def test_one_that_asks_too_often_is_refused() -> None:
    async with three() as (_, asker, helper, named):
        link = asker.link_with(helper)
        for _ in range(50):
            link.tell(Kind.MEET, named.hop.peer)
        await until(lambda: asker.tunnel.punch.counters["meeting that nobody asked for"] == 50)
        await turns()
        assert len(named.engine.dialled) == MEET_BURST
        assert helper.tunnel.punch.counters == {"meeting refused": 50 - MEET_BURST}
        assert link.is_up


async def test_many_that_ask_call_one_peer_only_so_often() -> None:
    async with three() as (made, _, helper, named):
        for number in range(MEET_BURST + 3):
            asker = await made.add(f"one of many {number}")
            (await asker.link(helper)).tell(Kind.MEET, named.hop.peer)
        await until(lambda: helper.tunnel.punch.counters["meeting with nobody"] == 3)
        assert len(named.engine.dialled) == MEET_BURST


async def test_a_neighbour_that_sends_a_peer_against_others_is_held_up() -> None:
    async with three() as (_, _, helper, named):
        link = helper.link_with(named)
        for port in range(1, 51):
            link.tell(Kind.KNOCK, encode_address((STRANGER[0], port)))
        await until(lambda: named.tunnel.punch.counters["knock too often"] == 50 - MEET_BURST)
        await turns()
        assert len(named.engine.dialled) == MEET_BURST


async def test_many_neighbours_that_do_are_held_up_together() -> None:
    async with three() as (made, _, _, named):
        liars = [await made.add(f"liar {number}") for number in range(ALL_KNOCKS_PER_MINUTE // 2 // MEET_BURST + 2)]
        named.helpers.extend(liars)
        for liar in liars:
            await named.link(liar)
        named.engine.dialled.clear()
        for liar in liars:
            for port in range(1, MEET_BURST + 1):
                liar.link_with(named).tell(Kind.KNOCK, encode_address((STRANGER[0], port)))
        await until(lambda: named.tunnel.punch.counters["knock too often"])
        await turns()
        assert len(named.engine.dialled) == ALL_KNOCKS_PER_MINUTE // 2


@pytest.mark.parametrize("kind", [Kind.MEET, Kind.KNOCK, Kind.MET])
@pytest.mark.parametrize("body", [b"", b"\0", bytes(7), bytes(6), bytes(33)])
async def test_what_is_malformed_ends_the_link(kind: Kind, body: bytes) -> None:
    async with three() as (_, asker, helper, _):
        link = asker.link_with(helper)
        helper.link_with(asker).tell(kind, body)
        await until(lambda: link.closed)
