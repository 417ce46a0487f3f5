"""When to claim. A claim is seen by everyone, so it does not come right after what it pays for."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from ledger.settlement import CLOSE_DELAY_S

if TYPE_CHECKING:
    from collections.abc import Callable

CLAIM_SPREAD_S: Final = 6 * 3600
"""Longer than a sitting at the browser, so that the moment says little of when the traffic was."""

ANSWER_SPREAD_S: Final = CLOSE_DELAY_S // 24
"""Once the payer closes, time is short: most of the delay is left for a chain that is busy."""


def claim_delay_s(draw: Callable[[], float], *, closing: bool) -> float:
    """How long to wait before a claim that has come to be worth it.

    Args:
        draw: a random number from 0 to below 1, such as `random.Random.random`.
        closing: whether the channel is closing.
    """
    return draw() * (ANSWER_SPREAD_S if closing else CLAIM_SPREAD_S)
