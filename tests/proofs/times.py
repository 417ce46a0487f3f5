"""Moments of a run, in all the forms in which one could be written down."""

from __future__ import annotations

import re
import struct
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterator

CLOCK: Final = re.compile(rb"(?<![0-9:.\[])[0-2]?[0-9]:[0-5][0-9](?::[0-5][0-9](?:[.,][0-9]+)?)?(?![0-9:\]])")
"""A time of day, as a log could have it."""
_DIGITS: Final = re.compile(rb"[0-9]{10,}")

_UNITS: Final = {"seconds": 1, "milliseconds": 1_000, "microseconds": 1_000_000, "nanoseconds": 1_000_000_000}
_NTP_S: Final = 2_208_988_800
"""Seconds from 1900 to 1970, at which NTP begins. Source: RFC 5905, section 6."""
_TAI_S: Final = 10
"""What TAI64N's label of a second is ahead, as WireGuard writes it."""

type Span = tuple[float, float]


class Times:
    """The seconds from the beginning of a run to its end.

    Args:
        begin, end: since 1970.
    """

    def __init__(self, begin: float, end: float) -> None:
        self._first, self._last = int(begin), int(end) + _TAI_S + 1
        days = range((self._last - self._first) // 86_400 + 2)
        dates = [datetime.fromtimestamp(begin, UTC) + timedelta(day) for day in days]
        kept = [date for date in dates if date.timestamp() // 86_400 <= self._last // 86_400]
        formats = ("%Y-%m-%d", "%d.%m.%Y", "%d %b %Y", "%d/%b/%Y", "%b %d", "%Y%m%d")
        self._dates = {date.strftime(form).lower().encode() for date in kept for form in formats}
        self._spans: list[tuple[str, np.dtype[np.generic], Span]] = [
            *self._of("32 bits of seconds", "u4", 1),
            ("32 bits of seconds since 1900, big-endian", np.dtype(">u4"), self._span(1, _NTP_S)),
            *(
                spans
                for unit, per_s in _UNITS.items()
                if per_s > 1
                for spans in self._of(f"64 bits of {unit}", "u8", per_s)
            ),
            *(spans for unit, per_s in _UNITS.items() for spans in self._of(f"floating {unit}", "f8", per_s)),
        ]

    def _span(self, per_s: int, after: int = 0) -> Span:
        return (self._first + after) * per_s, (self._last + after) * per_s

    def _of(self, what: str, kind: str, per_s: int) -> Iterator[tuple[str, np.dtype[np.generic], Span]]:
        for order, name in (("<", "little-endian"), (">", "big-endian")):
            yield f"{what}, {name}", np.dtype(order + kind), self._span(per_s)

    def within(self, data: bytes, *, is_text: bool = False) -> Iterator[str]:
        """Name the moments that some bytes hold.

        Args:
            data: the bytes.
            is_text: times of day and dates are looked for as well.
        """
        for match in _DIGITS.finditer(data):
            run = match[0]
            if any(self._first <= int(run[at : at + 10]) <= self._last for at in range(len(run) - 9)):
                yield f"a time as a number: {run[:40]!r}"
        for what, kind, (low, high) in self._spans:
            for at in range(kind.itemsize):
                count = (len(data) - at) // kind.itemsize
                if count <= 0:
                    continue
                numbers = np.frombuffer(data, kind, count, at)
                with np.errstate(invalid="ignore"):  # not every eight bytes are a floating number
                    places = np.flatnonzero((numbers >= low) & (numbers <= high))
                for place in places[:3]:
                    begin = at + int(place) * kind.itemsize
                    yield f"a time as {what}: {data[max(0, begin - 16) : begin + 24]!r}"
        if is_text:
            yield from (f"a time of day: {clock!r}" for clock in CLOCK.findall(data))
            lower = data.lower()
            yield from (f"a date: {date!r}" for date in self._dates if date in lower)


def samples(moment: float) -> dict[str, bytes]:
    """One moment in each of the forms, which `Times` must find.

    Args:
        moment: seconds since 1970.
    """
    second = int(moment)
    forms = {f"number {unit}": str(int(moment * per_s)).encode() for unit, per_s in _UNITS.items()}
    forms |= {"number with a fraction": f"{moment:.3f}".encode()}
    for order in "<>":
        forms |= {f"u32 {order}": struct.pack(f"{order}I", second), f"i64 {order}": struct.pack(f"{order}q", second)}
        forms |= {f"f64 {order}": struct.pack(f"{order}d", moment)}
        for unit, per_s in _UNITS.items():
            forms[f"u64 {order} {unit}"] = struct.pack(f"{order}Q", int(moment * per_s))
    return forms | {"NTP": struct.pack(">I", second + _NTP_S), "TAI64N": struct.pack(">Q", 2**62 + _TAI_S + second)}
