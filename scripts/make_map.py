"""Make `node/dashboard/map.js`: the land of the earth, and where each country is, for the dashboard's map.

Usage, from the root of the repository: .venv/bin/python -m scripts.make_map

It asks `npm` for the package that is named below, checks that it is the one that was used before, and takes countries
from `peers/data/countries.txt`. The map is an equirectangular one, two units to a degree.
"""

from __future__ import annotations

import json
import math
import tempfile
from itertools import accumulate, batched, pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from scripts.make_places import ROOT, fetch

if TYPE_CHECKING:
    from collections.abc import Iterator

    type Point = tuple[int, int]
    """To the right and down."""

LAND: Final = "world-atlas@2.0.2"
SHA256: Final = "032e7765f2ce00edaeafec23ff22bc3b77e42987c257da944cc585b452c05b97"
UNITS_PER_DEG: Final = 2
TOP_DEG, BOTTOM_DEG = 84, -58
"""What is shown. Nobody lives beyond."""
SMALLEST: Final = 4
"""Islands of fewer points are left out."""
COLUMNS: Final = 118


def main() -> None:
    """Fetch, make, write."""
    with tempfile.TemporaryDirectory() as temporary:
        package = fetch(LAND, Path(temporary), SHA256)
    places = (ROOT / "peers" / "data" / "countries.txt").read_text(encoding="ascii")
    text = make_map(json.loads(package["package/land-110m.json"]), places)
    (ROOT / "node" / "dashboard" / "map.js").write_text(text, encoding="ascii")


def make_map(topology: dict[str, Any], countries: str) -> str:
    """Write the module.

    Args:
        topology: land, in TopoJSON.
        countries: lines of code and discs, of which the first covers the country, and the others parts of it.
    """
    centres = dict(map(centre_of, lines_of(countries)))
    width, height = 360 * UNITS_PER_DEG, (TOP_DEG - BOTTOM_DEG) * UNITS_PER_DEG
    return "\n".join(
        [
            "// Land: Natural Earth (public domain) by way of world-atlas, (c) 2013-2019 Michael Bostock, ISC license.",
            "// Countries: country-coder contributors, ISC license. Made by scripts/make_map.py.",
            f"export const WIDTH = {width}, HEIGHT = {height};",
            "export const LAND = [",
            *(f'"{"".join(piece)}",' for piece in batched("".join(map(path_of, rings_of(topology))), COLUMNS - 4)),
            '].join("");',
            "export const PLACES = {",
            *wrapped(f"{code}: [{x}, {y}]," for code, (x, y) in sorted(centres.items())),
            "};",
            "",
        ]
    )


def lines_of(countries: str) -> Iterator[str]:
    """Leave out what is a comment."""
    return (line for line in countries.splitlines() if not line.startswith("#"))


def centre_of(line: str) -> tuple[str, Point]:
    """Read a country: its place is the middle of the disc, of those that cover parts of it, that is nearest to all.

    Degrees do as a measure: it is for a map on which they are all alike.
    """
    code, _, discs = line.partition(" ")
    _, *parts = ([float(number) for number in disc.split()] for disc in discs.split(", "))

    def away(disc: list[float]) -> float:
        around = ((disc[1] - other[1] + 180) % 360 - 180 for other in parts)
        return sum(
            math.hypot(across, disc[0] - other[0]) * other[2] ** 2 for across, other in zip(around, parts, strict=True)
        )

    latitude, longitude, _ = min(parts, key=away)
    return code, place(longitude, latitude)


def place(longitude: float, latitude: float) -> Point:
    """Put a point of the globe onto the map."""
    down = min(max(TOP_DEG - latitude, 0), TOP_DEG - BOTTOM_DEG)
    return round((longitude + 180) * UNITS_PER_DEG), round(down * UNITS_PER_DEG)


def rings_of(topology: dict[str, Any]) -> Iterator[list[Point]]:
    """Read the outlines that are shown.

    Source: the TopoJSON format, sections 2.1.2 (transforms), 2.1.3 (arcs) and 2.1.4 (arc indexes).
    """
    scale, shift = topology["transform"]["scale"], topology["transform"]["translate"]
    arcs = []
    for arc in topology["arcs"]:
        steps = list(accumulate(arc, lambda at, step: (at[0] + step[0], at[1] + step[1])))
        arcs.append([(x * scale[0] + shift[0], y * scale[1] + shift[1]) for x, y in steps])
    for polygon in topology["objects"]["land"]["geometries"][0]["arcs"]:
        for numbers in polygon:
            points = [point for number in numbers for point in (arcs[number] if number >= 0 else arcs[~number][::-1])]
            if all(latitude < BOTTOM_DEG for _, latitude in points):
                continue
            placed = [place(*point) for point in unbroken(points)]
            ring = [placed[0], *(after for before, after in pairwise(placed) if before != after)]
            if len(ring) < SMALLEST:
                continue
            yield ring
            for around in (-360, 360):  # what goes over an edge of the map comes in at the other
                if any(0 < x + around * UNITS_PER_DEG < 360 * UNITS_PER_DEG for x, _ in ring):
                    yield [(x + around * UNITS_PER_DEG, y) for x, y in ring]


def unbroken(points: list[tuple[float, float]]) -> Iterator[tuple[float, float]]:
    """Follow an outline over the 180th meridian without a jump."""
    last = points[0][0]
    for longitude, latitude in points:
        last = longitude - 360 * round((longitude - last) / 360)
        yield last, latitude


def path_of(ring: list[Point]) -> str:
    """Write an outline as a path of SVG: where it begins, and steps."""
    steps = " ".join(f"{after[0] - before[0]} {after[1] - before[1]}" for before, after in pairwise(ring))
    return f"M{ring[0][0]} {ring[0][1]}l{steps}z".replace(" -", "-")


def wrapped(pieces: Iterator[str]) -> Iterator[str]:
    """Put pieces into lines."""
    line = ""
    for piece in pieces:
        if len(line) + len(piece) >= COLUMNS:
            yield line
            line = ""
        line = f"{line} {piece}".lstrip()
    yield line


if __name__ == "__main__":
    main()
