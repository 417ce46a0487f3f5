"""The paid end: each step, what it costs to be flooded, and a payer that says anything at any time."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import ledger.payee
from core.errors import DecodeError, Reason
from ledger.account import UNDER_WAY
from ledger.amounts import MAX_AMOUNT, MAX_PARTS, PARTS_PER_UNIT
from ledger.messages import (
    NO_SIGNATURE,
    Ask,
    Channel,
    Due,
    Message,
    Paid,
    SetOff,
    Side,
    State,
    Stop,
    Stopped,
    Terms,
    Voucher,
    decode,
)
from ledger.payee import (
    CHECK_S,
    CHECKS_AHEAD,
    DUE_S,
    LOOK_S,
    UNPAID_S,
    Commit,
    Event,
    Look,
    Payee,
    Stage,
)
from ledger.voucher import check
from tests.harness.entropy import flipped
from tests.ledger.sessions import (
    ACCOUNT,
    CHANNEL,
    DEPOSIT,
    KEY,
    LINK,
    OTHER_KEY,
    SEPARATOR,
    THEIRS,
    heard,
    payee_in,
    signature,
    taken,
    theirs,
    voucher,
)

SHOWN = Channel(CHANNEL, KEY.prove(SEPARATOR, CHANNEL, LINK))


def committed(payee: Payee, cumulative: int, now: float = 0.0, used: int = 0) -> None:
    """A voucher comes and is to be stored."""
    assert payee.receive(voucher(cumulative), now) == [Commit(cumulative, signature(cumulative), used)]


@pytest.fixture
def checks(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The amounts of the vouchers whose signature is checked, as long as the test lasts."""
    seen: list[int] = []

    def counted(signer: bytes, separator: bytes, channel: bytes, cumulative: int, signed: bytes) -> None:
        seen.append(cumulative)
        check(signer, separator, channel, cumulative, signed)

    monkeypatch.setattr(ledger.payee, "check", counted)
    return seen


def test_from_the_question_to_the_first_acknowledgement() -> None:
    payee = Payee(SEPARATOR, ACCOUNT, LINK, 0)
    assert payee.receive(Ask(), 0) == []
    assert taken(payee) == [Terms(SEPARATOR, ACCOUNT)]
    assert payee.receive(SHOWN, 0) == [Look(CHANNEL)]
    assert taken(payee) == [], "nothing is told before the owner has looked"
    assert payee.accept(theirs(5, 4)) == []
    assert taken(payee) == [State(5, signature(5), 4)]
    committed(payee, 9, used=4)
    assert taken(payee) == [], "nothing is acknowledged before it is stored"
    assert payee.account.paid == 5, "and nothing moved on"
    payee.account.take(1)
    assert payee.stored(0) == []
    assert taken(payee) == [Paid(9, 1)]
    assert payee.account.paid == 9
    assert payee.next_at is None


@pytest.mark.parametrize("reason", [Reason.NO_CHANNEL, Reason.NOT_OPEN, Reason.SETTLEMENT])
def test_the_owner_may_refuse_a_channel(reason: Reason) -> None:
    payee = payee_in(Stage.LOOKING)
    assert payee.refuse(reason) == [Stopped(reason, Side.PAYEE)]
    assert taken(payee) == [State(0, NO_SIGNATURE, 0, reason)]
    assert payee.refuse(reason) == payee.accept(THEIRS) == []
    assert taken(payee) == []


@pytest.mark.parametrize(
    "proof",
    [
        KEY.prove(SEPARATOR, CHANNEL, flipped(LINK, 3)),
        KEY.prove(SEPARATOR, flipped(CHANNEL, 3), LINK),
        KEY.prove(flipped(SEPARATOR, 3), CHANNEL, LINK),
        OTHER_KEY.prove(SEPARATOR, CHANNEL, LINK),
        signature(7),
    ],
    ids=["other link", "other channel", "other domain", "other key", "a voucher"],
)
def test_who_has_not_the_key_learns_nothing_of_the_channel(proof: bytes) -> None:
    payee = payee_in(Stage.TOLD)
    payee.receive(Channel(CHANNEL, proof), 0)
    assert payee.accept(theirs(7, 3)) == [Stopped(Reason.BAD_VOUCHER, Side.PAYEE)]
    assert taken(payee) == [State(0, NO_SIGNATURE, 0, Reason.BAD_VOUCHER)]


# -- vouchers


@pytest.mark.parametrize("cumulative", [0, 1, 6, 7])
def test_the_same_or_a_lower_voucher_changes_nothing(cumulative: int, checks: list[int]) -> None:
    payee = payee_in(Stage.UP, theirs(7))
    again = replace(voucher(max(1, cumulative)), cumulative=cumulative)
    assert payee.receive(again, 0) == []
    committed(payee, 9)
    assert payee.receive(again, 0) == payee.receive(voucher(9), 0) == payee.receive(voucher(8), 0) == []
    assert payee.stored(0) == []
    assert payee.account.paid == 9
    assert checks == [9], "nor is it looked at"


@pytest.mark.parametrize(
    "wrong",
    [
        voucher(9, OTHER_KEY),
        replace(voucher(9), cumulative=10),
        replace(voucher(9), signature=flipped(voucher(9).signature, 99)),
        replace(voucher(9), signature=NO_SIGNATURE),
        replace(voucher(9), signature=KEY.sign(SEPARATOR, LINK, 9)),
    ],
    ids=["other key", "other amount", "flipped bit", "none", "other channel"],
)
def test_a_voucher_that_is_none_ends_it(wrong: Voucher) -> None:
    payee = payee_in(Stage.UP, theirs(7))
    assert payee.receive(wrong, 0) == [Stopped(Reason.BAD_VOUCHER, Side.PAYEE)]
    assert taken(payee) == [Stop(Side.PAYEE, Reason.BAD_VOUCHER)]
    assert payee.account.paid == 7


def test_the_highest_of_those_that_come_meanwhile_is_next(checks: list[int]) -> None:
    payee = payee_in(Stage.UP)
    committed(payee, 1)
    for cumulative in (5, 3, 8, 7, 2):
        assert payee.receive(voucher(cumulative), 0) == []
    assert payee.next_at is None, "the store will say when"
    assert payee.stored(0) == [Commit(8, signature(8), 0)]
    assert taken(payee) == [Paid(1, 0)]
    assert payee.stored(0) == []
    assert taken(payee) == [Paid(8, 0)]
    assert checks == [1, 8]


def test_datagrams_count_once_the_voucher_is_stored() -> None:
    payee = payee_in(Stage.UP, theirs(7))
    payee.account.take_datagram(4000)
    for cumulative, counted in (*((8 + turn, 4000) for turn in range(UNDER_WAY)), (8 + UNDER_WAY, 4000 - 1000)):
        payee.receive(voucher(cumulative, datagrams=3000), 0)
        assert payee.account.counted == 4000, "before it is stored"
        payee.stored(0)
        assert taken(payee) == [Paid(cumulative, counted)]


# -- above the deposit


def test_what_the_deposit_does_not_cover_waits_for_it(checks: list[int]) -> None:
    payee = payee_in(Stage.UP)
    assert payee.receive(voucher(DEPOSIT + 5), 10) == [Look(CHANNEL)]
    assert payee.set_deposit(DEPOSIT + 4, 10) == []
    assert payee.receive(voucher(DEPOSIT + 6), 10) == []
    assert payee.next_at == 10 + LOOK_S
    assert payee.tick(10.5) == []
    assert payee.tick(10 + LOOK_S) == [Look(CHANNEL)]
    assert checks == []
    assert payee.set_deposit(3, 11.5) == []
    assert payee.set_deposit(DEPOSIT + 6, 11.5) == [Commit(DEPOSIT + 6, signature(DEPOSIT + 6), 0)]
    assert payee.next_at is None


def test_a_deposit_may_grow_without_a_question() -> None:
    payee = payee_in(Stage.UP)
    assert payee.set_deposit(DEPOSIT + 5, 0) == []
    committed(payee, DEPOSIT + 5)
    stopped = payee_in(Stage.STOPPED)
    assert stopped.set_deposit(DEPOSIT, 0) == []


def test_one_link_asks_the_settlement_no_more_than_once_a_second() -> None:
    """Whatever its payer does: also by session after session."""
    looks, now, payee = 0, 0.0, Payee(SEPARATOR, ACCOUNT, LINK, 0)
    while now < 20:
        if payee.may_follow(now):
            payee = Payee(SEPARATOR, ACCOUNT, LINK, now)
        for message in (Ask(), SHOWN, voucher(DEPOSIT + round(100 * now)), Stop(Side.PAYER, Reason.CLOSED)):
            if isinstance(message, Stop) and round(now) % 3:
                continue
            if heard(payee, message, now) == "looking":
                looks += 1
                payee.accept(THEIRS)
            elif payee.stage is Stage.UP:
                looks += sum(isinstance(event, Look) for event in payee.tick(now))
        now += 0.05
    assert 5 < looks <= 20 / LOOK_S + 1


# -- floods


def test_a_flood_costs_one_check_per_commit(checks: list[int]) -> None:
    payee = payee_in(Stage.UP, replace(THEIRS, deposit=MAX_AMOUNT))
    committed(payee, 1)
    flood = [Voucher(cumulative, NO_SIGNATURE, 0) for cumulative in range(2, 10_000)]
    for message in [*flood, voucher(10_000)]:
        assert payee.receive(message, 0) == []
    assert payee.stored(0) == [Commit(10_000, signature(10_000), 0)]
    assert checks == [1, 10_000]
    assert len(payee.outgoing) == 1


def test_a_link_makes_us_check_so_many_signatures(checks: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    """With a store that takes no time, and vouchers that never end. All count in the end."""
    monkeypatch.setattr(ledger.payee, "check", lambda *args: checks.append(args[3]))
    payee, seconds, step = payee_in(Stage.UP, replace(THEIRS, deposit=MAX_AMOUNT)), 4, 0.001
    cumulative = 0
    for turn in range(round(seconds / step)):
        cumulative += 1
        events = payee.receive(Voucher(cumulative, bytes(65), 0), turn * step)
        events += payee.tick(turn * step)
        while events:
            events = payee.stored(turn * step)
    assert seconds / CHECK_S <= len(checks) <= seconds / CHECK_S + CHECKS_AHEAD
    at = payee.next_at
    assert at is not None
    assert at <= seconds + CHECK_S
    assert payee.tick(at) == [Commit(cumulative, bytes(65), 0)]


def test_a_voucher_that_waits_for_its_turn_is_taken_on_time() -> None:
    payee = payee_in(Stage.UP, replace(theirs(0), deposit=100))
    for cumulative in range(1, CHECKS_AHEAD + 1):
        committed(payee, cumulative)
        payee.stored(0)
    assert payee.receive(voucher(100), 0) == []
    assert payee.next_at == CHECK_S
    assert payee.tick(CHECK_S * 0.9) == []
    assert payee.tick(CHECK_S) == [Commit(100, signature(100), 0)]


# -- money that is missing


def dues(payee: Payee) -> int:
    said = taken(payee)
    assert all(isinstance(message, Due) for message in said)
    return len(said)


def test_it_says_that_money_is_missing_ten_times_a_second() -> None:
    payee = payee_in(Stage.UP, theirs(7))
    payee.account.take(5)
    payee.short(1)
    assert taken(payee) == [Due(5)]
    for turn in range(100):
        payee.enough()
        payee.short(1 + turn * DUE_S / 100)
    assert dues(payee) == 0
    assert payee.next_at == 1 + DUE_S
    said = 0
    for turn in range(1, 301):
        payee.tick(1 + turn * DUE_S / 10)
        said += dues(payee)
    assert 29 <= said <= 30


def test_a_payer_that_sends_nothing_is_left() -> None:
    payee = payee_in(Stage.UP, theirs(7))
    payee.short(1)
    assert payee.tick(1 + UNPAID_S - 0.01) == []
    taken(payee)
    assert payee.tick(1 + UNPAID_S) == [Stopped(Reason.UNPAID, Side.PAYEE)]
    assert taken(payee) == [Stop(Side.PAYEE, Reason.UNPAID)]
    assert payee.tick(100) == []
    assert taken(payee) == []
    assert payee.next_at is None


def test_who_waits_longer_does_not_begin_anew() -> None:
    payee = payee_in(Stage.UP, theirs(7))
    for turn in range(5):
        payee.short(turn)
    assert payee.tick(UNPAID_S) == [Stopped(Reason.UNPAID, Side.PAYEE)]


def test_the_last_moment_is_not_missed() -> None:
    payee = payee_in(Stage.UP, theirs(7))
    payee.short(0)
    now = 0.0
    while payee.stage is Stage.UP:
        at = payee.next_at
        assert at is not None
        assert at > now
        now = at
        payee.tick(now)
    assert now == UNPAID_S


def test_while_a_voucher_is_stored_there_is_no_last_moment() -> None:
    payee = payee_in(Stage.UP, theirs(7))
    payee.short(0)
    committed(payee, 8)
    payee.tick(2 * UNPAID_S)
    assert payee.next_at == 2 * UNPAID_S + DUE_S


def test_a_voucher_or_an_empty_queue_begins_anew() -> None:
    payee = payee_in(Stage.UP, theirs(7))
    payee.short(0)
    committed(payee, 8, 4)
    assert payee.tick(20) == [], "it is being stored"
    payee.stored(20)
    assert payee.tick(20 + UNPAID_S) == [], "nothing waits"
    payee.short(30)
    payee.short(33)
    payee.enough()
    assert payee.tick(30 + UNPAID_S) == []
    payee.short(40)
    assert payee.tick(40 + UNPAID_S) == [Stopped(Reason.UNPAID, Side.PAYEE)]


def test_nothing_is_said_before_it_is_up() -> None:
    for stage in Stage:
        if stage is not Stage.UP:
            payee = payee_in(stage)
            payee.short(0)
            assert payee.tick(100) == []
            assert taken(payee) == []
            assert payee.next_at is None


# -- the end


@pytest.mark.parametrize("stage", [Stage.TOLD, Stage.LOOKING, Stage.UP])
def test_the_payer_may_stop(stage: Stage) -> None:
    payee = payee_in(stage)
    payee.short(0)
    payee.outgoing.clear()
    assert payee.receive(Stop(Side.PAYER, Reason.SPENDING_CAP), 0) == [Stopped(Reason.SPENDING_CAP, Side.PAYER)]
    assert payee.tick(2 * DUE_S) == []
    assert taken(payee) == [], "though something waits"


@pytest.mark.parametrize("stage", list(Stage))
def test_the_owner_may_stop(stage: Stage) -> None:
    payee = payee_in(stage)
    over = stage is Stage.STOPPED
    assert payee.stop(Reason.LEAVING) == ([] if over else [Stopped(Reason.LEAVING, Side.PAYEE)])
    assert taken(payee) == ([] if over else [Stop(Side.PAYEE, Reason.LEAVING)])


def test_what_is_stored_after_the_end_counts_and_is_not_said() -> None:
    payee = payee_in(Stage.UP)
    committed(payee, 5)
    payee.receive(voucher(6), 0)
    payee.receive(Stop(Side.PAYER, Reason.CLOSED), 0)
    assert payee.stored(0) == []
    assert taken(payee) == []
    assert payee.account.paid == 5


def test_another_session_may_follow() -> None:
    payee = payee_in(Stage.LOOKING)
    assert not payee.may_follow(10)
    payee.refuse(Reason.NO_CHANNEL)
    assert not payee.may_follow(LOOK_S - 0.01)
    assert payee.receive(Ask(), LOOK_S - 0.01) == []
    assert payee.may_follow(LOOK_S)
    assert payee_in(Stage.STOPPED).may_follow(0), "which asked nobody"


# -- whatever the payer says

SAID: dict[str, Message] = {
    "ask": Ask(),
    "terms": Terms(SEPARATOR, ACCOUNT),
    "channel": SHOWN,
    "state": State(0, NO_SIGNATURE, 0),
    "voucher": voucher(1),
    "paid": Paid(0, 0),
    "due": Due(0),
    "stop": Stop(Side.PAYER, Reason.CLOSED),
    "own stop": Stop(Side.PAYEE, Reason.CLOSED),
    "set off": SetOff(1),
}
LEGAL = {
    (Stage.START, "ask"): "told",
    (Stage.TOLD, "channel"): "looking",
    (Stage.TOLD, "stop"): "stopped",
    (Stage.LOOKING, "stop"): "stopped",
    (Stage.UP, "voucher"): "nothing",
    (Stage.UP, "stop"): "stopped",
}


@pytest.mark.parametrize("stage", list(Stage))
@pytest.mark.parametrize("said", SAID)
def test_every_message_in_every_stage(stage: Stage, said: str) -> None:
    quiet = "nothing" if stage is Stage.STOPPED else "refused"
    assert heard(payee_in(stage), SAID[said]) == LEGAL.get((stage, said), quiet)


AMOUNTS = st.one_of(st.integers(1, 40), st.sampled_from([DEPOSIT, DEPOSIT + 1, MAX_AMOUNT]))
HOSTILE: st.SearchStrategy[Message] = st.one_of(
    st.builds(voucher, AMOUNTS, datagrams=st.one_of(st.integers(0, 10**6), st.just(MAX_PARTS))),
    st.builds(voucher, AMOUNTS, st.just(OTHER_KEY)),
    st.builds(Stop, st.sampled_from(Side), st.sampled_from(Reason)),
    st.sampled_from(list(SAID.values())),
)
WORK: st.SearchStrategy[str | int] = st.one_of(
    st.sampled_from(["stored", "tick", "short", "deposit"]), st.integers(0, 10**6)
)


@given(st.sampled_from(list(Stage)), st.lists(st.one_of(HOSTILE, WORK), max_size=40))
@settings(deadline=None)
def test_a_payer_may_say_anything_at_any_time(stage: Stage, turns: list[Message | str | int]) -> None:
    """It is acknowledged what it signed and what was stored, and moves nothing that is not."""
    payee, now, pending, books, deposit, said_paid = payee_in(stage), 0.0, 0, 0, DEPOSIT, 0
    for turn in turns:
        events: list[Event] = []
        now += 0.3
        match turn:
            case "stored" if pending:
                books, pending = pending, 0
                events = payee.stored(now)
            case "tick":
                events = payee.tick(now)
            case "short":
                payee.short(now)
            case "deposit":
                deposit += 1
                events = payee.set_deposit(deposit, now)
            case int() if payee.stage is Stage.UP:
                payee.account.take_datagram(turn)
            case int() | str():
                pass
            case message:
                try:
                    events = payee.receive(message, now)
                except DecodeError:
                    break
        for event in events:
            match event:
                case Commit(cumulative, signed, used):
                    assert not pending
                    assert books < cumulative <= deposit
                    assert signed == signature(cumulative)
                    assert 0 <= used <= books * PARTS_PER_UNIT
                    pending = cumulative
                case Look() if payee.stage is Stage.LOOKING:
                    events += payee.accept(THEIRS)
        for said in map(decode, payee.outgoing):
            if isinstance(said, Paid):
                assert said_paid < said.cumulative == books
                said_paid = said.cumulative
        payee.outgoing.clear()
        if payee.stage is Stage.UP:
            assert payee.account.paid == books
            assert 0 <= payee.account.used <= books * PARTS_PER_UNIT


def test_a_channel_is_accepted_once() -> None:
    payee = payee_in(Stage.UP, theirs(7))
    with pytest.raises(DecodeError, match="order"):
        payee.accept(theirs(9))
    assert payee.account.paid == 7
