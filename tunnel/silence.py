"""How long another end has said nothing although it was asked. Time comes in as an argument."""

from __future__ import annotations

from typing import Final

LATE_S: Final = 0.03
"""A timer that comes later than this was held up by the own event loop."""


class Silence:
    """One other end: when it was last heard, and whether a question to it is open.

    Silence counts from the last thing heard, but at most `before_s` of what passed before the question. Time in which
    the own event loop did not look does not count: what came meanwhile may wait unread.

    Args:
        now: loop time.
        before_s: how much silence before a question counts.
    """

    __slots__ = ("_before_s", "_floor", "asked_at", "heard_at")

    def __init__(self, now: float, before_s: float = 0.0) -> None:
        self._before_s = before_s
        self._floor = now
        self.heard_at = now
        self.asked_at: float | None = None

    def asked(self, now: float) -> None:
        """A question was sent; an earlier one that is still open stays the one that counts."""
        if self.asked_at is None:
            self.asked_at = now

    def answered(self, now: float) -> None:
        """The answer came; nothing is asked any more."""
        self.asked_at = None
        self.heard_at = now

    @property
    def since(self) -> float | None:
        """Loop time at which the silence began; None while nothing is asked."""
        if self.asked_at is None:
            return None
        return max(self.heard_at, self.asked_at - self._before_s, self._floor)

    def lasted(self, now: float) -> float:
        """Seconds of silence until now, 0 while nothing is asked."""
        since = self.since
        return 0.0 if since is None else max(0.0, now - since)

    def forgive(self, now: float) -> None:
        """What was asked has not left yet: nothing before this moment counts."""
        self._floor = now

    def overslept(self, planned: float, now: float) -> None:
        """A timer planned for one moment came at another: forgive the time in which nobody looked."""
        since = self.since
        if since is not None and now - planned > LATE_S:
            self._floor = min(now, since + now - planned)
