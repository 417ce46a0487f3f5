"""Accounts of neighbours under any order of traffic, loss, vouchers, crashes and lies.

What must hold: the payee moves nothing that is not paid; the payer never signs more than one window, and 1/64 of what
it counted, ahead of its own count, over the whole life of a channel; what is signed never falls; honest ends never get
stuck.
"""

from __future__ import annotations

from copy import copy

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from ledger.account import FIRST_WINDOW_MB, SLACK_SHARE, PayeeAccount, PayerAccount
from ledger.amounts import MAX_AMOUNT, MAX_PARTS, PARTS_PER_UNIT
from tests.ledger.neighbours import MESSAGE_BYTES, Neighbours

RATES = st.sampled_from([1, 2, 5, 15, 100, 500])
BYTES = st.one_of(
    st.integers(0, MESSAGE_BYTES), st.sampled_from([MESSAGE_BYTES, 10 * MESSAGE_BYTES, FIRST_WINDOW_MB * 10**6])
)
PLACES = st.integers(0, 1 << 16)


class Honest(RuleBasedStateMachine):
    """Two honest ends on a bad line, whose nodes crash."""

    @initialize(rate=RATES)
    def begin(self, rate: int) -> None:
        self.ends = Neighbours(rate)
        self.highest = 0

    @rule(size=BYTES, share=st.integers(1, 3), datagram=st.booleans())
    def up(self, size: int, share: int, datagram: bool) -> None:
        self.ends.send_up(size * max(1, self.ends.rate // share), datagram=datagram)

    @rule(size=BYTES, share=st.integers(1, 3), datagram=st.booleans())
    def down(self, size: int, share: int, datagram: bool) -> None:
        self.ends.send_down(size * max(1, self.ends.rate // share), datagram=datagram)

    @rule(
        rounds=st.integers(1, 60),
        up=st.booleans(),
        down=st.booleans(),
        eighths=st.integers(1, 4),
        datagrams=st.booleans(),
        lose=st.sampled_from([0, 2, 3, 5, 40]),
    )
    def carry(self, rounds: int, up: bool, down: bool, eighths: int, datagrams: bool, lose: int) -> None:
        parts = min(self.ends.payer.window * eighths // 8, 10**10)
        self.ends.carry(rounds, up=up * parts, down=down * parts, datagrams=datagrams, lose=lose)

    @precondition(lambda self: self.ends.up)
    @rule(place=PLACES)
    def arrive_up(self, place: int) -> None:
        self.ends.arrive_up(place % len(self.ends.up))

    @precondition(lambda self: self.ends.down)
    @rule(place=PLACES)
    def arrive_down(self, place: int) -> None:
        self.ends.arrive_down(place % len(self.ends.down))

    @rule()
    def lose_datagrams(self) -> None:
        self.ends.up = [piece for piece in self.ends.up if not piece.datagram]
        self.ends.down = [piece for piece in self.ends.down if not piece.datagram]

    @rule(place=PLACES)
    def cut_streams(self, place: int) -> None:
        del self.ends.up[place % (len(self.ends.up) + 1) :]
        del self.ends.down[place % (len(self.ends.down) + 1) :]

    @rule(place=PLACES)
    def reset_before_it_left(self, place: int) -> None:
        up, down = self.ends.up, self.ends.down
        if up:
            self.ends.unsend_up(place % len(up))
        if down and not down[place % len(down)].datagram:
            self.ends.payee.give_back(down.pop(place % len(down)).parts)

    @rule(rate=RATES)
    def circuits_change(self, rate: int) -> None:
        self.ends.rate = self.ends.payer.rate = rate

    @rule(room=st.one_of(st.just(MAX_AMOUNT), st.integers(0, 1000)), sent=st.booleans())
    def sign(self, room: int, sent: bool) -> None:
        if self.ends.sign(min(MAX_AMOUNT, self.ends.kept.paid + room), sent=sent) and not sent:
            self.ends.connect()

    @precondition(lambda self: self.ends.vouchers)
    @rule()
    def voucher_arrives(self) -> None:
        self.ends.hear_voucher()

    @precondition(lambda self: self.ends.words)
    @rule()
    def word_arrives(self) -> None:
        self.ends.hear_word()

    @precondition(lambda self: self.ends.waiting or self.ends.blocked)
    @rule()
    def due(self) -> None:
        self.ends.say_due()

    @rule()
    def reconnect(self) -> None:
        self.ends.reconnect()

    @rule()
    def payer_crashes(self) -> None:
        self.ends.taken.used = self.ends.payee.used
        self.ends.connect()

    @rule()
    def payee_crashes(self) -> None:
        self.ends.kept.used = self.ends.payer.own
        self.ends.connect()

    @rule()
    def payer_loses_its_books(self) -> None:
        self.ends.taken.used = self.ends.payee.used
        self.ends.kept.paid = self.ends.kept.used = 0
        self.ends.connect()

    @rule()
    def settle(self) -> None:
        live = self.ends.settle()
        gap = self.ends.payee.used - self.ends.payer.own
        assert live or gap > self.ends.tolerance

    @invariant()
    def nothing_is_moved_that_is_not_paid(self) -> None:
        payee = self.ends.payee
        assert payee.start <= payee.used <= payee.paid * PARTS_PER_UNIT
        assert payee.paid == self.ends.taken.paid <= self.ends.kept.paid or not self.ends.kept.paid

    @invariant()
    def the_payer_is_at_most_a_window_ahead(self) -> None:
        ends = self.ends
        known = ends.counted + ends.forgiven
        assert ends.exposure <= ends.allowed + ends.forgiven + known // SLACK_SHARE

    @invariant()
    def nothing_falls(self) -> None:
        assert self.ends.taken.paid >= self.highest
        self.highest = self.ends.taken.paid


class LyingPayee(RuleBasedStateMachine):
    """A payer, and a payee that says whatever it likes and reconnects as it likes."""

    @initialize(rate=RATES)
    def begin(self, rate: int) -> None:
        self.payer = PayerAccount(0, 0)
        self.payer.rate = rate
        self.counted = self.allowed = 0

    @rule(size=BYTES)
    def sends(self, size: int) -> None:
        if self.payer.take(size * self.payer.rate):
            self.counted += size * self.payer.rate

    @rule(size=BYTES, datagram=st.booleans())
    def comes(self, size: int, datagram: bool) -> None:
        self.payer.took(size * self.payer.rate, datagram=datagram)
        self.counted += size * self.payer.rate

    @rule(data=st.data(), answers=st.booleans())
    def states(self, data: st.DataObject, answers: bool) -> None:
        likely = st.integers(0, 2 * self.payer.counted + 10 * self.payer.window)
        parts = data.draw(st.one_of(likely, st.just(self.payer.counted), st.just(MAX_PARTS)))
        self.payer.states(parts, self.payer.paid if answers else 0)

    @rule(rate=RATES)
    def circuits_change(self, rate: int) -> None:
        self.payer.rate = rate

    @rule(times=st.integers(1, 5))
    def signs(self, times: int) -> None:
        for _ in range(times):
            amount = self.payer.next_amount(MAX_AMOUNT)
            if amount is None:
                return
            assert amount > self.payer.paid
            self.allowed = self.payer.widest
            self.payer.paid = amount

    @rule(share=st.fractions(0, 1))
    def reconnects(self, share: float) -> None:
        told = int(self.payer.paid * PARTS_PER_UNIT * share)
        rate, own = self.payer.rate, self.payer.own
        self.payer = PayerAccount(self.payer.paid, told, max(0, told - own))
        self.payer.rate = rate

    @rule(most=st.one_of(st.just(MAX_PARTS), st.integers(0, MAX_PARTS)), share=st.fractions(0, 1))
    def counts_unasked(self, most: int, share: float) -> None:
        self.payer.look(most)
        assert self.payer.until <= most
        more = int(max(0, self.payer.until - self.payer.counted) * share)
        self.payer.counted += more
        self.counted += more

    @invariant()
    def until_asked_nothing_is_due_and_all_is_paid(self) -> None:
        then = copy(self.payer)
        if then.until > then.counted:
            assert copy(then).take(then.until - then.counted)
            then.counted = then.until
            assert then.next_amount(MAX_AMOUNT) is None

    @invariant()
    def it_gets_no_more_than_a_window(self) -> None:
        assert self.payer.paid * PARTS_PER_UNIT - self.counted <= self.allowed + self.counted // SLACK_SHARE

    @invariant()
    def no_more_is_used_than_paid(self) -> None:
        assert 0 <= self.payer.used <= self.payer.paid * PARTS_PER_UNIT


class LyingPayer(RuleBasedStateMachine):
    """A payee, and a payer that says whatever it likes of what arrived."""

    @initialize()
    def begin(self) -> None:
        self.payee = PayeeAccount(0, 0)
        self.moved = self.datagrams = 0

    @rule(parts=st.integers(0, 10**9))
    def moves(self, parts: int) -> None:
        self.moved += parts if self.payee.take(parts) else 0

    @rule(parts=st.integers(0, 10**9))
    def sends_datagram(self, parts: int) -> None:
        if self.payee.take_datagram(parts):
            self.moved += parts
            self.datagrams += parts

    @rule(data=st.data())
    def arrived(self, data: st.DataObject) -> None:
        self.payee.arrived(data.draw(st.one_of(st.integers(0, 2 * self.datagrams), st.just(MAX_PARTS))))

    @rule(units=st.integers(-1000, 10_000))
    def pays(self, units: int) -> None:
        paid = self.payee.paid
        self.payee.pays(max(0, paid + units))
        assert self.payee.paid == paid + max(0, units)

    @rule()
    def reconnects(self) -> None:
        self.payee = PayeeAccount(self.payee.paid, self.payee.used)

    @invariant()
    def it_gets_a_quarter_of_the_datagrams_for_nothing(self) -> None:
        assert 0 <= self.moved - self.payee.used <= self.datagrams // 4

    @invariant()
    def nothing_is_moved_that_is_not_paid(self) -> None:
        assert self.payee.used <= self.payee.paid * PARTS_PER_UNIT


for _machine in (Honest, LyingPayee, LyingPayer):
    _machine.TestCase.settings = settings(stateful_step_count=50, deadline=None)
TestHonest = Honest.TestCase
TestLyingPayee = LyingPayee.TestCase
TestLyingPayer = LyingPayer.TestCase
