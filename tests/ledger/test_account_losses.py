"""The two accounts of a link, where something is lost on the way."""

from __future__ import annotations

import pytest

from ledger.account import SLACK_SHARE, UNDER_WAY, PayeeAccount
from ledger.amounts import MAX_AMOUNT, MAX_PARTS
from tests.ledger.accounts import RATE, UNIT, WINDOW, payer
from tests.ledger.neighbours import MESSAGE_BYTES, Neighbours, sign_all


def test_what_never_reached_the_payee_is_found_with_the_voucher_after_the_next() -> None:
    account = payer(paid=6)
    account.take(2 * UNIT)
    account.paid = 8
    account.states(UNIT, 8)
    assert account.counted == 2 * UNIT, "it may still be under way"
    account.paid = 9
    account.take(UNIT)
    account.states(UNIT)
    account.states(UNIT, 8)
    assert account.counted == 3 * UNIT, "neither word answers the last voucher"
    account.states(UNIT, 9)
    assert account.counted == 2 * UNIT
    assert account.used == 2 * UNIT
    account.paid = 10
    account.states(3 * UNIT, 10)
    assert account.counted == 3 * UNIT, "it came late after all"


def test_a_round_begins_after_the_answer_to_the_last() -> None:
    """What was sent between two vouchers that were under way together may be slower than both."""
    account = payer(paid=6)
    account.paid = 7
    account.take(2 * UNIT)
    account.paid = 8
    account.states(0, 7)
    account.states(0, 8)
    account.paid = 9
    account.paid = 10
    account.states(0, 9)
    assert account.counted == 2 * UNIT
    account.states(0, 10)
    assert account.counted == 2 * UNIT, "this one was under way together with the last"
    account.paid = 11
    account.states(0, 11)
    assert account.counted == 0


def test_what_never_left_is_not_taken_off_twice() -> None:
    account = payer(paid=6)
    account.take(3 * UNIT)
    account.paid = 7
    account.states(UNIT, 7)
    account.give_back(2 * UNIT)
    assert account.counted == account.used == UNIT
    account.paid = 8
    account.states(UNIT, 8)
    assert account.counted == UNIT
    account.take(UNIT)
    account.paid = 10
    account.give_back(UNIT)
    account.states(UNIT, 10)
    account.states(UNIT, 10)
    assert account.counted == UNIT


def test_a_payer_does_not_pay_for_datagrams_that_get_lost() -> None:
    ends = Neighbours(RATE)
    ends.carry(20_000, up=WINDOW // 20, datagrams=True, lose=3)
    assert ends.payee.used > 600 * WINDOW
    assert ends.payer.counted - ends.payee.counted < ends.payer.window
    assert ends.kept.paid * UNIT - ends.payee.used < 2 * ends.payer.window
    assert ends.payer.own == ends.payer.used


def test_a_payer_that_is_never_answered_pays_one_window_ahead_of_what_it_sent() -> None:
    account = payer()
    for _ in range(1000):
        sign_all(account)
        while account.take(MESSAGE_BYTES * RATE):
            pass
        assert account.paid * UNIT - account.counted <= WINDOW


@pytest.mark.parametrize("lose", [4, 5, 10])
def test_datagrams_that_get_lost_on_the_way_back_are_given_back(lose: int) -> None:
    """While the window is small, some wait until what got lost is known to be."""
    ends = Neighbours(RATE)
    ends.carry(2000, down=WINDOW // 20, datagrams=True, lose=lose)
    carried = (2000 - 2000 // lose) * (WINDOW // 20)
    assert carried * 49 // 50 < ends.payer.own <= carried
    assert 0 <= ends.payee.used - ends.payer.own < ends.payer.window


def test_a_payee_that_loses_half_of_the_datagrams_is_not_paid_for_long() -> None:
    ends = Neighbours(RATE)
    ends.carry(2000, down=WINDOW // 20, datagrams=True, lose=2)
    assert ends.blocked
    assert ends.payer.next_amount(MAX_AMOUNT) is None
    assert 0 < ends.kept.paid * UNIT - ends.counted <= ends.payer.window + ends.counted // SLACK_SHARE


def test_a_payer_that_says_nothing_arrived_pays_for_all() -> None:
    account = PayeeAccount(100, 0)
    while account.take_datagram(UNIT):
        account.arrived(0)
    assert account.used == 100 * UNIT


def arrive(account: PayeeAccount, *words: int) -> None:
    for word in words:
        account.arrived(word)


def test_a_payer_that_says_less_arrived_wins_a_quarter() -> None:
    account = PayeeAccount(100, 0)
    assert account.take_datagram(80 * UNIT)
    arrive(account, *[0] * UNDER_WAY, 60 * UNIT)
    assert account.used == 60 * UNIT
    assert account.room == 40 * UNIT


def test_what_is_under_way_is_not_lost() -> None:
    account = PayeeAccount(100, 0)
    account.take_datagram(40 * UNIT)
    account.arrived(40 * UNIT)
    account.take_datagram(10 * UNIT)
    arrive(account, *[40 * UNIT] * UNDER_WAY)
    assert account.used == 50 * UNIT
    account.arrived(40 * UNIT)
    assert account.used == 40 * UNIT


def test_what_was_given_back_is_not_counted_again() -> None:
    """It made room that may be used: counting it again would leave more used than is paid."""
    account = PayeeAccount(40, 0)
    account.take_datagram(40 * UNIT)
    arrive(account, *[0] * UNDER_WAY, 30 * UNIT)
    assert account.used == 30 * UNIT
    assert account.take(10 * UNIT)
    arrive(account, 40 * UNIT, 0)
    assert account.used == account.paid * UNIT


def test_no_more_arrives_than_was_sent() -> None:
    account = PayeeAccount(100, 0)
    account.take_datagram(3 * UNIT)
    account.arrived(MAX_PARTS)
    account.take_datagram(30 * UNIT)
    arrive(account, *[3 * UNIT] * UNDER_WAY)
    assert account.used == 33 * UNIT
    account.arrived(3 * UNIT)
    assert account.used == 32 * UNIT, "a third of what arrived is given back"


def test_streams_are_not_given_back_as_datagrams() -> None:
    account = PayeeAccount(100, 0)
    account.take(30 * UNIT)
    arrive(account, *[0] * UNDER_WAY, 0)
    assert account.used == 30 * UNIT
