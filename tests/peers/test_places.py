from __future__ import annotations

import shutil
from concurrent.futures import ThreadPoolExecutor
from importlib import resources
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from peers.countries import Disc, distance_km
from peers.places import (
    COUNTRIES_NAME,
    TABLE_NAME,
    UNKNOWN,
    Database,
    Place,
    Places,
    is_public,
    read_database,
)

if TYPE_CHECKING:
    from pathlib import Path

DATA = resources.files("peers") / "data"


@pytest.fixture(scope="module")
def places() -> Places:
    found = Places()
    assert found.database().problem == ""
    return found


@pytest.mark.parametrize(
    ("host", "country", "asn"),
    [
        ("8.8.8.8", "US", 15169),
        ("9.9.9.9", "US", 19281),
        ("193.0.6.139", "NL", 3333),
        ("185.220.101.1", "DE", 60729),
        ("129.132.19.216", "CH", 559),
        ("133.11.0.1", "JP", 2501),
        ("95.216.0.1", "FI", 24940),
        ("200.160.2.3", "BR", 22548),
        ("196.216.2.6", "ZA", 33764),
        ("2a01:4f8::1", "DE", 24940),
        ("2001:67c:2e8:22::c100:68b", "NL", 3333),
        ("::ffff:8.8.8.8", "US", 15169),
    ],
)
def test_addresses_that_everybody_knows(places: Places, host: str, country: str, asn: int) -> None:
    found = places.lookup(host)
    assert (found.country, found.asn) == (country, asn)
    assert places.asn_of(host) == asn
    assert (found.latitude, found.longitude, found.radius_km) == places.countries.whole(country)


@pytest.mark.parametrize(
    "host",
    [
        *("127.0.0.1", "127.21.0.1", "10.1.2.3", "192.168.1.1", "100.64.0.1", "169.254.0.1", "0.0.0.0", "224.0.1.1"),
        *("255.255.255.255", "::1", "::", "fe80::1", "fe80::1%eth0", "fd00::1", "2001:db8::1", "ff0e::1"),
        *("::ffff:10.0.0.1", "", "localhost", "8.8.8.8 ", "8.8.8", "1" * 5000, "8.8.8.8\x00", "٨.٨.٨.٨"),
    ],
)
def test_what_is_no_public_address_is_unknown(places: Places, host: str) -> None:
    assert places.lookup(host) is UNKNOWN
    assert places.asn_of(host) is None
    assert not is_public(host)


@given(st.one_of(st.text(), st.ip_addresses().map(str)))
@settings(max_examples=300)
def test_any_text_has_an_answer(places: Places, host: str) -> None:
    found = places.lookup(host)
    assert found.country == "" or found.country in places.countries or found.disc is None
    assert found.asn is None or 0 < found.asn < 2**32


@pytest.mark.parametrize(
    ("country", "latitude", "longitude"),
    [
        ("US", 40.7, -74.0),
        ("US", 21.3, -157.9),
        ("US", 61.2, -149.9),
        ("RU", 54.7, 20.5),
        ("RU", 43.1, 131.9),
        ("FR", 48.9, 2.4),
        ("RE", -20.9, 55.4),
        ("GF", 4.9, -52.3),
        ("BR", -8.0, -34.9),
        ("AU", -31.9, 115.9),
        ("AU", -42.9, 147.3),
        ("NZ", -36.8, 174.8),
        ("FJ", -18.1, 178.4),
        ("ES", 28.1, -15.4),
        ("PT", 37.7, -25.7),
        ("SG", 1.3, 103.8),
        ("CL", -53.2, -70.9),
        ("SJ", 78.2, 15.6),
        ("ZA", -33.9, 18.4),
        ("IN", 11.6, 92.7),
        ("GB", 51.5, -0.1),
        ("JP", 26.2, 127.7),
        ("XK", 42.7, 21.2),
    ],
)
def test_cities_lie_in_their_countries(places: Places, country: str, latitude: float, longitude: float) -> None:
    whole = places.countries.whole(country)
    assert whole is not None
    assert distance_km(whole, Disc(latitude, longitude, 0)) == 0.0
    parts = places.countries._discs[country][1:]
    assert min(distance_km(part, Disc(latitude, longitude, 0)) for part in parts) == 0.0


@pytest.mark.parametrize(
    ("one", "other", "low", "high"),
    [
        ("NL", "DE", 0, 0),
        ("US", "RU", 0, 0),
        ("NL", "SG", 9_500, 10_500),
        ("DE", "US", 4_000, 6_000),
        ("NL", "ZA", 8_000, 9_000),
        ("GB", "AU", 11_000, 14_500),
        ("FR", "JP", 8_000, 9_800),
    ],
)
def test_countries_are_as_far_apart_as_on_a_map(places: Places, one: str, other: str, low: float, high: float) -> None:
    apart = places.countries.apart_km(one, other)
    assert apart is not None
    assert low <= apart <= high


def test_most_countries_of_addresses_have_a_place(places: Places) -> None:
    assert len(places.countries) >= 245


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    with resources.as_file(DATA) as source:
        shutil.copytree(source, tmp_path / "data")
    return tmp_path / "data"


def told(folder: Path) -> tuple[Places, list[str]]:
    """Places out of a folder, after two questions, and what was said about problems."""
    sentences: list[str] = []
    places = Places(lambda: read_database(folder), sentences.append)
    assert sentences == []
    for host in ("8.8.8.8", "9.9.9.9"):
        assert places.lookup(host) == Place()
        assert places.asn_of(host) is None
    assert len(places.countries) == 0
    return places, sentences


@pytest.mark.parametrize("name", [TABLE_NAME, COUNTRIES_NAME])
def test_without_a_file_all_is_unknown_and_it_says_so_once(folder: Path, name: str) -> None:
    (folder / name).unlink()
    _, (sentence,) = told(folder)
    assert "cannot be read (FileNotFoundError)" in sentence
    assert "install macro-vpn again" in sentence
    assert str(folder) not in sentence


@pytest.mark.parametrize(
    ("name", "data"),
    [
        (TABLE_NAME, b""),
        (TABLE_NAME, b"\xfd7zXZ\x00"),
        (TABLE_NAME, bytes(range(256)) * 40),
        (COUNTRIES_NAME, b"\xff\xfe"),
        (COUNTRIES_NAME, b"nowhere"),
    ],
)
def test_with_a_damaged_file_all_is_unknown_and_it_says_so_once(folder: Path, name: str, data: bytes) -> None:
    (folder / name).write_bytes(data)
    _, (sentence,) = told(folder)
    assert "is damaged" in sentence


def test_a_folder_in_place_of_the_file_is_no_crash(folder: Path) -> None:
    (folder / TABLE_NAME).unlink()
    (folder / TABLE_NAME).mkdir()
    _, (sentence,) = told(folder)
    assert "cannot be read" in sentence


def test_the_database_is_read_once_and_not_before_it_is_needed() -> None:
    times = []

    def read() -> Database:
        times.append(True)
        return read_database()

    places = Places(read)
    for host in ("127.0.0.1", "10.0.0.1", "::1", "nowhere", "1" * 500):
        assert places.lookup(host) is UNKNOWN
    assert not times
    with ThreadPoolExecutor(4) as threads:
        found = list(threads.map(places.lookup, ["8.8.8.8"] * 8))
    assert {place.country for place in found} == {"US"}
    assert len(times) == 1


def test_the_data_is_small_and_its_licences_stand_beside_it() -> None:
    sizes = {item.name: len(item.read_bytes()) for item in DATA.iterdir()}
    assert sum(sizes.values()) < 2_000_000
    text = (DATA / "LICENSES.md").read_text(encoding="utf-8")
    assert all(name in text for name in (TABLE_NAME, COUNTRIES_NAME, "DB-IP", "RouteViews", "NRO", "ISC"))
