"""Two that pay and are paid, each with a store that keeps only what was committed, and links between them."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from core.errors import Reason
from ledger import payee, payer
from ledger.messages import Paid, Side, Stopped, Voucher, decode
from ledger.voucher import check
from tests.ledger.sessions import CHANNEL, KEY, SEPARATOR

if TYPE_CHECKING:
    from ledger.payee import Payee, TheirChannel
    from ledger.payer import OwnChannel, Payer


class Wire:
    """A link: control messages and bytes, both ways, each in order. Bytes are a number of parts."""

    def __init__(self, number: int) -> None:
        self.name = bytes([number % 256]) * 32
        self.control: dict[Side, deque[bytes]] = {side: deque() for side in Side}
        self.data: dict[Side, deque[int]] = {side: deque() for side in Side}


@dataclass
class PayerNode:
    """Who pays."""

    books: OwnChannel
    memory: OwnChannel | None = None
    session: Payer | None = None
    wire: Wire | None = None
    writing: payer.Commit | payer.Adopt | None = None
    written: bool = False
    stops: list[Stopped] = field(default_factory=list)

    def act(self, events: list[payer.Event], now: float) -> None:
        assert self.session is not None
        for event in events:
            match event:
                case payer.NeedChannel():
                    self.session.show(self.memory or self.books, now)
                case payer.Commit() | payer.Adopt():
                    assert self.writing is None
                    self.writing, self.written = event, False
                case Stopped():
                    self.stops.append(event)
        self.send()

    def send(self) -> None:
        assert self.session is not None
        for body in self.session.outgoing:
            said = decode(body)
            if isinstance(said, Voucher):
                assert said.cumulative <= self.books.paid, "stored before it is signed"
                check(KEY.address, SEPARATOR, CHANNEL, said.cumulative, said.signature)
            if self.wire is not None:
                self.wire.control[Side.PAYEE].append(body)
        self.session.outgoing.clear()

    def write(self) -> None:
        """The commit becomes durable."""
        assert self.writing is not None
        assert self.books.paid <= self.writing.cumulative <= max(self.books.paid, self.books.deposit)
        self.books = replace(self.books, paid=self.writing.cumulative, used=self.writing.used)
        self.written = True

    def wrote(self, now: float) -> None:
        """The session hears of it."""
        assert self.session is not None
        self.writing = None
        self.act(self.session.stored(now), now)

    def down(self, now: float) -> None:
        """The link ends. What is being stored gets there."""
        if self.session is not None:
            self.session.stop(Reason.CLOSED)
        if self.writing is not None:
            if not self.written:
                self.write()
            self.wire = None
            self.wrote(now)
        if self.session is not None:
            self.memory = self.session.own or self.memory
        self.session = self.wire = None

    def crash(self) -> None:
        self.session = self.wire = self.memory = self.writing = None


@dataclass
class PayeeNode:
    """Who is paid."""

    books: TheirChannel
    memory: TheirChannel | None = None
    session: Payee | None = None
    wire: Wire | None = None
    writing: payee.Commit | None = None
    written: bool = False
    credited: int = 0
    waiting: deque[tuple[Side, int]] = field(default_factory=deque)
    stops: list[Stopped] = field(default_factory=list)

    def act(self, events: list[payee.Event], deposit: int, now: float) -> None:
        assert self.session is not None
        for event in events:
            match event:
                case payee.Look():
                    self.books = replace(self.books, deposit=deposit)
                    if self.session.stage is payee.Stage.UP:
                        self.act(self.session.set_deposit(deposit, now), deposit, now)
                    else:
                        known = self.memory or self.books
                        self.act(self.session.accept(replace(known, deposit=deposit)), deposit, now)
                case payee.Commit():
                    assert self.writing is None
                    self.writing, self.written = event, False
                case Stopped():
                    self.stops.append(event)
                    self.waiting.clear()
        self.send()

    def send(self) -> None:
        assert self.session is not None
        for body in self.session.outgoing:
            said = decode(body)
            if isinstance(said, Paid):
                assert said.cumulative <= self.books.paid, "stored before it is acknowledged"
            if self.wire is not None:
                self.wire.control[Side.PAYER].append(body)
        self.session.outgoing.clear()

    def write(self) -> None:
        assert self.writing is not None
        assert self.books.paid < self.writing.cumulative <= self.books.deposit
        check(KEY.address, SEPARATOR, CHANNEL, self.writing.cumulative, self.writing.signature)
        self.credited += self.writing.cumulative - self.books.paid
        self.books = replace(
            self.books, paid=self.writing.cumulative, signature=self.writing.signature, used=self.writing.used
        )
        self.written = True

    def wrote(self, deposit: int, now: float) -> None:
        assert self.session is not None
        self.writing = None
        self.act(self.session.stored(now), deposit, now)

    def down(self, deposit: int, now: float) -> None:
        if self.session is not None:
            self.session.stop(Reason.CLOSED)
        if self.writing is not None:
            if not self.written:
                self.write()
            self.wire = None
            self.wrote(deposit, now)
        if self.session is not None and self.up:
            self.memory = replace(self.books, used=self.session.account.used)
        self.session = self.wire = None
        self.waiting.clear()

    @property
    def up(self) -> bool:
        """Whether there is an account, though the session may have stopped."""
        return self.session is not None and self.session._account is not None

    def crash(self) -> None:
        self.session = self.wire = self.memory = self.writing = None
        self.waiting.clear()
