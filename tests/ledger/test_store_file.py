"""Which files the store opens, makes, brings up to date and refuses."""

from __future__ import annotations

import asyncio
import os
import sqlite3
import subprocess
import sys
from contextlib import aclosing, closing
from typing import TYPE_CHECKING, Any, Final

import pytest

from core.errors import ConfigError
from ledger import store_file
from ledger.books import Totals
from ledger.settlement import ChannelState
from ledger.store import Store
from ledger.store_file import STEPS, log_of, open_file
from tests.ledger.rows import UNIT, name, payee, payer, signature

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

HOLDER: Final = """
import sys, pathlib
from ledger.store_file import open_file
opened = open_file(pathlib.Path(sys.argv[1]))
print("open", flush=True)
sys.stdin.read()
"""


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """Books with one channel on each side, as they are on disk."""
    path = tmp_path_factory.mktemp("written") / "books"

    async def fill() -> None:
        async with aclosing(await Store.open(path)) as store:
            await store.cap(60)
            await store.add_payer(payer(1))
            await store.raise_paid(name(1), 10, 5 * UNIT)
            await store.add_payee(payee(2))
            await store.take_voucher(name(2), 7, signature(7), 3 * UNIT)

    asyncio.run(fill())
    return path.read_bytes()


@pytest.fixture
def path(tmp_path: Path, written: bytes) -> Path:
    path = tmp_path / "books"
    path.touch(0o600)
    path.write_bytes(written)
    return path


def edit(path: Path, script: str) -> None:
    """Change the file behind the store's back."""
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA ignore_check_constraints = ON")
        connection.executescript(script)


def refusal(path: Path) -> str:
    """Why a file is not opened; it is left as it was."""
    before = path.read_bytes()
    with pytest.raises(ConfigError) as caught:
        open_file(path)
    assert caught.value.where == str(path)
    assert path.read_bytes() == before
    return caught.value.problem


def content(path: Path) -> tuple[int, int, Totals]:
    connection, books = open_file(path)
    connection.close()
    return books.payers[name(1)].paid, books.payees[name(2)].paid, books.totals


@pytest.fixture
def open_umask() -> Iterator[None]:
    before = os.umask(0)
    yield
    os.umask(before)


@pytest.mark.usefixtures("open_umask")
def test_only_the_owner_reads_it(tmp_path: Path) -> None:
    tmp_path.chmod(0o751)
    connection, _ = open_file(tmp_path / "books")
    connection.execute("UPDATE totals SET cap = ?", (bytes(16),))
    connection.commit()
    modes = {file.name: file.stat().st_mode & 0o777 for file in tmp_path.iterdir()}
    connection.close()
    assert modes == {"books": 0o600, "books-wal": 0o600}
    assert tmp_path.stat().st_mode & 0o777 == 0o751
    assert [file.name for file in tmp_path.iterdir()] == ["books"]


def test_new_books_are_empty_and_spend_nothing(tmp_path: Path) -> None:
    connection, books = open_file(tmp_path / "books")
    connection.close()
    assert (books.payers, books.payees, books.totals) == ({}, {}, Totals(cap=0, spent=0, earned=0))


def test_what_was_written_is_read(path: Path) -> None:
    connection, books = open_file(path)
    connection.close()
    assert books.payers == {name(1): payer(1, paid=10, used=5 * UNIT)}
    assert books.payees == {name(2): payee(2, paid=7, signature=signature(7), used=3 * UNIT)}
    assert books.totals == Totals(cap=60)


def test_a_folder_that_is_missing_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"books: cannot be made: No such file or directory\.$"):
        open_file(tmp_path / "none" / "books")


def test_what_is_no_such_file_is_refused_and_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "books"
    path.touch(0o600)
    assert refusal(path) == "is no database of payments; move it away"
    path.write_bytes(b"a shopping list, " * 100)
    assert refusal(path) == "is no database of payments; move it away"
    path.unlink()
    edit(path, "CREATE TABLE other (x); INSERT INTO other VALUES (1);")
    path.chmod(0o600)
    assert refusal(path) == "is no database of payments; move it away"
    path.unlink()
    path.mkdir(0o700)
    with pytest.raises(ConfigError, match="is no file"):
        open_file(path)


def test_a_file_of_a_later_version_is_refused_and_left_alone(path: Path) -> None:
    edit(path, f"PRAGMA user_version = {len(STEPS) + 1}")
    assert refusal(path) == "was written by a later version of Macro VPN; install that one"


def test_a_file_that_others_may_read_is_refused(path: Path) -> None:
    path.chmod(0o640)
    assert refusal(path) == f"others may read it, and your money with it; run `chmod 600 {path}`"
    path.chmod(0o600)
    log_of(path).touch(0o644)
    with pytest.raises(ConfigError, match="others may read it"):
        open_file(path)


def test_a_log_without_its_file_is_not_played_into_a_new_one(path: Path) -> None:
    log_of(path).touch(0o600)
    path.unlink()
    with pytest.raises(ConfigError, match="is gone, but books-wal is there"):
        open_file(path)
    assert not path.exists()


def test_a_damaged_file_is_refused(path: Path) -> None:
    whole, page = path.read_bytes(), 4096
    starts = [100, *range(page, len(whole), page)]  # of the part of each page that says what is where
    spoiled = [whole[:start] + b"\xa5" * 40 + whole[start + 40 :] for start in starts]
    found = []
    for content in [*spoiled, whole[:-page], whole[: page + 1]]:
        path.write_bytes(content)
        found.append(refusal(path))
    assert len(found) == 6
    assert set(found) == {"is damaged; move it away and put back a backup with `macrovpn wallet restore`"}


DAMAGES: Final = (
    "DELETE FROM totals",
    "INSERT INTO totals VALUES (2, zeroblob(16), zeroblob(16), zeroblob(16))",
    "UPDATE totals SET cap = zeroblob(15)",
    "UPDATE payer SET paid = zeroblob(17)",
    "UPDATE payer SET paid = deposit, deposit = zeroblob(16)",
    f"UPDATE payer SET used = x'{11 * UNIT:040x}'",
    "UPDATE payer SET used = zeroblob(21)",
    "UPDATE payer SET state = 4",
    "UPDATE payer SET secret = zeroblob(31)",
    "UPDATE payee SET signature = zeroblob(65)",
    "UPDATE payee SET signature = zeroblob(64)",
    "UPDATE payee SET claimed = deposit",
    "UPDATE payee SET channel = (SELECT channel FROM payer)",
    "UPDATE totals SET spent = x'ffffffffffffffffffffffffffffffff'",
    "CREATE TABLE history (paid BLOB)",
    "CREATE TRIGGER bad AFTER UPDATE ON payer BEGIN UPDATE payer SET paid = old.paid; END",
    "DROP TABLE payee",
    "ALTER TABLE payer ADD COLUMN host TEXT",
)


@pytest.mark.parametrize("script", DAMAGES)
def test_a_file_that_says_what_cannot_be_is_refused(path: Path, script: str) -> None:
    edit(path, script)
    assert refusal(path).startswith("is damaged")


def test_the_file_itself_refuses_what_cannot_be(path: Path) -> None:
    connection, _ = open_file(path)
    with closing(connection):
        for script in DAMAGES[1:5] + DAMAGES[6:9] + DAMAGES[10:12]:
            with pytest.raises(sqlite3.IntegrityError):
                connection.execute(script)
            connection.rollback()


def test_what_sqlite_does_not_take_is_not_done_without(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store_file, "_SETTINGS", (*store_file._SETTINGS, ("page_size", 8192, 8192)))
    with pytest.raises(ConfigError, match="page_size is refused"):
        open_file(path)


def test_two_nodes_do_not_share_books(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store_file, "LOCK_WAIT_S", 0.05)
    with subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == b"open\n"
        with pytest.raises(ConfigError) as caught:
            open_file(path)
        assert caught.value.problem == (
            "is in use by another process; stop the node that runs there with `macrovpn down`"
        )
        other.kill()
    assert content(path) == (10, 7, Totals(cap=60))


def test_nor_does_one_node_open_them_twice(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store_file, "LOCK_WAIT_S", 0.05)
    connection, _ = open_file(path)
    with closing(connection), pytest.raises(ConfigError, match="in use by another process"):
        open_file(path)


def versions(monkeypatch: pytest.MonkeyPatch, *steps: str) -> None:
    """Be a later version, which has taken these steps more."""
    monkeypatch.setattr(store_file, "STEPS", (*STEPS, *steps))


LATER: Final = ("CREATE TABLE later (cap BLOB) STRICT;", "INSERT INTO later SELECT cap FROM totals;")


@pytest.mark.parametrize("done", range(len(LATER) + 1))
def test_every_older_file_is_brought_up_to_date_in_order(
    path: Path, monkeypatch: pytest.MonkeyPatch, done: int
) -> None:
    versions(monkeypatch, *LATER[:done])
    assert content(path) == (10, 7, Totals(cap=60))
    versions(monkeypatch, *LATER)
    assert content(path) == (10, 7, Totals(cap=60))
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("PRAGMA user_version").fetchone() == (len(STEPS) + len(LATER),)
        assert connection.execute("SELECT cap FROM later").fetchall() == [((60).to_bytes(16),)]


def test_a_step_that_fails_changes_nothing(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    versions(monkeypatch, f"{LATER[0]} INSERT INTO nothing VALUES (1);")
    with pytest.raises(ConfigError, match="cannot be opened"):
        open_file(path)
    monkeypatch.undo()
    assert content(path) == (10, 7, Totals(cap=60))


def test_a_new_file_takes_every_step(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    versions(monkeypatch, *LATER)
    connection, _ = open_file(tmp_path / "books")
    with closing(connection):
        assert connection.execute("SELECT count(*) FROM later").fetchone() == (1,)


def test_a_file_that_cannot_be_made_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    versions(monkeypatch, "INSERT INTO nothing VALUES (1);")
    with pytest.raises(ConfigError, match="cannot be opened"):
        open_file(tmp_path / "books")
    assert list(tmp_path.iterdir()) == []


def back_up(path: Path) -> Path:
    async def export() -> None:
        async with aclosing(await Store.open(path)) as store:
            await store.export(path.with_name("backup"))

    asyncio.run(export())
    return path.with_name("backup")


@pytest.mark.usefixtures("open_umask")
def test_a_backup_is_whole_and_private(path: Path) -> None:
    backup = back_up(path)
    assert backup.stat().st_mode & 0o777 == 0o600
    assert content(backup) == (10, 7, Totals(cap=60))


def test_a_backup_does_not_replace_a_file(path: Path) -> None:
    back_up(path)
    with pytest.raises(ConfigError, match="backup: exists; name a file that does not"):
        back_up(path)
    assert content(path.with_name("backup")) == (10, 7, Totals(cap=60))


@pytest.mark.usefixtures("open_umask")
def test_a_backup_is_put_back(path: Path) -> None:
    backup = back_up(path)
    backup.chmod(0o644)
    path.unlink()
    Store.restore(backup, path)
    assert path.stat().st_mode & 0o777 == 0o600
    assert content(path) == (10, 7, Totals(cap=60))
    assert {file.name for file in path.parent.iterdir()} == {"books", "backup"}


def test_an_older_backup_is_brought_up_to_date(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    backup = back_up(path)
    path.unlink()
    versions(monkeypatch, *LATER)
    Store.restore(backup, path)
    assert content(path) == (10, 7, Totals(cap=60))


def test_a_backup_does_not_replace_books(path: Path) -> None:
    backup = back_up(path)
    with pytest.raises(ConfigError, match="books: exists, and is newer than any backup"):
        Store.restore(backup, path)
    path.rename(path.with_name("old"))
    log_of(path).touch(0o600)
    with pytest.raises(ConfigError, match="is gone, but books-wal is there"):
        Store.restore(backup, path)


def spoil(backup: Path) -> None:
    backup.write_bytes(backup.read_bytes()[:-4096])


def remove(backup: Path) -> None:
    backup.unlink()


def age(backup: Path) -> None:
    edit(backup, f"PRAGMA user_version = {len(STEPS) + 1}")


@pytest.mark.parametrize(
    ("harm", "problem"), [(spoil, "is damaged"), (remove, "cannot be read"), (age, "later version")]
)
def test_a_backup_that_is_no_use_leaves_nothing(path: Path, harm: Callable[[Path], None], problem: str) -> None:
    backup = back_up(path)
    path.unlink()
    harm(backup)
    with pytest.raises(ConfigError, match=f"backup: .*{problem}"):
        Store.restore(backup, path)
    assert {file.name for file in path.parent.iterdir()} <= {"backup"}


def test_every_state_and_the_largest_amounts_come_back(tmp_path: Path) -> None:
    most = (1 << 128) - 1
    rows: list[Any] = [
        payer(1, most, state=ChannelState.CLOSING),
        payer(2, 0),
        payee(3, most, state=ChannelState.CLOSING),
    ]

    async def fill() -> None:
        async with aclosing(await Store.open(tmp_path / "books")) as store:
            await asyncio.gather(*map(store.add_payer, rows[:2]), store.add_payee(rows[2]), store.cap(most))
            await store.adopt_paid(name(1), most, most * UNIT)
            await store.take_voucher(name(3), most, signature(9), most * UNIT)
            await store.claimed(name(3), most)

    asyncio.run(fill())
    connection, books = open_file(tmp_path / "books")
    connection.close()
    assert (books.payers[name(1)].paid, books.payers[name(1)].used) == (most, most * UNIT)
    assert (books.payees[name(3)].claimed, books.payees[name(3)].used) == (most, most * UNIT)
    assert books.totals.cap == most
    assert books.payers[name(1)].state is books.payees[name(3)].state is ChannelState.CLOSING
