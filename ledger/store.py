"""What a node keeps of money, on disk before anybody hears of it.

Changes wait in a queue; one task takes all that wait, makes them, commits once, and only then answers whoever waits.
Nobody else uses the connection, so no change can be undone by another's failure. What is read is what was committed.

SQLite writes first into a log beside the file, where old amounts would stand in the order in which they came. So the
log is emptied when it is long, when nothing was written for a moment, and at the end.
"""

from __future__ import annotations

import asyncio
import logging
import os
import sqlite3
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import aiosqlite

from core.errors import ConfigError, PaymentError, Reason, StoreError
from core.fault import place
from core.tasks import Tasks
from ledger.books import Books, Draft, PayeeChannel, PayerChannel, Totals
from ledger.store_file import (
    PAYEE_COLUMNS,
    PAYER_COLUMNS,
    log_of,
    open_file,
    payee_values,
    payer_values,
    reserve,
    restore_file,
    sync,
    totals_values,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from ledger.settlement import ChannelState

MAX_WAITING: Final = 1024
"""Changes that may wait. Each link has a few at most; a disk that falls further behind is of no use."""

LOG_BYTES: Final = 1 << 20
"""A longer log is emptied at once."""

QUIET_S: Final = 1.0
"""After so long without a change the log is emptied."""

_log = logging.getLogger(__name__)

# At level debug it writes every statement with its values, keys among them.
logging.getLogger("aiosqlite").setLevel(logging.INFO)


def _put(table: str, columns: str) -> str:
    return f"REPLACE INTO {table} ({columns}) VALUES ({', '.join('?' * len(columns.split(',')))})"


_PUT_PAYER: Final = _put("payer", PAYER_COLUMNS)
_PUT_PAYEE: Final = _put("payee", PAYEE_COLUMNS)
_PUT_TOTALS: Final = "UPDATE totals SET cap = ?, spent = ?, earned = ?"
_DROP_PAYER: Final = "DELETE FROM payer WHERE channel = ?"
_DROP_PAYEE: Final = "DELETE FROM payee WHERE channel = ?"


@dataclass(slots=True)
class _Waiter:
    """A change, and who waits for it."""

    change: Callable[[Draft], Any]
    done: asyncio.Future[Any]


class Store:
    """The books of one node. Made by `Store.open`; `aclose` when done.

    What changes them is durable when it returns. It raises what `ledger.books.Draft` says of the method of the same
    name, `PaymentError` `BUSY` when too much waits, and `StoreError` when nothing could be written; then nothing has
    changed and nothing may be acknowledged, signed or sent.
    """

    def __init__(self, path: Path, connection: aiosqlite.Connection, books: Books) -> None:
        self._path = path
        self._connection = connection
        self._books = books
        self._identity = _identity(path)
        self._waiting: list[_Waiter] = []
        self._wake = asyncio.Event()
        self._turn = asyncio.Lock()
        self._ended: str | None = None
        self._tasks = Tasks()
        self._writer = self._tasks.spawn(self._write(), "ledger store")

    @classmethod
    async def open(cls, path: Path) -> Store:
        """Open the books, or begin them where there are none.

        Args:
            path: the file; its folder exists.

        Raises:
            ConfigError: as `ledger.store_file.open_file`.
        """
        found: list[Books] = []

        def connect() -> sqlite3.Connection:
            connection, books = open_file(path)
            found.append(books)
            return connection

        connection = aiosqlite.Connection(connect, iter_chunk_size=64)
        # A node that failed would else not end, and keep the file. What is not committed counts for nothing.
        connection._thread.daemon = True
        return cls(path, await connection, found[0])

    @staticmethod
    def restore(backup: Path, path: Path) -> None:
        """Put a backup in the place of books that are gone. Blocks; no node may run there.

        Raises:
            ConfigError: as `ledger.store_file.restore_file`.
        """
        restore_file(backup, path)

    async def aclose(self) -> None:
        """Write what waits, empty the log and let go of the file. What comes later raises `StoreError`."""
        self._ended = self._ended or "the node stops"
        self._wake.set()
        await asyncio.wait([self._writer])
        await self._connection.close()

    @property
    def totals(self) -> Totals:
        return self._books.totals

    @property
    def signed(self) -> int:
        """Units signed in all, on channels that are forgotten as well. What the cap leaves is above it."""
        return self._books.signed

    @property
    def payers(self) -> tuple[PayerChannel, ...]:
        """The channels on which this node pays."""
        return tuple(self._books.payers.values())

    @property
    def payees(self) -> tuple[PayeeChannel, ...]:
        """The channels on which it is paid."""
        return tuple(self._books.payees.values())

    def payer(self, channel: bytes) -> PayerChannel | None:
        return self._books.payers.get(channel)

    def payee(self, channel: bytes) -> PayeeChannel | None:
        return self._books.payees.get(channel)

    async def add_payer(self, row: PayerChannel) -> None:
        await self._do(lambda draft: draft.add_payer(row))

    async def add_payee(self, row: PayeeChannel) -> None:
        await self._do(lambda draft: draft.add_payee(row))

    async def raise_paid(self, channel: bytes, paid: int, used: int) -> None:
        await self._do(lambda draft: draft.raise_paid(channel, paid, used))

    async def adopt_paid(self, channel: bytes, paid: int, used: int) -> None:
        await self._do(lambda draft: draft.adopt_paid(channel, paid, used))

    async def take_voucher(self, channel: bytes, paid: int, signature: bytes, used: int) -> bool:
        return await self._do(lambda draft: draft.take_voucher(channel, paid, signature, used))

    async def use(self, channel: bytes, used: int) -> None:
        await self._do(lambda draft: draft.use(channel, used))

    async def deposit(self, channel: bytes, units: int) -> None:
        await self._do(lambda draft: draft.deposit(channel, units))

    async def claimed(self, channel: bytes, units: int) -> None:
        await self._do(lambda draft: draft.claimed(channel, units))

    async def state(self, channel: bytes, state: ChannelState) -> None:
        await self._do(lambda draft: draft.state(channel, state))

    async def forget(self, channel: bytes) -> None:
        await self._do(lambda draft: draft.forget(channel))

    async def cap(self, units: int) -> None:
        await self._do(lambda draft: draft.cap(units))

    async def export(self, path: Path) -> None:
        """Write a backup, which only its owner reads and which may be put back at any age. It holds the channels' keys.

        Args:
            path: a file that does not exist, in a folder that does.

        Raises:
            ConfigError: the file exists or cannot be written.
            StoreError: the store is closed.
        """
        if self._ended is not None:
            raise StoreError(self._ended)
        whole = reserve(path)
        try:
            async with self._turn:
                await self._connection.execute_fetchall("VACUUM INTO ?", (str(whole),))
            await asyncio.to_thread(sync, whole, whole.parent)
        except BaseException as error:
            with suppress(OSError):
                os.unlink(whole)
            if isinstance(error, sqlite3.Error | OSError):
                raise ConfigError(str(path), f"cannot be written: {_problem(error)}") from error
            raise

    async def _do[Answer](self, change: Callable[[Draft], Answer]) -> Answer:
        if self._ended is not None:
            raise StoreError(self._ended)
        if len(self._waiting) >= MAX_WAITING:
            raise PaymentError(Reason.BUSY)
        done: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        self._waiting.append(_Waiter(change, done))
        self._wake.set()
        return await done

    async def _write(self) -> None:
        group: list[_Waiter] = []
        try:
            while await self._something():
                async with self._turn:
                    group, self._waiting = self._waiting, []
                    await self._write_group(group)
        finally:
            self._ended = self._ended or "the writer failed; start the node again"
            _fail([*group, *self._waiting], self._ended)

    async def _something(self) -> bool:
        """Wait until a change waits; False when none will. Empties the log when it is quiet."""
        while not self._waiting:
            if self._ended is not None:
                return False
            self._wake.clear()
            try:
                async with asyncio.timeout(QUIET_S if _size(self._path) else None):
                    await self._wake.wait()
            except TimeoutError:
                async with self._turn:
                    await self._empty_log()
        return True

    async def _write_group(self, group: list[_Waiter]) -> None:
        draft = Draft(self._books)
        wanted = [waiter for waiter in group if not waiter.done.done()]
        answers = [_attempt(waiter.change, draft) for waiter in wanted]
        try:
            if not draft.is_empty:
                await self._commit(draft)
        except Exception as error:  # whatever it was, they must hear of it
            with suppress(sqlite3.Error, ValueError):
                await self._connection.rollback()
            _fail(wanted, self._ended or _problem(error))
            return
        self._books.take(draft)
        for waiter, answer in zip(wanted, answers, strict=True):
            if waiter.done.done():
                continue
            if isinstance(answer, Exception):
                waiter.done.set_exception(answer)
            else:
                waiter.done.set_result(answer)
        if _size(self._path) > LOG_BYTES:
            await self._empty_log()

    async def _commit(self, draft: Draft) -> None:
        for statement, rows in _statements(draft, self._books):
            if rows:
                await self._connection.executemany(statement, rows)
        await self._connection.commit()
        if (found := _identity(self._path)) != self._identity or None in found:
            # SQLite goes on with files that have no name any more, and loses all of it at the end.
            self._ended = "their file was taken away while the node ran; put it back and start the node again"
            raise FileNotFoundError

    async def _empty_log(self) -> None:
        try:
            await self._connection.execute_fetchall("PRAGMA wal_checkpoint(TRUNCATE)")
        except sqlite3.Error as error:
            # Nothing is lost by it. It is tried again.
            _log.warning("old amounts stay in the store's log for now: %s", _problem(error))


def _statements(draft: Draft, books: Books) -> Iterator[tuple[str, list[tuple[bytes | int, ...]]]]:
    """What writes a draft: statements and the rows of each."""
    yield _DROP_PAYER, [(channel,) for channel, row in draft.payers.items() if row is None]
    yield _DROP_PAYEE, [(channel,) for channel, row in draft.payees.items() if row is None]
    yield _PUT_PAYER, [payer_values(row) for row in draft.payers.values() if row is not None]
    yield _PUT_PAYEE, [payee_values(row) for row in draft.payees.values() if row is not None]
    yield _PUT_TOTALS, [totals_values(draft.totals)] if draft.totals != books.totals else []


def _attempt(change: Callable[[Draft], object], draft: Draft) -> object:
    """What a change answers, or the error it raised."""
    try:
        return change(draft)
    except Exception as error:
        return error


def _fail(waiters: list[_Waiter], problem: str) -> None:
    for waiter in waiters:
        if not waiter.done.done():
            waiter.done.set_exception(StoreError(problem))


def _problem(error: Exception) -> str:
    if isinstance(error, sqlite3.Error) and (code := getattr(error, "sqlite_errorcode", None)) is not None:
        if code & 0xFF == sqlite3.SQLITE_FULL:
            return "the disk is full; free some room"
        return f"the disk or its file system fails ({error.sqlite_errorname}); look at it and start the node again"
    return f"{place(error)}; start the node again"


def _identity(path: Path) -> tuple[tuple[int, int] | None, ...]:
    """Which files stand there now, the books and their log; None for one that does not."""
    found: list[tuple[int, int] | None] = []
    for file in (path, log_of(path)):
        try:
            status = os.stat(file)
        except FileNotFoundError:
            found.append(None)
        else:
            found.append((status.st_dev, status.st_ino))
    return tuple(found)


def _size(path: Path) -> int:
    """Bytes of the log."""
    try:
        return os.stat(log_of(path)).st_size
    except FileNotFoundError:
        return 0
