"""Money, as whole numbers.

A *unit* is a millionth of a coin. What traffic costs is reckoned in *parts*, a millionth of a unit: bytes times units
per MB (10^6 bytes). So nothing is ever rounded while it adds up, and a bill does not depend on how traffic was cut.
"""

from __future__ import annotations

from typing import Final

from core.errors import DecodeError

UNITS_PER_COIN: Final = 1_000_000
PARTS_PER_UNIT: Final = 1_000_000

AMOUNT_BYTES: Final = 16
MAX_AMOUNT: Final = (1 << 8 * AMOUNT_BYTES) - 1
"""The largest amount, in units."""

PARTS_BYTES: Final = 20
MAX_PARTS: Final = MAX_AMOUNT * PARTS_PER_UNIT


def check_amount(value: object) -> int:
    """Return a value if it is an amount.

    Raises:
        ValueError: it is no integer (a bool is none), below 0 or above `MAX_AMOUNT`.
    """
    if type(value) is not int or not 0 <= value <= MAX_AMOUNT:
        raise ValueError("an amount is a whole number from 0 to 2^128 - 1")
    return value


def check_parts(value: object) -> int:
    """Return a value if it is a number of parts.

    Raises:
        ValueError: it is no integer (a bool is none), below 0 or above `MAX_PARTS`.
    """
    if type(value) is not int or not 0 <= value <= MAX_PARTS:
        raise ValueError("parts are a whole number, at most those of the largest amount")
    return value


def roundest(above: int, most: int) -> int:
    """The largest multiple of the largest step (1, 2, 5, 10, 20, 50 …) that lies above one amount and up to another.

    Of 1,126 to 1,187 that is 1,150. `most` must be above `above`.
    """
    found, power = most, 1
    while power <= most:
        for step in (power, 2 * power, 5 * power):
            if (multiple := most // step * step) > above:
                found = multiple
        power *= 10
    return found


def encode_amount(value: int) -> bytes:
    """16 bytes, big-endian.

    Raises:
        ValueError: it is no amount.
    """
    return check_amount(value).to_bytes(AMOUNT_BYTES)


def decode_amount(data: bytes) -> int:
    """Read 16 bytes.

    Raises:
        DecodeError: wrong length.
    """
    if len(data) != AMOUNT_BYTES:
        raise DecodeError("amount", "wrong length")
    return int.from_bytes(data)


def encode_parts(value: int) -> bytes:
    """20 bytes, big-endian.

    Raises:
        ValueError: these are no parts.
    """
    return check_parts(value).to_bytes(PARTS_BYTES)


def decode_parts(data: bytes) -> int:
    """Read 20 bytes.

    Raises:
        DecodeError: wrong length, or more than there can be.
    """
    if len(data) != PARTS_BYTES:
        raise DecodeError("parts", "wrong length")
    parts = int.from_bytes(data)
    if parts > MAX_PARTS:
        raise DecodeError("parts", "out of range")
    return parts
