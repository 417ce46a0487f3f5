from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.errors import DecodeError
from peers.countries import EARTH_KM, Countries, Disc, distance_km

TEXT = """# two islands, a continent beside them, and one on the other side
AA 0 0 100, 0 0 100
BB 0 20 1300, 0 11 300, 0 30 200
CC 0 180 50, 0 180 50
"""

POINTS = st.builds(Disc, st.floats(-90, 90), st.floats(-180, 180), st.just(0.0))


def test_distances_between_known_cities() -> None:
    amsterdam, singapore, santiago = Disc(52.37, 4.9, 0), Disc(1.35, 103.82, 0), Disc(-33.45, -70.67, 0)
    assert distance_km(amsterdam, singapore) == pytest.approx(10_500, rel=0.01)
    assert distance_km(amsterdam, santiago) == pytest.approx(11_960, rel=0.01)
    assert distance_km(Disc(0, 179, 0), Disc(0, -179, 0)) == pytest.approx(222.4, rel=0.01)


def test_discs_are_nearer_by_their_radii_and_touch_at_zero() -> None:
    assert distance_km(Disc(0, 0, 100), Disc(0, 10, 200)) == pytest.approx(1_111.9 - 300, rel=0.01)
    assert distance_km(Disc(0, 0, 1000), Disc(0, 10, 200)) == 0.0


@given(POINTS, POINTS, POINTS)
def test_distances_are_distances(one: Disc, other: Disc, third: Disc) -> None:
    there = distance_km(one, other)
    assert 0 <= there <= EARTH_KM * 3.1416
    assert there == pytest.approx(distance_km(other, one), abs=1e-3)
    assert there <= distance_km(one, third) + distance_km(third, other) + 1e-3


def test_countries_are_as_far_apart_as_their_nearest_discs() -> None:
    countries = Countries.parse(TEXT)
    assert countries.apart_km("AA", "AA") == 0.0
    assert countries.apart_km("AA", "BB") == pytest.approx(11 * 111.19 - 400, rel=0.01)
    assert countries.apart_km("BB", "AA") == countries.apart_km("AA", "BB")
    assert countries.apart_km("AA", "CC") == pytest.approx(EARTH_KM * 3.14159 - 150, rel=0.01)
    assert countries.apart_km("AA", "ZZ") is None
    assert countries.apart_km("", "AA") is None
    assert countries.whole("BB") == Disc(0, 20, 1300)
    assert countries.whole("ZZ") is None
    assert "AA" in countries
    assert len(countries) == 3


@pytest.mark.parametrize(
    "text",
    [
        *("AA", "AA 1 2", "AA 1 2 3", "A 1 2 3, 1 2 3", "aa 1 2 3, 1 2 3", "AA 91 0 1, 0 0 1", "AA 0 181 1, 0 0 1"),
        *("AA 0 0 -1, 0 0 1", "AA nan 0 1, 0 0 1", "AA 0 0 inf, 0 0 1", "AA 0 0 1, 0 0 1,", "#" * (2 << 20), "\n"),
    ],
)
def test_another_form_is_refused(text: str) -> None:
    with pytest.raises(DecodeError):
        Countries.parse(text)


@given(st.text(max_size=100))
def test_any_text_is_read_or_refused(text: str) -> None:
    with contextlib.suppress(DecodeError):
        Countries.parse(text)
