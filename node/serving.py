"""What a node does for others: limits, load, pages, and how it comes to an end."""

from __future__ import annotations

import asyncio
from datetime import datetime
from typing import TYPE_CHECKING, Any

from core.errors import Reason
from core.tasks import Tasks
from node.carrying import Carrying
from node.drain import Drain
from node.load import Load
from node.load_memory import FALLS, limit_bytes, used_bytes
from node.sharing import Sharing
from node.sharing_pages import SharingPages
from node.sharing_view import Figures, sharing_section

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path as Folder

    from exits.egress import Egress
    from node.metrics import Sample
    from node.peering import Peering
    from node.settings import Settings
    from tunnel.relay import Relay

_BYTES_PER_MB = 1_000_000


class Serving:
    """Made in every node; only those that serve others `start` it.

    Args:
        settings: checked settings.
        home: the node's folder.
        peering: publishes what is offered.
        ports: summary of the exit's policy; empty at a node that is no exit.
        sample: takes a sample for the metrics.

    Attributes:
        sharing: asked before anything is done for others.
        pages: what is served to whoever runs the node, and to whom an exit's traffic came.
        earned: units that were earned so far; None while payments are off.

    Raises:
        ConfigError: the file that remembers the month's total is damaged.
    """

    def __init__(
        self, settings: Settings, home: Folder, peering: Peering, ports: str, sample: Callable[[], Sample]
    ) -> None:
        loop = asyncio.get_running_loop()
        self._settings = settings
        self._tasks = Tasks()
        self._restrict = peering.restrict
        self._egress: Egress | None = None
        self._relay: Relay | None = None
        self._carrying: Carrying | None = None
        self._load: Load | None = None
        self._drain: Drain | None = None
        self.earned: Callable[[], int | None] = lambda: None
        self.pages = SharingPages(settings, sample, ports)
        self.sharing = Sharing(
            settings.sharing,
            settings.peers.friends,
            peering.roles,
            home,
            datetime.now(),
            loop.time,
            loop.call_later,
            peering.offer,
            peering.link_key_of,
        )
        self.sharing.obstacles.append(lambda: Reason.LEAVING if self._drain is not None else None)

    # -- life

    def start(self, relay: Relay, egress: Egress | None) -> None:
        """Look at the limits and the load of a node that serves others."""
        self._relay = relay
        self._carrying = Carrying(relay, egress)
        self._carrying.start(self.sharing)
        self._egress = egress
        self._load = Load(relay, used_bytes, self._memory_limit, falls=FALLS)
        self.sharing.for_circuits.append(self._load.refuses_circuit)
        self.sharing.for_flows.append(self._load.refuses_flow)
        self._load.start()

    @property
    def _memory_limit(self) -> int:
        return self._settings.sharing.memory_mb * _BYTES_PER_MB or limit_bytes()

    def use(self, settings: Settings) -> None:
        """Go by other settings of the section `sharing`, and by other friends, from now on.

        A rate or a month's amount where there was neither counts for circuits and connections that begin later.

        Raises:
            ConfigError: the file that remembers the month's total is damaged; then nothing has changed.
        """
        self.sharing.use(settings.sharing, settings.peers.friends, datetime.now())
        self._settings = settings
        self._restrict(settings.sharing.only_friends)
        if self._load is not None:
            self._load.allow(self._memory_limit)
        if self._relay is not None:
            self._relay.gate = self.sharing.shaper
        if self._egress is not None:
            self._egress.shaper = self.sharing.shaper

    @property
    def runs_past_limits(self) -> bool:
        """Whether something is carried for others that began before there was a limit, which it does not meet."""
        relay, egress = self._relay, self._egress
        return (relay is not None and relay.runs_past_gate) or (egress is not None and egress.runs_past_shaper)

    @property
    def leaving_in_s(self) -> float | None:
        """Seconds until what still runs for others is ended; None while the node stays."""
        return None if self._drain is None else self._drain.left_s

    def leave(self, done: Callable[[], None]) -> float | None:
        """Take nothing new, and let what runs come to an end.

        Args:
            done: called when nothing runs any more.

        Returns:
            The seconds that this may take; None if there is nothing to wait for, or it was begun before.
        """
        if self._relay is None or self._drain is not None:
            return None
        limit_s = float(self._settings.sharing.drain_s)
        self._drain = Drain(self._relay, limit_s)
        self.sharing.settle()
        self._tasks.spawn(self._drain.run(), "drain").add_done_callback(lambda _: done())
        return limit_s

    async def stop(self) -> None:
        """Look no more. Call `close` when nothing is carried any more."""
        await self._tasks.cancel()
        if self._load is not None:
            await self._load.close()
        if self._carrying is not None:
            await self._carrying.close()

    async def close(self) -> None:
        """Close the pages, and write down the month's total."""
        await self.pages.stop()
        self.sharing.close()

    # -- for people

    def facts(self) -> dict[str, Any]:
        """What `status` says about it."""
        load = self._load
        return {
            "refuses": load.refuses if load is not None else "",
            "late_ms": round(load.late_s * 1e3) if load is not None else 0,
            "sharing": self.section(),
        }

    def section(self) -> dict[str, Any]:
        """The section `sharing` of `status`; empty at a node that serves nobody."""
        relay, sharing, carrying = self._relay, self.sharing, self._carrying
        figures = Figures(
            circuits=relay.circuit_count if relay is not None else 0,
            flows=len(relay.table) if relay is not None else 0,
            refusal=sharing.refusal,
            biting=sharing.biting(),
            forth_bytes_s=sharing.rates[0] if carrying is not None else None,
            back_bytes_s=sharing.rates[1] if carrying is not None else None,
            carried_mb=sum(carrying.carried_bytes) // _BYTES_PER_MB if carrying is not None else None,
            month_mb=sharing.month_mb,
            earned=self.earned(),
        )
        return sharing_section(self._settings, figures, self.pages.endpoints)

    @property
    def load_counters(self) -> dict[str, int]:
        """What was refused and ended for want of time or memory, by words."""
        return dict(self._load.counters) if self._load is not None else {}
