"""The paying end: each step, each limit, and a payee that says anything at any time."""

from __future__ import annotations

from dataclasses import replace

import pytest

from core.errors import DecodeError, Reason
from ledger.account import SLACK_SHARE, UNDER_WAY
from ledger.amounts import MAX_PARTS, PARTS_PER_UNIT
from ledger.messages import (
    NO_SIGNATURE,
    Ask,
    Channel,
    Due,
    Paid,
    Side,
    State,
    Stop,
    Stopped,
    Terms,
)
from ledger.payee import DUE_S
from ledger.payer import (
    ANSWER_S,
    Acknowledged,
    Adopt,
    CapReached,
    Commit,
    NeedChannel,
    NeedDeposit,
    Payer,
    Stage,
)
from ledger.voucher import check_proof
from tests.harness.entropy import flipped
from tests.ledger.sessions import (
    ACCOUNT,
    CHANNEL,
    DEPOSIT,
    FIRST,
    KEY,
    LINK,
    OTHER_KEY,
    OWN,
    RATE,
    SEPARATOR,
    WINDOW,
    commit_of,
    paid_up,
    pay,
    payer_in,
    state,
    taken,
    voucher,
)


def test_from_the_question_to_the_first_acknowledgement() -> None:
    payer = Payer(SEPARATOR, LINK, RATE)
    payer.ask(0)
    assert taken(payer) == [Ask()]
    assert payer.receive(Terms(SEPARATOR, ACCOUNT), 0) == [NeedChannel(ACCOUNT)]
    assert payer.own is None
    payer.show(OWN, 0)
    (shown,) = taken(payer)
    assert isinstance(shown, Channel)
    assert shown.channel == CHANNEL
    check_proof(KEY.address, SEPARATOR, CHANNEL, LINK, shown.proof)
    assert payer.own == replace(OWN, rate=RATE)
    assert payer.receive(State(0, NO_SIGNATURE, 0), 0) == [Acknowledged(0), Commit(FIRST, 0)]
    assert taken(payer) == [], "nothing is signed before it is stored"
    assert payer.account.paid == 0
    assert payer.stored(0) == []
    assert taken(payer) == [voucher(FIRST)]
    assert payer.ahead == 0
    assert payer.receive(Paid(FIRST, 0), 0) == [Acknowledged(FIRST)]
    assert payer.ahead == FIRST * PARTS_PER_UNIT
    assert payer.own == replace(OWN, paid=FIRST, sure=True, rate=RATE)


def test_who_pays_elsewhere_has_no_channel_here() -> None:
    payer = payer_in(Stage.ASKED)
    assert payer.receive(Terms(bytes(32), ACCOUNT), 0) == [Stopped(Reason.NO_CHANNEL, Side.PAYER)]
    assert taken(payer) == [Stop(Side.PAYER, Reason.NO_CHANNEL)]


@pytest.mark.parametrize("reason", [Reason.NO_CHANNEL, Reason.NOT_OPEN, Reason.SETTLEMENT])
def test_a_channel_may_be_refused(reason: Reason) -> None:
    payer = payer_in(Stage.SHOWN)
    assert payer.receive(State(0, NO_SIGNATURE, 0, reason), 0) == [Stopped(reason, Side.PAYEE)]
    assert taken(payer) == []


# -- vouchers


def test_the_next_voucher_waits_for_the_store() -> None:
    payer = paid_up()
    payer.account.took(WINDOW // 2)
    assert commit_of(payer.due()) == Commit(FIRST + RATE // 2, WINDOW // 2)
    assert payer.due() == [], "while it is being stored"
    payer.account.took(WINDOW // 2)
    assert commit_of(payer.stored(0)) == Commit(FIRST + RATE, WINDOW)
    assert taken(payer) == [voucher(FIRST + RATE // 2)]


def test_some_vouchers_are_under_way_at_once() -> None:
    payer = paid_up()
    for turn in range(1, UNDER_WAY + 1):
        payer.account.took(WINDOW // 4 + 1)
        assert commit_of(payer.due()).cumulative == FIRST + turn * RATE // 4
        payer.stored(turn)
    payer.account.took(WINDOW // 4 + 1)
    assert payer.due() == []
    assert payer.next_at == 1 + ANSWER_S
    acknowledged, commit = payer.receive(Paid(FIRST + RATE // 4, WINDOW // 4 + 1), 9)
    assert acknowledged == Acknowledged(FIRST + RATE // 4)
    assert commit == Commit(FIRST + (UNDER_WAY + 1) * RATE // 4, (UNDER_WAY + 1) * (WINDOW // 4 + 1))
    assert payer.next_at == 9 + ANSWER_S, "for the next one"


def test_no_more_than_a_window_waits_for_an_answer() -> None:
    payer = payer_in(Stage.UP)
    payer.stored(0)
    assert payer.account.take(FIRST * PARTS_PER_UNIT)
    assert commit_of(payer.due()).cumulative == RATE
    payer.stored(0)
    assert payer.account.take((RATE - FIRST) * PARTS_PER_UNIT)
    assert payer.due() == [], "whatever was sent"
    assert payer.receive(Paid(FIRST, 0), 0) == [Acknowledged(FIRST), Commit(RATE + FIRST, WINDOW)]


def test_what_could_not_be_stored_is_not_signed() -> None:
    payer = payer_in(Stage.UP)
    payer.not_stored()
    assert taken(payer) == []
    assert payer.account.paid == 0
    assert commit_of(payer.due()) == Commit(FIRST, 0), "unless something changes"


def test_a_voucher_says_how_many_datagrams_came() -> None:
    payer = paid_up()
    payer.account.took(WINDOW // 2, datagram=True)
    payer.due()
    payer.stored(0)
    assert taken(payer) == [voucher(FIRST + RATE // 2, datagrams=WINDOW // 2)]


def test_without_a_rate_nothing_is_paid() -> None:
    payer = payer_in(Stage.UP, rate=0)
    assert payer.due() == []
    assert commit_of(payer.rates(RATE)) == Commit(FIRST, 0)
    idle = payer_in(Stage.UP, rate=0)
    idle.rates(0)
    assert idle.receive(Due(10**9), 0) == []
    assert Payer(SEPARATOR, LINK, 0).rates(RATE) == []


def test_a_higher_rate_is_paid_ahead_for() -> None:
    payer = paid_up()
    assert commit_of(payer.rates(RATE * 4)) == Commit(RATE * 3, 0)


def test_a_payee_cannot_acknowledge_what_was_not_signed() -> None:
    payer = paid_up()
    assert payer.receive(Paid(FIRST + 1, 0), 0) == [Stopped(Reason.PROTOCOL, Side.PAYER)]


def test_an_old_acknowledgement_changes_nothing() -> None:
    payer = paid_up()
    assert payer.receive(Paid(FIRST - 1, 0), 0) == payer.receive(Paid(FIRST, 0), 0) == []
    assert payer.acknowledged == FIRST


# -- limits


def test_the_deposit_is_asked_for_once() -> None:
    payer = payer_in(Stage.UP, replace(OWN, deposit=FIRST - 2))
    assert payer.stored(0) == []
    assert payer.receive(Paid(FIRST - 2, 0), 0) == [Acknowledged(FIRST - 2)], "half a window is left"
    payer.account.took(WINDOW // 2)
    assert payer.due() == [NeedDeposit(FIRST + RATE // 2 - (FIRST - 2))]
    assert payer.due() == []
    payer.deposit += 1
    assert commit_of(payer.due()) == Commit(FIRST - 1, WINDOW // 2)
    payer.deposit = DEPOSIT
    assert payer.due() == [], "one is being stored"
    assert commit_of(payer.stored(0)).cumulative == FIRST + RATE // 2


def test_the_cap_is_told_of_once() -> None:
    payer = payer_in(Stage.SHOWN)
    payer.cap = 0
    assert payer.receive(State(0, NO_SIGNATURE, 0), 0) == [Acknowledged(0), CapReached()]
    assert payer.due() == []
    payer.cap = 2
    assert commit_of(payer.due()) == Commit(2, 0)
    assert payer.stored(0) == [CapReached()]
    assert payer.receive(Paid(2, 0), 0) == [Acknowledged(2)]
    assert payer.stop(Reason.SPENDING_CAP) == [Stopped(Reason.SPENDING_CAP, Side.PAYER)]
    assert taken(payer)[-1] == Stop(Side.PAYER, Reason.SPENDING_CAP)


def test_a_deposit_that_grew_is_kept() -> None:
    payer = payer_in(Stage.SHOWN)
    payer.deposit += 1
    assert payer.own == replace(OWN, deposit=DEPOSIT + 1, rate=RATE)


def test_where_both_end_it_is_the_cap() -> None:
    payer = payer_in(Stage.SHOWN, replace(OWN, deposit=0))
    payer.cap = 0
    assert payer.receive(State(0, NO_SIGNATURE, 0), 0) == [Acknowledged(0), CapReached()]


def test_who_waits_for_a_deposit_is_not_said_to_count_wrong() -> None:
    payer = payer_in(Stage.UP, replace(OWN, deposit=0))
    for turn in range(100):
        assert payer.receive(Due(0), turn * DUE_S) == []
    assert payer.stage is Stage.UP


# -- after a link


def test_who_lost_its_books_takes_what_it_signed() -> None:
    """And stores it before it signs more."""
    payer = payer_in(Stage.SHOWN, replace(OWN, paid=3, used=PARTS_PER_UNIT, sure=True))
    acknowledged, adopt = payer.receive(state(50, 49 * PARTS_PER_UNIT), 0)
    assert (acknowledged, adopt) == (Acknowledged(50), Adopt(50, 49 * PARTS_PER_UNIT))
    assert isinstance(adopt, Adopt), "which is no cap's business"
    assert payer.account.paid == 50
    assert commit_of(payer.stored(0)).cumulative == 49 + 12 * 3 // 4, "a quarter of 50 is the window"
    assert taken(payer) == [], "the payee has the voucher"


@pytest.mark.parametrize(
    "changed",
    [
        replace(state(50), cumulative=51),
        state(50, key=OTHER_KEY),
        replace(state(50), signature=flipped(state(50).signature, 77)),
    ],
)
def test_it_takes_nothing_that_it_did_not_sign(changed: State) -> None:
    payer = payer_in(Stage.SHOWN, replace(OWN, paid=49))
    assert payer.receive(changed, 0) == [Stopped(Reason.BAD_VOUCHER, Side.PAYER)]
    assert payer.own == replace(OWN, paid=49, rate=RATE)


def test_a_signature_of_another_channel_is_none() -> None:
    payer = payer_in(Stage.SHOWN)
    foreign = KEY.sign(SEPARATOR, LINK, 50)
    assert payer.receive(State(50, foreign, 0), 0) == [Stopped(Reason.BAD_VOUCHER, Side.PAYER)]


def test_a_payee_that_missed_the_last_voucher_gets_it_again() -> None:
    payer = payer_in(Stage.SHOWN, replace(OWN, paid=50, used=20 * PARTS_PER_UNIT))
    assert payer.receive(state(40, 20 * PARTS_PER_UNIT), 0) == [Acknowledged(40)]
    assert taken(payer) == [voucher(50)]
    payer.account.took(29 * PARTS_PER_UNIT)
    assert commit_of(payer.due()).cumulative == 52, "a window above what is acknowledged"
    assert payer.receive(Paid(50, 0), 0)[0] == Acknowledged(50)


def test_both_ends_begin_at_the_payees_count() -> None:
    for sure in (True, False):
        own = replace(OWN, paid=50, used=40 * PARTS_PER_UNIT, sure=sure)
        lower = payer_in(Stage.SHOWN, own)
        lower.receive(state(50, 30 * PARTS_PER_UNIT), 0)
        assert lower.account.used == 30 * PARTS_PER_UNIT
        higher = payer_in(Stage.SHOWN, own)
        higher.receive(state(50, 41 * PARTS_PER_UNIT), 0)
        assert higher.account.used == 41 * PARTS_PER_UNIT
        assert higher.account.own == (40 if sure else 41) * PARTS_PER_UNIT


def test_what_a_higher_rate_had_under_way_is_not_held_against_the_payee() -> None:
    """A window for it was paid, and got lost with the link; now there is a lower rate, with a smaller window."""
    before = payer_in(Stage.UP, rate=4 * RATE)
    before.stored(0)
    assert before.own is not None
    assert before.own.paid == 3 * RATE
    lost = before.own.paid * PARTS_PER_UNIT
    after = payer_in(Stage.SHOWN, before.own)
    assert commit_of(after.receive(state(3 * RATE, lost), 0)[1:]) == Commit(3 * RATE + FIRST, 0)
    assert after.own is not None
    assert after.own.rate == 4 * RATE


def test_more_use_than_payment_is_a_lie() -> None:
    payer = payer_in(Stage.SHOWN, replace(OWN, paid=51))
    assert payer.receive(state(50, 50 * PARTS_PER_UNIT + 1), 0) == [Stopped(Reason.COUNTS_DIFFER, Side.PAYER)]


def test_a_payee_that_reconnects_and_says_all_is_used_gets_one_window() -> None:
    """A thousand times: it is paid no more, and then it is blamed."""
    own, now = replace(OWN, sure=True), 0.0
    reasons = []
    for _ in range(1000):
        payer = payer_in(Stage.SHOWN, own)
        pay(payer, payer.receive(state(own.paid, own.paid * PARTS_PER_UNIT), now))
        for turn in range(25):
            reasons += payer.receive(Due(MAX_PARTS), now + turn * DUE_S)
        now += 10
        assert payer.own is not None
        own = payer.own
    assert own.paid <= RATE
    assert reasons == [Stopped(Reason.COUNTS_DIFFER, Side.PAYER)] * 1000


def test_a_payee_that_always_says_too_much_gets_a_window_and_its_share() -> None:
    own = replace(OWN, sure=True)
    used = 0
    for _ in range(60):
        payer = payer_in(Stage.SHOWN, own)
        pay(payer, payer.receive(state(own.paid, own.paid * PARTS_PER_UNIT), 0))
        for _ in range(8):
            payer.account.took(PARTS_PER_UNIT)
            used += PARTS_PER_UNIT
            pay(payer, payer.due())
        assert payer.own is not None
        own = payer.own
        assert own.paid * PARTS_PER_UNIT <= used + used // SLACK_SHARE + payer.account.widest
    assert own.paid > 480


# -- the end


@pytest.mark.parametrize("stage", [Stage.OPENING, Stage.SHOWN, Stage.UP])
def test_the_payee_may_stop(stage: Stage) -> None:
    payer = payer_in(stage)
    assert payer.receive(Stop(Side.PAYEE, Reason.LEAVING), 0) == [Stopped(Reason.LEAVING, Side.PAYEE)]
    assert taken(payer) == []


@pytest.mark.parametrize("stage", list(Stage))
def test_the_owner_may_stop(stage: Stage) -> None:
    payer = payer_in(stage)
    over = stage is Stage.STOPPED
    assert payer.stop(Reason.NO_FUNDS) == ([] if over else [Stopped(Reason.NO_FUNDS, Side.PAYER)])
    assert taken(payer) == ([] if over or stage is Stage.START else [Stop(Side.PAYER, Reason.NO_FUNDS)])
    assert payer.stop(Reason.NO_FUNDS) == []


def test_a_late_answer_of_the_owner_does_nothing() -> None:
    payer = payer_in(Stage.OPENING)
    payer.receive(Stop(Side.PAYEE, Reason.LEAVING), 0)
    payer.show(OWN, 0)
    assert taken(payer) == []
    late = payer_in(Stage.UP)
    late.receive(Stop(Side.PAYEE, Reason.LEAVING), 0)
    assert late.stored(0) == late.due() == late.rates(1) == []
    assert taken(late) == [], "what is stored is not signed"
    assert late.own == replace(OWN, paid=FIRST, sure=True, rate=RATE), "but it is stored"


@pytest.mark.parametrize("stage", [Stage.ASKED, Stage.SHOWN, Stage.UP, Stage.STOPPED])
def test_nothing_begins_twice(stage: Stage) -> None:
    payer = payer_in(stage)
    with pytest.raises(DecodeError, match="order"):
        payer.ask(0)
    assert payer.stage is stage
