"""What this node does for others, counted over its relay and its exit, and looked at every second."""

from __future__ import annotations

import asyncio
from datetime import datetime
from typing import TYPE_CHECKING, Final

from core.tasks import Tasks

if TYPE_CHECKING:
    from core.errors import Reason
    from exits.egress import Egress
    from node.sharing import Sharing
    from tunnel.relay import Relay

LOOK_S: Final = 1.0


class Carrying:
    """Implements `node.sharing.Work`.

    Args:
        relay: the hop's service.
        egress: the exit; None at a node that is none.
    """

    def __init__(self, relay: Relay, egress: Egress | None) -> None:
        self._relay = relay
        self._egress = egress
        self._tasks = Tasks()

    @property
    def circuit_count(self) -> int:
        return self._relay.circuit_count + self._relay.creating_count

    @property
    def flow_count(self) -> int:
        return 0 if self._egress is None else self._egress.open_flows

    @property
    def carried_bytes(self) -> tuple[int, int]:
        forth, back = self._relay.forwarded_bytes
        to, from_ = (0, 0) if self._egress is None else self._egress.carried_bytes
        return forth + to, back + from_

    def end_flows(self, reason: Reason) -> None:
        if self._egress is not None:
            self._egress.end_flows(reason)

    def end_circuits(self, reason: Reason) -> None:
        self._relay.end_circuits(reason)

    # -- from time to time

    def start(self, sharing: Sharing) -> None:
        """Let the limits look at this from now on."""
        sharing.attach(self)
        self._tasks.spawn(self._watch(sharing), "sharing")

    async def _watch(self, sharing: Sharing) -> None:
        while True:
            sharing.look(datetime.now())
            await asyncio.sleep(LOOK_S)

    async def close(self) -> None:
        await self._tasks.cancel()
