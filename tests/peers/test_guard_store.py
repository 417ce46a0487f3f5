"""The file of guards: what is written, and what becomes of a file that is damaged."""

from __future__ import annotations

import logging
import os
import stat
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.errors import DecodeError
from core.ids import PeerKey
from peers.guard_store import FIRST_LINE, MAX_FILE_BYTES, _decode, load, save
from peers.guards import GUARDS, SECOND_HOPS, Pin, PinnedHops
from peers.identity import peer_id

if TYPE_CHECKING:
    from pathlib import Path

ONE, OTHER = PeerKey(bytes(32)), PeerKey(b"\x01" * 32)
LINE = f"guard {peer_id(ONE)} 2026-11-24"


def test_what_is_written_is_read(tmp_path: Path) -> None:
    path = tmp_path / "guards"
    save(path, PinnedHops([Pin(ONE, 20_000, True), Pin(OTHER, 20_001, True)], [Pin(ONE, 19_999, True)]))
    assert path.read_text() == (
        f"macro-vpn guards 1\nguard {peer_id(ONE)} 2024-10-04\nguard {peer_id(OTHER)} 2024-10-05\n"
        f"second {peer_id(ONE)} 2024-10-03\n"
    )
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    found = load(path)
    assert found.guards.proved == (Pin(ONE, 20_000, True), Pin(OTHER, 20_001, True))
    assert found.seconds.proved == (Pin(ONE, 19_999, True),)
    assert not found.unsaved


def test_who_never_served_is_not_written(tmp_path: Path) -> None:
    path = tmp_path / "guards"
    pins = PinnedHops([Pin(ONE, 20_000)], [Pin(OTHER, 20_000)])
    save(path, pins)
    assert path.read_text() == "macro-vpn guards 1\n"
    pins.tried([ONE, OTHER, OTHER], 1, True, 19_000 * 86_400.0, True)
    assert pins.unsaved
    save(path, pins)
    assert load(path).guards.peers == (ONE,)
    assert load(path).seconds.peers == ()


def test_a_full_file_fits(tmp_path: Path) -> None:
    guards = [Pin(PeerKey(bytes([number]) * 32), 20_000, True) for number in range(GUARDS.most)]
    seconds = [Pin(PeerKey(bytes([number]) * 32), 20_000, True) for number in range(SECOND_HOPS.most)]
    save(tmp_path / "guards", PinnedHops(guards, seconds))
    assert (tmp_path / "guards").stat().st_size <= MAX_FILE_BYTES
    assert len(load(tmp_path / "guards").guards) == GUARDS.most


def test_a_missing_file_is_an_empty_one(tmp_path: Path) -> None:
    assert len(load(tmp_path / "guards").guards) == 0


@pytest.mark.parametrize(
    "text",
    [
        "",
        FIRST_LINE,
        "macro-vpn guards 2\n",
        f"{FIRST_LINE}\n{LINE}",
        f"{FIRST_LINE}\n{LINE}\n\n",
        f"{FIRST_LINE}\n{LINE}\n{LINE}\n",
        f"{FIRST_LINE}\n{LINE} \n",
        f"{FIRST_LINE}\n{LINE[:-1]}\n",
        f"{FIRST_LINE}\n{LINE.replace('guard', 'third')}\n",
        f"{FIRST_LINE}\n{LINE.replace('2026-11-24', '20261124')}\n",
        f"{FIRST_LINE}\n{LINE.replace('2026-11-24', '1969-11-24')}\n",
        f"{FIRST_LINE}\n{LINE.replace('2026-11-24', '2026-13-24')}\n",
        f"{FIRST_LINE}\n{LINE.replace('2', 'é')}\n",
        f"{FIRST_LINE}\n{LINE.replace('12D3', '12D4')}\n",
        f"{FIRST_LINE}\n" + "".join(f"guard {peer_id(PeerKey(bytes([n]) * 32))} 2026-11-24\n" for n in range(11)),
        f"{FIRST_LINE}\n" + "x" * 9000 + "\n",
    ],
)
def test_a_damaged_file_is_set_aside(tmp_path: Path, text: str, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "guards"
    path.write_text(text)
    with caplog.at_level(logging.WARNING):
        assert len(load(path).guards) == 0
    assert "set aside" in caplog.text
    assert str(tmp_path) not in caplog.text
    assert [entry.name for entry in tmp_path.iterdir()] == ["guards.bad"]


def test_a_file_that_is_none_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "guards")
    with pytest.raises(OSError, match="regular"):
        load(tmp_path / "guards")


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=300) | st.text(max_size=200).map(lambda text: f"{FIRST_LINE}\n{LINE}{text}\n".encode()))
def test_arbitrary_bytes_raise_only_what_is_documented(data: bytes) -> None:
    try:
        found = _decode(data)
    except DecodeError:
        return
    assert len(found["guard"]) + len(found["second"]) <= 2
