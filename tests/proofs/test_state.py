"""`docs/state.md` and what reads homes by it: they name the same files and fields, and what is not listed is found."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING, Final

import pytest

from ledger.store_file import open_file
from node.files import make_home, write_private
from tests.proofs.kept import Field, Kind, UnlistedError, read_home, without_moments
from tests.proofs.listed import DHT, GUARDS, OF_THE_USER, ROWS
from tests.proofs.page import named_files, unnamed

if TYPE_CHECKING:
    from pathlib import Path

PEER: Final = "12D3KooWM5zXH6PzpdKAmPPzxbE8PV25HHLVfTys5pp2PaEZxZqE"
ALL: Final = {
    "config.toml": '[node]\nroles = ["client"]\n',
    "control.token": "5e" * 32 + "\n",
    "control.json": '{"url": "http://127.0.0.1:1", "token_file": "/x", "pid": 7}\n',
    "control.port": "41080\n",
    "node.lock": "",
    "node.log": "INFO node.app: a state\nERROR asyncio: said something (x.py:7)\n",
    "guards": f"macro-vpn guards 1\nguard {PEER} 2027-01-09\n",
    "dht": "macro-vpn dht 1\n203.0.113.7:6881\n[2001:db8::7]:6881\n",
    "peers": "macro-vpn peers 2\n",
    "pac.token": "5e" * 16 + "\n",
    "pairings": '[{"id": "0a0b0c0d", "origin": "chrome-extension://x", "digest": "ab"}]\n',
    "carried": "macro-vpn carried 1 2026-11 000000000123 MB\n",
    "rules/ads.txt": "block ads.example\n",
}
WRONG: Final = {
    "config.toml": '[node]\nroles = ["client"]\nlast_seen = 1\n',
    "control.token": "5e" * 32 + "\nmore",
    "control.json": '{"url": "http://127.0.0.1:1", "token_file": "/x", "pid": 7, "since": 1}\n',
    "control.port": "41080 41081\n",
    "node.lock": "7 example.org",
    "node.log": "INFO node.app: a state\nTraceback (most recent call last):\n",
    "guards": f"macro-vpn guards 1\nguard {PEER} 2027-01-09 12:00\n",
    "dht": "macro-vpn dht 1\nexample.org:6881\n",
    "peers": "macro-vpn peers 2\n\x02\x00\x00",
    "pac.token": "5e" * 16,
    "pairings": '[{"id": "0a0b0c0d", "origin": "chrome-extension://x", "digest": "ab", "last": "today"}]\n',
    "carried": "macro-vpn carried 1 2026-11-29 000000000123 MB\n",
    "rules/ads.txt": "block ads.example\nvisited = 7\n",
    "history": "",
    "keys/other.key": "",
}
"""Of each file something that is not listed, and files that are not."""


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """One with a file of most kinds, all as they shall be."""
    home = make_home(tmp_path / "home")
    for name, text in ALL.items():
        make_home((home / name).parent)
        write_private(home / name, text)
    connection, _ = open_file(home / "money.db")
    connection.close()
    return home


def test_the_page_and_the_readers_name_the_same_files() -> None:
    assert named_files() == {row.name for row in (*ROWS, *OF_THE_USER)}


def test_all_fields_are_on_the_page(home: Path) -> None:
    kept = read_home(home, ROWS)
    assert {one.path.relative_to(home).as_posix() for one in kept} == {*ALL, "money.db"}
    assert unnamed(kept) == set()
    kept[0].fields.append(Field("the hour of the last use", b"12"))
    assert unnamed(kept) == {"the hour of the last use"}


@pytest.mark.parametrize("name", WRONG)
def test_what_is_not_listed_is_found(home: Path, name: str) -> None:
    make_home((home / name).parent)
    write_private(home / name, WRONG[name])
    with pytest.raises(UnlistedError):
        read_home(home, ROWS)


@pytest.mark.parametrize("name", ["config.toml", "rules"])
def test_what_others_may_read_is_found(home: Path, name: str) -> None:
    (home / name).chmod(0o755)
    with pytest.raises(UnlistedError, match="by others"):
        read_home(home, ROWS)


@pytest.mark.parametrize(
    "change",
    [
        "CREATE TABLE visits (host TEXT)",
        "ALTER TABLE totals ADD COLUMN since INTEGER",
        "PRAGMA secure_delete = OFF; CREATE TABLE t (x BLOB); INSERT INTO t VALUES (randomblob(9000)); DROP TABLE t",
    ],
    ids=["a table", "a column", "a page that was freed"],
)
def test_what_is_not_listed_in_a_database_is_found(home: Path, change: str) -> None:
    with closing(sqlite3.connect(home / "money.db")) as connection:
        connection.executescript(change)
    with pytest.raises(UnlistedError):
        read_home(home, ROWS)


def test_listed_moments_are_taken_away_and_no_others(home: Path) -> None:
    (guards,) = [one for one in read_home(home, ROWS) if one.path.name == "guards"]
    without = without_moments([guards])
    assert {field.kind for field in guards.fields} == set(Kind)
    assert without(guards.path, b"x 2027-01-09 y 2027-01-10") == b"x " + bytes(10) + b" y 2027-01-10"
    assert without(home / "dht", b"2027-01-09") == b"2027-01-09"


@pytest.mark.parametrize(("reader", "name"), [(GUARDS, "guards"), (DHT, "dht")])
def test_a_file_of_lines_has_no_half_line_and_not_too_many(home: Path, reader: object, name: str) -> None:
    text = ALL[name]
    for wrong in (text[:-1], text.split("\n", 1)[1], text + text.split("\n")[1] + "\n" * 300):
        write_private(home / name, wrong)
        with pytest.raises(UnlistedError):
            read_home(home, ROWS)
