"""The store as its callers see it: durable when it answers, in groups, bounded, and honest when a disk fails."""

from __future__ import annotations

import asyncio
import logging
import os
import re
import resource
import shutil
import signal
import subprocess
import sys
from contextlib import aclosing, contextmanager
from typing import TYPE_CHECKING, Any, Final

import aiosqlite
import pytest

from core.errors import PaymentError, Reason, StoreError
from ledger import store as store_module
from ledger.store import MAX_WAITING, Store
from ledger.store_file import log_of, open_file
from tests.harness.waiting import turns, until
from tests.ledger.rows import UNIT, name, payee, payer, signature

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
    from pathlib import Path


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[Store]:
    """One channel on each side, of 1,000 units, and a cap of 500."""
    async with aclosing(await Store.open(tmp_path / "books")) as store:
        await asyncio.gather(store.cap(500), store.add_payer(payer(1, 1000)), store.add_payee(payee(2, 1000)))
        yield store


class Gate:
    """Holds commits, and lets them through or fails them."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.open = asyncio.Event()
        self.error: Exception | None = None
        self.count = 0
        self._commit = aiosqlite.Connection.commit
        monkeypatch.setattr(aiosqlite.Connection, "commit", lambda connection: self.commit(connection))

    async def commit(self, connection: aiosqlite.Connection) -> None:
        self.count += 1
        await self.open.wait()
        if self.error:
            raise self.error
        await self._commit(connection)


@pytest.fixture
async def gate(store: Store, monkeypatch: pytest.MonkeyPatch) -> Gate:
    assert store.payers
    return Gate(monkeypatch)


def copy(path: Path) -> Path:
    """Copy the files as they are, by another process, as this one would let go of the lock."""
    place = path.parent / "copy"
    shutil.rmtree(place, ignore_errors=True)
    place.mkdir()
    subprocess.run(["cp", "-p", path, log_of(path), place], check=True)
    return place / path.name


def copied(path: Path) -> tuple[int, int]:
    """What a copy of the files holds."""
    connection, books = open_file(copy(path))
    connection.close()
    return books.payers[name(1)].paid, books.payees[name(2)].paid


async def test_what_is_answered_is_in_the_files(store: Store, tmp_path: Path) -> None:
    await store.raise_paid(name(1), 10, 0)
    assert copied(tmp_path / "books") == (10, 0)
    assert await store.take_voucher(name(2), 20, signature(20), 0)
    assert copied(tmp_path / "books") == (10, 20)
    assert not await store.take_voucher(name(2), 19, signature(19), 0)
    assert not await store.take_voucher(name(2), 20, signature(20), 0)
    assert copied(tmp_path / "books") == (10, 20)


async def test_nothing_is_answered_or_read_before_it_is_written(store: Store, gate: Gate) -> None:
    first = asyncio.ensure_future(store.take_voucher(name(2), 20, signature(20), 0))
    again = asyncio.ensure_future(store.take_voucher(name(2), 20, signature(20), 0))
    lower = asyncio.ensure_future(store.raise_paid(name(1), 501, 0))
    await until(lambda: gate.count)
    assert not first.done()
    assert not again.done(), "that it is there already holds only once it is written"
    assert not lower.done()
    assert store.payees[0].paid == 0
    gate.open.set()
    assert await first
    assert not await again
    with pytest.raises(PaymentError):
        await lower
    row = store.payee(name(2))
    assert row
    assert row.paid == 20


async def test_all_that_waits_is_one_commit(store: Store, gate: Gate) -> None:
    changes = [store.raise_paid(name(1), paid, 0) for paid in range(1, 101)]
    changes += [store.add_payee(payee(number)) for number in range(3, 103)]
    together = asyncio.gather(*changes)
    gate.open.set()
    await together
    assert gate.count == 1
    assert (store.payers[0].paid, len(store.payees)) == (100, 101)


async def test_what_is_refused_does_not_stop_the_rest_of_its_group(store: Store) -> None:
    answers = await asyncio.gather(
        store.raise_paid(name(1), 400, 0),
        store.raise_paid(name(1), 501, 0),
        store.raise_paid(name(1), 399, 0),
        store.raise_paid(name(9), 1, 0),
        store.raise_paid(name(1), 500, 0),
        return_exceptions=True,
    )
    assert [type(answer) for answer in answers] == [type(None), PaymentError, ValueError, PaymentError, type(None)]
    assert store.signed == 500


async def test_a_cap_holds_over_all_channels_at_once(store: Store) -> None:
    await asyncio.gather(*(store.add_payer(payer(number, 1000)) for number in range(10, 20)))
    raises = (store.raise_paid(name(number), 51, 0) for number in range(10, 20))
    answers = await asyncio.gather(*raises, return_exceptions=True)
    assert answers.count(None) == 9
    assert store.signed == 459


async def test_a_failed_commit_reaches_all_who_wait_and_changes_nothing(store: Store, gate: Gate) -> None:
    gate.error = aiosqlite.OperationalError("what it says is not shown")
    gate.open.set()
    answers = await asyncio.gather(
        store.raise_paid(name(1), 10, 0),
        store.take_voucher(name(2), 20, signature(20), 0),
        store.take_voucher(name(2), 20, signature(20), 0),
        store.cap(7),
        return_exceptions=True,
    )
    assert {type(answer) for answer in answers} == {StoreError}
    assert not any("shown" in str(answer) for answer in answers)
    assert (store.payers[0].paid, store.payees[0].paid, store.totals.cap) == (0, 0, 500)
    gate.error = None
    await store.raise_paid(name(1), 9, 0)
    assert await store.take_voucher(name(2), 19, signature(19), 0)
    assert (store.payers[0].paid, store.payees[0].paid, store.totals.cap) == (9, 19, 500)


async def test_a_failed_write_leaves_no_part_of_its_group(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = aiosqlite.Connection.executemany

    def executemany(connection: aiosqlite.Connection, sql: str, rows: list[Any]) -> object:
        if "payee" in sql:
            raise aiosqlite.OperationalError
        return real(connection, sql, rows)

    with monkeypatch.context() as patch:
        patch.setattr(aiosqlite.Connection, "executemany", executemany)
        both = store.raise_paid(name(1), 10, 0), store.take_voucher(name(2), 20, signature(20), 0)
        answers = await asyncio.gather(*both, return_exceptions=True)
    assert {type(answer) for answer in answers} == {StoreError}
    await store.use(name(2), 0)
    assert copied(tmp_path / "books") == (0, 0)


async def test_who_waits_too_long_is_not_kept_for_ever(store: Store, gate: Gate) -> None:
    first = asyncio.ensure_future(store.raise_paid(name(1), 1, 0))
    await until(lambda: gate.count)
    waiting = [asyncio.ensure_future(store.raise_paid(name(1), 2, 0)) for _ in range(MAX_WAITING)]
    await asyncio.sleep(0)
    with pytest.raises(PaymentError) as caught:
        await store.raise_paid(name(1), 2, 0)
    assert caught.value.reason is Reason.BUSY
    gate.open.set()
    await asyncio.gather(first, *waiting)
    await store.raise_paid(name(1), 3, 0)


async def test_who_gave_up_changes_nothing(store: Store, gate: Gate) -> None:
    first = asyncio.ensure_future(store.raise_paid(name(1), 1, 0))
    await until(lambda: gate.count)
    second = asyncio.ensure_future(store.raise_paid(name(1), 2, 0))
    await asyncio.sleep(0)
    first.cancel()
    second.cancel()
    gate.open.set()
    await store.take_voucher(name(2), 20, signature(20), 0)
    assert store.payers[0].paid == 1, "its commit was under way"


async def test_what_waits_is_written_before_the_end(tmp_path: Path) -> None:
    store = await Store.open(tmp_path / "books")
    async with aclosing(store):
        await store.add_payee(payee(2))
        change = asyncio.ensure_future(store.take_voucher(name(2), 20, signature(20), 0))
        await asyncio.sleep(0)
    assert await change
    for late in (store.cap(1), store.export(tmp_path / "late")):
        with pytest.raises(StoreError, match="the node stops"):
            await late
    await store.aclose()
    assert os.listdir(tmp_path) == ["books"]
    async with aclosing(await Store.open(tmp_path / "books")) as again:
        assert again.payees[0].paid == 20


def take_away(path: Path) -> None:
    path.unlink()


def take_log_away(path: Path) -> None:
    log_of(path).unlink()


def replace_by_a_copy(path: Path) -> None:
    subprocess.run(["cp", "-p", path, path.with_name("other")], check=True)
    path.with_name("other").rename(path)


@pytest.mark.parametrize("harm", [take_away, take_log_away, replace_by_a_copy])
async def test_a_file_that_is_gone_is_missed(store: Store, tmp_path: Path, harm: Callable[[Path], None]) -> None:
    harm(tmp_path / "books")
    both = store.raise_paid(name(1), 10, 0), store.cap(1)
    answers = await asyncio.gather(*both, return_exceptions=True)
    assert {type(answer) for answer in answers} == {StoreError}
    assert "taken away while the node ran" in str(answers[0])
    assert store.payers[0].paid == 0
    with pytest.raises(StoreError, match="taken away"):
        await store.cap(1)


@contextmanager
def no_more_bytes(path: Path) -> Iterator[None]:
    """Let no file of this process grow beyond what the log has now."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (log_of(path).stat().st_size + 1000, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, before)


async def test_a_disk_that_takes_nothing_is_told_and_got_over(store: Store, tmp_path: Path) -> None:
    path = tmp_path / "books"
    with no_more_bytes(path):
        both = store.raise_paid(name(1), 10, 0), store.take_voucher(name(2), 20, signature(20), 0)
        answers = await asyncio.gather(*both, return_exceptions=True)
    assert {str(answer) for answer in answers} == {
        "Payments cannot be stored: the disk or its file system fails (SQLITE_IOERR_WRITE); look at it and start the "
        "node again."
    }
    assert copied(path) == (0, 0)
    await store.raise_paid(name(1), 9, 0)
    assert copied(path) == (9, 0)


FULL_DISK: Final = """
import asyncio, os, pathlib, sys
from core.errors import StoreError
from ledger.store import Store
from tests.ledger.rows import name, payee, signature

async def main(folder):
    store = await Store.open(folder / "books")
    await store.add_payee(payee(2))
    await store.take_voucher(name(2), 20, signature(20), 0)
    with open(folder / "junk", "wb", 0) as junk:
        try:
            while True:
                junk.write(bytes(4096))
        except OSError:
            pass
    try:
        while True:
            await store.take_voucher(name(2), store.payees[0].paid + 1, signature(21), 0)
    except StoreError as error:
        print(error)
    kept = store.payees[0].paid
    os.unlink(folder / "junk")
    await store.take_voucher(name(2), 99, signature(99), 0)
    await store.aclose()
    store = await Store.open(folder / "books")
    print(store.payees[0].paid)
    await store.aclose()

asyncio.run(main(pathlib.Path(sys.argv[1])))
"""


@pytest.mark.skipif(shutil.which("unshare") is None, reason="needs unshare, for a small disk of its own")
def test_a_full_disk_is_told_and_got_over(tmp_path: Path) -> None:
    mounted = 'mount -t tmpfs -o size=256k tmpfs "$1" && exec "$2" -c "$3" "$1"'
    found = subprocess.run(
        ["unshare", "--map-root-user", "--mount", "sh", "-ec", mounted, "sh", tmp_path, sys.executable, FULL_DISK],
        check=True,
        capture_output=True,
        text=True,
    )
    assert found.stdout == "Payments cannot be stored: the disk is full; free some room.\n99\n"


async def test_a_backup_is_taken_while_others_write(store: Store, tmp_path: Path) -> None:
    await store.raise_paid(name(1), 5, 0)
    _, *rest = await asyncio.gather(
        store.export(tmp_path / "backup"), *(store.raise_paid(name(1), paid, 0) for paid in range(6, 50))
    )
    assert rest == [None] * 44
    assert copied(tmp_path / "books") == (49, 0)
    connection, books = open_file(tmp_path / "backup")
    connection.close()
    assert 5 <= books.payers[name(1)].paid <= 49


async def test_a_backup_waits_for_a_commit(store: Store, gate: Gate, tmp_path: Path) -> None:
    change = asyncio.ensure_future(store.raise_paid(name(1), 5, 0))
    await until(lambda: gate.count)
    backup = asyncio.ensure_future(store.export(tmp_path / "backup"))
    await turns()
    assert not backup.done()
    gate.open.set()
    await asyncio.gather(change, backup)


async def test_a_writer_that_ends_leaves_nobody_waiting(store: Store, gate: Gate) -> None:
    changes = [asyncio.ensure_future(store.raise_paid(name(1), 5, 0))]
    await until(lambda: gate.count)
    changes.append(asyncio.ensure_future(store.cap(1)))
    await turns()
    store._writer.cancel()
    answers = await asyncio.gather(*changes, return_exceptions=True)
    assert {str(answer) for answer in answers} == {
        "Payments cannot be stored: the writer failed; start the node again."
    }


async def test_a_backup_that_fails_leaves_nothing(store: Store, tmp_path: Path) -> None:
    resource_limit = no_more_bytes(tmp_path / "none")
    log_of(tmp_path / "none").touch()
    with resource_limit, pytest.raises(Exception, match="backup: cannot be written: the disk"):
        await store.export(tmp_path / "backup")
    assert not (tmp_path / "backup").exists()
    await store.raise_paid(name(1), 5, 0)
    await store.export(tmp_path / "backup")


async def test_the_log_is_emptied_when_it_is_quiet(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = log_of(tmp_path / "books")
    monkeypatch.setattr(store_module, "QUIET_S", 0.02)
    for paid in (5, 6):
        await store.raise_paid(name(1), paid, 0)
        assert log.stat().st_size > 0
        await until(lambda: log.stat().st_size == 0)


async def test_a_log_that_a_crash_left_is_emptied(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    await store.raise_paid(name(1), 5, 0)
    left = copy(tmp_path / "books")
    assert log_of(left).stat().st_size > 0
    monkeypatch.setattr(store_module, "QUIET_S", 0.02)
    async with aclosing(await Store.open(left)):
        await until(lambda: log_of(left).stat().st_size == 0)


async def test_the_log_is_emptied_when_it_is_long(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store_module, "LOG_BYTES", 20_000)
    sizes = set()
    for paid in range(1, 30):
        await store.raise_paid(name(1), paid, 0)
        sizes.add(log_of(tmp_path / "books").stat().st_size)
    assert max(sizes) <= 20_000 + 4096 + 56, "one commit beyond the limit"


async def test_nothing_of_it_is_logged(
    store: Store, tmp_path: Path, caplog: pytest.LogCaptureFixture, gate: Gate
) -> None:
    caplog.set_level(logging.DEBUG)
    gate.open.set()
    await store.raise_paid(name(1), 77, 0)
    await store.take_voucher(name(2), 78, signature(78), 0)
    await store.export(tmp_path / "backup")
    gate.error = aiosqlite.OperationalError()
    with pytest.raises(StoreError):
        await store.cap(79)
    await store.aclose()
    assert [record for record in caplog.records if record.name != "asyncio"] == []


async def test_a_log_that_cannot_be_emptied_is_told_without_details(
    store: Store, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(store_module, "QUIET_S", 0.02)

    def fails(connection: aiosqlite.Connection, sql: str) -> Awaitable[None]:
        raise aiosqlite.OperationalError(f"{connection} {sql}")

    with monkeypatch.context() as patch:
        patch.setattr(aiosqlite.Connection, "execute_fetchall", fails)
        await store.raise_paid(name(1), 77, 0)
        await until(lambda: caplog.records)
    assert re.fullmatch(
        r"old amounts stay in the store's log for now: OperationalError at test_store\.py:\d+; start the node again",
        caplog.records[0].getMessage(),
    )
    await store.raise_paid(name(1), 78, UNIT)


async def test_a_store_that_nobody_closed_does_not_keep_its_process(tmp_path: Path) -> None:
    script = (
        "import asyncio, sys, pathlib\nfrom ledger.store import Store\n"
        "async def main():\n    global store\n    store = await Store.open(pathlib.Path(sys.argv[1]))\n    1 / 0\n"
        "asyncio.run(main())"
    )
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", script, str(tmp_path / "books"), stderr=subprocess.PIPE, env=dict(os.environ)
    )
    async with asyncio.timeout(20):
        _, said = await process.communicate()
    assert b"ZeroDivisionError" in said
