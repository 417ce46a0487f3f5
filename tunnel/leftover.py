"""Streams of a link that this side has left, and on which something may still come.

A circuit that costs something is counted at both ends of each link. Who cuts its streams off never hears of what is
under way, and the other end has counted it: the counts would differ for good, and anybody who makes many circuits and
ends them in mid-download could set two honest neighbours against each other. So such streams are not reset. Each end
sends its FIN and nothing more, and what still comes is counted and dropped until the other end's FIN.

Whoever does not end a stream in time gets it reset. How much counts is bounded by the circuit's `tunnel.tally.Tally`.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from tunnel.engines.seam import MAX_STREAMS
from tunnel.limits import LEFT_S

if TYPE_CHECKING:
    from tunnel.link import Link
    from tunnel.link_stream import LinkStream


class Leftovers:
    """Those of one link. What this side still had to send is also sent in time, or never.

    Args:
        link: whose streams they are.
    """

    def __init__(self, link: Link) -> None:
        self._link = link
        self._loop = asyncio.get_running_loop()
        self._due: dict[LinkStream, float] = {}
        self._timer: asyncio.TimerHandle | None = None

    def __len__(self) -> int:
        return len(self._due)

    def add(self, stream: LinkStream) -> None:
        """A stream was left just now. Of more than can be open at once the oldest are reset."""
        self._due[stream] = self._loop.time() + LEFT_S
        if len(self._due) > MAX_STREAMS:
            self._reset(next(iter(self._due)))
        if self._timer is None:
            self._arm()

    def _arm(self) -> None:
        self._timer = self._loop.call_at(next(iter(self._due.values())), self._time_passed)

    def _time_passed(self) -> None:
        self._timer = None
        now = self._loop.time()
        for stream in [stream for stream, due in self._due.items() if due <= now]:
            self._reset(stream)
        if self._due:
            self._arm()

    def _reset(self, stream: LinkStream) -> None:
        del self._due[stream]
        stream.let_go()
        self._link.connection.reset(stream.id)

    def close(self) -> None:
        """The link is gone."""
        self._due.clear()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
