"""What neighbours do not read of what is said to them on control streams.

Answers to creations and pings, gossip and words about money are said without being asked whether there is room. One
link may have a bounded part of that waiting. Over all links there is a bound as well; beyond, the links on which most
waits go.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from tunnel.limits import QUEUE_STEP, UNREAD_BYTES

if TYPE_CHECKING:
    from collections.abc import Iterable


class Said(Protocol):
    """What is needed of `tunnel.link.Link`."""

    @property
    def unread_bytes(self) -> int:
        """What was said on it and has not left."""

    def fail(self, why: str) -> None:
        """Drop it."""


class Unread:
    """The bound of one node. What waits is counted anew after each `QUEUE_STEP` that was said.

    Args:
        links: all of them.
    """

    def __init__(self, links: Iterable[Said]) -> None:
        self._links = links
        self._since_counted = 0

    def wrote(self, count: int) -> None:
        """Count bytes that were said on some link."""
        self._since_counted += count
        if self._since_counted >= QUEUE_STEP:
            self._since_counted = 0
            self._check()

    def _check(self) -> None:
        waiting = {link: link.unread_bytes for link in self._links}
        total = sum(waiting.values())
        if total <= UNREAD_BYTES:
            return
        for link in sorted(waiting, key=waiting.__getitem__, reverse=True):
            link.fail("control queues")
            total -= waiting[link]
            if total <= UNREAD_BYTES:
                return
