"""The peers that the settings name to begin with."""

from __future__ import annotations

import asyncio
import logging
import random
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Final

from core.errors import DecodeError, LinkError
from peers.addresses import parse_address
from peers.descriptor import Descriptor
from peers.paths import path_of

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from core.ids import PeerKey
    from peers.directory import Directory
    from tunnel.links import Links
    from tunnel.path import Hop

FIRST_LOOK_S: Final = 2.0
"""Enough to hear from the first neighbour of all that it knows."""
LONGEST_PAUSE_S: Final = 30.0
GROWS: Final = 1.7

_log = logging.getLogger(__name__)


class Bootstrap:
    """They make the first link, and join parts of a network that began with different ones of them.

    Args:
        texts: their multiaddrs.
        own: this node's own name; it is left out.
        directory: who is known.
        address_ok: whether a peer may be dialled at an IP literal.
        on_news: called when a descriptor was news.
    """

    def __init__(
        self,
        texts: Sequence[str],
        own: PeerKey | None,
        directory: Directory,
        address_ok: Callable[[str], bool],
        on_news: Callable[[], None],
    ) -> None:
        named = [parse_address(text) for text in texts]
        self.peers = [entry for entry in named if entry[2] is None or entry[2] != own]
        self._directory = directory
        self._address_ok = address_ok
        self._on_news = on_news

    async def link(self, links: Links, *, unknown: bool = False) -> bool:
        """Make a link to one of them, the first that answers in an order drawn by chance.

        Args:
            links: makes it.
            unknown: only those of whom nobody told.

        Returns:
            Whether one was made.
        """
        for host, port, peer in random.sample(self.peers, len(self.peers)):
            if peer is None or not self._address_ok(host):
                _log.warning("a bootstrap peer is left out: its address is not allowed, or has no peer id")
                continue
            if unknown and self._directory.get(peer) is not None:
                continue
            with suppress(LinkError):
                await links.bootstrap((host, port), peer, self._verifier(peer))
                return True
        return False

    async def join_parts(self, links: Links, first_s: float = FIRST_LOOK_S) -> None:
        """From time to time, make a link to one of whom no neighbour tells: it may be in a part of the network that
        does not know this one. Parts that began with different peers would never hear of each other otherwise.

        Args:
            links: makes it; nothing is done while there is none to begin with.
            first_s: how long to wait at first, in seconds.
        """
        pause_s = first_s
        while self.peers:
            await asyncio.sleep(pause_s)
            pause_s = min(pause_s * GROWS, LONGEST_PAUSE_S)
            if any(True for _ in links):
                await self.link(links, unknown=True)

    def _verifier(self, peer: PeerKey) -> Callable[[bytes], Hop]:
        def verify(raw: bytes) -> Hop:
            descriptor = Descriptor.decode(raw, time.time())
            if descriptor.peer != peer:
                raise DecodeError("descriptor", "of another peer")
            if descriptor.raw and self._directory.insert(descriptor, None):
                self._on_news()
            return path_of([descriptor])[0]

        return verify
