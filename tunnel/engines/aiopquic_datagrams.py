"""The datagrams that a connection of the `aiopquic` engine sends.

One that does not fit the path waits at the head of the library's queue for ever, and every later one behind it. The
library does not say how much a path carries. So it is noticed when the head has not moved, and not fitted either:
then the queue is dropped, and the size that every path carries is kept to for a while.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final

from tunnel.limits import MAX_DATAGRAM

if TYPE_CHECKING:
    from aiopquic.quic.connection import QuicConnection

SAFE_DATAGRAM: Final = 1200
"""The library sends a datagram of this size over any path."""

STUCK_S: Final = 0.5
"""How long the first datagram in the queue may fail to fit before the path counts as too narrow for it."""

NARROW_S: Final = 30.0
"""How long a path counts as narrow before a large datagram is tried again."""


class Datagrams:
    """The datagrams that one connection sends, and what its path is known to carry."""

    def __init__(self, quic: QuicConnection) -> None:
        self._quic = quic
        self._narrow_until = 0.0
        self._checked_at = 0.0
        self._seen = (0, 0)

    def room(self, now: float) -> int:
        """See `tunnel.engines.seam.Connection.datagram_room`."""
        return SAFE_DATAGRAM if now < self._narrow_until else MAX_DATAGRAM

    def send(self, data: bytes) -> bool:
        """See `tunnel.engines.seam.Connection.send_datagram`."""
        now = time.monotonic()
        if now - self._checked_at > STUCK_S:
            self._check(now)
        if len(data) > self.room(now):
            return False
        try:
            return bool(self._quic.send_datagram_frame(data))
        except (ConnectionError, ValueError):
            return False

    def _check(self, now: float) -> None:
        """Find out whether the first datagram in the queue has not fitted since the last look."""
        self._checked_at = now
        stats = self._quic.datagram_ring_stats()  # type: ignore[no-untyped-call]
        if stats is None:
            return
        popped, deferred = stats["records_popped"], stats["head_deferred"]
        if stats["used"] and popped == self._seen[0] and deferred > self._seen[1]:
            self._quic._release_dgram_ring()
            self._narrow_until = now + NARROW_S
        self._seen = (popped, deferred)
