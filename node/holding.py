"""Holding links to peers that others cannot dial: a relay gives its word to those that linked to it and ask."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from typing import TYPE_CHECKING, Final

from node.hearing import seen_network
from peers.descriptor import Descriptor, ExpiryError
from peers.holds import encode_word, give
from tunnel.control import Kind
from tunnel.rate import Rate

if TYPE_CHECKING:
    from core.ids import PeerKey
    from node.peering import Peering
    from tunnel.link import Link

MAX_HELD: Final = 64
"""Peers without an address that one relay serves: all that is sent to them passes through it."""

MAX_HELD_OF_NETWORK: Final = 16
"""Of these, such as are seen in one network, /16 or /32: one machine has as many keys as it likes, and would leave no
place for others."""

HOLD_LIFE_S: Final = 2 * 86_400
"""A word counts for so long; it is asked for again when half of that is over."""

ASK_BURST: Final = 3
ASKS_PER_MINUTE: Final = 2
"""How often one link may ask."""


class Holding:
    """A relay's part.

    Args:
        peering: its keys, its address, and whom it knows.
        relays: whether this node extends circuits to others.
        is_private: whether all peers were chosen by people; then all places may go to one network.

    Attributes:
        counters: what was refused, as reason words.
    """

    def __init__(self, peering: Peering, *, relays: bool, is_private: bool) -> None:
        self._peering = peering
        self._relays = relays
        self._is_private = is_private
        self._time = asyncio.get_running_loop().time
        self._rates: dict[Link, Rate] = {}
        self._held: dict[Link, PeerKey] = {}
        self.counters: Counter[str] = Counter()

    def link_down(self, link: Link) -> None:
        self._rates.pop(link, None)
        self._held.pop(link, None)

    def asked(self, link: Link, body: bytes) -> None:
        """Take HOLD, and answer with HELD.

        Raises:
            DecodeError: it is no descriptor.
        """
        link.tell(Kind.HELD, self._word(link, body))

    def _word(self, link: Link, body: bytes) -> bytes:
        now = self._time()
        if not self._rates.setdefault(link, Rate(ASK_BURST, ASKS_PER_MINUTE / 60, now)).take(now):
            return self._refuse("hold asked for too often")
        identity = self._peering.identity
        if identity is None or not self._relays or self._peering.address is None:
            return self._refuse("hold asked of no relay")
        try:
            found = Descriptor.decode(body, time.time())
        except ExpiryError:
            return self._refuse("hold for an expired descriptor")
        # Whoever is dialled by this node has an address, and needs nobody's word.
        if link.dialled or found.link_key != link.static or found.addresses or not found.roles:
            return self._refuse("hold for another peer")
        if link not in self._held and self._is_full(seen_network(link)):
            return self._refuse("hold refused: full")
        self._held[link] = found.peer
        self._peering.learn(found, seen_network(link))
        return encode_word(give(identity, found.peer, int(time.time()) + HOLD_LIFE_S))

    def _is_full(self, network: bytes) -> bool:
        """Whether there is no place for one more that is seen in a network."""
        seen = sum(seen_network(link) == network for link in self._held)
        return len(self._held) >= MAX_HELD or (seen >= MAX_HELD_OF_NETWORK and not self._is_private)

    def _refuse(self, reason: str) -> bytes:
        self.counters[reason] += 1
        return b""
