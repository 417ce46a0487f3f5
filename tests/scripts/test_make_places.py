from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from peers.countries import Countries, Disc, distance_km
from scripts.make_places import code_of, country_of, cover, make_countries, middle, points, ranges, vectors

SQUARE = [[[(0.0, 0.0), (0.0, 10.0), (10.0, 10.0), (10.0, 0.0), (0.0, 0.0)]]]


def shape(code: str, west: float, east: float, **properties: Any) -> dict[str, Any]:
    ring = [[west, 0.0], [east, 0.0], [east, 4.0], [west, 4.0], [west, 0.0]]
    geometry = {"type": "MultiPolygon", "coordinates": [[ring]]}
    return {"properties": {"iso1A2": code} | properties, "geometry": geometry}


def test_ranges_have_no_gaps_and_neighbours_are_joined() -> None:
    data = b"10,19,DE\n20,29,DE\n40,49,FR\n50,59,ZZ\n"
    assert list(ranges(data, 0, country_of)) == [(0, ""), (10, "DE"), (30, ""), (40, "FR"), (50, "")]
    assert list(ranges(b'10,19,64500,"A, Inc."\n', 0, int)) == [(0, 0), (10, 64500), (20, 0)]


def test_a_range_that_begins_at_zero_has_nothing_before_it() -> None:
    assert list(ranges(b"0,9,7,A\n", 0, int)) == [(0, 7), (10, 0)]


def test_ranges_that_fall_together_or_overlap_belong_to_the_first() -> None:
    data = b"16,17,1,A\n18,31,2,B\n32,63,3,C\n40,79,4,D\n"
    assert list(ranges(data, 4, int)) == [(0, 0), (1, 1), (2, 3), (4, 4), (5, 0)]


@pytest.mark.parametrize("text", ["ZZ", "", "D", "de", "DEU", "D1", "ÄÖ"])
def test_what_is_no_country_is_unknown(text: str) -> None:
    assert country_of(text) == ""


def test_a_part_belongs_to_its_country_or_to_the_territory_it_is_in() -> None:
    official = {"FR", "UM", "US", "RE"}
    assert code_of({"iso1A2": "RE", "country": "FR"}, official) == "RE"
    assert code_of({"iso1A2": "FX", "country": "FR", "groups": ["EU"]}, official) == "FR"
    assert code_of({"country": "US", "groups": ["UM", "057"]}, official) == "UM"
    assert code_of({"groups": ["Q1"]}, official) == ""


def test_points_lie_along_the_border_and_inside() -> None:
    found = set(points(SQUARE))
    assert len(found) > 400
    assert any(abs(latitude - 5) < 0.1 and abs(longitude - 5) < 0.1 for latitude, longitude in found)
    assert all(-0.1 <= latitude <= 10.1 and -0.1 <= longitude <= 10.1 for latitude, longitude in found)


def test_a_middle_has_no_point_far_away() -> None:
    # Most points on one side would draw a mean there.
    found = vectors([(0.0, 0.0)] * 50 + [(0.0, 20.0)])
    x, y, _ = middle(found)
    assert np.degrees(np.arctan2(y, x)) == pytest.approx(10, abs=1)


@pytest.mark.parametrize("count", [1, 2, 5])
def test_discs_cover_every_point(count: int) -> None:
    found = list(points(SQUARE))
    discs = cover(vectors(found), count)
    assert len(discs) <= count
    for latitude, longitude in found:
        assert min(distance_km(disc, Disc(latitude, longitude, 0)) for disc in discs) == 0.0


def test_discs_cover_across_the_line_of_the_date() -> None:
    (disc,) = cover(vectors([(0.0, 179.0), (0.0, -179.0)]), 1)
    assert abs(disc.longitude) == pytest.approx(180, abs=0.2)
    assert disc.radius_km < 250


def test_the_countries_that_are_made_can_be_read() -> None:
    features = [
        shape("AA", 0, 4),
        shape("BB", 40, 80),
        shape("CP", 100, 101, nameEn="Clipperton Island", isoStatus="excRes", country="AA"),
    ]
    features.append({"properties": {"iso1A2": "EU"}, "geometry": None})
    countries = Countries.parse(make_countries({"features": features}))
    assert len(countries) == 2
    apart = countries.apart_km("AA", "BB")
    assert apart is not None
    assert 2_500 < apart < 4_000
