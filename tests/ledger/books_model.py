"""What the books must do, said once more with plain dicts: the model that the store is compared with."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

from ledger.books import NO_SIGNATURE, PayeeChannel, PayerChannel
from tests.ledger.rows import UNIT

OPEN, CLOSING, CLOSED = 1, 2, 3


class RefusedError(Exception):
    """With the word of the reason, or `wrong`."""


class BooksModel:
    """Books of small amounts, without a limit to channels."""

    def __init__(self) -> None:
        self.pay: dict[bytes, dict[str, Any]] = {}
        self.earn: dict[bytes, dict[str, Any]] = {}
        self.cap = self.spent = self.earned = 0

    def copy(self) -> BooksModel:
        return deepcopy(self)

    @property
    def signed(self) -> int:
        return self.spent + sum(int(row["paid"]) for row in self.pay.values())

    def all(self) -> dict[bytes, dict[str, Any]]:
        return self.pay | self.earn

    def _need(self, rows: dict[bytes, dict[str, Any]], channel: bytes) -> dict[str, Any]:
        if channel not in rows:
            raise RefusedError("no_channel")
        return rows[channel]

    def add_payer(self, row: PayerChannel) -> None:
        if row.channel in self.all():
            raise RefusedError("wrong")
        self.pay[row.channel] = {"deposit": row.deposit, "paid": 0, "used": 0, "state": OPEN}

    def add_payee(self, row: PayeeChannel) -> None:
        if row.channel in self.all():
            raise RefusedError("wrong")
        empty = {"paid": 0, "used": 0, "claimed": 0, "state": OPEN, "signature": NO_SIGNATURE}
        self.earn[row.channel] = {"deposit": row.deposit, **empty}

    def raise_paid(self, channel: bytes, paid: int, used: int) -> None:
        row = self._need(self.pay, channel)
        if row["state"] != OPEN:
            raise RefusedError("not_open")
        more = paid - row["paid"]
        if more > 0 and self.signed + more > self.cap:
            raise RefusedError("spending_cap")
        self.adopt_paid(channel, paid, used)

    def adopt_paid(self, channel: bytes, paid: int, used: int) -> None:
        row = self._need(self.pay, channel)
        if paid < row["paid"]:
            raise RefusedError("wrong")
        if paid > row["deposit"]:
            raise RefusedError("no_funds")
        row.update(paid=paid, used=min(used, paid * UNIT))

    def take_voucher(self, channel: bytes, paid: int, signature: bytes, used: int) -> bool:
        row = self._need(self.earn, channel)
        if paid <= row["paid"]:
            return False
        if row["state"] == CLOSED:
            raise RefusedError("not_open")
        if paid > row["deposit"]:
            raise RefusedError("no_funds")
        if used > paid * UNIT:
            raise RefusedError("wrong")
        row.update(paid=paid, signature=signature, used=used)
        return True

    def use(self, channel: bytes, used: int) -> None:
        row = self._need(self.all(), channel)
        if channel in self.earn and used > row["paid"] * UNIT:
            raise RefusedError("wrong")
        row["used"] = min(used, row["paid"] * UNIT)

    def deposit(self, channel: bytes, units: int) -> None:
        row = self._need(self.all(), channel)
        if row["state"] != OPEN and units != row["deposit"]:
            raise RefusedError("not_open")
        if units < row["paid"]:
            raise RefusedError("no_funds")
        row["deposit"] = units

    def claimed(self, channel: bytes, units: int) -> None:
        row = self._need(self.earn, channel)
        if units > row["paid"]:
            raise RefusedError("bad_voucher")
        if units < row["claimed"]:
            raise RefusedError("wrong")
        row["claimed"] = units

    def state(self, channel: bytes, state: int) -> None:
        row = self._need(self.all(), channel)
        if state < row["state"]:
            raise RefusedError("not_open")
        row["state"] = int(state)

    def forget(self, channel: bytes) -> None:
        row = self._need(self.all(), channel)
        if row["state"] != CLOSED:
            raise RefusedError("too_early")
        if self.pay.pop(channel, None):
            self.spent += row["paid"]
        else:
            del self.earn[channel]
            self.earned += row["claimed"]

    def set_cap(self, units: int) -> None:
        self.cap = units

    def check(self) -> None:
        """What holds at every moment, whatever was asked."""
        for row in self.all().values():
            assert 0 <= row.get("claimed", 0) <= row["paid"] <= row["deposit"]
            assert 0 <= row["used"] <= row["paid"] * UNIT
