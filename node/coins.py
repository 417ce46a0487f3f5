"""Amounts as people write them."""

from __future__ import annotations

from decimal import Decimal, DecimalException
from typing import Final

from ledger.amounts import UNITS_PER_COIN

MOST_COINS: Final = 1_000_000_000
_DIGITS = len(str(UNITS_PER_COIN)) - 1


def coins(units: int) -> str:
    """Write units as coins, without zeros that say nothing: `0.000012`."""
    whole, part = divmod(units, UNITS_PER_COIN)
    return f"{whole}.{part:0{_DIGITS}d}".rstrip("0").rstrip(".")


def read_coins(text: str) -> int:
    """Read an amount in coins, such as `0.5`.

    Returns:
        Units.

    Raises:
        ValueError: it is no number from 0 to `MOST_COINS`, or has more decimals than units have.
    """
    try:
        units = Decimal(text) * UNITS_PER_COIN
    except DecimalException as error:
        raise ValueError("no number") from error
    if not units.is_finite() or units != units.to_integral_value() or not 0 <= units <= MOST_COINS * UNITS_PER_COIN:
        raise ValueError("no amount")
    return int(units)
