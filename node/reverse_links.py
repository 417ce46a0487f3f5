"""Being reached without an address: links to a few relays, which hold them, and whose word the descriptor carries.

While this node offers nothing, as outside its hours, relays would refuse their word, and are not asked. Links that are
held stay. When it offers something again, it asks at once.
"""

from __future__ import annotations

import asyncio
import logging
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Final

from core.errors import DecodeError, LinkError
from core.tasks import Tasks
from node.peering import DESCRIPTOR_LIFE_S
from peers.addresses import network_of
from peers.descriptor import Role
from peers.holds import MAX_HOLDS, decode_word
from tunnel.control import Kind
from tunnel.limits import NEIGHBOUR_S

if TYPE_CHECKING:
    from core.ids import PeerKey
    from node.peering import Peering
    from peers.holds import Hold
    from tunnel.link import Link
    from tunnel.links import Links
    from tunnel.path import Hop

FIRST_PAUSE_S: Final = 2.0
"""Before that a peer that can be reached has mostly found out its address."""

LONGEST_PAUSE_S: Final = 60.0
MAX_ASKED: Final = 6
"""Relays that are asked in one round."""

RENEW_S: Final = DESCRIPTOR_LIFE_S + 4 * 3600
"""A word that counts for less than that is asked for anew: no descriptor shall be cut short by it."""

_log = logging.getLogger(__name__)


class ReverseLinks:
    """Keeps the links, while nobody can dial this node.

    Args:
        peering: what this node publishes, and whom it knows.
        is_private: whether all peers were chosen by people; then the relays may be of one network.
    """

    def __init__(self, peering: Peering, *, is_private: bool) -> None:
        self._peering = peering
        self._is_private = is_private
        self._links: Links | None = None
        self._holds: dict[Link, Hold] = {}
        self._asked: dict[Link, asyncio.Future[bytes]] = {}
        self._news = asyncio.Event()
        self._offered = True
        self._tasks = Tasks()

    @property
    def count(self) -> int:
        """Relays through which others reach this node."""
        return len(self._holds)

    def holds(self, link: Link) -> bool:
        """Whether a neighbour holds a link to this node, as its descriptor says."""
        return link in self._holds

    def start(self, links: Links) -> None:
        """Begin, if this node serves."""
        self._links = links
        if self._peering.identity is not None:
            self._tasks.spawn(self._keep(), "reverse links")

    async def close(self) -> None:
        await self._tasks.cancel()

    def published(self) -> None:
        """Hear that the own descriptor is a new one."""
        before, self._offered = self._offered, bool(self._peering.offered)
        if self._offered and not before:
            self._news.set()

    def link_down(self, link: Link) -> None:
        if self._holds.pop(link, None) is not None:
            self._news.set()
        answer = self._asked.get(link)
        if answer is not None and not answer.done():
            answer.set_result(b"")

    def told(self, link: Link, body: bytes) -> None:
        """Take HELD. What nobody asked for is ignored."""
        answer = self._asked.get(link)
        if answer is not None and not answer.done():
            answer.set_result(body)

    async def _keep(self) -> None:
        pause_s = FIRST_PAUSE_S
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(pause_s):
                    await self._news.wait()
                    pause_s = FIRST_PAUSE_S
            self._news.clear()
            if self._peering.address is not None:
                self._holds.clear()
            elif self._offered:
                await self._renew()
                await self._find()
            self._peering.held_by(tuple(self._holds.values()))
            pause_s = LONGEST_PAUSE_S if len(self._holds) == MAX_HOLDS else min(2 * pause_s, LONGEST_PAUSE_S)

    async def _renew(self) -> None:
        """Ask for a new word where the last one does not count for long enough any more."""
        for link, hold in list(self._holds.items()):
            if hold.expiry - time.time() < RENEW_S and (word := await self._ask(link, hold.relay)) is not None:
                self._holds[link] = word

    async def _find(self) -> None:
        """Ask relays of different networks, as far as there are too few."""
        assert self._links is not None
        asked = 0
        for hop in self._peering.candidates(Role.RELAY):
            if len(self._holds) == MAX_HOLDS or asked == MAX_ASKED:
                return
            if not self._fits(hop):
                continue
            asked += 1
            with suppress(LinkError):
                link = await self._links.to(hop, stays=False)
                word = await self._ask(link, hop.peer)
                if word is not None and link.is_up:
                    link.keep()
                    self._holds[link] = word
                    _log.info("a relay holds a link to this node")

    def _fits(self, hop: Hop) -> bool:
        """Whether a relay has nothing in common with those that hold links already."""
        if hop.peer in {hold.relay for hold in self._holds.values()}:
            return False
        held = [self._peering.locate(hold.relay) for hold in self._holds.values()]
        used = {network_of(host) for relay in held if relay is not None for host, _ in relay.addresses}
        return self._is_private or used.isdisjoint(network_of(host) for host, _ in hop.addresses)

    async def _ask(self, link: Link, relay: PeerKey) -> Hold | None:
        """Ask the relay at the other end of a link for its word.

        Returns:
            None if it refuses, does not answer in time, or answers something else.
        """
        own, identity = self._peering.descriptor(), self._peering.identity
        if own is None or identity is None or link in self._asked:
            return None
        answer: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        self._asked[link] = answer
        try:
            link.tell(Kind.HOLD, own)
            async with asyncio.timeout(NEIGHBOUR_S):
                body = await answer
        except TimeoutError:
            return None
        finally:
            del self._asked[link]
        if not body:
            return None
        try:
            word = decode_word(relay, body)
        except DecodeError:
            link.fail("hold")
            return None
        return word if word.expiry - time.time() >= RENEW_S and word.is_for(identity.peer) else None
