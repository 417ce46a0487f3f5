"""A search for strings of bytes that were seen at more than one place."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

WINDOW = 8

type Place = tuple[int, int]
"""A circuit and a link of it: 0 is the one between client and guard."""


class Part(NamedTuple):
    """Bytes that crossed a link, or that a hop found inside, without what is constant in them."""

    place: Place
    what: str
    data: bytes


def windows(data: bytes) -> list[NDArray[np.uint64]]:
    """Every string of 8 bytes, as a number, in 8 rows: those that begin at a multiple of 8, one after that, …"""
    rows = ((start, (len(data) - start) // WINDOW) for start in range(WINDOW))
    return [np.frombuffer(data, np.uint64, count, start) for start, count in rows if count > 0]


def common(parts: list[Part]) -> list[tuple[str, Place, str, Place]]:
    """Find strings of 8 bytes that occur at more than one place: each pair of parts once."""
    found = np.concatenate([row for part in parts for row in windows(part.data)])
    found.sort()
    again = np.unique(found[1:][found[1:] == found[:-1]])
    owners: dict[int, list[Part]] = {}
    for part in parts if len(again) else ():
        for row in windows(part.data):
            for value in np.intersect1d(row, again).tolist():
                owners.setdefault(value, []).append(part)
    shared = {
        (one.what, one.place, other.what, other.place)
        for held_by in owners.values()
        for one, other in pairwise(held_by)
        if one.place != other.place
    }
    return sorted(shared)
