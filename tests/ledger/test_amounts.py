"""Amounts are whole numbers of a known size, and nothing else."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.errors import DecodeError
from ledger.amounts import (
    MAX_AMOUNT,
    MAX_PARTS,
    PARTS_PER_UNIT,
    check_amount,
    check_parts,
    decode_amount,
    decode_parts,
    encode_amount,
    encode_parts,
    roundest,
)

if TYPE_CHECKING:
    from collections.abc import Callable

NO_AMOUNTS = [-1, 1.0, 0.0, float("nan"), float("inf"), True, False, "1", b"1", None, 1 + 0j]


def test_the_largest_amounts() -> None:
    assert MAX_AMOUNT == 2**128 - 1
    assert MAX_PARTS == MAX_AMOUNT * 10**6
    assert PARTS_PER_UNIT == 10**6


@pytest.mark.parametrize("value", [*NO_AMOUNTS, MAX_AMOUNT + 1])
@pytest.mark.parametrize("take", [check_amount, encode_amount])
def test_what_is_no_amount_is_refused(take: Callable[[object], object], value: object) -> None:
    with pytest.raises(ValueError, match="an amount is a whole number"):
        take(value)


@pytest.mark.parametrize("value", [*NO_AMOUNTS, MAX_PARTS + 1])
@pytest.mark.parametrize("take", [check_parts, encode_parts])
def test_what_are_no_parts_is_refused(take: Callable[[object], object], value: object) -> None:
    with pytest.raises(ValueError, match="parts are a whole number"):
        take(value)


def test_known_bytes() -> None:
    assert encode_amount(0) == bytes(16)
    assert encode_amount(0x0102) == bytes.fromhex("00000000000000000000000000000102")
    assert encode_amount(MAX_AMOUNT) == b"\xff" * 16
    assert encode_parts(0x0102) == bytes.fromhex("0000000000000000000000000000000000000102")
    assert encode_parts(MAX_PARTS) == bytes.fromhex("000f423ffffffffffffffffffffffffffff0bdc0")


@given(st.integers(0, MAX_AMOUNT))
def test_amounts_come_back(value: int) -> None:
    assert check_amount(value) == decode_amount(encode_amount(value)) == value


@given(st.integers(0, MAX_PARTS))
def test_parts_come_back(value: int) -> None:
    assert check_parts(value) == decode_parts(encode_parts(value)) == value


@given(st.binary(max_size=40))
def test_any_bytes_are_read_or_refused(data: bytes) -> None:
    for decode, encode in ((decode_amount, encode_amount), (decode_parts, encode_parts)):
        try:
            value = decode(data)
        except DecodeError:
            continue
        assert encode(value) == data


@pytest.mark.parametrize("length", [0, 15, 17, 20])
def test_an_amount_has_16_bytes(length: int) -> None:
    with pytest.raises(DecodeError, match="amount: wrong length"):
        decode_amount(bytes(length))


@pytest.mark.parametrize("length", [0, 16, 19, 21])
def test_parts_have_20_bytes(length: int) -> None:
    with pytest.raises(DecodeError, match="parts: wrong length"):
        decode_parts(bytes(length))


def test_more_parts_than_there_can_be_are_refused() -> None:
    with pytest.raises(DecodeError, match="parts: out of range"):
        decode_parts((MAX_PARTS + 1).to_bytes(20))


@pytest.mark.parametrize(
    ("above", "most", "found"),
    [(0, 1, 1), (6, 7, 7), (3, 4, 4), (0, 9, 5), (10, 19, 15), (1125, 1187, 1150), (999, 1000, 1000), (1, 2999, 2000)],
)
def test_the_roundest_amount(above: int, most: int, found: int) -> None:
    assert roundest(above, most) == found


@given(st.integers(0, 10**6), st.integers(1, 10**6))
def test_the_roundest_amount_is_one_of_them(above: int, more: int) -> None:
    found = roundest(above, above + more)
    assert above < found <= above + more
    step = 10 ** len(str(more)) // 10  # there is a multiple of every step up to `more`
    assert found % step == 0
