"""What two neighbours cancel: between honest ones nearly everything, and against a liar no more than a window."""

from __future__ import annotations

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from ledger.account import SLACK_SHARE, PayeeAccount, PayerAccount
from ledger.amounts import MAX_AMOUNT, MAX_PARTS, PARTS_PER_UNIT
from ledger.set_off import SetOff
from tests.ledger.neighbours import Neighbours, sign_all

UNIT = PARTS_PER_UNIT
RATE = 5
WINDOW = RATE * PARTS_PER_UNIT
EIGHTH = WINDOW // 8


class Pair:
    """Two honest relays that work for each other: `there` is what the first pays, `back` what the second pays."""

    def __init__(self) -> None:
        self.there, self.back = Neighbours(RATE), Neighbours(RATE)
        self.first = SetOff(self.there.payer, self.back.payee)
        self.second = SetOff(self.back.payer, self.there.payee)

    def talk(self) -> None:
        """Each says its word, if it has one, and hears the other's."""
        words = self.first.next_word(), self.second.next_word()
        for word, hearer in zip(words, (self.second, self.first), strict=True):
            if word is not None:
                hearer.hears(word)

    def carry(self, rounds: int, there: int, back: int) -> None:
        for _ in range(rounds):
            self.there.carry(1, up=there // 2, down=there - there // 2)
            self.back.carry(1, up=back - back // 2, down=back // 2)
            self.talk()


def test_who_uses_as_much_as_it_serves_pays_the_first_window_only() -> None:
    pair = Pair()
    pair.carry(1000, EIGHTH, EIGHTH)
    assert max(pair.there.kept.paid, pair.back.kept.paid) * PARTS_PER_UNIT < WINDOW
    assert pair.first.agreed == pair.second.agreed > 999 * EIGHTH - WINDOW // 4
    assert pair.there.payer.used == pair.there.payee.used < WINDOW // 2


def test_who_uses_more_pays_the_difference() -> None:
    pair = Pair()
    pair.carry(1000, 3 * EIGHTH, EIGHTH)
    difference = pair.there.payer.counted - pair.back.payer.counted
    assert difference == 2 * 1000 * EIGHTH
    ahead = pair.there.kept.paid * PARTS_PER_UNIT - difference
    assert 0 < ahead < pair.there.payer.window + WINDOW
    assert pair.back.kept.paid * PARTS_PER_UNIT < pair.back.payer.counted // 20


def test_what_was_paid_is_not_cancelled() -> None:
    """One used much and paid for it; what the other then uses, it pays for as well."""
    pair = Pair()
    pair.there.carry(1000, up=EIGHTH)
    used = pair.there.payee.used
    pair.carry(1000, 0, EIGHTH)
    assert pair.first.agreed <= pair.there.payer.window // 2
    assert pair.back.kept.paid * PARTS_PER_UNIT > used - pair.there.payer.window


def test_nothing_is_cancelled_that_only_one_used() -> None:
    pair = Pair()
    pair.carry(1000, EIGHTH, 0)
    assert pair.first.agreed == pair.second.agreed == 0
    pair.second.hears(MAX_PARTS)
    pair.first.hears(MAX_PARTS)
    assert pair.first.agreed == pair.second.agreed == 0
    assert pair.there.payer.used == pair.there.payee.used == 1000 * EIGHTH


def test_a_word_says_something_new() -> None:
    pair = Pair()
    pair.there.carry(2, up=EIGHTH)
    pair.back.carry(1, up=WINDOW // 16 - 1)
    assert pair.first.next_word() is None
    pair.back.carry(1, up=1)
    assert pair.first.next_word() == WINDOW // 16
    assert pair.first.next_word() is None
    assert pair.first.agreed == 0
    assert pair.there.payer.offered == WINDOW // 16


def test_a_lower_word_changes_nothing() -> None:
    pair = Pair()
    pair.carry(4, EIGHTH, EIGHTH)
    agreed = pair.first.agreed
    assert agreed > 0
    pair.first.hears(0)
    assert pair.first.agreed == pair.there.payer.set_off == pair.back.payee.set_off == agreed


@pytest.mark.parametrize("word", [-1, MAX_PARTS + 1, True, 1.0, "1", None])
def test_a_word_is_an_amount(word: int) -> None:
    pair = Pair()
    with pytest.raises(ValueError, match="whole number"):
        pair.first.hears(word)


def test_what_is_cancelled_is_never_more_than_is_counted() -> None:
    pair = Pair()
    pair.carry(4, EIGHTH, EIGHTH)
    payee = pair.there.payee
    payee.give_back(payee.counted)
    assert payee.used == payee.start
    payee.cancel(payee.set_off + 1)
    assert payee.used == payee.start


def test_what_is_cancelled_is_not_used() -> None:
    account = PayerAccount(6, UNIT)
    account.rate = RATE
    assert account.take(4 * UNIT)
    account.cancel(3 * UNIT, 3 * UNIT)
    assert account.own == account.used == 2 * UNIT
    assert account.room == 4 * UNIT
    assert not account.take(4 * UNIT + 1)
    assert account.take(4 * UNIT)


@pytest.mark.parametrize(("agreed", "offered"), [(0, 0), (0, 2), (2, 2), (1, 3)])
def test_an_offer_counts_as_if_it_were_agreed(agreed: int, offered: int) -> None:
    """A payee that states too much gets the payer no further than a window ahead of what is left then."""
    account = PayerAccount(6, 0)
    account.rate = RATE
    account.took(6 * UNIT)
    account.cancel(agreed * UNIT, offered * UNIT)
    account.states(MAX_PARTS)
    assert sign_all(account) == 6 - offered + RATE * 3 // 4


def test_what_is_offered_stays_counted() -> None:
    account = PayerAccount(0, 0)
    account.rate = RATE
    account.took(3 * UNIT)
    account.cancel(UNIT, 2 * UNIT)
    for paid in (3, 4):
        account.paid = paid
        account.states(0, paid)
    assert account.counted == 2 * UNIT
    account.give_back(UNIT)
    assert account.counted == 2 * UNIT
    assert account.own == UNIT


def test_an_offer_leaves_the_payer_at_most_a_window_ahead() -> None:
    account = PayerAccount(0, 0)
    account.rate = RATE
    account.took(UNIT)
    assert account.offerable() == UNIT, "no more than is counted"
    account = PayerAccount(7, 2 * UNIT, UNIT)
    account.rate = RATE
    account.took(UNIT * 3 // 2)
    assert account.offerable() == UNIT // 2, "the window"
    account.took(10 * UNIT)
    assert account.offerable() == WINDOW // 4, "one step"
    account.cancel(UNIT, 2 * UNIT)
    assert account.offerable() == UNIT + WINDOW // 4, "a step above what is agreed"


class LyingNeighbour(RuleBasedStateMachine):
    """An honest node, and a neighbour that says whatever it likes and reconnects as it likes.

    Attributes:
        got: parts that the honest node was served, by its own count.
        gave: parts that it served.
    """

    @initialize(rate=st.sampled_from([1, 5, 100]))
    def begin(self, rate: int) -> None:
        self.rate = rate
        self.got = self.gave = self.allowed = 0
        self.connect(PayerAccount(0, 0), PayeeAccount(0, 0))

    def connect(self, payer: PayerAccount, payee: PayeeAccount) -> None:
        self.payer, self.payee = payer, payee
        self.payer.rate = self.rate
        self.set_off = SetOff(payer, payee)

    @rule(times=st.integers(1, 8), sixteenths=st.integers(1, 8))
    def uses(self, times: int, sixteenths: int) -> None:
        for _ in range(times):
            parts = self.payer.window * sixteenths // 16
            if self.payer.take(parts):
                self.got += parts
            self.signs()

    @rule(parts=st.integers(1, 10**9))
    def serves(self, parts: int) -> None:
        if self.payee.take(parts):
            self.gave += parts

    @rule(times=st.integers(1, 8))
    def both_work(self, times: int) -> None:
        self.is_paid(5 * self.rate)
        for _ in range(times):
            self.uses(1, 2)
            self.serves(self.payer.window // 8)
            self.says_a_word()
            self.set_off.hears(min(self.payer.counted, self.payee.counted))

    @rule(units=st.integers(1, 1000))
    def is_paid(self, units: int) -> None:
        self.payee.pays(self.payee.paid + units)

    @rule(data=st.data())
    def hears_a_count(self, data: st.DataObject) -> None:
        parts = data.draw(st.one_of(st.integers(0, 2 * self.payer.counted), st.just(MAX_PARTS)))
        self.payer.states(parts, self.payer.paid)

    @rule()
    def signs(self) -> None:
        amount = self.payer.next_amount(MAX_AMOUNT)
        if amount is not None:
            self.payer.paid = amount
            self.allowed = self.payer.widest

    @rule()
    def says_a_word(self) -> None:
        if self.set_off.next_word() is not None:
            self.allowed = max(self.allowed, self.payer.window)

    @rule(data=st.data())
    def hears_a_word(self, data: st.DataObject) -> None:
        both = st.integers(0, 2 * max(self.got, self.gave))
        self.set_off.hears(data.draw(st.one_of(both, st.just(MAX_PARTS))))

    @rule(share=st.fractions(0, 1))
    def reconnects(self, share: float) -> None:
        told = int(self.payer.paid * PARTS_PER_UNIT * share)
        payer = PayerAccount(self.payer.paid, told, max(0, told - self.payer.own))
        self.connect(payer, PayeeAccount(self.payee.paid, self.payee.used))

    @invariant()
    def it_gets_no_more_than_a_window(self) -> None:
        paid = (self.payer.paid - self.payee.paid) * PARTS_PER_UNIT
        assert paid - self.got + self.gave <= self.allowed + self.got // SLACK_SHARE

    @invariant()
    def it_is_served_no_more_than_it_paid_or_served(self) -> None:
        assert self.payee.start <= self.payee.used <= self.payee.paid * PARTS_PER_UNIT


LyingNeighbour.TestCase.settings = settings(stateful_step_count=30, deadline=None)
TestLyingNeighbour = LyingNeighbour.TestCase
