"""The rules of the books, one by one. `test_store_machine` tries them together."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from msgspec.structs import replace

from core.errors import PaymentError, Reason
from ledger import books as books_module
from ledger.amounts import MAX_AMOUNT
from ledger.books import Books, Draft, PayeeChannel, PayerChannel, Totals
from ledger.settlement import ChannelState
from tests.ledger.rows import UNIT, name, payee, payer, signature

if TYPE_CHECKING:
    from collections.abc import Callable

PAYER, PAYEE, OTHER, UNKNOWN = name(1), name(2), name(3), name(9)


def draft() -> Draft:
    """One channel with 10 of 100 paid, one with 10 of 100 earned, one closed; 60 may be signed, 15 are."""
    return Draft(
        Books(
            [payer(1, paid=10, used=4 * UNIT), payer(3, paid=5, state=ChannelState.CLOSED)],
            [payee(2, paid=10, signature=signature(10), used=3 * UNIT, claimed=6)],
            Totals(cap=60),
        )
    )


def refused(reason: Reason, call: Callable[..., object], *arguments: object) -> None:
    with pytest.raises(PaymentError) as caught:
        call(*arguments)
    assert caught.value.reason is reason


REFUSALS: list[tuple[str, tuple[Any, ...], Reason]] = [
    ("raise_paid", (PAYER, 56, 0), Reason.SPENDING_CAP),
    ("raise_paid", (PAYER, 101, 0), Reason.SPENDING_CAP),
    ("raise_paid", (OTHER, 6, 0), Reason.NOT_OPEN),
    ("raise_paid", (PAYEE, 11, 0), Reason.NO_CHANNEL),
    ("adopt_paid", (PAYER, 101, 0), Reason.NO_FUNDS),
    ("adopt_paid", (UNKNOWN, 6, 0), Reason.NO_CHANNEL),
    ("take_voucher", (PAYEE, 101, signature(101), 0), Reason.NO_FUNDS),
    ("take_voucher", (PAYER, 11, signature(11), 0), Reason.NO_CHANNEL),
    ("use", (UNKNOWN, 0), Reason.NO_CHANNEL),
    ("deposit", (PAYER, 9), Reason.NO_FUNDS),
    ("deposit", (PAYEE, 9), Reason.NO_FUNDS),
    ("deposit", (OTHER, 101), Reason.NOT_OPEN),
    ("deposit", (UNKNOWN, 101), Reason.NO_CHANNEL),
    ("claimed", (PAYEE, 11), Reason.BAD_VOUCHER),
    ("claimed", (PAYER, 1), Reason.NO_CHANNEL),
    ("state", (OTHER, ChannelState.CLOSING), Reason.NOT_OPEN),
    ("state", (UNKNOWN, ChannelState.CLOSING), Reason.NO_CHANNEL),
    ("forget", (PAYER,), Reason.TOO_EARLY),
    ("forget", (PAYEE,), Reason.TOO_EARLY),
    ("forget", (UNKNOWN,), Reason.NO_CHANNEL),
]

WRONG: list[tuple[str, tuple[Any, ...]]] = [
    ("raise_paid", (PAYER, 9, 0)),
    ("raise_paid", (PAYER, 20, -1)),
    ("raise_paid", (PAYER, 20, 99.5 * UNIT)),
    ("raise_paid", (PAYER, 20.0, 0)),
    ("raise_paid", (PAYER, 90.0, 0)),
    ("adopt_paid", (PAYER, 9, 0)),
    ("adopt_paid", (PAYER, MAX_AMOUNT + 1, 0)),
    ("take_voucher", (PAYEE, 11, signature(11), 11 * UNIT + 1)),
    ("take_voucher", (PAYEE, 11, signature(11), True)),
    ("take_voucher", (PAYEE, 11, signature(11)[1:], 0)),
    ("take_voucher", (PAYEE, 11, bytes(65), 0)),
    ("take_voucher", (PAYEE, True, signature(1), 0)),
    ("use", (PAYEE, 10 * UNIT + 1)),
    ("use", (PAYER, -1)),
    ("deposit", (PAYER, 100.0)),
    ("deposit", (PAYER, -1)),
    ("claimed", (PAYEE, 5)),
    ("claimed", (PAYEE, -1)),
    ("claimed", (PAYEE, 99.0)),
    ("state", (PAYER, 2)),
    ("cap", (-1,)),
    ("cap", (MAX_AMOUNT + 1,)),
    ("cap", (True,)),
    ("add_payer", (payer(1),)),
    ("add_payer", (payer(2),)),
    ("add_payer", (payer(4, paid=1),)),
    ("add_payer", (payer(4, state=ChannelState.CLOSED),)),
    ("add_payee", (payee(1),)),
    ("add_payee", (payee(2),)),
    ("add_payee", (payee(4, paid=1, signature=signature(1)),)),
]


@pytest.mark.parametrize(("call", "arguments", "reason"), REFUSALS)
def test_what_is_refused_changes_nothing(call: str, arguments: tuple[Any, ...], reason: Reason) -> None:
    tried = draft()
    refused(reason, getattr(tried, call), *arguments)
    assert tried.is_empty
    assert tried.signed == 15


@pytest.mark.parametrize(("call", "arguments"), WRONG)
def test_what_is_wrong_changes_nothing(call: str, arguments: tuple[Any, ...]) -> None:
    tried = draft()
    with pytest.raises(ValueError, match=r"\w"):
        getattr(tried, call)(*arguments)
    assert tried.is_empty
    assert tried.signed == 15


def test_paying_raises_what_is_signed() -> None:
    tried = draft()
    tried.raise_paid(PAYER, 55, 20 * UNIT)
    assert (tried.payer(PAYER).paid, tried.payer(PAYER).used, tried.signed) == (55, 20 * UNIT, 60)
    tried.raise_paid(PAYER, 55, 19 * UNIT)
    assert (tried.payer(PAYER).used, tried.signed) == (19 * UNIT, 60)


def test_what_was_signed_on_forgotten_channels_counts() -> None:
    books = Books([payer(1, paid=10)], [], Totals(cap=60, spent=20))
    assert books.signed == 30
    refused(Reason.SPENDING_CAP, Draft(books).raise_paid, PAYER, 41, 0)
    Draft(books).raise_paid(PAYER, 40, 0)


def test_a_lowered_cap_stops_what_comes() -> None:
    tried = draft()
    tried.cap(3)
    refused(Reason.SPENDING_CAP, tried.raise_paid, PAYER, 11, 0)
    tried.raise_paid(PAYER, 10, 5 * UNIT)
    assert tried.payer(PAYER).used == 5 * UNIT


def test_what_was_signed_before_is_adopted_whatever_the_cap_says() -> None:
    tried = draft()
    tried.state(PAYER, ChannelState.CLOSING)
    tried.adopt_paid(PAYER, 90, 80 * UNIT)
    assert (tried.payer(PAYER).paid, tried.signed) == (90, 95)


def test_all_that_is_signed_is_an_amount() -> None:
    tried = Draft(Books([payer(1, MAX_AMOUNT, paid=1), payer(3, MAX_AMOUNT)], [], Totals(cap=MAX_AMOUNT)))
    refused(Reason.NO_FUNDS, tried.adopt_paid, name(3), MAX_AMOUNT, 0)
    tried.adopt_paid(name(3), MAX_AMOUNT - 1, 0)
    assert tried.signed == MAX_AMOUNT
    with pytest.raises(ValueError, match="amount"):
        Books([payer(1, MAX_AMOUNT, paid=MAX_AMOUNT), payer(3, paid=1)], [], Totals())


def test_bounds_are_within() -> None:
    tried = draft()
    tried.cap(105)
    tried.raise_paid(PAYER, 100, 0)
    assert (tried.payer(PAYER).paid, tried.signed) == (100, 105)
    tried.claimed(PAYEE, 6)
    tried.claimed(PAYEE, 10)
    assert tried.payee(PAYEE).claimed == 10
    tried.state(PAYER, ChannelState.OPEN)
    tried.deposit(PAYER, 100)
    tried.deposit(OTHER, 100)


def test_a_gift_is_not_remembered() -> None:
    tried = draft()
    tried.raise_paid(PAYER, 12, 15 * UNIT)
    assert tried.payer(PAYER).used == 12 * UNIT
    tried.use(PAYER, 99 * UNIT)
    assert tried.payer(PAYER).used == 12 * UNIT


def test_a_voucher_is_kept_if_it_is_the_highest() -> None:
    tried = draft()
    for lower in (9, 10):
        assert not tried.take_voucher(PAYEE, lower, signature(lower), 9 * UNIT)
        assert tried.is_empty
    tried.state(PAYEE, ChannelState.CLOSING)
    assert tried.take_voucher(PAYEE, 100, signature(100), 9 * UNIT)
    row = tried.payee(PAYEE)
    assert (row.paid, row.signature, row.used, row.claimed) == (100, signature(100), 9 * UNIT, 6)
    tried.state(PAYEE, ChannelState.CLOSED)
    tried.deposit(PAYEE, 100)
    assert not tried.take_voucher(PAYEE, 100, signature(100), 0)


def test_a_closed_channel_takes_no_voucher() -> None:
    tried = draft()
    tried.state(PAYEE, ChannelState.CLOSED)
    refused(Reason.NOT_OPEN, tried.take_voucher, PAYEE, 11, signature(11), 0)


def test_a_deposit_changes_only_while_a_channel_is_open() -> None:
    tried = draft()
    tried.deposit(PAYER, 200)
    tried.deposit(PAYEE, 10)
    assert (tried.payer(PAYER).deposit, tried.payee(PAYEE).deposit) == (200, 10)
    tried.state(PAYER, ChannelState.CLOSING)
    tried.deposit(PAYER, 200)
    refused(Reason.NOT_OPEN, tried.deposit, PAYER, 201)


def test_what_is_forgotten_stays_in_the_totals() -> None:
    tried = draft()
    tried.claimed(PAYEE, 7)
    tried.state(PAYEE, ChannelState.CLOSED)
    tried.forget(PAYEE)
    tried.forget(OTHER)
    assert tried.totals == Totals(cap=60, spent=5, earned=7)
    assert tried.signed == 15
    refused(Reason.NO_CHANNEL, tried.payer, OTHER)
    refused(Reason.NO_CHANNEL, tried.forget, PAYEE)
    refused(Reason.SPENDING_CAP, tried.raise_paid, PAYER, 56, 0)


def test_earnings_beyond_all_amounts_are_no_obstacle() -> None:
    row = payee(2, MAX_AMOUNT, paid=MAX_AMOUNT, signature=signature(1), claimed=MAX_AMOUNT, state=ChannelState.CLOSED)
    tried = Draft(Books([], [row], Totals(earned=1)))
    tried.forget(PAYEE)
    assert tried.totals.earned == MAX_AMOUNT


def test_there_is_a_limit_to_channels(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(books_module, "MAX_CHANNELS", 3)
    tried = draft()
    tried.raise_paid(PAYER, 11, 0)
    tried.add_payer(payer(4))
    refused(Reason.BUSY, tried.add_payer, payer(5))
    tried.forget(OTHER)
    tried.add_payer(payer(5))
    tried.add_payee(payee(6))
    tried.add_payee(payee(7))
    refused(Reason.BUSY, tried.add_payee, payee(8))


def test_books_stay_until_a_draft_is_taken() -> None:
    books = Books([payer(1), payer(3, state=ChannelState.CLOSED)], [payee(2)], Totals(cap=60))
    tried = Draft(books)
    tried.raise_paid(PAYER, 5, 0)
    tried.take_voucher(PAYEE, 6, signature(6), 0)
    tried.forget(OTHER)
    assert (books.payers[PAYER].paid, books.payees[PAYEE].paid, books.signed, len(books.payers)) == (0, 0, 0, 2)
    books.take(tried)
    assert (books.payers[PAYER].paid, books.payees[PAYEE].paid, books.signed, len(books.payers)) == (5, 6, 5, 1)


def test_a_channel_is_there_once() -> None:
    for payers, payees in (([payer(1), payer(1)], []), ([], [payee(1), payee(1)]), ([payer(1)], [payee(1)])):
        with pytest.raises(ValueError, match="twice"):
            Books(payers, payees, Totals())


@pytest.mark.parametrize(
    "wrong",
    [
        {"channel": bytes(31)},
        {"channel": bytearray(32)},
        {"peer": bytes(33)},
        {"separator": bytes(31)},
        {"account": bytes(21)},
        {"secret": b""},
        {"deposit": -1},
        {"deposit": MAX_AMOUNT + 1},
        {"paid": 101},
        {"paid": 1.0},
        {"used": 1},
        {"used": False},
        {"state": 1},
    ],
)
def test_a_row_of_a_payer_is_whole(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"\w"):
        replace(payer(1), **wrong)


@pytest.mark.parametrize(
    "wrong",
    [
        {"channel": bytes(33)},
        {"separator": b""},
        {"signer": bytes(19)},
        {"signature": signature(1)},
        {"signature": bytes(64)},
        {"paid": 1},
        {"paid": 101, "signature": signature(1)},
        {"paid": 1, "signature": signature(1), "claimed": 2},
        {"claimed": -1},
        {"used": -1},
        {"state": None},
    ],
)
def test_a_row_of_a_payee_is_whole(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"\w"):
        replace(payee(1), **wrong)


def test_rows_show_nothing() -> None:
    shown: list[PayerChannel | PayeeChannel | Totals] = [payer(1), payee(2), Totals(cap=4711)]
    for row in shown:
        assert repr(row) == f"{type(row).__name__}([redacted])"
        assert str(row) == repr(row)
