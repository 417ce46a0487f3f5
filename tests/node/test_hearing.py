"""Whose voice a link is, and to whom links are made to hear more."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest

from core.errors import LinkError, Reason
from node.hearing import VOICES_WANTED, VOUCHED_ENOUGH, Hearing
from peers.descriptor import Role
from peers.directory import Directory
from peers.voices import FROM_EARLIER, Voice, Way
from tests.peers.build import host, plain

if TYPE_CHECKING:
    from peers.addresses import Address
    from peers.descriptor import Descriptor
    from tunnel.path import Hop

RELAYS = [plain(number, Role.RELAY, (host(number),)) for number in range(1, 31)]


@dataclass(frozen=True)
class Remote:
    """The other end of a connection."""

    peer_address: Address


@dataclass(eq=False)
class Link:
    """A neighbour."""

    connection: Remote
    static: bytes
    chosen: bool


class Neighbours:
    """Those that can be dialled: with each, a link comes up and all that it knows is told.

    Args:
        hearing: who hears them.
        directory: where that is kept.
        told: what each tells of.
        dead: who does not answer.
    """

    def __init__(
        self, hearing: Hearing, directory: Directory, told: list[Descriptor], dead: frozenset[int] = frozenset()
    ) -> None:
        self._hearing = hearing
        self.directory = directory
        self._told = told
        self._dead = dead
        self.dialled: list[int] = []

    def alive(self) -> None:
        """Let everybody answer from now on."""
        self._dead = frozenset()

    async def to(self, hop: Hop) -> None:
        number = int.from_bytes(hop.peer)
        self.dialled.append(number)
        if number in self._dead:
            raise LinkError(Reason.NEXT_HOP)
        link = Link(Remote(hop.addresses[0]), hop.link_key, True)
        self._hearing.link_up(link)
        for found in self._told:
            self.directory.insert(found, self._hearing.source(link))


def link_to(number: int, *, chosen: bool = True) -> Link:
    return Link(Remote((host(number), 4433)), number.to_bytes(32), chosen)


def rig(
    known: list[Descriptor], *, needed: bool = True, dead: frozenset[int] = frozenset()
) -> tuple[Hearing, Neighbours]:
    directory = Directory()
    for found in known:
        directory.insert(found, None)
    hearing = Hearing(directory, lambda _: True, needed=needed)
    return hearing, Neighbours(hearing, directory, known, dead)


async def test_so_many_are_heard_as_are_wanted_and_no_more() -> None:
    hearing, neighbours = rig(RELAYS)
    assert await hearing.hear_others(neighbours)
    assert len({*neighbours.dialled}) == len(neighbours.dialled) == VOICES_WANTED
    assert not await hearing.hear_others(neighbours)
    assert len(neighbours.dialled) == VOICES_WANTED


async def test_who_does_not_answer_is_made_up_for() -> None:
    hearing, neighbours = rig(RELAYS, dead=frozenset(range(1, 31, 2)))
    for _ in range(200):
        await hearing.hear_others(neighbours)
    assert len({number for number in neighbours.dialled if number % 2 == 0}) == VOICES_WANTED


async def test_who_is_gone_is_dialled_ever_more_seldom() -> None:
    hearing, neighbours = rig(RELAYS[:2], dead=frozenset({1, 2}))
    dialled_at = []
    for turn in range(200):
        before = len(neighbours.dialled)
        assert not await hearing.hear_others(neighbours)
        if len(neighbours.dialled) > before:
            dialled_at.append(turn)
    assert dialled_at == [0, 2, 6, 14, 30, 62, 126, 190]
    neighbours.alive()
    while not await hearing.hear_others(neighbours):
        assert len(neighbours.dialled) == 16
    assert len(neighbours.dialled) == 18
    assert not await hearing.hear_others(neighbours), "nobody is left to dial, and that is no failure"
    assert not hearing._rests


async def test_neighbours_in_one_network_are_not_dialled_twice() -> None:
    crowd = [plain(number, Role.RELAY, (f"20.1.{number}.1",)) for number in range(1, 31)]
    hearing, neighbours = rig(crowd)
    assert await hearing.hear_others(neighbours)
    assert not await hearing.hear_others(neighbours)
    assert len(neighbours.dialled) == 1


async def test_exits_are_not_dialled_to_hear_them() -> None:
    """An exit shall not see the address of who may use it."""
    hearing, neighbours = rig([plain(number, Role.EXIT, (host(number),)) for number in range(1, 31)])
    assert not await hearing.hear_others(neighbours)
    assert not neighbours.dialled


async def test_who_knows_enough_that_is_vouched_for_shows_its_address_to_nobody() -> None:
    many = [plain(number, Role.RELAY, (host(number),)) for number in range(1, VOUCHED_ENOUGH + 2)]
    directory = Directory()
    hearing = Hearing(directory, lambda _: True, needed=True)
    neighbours = Neighbours(hearing, directory, many)
    for found in many[:-2]:
        directory.insert(found, FROM_EARLIER)
    assert hearing.knows_few(VOUCHED_ENOUGH)
    directory.insert(many[-2], FROM_EARLIER)
    assert not hearing.knows_few(VOUCHED_ENOUGH)
    assert not await hearing.hear_others(neighbours)
    assert not neighbours.dialled


async def test_what_one_alone_names_is_not_enough() -> None:
    """Else a guard could name so many friends that its client looks for nobody else."""
    hearing, neighbours = rig(RELAYS)
    link = link_to(50)
    hearing.link_up(link)
    for number in range(100, 300):
        neighbours.directory.insert(plain(number, Role.RELAY, (host(number),)), hearing.source(link))
    assert hearing.knows_few(VOUCHED_ENOUGH)


async def test_who_is_vouched_for_is_dialled_first() -> None:
    hearing, neighbours = rig(RELAYS)
    for found in RELAYS[:VOICES_WANTED]:
        neighbours.directory.insert(found, FROM_EARLIER)
    assert await hearing.hear_others(neighbours)
    assert sorted(neighbours.dialled) == list(range(1, VOICES_WANTED + 1))


async def test_where_members_were_chosen_nobody_else_is_heard() -> None:
    hearing, neighbours = rig(RELAYS, needed=False)
    assert not await hearing.hear_others(neighbours)
    assert not neighbours.dialled
    assert not hearing.knows_few(len(RELAYS))
    assert hearing.knows_few(len(RELAYS) + 1)


@pytest.mark.parametrize("chosen", [True, False])
def test_only_who_was_chosen_has_a_voice(chosen: bool) -> None:
    hearing, _ = rig([])
    links = [link_to(number, chosen=chosen) for number in (1, 1, 2)]
    for link in links:
        hearing.link_up(link)
    sources = [hearing.source(link) for link in links]
    assert sources[0] == sources[1] != sources[2], "a network is one source, whatever keys there are"
    assert isinstance(sources[0], Voice) == chosen
    if chosen:
        assert sources[0] == Voice(Way.LINK, bytes([20, 1]))


def test_who_was_dialled_for_others_has_a_voice_from_when_this_node_wants_it() -> None:
    hearing, neighbours = rig([])
    voices, links = neighbours.directory.voices, [link_to(number, chosen=False) for number in range(1, 31)]
    for link in links:
        hearing.link_up(link)
        assert not isinstance(hearing.source(link), Voice)
    assert voices.linked == 0, "clients fill nobody's ears with their friends"
    links[7].chosen = True
    assert hearing.source(links[7]) == Voice(Way.LINK, bytes([20, 8]))
    hearing.link_down(links[7])
    assert voices.linked == 0


async def test_a_relay_that_was_dialled_for_others_is_chosen_once() -> None:
    """The link that stands is taken; then its neighbour is heard, and no more are wanted."""
    hearing, neighbours = rig(RELAYS[:1])
    link = link_to(1, chosen=False)
    hearing.link_up(link)

    class Standing:
        async def to(self, hop: Hop) -> None:
            link.chosen = True
            neighbours.dialled.append(int.from_bytes(hop.peer))

    for _ in range(3):
        await hearing.hear_others(Standing())
    assert neighbours.dialled == [1]


def test_a_link_that_ends_leaves_nothing_behind() -> None:
    hearing, neighbours = rig([])
    voices = neighbours.directory.voices
    links = [link_to(1), link_to(1), link_to(2, chosen=False)]
    for link in links:
        hearing.link_up(link)
    assert voices.linked == 1
    hearing.link_down(links[0])
    assert voices.linked == 1, "there is another in its network"
    for link in links[1:]:
        hearing.link_down(link)
    hearing.link_down(links[0])
    assert voices.linked == 0
    assert not hearing._sources
