"""The bodies of PAYMENT messages: literal bytes, every length, every form of nonsense."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.errors import DecodeError, Reason
from ledger.amounts import MAX_AMOUNT, MAX_PARTS
from ledger.messages import (
    NO_SIGNATURE,
    Ask,
    Channel,
    Due,
    Kind,
    Message,
    Paid,
    SetOff,
    Side,
    State,
    Stop,
    Terms,
    Voucher,
    decode,
    encode,
    reader_of,
)

SIGNATURE = bytes(range(0x40, 0x40 + 65))
SIGNATURE_HEX = SIGNATURE.hex()
AMOUNT_HEX = "0000000000000000000000000001e240"
PARTS_HEX = "00000000000000000000000000000000cafebabe"
PARTS = 0xCAFEBABE

VECTORS: dict[str, tuple[str, Message]] = {
    "ask": ("01", Ask()),
    "terms": ("02" + "a1" * 32 + "b2" * 20, Terms(b"\xa1" * 32, b"\xb2" * 20)),
    "channel": ("03" + "c3" * 32 + SIGNATURE_HEX, Channel(b"\xc3" * 32, SIGNATURE)),
    "state": ("0400" + AMOUNT_HEX + SIGNATURE_HEX + PARTS_HEX, State(123456, SIGNATURE, PARTS)),
    "state, nothing paid": ("0400" + "00" * 101, State(0, NO_SIGNATURE, 0)),
    "state, refused": ("0416" + "00" * 101, State(0, NO_SIGNATURE, 0, Reason.NO_CHANNEL)),
    "voucher": ("05" + AMOUNT_HEX + SIGNATURE_HEX + PARTS_HEX, Voucher(123456, SIGNATURE, PARTS)),
    "paid": ("06" + AMOUNT_HEX + PARTS_HEX, Paid(123456, PARTS)),
    "due": ("07" + PARTS_HEX, Due(PARTS)),
    "stop, payer": ("080117", Stop(Side.PAYER, Reason.SPENDING_CAP)),
    "stop, payee": ("080214", Stop(Side.PAYEE, Reason.UNPAID)),
    "set off": ("09" + PARTS_HEX, SetOff(PARTS)),
    "largest": ("06" + "ff" * 16 + "000f423ffffffffffffffffffffffffffff0bdc0", Paid(MAX_AMOUNT, MAX_PARTS)),
}

AMOUNTS = st.integers(0, MAX_AMOUNT)
POSITIVE = st.integers(1, MAX_AMOUNT)
PARTS_ANY = st.integers(0, MAX_PARTS)
SIGNATURES = st.binary(min_size=65, max_size=65).filter(any)
WORDS = st.binary(min_size=32, max_size=32)
REFUSALS = st.sampled_from([reason for reason in Reason if reason is not Reason.DONE])
MESSAGES: st.SearchStrategy[Message] = st.one_of(
    st.just(Ask()),
    st.builds(Terms, WORDS, st.binary(min_size=20, max_size=20)),
    st.builds(Channel, WORDS, SIGNATURES),
    st.builds(State, POSITIVE, SIGNATURES, PARTS_ANY),
    st.builds(State, st.just(0), st.just(NO_SIGNATURE), PARTS_ANY),
    st.builds(State, st.just(0), st.just(NO_SIGNATURE), st.just(0), REFUSALS),
    st.builds(Voucher, AMOUNTS, SIGNATURES, PARTS_ANY),
    st.builds(Paid, AMOUNTS, PARTS_ANY),
    st.builds(Due, PARTS_ANY),
    st.builds(Stop, st.sampled_from(Side), st.sampled_from(Reason)),
    st.builds(SetOff, PARTS_ANY),
)


@pytest.mark.parametrize("name", VECTORS)
def test_vectors(name: str) -> None:
    text, message = VECTORS[name]
    assert encode(message).hex() == text
    assert decode(bytes.fromhex(text)) == message


def test_every_kind_has_a_vector() -> None:
    assert {bytes.fromhex(text)[0] for text, _ in VECTORS.values()} == set(Kind)


@pytest.mark.parametrize("name", VECTORS)
def test_one_byte_more_or_less_is_refused(name: str) -> None:
    body = bytes.fromhex(VECTORS[name][0])
    for wrong in (body + b"\0", *(body[:end] for end in range(len(body)))):
        with pytest.raises(DecodeError):
            decode(wrong)


@given(MESSAGES)
def test_what_is_encoded_is_read_back(message: Message) -> None:
    assert decode(encode(message)) == message
    assert len(encode(message)) <= 114


@given(
    st.one_of(
        st.binary(max_size=160),
        st.builds(lambda kind, rest: bytes([kind]) + rest, st.sampled_from(Kind), st.binary(max_size=120)),
    )
)
def test_bytes_from_outside_are_read_strictly(body: bytes) -> None:
    refused_once(body)


@given(MESSAGES, st.data())
def test_a_changed_message_is_another_one_or_none(message: Message, data: st.DataObject) -> None:
    body = bytearray(encode(message))
    body[data.draw(st.integers(0, len(body) - 1))] ^= data.draw(st.integers(1, 255))
    read = refused_once(bytes(body))
    assert read != message


def refused_once(body: bytes) -> Message | None:
    """What is read, which says the same again; but for reasons, of which later versions may have more."""
    try:
        message = decode(body)
    except DecodeError:
        return None
    again = bytearray(encode(message))
    if isinstance(message, Stop | State) and again != body:
        place = 2 if isinstance(message, Stop) else 1
        assert again[place] == Reason.PROTOCOL
        assert body[place] not in list(Reason)
        again[place] = body[place]
    assert again == body
    return message


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"\x00",
        b"\x0a",
        b"\x08\x00\x00",
        b"\x08\x03\x00",
        b"\x07" + (MAX_PARTS + 1).to_bytes(20),
        b"\x09" + b"\xff" * 20,
        b"\x06" + bytes(16) + (MAX_PARTS + 1).to_bytes(20),
        b"\x04\x00" + bytes(15) + b"\x01" + bytes(85),
        b"\x04\x00" + bytes(16) + SIGNATURE + bytes(20),
        b"\x04\x16" + bytes(15) + b"\x01" + SIGNATURE + bytes(20),
        b"\x04\x16" + bytes(100) + b"\x01",
        b"\x04\xff" + bytes(100) + b"\x01",
    ],
    ids=lambda body: body.hex()[:8],
)
def test_nonsense_is_refused(body: bytes) -> None:
    with pytest.raises(DecodeError):
        decode(body)


@pytest.mark.parametrize("wrong", [-1, MAX_PARTS + 1, 1.0, True])
def test_parts_are_whole_numbers(wrong: int) -> None:
    with pytest.raises(ValueError, match="whole"):
        encode(Due(wrong))


@pytest.mark.parametrize("wrong", [-1, MAX_AMOUNT + 1, 1.0, True])
def test_amounts_are_whole_numbers(wrong: int) -> None:
    for message in (Paid(wrong, 0), Voucher(wrong, SIGNATURE, 0), State(wrong, SIGNATURE, 0)):
        with pytest.raises(ValueError, match="whole"):
            encode(message)


@pytest.mark.parametrize(
    "message",
    [
        Terms(bytes(31), bytes(20)),
        Terms(bytes(32), bytes(21)),
        Channel(bytes(33), SIGNATURE),
        Channel(bytes(32), SIGNATURE[1:]),
        State(1, SIGNATURE[1:], 0),
        Voucher(1, SIGNATURE + b"\0", 0),
    ],
)
def test_bytes_of_wrong_length_are_not_sent(message: Message) -> None:
    with pytest.raises(ValueError, match="bytes are needed"):
        encode(message)


def test_every_message_has_one_reader() -> None:
    readers = {name: reader_of(message) for name, (_, message) in VECTORS.items()}
    to_payee = {"ask", "channel", "voucher", "stop, payer"}
    assert {name for name, side in readers.items() if side is Side.PAYEE} == to_payee
    assert {name for name, side in readers.items() if side is None} == {"set off"}
