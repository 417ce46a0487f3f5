"""Claims do not come right after what they pay for, and answers to a close come in time."""

from __future__ import annotations

from random import Random

import pytest

from ledger.claiming import claim_delay_s
from ledger.settlement import CLOSE_DELAY_S


@pytest.mark.parametrize(("closing", "most_s"), [(False, 6 * 3600), (True, 3600)])
def test_delays_are_spread(closing: bool, most_s: float) -> None:
    random = Random(7)
    delays = sorted(claim_delay_s(random.random, closing=closing) for _ in range(400))
    assert 0 <= delays[0] < most_s / 20
    assert most_s * 19 / 20 < delays[-1] < most_s
    assert abs(delays[200] - most_s / 2) < most_s / 10


def test_an_answer_leaves_most_of_the_time_to_the_chain() -> None:
    assert claim_delay_s(lambda: 1.0, closing=True) * 20 <= CLOSE_DELAY_S
