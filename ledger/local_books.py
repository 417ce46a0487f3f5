"""The books of a local ledger: the rules of channels over the tables of an SQLite file.

Its domain has chain id 0 and a contract that was drawn when the file was made, so that nothing signed for it counts on
a chain or in another file. Every call is one transaction, which locks the file against all other connections. A process
that is killed leaves its last transaction whole or not at all.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
import stat
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

from core.errors import ConfigError, DecodeError, PaymentError, Reason
from ledger.amounts import MAX_AMOUNT, check_amount, decode_amount, encode_amount
from ledger.settlement import CLOSE_DELAY_S, MAX_DEPOSIT, Channel, ChannelState
from ledger.voucher import ADDRESS_BYTES, CHANNEL_ID_BYTES, Domain, check

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

VERSION: Final = 1
"""Of the tables. A file with another one is refused."""

_APPLICATION: Final = int.from_bytes(b"MVlc")
"""SQLite's mark for whose file it is (its application id)."""

_TABLES: Final = (
    """CREATE TABLE ledger (
        contract BLOB NOT NULL CHECK (length(contract) = 20),
        made BLOB NOT NULL CHECK (length(made) = 16)
    ) STRICT""",
    """CREATE TABLE accounts (
        address BLOB NOT NULL PRIMARY KEY CHECK (length(address) = 20),
        balance BLOB NOT NULL CHECK (length(balance) = 16)
    ) STRICT""",
    """CREATE TABLE ids (
        id BLOB NOT NULL PRIMARY KEY CHECK (length(id) = 32)
    ) STRICT""",
    """CREATE TABLE channels (
        id BLOB NOT NULL PRIMARY KEY CHECK (length(id) = 32),
        payer BLOB NOT NULL CHECK (length(payer) = 20),
        payee BLOB NOT NULL CHECK (length(payee) = 20),
        signer BLOB NOT NULL CHECK (length(signer) = 20),
        deposit BLOB NOT NULL CHECK (length(deposit) = 16),
        claimed BLOB NOT NULL CHECK (length(claimed) = 16 AND claimed <= deposit),
        closes_at INTEGER NOT NULL CHECK (closes_at >= 0)
    ) STRICT""",
)
"""`ids` are those of all channels that ever were, `channels` those that are not closed. Amounts are big-endian, so that
SQLite compares them as numbers."""

_MARKS: Final = (f"PRAGMA application_id = {_APPLICATION}", f"PRAGMA user_version = {VERSION}")
_CONTENTS: Final = (
    "PRAGMA application_id",
    "PRAGMA user_version",
    "SELECT sql FROM sqlite_schema WHERE sql IS NOT NULL ORDER BY rowid",
)

_NOBODY: Final = bytes(ADDRESS_BYTES)
_CLOSED: Final = Channel(_NOBODY, _NOBODY, _NOBODY, 0, 0, ChannelState.CLOSED)


@dataclass(frozen=True, slots=True)
class Coins:
    """Where all coins of a ledger are, in units: `made` = `free` + `locked`.

    Args:
        made: by the faucet, ever.
        free: in accounts.
        locked: in channels, and not claimed.
    """

    made: int
    free: int
    locked: int


def check_size(value: bytes, size: int) -> None:
    """Raises ValueError for what has another size, in bytes."""
    if len(value) != size:
        raise ValueError(f"this must have {size} bytes")


def _make_file(path: Path) -> None:
    """Make an empty file if there is none.

    One that is there is not opened: to close it would end the locks of all connections that this process has to it.

    Raises:
        ConfigError: there is one, and it is not fit; or it cannot be made.
    """
    try:
        with contextlib.suppress(FileExistsError):
            os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
        mode = path.lstat().st_mode
    except OSError as error:
        raise ConfigError(str(path), f"the ledger's file cannot be made: {error.strerror}") from error
    if not stat.S_ISREG(mode):
        raise _not_ours(path)
    if mode & (stat.S_IRWXG | stat.S_IRWXO):
        raise ConfigError(str(path), "this ledger is open to others; run chmod 600 on it")


def _not_ours(path: Path) -> ConfigError:
    return ConfigError(
        str(path), "this is no ledger of test coins, or a damaged one; choose another file, or remove it"
    )


def open_books(path: Path, clock: Callable[[], float], draw: Callable[[int], bytes], busy_s: float) -> Books:
    """Open a file of books, or make it; `ledger.local.join` has the arguments."""
    _make_file(path)
    try:
        with contextlib.ExitStack() as undo:
            sql = sqlite3.connect(path, timeout=busy_s, isolation_level=None)
            undo.callback(sql.close)
            sql.execute("PRAGMA synchronous = FULL")
            sql.execute("PRAGMA secure_delete = ON")  # a channel that is closed is gone from the file
            with sql:
                sql.execute("BEGIN IMMEDIATE")
                contract = _contract(sql, path, draw)
            undo.pop_all()
            return Books(sql, contract, clock, draw)
    except sqlite3.Error as error:
        if error.sqlite_errorcode & 0xFF == sqlite3.SQLITE_BUSY:  # the rest of the code says why
            raise PaymentError(Reason.SETTLEMENT) from error
        raise _not_ours(path) from error


def _contract(sql: sqlite3.Connection, path: Path, draw: Callable[[int], bytes]) -> bytes:
    """Make the tables if there is nothing, else see that they are ours."""
    application, version, *tables = (row[0] for query in _CONTENTS for row in sql.execute(query))
    if (application, version, tables) == (0, 0, []):
        for statement in (*_TABLES, *_MARKS):
            sql.execute(statement)
        sql.execute("INSERT INTO ledger VALUES (?, ?)", (draw(ADDRESS_BYTES), encode_amount(0)))
    elif application == _APPLICATION and version > VERSION:
        raise ConfigError(str(path), "a later version made this ledger; use that, or choose another file")
    elif (application, version, tables) != (_APPLICATION, VERSION, list(_TABLES)):
        raise _not_ours(path)
    contracts: list[tuple[bytes]] = sql.execute("SELECT contract FROM ledger").fetchall()
    if len(contracts) != 1:
        raise _not_ours(path)
    return contracts[0][0]


class Books:
    """The rules, over the tables. Lives in one thread; what changes or reads them is called within `transact`."""

    def __init__(
        self, sql: sqlite3.Connection, contract: bytes, clock: Callable[[], float], draw: Callable[[int], bytes]
    ) -> None:
        self.domain = Domain(0, contract)
        self._separator = self.domain.separator
        self._sql = sql
        self._clock = clock
        self._draw = draw

    def now_s(self) -> int:
        return int(self._clock())

    def transact[Answer](self, work: Callable[[], Answer]) -> Answer:
        """Do all of it or nothing."""
        try:
            with self._sql:
                self._sql.execute("BEGIN IMMEDIATE")
                return work()
        except (sqlite3.Error, DecodeError) as error:
            raise PaymentError(Reason.SETTLEMENT) from error

    def shut(self) -> None:
        self._sql.close()

    def balance(self, account: bytes) -> int:
        row = self._sql.execute("SELECT balance FROM accounts WHERE address = ?", (account,)).fetchone()
        return decode_amount(row[0]) if row else 0

    def open(self, payer: bytes, payee: bytes, signer: bytes, deposit: int) -> bytes:
        for address in (payee, signer):
            check_size(address, ADDRESS_BYTES)
        if not 0 < check_amount(deposit) <= MAX_DEPOSIT or _NOBODY in (payee, signer):
            raise PaymentError(Reason.NOT_ALLOWED)
        self._move(payer, -deposit)
        channel = self._draw(CHANNEL_ID_BYTES)
        self._sql.execute("INSERT INTO ids VALUES (?)", (channel,))
        self._sql.execute(
            "INSERT INTO channels VALUES (?, ?, ?, ?, ?, ?, 0)",
            (channel, payer, payee, signer, encode_amount(deposit), encode_amount(0)),
        )
        return channel

    def top_up(self, account: bytes, channel: bytes, units: int) -> None:
        found = self._alive(channel)
        if found.state is not ChannelState.OPEN:
            raise PaymentError(Reason.NOT_OPEN)
        deposit = found.deposit + check_amount(units)
        if not found.deposit < deposit <= MAX_DEPOSIT:
            raise PaymentError(Reason.NOT_ALLOWED)
        self._move(account, -units)
        self._put(channel, replace(found, deposit=deposit))

    def channel(self, channel: bytes) -> Channel:
        check_size(channel, CHANNEL_ID_BYTES)
        row = self._sql.execute(
            "SELECT payer, payee, signer, deposit, claimed, closes_at"
            " FROM ids LEFT JOIN channels USING (id) WHERE ids.id = ?",
            (channel,),
        ).fetchone()
        if row is None:
            raise PaymentError(Reason.NO_CHANNEL)
        payer, payee, signer, deposit, claimed, closes_at = row
        if payer is None:
            return _CLOSED
        state = ChannelState.CLOSING if closes_at else ChannelState.OPEN
        return Channel(payer, payee, signer, decode_amount(deposit), decode_amount(claimed), state, closes_at)

    def find(self, payer: bytes, payee: bytes, signer: bytes) -> bytes | None:
        query = "SELECT id FROM channels WHERE payer = ? AND payee = ? AND signer = ? ORDER BY rowid DESC"
        row: tuple[bytes] | None = self._sql.execute(query, (payer, payee, signer)).fetchone()
        return row and row[0]

    def closing(self, channels: list[bytes]) -> list[bytes]:
        query = "SELECT id FROM channels WHERE id = ? AND closes_at > 0"
        return [channel for channel in channels if self._sql.execute(query, (channel,)).fetchone()]

    def claim(self, channel: bytes, cumulative: int, signature: bytes) -> int:
        found = self._alive(channel)
        check(found.signer, self._separator, channel, cumulative, signature)
        units = max(0, min(cumulative, found.deposit) - found.claimed)
        self._put(channel, replace(found, claimed=found.claimed + units))
        self._move(found.payee, units)
        return units

    def start_close(self, account: bytes, channel: bytes) -> None:
        found = self._alive(channel)
        if found.state is not ChannelState.OPEN:
            raise PaymentError(Reason.NOT_OPEN)
        if account != found.payer:
            raise PaymentError(Reason.NOT_ALLOWED)
        self._put(channel, replace(found, closes_at=self.now_s() + CLOSE_DELAY_S))

    def close(self, account: bytes, channel: bytes) -> None:
        found = self._alive(channel)
        if account != found.payee:
            raise PaymentError(Reason.NOT_ALLOWED)
        self._end(channel, found)

    def finish_close(self, channel: bytes) -> None:
        found = self._alive(channel)
        if found.state is not ChannelState.CLOSING:
            raise PaymentError(Reason.NOT_OPEN)
        if self.now_s() < found.closes_at:
            raise PaymentError(Reason.TOO_EARLY)
        self._end(channel, found)

    def make(self, account: bytes, units: int) -> None:
        check_size(account, ADDRESS_BYTES)
        made = self._made() + check_amount(units)
        if made > MAX_AMOUNT:
            raise ValueError("there cannot be more than 2^128 - 1 units in all")
        self._sql.execute("UPDATE ledger SET made = ?", (encode_amount(made),))
        self._move(account, units)

    def coins(self) -> Coins:
        free = sum(decode_amount(row[0]) for row in self._sql.execute("SELECT balance FROM accounts"))
        rows = self._sql.execute("SELECT deposit, claimed FROM channels")
        locked = sum(decode_amount(deposit) - decode_amount(claimed) for deposit, claimed in rows)
        return Coins(self._made(), free, locked)

    def _made(self) -> int:
        (made,) = self._sql.execute("SELECT made FROM ledger").fetchone()
        return decode_amount(made)

    def _alive(self, channel: bytes) -> Channel:
        found = self.channel(channel)
        if found.state is ChannelState.CLOSED:
            raise PaymentError(Reason.NOT_OPEN)
        return found

    def _put(self, channel: bytes, found: Channel) -> None:
        """Write what changes in the life of a channel."""
        self._sql.execute(
            "UPDATE channels SET deposit = ?, claimed = ?, closes_at = ? WHERE id = ?",
            (encode_amount(found.deposit), encode_amount(found.claimed), found.closes_at, channel),
        )

    def _end(self, channel: bytes, found: Channel) -> None:
        self._sql.execute("DELETE FROM channels WHERE id = ?", (channel,))
        self._move(found.payer, found.deposit - found.claimed)

    def _move(self, account: bytes, units: int) -> None:
        """Add to an account, or take from it if below 0."""
        balance = self.balance(account) + units
        if balance < 0:
            raise PaymentError(Reason.NO_FUNDS)
        self._sql.execute("INSERT OR REPLACE INTO accounts VALUES (?, ?)", (account, encode_amount(balance)))
