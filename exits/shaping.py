"""One bucket for everything that is carried for others, both directions together, filled at the operator's rate.

A byte that is carried comes in once and goes out once, so what a line carries down it also carries up: there is one
rate. Who finds the bucket empty waits; turns go round the circuits, and inside a circuit round its flows. The bucket
may go into debt by one piece, so pieces never wait for more than they need, and the rate holds in the long run.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final, Protocol

from core.pump import READ_BYTES
from exits.turns import Turns

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable

    from tunnel.gate import Waiter

BURST_S: Final = 0.05
"""What the bucket holds, in seconds of the rate: as much as an event loop may be late without losing any of it."""

PIECE_S: Final = 0.02
"""What one piece takes, in seconds of the rate: twenty flows have their turns within half a second."""

URGENT_S: Final = 1.0
"""How far the bucket may go into debt for pings and credit, in seconds of the rate. Honest circuits send some hundred
bytes of them a second; a flood of them has its circuit's turns and no more."""

_STEP: Final = 1024
_LEAST: Final = 2 * _STEP
_HEADS: Final = READ_BYTES % _STEP - _STEP
"""What the tunnel's frames add to a piece, which it fills up to whole steps; negative."""


class Timer(Protocol):
    """What waits for its time."""

    def cancel(self) -> object:
        """Let it wait no more."""


class _Share:
    """The waiters of one circuit, each with its piece."""

    __slots__ = ("pieces", "turns")

    def __init__(self, slack: int) -> None:
        self.turns: Turns[Waiter] = Turns(slack)
        self.pieces: dict[Waiter, int] = {}


class Shaper:
    """A `tunnel.gate.Gate`.

    Args:
        rate: bytes per second; infinite for no limit but `take`.
        clock: gives seconds that only rise.
        later: calls a function after some seconds, as an event loop's `call_later`.
        take: asked before bytes are carried; False when nothing may be carried any more.
        give_back: told of bytes that were taken and not carried.

    Attributes:
        piece_bytes: the size of pieces that whoever can choose it should ask for.
        waits: whether somebody had to wait since this was set to False.
    """

    def __init__(
        self,
        rate: float,
        clock: Callable[[], float],
        later: Callable[[float, Callable[[], None]], Timer],
        take: Callable[[int], bool] = lambda count: True,
        give_back: Callable[[int], None] = lambda count: None,
    ) -> None:
        self._clock = clock
        self._later = later
        self._take = take
        self._give_back = give_back
        self._measure(rate)
        self._tokens = self._burst
        self._filled_at = clock()
        self._shares: dict[Hashable, _Share] = {}
        self._turns: Turns[Hashable] = Turns(self._slack)
        self._timer: Timer | None = None
        self._serving = False
        self.waits = False

    def _measure(self, rate: float) -> None:
        self._rate = rate
        self.piece_bytes = int(max(_LEAST, min(rate * PIECE_S, READ_BYTES - _HEADS)) // _STEP * _STEP + _HEADS)
        self._burst = max(rate * BURST_S, self.piece_bytes)
        self._slack = int(min(self._burst, 64 * READ_BYTES))
        self._urgent_debt = self._burst + READ_BYTES + rate * URGENT_S

    def use_rate(self, rate: float) -> None:
        """Go at another rate from now on, also with what waits already.

        Args:
            rate: bytes per second; infinite for no limit but `take`.
        """
        self._fill()
        self._measure(rate)
        self._tokens = min(self._tokens, self._burst) if math.isfinite(rate) else rate
        if not self._shares:
            self._turns = Turns(self._slack)
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._wake_later()

    # -- tunnel.gate.Gate

    def passes(self, share: Hashable, waiter: Waiter, count: int) -> bool:
        if not self._shares and not self._serving:
            self._fill()
            if self._tokens > 0:
                if self._tokens >= self._burst:
                    self._turns.forget()
                return self._spend(share, count)
        self._wait(share, waiter, count)
        return False

    def admits(self, share: Hashable, count: int, *, urgent: bool = False) -> bool:
        self._fill()
        debt, ahead = (self._urgent_debt, self._slack + 2 * READ_BYTES) if urgent else (self._burst, self._slack)
        if self._tokens <= -debt or (self._shares and self._turns.ahead(share) > ahead):
            return False
        return self._spend(share, count)

    # -- the bucket

    def _fill(self) -> None:
        now = self._clock()
        if now > self._filled_at:
            self._tokens = min(self._burst, self._tokens + (now - self._filled_at) * self._rate)
            self._filled_at = now

    def _spend(self, share: Hashable, count: int) -> bool:
        if not self._take(count):
            return False
        self._tokens -= count
        self._turns.had(share, count)
        return True

    # -- who waits

    def _wait(self, share: Hashable, waiter: Waiter, count: int) -> None:
        self.waits = True
        waiting = self._shares.get(share)
        if waiting is None:
            waiting = self._shares[share] = _Share(self._slack)
            self._turns.add(share)
        waiting.pieces[waiter] = count
        waiting.turns.add(waiter)
        self._wake_later()

    def _wake_later(self) -> None:
        if self._timer is None and not self._serving and self._shares:
            self._timer = self._later(max(0.0, (1 - self._tokens) / self._rate), self._serve)

    def _serve(self) -> None:
        """Call those whose turn it is until the bucket is empty."""
        self._timer = None
        self._fill()
        self._serving = True
        try:
            while self._shares and self._tokens > 0:
                if not self._serve_one():
                    return
        finally:
            self._serving = False
        self._wake_later()

    def _serve_one(self) -> bool:
        """Returns False when nothing may be carried any more; then nobody waits."""
        share = self._turns.take()
        waiting = self._shares[share]
        waiter = waiting.turns.take()
        count = waiting.pieces.pop(waiter)
        if not self._spend(share, count):
            self.clear()
            return False
        waiting.turns.had(waiter, count)
        if not waiter.go():
            self._tokens += count
            self._give_back(count)
        if self._shares.get(share) is waiting:
            if waiting.pieces:
                self._turns.add(share)
            else:
                del self._shares[share]
        return True

    def clear(self) -> None:
        """Let nobody wait any more. Who did is not called."""
        self._shares.clear()
        self._turns = Turns(self._slack)
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
