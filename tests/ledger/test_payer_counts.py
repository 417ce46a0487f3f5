"""The paying end, where the payee counts otherwise, or says nothing."""

from __future__ import annotations

from dataclasses import replace

from core.errors import Reason
from ledger.messages import (
    NO_SIGNATURE,
    Due,
    Paid,
    Side,
    State,
    Stop,
    Stopped,
)
from ledger.payee import DUE_S
from ledger.payer import (
    ANSWER_S,
    COUNTS_S,
    QUIET_S,
    Event,
    Payer,
    Stage,
)
from tests.ledger.sessions import (
    FIRST,
    OWN,
    RATE,
    WINDOW,
    commit_of,
    paid_up,
    payer_in,
    taken,
)


def due_each(payer: Payer, seconds: float, gap: float = DUE_S, start: float = 0.0) -> list[Event]:
    events: list[Event] = []
    for turn in range(round(seconds / gap) + 1):
        events += payer.receive(Due(0), start + turn * gap)
    return events


def test_a_payee_that_waits_though_it_is_paid_is_left() -> None:
    payer = paid_up()
    assert due_each(payer, COUNTS_S - DUE_S) == []
    assert payer.receive(Due(0), COUNTS_S) == [Stopped(Reason.COUNTS_DIFFER, Side.PAYER)]
    assert taken(payer) == [Stop(Side.PAYER, Reason.COUNTS_DIFFER)]


def test_a_payee_that_waits_and_seldom_says_so_is_left_too() -> None:
    payer = paid_up()
    said = [payer.receive(Due(0), turn * QUIET_S) for turn in range(round(COUNTS_S / QUIET_S) + 1)]
    assert said[-1] == [Stopped(Reason.COUNTS_DIFFER, Side.PAYER)]


def test_a_payee_that_no_longer_waits_is_not() -> None:
    payer = paid_up()
    for turn in range(5):
        assert due_each(payer, COUNTS_S - DUE_S, start=turn * (COUNTS_S + QUIET_S)) == []


def test_a_payee_that_is_paid_meanwhile_is_not() -> None:
    payer = paid_up()
    due_each(payer, COUNTS_S - DUE_S)
    payer.account.took(WINDOW // 2)
    amount = commit_of(payer.receive(Due(WINDOW // 2), COUNTS_S)).cumulative
    assert due_each(payer, 1, start=COUNTS_S) == [], "it is being stored"
    payer.stored(0)
    assert due_each(payer, 5, start=COUNTS_S + 1) == [], "it is on its way"
    payer.receive(Paid(amount, WINDOW // 2), 10)
    assert due_each(payer, COUNTS_S - DUE_S, start=10) == []
    assert payer.receive(Due(0), 10 + COUNTS_S) == [Stopped(Reason.COUNTS_DIFFER, Side.PAYER)]


def test_the_time_begins_anew_where_money_was_due() -> None:
    """Also if it could not be paid."""
    payer = payer_in(Stage.UP, replace(OWN, deposit=FIRST))
    payer.stored(0)
    payer.receive(Paid(FIRST, 0), 0)
    due_each(payer, COUNTS_S - DUE_S)
    payer.account.take(WINDOW // 2)
    assert len(payer.receive(Due(0), COUNTS_S)) == 1
    payer.account.give_back(WINDOW // 2)
    assert payer.receive(Due(0), COUNTS_S + DUE_S) == []


def test_the_time_begins_anew_with_a_voucher() -> None:
    payer = paid_up()
    due_each(payer, COUNTS_S - DUE_S)
    payer.account.took(WINDOW // 2)
    amount = commit_of(payer.due()).cumulative
    payer.stored(0)
    payer.receive(Paid(amount, WINDOW // 2), COUNTS_S)
    assert payer.receive(Due(WINDOW // 2), COUNTS_S + DUE_S) == []


def test_what_never_reached_the_payee_is_not_paid_for() -> None:
    """It is clear with the second voucher after."""
    payer = paid_up()
    assert payer.account.take(WINDOW // 2)
    for turn, still_counted in ((1, WINDOW // 2), (2, 0)):
        amount = commit_of(payer.rates(turn * RATE)).cumulative
        payer.stored(0)
        payer.receive(Paid(amount, 0), 0)
        assert payer.account.counted == still_counted


def test_the_payees_count_is_heard() -> None:
    payer = paid_up()
    payer.account.took(WINDOW // 4)
    assert payer.due() == []
    assert commit_of(payer.receive(Due(WINDOW // 2), 0)).cumulative > FIRST


def test_a_payee_that_does_not_answer_is_left() -> None:
    """Not for its fault before it is paid."""
    for stage in (Stage.ASKED, Stage.SHOWN):
        payer = payer_in(stage)
        assert payer.next_at == ANSWER_S
        assert payer.tick(ANSWER_S - 0.1) == []
        assert payer.tick(ANSWER_S) == [Stopped(Reason.NO_CHANNEL, Side.PAYER)]
        assert payer.next_at is None
    payer = payer_in(Stage.UP)
    assert payer.next_at is None, "the store takes what time it needs"
    payer.stored(5)
    payer.receive(Paid(FIRST - 1, 0), 6)
    assert payer.next_at == 5 + ANSWER_S, "it has not acknowledged all"
    assert payer.tick(5 + ANSWER_S) == [Stopped(Reason.COUNTS_DIFFER, Side.PAYER)]
    again = payer_in(Stage.SHOWN, replace(OWN, paid=9))
    again.receive(State(0, NO_SIGNATURE, 0), 7)
    assert again.next_at == 7 + ANSWER_S


def test_a_payee_that_has_answered_owes_nothing() -> None:
    for payer in (payer_in(Stage.OPENING), payer_in(Stage.UP), paid_up(), payer_in(Stage.STOPPED)):
        assert payer.next_at is None
        assert payer.tick(10**6) == []
    payer = payer_in(Stage.SHOWN)
    payer.receive(Stop(Side.PAYEE, Reason.LEAVING), 0)
    assert payer.next_at is None
