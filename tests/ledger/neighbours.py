"""A payer's and a payee's account in memory, and between them a wire that a test delays, cuts and ends by hand."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import Final, NamedTuple

from ledger.account import KEPT_SHARE, LEAST_LEFT, SLACK_SHARE, PayeeAccount, PayerAccount
from ledger.amounts import MAX_AMOUNT, PARTS_PER_UNIT

MESSAGE_BYTES: Final = 33_000
"""The longest message with its layers, nearly (docs/protocol.md)."""


def sign_all(account: PayerAccount) -> int:
    """Sign as much as can be signed without more use; units."""
    for _ in range(100):
        amount = account.next_amount(MAX_AMOUNT)
        if amount is None:
            return account.paid
        account.paid = amount
    raise AssertionError("there is no end to the signing")


class Piece(NamedTuple):
    """A message or a datagram under way, in parts."""

    parts: int
    datagram: bool = False


@dataclass
class Books:
    """What one end has stored: units paid, parts used."""

    paid: int = 0
    used: int = 0


class Neighbours:
    """Both ends, the store of each, and what is under way between them.

    Attributes:
        payer, payee: the accounts of the present link.
        up, down: what is under way to the payee, and to the payer; may come in any order.
        vouchers: (units, datagrams) under way; in order.
        words: (units, or 0; count) of PAID and DUE under way; in order.
        waiting: parts that came to the payee and are not paid.
        counted: parts that the payer ever counted, whatever became of its books.
        forgiven: parts that the payer took over from the payee when it had lost its books.
        allowed: parts of the window at the last signature, and of what never left since.
    """

    def __init__(self, rate: int = 1) -> None:
        self.kept, self.taken = Books(), Books()
        self.rate = rate
        self.counted = self.forgiven = self.allowed = self.signatures = 0
        self.connect()

    def connect(self) -> None:
        """Bring up a link: what was under way on the last one is gone, and the payee shows what it has."""
        self.up: list[Piece] = []
        self.down: list[Piece] = []
        self.vouchers: deque[tuple[int, int]] = deque()
        self.words: deque[tuple[int, int]] = deque()
        self.waiting: deque[int] = deque()
        self.blocked = False
        told = self.taken.used
        if self.taken.paid > self.kept.paid:
            self.forgiven = max(self.forgiven, told - self.counted)
            self.kept = Books(self.taken.paid, told)
        self.payee = PayeeAccount(self.taken.paid, told)
        self.payer = PayerAccount(self.kept.paid, told, max(0, told - self.kept.used))
        self.payer.rate = self.rate
        if self.kept.paid > self.taken.paid:
            self.vouchers.append((self.kept.paid, 0))

    def reconnect(self) -> None:
        """End the link in good order at both ends, and bring up another."""
        self.kept.used = self.payer.own
        self.taken.used = self.payee.used
        self.connect()

    # -- what crosses

    def send_up(self, parts: int, *, datagram: bool = False) -> bool:
        if not self.payer.take(parts):
            return False
        self.counted += parts
        self.up.append(Piece(parts, datagram))
        return True

    def send_down(self, parts: int, *, datagram: bool = False) -> bool:
        if not (self.payee.take_datagram(parts) if datagram else self.payee.take(parts)):
            self.blocked = True
            return False
        self.down.append(Piece(parts, datagram))
        return True

    def unsend_up(self, place: int = 0) -> None:
        """Something turns out never to have left the payer."""
        parts = self.up.pop(place).parts
        self.payer.give_back(parts)
        self.counted -= parts
        self.allowed += parts

    def arrive_up(self, place: int = 0) -> None:
        piece = self.up.pop(place)
        if piece.datagram:
            self.payee.take(piece.parts)
        else:
            self.waiting.append(piece.parts)
            self.serve()

    def arrive_down(self, place: int = 0) -> None:
        piece = self.down.pop(place)
        self.payer.took(piece.parts, datagram=piece.datagram)
        self.counted += piece.parts

    def serve(self) -> None:
        """Move on what waits at the payee, as far as it is paid."""
        while self.waiting and self.payee.take(self.waiting[0]):
            self.waiting.popleft()

    # -- what is said

    def sign(self, limit: int = MAX_AMOUNT, *, sent: bool = True) -> bool:
        """Store and sign what is due; False if nothing is. A voucher that is not sent stands for a crash in between."""
        amount = self.payer.next_amount(limit)
        if amount is None:
            return False
        assert self.kept.paid < amount <= limit
        self.allowed = self.payer.widest
        self.kept = Books(amount, self.payer.own)
        self.payer.paid = amount
        self.signatures += 1
        if sent:
            self.vouchers.append((amount, self.payer.datagrams))
        return True

    def hear_voucher(self) -> None:
        amount, datagrams = self.vouchers.popleft()
        self.taken = Books(max(self.taken.paid, amount), self.payee.used)
        self.payee.pays(amount)
        self.payee.arrived(datagrams)
        self.blocked = False
        self.serve()
        self.words.append((self.payee.paid, self.payee.counted))

    def say_due(self) -> None:
        self.words.append((0, self.payee.counted))

    def hear_word(self) -> None:
        acknowledged, counted = self.words.popleft()
        self.payer.states(counted, acknowledged)

    def carry(self, rounds: int, *, up: int = 0, down: int = 0, datagrams: bool = False, lose: int = 0) -> None:
        """Let traffic run as it does on a good line, round trip after round trip, with vouchers when they are due.

        Args:
            rounds: round trips.
            up, down: parts each way in each round.
            datagrams: all of it datagrams.
            lose: one piece in so many is lost; 0 for none.
        """
        for number in range(1, rounds + 1):
            self.sign()
            while self.vouchers:
                self.hear_voucher()
            if up:
                self.send_up(up, datagram=datagrams)
            if down:
                self.send_down(down, datagram=datagrams)
            if lose and number % lose == 0:
                self.up.clear()
                self.down.clear()
            while self.up:
                self.arrive_up()
            while self.down:
                self.arrive_down()
            if self.waiting or self.blocked:
                self.say_due()
            while self.words:
                self.hear_word()

    # -- what must hold

    @property
    def message(self) -> int:
        """Parts of a long message at the highest rate in use."""
        return MESSAGE_BYTES * self.rate

    @property
    def exposure(self) -> int:
        """Parts that are signed, and that the payer has not counted."""
        return self.kept.paid * PARTS_PER_UNIT - self.counted

    @property
    def tolerance(self) -> int:
        """Parts by which the payee's count may be above the payer's without either getting stuck."""
        surplus = self.payer.start + self.payer.counted - self.payer.own
        left = self.payer.widest + self.payer.own // SLACK_SHARE - surplus
        return surplus + min(left, max(left - left // KEPT_SHARE, LEAST_LEFT)) - self.message - PARTS_PER_UNIT

    def settle(self) -> bool:
        """Let everything arrive, and both ends do what they do, until nothing changes.

        Returns:
            Whether both ends could go on with a long message.
        """
        for _ in range(100):
            while self.up or self.down or self.vouchers or self.words:
                while self.up:
                    self.arrive_up()
                while self.down:
                    self.arrive_down()
                while self.vouchers:
                    self.hear_voucher()
                while self.words:
                    self.hear_word()
            if self.waiting or self.payee.room < self.message:
                self.say_due()
                self.hear_word()
            if not self.sign():
                break
        else:
            raise AssertionError("there is no end to the signing")
        return not self.waiting and min(self.payee.room, self.payer.room) >= self.message
