"""Readers of what neighbours say about money, and of what a chain's endpoint answers."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any

from web3 import AsyncWeb3

from core.errors import DecodeError, PaymentError, Reason
from ledger import messages, payee, payer
from ledger.amounts import AMOUNT_BYTES, PARTS_PER_UNIT, decode_amount, decode_parts, encode_amount, encode_parts
from ledger.evm_chain import Chain, Endpoint
from ledger.messages import Ask, Channel, Due, Paid, SetOff, Side, State, Stop, Terms, decode, encode, reader_of
from tests.fuzz.target import Target, in_loop, joined, parts
from tests.ledger.sessions import (
    ACCOUNT,
    CHANNEL,
    DEPOSIT,
    KEY,
    LINK,
    OWN,
    SEPARATOR,
    THEIRS,
    payee_in,
    payer_in,
    state,
    voucher,
)
from tests.ledger.test_evm_chain import QUESTIONS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from web3.types import RPCEndpoint, RPCResponse

_SIGNED = 0xF0
"""Instead of a kind: a message whose signature is right, with the amount in the next byte."""


def read_message(data: bytes) -> None:
    message = decode(data)
    again = encode(message)
    assert decode(again) == message
    assert again == data or isinstance(message, State | Stop), "two spellings of one message"


def read_amounts(data: bytes) -> None:
    """An amount, then parts."""
    assert encode_amount(decode_amount(data[:AMOUNT_BYTES])) == data[:AMOUNT_BYTES]
    assert encode_parts(decode_parts(data[AMOUNT_BYTES:])) == data[AMOUNT_BYTES:]


def _heard(
    machine: payer.Payer | payee.Payee, data: bytes, signed: Callable[[int], messages.Message], reads: Side
) -> Iterator[tuple[list[Any], float]]:
    """Have a machine hear messages one after the other; give the events of each, and its moment.

    Raises:
        DecodeError: one was refused, and changed nothing.
    """
    now = 0.0
    for step in parts(data):
        now += 0.5
        body = encode(signed(step[1])) if step[0:1] == bytes([_SIGNED]) and len(step) > 1 else step
        stage = machine.stage
        try:
            message = decode(body)
            if reader_of(message) not in (reads, None):
                continue
            events = machine.tick(now) if isinstance(message, SetOff) else machine.receive(message, now)
        except DecodeError:
            assert machine.stage is stage, "a refused message changed something"
            raise
        yield list(events), now


def hear_payee(data: bytes) -> None:
    """What the paying end does with a payee's messages: it signs no more than there is, whatever it is told."""
    stages = list(payer.Stage)
    machine = payer_in(stages[(data[0] if data else 0) % len(stages)])
    for events, now in _heard(machine, data[1:], state, Side.PAYER):
        while events:
            events = [next_ for event in events for next_ in _serve_payer(machine, event, now)]
        for sent in machine.outgoing:
            match decode(sent):
                case messages.Voucher(cumulative):
                    assert cumulative <= DEPOSIT or cumulative <= machine.acknowledged
        machine.outgoing.clear()


def _serve_payer(machine: payer.Payer, event: payer.Event, now: float) -> list[payer.Event]:
    match event:
        case payer.NeedChannel():
            machine.show(OWN, now)
        case payer.Commit() | payer.Adopt():
            return machine.stored(now)
        case payer.CapReached():
            return machine.stop(Reason.SPENDING_CAP)
    return []


def hear_payer(data: bytes) -> None:
    """What the paid end does with a payer's messages: it stores what is signed, once, and never more than there is."""
    stages = list(payee.Stage)
    machine = payee_in(stages[(data[0] if data else 0) % len(stages)])
    stored = 0
    for events, now in _heard(machine, data[1:], voucher, Side.PAYEE):
        while events:
            waiting, events = events, []
            for event in waiting:
                match event:
                    case payee.Look():
                        if machine.stage is payee.Stage.LOOKING:
                            events += machine.accept(THEIRS)
                    case payee.Commit(cumulative, signature, _):
                        assert stored < cumulative <= DEPOSIT
                        assert voucher(cumulative).signature == signature, "nobody signed that"
                        stored = cumulative
                        events += machine.stored(now)
        machine.outgoing.clear()


class _Endpoint(Endpoint):
    """Answers everything with the same bytes."""

    answer = b""

    async def make_request(self, method: RPCEndpoint, params: Any) -> RPCResponse:
        return self.decode_rpc_response(self.answer)


@cache
def _chain() -> tuple[_Endpoint, Chain]:
    endpoint = _Endpoint("")
    return endpoint, Chain(AsyncWeb3(endpoint, middleware=[]), 12, 5.0)


def read_chain(data: bytes) -> None:
    """Which question (1), then the answer as JSON."""
    endpoint, chain = _chain()
    question, is_right = list(QUESTIONS.values())[(data[0] if data else 0) % len(QUESTIONS)]
    endpoint.answer = data[1:]
    assert is_right(in_loop(_ask(question(chain))))


async def _ask(question: Any) -> object:
    return await question


_WORDS: tuple[messages.Message, ...] = (
    Ask(),
    Terms(SEPARATOR, ACCOUNT),
    Channel(CHANNEL, KEY.prove(SEPARATOR, CHANNEL, LINK)),
    state(2),
)
_WORDS += (voucher(1), Paid(1, 2), Due(PARTS_PER_UNIT), Stop(Side.PAYEE, Reason.UNPAID), SetOff(3))
_STEPS = [encode(word) for word in _WORDS]
_PAYER_STAGES, _PAYEE_STAGES = list(payer.Stage), list(payee.Stage)
_METHODS = list(QUESTIONS)


def _rpc(method: str, result: bytes) -> bytes:
    return bytes([_METHODS.index(method)]) + b'{"jsonrpc":"2.0","id":1,"result":' + result + b"}"


_RECEIPT = (
    b'{"status":"0x1","blockNumber":"0x5","gasUsed":"0x5208","logs":[{"address":"0x%s","topics":["0x%s"],"data":"0x01"}]}'
    % (b"01" * 20, b"02" * 32)
)

TARGETS = (
    Target("payment-message", read_message, tuple(_STEPS), longest=120),
    Target("payment-amounts", read_amounts, (encode_amount(7) + encode_parts(9),), longest=40),
    Target(
        "payer",
        hear_payee,
        (
            bytes([_PAYER_STAGES.index(payer.Stage.ASKED)])
            + joined(_STEPS[1], encode(state(0)), _STEPS[6], encode(Paid(6, 1)), _STEPS[6], _STEPS[7]),
            bytes([_PAYER_STAGES.index(payer.Stage.SHOWN)]) + joined(b"\xf0\5", _STEPS[6], _STEPS[8]),
            bytes([_PAYER_STAGES.index(payer.Stage.UP)]) + joined(_STEPS[6], encode(Paid(6, 5)), _STEPS[8]),
        ),
    ),
    Target(
        "payee",
        hear_payer,
        (
            bytes([_PAYEE_STAGES.index(payee.Stage.START)])
            + joined(_STEPS[0], _STEPS[2], b"\xf0\2", b"\xf0\5", _STEPS[8]),
            bytes([_PAYEE_STAGES.index(payee.Stage.UP)])
            + joined(b"\xf0\2", b"\xf0\1", b"\xf0\xff", encode(Stop(Side.PAYER, Reason.CLOSED))),
        ),
    ),
    Target(
        "chain-answer",
        read_chain,
        (
            _rpc("eth_blockNumber", b'"0x20"'),
            _rpc("eth_chainId", b'"0x1"'),
            _rpc("eth_getCode", b'"0x6001"'),
            _rpc("eth_getBalance", b'"0x0"'),
            _rpc("eth_getTransactionReceipt", _RECEIPT),
            _rpc("eth_getTransactionReceipt", b"null"),
            _rpc("eth_getBlockByNumber", b'{"baseFeePerGas":"0x7","timestamp":"0x5"}'),
        ),
        (PaymentError,),
    ),
)
