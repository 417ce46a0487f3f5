"""Rows of the books, as tests want them."""

from __future__ import annotations

from typing import Any

from core.ids import PeerKey
from ledger.amounts import PARTS_PER_UNIT
from ledger.books import PayeeChannel, PayerChannel

UNIT = PARTS_PER_UNIT


def name(number: int) -> bytes:
    """A channel's id."""
    return number.to_bytes(32)


def payer(number: int, deposit: int = 100, **more: Any) -> PayerChannel:
    """A channel on which this node pays."""
    peer, secret = PeerKey(bytes([2]) * 32), bytes([5]) * 32
    return PayerChannel(name(number), peer, bytes([3]) * 32, bytes([4]) * 20, secret, deposit, **more)


def payee(number: int, deposit: int = 100, **more: Any) -> PayeeChannel:
    """A channel on which this node is paid."""
    return PayeeChannel(name(number), bytes([3]) * 32, bytes([6]) * 20, deposit, **more)


def signature(paid: int) -> bytes:
    """What stands for a signature under an amount; zeros for none."""
    return paid.to_bytes(1) * 65
