"""Messages of type 4."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.errors import DecodeError
from tests.harness.entropy import flipped
from tests.tunnel.wireguard import reference
from tunnel.wireguard.constants import MAX_COUNTER
from tunnel.wireguard.handshake import Keys
from tunnel.wireguard.session import OVERHEAD_BYTES, Sequence, Session, read_header

ONE, TWO = bytes([1] * 32), bytes([2] * 32)


def sessions() -> tuple[Session, Session]:
    return Session(Keys(ONE, TWO, 7, 9, b"", b"")), Session(Keys(TWO, ONE, 9, 7, b"", b""))


def seal(session: Session, counter: int, text: bytes) -> bytes:
    message = bytearray(len(text) + OVERHEAD_BYTES)
    session.seal_into(counter, text, memoryview(message))
    return bytes(message)


def opened(session: Session, counter: int, message: bytes) -> bytes:
    text = bytearray(len(message) - OVERHEAD_BYTES)
    session.open_into(counter, memoryview(message), text)
    return bytes(text)


def test_layout() -> None:
    message = seal(sessions()[0], 0x0102030405060708, b"text")
    assert message[:16].hex() == "04000000090000000807060504030201"
    assert message[16:] == reference.seal(ONE, bytes.fromhex("000000000807060504030201"), b"text", b"")


@given(st.integers(0, MAX_COUNTER), st.binary(max_size=300))
def test_round_trip(counter: int, text: bytes) -> None:
    mine, theirs = sessions()
    assert opened(theirs, counter, seal(mine, counter, text)) == text
    assert opened(mine, counter, seal(theirs, counter, text)) == text


def test_every_flipped_bit_is_refused() -> None:
    mine, theirs = sessions()
    message = seal(mine, 5, b"some text")
    for bit in range(8 * len(message)):
        with pytest.raises(DecodeError):
            opened(theirs, 5, flipped(message, bit))
    assert opened(theirs, 5, message) == b"some text"


def test_another_counter_is_refused() -> None:
    mine, theirs = sessions()
    message = seal(mine, 5, b"text")
    for counter in (0, 4, 6, 5 + (1 << 32)):
        with pytest.raises(DecodeError, match="header"):
            opened(theirs, counter, message)


def test_the_counter_is_sealed_as_well() -> None:
    mine, theirs = sessions()
    message = seal(mine, 5, b"text")
    with pytest.raises(DecodeError, match="verify"):
        opened(theirs, 6, message[:8] + (6).to_bytes(8, "little") + message[16:])


def test_another_index_is_refused() -> None:
    mine, _ = sessions()
    third = Session(Keys(TWO, ONE, 10, 7, b"", b""))
    with pytest.raises(DecodeError, match="header"):
        opened(third, 0, seal(mine, 0, b"text"))


def test_another_type_is_refused() -> None:
    mine, theirs = sessions()
    message = seal(mine, 0, b"text")
    for kind in (0, 1, 2, 3, 5):
        with pytest.raises(DecodeError):
            opened(theirs, 0, bytes([kind]) + message[1:])
        with pytest.raises(DecodeError, match="type"):
            read_header(bytes([kind]) + message[1:])


def test_own_messages_do_not_come_back() -> None:
    mine, _ = sessions()
    message = seal(mine, 0, b"text")
    with pytest.raises(DecodeError):
        opened(mine, 0, message[:4] + (7).to_bytes(4, "little") + message[8:])


def test_header() -> None:
    assert read_header(seal(sessions()[0], 77, b"")) == (9, 77)
    with pytest.raises(DecodeError, match="short"):
        read_header(seal(sessions()[0], 77, b"")[:-1])


@given(st.binary(max_size=100))
def test_header_of_arbitrary_bytes_raises_only_decode_error(data: bytes) -> None:
    try:
        index, counter = read_header(data)
    except DecodeError:
        return
    assert data[:4] == b"\4\0\0\0"
    assert data[4:16] == index.to_bytes(4, "little") + counter.to_bytes(8, "little")


def test_sequence() -> None:
    mine, theirs = (Sequence(session) for session in sessions())
    first, second = mine.seal(b"one"), mine.seal(b"two")
    for wrong in (second, b"", first[:31], flipped(first, 200)):
        with pytest.raises(DecodeError):
            theirs.open(wrong)
    assert theirs.open(first) == b"one"
    with pytest.raises(DecodeError):
        theirs.open(first)
    assert theirs.open(second) == b"two"


def test_a_sequence_ends_before_its_counter_does(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tunnel.wireguard.session.MAX_COUNTER", 2)
    sequence = Sequence(sessions()[0])
    sequence.seal(b"")
    sequence.seal(b"")
    with pytest.raises(OverflowError):
        sequence.seal(b"")


@given(st.binary(max_size=100))
def test_a_sequence_opens_no_arbitrary_bytes(data: bytes) -> None:
    with pytest.raises(DecodeError):
        Sequence(sessions()[0]).open(data)
