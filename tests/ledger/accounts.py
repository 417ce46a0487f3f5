"""Accounts for tests."""

from __future__ import annotations

from ledger.account import PayerAccount
from ledger.amounts import PARTS_PER_UNIT

RATE = 8
UNIT = PARTS_PER_UNIT
WINDOW = RATE * UNIT


def payer(paid: int = 0, start: int = 0, surplus: int = 0, rate: int = RATE) -> PayerAccount:
    """One that pays at a rate."""
    account = PayerAccount(paid, start, surplus)
    account.rate = rate
    return account
