"""Hearing of peers from more than one side: whose voice each link is, and links to neighbours in other networks."""

from __future__ import annotations

import asyncio
import random
from itertools import islice
from typing import TYPE_CHECKING, Final, Protocol

from peers.addresses import network_of
from peers.descriptor import Role
from peers.paths import path_of
from peers.voices import Voice

if TYPE_CHECKING:
    from collections.abc import Callable

    from peers.addresses import Address
    from peers.descriptor import Descriptor
    from peers.directory import Directory
    from tunnel.path import Hop

VOICES_WANTED: Final = 7
"""Neighbours to hear, the guards aside. Where a fifth of all peers is hostile, four of seven are in 3 % of the draws;
with five, three are in 6 %. A client in the DHT meets eight anyway."""
VOUCHED_ENOUGH: Final = 64
"""Who knows so many peers that are vouched for makes no links to hear more voices: each shows its address to one."""
MOST_RESTS: Final = 63
"""Calls come once a second: peers that are gone and known for hours yet are not dialled all the time."""


class Remote(Protocol):
    """What is needed of a connection."""

    @property
    def peer_address(self) -> Address | None:
        """Where the other end is."""


class Neighbour(Protocol):
    """What is needed of `tunnel.link.Link`."""

    @property
    def connection(self) -> Remote:
        """What carries it."""

    @property
    def static(self) -> bytes:
        """The key that the neighbour has proved, 32 bytes."""

    @property
    def chosen(self) -> bool:
        """Whether this node dialled it, and not for others alone."""


class Dialler(Protocol):
    """What is needed of `tunnel.links.Links`."""

    async def to(self, hop: Hop) -> object:
        """Make a link to a peer; raises LinkError."""


def seen_network(link: Neighbour) -> bytes:
    """The network that a neighbour is seen in; its key if the link does not say."""
    remote = link.connection.peer_address
    return network_of(remote[0]) if remote is not None else link.static


class Hearing:
    """The voices of this node's neighbours.

    Args:
        directory: what they tell.
        address_ok: whether a peer may be dialled at an IP literal.
        needed: whether it matters who names a peer: not in a private network, whose members were chosen, nor where
            neighbours are not heard.
    """

    def __init__(self, directory: Directory, address_ok: Callable[[str], bool], *, needed: bool) -> None:
        self._directory = directory
        self._address_ok = address_ok
        self._needed = needed
        self._sources: dict[Neighbour, Voice | bytes] = {}
        self._failures = 0
        self._rests = 0

    def link_up(self, link: Neighbour) -> None:
        """Note where a neighbour is.

        Who dialled this node has no voice, nor has who was dialled for others: a client says to whom its circuits go,
        and could have its friends dialled. As a source it is one with all in its network, since keys cost nothing.
        """
        self._sources[link] = seen_network(link)
        self._give_voice(link)

    def _give_voice(self, link: Neighbour) -> None:
        """Hear a neighbour that this node has chosen, if only since lately, and if there is room."""
        source = self._sources[link]
        if link.chosen and not isinstance(source, Voice):
            self._sources[link] = self._directory.voices.link_up(link.static, source) or source

    def link_down(self, link: Neighbour) -> None:
        """Hear a link no more."""
        source = self._sources.pop(link, None)
        if isinstance(source, Voice):
            self._directory.voices.link_down(source)

    def source(self, link: Neighbour) -> Voice | bytes:
        """As what the directory shall know a link that is up."""
        self._give_voice(link)
        return self._sources[link]

    def in_random_order(self) -> list[Descriptor]:
        """The peers that are known, those that are vouched for first."""
        known = list(self._directory.peers())
        random.shuffle(known)
        known.sort(key=lambda found: not self._directory.voices.vouched(found.peer))
        return known

    def knows_few(self, limit: int) -> bool:
        """Whether fewer peers than that are known; where it matters, of those who are vouched for."""
        if not self._needed:
            return len(self._directory) < limit
        vouched = (True for found in self._directory.peers() if self._directory.voices.vouched(found.peer))
        return sum(islice(vouched, limit)) < limit

    async def hear_others(self, links: Dialler) -> bool:
        """Make links to some relays in networks that were not heard, unless enough is vouched for.

        Where nobody answers, the next calls do nothing: one after the first time, then twice as many each time.

        Returns:
            Whether a link was made.
        """
        for link in self._sources:
            self._give_voice(link)
        if self._rests:
            self._rests -= 1
            return False
        missing = VOICES_WANTED - self._directory.voices.linked
        if not self._needed or missing <= 0 or not self.knows_few(VOUCHED_ENOUGH):
            return False
        strangers = self._strangers(missing)
        outcomes = await asyncio.gather(*map(links.to, strangers), return_exceptions=True)
        made = any(not isinstance(link, BaseException) for link in outcomes)
        self._failures = self._failures + 1 if strangers and not made else 0
        self._rests = min(2**self._failures - 1, MOST_RESTS)
        return made

    def _strangers(self, count: int) -> list[Hop]:
        """Relays in networks that are not heard, each in another."""
        heard = {source.network for source in self._sources.values() if isinstance(source, Voice)}
        chosen: list[Hop] = []
        for found in self.in_random_order():
            if len(chosen) >= count:
                break
            (hop,) = path_of([found], self._address_ok)
            networks = {network_of(host) for host, _ in hop.addresses}
            if Role.RELAY in found.roles and networks and heard.isdisjoint(networks):
                chosen.append(hop)
                heard |= networks
        return chosen
