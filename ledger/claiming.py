"""What is claimed when. A chain shows every claim to everybody, so none says much of what was carried at what time.

A claim comes a random while after there came to be something to claim, and is for an even amount, if the payer has
signed one. Once the payer closes neither matters: all that it has signed is claimed, and soon.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from ledger.settlement import CLOSE_DELAY_S

if TYPE_CHECKING:
    from collections.abc import Callable

    from ledger.books import PayeeChannel

CLAIM_SPREAD_S: Final = 6 * 3600
"""Longer than a sitting at the browser, so that the moment says little of when the traffic was."""

ANSWER_SPREAD_S: Final = CLOSE_DELAY_S // 24
"""Once the payer closes, time is short: most of the delay is left for a chain that is busy."""

CLAIM_STEP: Final = 1000
"""Units. What a claim brings is at least this, and its voucher says a multiple of it."""

UNEVEN: Final = 10 * CLAIM_STEP
"""Units, from which on a payer that signs no even amount is claimed from all the same."""


def claim_delay_s(draw: Callable[[], float], *, closing: bool) -> float:
    """How long to wait before a claim that has come to be worth it.

    Args:
        draw: a random number from 0 to below 1, such as `random.Random.random`.
        closing: whether the channel is closing.
    """
    return draw() * (ANSWER_SPREAD_S if closing else CLAIM_SPREAD_S)


@dataclass(frozen=True, slots=True)
class _Plan:
    at: float
    closing: bool


class Claims:
    """Which voucher of each channel to claim, and when. Every `now` is in monotonic seconds.

    What it knows is in memory alone: after a start the delays are drawn anew, and the next even voucher is waited for.

    Args:
        draw: a random number from 0 to below 1.
    """

    def __init__(self, draw: Callable[[], float]) -> None:
        self._draw = draw
        self._even: dict[bytes, tuple[int, bytes]] = {}
        self._plans: dict[bytes, _Plan] = {}

    def stored(self, channel: bytes, cumulative: int, signature: bytes) -> None:
        """Hear of a voucher that is in the books and says more than those before."""
        if cumulative % CLAIM_STEP == 0:
            self._even[channel] = cumulative, signature

    def due(self, row: PayeeChannel, now: float, *, closing: bool) -> tuple[int, bytes] | None:
        """What to claim on a channel now: cumulative units and signature; None for nothing.

        Ask again every now and then. What was claimed must be in the books by then. A claim that brought nothing, say
        because of its gas, is due again after another delay, or at once while the payer closes.

        Args:
            row: as it is in the books.
            now: the time.
            closing: whether the payer closes it.
        """
        voucher = self._voucher(row, closing=closing)
        if voucher is None:
            self._plans.pop(row.channel, None)
            return None
        plan = self._plans.get(row.channel)
        if plan is None or plan.closing != closing:
            plan = self._plans[row.channel] = _Plan(now + claim_delay_s(self._draw, closing=closing), closing)
        if now < plan.at:
            return None
        if not closing:
            del self._plans[row.channel]
        return voucher

    def _voucher(self, row: PayeeChannel, *, closing: bool) -> tuple[int, bytes] | None:
        newest = row.paid, row.signature
        self.stored(row.channel, *newest)
        if closing:
            return newest if row.paid > row.claimed else None
        even = self._even.get(row.channel)
        if even is not None and even[0] - row.claimed >= CLAIM_STEP:
            return even
        return newest if row.paid - row.claimed >= UNEVEN else None

    def forget(self, channel: bytes) -> None:
        """A channel is closed."""
        self._even.pop(channel, None)
        self._plans.pop(channel, None)
