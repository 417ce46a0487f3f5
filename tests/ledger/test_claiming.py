"""Claims do not come right after what they pay for, and are for even amounts; answers to a close come in time."""

from __future__ import annotations

from random import Random
from typing import Final

import pytest

from ledger.books import PayeeChannel
from ledger.claiming import CLAIM_SPREAD_S, CLAIM_STEP, UNEVEN, Claims, claim_delay_s
from ledger.settlement import CLOSE_DELAY_S

CHANNEL: Final = b"\xcc" * 32
LATER: Final = 10 * CLAIM_SPREAD_S


@pytest.mark.parametrize(("closing", "most_s"), [(False, 6 * 3600), (True, 3600)])
def test_delays_are_spread(closing: bool, most_s: float) -> None:
    random = Random(7)
    delays = sorted(claim_delay_s(random.random, closing=closing) for _ in range(400))
    assert 0 <= delays[0] < most_s / 20
    assert most_s * 19 / 20 < delays[-1] < most_s
    assert abs(delays[200] - most_s / 2) < most_s / 10


def test_an_answer_leaves_most_of_the_time_to_the_chain() -> None:
    assert claim_delay_s(lambda: 1.0, closing=True) * 20 <= CLOSE_DELAY_S


def signature(paid: int) -> bytes:
    return paid.to_bytes(65)


def row(paid: int, claimed: int = 0) -> PayeeChannel:
    return PayeeChannel(CHANNEL, bytes(32), bytes(20), 10**9, paid, signature(paid), claimed=claimed)


def claims(*vouchers: int) -> Claims:
    """All delays are half of the longest."""
    made = Claims(lambda: 0.5)
    for paid in vouchers:
        made.stored(CHANNEL, paid, signature(paid))
    return made


def found(made: Claims, paid: int, claimed: int = 0, *, closing: bool = False) -> int | None:
    """What is claimed once every delay is over."""
    made.due(row(paid, claimed), 0.0, closing=closing)
    voucher = made.due(row(paid, claimed), LATER, closing=closing)
    assert voucher is None or voucher[1] == signature(voucher[0])
    return voucher and voucher[0]


def test_the_highest_even_voucher_is_claimed() -> None:
    made = claims(700, 1000, 1700, 2000, 2600)
    assert found(made, 2600) == 2000
    assert found(made, 2600, 2000) is None
    assert found(claims(), 3000) == 3000, "from the books, after a start"


def test_a_payer_that_signs_nothing_even_is_claimed_from_all_the_same() -> None:
    assert found(claims(), UNEVEN - 1) is None
    assert found(claims(), UNEVEN + 1) == UNEVEN + 1
    assert found(claims(1000), UNEVEN + 999, 1000) is None
    assert found(claims(1000), UNEVEN + 1001, 1000) == UNEVEN + 1001


def test_a_claim_brings_at_least_a_step() -> None:
    made = claims(1000)
    assert found(made, 1999, 1) is None
    assert found(made, 1999, 0) == 1000
    assert found(claims(), 0) is None


def test_it_comes_a_delay_after_there_was_something_to_claim() -> None:
    made, half = claims(), CLAIM_SPREAD_S / 2
    assert made.due(row(999), 0, closing=False) is None
    assert made.due(row(1000), 500, closing=False) is None
    assert made.due(row(2000), 500 + half - 1, closing=False) is None
    assert made.due(row(2000), 500 + half, closing=False) == (2000, signature(2000))


def test_what_brought_nothing_is_tried_again_after_another_delay() -> None:
    made, half = claims(), CLAIM_SPREAD_S / 2
    made.due(row(1000), 0, closing=False)
    assert made.due(row(1000), half, closing=False) is not None
    assert made.due(row(1000), half, closing=False) is None
    assert made.due(row(1000), 2 * half, closing=False) is not None


def test_once_it_closes_all_is_claimed_and_again_until_it_is() -> None:
    made = claims(1000)
    made.due(row(1001), 0, closing=False)
    assert made.due(row(1001), 5, closing=True) is None
    for now in (5 + CLOSE_DELAY_S / 48, 6 + CLOSE_DELAY_S / 48):
        assert made.due(row(1001), now, closing=True) == (1001, signature(1001))
    assert made.due(row(1001, 1001), now, closing=True) is None
    assert found(claims(), 1, closing=True) == 1


def test_a_channel_is_forgotten() -> None:
    made = claims(CLAIM_STEP)
    made.forget(CHANNEL)
    assert found(made, CLAIM_STEP + 1) is None
    made.forget(CHANNEL)
