"""A home's guards: kept, and no obstacle."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from core.ids import PeerKey
from node.guards import GUARDS_NAME, KeptGuards
from peers.guards import Pin

if TYPE_CHECKING:
    from pathlib import Path

    import pytest

ONE, OTHER = PeerKey(bytes(32)), PeerKey(b"\x01" * 32)


def with_one(home: Path) -> KeptGuards:
    kept = KeptGuards(home)
    kept.pins.guards._pins.append(Pin(ONE, 20_000))
    kept.pins.tried([ONE, OTHER], 1, False, 19_990 * 86_400.0, True)
    return kept


def test_they_are_written_when_they_change_and_read_again(tmp_path: Path) -> None:
    kept = KeptGuards(tmp_path)
    kept.save()
    assert list(tmp_path.iterdir()) == []
    with_one(tmp_path).save()
    assert KeptGuards(tmp_path).pins.guards.peers == (ONE,)


def test_nothing_is_written_twice(tmp_path: Path) -> None:
    kept = with_one(tmp_path)
    kept.save()
    (tmp_path / GUARDS_NAME).unlink()
    kept.save()
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_cannot_be_used_costs_a_warning(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / GUARDS_NAME).mkdir()
    with caplog.at_level(logging.WARNING):
        kept = with_one(tmp_path)
        kept.save()
    assert "cannot be read" in caplog.text
    assert "cannot be written" in caplog.text
    assert str(tmp_path) not in caplog.text
    assert kept.pins.guards.peers == (ONE,)


def test_a_damaged_file_is_set_aside(tmp_path: Path) -> None:
    (tmp_path / GUARDS_NAME).write_text("?")
    assert len(KeptGuards(tmp_path).pins.guards) == 0
    assert (tmp_path / f"{GUARDS_NAME}.bad").exists()
