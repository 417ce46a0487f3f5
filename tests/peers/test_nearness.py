"""What distance makes of peers that were never measured: from where it counts, and what a liar gains."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import pytest

from peers.countries import Countries
from peers.descriptor import Role
from peers.nearness import NEAR_RTT_S, Nearness, from_nowhere
from peers.path_search import declared_region
from peers.places import UNKNOWN, Place, Places
from peers.scores import LEANS, USUAL_RTT_S, Figures, weight
from tests.peers.build import plain

if TYPE_CHECKING:
    from peers.descriptor import Descriptor

COUNTRIES = Places().countries
CODES = {"1": "NL", "2": "DE", "3": "US", "4": "AU", "9": "ZZ"}
"""By the first digit of a host."""


@dataclass
class Atlas:
    """Knows the country of some hosts. Implements `peers.regions.Locator`."""

    countries: Countries = COUNTRIES
    asked: list[str] = field(default_factory=list)

    def lookup(self, host: str) -> Place:
        self.asked.append(host)
        return Place(CODES[host[0]]) if host[0] in CODES else UNKNOWN


def at(*hosts: str, region: str = "") -> Descriptor:
    return replace(plain(1, Role.EXIT, hosts), region=region)


DUTCH, GERMAN, AMERICAN, AUSTRALIAN, ELSEWHERE = (at(f"{digit}.1.1.1") for digit in "12347")
NEAR = Nearness(Atlas(), declared_region)


def test_the_farther_a_peer_is_from_those_before_it_the_more_it_adds() -> None:
    expect = NEAR.seen_from([DUTCH])
    near, next_door, over_the_sea, other_side = (expect(each) for each in (DUTCH, GERMAN, AMERICAN, AUSTRALIAN))
    assert near == next_door == NEAR_RTT_S
    assert over_the_sea is not None
    assert other_side is not None
    assert USUAL_RTT_S < over_the_sea < other_side < 0.3


def test_of_several_before_it_the_mean_counts_of_those_whose_country_is_known() -> None:
    alone = NEAR.seen_from([DUTCH])(AUSTRALIAN)
    assert alone is not None
    both = NEAR.seen_from([DUTCH, AUSTRALIAN])(AUSTRALIAN)
    assert both == pytest.approx((alone + NEAR_RTT_S) / 2)
    in_two = at("1.1.1.1", "4.1.1.1")
    assert NEAR.seen_from([DUTCH, ELSEWHERE, in_two])(AUSTRALIAN) == alone


def test_where_nothing_is_known_nothing_is_expected() -> None:
    assert NEAR.seen_from([DUTCH])(ELSEWHERE) is None
    assert NEAR.seen_from([DUTCH])(at("9.1.1.1")) is None, "a country that is nowhere"
    assert NEAR.seen_from([ELSEWHERE])(DUTCH) is None
    assert NEAR.seen_from([])(DUTCH) is None
    assert from_nowhere([DUTCH])(DUTCH) is None


def test_the_own_country_counts_only_where_nobody_stands_before_the_exit() -> None:
    home = Nearness(Atlas(), declared_region, "AU")
    assert home.seen_from([])(AUSTRALIAN) == NEAR_RTT_S
    assert home.seen_from([DUTCH])(DUTCH) == NEAR_RTT_S
    assert home.seen_from([ELSEWHERE])(DUTCH) is None


def test_who_publishes_an_address_of_somebody_near_is_as_far_as_its_own() -> None:
    expect = NEAR.seen_from([DUTCH])
    assert expect(at("1.1.1.1", "4.1.1.1")) == expect(at("4.1.1.1", "1.1.1.1")) == expect(AUSTRALIAN)


def test_a_claim_makes_nobody_nearer_than_usual_and_a_claim_against_the_database_is_nothing() -> None:
    expect = NEAR.seen_from([DUTCH])
    for hosts in ((), ("7.1.1.1",)):
        assert expect(at(*hosts, region="NL")) == USUAL_RTT_S
        assert expect(at(*hosts, region="AU-NSW")) == expect(AUSTRALIAN)
        assert expect(at(*hosts)) is None
    assert expect(at("4.1.1.1", region="NL")) == expect(AUSTRALIAN)
    assert expect(at("1.1.1.1", region="AU")) == NEAR_RTT_S


def test_a_claim_that_is_not_believed_any_more_does_not_count() -> None:
    doubting = Nearness(Atlas(), lambda found: "")
    assert doubting.seen_from([DUTCH])(at(region="AU")) is None


def test_no_place_on_earth_is_excluded_and_privacy_hardly_looks() -> None:
    antipodes = Nearness(Atlas(), declared_region, "NI").seen_from([])(at(region="CC"))
    assert antipodes is not None
    for mode, most in (("speed", 10), ("balanced", 3.2), ("privacy", 1.3)):
        near, usual, far = (weight(Figures(rtt_s=rtt_s), LEANS[mode]) for rtt_s in (NEAR_RTT_S, USUAL_RTT_S, antipodes))
        assert 1 == usual < near < 2
        assert near / far < most


def test_each_country_is_measured_once_for_a_choice() -> None:
    atlas = Atlas()
    measured = []

    class Counting(Countries):
        def apart_km(self, one: str, other: str) -> float | None:
            measured.append((one, other))
            return COUNTRIES.apart_km(one, other)

    atlas.countries = Counting({})
    expect = Nearness(atlas, declared_region).seen_from([DUTCH, GERMAN])
    for _ in range(50):
        expect(AMERICAN), expect(AUSTRALIAN), expect(ELSEWHERE)
    assert len(measured) == len(set(measured)) == 2 * 3
