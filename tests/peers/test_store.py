from __future__ import annotations

import logging
import stat
from typing import TYPE_CHECKING

import pytest

from peers.descriptor import digest
from peers.directory import Directory
from peers.store import FIRST_LINE, load, save
from tests.peers.build import DAY_S, NOW, host, identity, signed

if TYPE_CHECKING:
    from pathlib import Path


def known(*numbers: int, source: str = "link") -> Directory:
    directory = Directory()
    for number in numbers:
        assert directory.add(signed(number), NOW, source)
    return directory


def assert_set_aside(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    damaged = path.read_bytes()
    directory = Directory()
    with caplog.at_level(logging.WARNING):
        assert load(path, directory, NOW) == 0
    assert len(directory) == 0
    assert not path.exists()
    assert path.with_name("peers.bad").read_bytes() == damaged
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert host(1) not in caplog.text


def test_what_was_saved_is_loaded(tmp_path: Path) -> None:
    path = tmp_path / "peers"
    before = known(*range(5))
    save(path, before)
    after = Directory(max_per_source=2)
    assert load(path, after, NOW) == 5
    assert after.peers() == before.peers()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_nothing_but_descriptors_is_written(tmp_path: Path) -> None:
    path = tmp_path / "peers"
    save(path, known(1, 2, source="a source"))
    expected = b"".join(b"\0" + len(raw).to_bytes(2) + raw for raw in (signed(1), signed(2)))
    assert path.read_bytes() == FIRST_LINE + expected


def test_a_missing_file_is_an_empty_directory(tmp_path: Path) -> None:
    assert load(tmp_path / "peers", Directory(), NOW) == 0
    assert list(tmp_path.iterdir()) == []


def test_an_empty_directory_is_saved_too(tmp_path: Path) -> None:
    save(tmp_path / "peers", known(1))
    save(tmp_path / "peers", Directory())
    assert load(tmp_path / "peers", Directory(), NOW) == 0
    assert (tmp_path / "peers").exists()


def test_what_expired_meanwhile_is_left_out(tmp_path: Path) -> None:
    path = tmp_path / "peers"
    directory = known(1)
    directory.add(signed(2, expiry=NOW + 3 * DAY_S), NOW, "link")
    save(path, directory)
    after = Directory()
    assert load(path, after, NOW + 2 * DAY_S) == 1
    assert after.peers() == directory.peers()[1:]
    assert path.exists()


@pytest.mark.parametrize("days", [365, -365])
def test_a_clock_that_is_wrong_by_a_year_costs_what_was_known_and_not_the_file(tmp_path: Path, days: int) -> None:
    path = tmp_path / "peers"
    save(path, known(1, 2))
    assert load(path, Directory(), NOW + days * DAY_S) == 0
    assert load(path, Directory(), NOW) == 2
    assert [found.name for found in tmp_path.iterdir()] == ["peers"]


@pytest.mark.parametrize("place", [0, 20, 60, -1])
def test_a_changed_byte_sets_the_file_aside(tmp_path: Path, caplog: pytest.LogCaptureFixture, place: int) -> None:
    path = tmp_path / "peers"
    save(path, known(1, 2))
    data = bytearray(path.read_bytes())
    data[place] ^= 0x40
    path.write_bytes(data)
    assert_set_aside(path, caplog)


@pytest.mark.parametrize("size", [0, 5, len(FIRST_LINE) + 1, len(FIRST_LINE) + 2, 100, -1])
def test_a_cut_sets_the_file_aside(tmp_path: Path, caplog: pytest.LogCaptureFixture, size: int) -> None:
    path = tmp_path / "peers"
    save(path, known(1, 2))
    path.write_bytes(path.read_bytes()[:size])
    assert_set_aside(path, caplog)


def test_a_giant_is_not_read(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "peers"
    path.write_bytes(FIRST_LINE + bytes(5_000_000))
    assert_set_aside(path, caplog)


def test_what_was_vouched_for_still_is_and_nothing_else(tmp_path: Path) -> None:
    before = known(1, 2, 3)
    neighbours = [before.voices.link_up(bytes([number]) * 32, bytes([20, number])) for number in range(3)]
    for neighbour in neighbours:
        before.named(digest(signed(1)), neighbour)
    before.named(digest(signed(2)), neighbours[0])
    save(tmp_path / "peers", before)
    after = Directory()
    load(tmp_path / "peers", after, NOW)
    assert [after.voices.vouched(identity(number).peer) for number in (1, 2, 3)] == [True, False, False]
    assert not after.voices.named(identity(2).peer), "else the file would confirm who was named by one alone"


def test_what_too_few_vouched_for_is_not_remembered_as_vouched_for(tmp_path: Path) -> None:
    before = known(1)
    for number in range(2):
        before.named(digest(signed(1)), before.voices.link_up(bytes([number]) * 32, bytes([20, number])))
    save(tmp_path / "peers", before)
    after = Directory()
    load(tmp_path / "peers", after, NOW)
    assert not after.voices.vouched(identity(1).peer)


def test_a_wrong_mark_sets_the_file_aside(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "peers"
    path.write_bytes(FIRST_LINE + b"\2" + len(signed(1)).to_bytes(2) + signed(1))
    assert_set_aside(path, caplog)
