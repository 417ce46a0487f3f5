"""The file of a ledger of test coins: who may read it, and which are refused."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import sqlite3
import stat
from typing import TYPE_CHECKING, Any, Final

import pytest

from core.errors import ConfigError, PaymentError, Reason
from ledger.local import LocalSettlement, join
from ledger.local_books import VERSION
from ledger.voucher import SigningKey
from tests.ledger.test_local import refused

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

ACCOUNT: Final = b"\xa0" * 20
KEY: Final = SigningKey(b"\x01" * 32)


async def enter(path: Path) -> LocalSettlement:
    return await join(path, ACCOUNT, lambda: 1_000_000, busy_s=0.05)


def change(path: Path, *statements: str) -> None:
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as sql:
        for statement in statements:
            sql.execute(statement)


def content(path: Path) -> bytes:
    return path.read_bytes()


def spoil(path: Path) -> None:
    path.write_bytes(content(path)[:4096].ljust(path.stat().st_size, b"\xee"))


def modes(folder: Path) -> dict[str, int]:
    return {path.name: stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir()}


ALLOWED: Final = {
    "ledger": ["contract", "made"],
    "accounts": ["address", "balance"],
    "ids": ["id"],
    "channels": ["id", "payer", "payee", "signer", "deposit", "claimed", "closes_at"],
}
"""Every table and column: what a chain would show, and no vouchers, peers or times but that of a close."""


@pytest.fixture
async def path(tmp_path: Path) -> Path:
    """A ledger with 100 coins, of which 40 are in a channel."""
    path = tmp_path / "coins"
    ledger = await enter(path)
    await ledger.faucet(ACCOUNT, 100)
    await ledger.open(ACCOUNT, KEY.address, 40)
    await ledger.aclose()
    return path


def test_nothing_else_can_be_kept(path: Path) -> None:
    with contextlib.closing(sqlite3.connect(path)) as sql:
        names = [name for (name,) in sql.execute("SELECT name FROM sqlite_schema WHERE sql IS NOT NULL")]
        columns = {name: [row[1] for row in sql.execute(f"PRAGMA table_info({name})")] for name in names}
    assert columns == ALLOWED


@pytest.fixture
async def ledger(path: Path) -> AsyncIterator[LocalSettlement]:
    ledger = await enter(path)
    yield ledger
    await ledger.aclose()


async def test_only_its_owner_may_read_it(tmp_path: Path) -> None:
    mask = os.umask(0)
    try:
        ledger = await enter(tmp_path / "coins")
        await ledger.faucet(ACCOUNT, 1)
        await ledger.aclose()
    finally:
        os.umask(mask)
    assert modes(tmp_path) == {"coins": 0o600}


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620])
async def test_one_that_others_may_read_is_refused(path: Path, mode: int) -> None:
    os.chmod(path, mode)
    with pytest.raises(ConfigError, match="chmod 600"):
        await enter(path)


async def test_any_name_will_do(tmp_path: Path) -> None:
    path = tmp_path / "a ?b#c%20d"
    for balance in (0, 5):
        ledger = await enter(path)
        assert await ledger.balance() == balance
        await ledger.faucet(ACCOUNT, 5)
        await ledger.aclose()
    assert modes(tmp_path) == {path.name: 0o600}


async def test_an_empty_file_is_a_new_one(tmp_path: Path) -> None:
    """Whoever made it was killed, or is about to write."""
    (tmp_path / "coins").touch(0o600)
    ledger = await enter(tmp_path / "coins")
    assert await ledger.balance() == 0
    await ledger.aclose()


async def test_all_who_make_it_at_once_share_it(tmp_path: Path) -> None:
    ledgers = await asyncio.gather(*(join(tmp_path / "coins", bytes([n] * 20), lambda: 1) for n in range(8)))
    assert len({ledger.domain for ledger in ledgers}) == 1
    for ledger in ledgers:
        await ledger.aclose()


async def test_one_from_the_future(path: Path) -> None:
    change(path, f"PRAGMA user_version = {VERSION + 1}", "ALTER TABLE ids ADD COLUMN later INTEGER")
    before = content(path)
    with pytest.raises(ConfigError, match="later version"):
        await enter(path)
    assert content(path) == before


@pytest.mark.parametrize(
    "statement",
    [
        "PRAGMA user_version = 0",
        "PRAGMA application_id = 0",
        "PRAGMA application_id = 7",
        "DROP TABLE ids",
        "CREATE TABLE more (x)",
        "CREATE INDEX more ON channels (payee)",
        "CREATE TRIGGER more AFTER INSERT ON channels BEGIN DELETE FROM channels; END",
        "ALTER TABLE channels ADD COLUMN more INTEGER",
        "DELETE FROM ledger",
        "INSERT INTO ledger SELECT * FROM ledger",
    ],
)
async def test_one_that_is_not_ours(path: Path, statement: str) -> None:
    change(path, statement)
    before = content(path)
    with pytest.raises(ConfigError, match="no ledger of test coins"):
        await enter(path)
    assert content(path) == before


@pytest.mark.parametrize(
    "statement",
    ["CREATE TABLE letters (x)", "PRAGMA application_id = 7", "PRAGMA user_version = 1", "PRAGMA user_version = 9"],
)
async def test_a_database_of_another_program(tmp_path: Path, statement: str) -> None:
    path = tmp_path / "coins"
    change(path, statement)
    os.chmod(path, 0o600)
    before = content(path)
    with pytest.raises(ConfigError, match="no ledger of test coins"):
        await enter(path)
    assert content(path) == before


async def test_what_is_no_database(tmp_path: Path) -> None:
    path = tmp_path / "coins"
    path.write_text("This is a letter, and it is not to be written over. " * 40)
    path.chmod(0o600)
    before = content(path)
    with pytest.raises(ConfigError, match="no ledger of test coins"):
        await enter(path)
    assert content(path) == before


async def test_what_is_no_file(path: Path, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(path)
    (tmp_path / "folder").mkdir(0o700)
    for name in ("link", "folder"):
        with pytest.raises(ConfigError, match="no ledger of test coins"):
            await enter(tmp_path / name)
    with pytest.raises(ConfigError, match="No such file"):
        await enter(tmp_path / "nowhere" / "coins")
    assert not (tmp_path / "nowhere").exists()


async def test_a_damaged_one(path: Path, ledger: LocalSettlement) -> None:
    """All but the first page is noise."""
    spoil(path)
    await refused(Reason.SETTLEMENT, ledger.balance())
    with pytest.raises(ConfigError, match="damaged"):
        await enter(path)


@pytest.mark.parametrize("column", ["accounts SET balance", "channels SET claimed", "ledger SET made"])
async def test_an_amount_of_another_length(path: Path, ledger: LocalSettlement, column: str) -> None:
    change(path, "PRAGMA ignore_check_constraints = ON", f"UPDATE {column} = x'05'")
    await refused(Reason.SETTLEMENT, ledger.coins())


async def test_a_closed_channel_is_gone_from_the_file(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    connect = sqlite3.connect

    def careless(*arguments: Any, **options: Any) -> sqlite3.Connection:
        """As SQLite comes; Debian's overwrites what is deleted, without being told."""
        sql: sqlite3.Connection = connect(*arguments, **options)
        sql.execute("PRAGMA secure_delete = OFF")
        return sql

    monkeypatch.setattr("ledger.local_books.sqlite3.connect", careless)
    signer = SigningKey(b"\x02" * 32).address
    ledger = await enter(path)
    channel = await ledger.open(ACCOUNT, signer, 40)
    assert signer in content(path)
    await ledger.close(channel)
    assert signer not in content(path)
    await ledger.aclose()


async def test_a_locked_one(path: Path, ledger: LocalSettlement) -> None:
    """Nobody waits for ever, and later it goes on."""
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as sql:
        sql.execute("BEGIN IMMEDIATE")
        await refused(Reason.SETTLEMENT, ledger.balance())
        await refused(Reason.SETTLEMENT, ledger.open(ACCOUNT, KEY.address, 10))
        with pytest.raises(PaymentError) as caught:
            await enter(path)
        assert caught.value.reason is Reason.SETTLEMENT
        sql.execute("ROLLBACK")
        sql.execute("BEGIN")
        sql.execute("SELECT * FROM accounts").fetchone()  # whoever only reads is in the way of the commit
        await refused(Reason.SETTLEMENT, ledger.open(ACCOUNT, KEY.address, 10))
    assert await ledger.balance() == 60
    await ledger.open(ACCOUNT, KEY.address, 10)
    assert (await ledger.coins()).locked == 50


@pytest.mark.parametrize("replaced", [False, True])
async def test_one_that_is_taken_away(path: Path, ledger: LocalSettlement, replaced: bool) -> None:
    """Nothing is written to what nobody can see."""
    if replaced:
        shutil.copy(path, path.with_name("copy"))
        os.replace(path.with_name("copy"), path)
    else:
        os.unlink(path)
    await refused(Reason.SETTLEMENT, ledger.open(ACCOUNT, KEY.address, 10))


async def test_after_its_end(ledger: LocalSettlement) -> None:
    await ledger.aclose()
    await refused(Reason.SETTLEMENT, ledger.balance())
    await ledger.aclose()
