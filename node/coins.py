"""Amounts as people write them."""

from __future__ import annotations

from ledger.amounts import UNITS_PER_COIN

_DIGITS = len(str(UNITS_PER_COIN)) - 1


def coins(units: int) -> str:
    """Write units as coins, without zeros that say nothing: `0.000012`."""
    whole, part = divmod(units, UNITS_PER_COIN)
    return f"{whole}.{part:0{_DIGITS}d}".rstrip("0").rstrip(".")
