"""The file of the store: made, recognised, brought up to date and read. All calls here block.

It is an SQLite database in WAL mode. A commit is on disk when it returns (`synchronous=FULL`), what is overwritten or
deleted is zeroed (`secure_delete`), and one process has the file (`locking_mode=EXCLUSIVE`). Amounts are blobs, 16
bytes big-endian, those in parts 20, since SQLite's integers have 64 bits. Rows are ordered by their channel's id, which
is random, so their places do not tell which was first.
"""

from __future__ import annotations

import os
import sqlite3
import stat
import tempfile
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from core.errors import ConfigError, DecodeError
from core.ids import PeerKey
from ledger.amounts import decode_amount, encode_amount, encode_parts
from ledger.books import Books, PayeeChannel, PayerChannel, Totals
from ledger.settlement import ChannelState

if TYPE_CHECKING:
    from collections.abc import Iterator

APPLICATION_ID: Final = 0x4D56504C
"""`MVPL` in the header of the file (SQLite, "PRAGMA application_id"): it is one of these and no other database."""

STEPS: Final[tuple[str, ...]] = (
    """
    CREATE TABLE payer (
        channel BLOB PRIMARY KEY CHECK (length(channel) = 32),
        peer BLOB NOT NULL CHECK (length(peer) = 32),
        separator BLOB NOT NULL CHECK (length(separator) = 32),
        account BLOB NOT NULL CHECK (length(account) = 20),
        secret BLOB NOT NULL CHECK (length(secret) = 32),
        deposit BLOB NOT NULL CHECK (length(deposit) = 16),
        paid BLOB NOT NULL CHECK (length(paid) = 16 AND paid <= deposit),
        used BLOB NOT NULL CHECK (length(used) = 20),
        state INTEGER NOT NULL CHECK (state BETWEEN 1 AND 3)
    ) STRICT, WITHOUT ROWID;
    CREATE TABLE payee (
        channel BLOB PRIMARY KEY CHECK (length(channel) = 32),
        separator BLOB NOT NULL CHECK (length(separator) = 32),
        signer BLOB NOT NULL CHECK (length(signer) = 20),
        deposit BLOB NOT NULL CHECK (length(deposit) = 16),
        paid BLOB NOT NULL CHECK (length(paid) = 16 AND paid <= deposit),
        signature BLOB NOT NULL CHECK (length(signature) = 65),
        used BLOB NOT NULL CHECK (length(used) = 20),
        claimed BLOB NOT NULL CHECK (length(claimed) = 16 AND claimed <= paid),
        state INTEGER NOT NULL CHECK (state BETWEEN 1 AND 3)
    ) STRICT, WITHOUT ROWID;
    CREATE TABLE totals (
        one INTEGER PRIMARY KEY CHECK (one = 1),
        cap BLOB NOT NULL CHECK (length(cap) = 16),
        spent BLOB NOT NULL CHECK (length(spent) = 16),
        earned BLOB NOT NULL CHECK (length(earned) = 16)
    ) STRICT, WITHOUT ROWID;
    INSERT INTO totals VALUES (1, zeroblob(16), zeroblob(16), zeroblob(16));
    """,
)
"""What makes a file of version n + 1 out of one of version n. A file without a table has version 0."""

LOCK_WAIT_S: Final = 1.0
"""How long the file may be another process's, which may be about to end."""

_SETTINGS: Final = (
    ("journal_mode", "WAL", "wal"),
    ("synchronous", "FULL", 2),
    ("fullfsync", "ON", 1),  # macOS leaves it in the drive's memory otherwise
    ("secure_delete", "ON", 1),
    ("wal_autocheckpoint", "0", 0),  # the store does it, and empties the log then
    ("temp_store", "MEMORY", 2),
    ("trusted_schema", "OFF", 0),
)
"""(name, what it is set to, what it then reads)."""

_SCHEMA: Final = "SELECT type, name, tbl_name, sql FROM sqlite_schema ORDER BY name"
_DAMAGED: Final = "is damaged; move it away and put back a backup with `macrovpn wallet restore`"

PAYER_COLUMNS: Final = "channel, peer, separator, account, secret, deposit, paid, used, state"
PAYEE_COLUMNS: Final = "channel, separator, signer, deposit, paid, signature, used, claimed, state"


class _UnfitError(Exception):
    """A file cannot be used. The text says why and what to do."""


def log_of(path: Path) -> Path:
    """Where SQLite writes first."""
    return path.with_name(path.name + "-wal")


def open_file(path: Path) -> tuple[sqlite3.Connection, Books]:
    """Open the file, or make it where there is none.

    Returns:
        A connection that has the file for itself, and what is in it.

    Raises:
        ConfigError: the file cannot be made or read, is another process's, open to other users, no such file, from a
            later version, or damaged.
    """
    with _told(path):
        if not _exists(path):
            with _new_file(path) as name:
                _create(name)
        _check_mode(path)
        return _open(path)


def restore_file(backup: Path, path: Path) -> None:
    """Put a backup in the place where no file is, after it was read in full.

    Raises:
        ConfigError: as `open_file`; or there is a file.
    """
    if _exists(path):
        raise ConfigError(
            str(path), "exists, and is newer than any backup; move it away if you want the backup instead"
        )
    try:
        content = backup.read_bytes()
    except OSError as error:
        raise ConfigError(str(backup), f"cannot be read: {error.strerror}") from error
    with _new_file(path) as name:
        name.write_bytes(content)
        with _told(backup):
            connection, _ = _open(name)
        connection.close()


def reserve(path: Path) -> Path:
    """Make an empty file, which only its owner reads.

    Returns:
        The same path, absolute: SQLite takes others for addresses if they begin with `file:`.

    Raises:
        ConfigError: it exists or cannot be made.
    """
    try:
        os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
    except FileExistsError as error:
        raise ConfigError(str(path), "exists; name a file that does not") from error
    except OSError as error:
        raise ConfigError(str(path), f"cannot be made: {error.strerror}") from error
    return path.absolute()


def sync(*paths: Path) -> None:
    """Wait until files and folders are on disk.

    Raises:
        OSError: they may never be.
    """
    for path in paths:
        handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def _exists(path: Path) -> bool:
    if path.exists():
        return True
    if log_of(path).exists():
        # SQLite would play it into whatever file comes to stand beside it.
        raise ConfigError(
            str(path), f"is gone, but {log_of(path).name} is there; put it back or move that away as well"
        )
    return False


@contextmanager
def _new_file(path: Path) -> Iterator[Path]:
    """Give a file to fill, which appears under its own name when it is whole."""
    try:
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        os.close(handle)
        try:
            yield Path(name)
            sync(Path(name))
            os.rename(name, path)
        except BaseException:
            for left in (name, f"{name}-wal", f"{name}-journal"):
                with suppress(FileNotFoundError):
                    os.unlink(left)
            raise
        sync(path.parent)
    except OSError as error:
        raise ConfigError(str(path), f"cannot be made: {error.strerror}") from error


def _create(path: Path) -> None:
    with closing(sqlite3.connect(path)) as connection:
        connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        _bring_up(connection)


def _check_mode(path: Path) -> None:
    for file in (path, log_of(path)):
        with suppress(FileNotFoundError):
            mode = file.stat().st_mode
            if not stat.S_ISREG(mode):
                raise ConfigError(str(file), "is no file")
            if mode & 0o077:
                raise ConfigError(str(file), f"others may read it, and your money with it; run `chmod 600 {file}`")


def _open(path: Path) -> tuple[sqlite3.Connection, Books]:
    connection = sqlite3.connect(path.absolute(), timeout=LOCK_WAIT_S, isolation_level="IMMEDIATE")
    try:
        return connection, _read(connection)
    except BaseException:
        connection.close()
        raise


@contextmanager
def _told(path: Path) -> Iterator[None]:
    """Tell a person what is wrong with a file."""
    try:
        yield
    except sqlite3.Error as error:
        raise ConfigError(str(path), _problem(error)) from error
    except _UnfitError as error:
        raise ConfigError(str(path), str(error)) from error


def _problem(error: sqlite3.Error) -> str:
    match error.sqlite_errorcode & 0xFF:
        case sqlite3.SQLITE_BUSY | sqlite3.SQLITE_LOCKED:
            return "is in use by another process; stop the node that runs there with `macrovpn down`"
        case sqlite3.SQLITE_NOTADB:
            return "is no database of payments; move it away"
        case sqlite3.SQLITE_CORRUPT | sqlite3.SQLITE_CONSTRAINT:
            return _DAMAGED
        case sqlite3.SQLITE_FULL:
            return "needs room on its disk"
        case _:
            return f"cannot be opened ({error.sqlite_errorname}); look at its folder, its disk and whose they are"


def _read(connection: sqlite3.Connection) -> Books:
    connection.execute("PRAGMA locking_mode = EXCLUSIVE")
    if _pragma(connection, "application_id") != APPLICATION_ID:
        raise _UnfitError("is no database of payments; move it away")
    if _pragma(connection, "user_version") > len(STEPS):
        raise _UnfitError("was written by a later version of Macro VPN; install that one")
    for name, value, reads in _SETTINGS:
        connection.execute(f"PRAGMA {name} = {value}").close()
        if _pragma(connection, name) != reads:
            raise _UnfitError(f"cannot be used safely here ({name} is refused); put it on another disk")
    if connection.execute("PRAGMA integrity_check").fetchall() != [("ok",)]:
        raise _UnfitError(_DAMAGED)
    _bring_up(connection)
    if connection.execute(_SCHEMA).fetchall() != _schema():
        raise _UnfitError(_DAMAGED)
    try:
        return _books(connection)
    except (ValueError, DecodeError) as error:
        raise _UnfitError(_DAMAGED) from error


def _pragma(connection: sqlite3.Connection, name: str) -> Any:
    return connection.execute(f"PRAGMA {name}").fetchone()[0]


def _bring_up(connection: sqlite3.Connection) -> None:
    for version in range(_pragma(connection, "user_version"), len(STEPS)):
        script = f"BEGIN IMMEDIATE; {STEPS[version]} PRAGMA user_version = {version + 1}; COMMIT;"
        connection.executescript(script)


def _schema() -> list[Any]:
    with closing(sqlite3.connect(":memory:")) as fresh:
        _bring_up(fresh)
        return fresh.execute(_SCHEMA).fetchall()


def _books(connection: sqlite3.Connection) -> Books:
    payers = connection.execute(f"SELECT {PAYER_COLUMNS} FROM payer").fetchall()
    payees = connection.execute(f"SELECT {PAYEE_COLUMNS} FROM payee").fetchall()
    [totals] = connection.execute("SELECT cap, spent, earned FROM totals").fetchall()
    return Books(map(_payer, payers), map(_payee, payees), Totals(*map(decode_amount, totals)))


def _payer(row: tuple[Any, ...]) -> PayerChannel:
    channel, peer, separator, account, secret, deposit, paid, used, state = row
    amounts = decode_amount(deposit), decode_amount(paid), int.from_bytes(used)
    return PayerChannel(channel, PeerKey(peer), separator, account, secret, *amounts, ChannelState(state))


def _payee(row: tuple[Any, ...]) -> PayeeChannel:
    channel, separator, signer, deposit, paid, signature, used, claimed, state = row
    return PayeeChannel(
        channel,
        separator,
        signer,
        decode_amount(deposit),
        decode_amount(paid),
        signature,
        int.from_bytes(used),
        decode_amount(claimed),
        ChannelState(state),
    )


def payer_values(row: PayerChannel) -> tuple[bytes | int, ...]:
    """A row as it is written, in the order of `PAYER_COLUMNS`."""
    amounts = encode_amount(row.deposit), encode_amount(row.paid), encode_parts(row.used)
    return row.channel, row.peer, row.separator, row.account, row.secret, *amounts, int(row.state)


def payee_values(row: PayeeChannel) -> tuple[bytes | int, ...]:
    """A row as it is written, in the order of `PAYEE_COLUMNS`."""
    return (
        row.channel,
        row.separator,
        row.signer,
        encode_amount(row.deposit),
        encode_amount(row.paid),
        row.signature,
        encode_parts(row.used),
        encode_amount(row.claimed),
        int(row.state),
    )


def totals_values(totals: Totals) -> tuple[bytes, ...]:
    """Cap, spent and earned as they are written."""
    return tuple(map(encode_amount, (totals.cap, totals.spent, totals.earned)))
