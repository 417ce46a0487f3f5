"""Both ends of a channel, over links that delay and drop, with stores that keep only what was committed.

Invariants 2 to 7 and 9 of the payments: what is cumulative never falls, and counts once; no claim above what is stored,
nothing stored above the deposit; the payee moves only what is paid; the payer is never more than a window ahead; after
any crash the payer has stored at least what the payee has, which is at least what was acknowledged, and at most one
window more; what others signed, for another channel or with another key, changes nothing; and only the order of
things matters, never a clock.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from core.errors import Reason
from ledger import payee, payer
from ledger.account import LEAST_WINDOW, window_units
from ledger.amounts import PARTS_PER_UNIT
from ledger.messages import NO_SIGNATURE, Ask, Side, Voucher, decode, reader_of
from ledger.payee import LOOK_S, Payee, TheirChannel
from ledger.payer import OwnChannel, Payer
from tests.ledger.nodes import PayeeNode, PayerNode, Wire
from tests.ledger.sessions import ACCOUNT, CHANNEL, KEY, OTHER_KEY, SEPARATOR, voucher

RATES: Final = (2, 8, 40)
SIDES: Final = st.sampled_from(Side)
MAX_ITEM: Final = 2 * PARTS_PER_UNIT


class SessionsMachine(RuleBasedStateMachine):
    """The two, moved by hand."""

    @initialize(deposit=st.sampled_from([3, 30, 300]), rate=st.sampled_from(RATES))
    def begin(self, deposit: int, rate: int) -> None:
        self.now = 100.0
        self.deposit = deposit
        self.rate = self.highest_rate = rate
        self.near = PayerNode(OwnChannel(CHANNEL, KEY, deposit))
        self.far = PayeeNode(TheirChannel(KEY.address, deposit))
        self.links = 0
        self.acknowledged = 0
        self.restored = self.readopted = False
        """Whether the payer's books are older than what it signed, and whether the payee has shown it since."""
        self.backup = self.near.books
        self.own = self.lost = 0
        """Parts that the payer ever counted, and that the payee counted and the payer never."""
        self.dial(6)

    # -- links and crashes

    @rule(turns=st.integers(0, 6))
    def dial(self, turns: int) -> None:
        """The payer has a new link, and the payee hears of it before it hears of the end of the old one, if ever. So
        many turns of the two are heard at once."""
        self.hang_up(Side.PAYER)
        self.links += 1
        self.near.wire = Wire(self.links)
        self.near.session = Payer(SEPARATOR, self.near.wire.name, self.rate)
        self.near.session.ask(self.now)
        self.near.send()
        for turn in range(turns):
            self.deliver(Side.PAYER if turn % 2 else Side.PAYEE, 1)

    @rule(side=SIDES)
    def hang_up(self, side: Side) -> None:
        if side is Side.PAYEE:
            self.far.down(self.deposit, self.now)
        else:
            self.lose_what_is_under_way()
            self.near.down(self.now)

    @precondition(lambda self: self.near.session or self.far.session)
    @rule(side=SIDES, turns=st.integers(0, 6), steps=st.integers(0, 2), rare=st.integers(0, 3))
    def crash(self, side: Side, turns: int, steps: int, rare: int) -> None:
        """Most often while something is being stored: before it is, before the session hears of it, or after it sent
        what follows."""
        node, stores = (self.near, self.payer_stores) if side is Side.PAYER else (self.far, self.payee_stores)
        if node.writing is None and rare:
            return
        if steps and node.writing is not None:
            stores(steps)
        if side is Side.PAYER:
            self.lose_what_is_under_way()
        node.crash()
        if turns:
            self.dial(turns)

    def lose_what_is_under_way(self) -> None:
        if self.near.wire is not None:
            self.lost += sum(self.near.wire.data[Side.PAYER])
            self.near.wire.data[Side.PAYER].clear()

    @rule()
    def back_up(self) -> None:
        self.backup = self.near.books

    @rule(turns=st.integers(0, 6))
    def restore(self, turns: int) -> None:
        """The payer lost its store, and has an old one."""
        self.lose_what_is_under_way()
        self.near.crash()
        self.near.books = replace(self.backup, deposit=self.near.books.deposit)
        self.restored, self.readopted = True, False
        self.dial(turns)

    @rule()
    def ask_again(self) -> None:
        """On the same link, after the session stopped."""
        near = self.near
        if near.wire is not None and near.session is not None and near.session.stage is payer.Stage.STOPPED:
            self.finish_writing()
            self.now += LOOK_S
            near.memory = near.session.own or near.memory
            near.session = Payer(SEPARATOR, near.wire.name, self.rate)
            near.session.ask(self.now)
            near.send()

    # -- stores

    @precondition(lambda self: self.near.writing)
    @rule(steps=st.integers(1, 2))
    def payer_stores(self, steps: int) -> None:
        for _ in range(steps):
            if not self.near.written:
                self.near.write()
            elif self.near.writing is not None:
                self.near.wrote(self.now)

    @precondition(lambda self: self.far.writing)
    @rule(steps=st.integers(1, 2))
    def payee_stores(self, steps: int) -> None:
        for _ in range(steps):
            if not self.far.written:
                self.far.write()
            elif self.far.writing is not None:
                self.far.wrote(self.deposit, self.now)
                self.move_on()

    def finish_writing(self) -> None:
        for _ in range(3):
            if self.near.writing is not None:
                self.payer_stores(2)
            if self.far.writing is not None:
                self.payee_stores(2)

    # -- what passes

    @rule(side=SIDES, count=st.integers(1, 9))
    def deliver(self, side: Side, count: int) -> None:
        wire = self.near.wire
        for _ in range(count):
            if wire is None or not wire.control[side]:
                return
            body = wire.control[side].popleft()
            if side is Side.PAYER:
                self.to_payer(body)
            else:
                self.to_payee(wire, body)

    def to_payer(self, body: bytes) -> None:
        message = decode(body)
        assert reader_of(message) is Side.PAYER
        assert self.near.session is not None
        self.near.act(self.near.session.receive(message, self.now), self.now)
        if self.near.session.stage is payer.Stage.UP:
            self.readopted = True
            assert self.near.session.acknowledged <= self.far.books.paid
            self.acknowledged = max(self.acknowledged, self.near.session.acknowledged)

    def to_payee(self, wire: Wire, body: bytes) -> None:
        message, far = decode(body), self.far
        assert reader_of(message) is Side.PAYEE
        if isinstance(message, Ask) and (
            far.wire is not wire or far.session is None or far.session.may_follow(self.now)
        ):
            far.down(self.deposit, self.now)
            far.wire = wire
            far.session = Payee(SEPARATOR, ACCOUNT, wire.name, self.now)
        if far.wire is wire and far.session is not None:
            far.act(far.session.receive(message, self.now), self.deposit, self.now)

    @rule(parts=st.integers(1, MAX_ITEM), count=st.integers(1, 5), at_once=st.booleans())
    def send_up(self, parts: int, count: int, at_once: bool) -> None:
        session = self.near.session
        if session is None or session.stage is not payer.Stage.UP or self.near.wire is None:
            return
        for _ in range(count):
            if session.account.take(parts):
                self.own += parts
                self.near.wire.data[Side.PAYEE].append(parts)
            self.near.act(session.due(), self.now)
        if at_once:
            self.deliver_data(Side.PAYEE, count)

    @rule(parts=st.integers(1, MAX_ITEM), count=st.integers(1, 5), at_once=st.booleans())
    def send_down(self, parts: int, count: int, at_once: bool) -> None:
        for _ in range(count):
            if self.far_serves() and len(self.far.waiting) < 5:
                self.far.waiting.append((Side.PAYER, parts))
                self.move_on()
        if at_once:
            self.deliver_data(Side.PAYER, count)

    @rule(side=SIDES, count=st.integers(1, 9))
    def deliver_data(self, side: Side, count: int) -> None:
        wire = self.near.wire
        for _ in range(count):
            if wire is None or not wire.data[side]:
                return
            parts = wire.data[side].popleft()
            if side is Side.PAYER:
                self.own += parts
                assert self.near.session is not None
                if self.near.session.stage is payer.Stage.UP:
                    self.near.session.account.took(parts)
                    self.near.act(self.near.session.due(), self.now)
            elif self.far.wire is wire and self.far_serves():
                self.far.waiting.append((Side.PAYEE, parts))
                self.move_on()

    def far_serves(self) -> bool:
        return self.far.session is not None and self.far.session.stage is payee.Stage.UP

    def move_on(self) -> None:
        """The payee moves what waits, as far as it is paid, and says if it is not."""
        if not self.far_serves():
            return
        assert self.far.session is not None
        while self.far.waiting and self.far.session.account.take(self.far.waiting[0][1]):
            to, parts = self.far.waiting.popleft()
            if to is Side.PAYER:
                if self.far.wire is self.near.wire and self.far.wire is not None:
                    self.far.wire.data[Side.PAYER].append(parts)
                else:
                    self.lost += parts
        if self.far.waiting:
            self.far.session.short(self.now)
        else:
            self.far.session.enough()
        self.far.send()

    @rule(seconds=st.sampled_from([0.0, 0.02, 0.1, 0.4, 1.0, 6.0]))
    def time_passes(self, seconds: float) -> None:
        """A little while something is under way: whatever is sent arrives, in the end."""
        if seconds > 0.1 and not self.quiet():
            return
        self.now += seconds
        if self.near.session is not None:
            self.near.act(self.near.session.tick(self.now), self.now)
        if self.far.session is not None:
            self.far.act(self.far.session.tick(self.now), self.deposit, self.now)
            self.move_on()

    @rule(rate=st.sampled_from(RATES))
    def another_rate(self, rate: int) -> None:
        self.rate, self.highest_rate = rate, max(rate, self.highest_rate)
        if self.near.session is not None and self.near.session.stage is not payer.Stage.STOPPED:
            self.near.act(self.near.session.rates(rate), self.now)

    @rule(units=st.integers(1, 50))
    def top_up(self, units: int) -> None:
        self.deposit += units
        self.near.books = replace(self.near.books, deposit=self.deposit)
        if self.near.memory is not None:
            self.near.memory = replace(self.near.memory, deposit=self.deposit)
        if self.near.session is not None:
            self.near.session.deposit = self.deposit
            self.near.act(self.near.session.due(), self.now)

    @rule(cumulative=st.integers(0, 60), forged=st.booleans())
    def replay(self, cumulative: int, forged: bool) -> None:
        """A voucher of before comes again, or one that another key signed for no more than is stored."""
        if not self.far_serves() or self.far.session is None:
            return
        again = min(cumulative, self.far.books.paid)
        if self.far.writing is not None:
            again = min(again, self.far.writing.cumulative)
        said = voucher(again, OTHER_KEY if forged else KEY) if again else Voucher(0, NO_SIGNATURE, 0)
        before = (self.far.session.account.paid, self.far.session.account.used, self.far.writing)
        assert self.far.session.receive(said, self.now) == []
        assert not self.far.session.outgoing
        assert before == (self.far.session.account.paid, self.far.session.account.used, self.far.writing)

    # -- what must hold

    @rule()
    def settle(self) -> None:
        """On a link that lasts, the two agree, and whoever has money can use it."""
        self.dial(0)
        for _ in range(200):
            self.deliver(Side.PAYEE, 9)
            self.deliver(Side.PAYER, 9)
            self.finish_writing()
            self.deliver_data(Side.PAYEE, 9)
            self.deliver_data(Side.PAYER, 9)
            self.time_passes(0.02)
            if self.quiet() and self.far.session is not None and self.far.session.next_at is None:
                break
        else:
            raise AssertionError("never quiet")
        near, far = self.near.session, self.far.session
        assert near is not None
        assert far is not None
        assert (near.stage, far.stage) == (payer.Stage.UP, payee.Stage.UP)
        assert near.acknowledged == near.account.paid == self.near.books.paid == self.far.books.paid
        assert near.account.used == far.account.used
        alone = near.account.used - near.account.own
        if near.account.paid < self.deposit and alone * 4 <= near.account.window:
            assert near.account.room * 2 >= near.account.window
            assert far.account.take(1)
            assert near.account.take(1)
            self.own += 1

    def quiet(self) -> bool:
        """Nothing is under way, or being stored."""
        wire = self.near.wire
        passing = [] if wire is None else [*wire.control.values(), *wire.data.values()]
        return not any(passing) and self.near.writing is None and self.far.writing is None

    @invariant()
    def books_agree(self) -> None:
        near, far = self.near.books, self.far.books
        assert far.paid == self.far.credited, "each increment once"
        assert self.acknowledged <= far.paid <= far.deposit <= self.deposit
        self.restored = self.restored and not (self.readopted and near.paid >= far.paid)
        if not self.restored:
            assert far.paid <= near.paid <= self.deposit
            assert near.paid <= far.paid + window_units(near.paid, self.highest_rate), "one window ahead"
        assert (far.signature == NO_SIGNATURE) == (far.paid == 0)

    @invariant()
    def the_payee_moves_what_is_paid(self) -> None:
        assert 0 <= self.far.books.used <= self.far.books.paid * PARTS_PER_UNIT
        if self.far.up:
            assert self.far.session is not None
            account = self.far.session.account
            assert 0 <= account.used <= account.paid * PARTS_PER_UNIT
            assert account.paid <= self.far.books.paid

    @invariant()
    def the_payer_is_a_window_ahead(self) -> None:
        wire = self.near.wire
        under_way = sum(wire.data[Side.PAYER]) if wire is not None else 0
        window = window_units(self.near.books.paid, self.highest_rate) * PARTS_PER_UNIT
        assert self.near.books.paid * PARTS_PER_UNIT <= self.own + self.lost + under_way + window

    @invariant()
    def honest_ends_never_blame_each_other(self) -> None:
        """Unless much got lost with links: then the payer cannot know."""
        differ = {Reason.COUNTS_DIFFER} if self.lost * 4 > LEAST_WINDOW * PARTS_PER_UNIT else set()
        assert {stop.reason for stop in self.near.stops} <= {Reason.UNPAID} | differ
        assert {stop.reason for stop in self.far.stops} <= {Reason.UNPAID} | differ


SessionsMachine.TestCase.settings = settings(
    max_examples=60, stateful_step_count=60, deadline=None, suppress_health_check=list(HealthCheck)
)
TestSessions = SessionsMachine.TestCase
