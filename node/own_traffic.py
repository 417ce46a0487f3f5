"""What this node's own flows do: bytes and waiting times of the last second, which are shown and not kept."""

from __future__ import annotations

import asyncio
import time
from statistics import median
from typing import TYPE_CHECKING, Any, Final, Protocol

from core.tasks import Tasks

if TYPE_CHECKING:
    from collections.abc import Callable

LOOK_S: Final = 1.0


class Carried(Protocol):
    """What `proxy.traffic.Traffic` knows."""

    @property
    def carried_bytes(self) -> tuple[int, int]:
        """Bytes sent and received since the start."""

    def take_times(self) -> list[float]:
        """Waiting times since the last call, in seconds."""


class OwnTraffic:
    """Looks at the local port every second.

    Args:
        traffic: what it carried.
        clock: gives seconds.
    """

    def __init__(self, traffic: Carried, clock: Callable[[], float] = time.monotonic) -> None:
        self._traffic = traffic
        self._clock = clock
        self._before = (self._clock(), *traffic.carried_bytes)
        self._rates = (0, 0)
        self._first_byte_s: float | None = None
        self._tasks = Tasks()

    def start(self) -> None:
        """Look from now on."""
        self._tasks.spawn(self._watch(), "own traffic")

    async def close(self) -> None:
        """Look no more."""
        await self._tasks.cancel()

    async def _watch(self) -> None:
        while True:
            await asyncio.sleep(LOOK_S)
            self.look()

    def look(self) -> None:
        """Reckon what happened since the last look."""
        before_at, sent_before, received_before = self._before
        sent, received = self._traffic.carried_bytes
        now = self._clock()
        passed_s = max(now - before_at, 1e-3)
        self._before = now, sent, received
        self._rates = round((sent - sent_before) / passed_s), round((received - received_before) / passed_s)
        times_s = self._traffic.take_times()
        self._first_byte_s = median(times_s) if times_s else None

    @property
    def speed(self) -> dict[str, int]:
        """Bytes per second in the last second, towards the sites and back."""
        return dict(zip(NO_SPEED, self._rates, strict=True))

    @property
    def first_byte_ms(self) -> float | None:
        """How long connections waited for their first byte, the median of the last second; None without any."""
        return None if self._first_byte_s is None else round(self._first_byte_s * 1e3, 1)


NO_SPEED: Final[dict[str, int]] = {"forth_bytes_s": 0, "back_bytes_s": 0}
"""The speed of a node that has no local port."""


def second(own: OwnTraffic | None, flows: int, rtt_s: float | None) -> dict[str, Any]:
    """Say what the last second was like.

    Args:
        own: of the local port; None without one.
        flows: through the tunnel now.
        rtt_s: the round trip to the exit of the present circuit; None while that is not known.
    """
    return {
        **(own.speed if own is not None else NO_SPEED),
        "flows": flows,
        "first_byte_ms": own.first_byte_ms if own is not None else None,
        "rtt_ms": None if rtt_s is None else round(rtt_s * 1e3, 1),
    }
