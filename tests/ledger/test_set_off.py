"""What two neighbours cancel: between honest ones nearly everything, and against a liar no more than a window."""

from __future__ import annotations

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from ledger.account import SLACK_SHARE, PayeeAccount, PayerAccount
from ledger.amounts import MAX_AMOUNT, MAX_PARTS, PARTS_PER_UNIT
from ledger.set_off import SetOff
from tests.ledger.neighbours import MESSAGE_BYTES, Neighbours

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

    @rule(times=st.integers(1, 100), size=st.integers(1, MESSAGE_BYTES))
    def uses(self, times: int, size: int) -> None:
        for _ in range(times):
            if self.payer.take(size * self.rate):
                self.got += size * self.rate
            self.signs()

    @rule(times=st.integers(1, 100), size=st.integers(1, MESSAGE_BYTES))
    def serves(self, times: int, size: int) -> None:
        for _ in range(times):
            if self.payee.take(size * self.rate):
                self.gave += size * self.rate

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


LyingNeighbour.TestCase.settings = settings(stateful_step_count=50, deadline=None)
TestLyingNeighbour = LyingNeighbour.TestCase
