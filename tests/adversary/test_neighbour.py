"""A hostile neighbour: it has a link, and uses what neighbours do for each other against third parties or to shut out
others."""

from __future__ import annotations

import asyncio
import socket
from typing import TYPE_CHECKING, Final

import pytest

from core.errors import LinkError
from core.tasks import Tasks
from node import holding, reverse_links
from peers.descriptor import Role
from tests.harness.meeting import meeting
from tests.harness.waiting import turns, until
from tests.node.test_reverse_links import host, street
from tunnel.address_messages import encode_address
from tunnel.control import Kind
from tunnel.engines import load_engine
from tunnel.engines.knock import Deaf, knock
from tunnel.limits import DIAL_S, MEET_BURST

if TYPE_CHECKING:
    from pathlib import Path

    from tests.harness.meeting import Member
    from tunnel.link import Link

VICTIM: Final = ("203.0.113.7", 443)
HEARD_OUT_S: Final = 1.5
"""By then both engines have said all that they may say to one who does not answer, but for last words."""

ENGINES: Final = ["aiopquic", "aioquic"]


class HostileNeighbour:
    """One at the other end of a link.

    Args:
        link: its end.
    """

    def __init__(self, link: Link) -> None:
        self.link = link

    def aim(self, times: int) -> None:
        """Say that somebody waits at a third party's address."""
        for _ in range(times):
            self.link.tell(Kind.KNOCK, encode_address(VICTIM))


# -- packets to third parties


async def dialled_for(*, holds: bool) -> tuple[int, int]:
    """Have a peer called to meetings again and again; how often it dialled, and how often it refused because it does
    not let itself be called by this neighbour."""
    async with meeting() as made:
        peer, other = await made.add("peer"), await made.add("other")
        named: Member = peer
        if holds:
            named.helpers.append(other)
        await named.link(other)
        named.engine.dialled.clear()
        HostileNeighbour(other.link_with(named)).aim(20)
        await until(lambda: sum(named.tunnel.punch.counters.values()) >= 20 - MEET_BURST)
        await turns()
        return len(named.engine.dialled), named.tunnel.punch.counters["knock refused"]


async def test_whom_a_peer_did_not_choose_sends_it_nowhere() -> None:
    assert await dialled_for(holds=False) == (0, 20)


async def test_whom_it_chose_sends_it_a_few_times() -> None:
    assert await dialled_for(holds=True) == (MEET_BURST, 0)


async def test_who_dials_a_relay_sends_it_nowhere() -> None:
    """A relay with an address is called by nobody, whoever links to it."""
    async with meeting() as made:
        relay, stranger = await made.add("relay"), await made.add("stranger", serves=False)
        link = await stranger.link(relay)
        relay.engine.dialled.clear()
        HostileNeighbour(link).aim(20)
        await until(lambda: relay.tunnel.punch.counters["knock refused"] == 20)
        await turns()
        assert not relay.engine.dialled


async def test_those_that_hold_a_link_to_a_peer_are_those_that_it_names(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another peer to which it has a link is none of them, and nobody is once it can be dialled."""
    monkeypatch.setattr(reverse_links, "FIRST_PAUSE_S", 0.01)
    monkeypatch.setattr(reverse_links, "LONGEST_PAUSE_S", 0.02)
    async with street(tmp_path) as make:
        relay, other, home = await make(host(1)), await make(host(2), Role.EXIT), await make()
        home.knows(relay, other)
        home.reverse.start(home.tunnel.links)
        await until(home.via)
        links = {link.static: link for link in [*home.links, await home.link_to(other)]}
        assert home.reverse.holds(links[relay.published.link_key])
        assert not home.reverse.holds(links[other.published.link_key])
        home.peering.reachable_at(("11.3.0.1", 4433))
        await until(lambda: not home.reverse.holds(links[relay.published.link_key]))


@pytest.mark.parametrize("engine_name", ENGINES)
async def test_a_dial_where_nobody_answers_is_a_few_packets(engine_name: str) -> None:
    """What a victim gets of each dial, which `UNANSWERED_BURST` and the rates of meetings multiply."""
    engine = load_engine(engine_name)
    await engine.listen(0, lambda connection: Deaf())
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as victim:
        victim.bind(("127.0.0.1", 0))
        victim.setblocking(False)
        got: list[bytes] = []
        try:
            while not got:  # a busy machine may send nothing at all within that time
                with pytest.raises(LinkError):
                    await engine.dial(victim.getsockname(), lambda connection: Deaf(), DIAL_S)
                got = packets(victim)
        finally:
            await engine.close()
        assert 1200 <= sum(map(len, got)) <= 6 * 1252


@pytest.mark.parametrize("engine_name", ENGINES)
async def test_a_forged_sender_is_sent_little_more_than_was_spent(engine_name: str) -> None:
    """Somebody begins a connection in the name of another, who does not answer. QUIC bounds what goes there to three
    times what came (RFC 9000, section 8.1); the last words of both engines may come on top."""
    loop, tasks = asyncio.get_running_loop(), Tasks()
    serving, beginning = load_engine(engine_name), load_engine("aiopquic")
    port = await serving.listen(0, lambda connection: Deaf())
    await beginning.listen(0, lambda connection: Deaf())
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as forged:
        forged.bind(("127.0.0.1", 0))
        forged.setblocking(False)
        spent, came = list[bytes](), list[bytes]()
        try:
            tasks.spawn(knock(beginning, forged.getsockname(), 20), "a beginning")
            await until(lambda: drained(forged, spent), 20)
            await tasks.cancel()
            await beginning.close()
            packets(forged)  # what was sent meanwhile is not passed on
            for packet in spent:
                forged.sendto(packet, ("127.0.0.1", port))
            await until(lambda: drained(forged, came), 20)
            heard_out = loop.time() + HEARD_OUT_S
            await until(lambda: drained(forged, came) and loop.time() > heard_out, 20)
        finally:
            await beginning.close()
            await serving.close()
        assert 1200 <= sum(map(len, came)) <= 3 * sum(map(len, spent)) + 1252


def drained(of: socket.socket, into: list[bytes]) -> list[bytes]:
    """Add what has come at a socket to what had come before, and return all of it."""
    into += packets(of)
    return into


def packets(of: socket.socket) -> list[bytes]:
    """What has come at a socket."""
    found: list[bytes] = []
    while True:
        try:
            found.append(of.recv(65_535))
        except BlockingIOError:
            return found


# -- places that others need


async def test_one_network_takes_no_more_than_its_part_of_the_places_at_a_relay(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever has many keys asks a relay to hold links to all of them, so that none is left for others."""
    monkeypatch.setattr(holding, "MAX_HELD_OF_NETWORK", 2)
    async with street(tmp_path) as make:
        relay = await make(host(1))
        made_up = [await make() for _ in range(4)]
        words = [await one.ask(await one.link_to(relay), one.published.raw) for one in made_up]
        assert [bool(word) for word in words] == [True, True, False, False]
        assert relay.holding.counters["hold refused: full"] == 2
        monkeypatch.setattr("tests.harness.wire.HOME", "198.51.100.9")
        honest = await make()
        assert await honest.ask(await honest.link_to(relay), honest.published.raw)


async def test_among_friends_all_places_may_go_to_one_house(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(holding, "MAX_HELD_OF_NETWORK", 1)
    async with street(tmp_path) as make:
        relay = await make(host(1), is_private=True)
        at_home = [await make(role=Role.EXIT, is_private=True) for _ in range(3)]
        assert all([await one.ask(await one.link_to(relay), one.published.raw) for one in at_home])
