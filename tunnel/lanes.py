"""The lanes of one end of a circuit, and the messages on them that carry nothing."""

from __future__ import annotations

import asyncio
import secrets
from typing import TYPE_CHECKING, Any

from core.errors import DecodeError
from tunnel.cover import Cover
from tunnel.lane import Lane
from tunnel.limits import MAX_LANES
from tunnel.padding import LANES, Shape

if TYPE_CHECKING:
    from collections.abc import Callable

    from tunnel.carrier import Carried
    from tunnel.credit import CircuitCredit
    from tunnel.lane import Begin, LaneCarrier
    from tunnel.layers import Layers
    from tunnel.link_stream import LinkStream
    from tunnel.use import Use

_random = secrets.SystemRandom()


class Lanes:
    """At the client they are made, all at once, for the first flow; at the exit they come.

    Args:
        credit: the circuit's.
        shape: of lanes that are made here.
        use: told of padding; None where nobody asks.
    """

    def __init__(self, credit: CircuitCredit[Any], shape: Shape = Shape.STEPS, use: Use | None = None) -> None:
        self._credit = credit
        self._use = use
        self._shape = shape
        self._loop = asyncio.get_running_loop()
        self._lanes: list[Lane] = []
        self._covered: list[Lane] = []
        self._cover = Cover(self._loop.time())
        self._timer: asyncio.Handle | None = None

    def carrier_for(self, flow: Carried, open_stream: Callable[[], tuple[LinkStream, Layers]]) -> LaneCarrier:
        """Put one more flow of the client's on the lane that has fewest.

        Args:
            open_stream: opens a stream of the circuit.
        """
        self._lanes = [lane for lane in self._lanes if not lane.closed]
        while len(self._lanes) < LANES[self._shape]:
            self._add(*open_stream(), self._shape)
        self._attend()
        return min(self._lanes, key=lambda lane: lane.flow_count).carrier_for(flow)

    def arrived(self, stream: LinkStream, layers: Layers, shape: Shape, begin: Begin) -> Lane:
        """Take in a lane that the client made.

        Raises:
            DecodeError: it has too many.
        """
        self._lanes = [lane for lane in self._lanes if not lane.closed]
        if len(self._lanes) >= MAX_LANES:
            raise DecodeError("lane", "too many")
        lane = self._add(stream, layers, shape, begin)
        self._attend()
        return lane

    def _add(self, stream: LinkStream, layers: Layers, shape: Shape, begin: Begin | None = None) -> Lane:
        lane = Lane(stream, layers, self._credit, shape, self._loop.call_soon, self._carried, begin, self._use)
        stream.receiver = lane
        self._lanes.append(lane)
        if shape is Shape.EVEN:
            self._covered.append(lane)
        return lane

    def _carried(self, count: int) -> None:
        self._cover.carried(count)
        self._attend()

    # -- messages that carry nothing

    def _attend(self) -> None:
        """Send them on EVEN lanes from now on, while the circuit carries flows."""
        if self._timer is None and self._covered:
            self._timer = self._loop.call_soon(self._tick)

    def _tick(self) -> None:
        self._timer = None
        self._covered = [lane for lane in self._covered if not lane.closed]
        if not self._covered or not self._credit.flows:
            return
        due, wait_s = self._cover.next(self._loop.time(), _random.random())
        if due:
            _random.choice(self._covered).cover()
        self._timer = self._loop.call_later(wait_s, self._tick)

    def close(self) -> None:
        """End every lane. The flows on them are not told."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        for lane in self._lanes:
            lane.close()
        self._lanes.clear()
        self._covered.clear()
