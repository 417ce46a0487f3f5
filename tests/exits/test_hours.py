"""Times of the week: how they are written, and what they mean over midnight, over Sunday and when clocks change."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest

from core.errors import ConfigError
from exits.hours import MAX_LINES, WEEK_MINUTES, Hours

MONDAY = datetime(2026, 11, 23)


def at(day: int, hour: int, minute: int, second: int = 0) -> datetime:
    """A time of that week; day 0 is Monday."""
    return MONDAY + timedelta(days=day, hours=hour, minutes=minute, seconds=second)


def test_none_means_always() -> None:
    assert len(Hours.parse(()).minutes) == WEEK_MINUTES


def test_it_changes_at_the_minute() -> None:
    hours = Hours.parse(["18:00-23:30"])
    for day in range(7):
        assert not hours.include(at(day, 17, 59, 59))
        assert hours.include(at(day, 18, 0))
        assert hours.include(at(day, 23, 29, 59))
        assert not hours.include(at(day, 23, 30))


def test_days_and_several_lines() -> None:
    hours = Hours.parse(["mon-fri 8:00-9:00", "Sat,Sun 10:00-24:00"])
    assert [hours.include(at(day, 8, 30)) for day in range(7)] == [True] * 5 + [False] * 2
    assert [hours.include(at(day, 23, 59)) for day in range(7)] == [False] * 5 + [True] * 2


def test_over_midnight_and_over_the_end_of_the_week() -> None:
    hours = Hours.parse(["sun 22:00-06:00"])
    assert hours.include(at(6, 22, 0))
    assert hours.include(at(0, 5, 59))
    assert not hours.include(at(0, 6, 0))
    assert not hours.include(at(6, 5, 0))
    assert len(hours.minutes) == 8 * 60


def test_days_that_go_over_the_end_of_the_week() -> None:
    assert [Hours.parse(["sat-mon 12:00-13:00"]).include(at(day, 12, 0)) for day in range(7)] == [
        True,
        *[False] * 4,
        True,
        True,
    ]


@pytest.mark.parametrize("text", ["00:00-24:00", "05:00-05:00", "0:00-0:00"])
def test_a_whole_day(text: str) -> None:
    assert len(Hours.parse([text]).minutes) == WEEK_MINUTES


@pytest.mark.parametrize(
    "text",
    [
        "",
        "18-23",
        "25:00-26:00",
        "24:01-1:00",
        "12:60-13:00",
        "mon 1:00",
        "fri- 1:00-2:00",
        "1:00-2:00 mon",
        "١:00-2:00",
    ],
)
def test_what_is_no_time(text: str) -> None:
    with pytest.raises(ConfigError):
        Hours.parse([text])


def test_too_many_lines() -> None:
    Hours.parse(["1:00-2:00"] * MAX_LINES)
    with pytest.raises(ConfigError):
        Hours.parse(["1:00-2:00"] * (MAX_LINES + 1))


@pytest.mark.parametrize(
    ("day", "minutes"),
    [
        (datetime(2026, 3, 29, tzinfo=UTC), 60),  # 02:00 to 03:00 does not exist
        (datetime(2026, 10, 25, tzinfo=UTC), 180),  # 02:00 to 03:00 comes twice
        (datetime(2026, 6, 7, tzinfo=UTC), 120),
    ],
)
def test_local_time_decides_when_clocks_change(day: datetime, minutes: int) -> None:
    hours, zone = Hours.parse(["sun 02:00-04:00"]), ZoneInfo("Europe/Berlin")
    moments = [day - timedelta(hours=4) + timedelta(minutes=minute) for minute in range(24 * 60)]
    assert sum(hours.include(moment.astimezone(zone)) for moment in moments) == minutes
