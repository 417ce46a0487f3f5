"""Where peers are: the database of places, and what this node's circuits tell of the regions that exits claim."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Any

from core.tasks import Tasks
from peers.nearness import Nearness
from peers.places import Places, is_public, read_database
from peers.regions import RegionCheck, country_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from core.ids import PeerKey
    from node.settings import Settings
    from peers.descriptor import Descriptor
    from peers.places import Database
    from peers.regions import Standing
    from tunnel.path import Path

_log = logging.getLogger(__name__)


class RegionWatch:
    """What this node knows of places. Without the database, of which a warning tells, all of them are unknown.

    Args:
        settings: checked settings; the own country is that of `node.region`, or of `peers.address`.
        known: the present descriptor of a peer; None if there is none.
        read: reads the database of places.
    """

    def __init__(
        self,
        settings: Settings,
        known: Callable[[PeerKey], Descriptor | None],
        read: Callable[[], Database] = read_database,
    ) -> None:
        self._known = known
        self._tasks = Tasks()
        self._clock = asyncio.get_running_loop().time
        self._address = settings.peers.address
        self.places = Places(read, on_problem=_log.warning)
        self.own_country = country_of(settings.node.region) or self.places.lookup(self._address).country
        self._check = RegionCheck(self.places, known, self.own_country)
        self.seen_from = Nearness(self.places, self.region, self.own_country).seen_from

    def start(self) -> None:
        """Read the database ahead, if it is going to be asked."""
        if not self._address or is_public(self._address):
            # Who has a private address meets peers that have one too, most likely, and needs no database.
            self._tasks.spawn(asyncio.to_thread(self.places.database), "places")

    async def close(self) -> None:
        """End what was begun."""
        await self._tasks.cancel()

    def answered(self, path: Path, rtt_s: float) -> None:
        """Take in how long the exit of a circuit took to answer."""
        known = [found for hop in path if (found := self._known(hop.peer)) is not None]
        if len(known) == len(path):
            self._check.answered(known, rtt_s, self._clock())

    def asn_of(self, host: str) -> int | None:
        """Return the number of the autonomous system that announces an address, None for unknown."""
        return self.places.asn_of(host)

    def standing(self, found: Descriptor) -> Standing:
        """Judge where a peer says it is."""
        return self._check.standing(found, self._clock())

    def region(self, found: Descriptor) -> str:
        """Return the region of a peer as far as it is believed; empty for none."""
        return self._check.region(found, self._clock())

    def facts(self, found: Descriptor) -> dict[str, Any]:
        """Say for people and scripts where a peer is believed to be, where it says it is, and what to think of that."""
        return {
            "region": self.region(found),
            "claimed_region": found.region,
            "region_check": self.standing(found).value,
        }
