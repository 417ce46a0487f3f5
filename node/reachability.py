"""Finding out where this node is reached: neighbours are listened to, asked for dial-backs, and the result published.

Nothing is published on anybody's word alone: neither where neighbours see this node, nor where a router says that it
forwards, before others have reached it there.
"""

from __future__ import annotations

import asyncio
import logging
from contextlib import suppress
from typing import TYPE_CHECKING, Final

from core.errors import DecodeError, LinkError
from core.tasks import Tasks
from peers.addresses import network_of
from peers.observed import NETWORKS_NEEDED, Observed

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from node.reach import Facts
    from peers.addresses import Address
    from tunnel.link import Link
    from tunnel.links import Links
    from tunnel.observing import Observing
    from tunnel.path import Hop

DIAL_BACKS_NEEDED: Final = 2
"""Neighbours in different networks that have to reach this node, where anybody may be a neighbour."""

MAX_ASKED: Final = 4
"""Neighbours that are asked for a dial-back in one round."""

MAX_DIALLED: Final = 4
"""Peers that are dialled in one round to hear more voices."""

SETTLE_S: Final = 0.3
"""What neighbours say together is looked at together."""

FIRST_PAUSE_S: Final = 2.0
LONGEST_PAUSE_S: Final = 120.0
"""Between two rounds while nothing is confirmed; each pause is twice as long as the last."""

CONFIRM_S: Final = 1800.0
"""The same afterwards."""

_log = logging.getLogger(__name__)


class Reachability:
    """One node's.

    Args:
        candidates: peers that may be dialled to hear more voices, in random order.
        publish: called with the address that is confirmed, and with None when it is no longer.
        facts: as far as the settings tell them.
        is_private: whether all neighbours were chosen by people; then one voice and one dial-back are enough.
    """

    def __init__(
        self,
        candidates: Callable[[], Iterable[Hop]],
        publish: Callable[[Address | None], None],
        facts: Facts,
        *,
        is_private: bool,
    ) -> None:
        self._candidates = candidates
        self._publish = publish
        self._facts = facts
        self._voices_needed = 1 if is_private else NETWORKS_NEEDED
        self._reached_needed = 1 if is_private else DIAL_BACKS_NEEDED
        self._observed: Observed[Link] = Observed(self._voices_needed)
        self._links: Links | None = None
        self._observing: Observing | None = None
        self._heard = False
        self._news = asyncio.Event()
        self._tasks = Tasks()

    @property
    def facts(self) -> Facts:
        """What is known now."""
        return self._facts._replace(ports=self._observed.ports)

    @property
    def hosts(self) -> frozenset[str]:
        """The IP literals under which others may see this node: what neighbours say, and what its router says."""
        said = [address[0] for address in (self._facts.mapped, self._facts.confirmed) if address is not None]
        return self._observed.hosts.union(said)

    def start(self, links: Links, observing: Observing) -> None:
        """Begin, if this node serves and its address is not known."""
        self._links, self._observing = links, observing
        if self._facts.serves and not self._facts.configured:
            self._tasks.spawn(self._watch(), "reachability")

    async def close(self) -> None:
        await self._tasks.cancel()

    # -- what is heard

    def told(self, link: Link, address: Address) -> None:
        """A neighbour that this node dialled says where it sees it."""
        remote = link.connection.peer_address
        if remote is None:
            return
        before = self._observed.believed
        with suppress(DecodeError):
            self._observed.tell(link, remote[0], address)
        if not self._heard or self._observed.believed not in (None, before):
            self._heard = True
            self._news.set()

    def link_down(self, link: Link) -> None:
        self._observed.forget(link)

    def mapped(self, address: Address | None) -> None:
        """A router says where it forwards to this node; None when it does not any more."""
        before = self._facts.mapped
        if address == before:
            return
        self._facts = self._facts._replace(mapped=address)
        if before is not None and self._facts.confirmed == before:
            self._conclude(None, None)
        self._news.set()

    # -- what is done about it

    async def _watch(self) -> None:
        pause_s = FIRST_PAUSE_S
        while True:
            pause_s = CONFIRM_S if self._facts.confirmed is not None else min(2 * pause_s, LONGEST_PAUSE_S)
            with suppress(TimeoutError):
                async with asyncio.timeout(pause_s):
                    await self._news.wait()
                    pause_s = FIRST_PAUSE_S
                    await asyncio.sleep(SETTLE_S)
            self._news.clear()
            if self._facts.mapped is None and self._observed.believed is None:
                await self._listen_further()
            await self._try()

    async def _listen_further(self) -> None:
        """Dial peers in networks that have said nothing yet."""
        assert self._links is not None
        tried = self._observed.networks
        for hop in self._candidates():
            networks = {network_of(host) for host, _ in hop.addresses}
            if len(tried) >= self._voices_needed + MAX_DIALLED:
                return
            if networks and not networks & tried:
                tried |= networks
                with suppress(LinkError):
                    await self._links.to(hop)

    async def _try(self) -> None:
        """Have the address tried where this node may be, and publish what comes of it."""
        address = self._facts.mapped or self._observed.believed
        outcome = await self._is_reached(address) if address is not None else None
        # With nobody there to ask, what was found before stays.
        if outcome is not None:
            self._conclude(address if outcome else None, outcome)

    def _conclude(self, confirmed: Address | None, outcome: bool | None) -> None:
        if confirmed != self._facts.confirmed:
            _log.info("others %s this node", "do not reach" if confirmed is None else "reach")
        self._facts = self._facts._replace(confirmed=confirmed, refused=outcome is False)
        self._publish(confirmed)

    async def _is_reached(self, address: Address) -> bool | None:
        """Whether enough neighbours reach this node there; None if there are too few that could be asked."""
        assert self._observing is not None
        neighbours = self._observed.seeing(address[0])[:MAX_ASKED]
        if len(neighbours) < self._reached_needed:
            return None
        outcomes = [await self._observing.reached(link, address[1]) for link in neighbours]
        return sum(outcomes) >= self._reached_needed
