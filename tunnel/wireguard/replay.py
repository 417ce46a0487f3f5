"""The window that lets each counter of a session through once, in nearly any order.

Source: WireGuard, section 5.4.6; RFC 6479, section 3.
"""

from __future__ import annotations

from tunnel.wireguard.constants import MAX_COUNTER, WINDOW_COUNTERS


class ReplayWindow:
    """Counters that have been seen, as one bit each below the highest.

    Ask `fresh` before the tag is checked and call `commit` after it: a forged message must not move the window.
    """

    __slots__ = ("_bits", "_next")

    def __init__(self) -> None:
        self._bits = 0
        self._next = 0

    def fresh(self, counter: int) -> bool:
        """Say whether a message with this counter may be accepted: not seen, not too old, not beyond the limit."""
        if not 0 <= counter < MAX_COUNTER:
            return False
        behind = self._next - 1 - counter
        if behind < 0:
            return True
        return behind < WINDOW_COUNTERS and not self._bits >> behind & 1

    def commit(self, counter: int) -> None:
        """Remember a counter whose message has verified and that is `fresh`."""
        ahead = counter - self._next + 1
        if ahead > 0:
            # A long jump leaves nothing of the old bits; shifting them by up to 2^64 places must not be tried.
            kept = self._bits << ahead if ahead < WINDOW_COUNTERS else 0
            self._bits = (kept | 1) & ((1 << WINDOW_COUNTERS) - 1)
            self._next = counter + 1
        else:
            self._bits |= 1 << -ahead
