"""Whether this machine has time and memory left for others, and what is done when it has not.

Time: a timer is late by as long as the event loop is busy with other things. A node that is late answers late, and
neighbours that wait for it take it for silent (`NEIGHBOUR_S` in `tunnel/limits.py`). Memory: what the process has.

New circuits are refused first, then new flows as well; what stands goes on. When that does not help, the newest
circuits are ended, a few at a time: who was there first is the last to suffer.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import Counter
from typing import TYPE_CHECKING, Final, Protocol

from core.allocator import give_back
from core.errors import Reason
from core.tasks import Tasks

if TYPE_CHECKING:
    from collections.abc import Callable

LOOK_EVERY_S: Final = 0.25
"""Between two looks. One takes some 20 µs, so the watcher costs a ten-thousandth of a core."""

LONGEST_S: Final = 1.0
"""A longer lateness counts as this: once is an accident (a laptop that slept), and no load."""

WEIGHT: Final = 0.2
"""Of one look in the mean, so that a single pause, however long, stays below every threshold."""

BUSY_S: Final = 0.25
"""Mean lateness from which no new circuit is taken; `docs/design/0025-leaving-and-load.md` has what was measured."""

OVERLOADED_S: Final = 0.4
"""The same, for new flows too. From `NEIGHBOUR_S` on a node is taken for silent, so it must not come to that."""

EASE: Final = 0.6
"""What began at a threshold ends below this part of it, so that it does not begin and end by turns."""

PATIENCE_S: Final = 3.0
"""For so long lateness stays before circuits are ended: refusing alone helps as soon as others finish."""

SHED_EVERY_S: Final = 1.0
SHED_PART: Final = 20
"""Once in so long every 20th circuit is ended, and one at least: what that brings shows before the next."""

MEMORY_EVERY: Final = 4
"""Looks between two at the memory."""

MEMORY_EASE: Final = 0.9
"""`EASE` for memory, which does not come and go as time does."""

_SENTENCES: Final = {
    "": "new work is taken again",
    "circuits": "late: no new circuits",
    "flows": "no new circuits or flows",
    "late": "late for long: the newest circuits end",
    "memory": "over the limit of memory: the newest circuits end",
}

_log = logging.getLogger(__name__)


class Sheds(Protocol):
    """What others have here, as `tunnel.relay.Relay` does."""

    @property
    def circuit_count(self) -> int:
        """How many circuits stand."""

    def shed(self, at_most: int) -> int:
        """End so many circuits, the newest first; returns how many there were."""


class Level:
    """A value that is high or not, with hysteresis.

    Args:
        limit: from where on it is high.
    """

    def __init__(self, limit: float) -> None:
        self.limit = limit
        self.high = False

    def look(self, value: float, ease: float = EASE) -> bool:
        """Take in the value; returns whether it is high now."""
        self.high = value >= (self.limit * ease if self.high else self.limit)
        return self.high


class Lateness:
    """How late the event loop is, as a mean over about a second. Time comes in as an argument."""

    def __init__(self) -> None:
        self.mean_s = 0.0
        self.circuits = Level(BUSY_S)
        self.flows = Level(OVERLOADED_S)
        self._high_since: float | None = None

    def look(self, late_s: float, now: float) -> None:
        """Take in how late a look was."""
        self.mean_s += WEIGHT * (min(max(late_s, 0.0), LONGEST_S) - self.mean_s)
        self.circuits.look(self.mean_s)
        if not self.flows.look(self.mean_s):
            self._high_since = None
        elif self._high_since is None:
            self._high_since = now

    def stays(self, now: float) -> bool:
        """Whether it has been so late for so long that refusing does not help."""
        return self._high_since is not None and now - self._high_since >= PATIENCE_S


class Load:
    """Watches, refuses and sheds.

    Args:
        sheds: what others have here.
        memory: how many bytes the process has now, or the most that it ever had.
        limit_bytes: how many it may have.
        falls: whether `memory` tells how many it has now. If not, nothing is ended for its sake.

    Attributes:
        counters: what was refused and ended, by words.
    """

    def __init__(self, sheds: Sheds, memory: Callable[[], int], limit_bytes: int, *, falls: bool = True) -> None:
        self._sheds = sheds
        self._memory = memory
        self._too_full = Level(limit_bytes)
        self._falls = falls
        self.counters: Counter[str] = Counter()
        self._lateness = Lateness()
        self._shed_at = float("-inf")
        self._looks = 0
        self._tasks = Tasks()
        self._said = ""

    def allow(self, limit_bytes: int) -> None:
        """Let the process have another amount of memory."""
        self._too_full.limit = limit_bytes

    def start(self) -> None:
        """Begin to watch."""
        self._tasks.spawn(self._watch(), "load")

    async def close(self) -> None:
        """Watch no more."""
        await self._tasks.cancel()

    # -- what is refused

    @property
    def late_s(self) -> float:
        """How late the event loop is, in the mean."""
        return self._lateness.mean_s

    @property
    def refuses(self) -> str:
        """What is refused now: `flows` (and circuits), `circuits` or nothing."""
        if self._lateness.flows.high or self._too_full.high:
            return "flows"
        return "circuits" if self._lateness.circuits.high else ""

    def refuses_circuit(self) -> Reason | None:
        """Say why no new circuit is taken; None when one is."""
        return self._refused("circuit", self._lateness.circuits.high)

    def refuses_flow(self) -> Reason | None:
        """Say why no new flow is taken; None when one is."""
        return self._refused("flow", self._lateness.flows.high)

    def _refused(self, what: str, late: bool) -> Reason | None:
        if not late and not self._too_full.high:
            return None
        self.counters[f"{what} refused: {'late' if late else 'memory'}"] += 1
        return Reason.BUSY

    # -- what is watched

    async def _watch(self) -> None:
        while True:
            due = time.monotonic() + LOOK_EVERY_S  # a loop's own clock may stand still while it is busy
            await asyncio.sleep(LOOK_EVERY_S)
            now = time.monotonic()
            self.look(now - due, now)

    def look(self, late_s: float, now: float) -> None:
        """Take in that this look is so late, and shed what must go.

        Args:
            late_s: seconds.
            now: seconds of a clock that only goes on.
        """
        self._lateness.look(late_s, now)
        if self._looks % MEMORY_EVERY == 0:
            self._too_full.look(self._memory(), MEMORY_EASE)
        self._looks += 1
        word = "memory" if self._too_full.high and self._falls else "late" if self._lateness.stays(now) else ""
        if word and now - self._shed_at >= SHED_EVERY_S:
            self._shed_at = now
            self._shed(word)
        self._say(word or self.refuses)

    def _shed(self, word: str) -> None:
        ended = self._sheds.shed(max(1, self._sheds.circuit_count // SHED_PART))
        self.counters[f"circuit ended: {word}"] += ended
        if ended and word == "memory":
            give_back()

    def _say(self, word: str) -> None:
        if word != self._said:
            self._said = word
            _log.info("load: %s", _SENTENCES[word])
