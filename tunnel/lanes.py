"""The lanes of one end of a circuit, and the messages on them that carry nothing."""

from __future__ import annotations

import asyncio
import secrets
from typing import TYPE_CHECKING, Any

from core.errors import DecodeError
from tunnel.cover import Cover
from tunnel.lane import Lane
from tunnel.limits import LANES, MAX_LANES

if TYPE_CHECKING:
    from collections.abc import Callable

    from tunnel.carrier import Carried
    from tunnel.credit import CircuitCredit
    from tunnel.lane import Begin, LaneCarrier
    from tunnel.layers import Layers
    from tunnel.link_stream import LinkStream

_random = secrets.SystemRandom()


class Lanes:
    """At the client they are made, all at once, for the first flow; at the exit they come.

    Args:
        credit: the circuit's.
    """

    def __init__(self, credit: CircuitCredit[Any]) -> None:
        self._credit = credit
        self._loop = asyncio.get_running_loop()
        self._lanes: list[Lane] = []
        self._cover = Cover(self._loop.time())
        self._timer: asyncio.Handle | None = None

    def carrier_for(self, flow: Carried, open_stream: Callable[[], tuple[LinkStream, Layers]]) -> LaneCarrier:
        """Put one more flow of the client's on the lane that has fewest.

        Args:
            open_stream: opens a stream of the circuit.
        """
        self._lanes = [lane for lane in self._lanes if not lane.closed]
        while len(self._lanes) < LANES:
            self._add(*open_stream())
        self._attend()
        return min(self._lanes, key=lambda lane: lane.flow_count).carrier_for(flow)

    def arrived(self, stream: LinkStream, layers: Layers, begin: Begin) -> Lane:
        """Take in a lane that the client made.

        Raises:
            DecodeError: it has too many.
        """
        self._lanes = [lane for lane in self._lanes if not lane.closed]
        if len(self._lanes) >= MAX_LANES:
            raise DecodeError("lane", "too many")
        lane = self._add(stream, layers, begin)
        self._attend()
        return lane

    def _add(self, stream: LinkStream, layers: Layers, begin: Begin | None = None) -> Lane:
        lane = Lane(stream, layers, self._credit, self._loop.call_soon, self._carried, begin)
        stream.receiver = lane
        self._lanes.append(lane)
        return lane

    def _carried(self, count: int) -> None:
        self._cover.carried(count)
        self._attend()

    # -- messages that carry nothing

    def _attend(self) -> None:
        """Send them from now on, while the circuit carries flows."""
        if self._timer is None:
            self._timer = self._loop.call_soon(self._tick)

    def _tick(self) -> None:
        self._timer = None
        lanes = [lane for lane in self._lanes if not lane.closed]
        if not lanes or not self._credit.flows:
            return
        due, wait_s = self._cover.next(self._loop.time(), _random.random())
        if due:
            _random.choice(lanes).cover()
        self._timer = self._loop.call_later(wait_s, self._tick)

    def close(self) -> None:
        """End every lane. The flows on them are not told."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        for lane in self._lanes:
            lane.close()
        self._lanes.clear()
