"""How a node that serves others comes to its end: it says so, and waits for what runs, up to a limit."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Final

from core.errors import Reason

if TYPE_CHECKING:
    from collections.abc import Callable

    from tunnel.relay import Relay

_STEP_S: Final = 0.05
LAST_WORDS_S: Final = 0.5
"""For so long circuits may still stand over which nothing runs: clients end them within a round trip."""

_log = logging.getLogger(__name__)


class Drain:
    """One node's end. Whoever makes it sees to it that nothing new is taken.

    Args:
        relay: what the node carries for others.
        limit_s: how long that may go on.
    """

    def __init__(self, relay: Relay, limit_s: float) -> None:
        self._relay = relay
        self._time = asyncio.get_running_loop().time
        self._ends_at = self._time() + limit_s

    @property
    def left_s(self) -> float:
        """Seconds until what still runs is ended."""
        return max(0.0, self._ends_at - self._time())

    async def run(self) -> None:
        """Tell every circuit, and return when nothing runs any more. Flows that outlast the limit are reset."""
        relay = self._relay
        _log.info("leaving, in %.0f s at the latest", self.left_s)
        relay.leave()
        await self._until(lambda: not relay.at_work)
        if relay.at_work:
            _log.info("the time is over, and what still runs is ended")
            relay.table.end(Reason.LEAVING)
        self._ends_at = self._time() + LAST_WORDS_S
        await self._until(lambda: not relay.circuit_count)

    async def _until(self, done: Callable[[], bool]) -> None:
        while True:
            if done() or not self.left_s:
                return
            await asyncio.sleep(min(_STEP_S, self.left_s))
