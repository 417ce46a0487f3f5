"""The paying end, and a payee that says anything at any time."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.errors import DecodeError, Reason
from ledger.account import LEAST_WINDOW
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
    Terms,
    Voucher,
    decode,
)
from ledger.payer import (
    Adopt,
    Commit,
    Event,
    NeedChannel,
    Stage,
)
from ledger.voucher import check
from tests.ledger.sessions import (
    ACCOUNT,
    CHANNEL,
    DEPOSIT,
    KEY,
    LINK,
    OTHER_KEY,
    OWN,
    RATE,
    SEPARATOR,
    heard,
    payer_in,
    state,
    voucher,
)

SAID: dict[str, Message] = {
    "ask": Ask(),
    "terms": Terms(SEPARATOR, ACCOUNT),
    "channel": Channel(CHANNEL, KEY.prove(SEPARATOR, CHANNEL, LINK)),
    "state": State(0, NO_SIGNATURE, 0),
    "voucher": voucher(1),
    "paid": Paid(0, 0),
    "due": Due(0),
    "stop": Stop(Side.PAYEE, Reason.UNPAID),
    "own stop": Stop(Side.PAYER, Reason.UNPAID),
    "set off": SetOff(1),
}
LEGAL = {
    (Stage.ASKED, "terms"): "opening",
    (Stage.OPENING, "stop"): "stopped",
    (Stage.SHOWN, "state"): "up",
    (Stage.SHOWN, "stop"): "stopped",
    (Stage.UP, "paid"): "nothing",
    (Stage.UP, "due"): "nothing",
    (Stage.UP, "stop"): "stopped",
}


@pytest.mark.parametrize("stage", list(Stage))
@pytest.mark.parametrize("said", SAID)
def test_every_message_in_every_stage(stage: Stage, said: str) -> None:
    quiet = "nothing" if stage in (Stage.ASKED, Stage.STOPPED) else "refused"
    assert heard(payer_in(stage), SAID[said]) == LEGAL.get((stage, said), quiet)


AMOUNTS = st.one_of(st.integers(0, 40), st.sampled_from([DEPOSIT, DEPOSIT + 1, MAX_AMOUNT]))
PARTS = st.one_of(st.integers(0, 40 * PARTS_PER_UNIT), st.just(MAX_PARTS))
HOSTILE: st.SearchStrategy[Message] = st.one_of(
    st.sampled_from(list(SAID.values())),
    st.builds(Paid, AMOUNTS, PARTS),
    st.builds(Due, PARTS),
    st.builds(lambda paid, used: state(paid, used), AMOUNTS, PARTS),
    st.builds(lambda paid, used: state(paid, used, OTHER_KEY), AMOUNTS.filter(bool), PARTS),
    st.builds(Stop, st.sampled_from(Side), st.sampled_from(Reason)),
)
WORK = st.one_of(st.sampled_from(["stored", "not stored"]), st.integers(0, 3 * PARTS_PER_UNIT))


@given(st.sampled_from(list(Stage)), st.lists(st.one_of(HOSTILE, WORK), max_size=40), st.booleans())
@settings(deadline=None)
def test_a_payee_may_say_anything_at_any_time(stage: Stage, turns: list[Message | str | int], sure: bool) -> None:
    """It gets vouchers that were stored, for no more than the deposit, and a window beyond what was counted here."""
    own = replace(OWN, paid=4, used=2 * PARTS_PER_UNIT, sure=sure)
    payer, counted = payer_in(stage, own), 0
    books, pending, least = 4, None, 0
    for turn in turns:
        events: list[Event] = []
        match turn:
            case "stored" if pending is not None:
                books, pending = pending, None
                events = payer.stored(0)
            case "not stored" if pending is not None:
                pending = None
                payer.not_stored()
            case int():
                if payer.stage is Stage.UP:
                    payer.account.took(turn)
                    counted += turn
                    events = payer.due()
            case str():
                pass
            case message:
                try:
                    events = payer.receive(message, 0)
                except DecodeError:
                    break
        for event in events:
            match event:
                case Commit(cumulative, used) | Adopt(cumulative, used):
                    assert pending is None
                    assert cumulative >= books
                    assert used >= 0
                    pending = cumulative
                case NeedChannel():
                    payer.show(own, 0)
        for said in map(decode, payer.outgoing):
            if isinstance(said, Voucher):
                assert least < said.cumulative <= books, "one more, and stored"
                check(KEY.address, SEPARATOR, CHANNEL, said.cumulative, said.signature)
                least = said.cumulative
        payer.outgoing.clear()
    shown = max([0, *(turn.cumulative for turn in turns if isinstance(turn, State))])
    window = max(LEAST_WINDOW, RATE)
    assert least <= max(4, shown, (4 * PARTS_PER_UNIT + counted * 65 // 64) // PARTS_PER_UNIT + window)
    assert least <= max(DEPOSIT, shown)
