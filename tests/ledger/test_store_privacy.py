"""What whoever reads the store's files learns: how each channel stands, and nothing of how it came to that."""

from __future__ import annotations

import asyncio
import random
import sqlite3
from contextlib import aclosing, closing
from typing import TYPE_CHECKING, Final

from msgspec.structs import replace

from core.ids import PeerKey
from ledger import store as store_module
from ledger.settlement import ChannelState
from ledger.store import Store
from ledger.store_file import log_of
from tests.harness.waiting import until
from tests.ledger.rows import UNIT, payee, payer

if TYPE_CHECKING:
    from pathlib import Path

    import pytest

    from ledger.books import PayeeChannel, PayerChannel

ALLOWED: Final = {
    "payer": {
        "channel": "BLOB",
        "peer": "BLOB",
        "separator": "BLOB",
        "account": "BLOB",
        "secret": "BLOB",
        "deposit": "BLOB",
        "paid": "BLOB",
        "used": "BLOB",
        "state": "INTEGER",
    },
    "payee": {
        "channel": "BLOB",
        "separator": "BLOB",
        "signer": "BLOB",
        "deposit": "BLOB",
        "paid": "BLOB",
        "signature": "BLOB",
        "used": "BLOB",
        "claimed": "BLOB",
        "state": "INTEGER",
    },
    "totals": {"one": "INTEGER", "cap": "BLOB", "spent": "BLOB", "earned": "BLOB"},
}
"""Every table, column and type. What is new here needs a reason, and a line in what a node keeps on disk."""

CHANNELS: Final = 120
"""On each side: enough for pages that are split, and such that are free again."""

VOUCHERS: Final = 6


def test_nothing_else_can_be_kept(tmp_path: Path) -> None:
    async def make() -> None:
        await (await Store.open(tmp_path / "books")).aclose()

    asyncio.run(make())
    with closing(sqlite3.connect(tmp_path / "books")) as connection:
        kinds = connection.execute("SELECT type, name FROM sqlite_schema").fetchall()
        assert sorted(kinds) == [("table", table) for table in sorted(ALLOWED)]
        for table, columns in ALLOWED.items():
            found = connection.execute("SELECT name, type FROM pragma_table_info(?)", (table,)).fetchall()
            assert dict(found) == columns
            [listed] = connection.execute("SELECT wr, strict FROM pragma_table_list WHERE name = ?", (table,))
            assert listed == (1, 1), "no hidden number of rows, and no other types"


class Books:
    """What was ever written, and what of it should still be there.

    Args:
        store: empty.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._random = random.Random(7)
        self._payers = [self._payer(number) for number in range(CHANNELS)]
        self._payees = [self._payee(CHANNELS + number) for number in range(CHANNELS)]
        self.old: set[bytes] = set()
        self.present: set[bytes] = set()

    def _bytes(self, size: int) -> bytes:
        return self._random.randbytes(size)

    def _payer(self, number: int) -> PayerChannel:
        row = replace(payer(number, (1 << 128) - 1), channel=self._bytes(32), peer=PeerKey(self._bytes(32)))
        return replace(row, secret=self._bytes(32), account=self._bytes(20))

    def _payee(self, number: int) -> PayeeChannel:
        return replace(payee(number, (1 << 128) - 1), channel=self._bytes(32), signer=self._bytes(20))

    def _amounts(self, step: int) -> tuple[int, int]:
        """Units and parts that are easily found."""
        paid = (step << 104) + (1 << 100) + int.from_bytes(self._bytes(12))
        return paid, paid * UNIT - int.from_bytes(self._bytes(12))

    def _note(self, last: bool, *values: bytes) -> None:
        (self.present if last else self.old).update(values)

    async def fill(self) -> None:
        """Pay on all channels again and again, then close and forget every second one."""
        await self._store.cap(1 << 127)
        await asyncio.gather(*map(self._store.add_payer, self._payers), *map(self._store.add_payee, self._payees))
        for step in range(1, VOUCHERS + 1):
            await asyncio.gather(*(self._pay(number, step) for number in range(CHANNELS)))
        gone = [row.channel for row in self._payers[::2]] + [row.channel for row in self._payees[::2]]
        await asyncio.gather(*(self._store.state(channel, ChannelState.CLOSED) for channel in gone))
        await asyncio.gather(*(self._store.forget(channel) for channel in gone))
        for row in self._payers[::2]:
            self._note(False, row.channel, row.peer, row.account, row.secret)
        for paid in self._payees[::2]:
            self._note(False, paid.channel, paid.signer)

    async def _pay(self, number: int, step: int) -> None:
        last = step == VOUCHERS and number % 2 == 1
        paid, used = self._amounts(step)
        await self._store.adopt_paid(self._payers[number].channel, paid, used)
        self._note(last, paid.to_bytes(16), used.to_bytes(20))
        paid, used = self._amounts(step)
        signature = self._bytes(65)
        await self._store.take_voucher(self._payees[number].channel, paid, signature, used)
        claimed = paid - int.from_bytes(self._bytes(12))
        await self._store.claimed(self._payees[number].channel, claimed)
        self._note(last, paid.to_bytes(16), used.to_bytes(20), signature, claimed.to_bytes(16))


def pieces(values: set[bytes]) -> set[bytes]:
    """Eight bytes out of the end of each value, which differ."""
    return {value[-8:] for value in values}


def found(values: set[bytes], content: bytes) -> set[bytes]:
    """Which values are in a file, at least in part."""
    windows = {content[start : start + 8] for start in range(len(content) - 7)}
    return pieces(values) & windows


async def test_what_was_overwritten_or_forgotten_is_gone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "books"
    async with aclosing(await Store.open(path)) as store:
        books = Books(store)
        await books.fill()
        assert found(books.old, log_of(path).read_bytes()), "the search finds what is there"
        monkeypatch.setattr(store_module, "QUIET_S", 0.01)
        await store.cap((1 << 128) - 1)
        await until(lambda: log_of(path).stat().st_size == 0)
        await store.export(tmp_path / "backup")
    content = path.read_bytes()
    assert len(pieces(books.old)) > 5 * CHANNELS * VOUCHERS
    for whole in (content, (tmp_path / "backup").read_bytes()):
        assert found(books.present, whole) == pieces(books.present)
        assert found(books.old, whole) == set()
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("PRAGMA freelist_count").fetchone() > (0,), "and pages that are free again"
