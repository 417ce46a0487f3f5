"""At which times of the week a node serves others, in local time.

A line is `HH:MM-HH:MM`, every day, or with days before it: `mon-fri 18:00-23:30`, `sat,sun 10:00-24:00`. A time that
ends before it begins goes on into the next day.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from core.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from datetime import datetime

MAX_LINES: Final = 64
DAY_MINUTES: Final = 24 * 60
WEEK_MINUTES: Final = 7 * DAY_MINUTES

_DAYS: Final = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
_DAY: Final = "(?:mon|tue|wed|thu|fri|sat|sun)"
_LINE: Final = re.compile(
    rf"(?:(?P<days>{_DAY}(?:-{_DAY})?(?:,{_DAY}(?:-{_DAY})?)*) +)?"
    r"(?P<from>[0-9]{1,2}):(?P<from_min>[0-9]{2})-(?P<to>[0-9]{1,2}):(?P<to_min>[0-9]{2})",
    re.ASCII,
)


@dataclass(frozen=True, slots=True)
class Hours:
    """Minutes of the week, Monday 00:00 first.

    Args:
        minutes: those in which the node serves; all of them when no line was given.
    """

    minutes: frozenset[int]

    @classmethod
    def parse(cls, lines: Iterable[str]) -> Hours:
        """Read lines; none means always.

        Raises:
            ConfigError: a line is no time, or there are more than `MAX_LINES`.
        """
        lines = tuple(lines)
        if len(lines) > MAX_LINES:
            raise ConfigError("sharing.hours", f"more than {MAX_LINES} times")
        found = [minute for line in lines for minute in _minutes(line)]
        return cls(frozenset(found) if lines else frozenset(range(WEEK_MINUTES)))

    def include(self, moment: datetime) -> bool:
        """Tell whether the node serves at a moment of local time."""
        return moment.weekday() * DAY_MINUTES + moment.hour * 60 + moment.minute in self.minutes


def _minutes(line: str) -> Iterator[int]:
    match = _LINE.fullmatch(line.strip().lower())
    if match is None:
        raise ConfigError("sharing.hours", "write a time such as 22:00-06:00 or mon-fri 18:00-23:30")
    start = _minute(match["from"], match["from_min"])
    length = (_minute(match["to"], match["to_min"]) - start - 1) % DAY_MINUTES + 1
    for day in _days(match["days"]):
        for offset in range(length):
            yield (day * DAY_MINUTES + start + offset) % WEEK_MINUTES


def _minute(hour: str, minute: str) -> int:
    value = int(hour) * 60 + int(minute)
    if int(minute) > 59 or value > DAY_MINUTES:
        raise ConfigError("sharing.hours", "a time of day is from 00:00 to 24:00")
    return value


def _days(text: str | None) -> Iterator[int]:
    if text is None:
        yield from range(7)
        return
    for part in text.split(","):
        first, _, last = part.partition("-")
        start = _DAYS.index(first)
        for offset in range((_DAYS.index(last or first) - start) % 7 + 1):
            yield (start + offset) % 7
