"""Where countries are, as discs on the globe that cover them, and how far apart two of them are at least."""

from __future__ import annotations

import math
from functools import lru_cache
from typing import TYPE_CHECKING, Final, NamedTuple

from core.errors import DecodeError

if TYPE_CHECKING:
    from collections.abc import Iterator

EARTH_KM: Final = 6371.0
"""Mean radius."""
MAX_TEXT_CHARS: Final = 1 << 20
_PAIRS_REMEMBERED: Final = 1 << 12


class Disc(NamedTuple):
    """All points within a distance of a centre.

    Args:
        latitude: -90 to 90 degrees.
        longitude: -180 to 180 degrees.
        radius_km: 0 for one point.
    """

    latitude: float
    longitude: float
    radius_km: float


def distance_km(one: Disc, other: Disc) -> float:
    """Return how far apart the two are at their nearest, 0 if they touch: along a great circle, by the haversine."""
    north, south = math.radians(one.latitude), math.radians(other.latitude)
    across = math.radians(other.longitude - one.longitude)
    half = math.sin((south - north) / 2) ** 2 + math.cos(north) * math.cos(south) * math.sin(across / 2) ** 2
    between = 2 * EARTH_KM * math.asin(math.sqrt(min(1.0, half)))
    return max(0.0, between - one.radius_km - other.radius_km)


class Countries:
    """The countries. `parse` makes them out of a text.

    Args:
        discs: by country code: first a disc that covers the whole country, then smaller ones that together do.
    """

    def __init__(self, discs: dict[str, tuple[Disc, ...]]) -> None:
        self._discs = discs
        self._apart_km = lru_cache(maxsize=_PAIRS_REMEMBERED)(self._measure)

    def __contains__(self, code: str) -> bool:
        return code in self._discs

    def __len__(self) -> int:
        return len(self._discs)

    def whole(self, code: str) -> Disc | None:
        """Return a disc that covers all of a country, None if the country is not known."""
        discs = self._discs.get(code)
        return discs[0] if discs else None

    def apart_km(self, one: str, other: str) -> float | None:
        """Return how far apart two countries are at least, None if one of them is not known."""
        if one not in self._discs or other not in self._discs:
            return None
        return self._apart_km(min(one, other), max(one, other))

    def _measure(self, one: str, other: str) -> float:
        if one == other:
            return 0.0
        return min(distance_km(a, b) for a in self._discs[one][1:] for b in self._discs[other][1:])

    @classmethod
    def parse(cls, text: str) -> Countries:
        """Read `countries.txt`.

        Args:
            text: for each country a line of its code and, separated by commas, its discs: `NL 52.2 5.3 240, …`.
                Lines that begin with # mean nothing.

        Raises:
            DecodeError: it has another form.
        """
        if len(text) > MAX_TEXT_CHARS:
            raise DecodeError("countries", "too long")
        try:
            found = dict(_lines(text))
        except ValueError as error:
            raise DecodeError("countries", "not a code and discs") from error
        return cls(found)


def _lines(text: str) -> Iterator[tuple[str, tuple[Disc, ...]]]:
    for line in text.splitlines():
        if line.startswith("#"):
            continue
        code, discs = line.split(" ", 1)
        found = tuple(_disc(part) for part in discs.split(","))
        if len(code) != 2 or not (code.isascii() and code.isupper()) or len(found) < 2:
            raise ValueError("not a country")
        yield code, found


def _disc(text: str) -> Disc:
    latitude, longitude, radius = map(float, text.split())
    if not (-90 <= latitude <= 90 and -180 <= longitude <= 180 and 0 <= radius <= 21_000):
        raise ValueError("not a disc")
    return Disc(latitude, longitude, radius)
