"""What two neighbours say to each other about money: the bodies of the control stream's PAYMENT messages.

    ASK      1                                                            payer   what are your terms?
    TERMS    2   domain separator (32), account (20)                      payee
    CHANNEL  3   id (32), proof (65)                                      payer   that the channel's key is here
    STATE    4   reason (1), cumulative (16), signature (65), used (20)   payee   the highest voucher that it has
    VOUCHER  5   cumulative (16), signature (65), datagrams (20)          payer
    PAID     6   cumulative (16), counted (20)                            payee   the voucher is stored
    DUE      7   counted (20)                                             payee   something waits for money
    STOP     8   side (1), reason (1)                                     both    as which of the two it stops
    SET_OFF  9   parts (20)                                               both

Cumulative amounts are units, the rest is parts, big-endian. A STATE whose reason is not `done` refuses the channel, and
all its other fields are zeros; so is the signature while nothing was paid.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from enum import IntEnum
from typing import Final, NamedTuple

from core.errors import DecodeError, Reason
from ledger.amounts import (
    AMOUNT_BYTES,
    PARTS_BYTES,
    decode_amount,
    decode_parts,
    encode_amount,
    encode_parts,
)
from ledger.voucher import ADDRESS_BYTES, CHANNEL_ID_BYTES, SIGNATURE_BYTES

SEPARATOR_BYTES: Final = 32
NO_SIGNATURE: Final = bytes(SIGNATURE_BYTES)


class Kind(IntEnum):
    ASK = 1
    TERMS = 2
    CHANNEL = 3
    STATE = 4
    VOUCHER = 5
    PAID = 6
    DUE = 7
    STOP = 8
    SET_OFF = 9


class Side(IntEnum):
    PAYER = 1
    PAYEE = 2


@dataclass(frozen=True, slots=True)
class Ask:
    pass


@dataclass(frozen=True, slots=True)
class Terms:
    separator: bytes
    account: bytes


@dataclass(frozen=True, slots=True)
class Channel:
    channel: bytes
    proof: bytes


@dataclass(frozen=True, slots=True)
class State:
    cumulative: int
    signature: bytes
    used: int
    reason: Reason = Reason.DONE


@dataclass(frozen=True, slots=True)
class Voucher:
    cumulative: int
    signature: bytes
    datagrams: int


@dataclass(frozen=True, slots=True)
class Paid:
    cumulative: int
    counted: int


@dataclass(frozen=True, slots=True)
class Due:
    counted: int


@dataclass(frozen=True, slots=True)
class Stop:
    side: Side
    reason: Reason


@dataclass(frozen=True, slots=True)
class SetOff:
    parts: int


class Stopped(NamedTuple):
    """What either end tells its owner when the session is over. `side` is whose decision it was."""

    reason: Reason
    side: Side


type Message = Ask | Terms | Channel | State | Voucher | Paid | Due | Stop | SetOff

_FORMS: Final = {
    Kind.ASK: struct.Struct(""),
    Kind.TERMS: struct.Struct(f"{SEPARATOR_BYTES}s{ADDRESS_BYTES}s"),
    Kind.CHANNEL: struct.Struct(f"{CHANNEL_ID_BYTES}s{SIGNATURE_BYTES}s"),
    Kind.STATE: struct.Struct(f"B{AMOUNT_BYTES}s{SIGNATURE_BYTES}s{PARTS_BYTES}s"),
    Kind.VOUCHER: struct.Struct(f"{AMOUNT_BYTES}s{SIGNATURE_BYTES}s{PARTS_BYTES}s"),
    Kind.PAID: struct.Struct(f"{AMOUNT_BYTES}s{PARTS_BYTES}s"),
    Kind.DUE: struct.Struct(f"{PARTS_BYTES}s"),
    Kind.STOP: struct.Struct("BB"),
    Kind.SET_OFF: struct.Struct(f"{PARTS_BYTES}s"),
}


def reader_of(message: Message) -> Side | None:
    """Whose a message is to read; None for SET_OFF, which is both's."""
    match message:
        case Ask() | Channel() | Voucher() | Stop(Side.PAYER):
            return Side.PAYEE
        case SetOff():
            return None
        case _:
            return Side.PAYER


def encode(message: Message) -> bytes:
    """1 to 114 bytes.

    Raises:
        ValueError: an amount is none, or bytes have a wrong length.
    """
    match message:
        case Ask():
            return bytes([Kind.ASK])
        case Terms(separator, account):
            return bytes([Kind.TERMS]) + _exactly(separator, SEPARATOR_BYTES) + _exactly(account, ADDRESS_BYTES)
        case Channel(channel, proof):
            return bytes([Kind.CHANNEL]) + _exactly(channel, CHANNEL_ID_BYTES) + _exactly(proof, SIGNATURE_BYTES)
        case State(cumulative, signature, used, reason):
            return bytes([Kind.STATE, reason]) + _signed(cumulative, signature, used)
        case Voucher(cumulative, signature, datagrams):
            return bytes([Kind.VOUCHER]) + _signed(cumulative, signature, datagrams)
        case Paid(cumulative, counted):
            return bytes([Kind.PAID]) + encode_amount(cumulative) + encode_parts(counted)
        case Due(counted):
            return bytes([Kind.DUE]) + encode_parts(counted)
        case Stop(side, reason):
            return bytes([Kind.STOP, side, reason])
        case SetOff(parts):
            return bytes([Kind.SET_OFF]) + encode_parts(parts)


def decode(body: bytes) -> Message:
    """Read the body of a PAYMENT message.

    Raises:
        DecodeError: no kind of message, a wrong length for its kind, or a field that cannot be.
    """
    try:
        kind = Kind(body[0])
    except (IndexError, ValueError) as error:
        raise DecodeError("payment", "unknown kind") from error
    form = _FORMS[kind]
    if len(body) != 1 + form.size:
        raise DecodeError("payment", "wrong length")
    fields = form.unpack_from(body, 1)
    match kind:
        case Kind.ASK:
            return Ask()
        case Kind.TERMS:
            return Terms(*fields)
        case Kind.CHANNEL:
            return Channel(*fields)
        case Kind.STATE:
            return _state(*fields)
        case Kind.VOUCHER:
            return Voucher(decode_amount(fields[0]), fields[1], decode_parts(fields[2]))
        case Kind.PAID:
            return Paid(decode_amount(fields[0]), decode_parts(fields[1]))
        case Kind.DUE:
            return Due(decode_parts(fields[0]))
        case Kind.STOP:
            return Stop(_side(fields[0]), Reason.from_wire(fields[1]))
        case Kind.SET_OFF:
            return SetOff(decode_parts(fields[0]))


def _exactly(data: bytes, size: int) -> bytes:
    if len(data) != size:
        raise ValueError(f"{size} bytes are needed")
    return data


def _signed(cumulative: int, signature: bytes, parts: int) -> bytes:
    return encode_amount(cumulative) + _exactly(signature, SIGNATURE_BYTES) + encode_parts(parts)


def _state(code: int, cumulative: bytes, signature: bytes, used: bytes) -> State:
    state = State(decode_amount(cumulative), signature, decode_parts(used), Reason.from_wire(code))
    if state.reason is not Reason.DONE and any((*cumulative, *signature, *used)):
        raise DecodeError("payment", "refuses a channel and says something of it")
    if (state.cumulative == 0) != (signature == NO_SIGNATURE):
        raise DecodeError("payment", "an amount and its signature come together")
    return state


def _side(code: int) -> Side:
    try:
        return Side(code)
    except ValueError as error:
        raise DecodeError("payment", "neither payer nor payee") from error
