"""The databases of a node, read to the last page: tables, columns, rows, and that nothing is in what is free."""

from __future__ import annotations

import shutil
import sqlite3
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Final

from tests.proofs.kept import Field, Kind, UnlistedError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

PLAIN, RANDOM, TIME = Kind.PLAIN, Kind.RANDOM, Kind.TIME
_SIZE_AT: Final = 16
"""Where the size of a page stands. Source: sqlite.org/fileformat2.html, section 1.3."""
_LARGEST: Final = 65_536


type Column = tuple[str, Kind]
"""Words of the list, and what a value can be mistaken for."""


@dataclass(frozen=True, slots=True)
class Database:
    """What a file may hold.

    Args:
        tables: of each, its columns.
    """

    tables: Mapping[str, Mapping[str, Column]]

    def read(self, data: bytes, path: Path) -> Iterator[Field]:
        """Read the file together with its log, if there is one.

        Raises:
            UnlistedError: there is another table or column, or something in a free page.
        """
        with TemporaryDirectory() as folder:
            copy = Path(folder) / path.name
            copy.write_bytes(data)
            log = path.with_name(f"{path.name}-wal")
            if log.exists():
                shutil.copy(log, copy.with_name(log.name))
            with closing(sqlite3.connect(copy)) as connection:
                yield from self._rows(connection, path)
                connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
                _check_free_pages(connection, copy)

    def read_log(self, data: bytes, path: Path) -> Iterator[Field]:
        """Read what was written first to the log: values of rows in earlier states, with those of `read`."""
        file = path.with_name(path.name.removesuffix("-wal"))
        yield from self.read(file.read_bytes(), file)

    def _rows(self, connection: sqlite3.Connection, path: Path) -> Iterator[Field]:
        found = {name for (name,) in connection.execute("SELECT name FROM sqlite_schema WHERE type != 'index'")}
        if found != self.tables.keys():
            raise UnlistedError(f"{path.name} has other tables: {sorted(found)}")
        for table, columns in self.tables.items():
            cursor = connection.execute(f"SELECT * FROM {table}")
            names = [description[0] for description in cursor.description]
            if set(names) != columns.keys():
                raise UnlistedError(f"{path.name} has other columns in {table}: {names}")
            for row in cursor:
                for column, value in zip(names, row, strict=True):
                    name, kind = columns[column]
                    yield Field(name, value if isinstance(value, bytes) else value.to_bytes(8).lstrip(b"\0"), kind)


def _check_free_pages(connection: sqlite3.Connection, path: Path) -> None:
    """Look at the pages on the list of free ones. Source: sqlite.org/fileformat2.html, section 1.5."""
    data = path.read_bytes()
    size = int.from_bytes(data[_SIZE_AT : _SIZE_AT + 2])
    size = _LARGEST if size == 1 else size
    trunk = int.from_bytes(data[32:36])
    while trunk:
        page = data[(trunk - 1) * size : trunk * size]
        count = int.from_bytes(page[4:8])
        leaves = [int.from_bytes(page[8 + 4 * at : 12 + 4 * at]) for at in range(count)]
        rest = [page[8 + 4 * count :], *(data[(leaf - 1) * size : leaf * size] for leaf in leaves)]
        if any(any(part) for part in rest):
            raise UnlistedError(f"{path.name} has something in a free page")
        trunk = int.from_bytes(page[:4])


MONEY: Final = Database(
    {
        "payer": {
            "channel": ("the channel's id", RANDOM),
            "peer": ("peer key", RANDOM),
            "separator": ("the domain", RANDOM),
            "account": ("and account", RANDOM),
            "secret": ("the secret that signs its vouchers", RANDOM),
            "deposit": ("deposit", PLAIN),
            "paid": ("sum signed", PLAIN),
            "used": ("sum used", PLAIN),
            "state": ("state", PLAIN),
        },
        "payee": {
            "channel": ("id", RANDOM),
            "separator": ("domain", RANDOM),
            "signer": ("signer's address", RANDOM),
            "deposit": ("deposit", PLAIN),
            "paid": ("the highest voucher", PLAIN),
            "signature": ("its signature", RANDOM),
            "used": ("sum used", PLAIN),
            "claimed": ("sum claimed", PLAIN),
            "state": ("state", PLAIN),
        },
        "totals": {
            "one": ("Then the spending cap", PLAIN),
            "cap": ("Then the spending cap", PLAIN),
            "spent": ("what was spent", PLAIN),
            "earned": ("earned on channels that are gone", PLAIN),
        },
    }
)
LEDGER: Final = Database(
    {
        "ledger": {"contract": ("the ledger's own address", RANDOM), "made": ("all coins ever made", PLAIN)},
        "accounts": {"address": ("of each account its address", RANDOM), "balance": ("its balance", PLAIN)},
        "ids": {"id": ("the ids of all channels that ever were", RANDOM)},
        "channels": {
            "id": ("its id", RANDOM),
            "payer": ("payer", RANDOM),
            "payee": ("payee", RANDOM),
            "signer": ("signer", RANDOM),
            "deposit": ("deposit", PLAIN),
            "claimed": ("what was claimed", PLAIN),
            "closes_at": ("when it closes, once that was asked for", TIME),
        },
    }
)
