"""The two accounts of a link, rule by rule. `test_account_machine` does everything in any order."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.tariffs import RATES, rate_at
from ledger.account import SLACK_SHARE, PayeeAccount, PayerAccount, window_units
from ledger.amounts import MAX_AMOUNT, MAX_PARTS, PARTS_PER_UNIT
from tests.ledger.accounts import RATE, UNIT, WINDOW, payer
from tests.ledger.neighbours import MESSAGE_BYTES, Neighbours, sign_all

if TYPE_CHECKING:
    from collections.abc import Callable

LAYER_BYTES = 32
NO_AMOUNTS = [-1, 1.0, True, "1", None]


# -- the window


@pytest.mark.parametrize(
    ("paid", "rate", "units"),
    [(0, 0, 4), (0, 1, 4), (0, 5, 5), (23, 5, 5), (24, 5, 6), (10**9, 5, 320), (10**9, 0, 4), (17, 1, 4), (20, 1, 5)],
)
def test_window(paid: int, rate: int, units: int) -> None:
    assert window_units(paid, rate) == units


# -- the payer


def test_nothing_is_sent_that_is_not_paid() -> None:
    account = payer()
    assert not account.take(1)
    account.paid = 1
    assert not account.take(UNIT + 1)
    assert not account.take(-1)
    assert account.take(UNIT)
    assert account.take(0)
    assert not account.take(1)
    assert account.counted == UNIT
    assert account.room == 0


def test_nobody_looks_until_a_voucher_is_due() -> None:
    account = payer()
    account.paid = RATE
    account.look(MAX_PARTS)
    assert account.until == WINDOW // 2
    account.look(UNIT)
    assert account.until == UNIT
    account.rate = 10 * RATE
    account.look(MAX_PARTS)
    assert account.until < 0, "the window is larger, and a voucher is due"


def test_somebody_looks_when_the_payees_count_makes_a_voucher_due() -> None:
    account = payer()
    account.paid = RATE
    account.states(WINDOW // 2)
    account.look(MAX_PARTS)
    assert account.until == WINDOW // 2
    account.states(WINDOW // 2 + 1)
    account.look(MAX_PARTS)
    assert account.until < 0


CHANGES: list[Callable[[PayerAccount], object]] = [
    lambda account: setattr(account, "paid", RATE + 1),
    lambda account: setattr(account, "rate", 1),
    lambda account: account.states(1),
    lambda account: account.give_back(1),
    lambda account: account.cancel(1, 1),
]


@pytest.mark.parametrize("change", CHANGES)
def test_somebody_looks_after_every_change(change: Callable[[PayerAccount], object]) -> None:
    account = payer()
    account.paid = RATE
    account.took(2)
    account.look(MAX_PARTS)
    assert account.until > account.counted
    change(account)
    assert account.until < 0


def test_what_came_is_counted_and_of_datagrams_the_payee_is_told() -> None:
    account = payer(paid=6)
    account.took(UNIT)
    assert (account.counted, account.datagrams) == (UNIT, 0)
    account.took(2, datagram=True)
    assert (account.counted, account.datagrams) == (UNIT + 2, 2)


def test_three_quarters_of_a_window_are_paid_ahead() -> None:
    assert payer().next_amount(MAX_AMOUNT) == 6
    assert payer(rate=0).next_amount(MAX_AMOUNT) == 3


def test_in_a_larger_window_amounts_are_round() -> None:
    for used, limit, amount in (
        (1000, MAX_AMOUNT, 1200),  # of 1,187 to 1,218
        (1000, 1199, 1190),
        (1000, 1188, 1188),
        (1000, 1100, 1100),
        (1009, MAX_AMOUNT, 1200),
        (1009, 1199, 1198),
    ):
        account = payer(paid=1010, start=used * UNIT)
        assert account.window // UNIT == 252
        assert account.next_amount(limit) == amount


def test_the_next_voucher_is_due_below_half_a_window() -> None:
    account = payer(paid=6)
    account.took(2 * UNIT)
    assert account.next_amount(MAX_AMOUNT) is None
    account.took(1)
    assert account.next_amount(MAX_AMOUNT) == 8


def test_a_limit_is_kept() -> None:
    account = payer(paid=3)
    assert account.next_amount(5) == 5
    assert account.next_amount(3) is None
    assert account.next_amount(2) is None


def test_a_change_of_the_rate_changes_the_window() -> None:
    account = payer(paid=6)
    assert account.next_amount(MAX_AMOUNT) is None
    account.rate = 20
    assert account.next_amount(MAX_AMOUNT) == 15
    account.rate = RATE
    assert account.next_amount(MAX_AMOUNT) is None


def test_the_payees_count_is_paid_when_it_is_higher() -> None:
    account = payer(paid=6)
    account.took(UNIT)
    account.states(3 * UNIT)
    assert account.used == 3 * UNIT
    assert account.next_amount(MAX_AMOUNT) == 7
    assert account.own == UNIT
    assert not account.take(3 * UNIT + 1)
    assert account.take(3 * UNIT)


def test_a_lower_word_takes_back_a_higher_one() -> None:
    account = payer(paid=6)
    account.states(3 * UNIT)
    account.states(UNIT)
    assert account.used == UNIT


def test_a_payee_that_states_too_much_gets_a_window_and_a_64th() -> None:
    account = payer()
    account.states(MAX_PARTS)
    assert sign_all(account) == RATE * 3 // 4, "the rest is kept for the next link"
    assert account.used == RATE * 3 // 4 * UNIT
    account.took(64 * 10 * UNIT)
    assert sign_all(account) == 640 + (10 + window_units(account.paid, RATE)) * 3 // 4


def test_reconnecting_wins_a_liar_nothing() -> None:
    account = payer()
    for _ in range(100):
        account.states(MAX_PARTS)
        sign_all(account)
        own = account.own
        account = payer(account.paid, account.paid * UNIT, account.paid * UNIT - own)
    assert account.paid == RATE


def test_what_only_the_payee_counted_is_no_use_of_its_own() -> None:
    account = payer(10, 8 * UNIT, 3 * UNIT)
    assert account.own == 5 * UNIT
    assert account.used == 8 * UNIT
    account.took(UNIT)
    assert account.own == 6 * UNIT
    assert sign_all(account) == 9 + (RATE - 3) * 3 // 4


def test_what_was_granted_at_a_high_rate_does_not_block_a_low_one() -> None:
    ends = Neighbours(500)
    ends.carry(1, down=200 * UNIT)
    ends.send_down(100 * UNIT)
    ends.down.clear()
    ends.rate = ends.payer.rate = 1
    for _ in range(1000):
        ends.send_down(UNIT)
        assert ends.settle()


def test_what_is_signed_cannot_be_taken_back() -> None:
    account = payer(paid=6)
    with pytest.raises(ValueError, match="cannot be taken back"):
        account.paid = 5
    account.paid = 6
    assert account.paid == 6


@pytest.mark.parametrize("rate", [6, 30, 500])
@pytest.mark.parametrize("before", [0, 20])
def test_links_that_die_with_all_that_is_paid_under_way_blame_nobody(rate: int, before: int) -> None:
    """Only the payee has counted it, each time. MB are carried before, and between."""
    ends = Neighbours(rate)
    piece = 20_000 * rate
    ends.carry(before * 50, down=piece)
    for _ in range(20):
        ends.settle()
        while ends.send_down(piece):
            pass
        ends.reconnect()
        assert not ends.down
        assert ends.settle()
        own = ends.payer.own
        ends.carry(200, down=piece)
        assert ends.payer.own - own > 2 * rate * UNIT
    assert ends.exposure <= ends.allowed + ends.counted // SLACK_SHARE


@pytest.mark.parametrize("rate", [6, 30, 500])
def test_two_links_may_die_before_anything_comes(rate: int) -> None:
    ends = Neighbours(rate)
    for _ in range(2):
        ends.settle()
        while ends.send_down(MESSAGE_BYTES * rate):
            pass
        ends.reconnect()
        assert ends.settle()
    assert ends.counted == 0
    assert ends.exposure <= ends.payer.window


@pytest.mark.parametrize("value", NO_AMOUNTS)
def test_what_comes_in_is_whole(value: int) -> None:
    account, payee = payer(), PayeeAccount(0, 0)
    calls: list[Callable[[], object]] = [
        lambda: PayerAccount(value, 0),
        lambda: PayerAccount(0, value),
        lambda: PayerAccount(0, 0, value),
        lambda: PayeeAccount(value, 0),
        lambda: PayeeAccount(0, value),
        lambda: account.states(value),
        lambda: setattr(account, "paid", value),
        lambda: payee.pays(value),
        lambda: payee.arrived(value),
    ]
    for call in calls:
        with pytest.raises(ValueError, match="whole number"):
            call()
    assert account.paid == payee.paid == account.stated == payee.used == 0


def test_the_largest_amounts_are_taken_and_no_larger_ones() -> None:
    account, payee = payer(MAX_AMOUNT, MAX_PARTS, MAX_PARTS), PayeeAccount(MAX_AMOUNT, MAX_PARTS)
    assert account.next_amount(MAX_AMOUNT) is None
    assert account.room == payee.room == 0
    with pytest.raises(ValueError, match="whole number"):
        payee.pays(MAX_AMOUNT + 1)
    with pytest.raises(ValueError, match="whole number"):
        account.paid = MAX_AMOUNT + 1
    for hear in (payee.arrived, account.states):
        with pytest.raises(ValueError, match="whole number"):
            hear(MAX_PARTS + 1)


def test_no_more_is_used_than_is_paid() -> None:
    for account in (PayerAccount, PayeeAccount):
        account(1, UNIT)
        with pytest.raises(ValueError, match="no more can be used than is paid"):
            account(1, UNIT + 1)
    with pytest.raises(ValueError, match="surplus"):
        PayerAccount(1, UNIT - 1, UNIT)


# -- the payee


def test_nothing_is_moved_that_is_not_paid() -> None:
    account = PayeeAccount(0, 0)
    assert not account.take(1)
    assert not account.take_datagram(1)
    account.pays(1)
    assert not account.take(UNIT + 1)
    assert not account.take(-1)
    assert account.take(UNIT - 1)
    assert account.take_datagram(1)
    assert account.take(0)
    assert not account.take(1)
    assert account.used == account.counted == UNIT
    assert account.room == 0


def test_a_lower_voucher_changes_nothing() -> None:
    account = PayeeAccount(5, 0)
    account.pays(4)
    assert account.paid == 5
    assert account.room == 5 * UNIT


def test_what_never_left_is_given_back_but_no_more_than_was_counted() -> None:
    account = PayeeAccount(5, 2 * UNIT)
    account.take(UNIT)
    account.give_back(UNIT // 2)
    assert account.used == 2 * UNIT + UNIT // 2
    account.give_back(UNIT)
    assert account.used == 2 * UNIT
    assert account.room == 3 * UNIT


# -- both


def test_a_payee_that_crashed_is_not_said_to_count_too_little() -> None:
    ends = Neighbours(RATE)
    ends.carry(20, down=WINDOW // 8)
    ends.kept.used = ends.payer.own
    ends.connect()
    assert ends.payer.own == ends.payer.used == ends.payee.used < ends.counted


def test_a_payer_that_lost_its_books_pays_on() -> None:
    ends = Neighbours(RATE)
    ends.carry(20, down=WINDOW // 8)
    ends.taken.used = ends.payee.used
    ends.kept.paid = ends.kept.used = 0
    ends.connect()
    assert ends.payer.paid == ends.payee.paid
    ends.carry(20, down=WINDOW // 8)
    assert ends.payee.used == 40 * WINDOW // 8


@given(
    total=st.integers(1, 20 * 10**6),
    rate=st.integers(1, 500),
    cuts=st.lists(st.integers(1, MESSAGE_BYTES), min_size=1, max_size=5),
)
def test_a_bill_does_not_depend_on_how_traffic_is_cut(total: int, rate: int, cuts: list[int]) -> None:
    bills = []
    for sizes in (cuts, [MESSAGE_BYTES]):
        account, left, turn = PayeeAccount(MAX_AMOUNT, 0), min(total, 100 * min(cuts)), 0
        while left:
            size = min(left, sizes[turn % len(sizes)])
            assert account.take(size * rate)
            left, turn = left - size, turn + 1
        bills.append(account.used)
    assert bills[0] == bills[1]


@given(
    steps=st.lists(st.integers(1, len(RATES) - 1), min_size=1, max_size=5).map(tuple),
    messages=st.lists(
        st.tuples(st.booleans(), st.integers(1, MESSAGE_BYTES), st.integers(1, 30), st.integers(1, 9)), max_size=6
    ),
)
def test_a_relay_promises_no_more_than_it_was_paid_and_a_window(
    steps: tuple[int, ...], messages: list[tuple[bool, int, int, int]]
) -> None:
    """And keeps its own share of everything that went through it."""
    links = [Neighbours(rate_at(steps, place)) for place in range(len(steps))]
    shares = [0] * len(steps)
    for up, size, times, breaks_at in messages:
        for _ in range(times):
            for place in range(min(len(steps), breaks_at) if up else len(steps)):
                count = size + LAYER_BYTES * (len(steps) - place)
                parts = count * links[place].rate
                links[place].carry(1, up=up * parts, down=(not up) * parts)
                shares[place] += count * RATES[steps[place]]
    for (comes, goes), share in zip(pairwise(links), shares, strict=False):
        assert (goes.kept.paid - comes.kept.paid) * UNIT <= goes.payer.window + goes.counted // SLACK_SHARE
        assert comes.payee.used - goes.payer.used >= share


def test_what_is_paid_far_ahead_was_used() -> None:
    account = PayeeAccount(100, 10 * PARTS_PER_UNIT)
    account.bound(95 * PARTS_PER_UNIT)
    assert account.used == 10 * PARTS_PER_UNIT, "no further ahead than it may be"
    account.bound(7 * PARTS_PER_UNIT)
    assert (account.room, account.used) == (7 * PARTS_PER_UNIT, 93 * PARTS_PER_UNIT)
    assert account.counted == 0
    assert account.take(7 * PARTS_PER_UNIT)
    assert not account.take(1)
