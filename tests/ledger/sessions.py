"""The two ends of a payment session, brought to where a test begins."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from core.errors import DecodeError, Reason
from ledger import payee, payer
from ledger.amounts import MAX_PARTS
from ledger.messages import NO_SIGNATURE, Ask, Channel, Due, Message, Paid, State, Terms, Voucher, decode
from ledger.payee import Payee, TheirChannel
from ledger.payer import OwnChannel, Payer
from ledger.voucher import Domain, SigningKey

SEPARATOR: Final = Domain(0, b"\x5e" * 20).separator
ACCOUNT: Final = b"\xac" * 20
CHANNEL: Final = b"\xc4" * 32
LINK: Final = b"\x11" * 32
KEY: Final = SigningKey(b"\x77" * 32)
OTHER_KEY: Final = SigningKey(b"\x78" * 32)
RATE: Final = 8
"""Units per MB, and units in the first window."""

WINDOW: Final = RATE * 1_000_000
DEPOSIT: Final = 1000
OWN: Final = OwnChannel(CHANNEL, KEY, DEPOSIT)
THEIRS: Final = TheirChannel(KEY.address, DEPOSIT)


def taken(machine: Payer | Payee) -> list[Message]:
    """What waits to be sent."""
    said = [decode(body) for body in machine.outgoing]
    machine.outgoing.clear()
    return said


def voucher(cumulative: int, key: SigningKey = KEY, *, datagrams: int = 0) -> Voucher:
    return Voucher(cumulative, key.sign(SEPARATOR, CHANNEL, cumulative), datagrams)


def state(cumulative: int, used: int = 0, key: SigningKey = KEY) -> State:
    return State(cumulative, signature(cumulative, key), used)


def signature(cumulative: int, key: SigningKey = KEY) -> bytes:
    return key.sign(SEPARATOR, CHANNEL, cumulative) if cumulative else NO_SIGNATURE


def theirs(paid: int, used: int = 0) -> TheirChannel:
    return replace(THEIRS, paid=paid, signature=signature(paid), used=used)


def payer_in(stage: payer.Stage, own: OwnChannel = OWN, rate: int = RATE) -> Payer:
    """A payer that has come so far with a payee that has nothing yet."""
    machine = Payer(SEPARATOR, LINK, rate)
    if stage is payer.Stage.STOPPED:
        machine.stop(Reason.CLOSED)
    for at in (payer.Stage.ASKED, payer.Stage.OPENING, payer.Stage.SHOWN, payer.Stage.UP):
        if machine.stage is stage:
            break
        match at:
            case payer.Stage.ASKED:
                machine.ask(0)
            case payer.Stage.OPENING:
                machine.receive(Terms(SEPARATOR, ACCOUNT), 0)
            case payer.Stage.SHOWN:
                machine.show(own, 0)
            case payer.Stage.UP:
                machine.receive(State(0, NO_SIGNATURE, 0), 0)
    assert machine.stage is stage
    machine.outgoing.clear()
    return machine


def payee_in(stage: payee.Stage, found: TheirChannel = THEIRS) -> Payee:
    """A payee that has come so far with an honest payer."""
    machine = Payee(SEPARATOR, ACCOUNT, LINK, 0)
    if stage is payee.Stage.STOPPED:
        machine.stop(Reason.CLOSED)
    for at in (payee.Stage.TOLD, payee.Stage.LOOKING, payee.Stage.UP):
        if machine.stage is stage:
            break
        match at:
            case payee.Stage.TOLD:
                machine.receive(Ask(), 0)
            case payee.Stage.LOOKING:
                machine.receive(Channel(CHANNEL, KEY.prove(SEPARATOR, CHANNEL, LINK)), 0)
            case payee.Stage.UP:
                machine.accept(found)
    assert machine.stage is stage
    machine.outgoing.clear()
    return machine


def heard(machine: Payer | Payee, message: Message, now: float = 0.0) -> str:
    """What a message does to an end, in a word."""
    before = machine.stage
    try:
        machine.receive(message, now)
    except DecodeError:
        assert machine.stage is before
        return "refused"
    if machine.stage is before:
        return "nothing" if not machine.outgoing else "answered"
    return machine.stage.name.lower()


FIRST = RATE * 3 // 4
"""Units of the first voucher: three quarters of a window."""


def paid_up(amount: int = FIRST) -> Payer:
    """A payer whose first voucher is acknowledged."""
    machine = payer_in(payer.Stage.UP)
    machine.receive(Due(0), 0)
    machine.stored(0)
    machine.receive(Paid(amount, 0), 0)
    machine.outgoing.clear()
    return machine


def commit_of(events: list[payer.Event]) -> payer.Commit:
    (event,) = events
    assert isinstance(event, payer.Commit)
    return event


def pay(machine: Payer, events: list[payer.Event]) -> None:
    """Pay what is due to a payee that says each time that it counted no end of parts."""
    while any(isinstance(event, payer.Commit) for event in events):
        machine.stored(0)
        events = machine.receive(Paid(machine.account.paid, MAX_PARTS), 0)
