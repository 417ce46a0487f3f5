"""What neighbours have begun on streams and not finished: records of which a part came, and streams without a record.

Whoever has a link can begin as much as QUIC lets it, and needs no circuit for it. So no limit of circuits bounds it.
Over all links there is a bound; beyond, the link on which most was begun goes.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from tunnel.limits import BEGUN_BYTES

if TYPE_CHECKING:
    from tunnel.link import Link


class Begun:
    """The count of one node.

    Attributes:
        total_bytes: on all links.
    """

    def __init__(self) -> None:
        self._by_link: Counter[Link] = Counter()
        self.total_bytes = 0

    def count(self, link: Link, change: int) -> None:
        """Count bytes more on a link, or less if negative; what is too much costs the link with most its life."""
        self._by_link[link] += change
        self.total_bytes += change
        if self.total_bytes > BEGUN_BYTES:
            max(self._by_link, key=self._by_link.__getitem__).fail("too much begun")

    def gone(self, link: Link) -> None:
        """The link is over."""
        self.total_bytes -= self._by_link.pop(link, 0)
