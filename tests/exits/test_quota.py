"""The month's total: exact to the byte while it runs, to a megabyte across a kill, and on disk in one line."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from core.errors import ConfigError
from exits.quota import MB, QUOTA_NAME, Quota

if TYPE_CHECKING:
    from pathlib import Path

NOVEMBER, DECEMBER, JANUARY = (2026, 11), (2026, 12), (2027, 1)
LIMIT = 10 * MB
PIECE = 32_756


def carry(quota: Quota, most: int = 1 << 40) -> int:
    """Take pieces until no more is given; returns the bytes."""
    carried = 0
    while carried + PIECE <= most and quota.take(PIECE):
        carried += PIECE
    return carried


def line(home: Path) -> bytes:
    return (home / QUOTA_NAME).read_bytes()


def test_it_stops_before_the_limit_and_never_beyond(tmp_path: Path) -> None:
    quota = Quota(tmp_path, LIMIT, NOVEMBER)
    carried = carry(quota)
    assert LIMIT - PIECE < carried <= LIMIT
    assert quota.full
    assert not quota.take(1)
    assert line(tmp_path) == b"macro-vpn carried 1 2026-11 000000000010 MB\n"


@pytest.mark.parametrize("before", [1, 500_000, MB, 2 * MB + 1, 7_654_321])
def test_a_kill_costs_at_most_a_megabyte_and_forgets_nothing(tmp_path: Path, before: int) -> None:
    killed = Quota(tmp_path, LIMIT, NOVEMBER)
    assert killed.take(before)
    assert int(line(tmp_path).split()[-2]) * MB >= before  # written before it was carried
    after = carry(Quota(tmp_path, LIMIT, NOVEMBER))  # nobody closed the first one
    assert LIMIT - MB - PIECE < before + after <= LIMIT


def test_many_kills_never_give_more(tmp_path: Path) -> None:
    carried = sum(carry(Quota(tmp_path, LIMIT, NOVEMBER), 300_000) for _ in range(50))
    assert carried <= LIMIT
    assert Quota(tmp_path, LIMIT, NOVEMBER).full


def test_a_new_month_begins_at_zero(tmp_path: Path) -> None:
    quota = Quota(tmp_path, LIMIT, NOVEMBER)
    carry(quota)
    quota.turn_to(NOVEMBER)
    assert quota.full
    quota.turn_to(DECEMBER)
    assert not quota.full
    assert line(tmp_path) == b"macro-vpn carried 1 2026-12 000000000000 MB\n"
    assert carry(quota) > LIMIT - PIECE
    assert not Quota(tmp_path, LIMIT, JANUARY).full


def test_a_clock_that_is_set_back_gives_nothing_for_free(tmp_path: Path) -> None:
    carry(Quota(tmp_path, LIMIT, DECEMBER))
    quota = Quota(tmp_path, LIMIT, NOVEMBER)
    assert quota.full
    quota.turn_to(NOVEMBER)
    assert quota.full
    assert line(tmp_path).startswith(b"macro-vpn carried 1 2026-12")


def test_what_is_given_back_may_be_taken_again(tmp_path: Path) -> None:
    quota = Quota(tmp_path, LIMIT, NOVEMBER)
    assert quota.take(LIMIT - 1)
    quota.give_back(LIMIT - 1)
    assert carry(quota) > LIMIT - PIECE


def test_an_orderly_end_writes_what_was_carried(tmp_path: Path) -> None:
    quota = Quota(tmp_path, LIMIT, NOVEMBER)
    quota.take(3 * MB + 1)
    quota.give_back(2 * MB)
    quota.close()
    assert line(tmp_path) == b"macro-vpn carried 1 2026-11 000000000002 MB\n"
    assert (tmp_path / QUOTA_NAME).stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize(
    "damage",
    [
        b"\n",
        b"macro-vpn carried 1 2026-11 000000000010 MB",
        b"macro-vpn carried 1 2026-13 000000000010 MB\n",
        b"macro-vpn carried 1 2026-11 -00000000010 MB\n",
        b"macro-vpn carried 2 2026-11 000000000010 MB\n",
        b"macro-vpn carried 1 2026-11 000000000010 MB\nmore",
        b"\0" * 44,
    ],
)
def test_a_damaged_file_is_refused_and_says_what_to_do(tmp_path: Path, damage: bytes) -> None:
    (tmp_path / QUOTA_NAME).write_bytes(damage)
    with pytest.raises(ConfigError, match=r"remove it .*sharing\.monthly_gb"):
        Quota(tmp_path, LIMIT, NOVEMBER)
    assert line(tmp_path) == damage


def test_a_link_in_its_place_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "other").write_bytes(b"")
    (tmp_path / QUOTA_NAME).symlink_to(tmp_path / "other")
    with pytest.raises(ConfigError, match="cannot be used"):
        Quota(tmp_path, LIMIT, NOVEMBER)


def test_nothing_is_carried_that_cannot_be_written_down(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    quota = Quota(tmp_path, LIMIT, NOVEMBER)
    assert quota.take(MB)

    def broken(*_: object) -> int:
        raise OSError("disk")

    monkeypatch.setattr(os, "pwrite", broken)
    assert not quota.take(1)
    assert quota.full
