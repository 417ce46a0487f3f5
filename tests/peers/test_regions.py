from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from peers.countries import Countries
from peers.descriptor import Role
from peers.places import UNKNOWN, Place
from peers.regions import (
    LIFE_S,
    LIGHT_KM_PER_S,
    MAX_RECORDS,
    MAX_WITNESSES,
    SLACK_KM,
    RegionCheck,
    Standing,
    country_of,
)
from tests.peers.build import plain

if TYPE_CHECKING:
    from core.ids import PeerKey
    from peers.descriptor import Descriptor

# NL and DE touch; SG is 90 degrees, 9,900 km, from DE; US lies between, 5,500 km from each.
COUNTRIES = Countries.parse("NL 0 -1 50, 0 -1 50\nDE 0 0 50, 0 0 50\nUS 0 45 50, 0 45 50\nSG 0 90 50, 0 90 50\n")
PLACES = {"20": "NL", "21": "DE", "22": "SG", "23": "US", "24": ""}
QUICK_S = 0.03
"""Enough for 4,050 km."""
SLOW_S = 0.2


class Atlas:
    """Where addresses are by their first number, and in which system by the first two."""

    countries = COUNTRIES

    def lookup(self, host: str) -> Place:
        first, second = host.split(".")[:2]
        if not PLACES.get(first):
            return UNKNOWN
        return Place(PLACES[first], 1000 * int(first) + int(second))


class World:
    """A check, and the descriptors that are known."""

    def __init__(self, own_country: str = "") -> None:
        self.known: dict[PeerKey, Descriptor] = {}
        self.check = RegionCheck(Atlas(), self.known.get, own_country)
        self.now = 0.0

    def peer(self, number: int, *hosts: str, region: str = "", operator: bytes = b"") -> Descriptor:
        found = dataclasses.replace(plain(number, Role.EXIT, hosts), region=region, operator=operator)
        self.known[found.peer] = found
        return found

    def seen(self, rtt_s: float, *path: Descriptor, times: int = 2) -> None:
        for _ in range(times):
            self.now += 10
            self.check.answered(path, rtt_s, self.now)

    def standing(self, found: Descriptor) -> Standing:
        return self.check.standing(found, self.now)


def witnesses(world: World, count: int) -> list[Descriptor]:
    return [world.peer(100 + place, f"21.{place}.0.1") for place in range(count)]


@pytest.mark.parametrize(
    ("region", "country"),
    [("NL", "NL"), ("us-ca", "US"), ("", ""), ("EUROPE", ""), ("N1", ""), ("N-L", ""), ("NL-", ""), ("-NL", "")],
)
def test_the_country_of_a_region(region: str, country: str) -> None:
    assert country_of(region) == country


def test_without_anything_seen_the_database_is_compared() -> None:
    world = World()
    assert world.standing(world.peer(1, "22.0.0.1")) is Standing.SILENT
    assert world.standing(world.peer(2, "22.0.0.1", region="SG")) is Standing.LIKELY
    assert world.standing(world.peer(3, "22.0.0.1", region="SG-01")) is Standing.LIKELY
    assert world.standing(world.peer(4, "24.0.0.1", region="SG")) is Standing.CLAIMED
    assert world.standing(world.peer(5, "20.0.0.1", region="SG")) is Standing.CLAIMED
    assert world.standing(world.peer(6, region="SG")) is Standing.CLAIMED
    assert world.standing(world.peer(7, "22.0.0.1", region="EUROPE")) is Standing.CLAIMED


def test_an_address_of_somebody_else_makes_no_claim_likely() -> None:
    world = World()
    assert world.standing(world.peer(1, "20.0.0.1", "22.0.0.1", region="SG")) is Standing.CLAIMED


def test_three_witnesses_contradict() -> None:
    world = World()
    exit_ = world.peer(1, "22.0.0.1", region="SG")
    first, second, third = witnesses(world, 3)
    world.seen(QUICK_S, first, second, exit_)
    assert world.standing(exit_) is Standing.LIKELY
    world.seen(QUICK_S, third, exit_)
    assert world.standing(exit_) is Standing.CONTRADICTED
    assert world.check.region(exit_, world.now) == ""


def test_two_witnesses_and_the_database_contradict() -> None:
    world = World()
    exit_ = world.peer(1, "20.0.0.1", region="SG")
    world.seen(QUICK_S, *witnesses(world, 2), exit_)
    assert world.standing(exit_) is Standing.CONTRADICTED


@pytest.mark.parametrize(("host", "contradicted"), [("20.0.0.1", True), ("22.0.0.1", False), ("24.0.0.1", False)])
def test_this_node_contradicts_with_the_database_or_a_witness(host: str, contradicted: bool) -> None:
    world = World("DE")
    exit_ = world.peer(1, host, region="SG")
    world.seen(QUICK_S, world.peer(9, "24.0.0.9"), exit_)
    assert (world.standing(exit_) is Standing.CONTRADICTED) is contradicted
    world.seen(QUICK_S, *witnesses(world, 1), exit_)
    assert world.standing(exit_) is Standing.CONTRADICTED


def test_one_false_witness_changes_nothing_even_where_the_database_errs() -> None:
    world = World()
    exit_ = world.peer(1, "20.0.0.1", region="SG")
    (liar,) = witnesses(world, 1)
    world.seen(QUICK_S, liar, exit_, times=50)
    assert world.standing(exit_) is Standing.CLAIMED
    assert world.check.region(exit_, world.now) == "SG"


@pytest.mark.parametrize(
    "others",
    [
        [("21.0.0.1", b""), ("21.0.0.2", b""), ("21.0.9.3", b"")],
        [("21.0.0.1", b"one"), ("21.1.0.1", b"one"), ("21.2.0.1", b"one")],
    ],
    ids=["one network and system", "one operator"],
)
def test_witnesses_of_one_hand_count_once(others: list[tuple[str, bytes]]) -> None:
    world = World()
    exit_ = world.peer(1, "20.0.0.1", region="SG")
    for number, (host, operator) in enumerate(others):
        world.seen(QUICK_S, world.peer(100 + number, host, operator=operator), exit_)
    assert world.standing(exit_) is Standing.CLAIMED


def test_a_round_trip_that_is_long_enough_says_nothing() -> None:
    world = World("DE")
    exit_ = world.peer(1, "22.0.0.1", region="SG")
    world.seen(SLOW_S, *witnesses(world, 4), exit_, times=20)
    assert world.standing(exit_) is Standing.LIKELY
    assert len(world.check) == 0


def test_the_limit_is_the_way_of_light_there_and_back() -> None:
    apart_km = COUNTRIES.apart_km("DE", "SG")
    assert apart_km is not None
    limit_s = 2 * (apart_km - SLACK_KM) / LIGHT_KM_PER_S
    assert 0.07 < limit_s < 0.08
    for rtt_s, standing in ((limit_s * 1.001, Standing.LIKELY), (limit_s * 0.999, Standing.CONTRADICTED)):
        world = World("DE")
        exit_ = world.peer(1, "22.0.0.1", region="SG")
        world.seen(rtt_s, *witnesses(world, 2), exit_)
        assert world.standing(exit_) is standing


def test_one_short_round_trip_is_not_enough_nor_are_two_at_one_time() -> None:
    world = World()
    exit_ = world.peer(1, "22.0.0.1", region="SG")
    path = [*witnesses(world, 3), exit_]
    for now in (10.0, 10.0, 10.2, 10.9):
        world.check.answered(path, QUICK_S, now)
        assert world.check.standing(exit_, now) is Standing.LIKELY
    world.check.answered(path, QUICK_S, 11.0)
    assert world.check.standing(exit_, 11.0) is Standing.CONTRADICTED


@pytest.mark.parametrize(
    ("hosts", "region"),
    [
        (("24.0.0.1",), ""),
        (("21.9.0.1",), "NL"),
        (("21.9.0.1", "20.9.0.1"), ""),
        (("21.9.0.1", "24.0.0.1"), ""),
        ((), "DE"),
    ],
    ids=["place unknown", "says another country", "two countries", "one of two unknown", "only its own word"],
)
def test_who_is_no_witness(hosts: tuple[str, ...], region: str) -> None:
    world = World()
    exit_ = world.peer(1, "20.0.0.1", region="SG")
    no_witness = world.peer(2, *hosts, region=region)
    world.seen(QUICK_S, *witnesses(world, 1), no_witness, exit_)
    assert world.standing(exit_) is Standing.CLAIMED


def contradicted() -> tuple[World, Descriptor, list[Descriptor]]:
    world = World()
    exit_, others = world.peer(1, "22.0.0.1", region="SG"), witnesses(world, 3)
    world.seen(QUICK_S, *others, exit_)
    assert world.standing(exit_) is Standing.CONTRADICTED
    return world, exit_, others


def test_it_is_forgotten_after_a_day() -> None:
    world, exit_, others = contradicted()
    world.now += LIFE_S - 11
    assert world.standing(exit_) is Standing.CONTRADICTED
    world.now += 2
    assert world.standing(exit_) is Standing.LIKELY
    world.check.answered([*others, exit_], QUICK_S, world.now)
    assert world.standing(exit_) is Standing.CONTRADICTED, "the later one of the two from before still counts"


def test_it_is_undone_by_another_claim_or_address_and_not_by_a_renewal() -> None:
    world, exit_, others = contradicted()
    renewed = dataclasses.replace(exit_, sequence=2, expiry=exit_.expiry + 1)
    assert world.standing(renewed) is Standing.CONTRADICTED
    assert world.standing(dataclasses.replace(exit_, region="US")) is Standing.CLAIMED
    moved = world.peer(1, "22.1.0.1", region="SG")
    assert world.standing(moved) is Standing.LIKELY
    world.seen(QUICK_S, *others, moved, times=1)
    assert world.standing(moved) is Standing.LIKELY
    assert world.standing(exit_) is Standing.LIKELY, "what was seen of the old one is gone"


def test_it_is_not_shaken_off_by_what_changes_nothing() -> None:
    world, exit_, others = contradicted()
    for published in (
        dataclasses.replace(exit_, addresses=(("22.0.0.1", 9999),)),
        dataclasses.replace(exit_, addresses=(("22.1.0.1", 4433), ("22.0.0.1", 4433))),
        dataclasses.replace(exit_, region="sg"),
        dataclasses.replace(exit_, region="SG-01"),
    ):
        assert world.standing(published) is Standing.CONTRADICTED
    elsewhere = dataclasses.replace(exit_, region="US")
    world.seen(SLOW_S, *others, elsewhere)
    assert world.standing(exit_) is Standing.CONTRADICTED, "who claims the first country again is where it was"


def test_who_publishes_no_address_keeps_what_is_held_against_it() -> None:
    world = World("DE")
    exit_ = world.peer(1, region="SG")
    world.seen(QUICK_S, *witnesses(world, 1), exit_)
    assert world.standing(exit_) is Standing.CONTRADICTED


def test_a_witness_that_moves_or_goes_does_not_count_any_more() -> None:
    world, exit_, others = contradicted()
    world.peer(100, "21.0.0.2")
    assert world.standing(exit_) is Standing.LIKELY
    world.seen(QUICK_S, world.known[others[0].peer], exit_)
    assert world.standing(exit_) is Standing.CONTRADICTED
    del world.known[others[1].peer]
    assert world.standing(exit_) is Standing.LIKELY


def test_a_claim_of_no_country_or_of_an_unknown_one_is_not_measured() -> None:
    world = World("DE")
    for number, region in enumerate(("", "EUROPE", "ZZ")):
        world.seen(0.0, *witnesses(world, 3), world.peer(number, "22.0.0.1", region=region))
    assert len(world.check) == 0


def test_what_is_kept_is_bounded() -> None:
    world = World("DE")
    exit_ = world.peer(0, "22.0.0.1", region="SG")
    world.seen(QUICK_S, *(world.peer(5000 + n, f"21.{n}.0.1") for n in range(3 * MAX_WITNESSES)), exit_)
    assert len(world.check._records[exit_.peer, "SG"].objections) == MAX_WITNESSES
    for number in range(1, MAX_RECORDS + 20):
        world.seen(QUICK_S, world.peer(number, "22.0.0.1", region="SG"), times=1)
    assert len(world.check) == MAX_RECORDS
    assert (exit_.peer, "SG") not in world.check._records


@settings(deadline=None)
@given(
    st.lists(
        st.tuples(st.floats(0, 0.5), st.integers(0, 5), st.floats(0.5, 50_000), st.sampled_from(["21", "22", "23"])),
        max_size=40,
    )
)
def test_honest_peers_are_never_contradicted(answers: list[tuple[float, int, float, str]]) -> None:
    """Whatever delay is added: as long as all are where the database says, light has had its time."""
    world = World("DE")
    exit_ = world.peer(1, "22.0.0.1", region="SG")
    for delay_s, number, wait_s, first in answers:
        witness = world.peer(100 + number, f"{first}.{number}.0.1")
        legs = (COUNTRIES.apart_km("DE", PLACES[first]), COUNTRIES.apart_km(PLACES[first], "SG"))
        way_km = sum(leg for leg in legs if leg is not None)
        world.now += wait_s
        world.check.answered([witness, exit_], 2 * way_km / LIGHT_KM_PER_S + delay_s, world.now)
        assert world.standing(exit_) is Standing.LIKELY


@settings(deadline=None)
@given(st.lists(st.tuples(st.integers(0, 1), st.integers(0, 40), st.floats(0, 0.05)), max_size=60))
def test_two_false_witnesses_never_suffice_where_the_database_agrees(seen: list[tuple[int, int, float]]) -> None:
    """Each liar may publish new addresses as often as it likes."""
    world = World()
    exit_ = world.peer(1, "22.0.0.1", region="SG")
    for liar, net, rtt_s in seen:
        world.seen(rtt_s, world.peer(100 + liar, f"21.{net}.0.1"), exit_)
        assert world.standing(exit_) is Standing.LIKELY
