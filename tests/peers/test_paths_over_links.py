"""Peers without an address on a path: whom they are reached through, and where they may stand."""

from __future__ import annotations

import random
from collections import Counter
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.errors import CircuitError
from peers.addresses import network_of
from peers.choice import Weighing
from peers.descriptor import Role
from peers.guards import PinnedHops
from peers.holds import Hold
from peers.measurements import Measurements
from peers.path_search import MAX_HOPS, PathRules
from peers.paths import choose_path, choose_pinned_path
from peers.reasons import explain
from peers.scores import LEANS
from tests.peers.build import NOW, host, plain
from tests.peers.test_paths import View, anywhere

if TYPE_CHECKING:
    from collections.abc import Sequence

    from peers.descriptor import Descriptor

RELAY, EXIT, BOTH = Role.RELAY, Role.EXIT, Role.RELAY | Role.EXIT


def public(number: int, roles: Role = RELAY, name: str = "") -> Descriptor:
    return plain(number, roles, (name or host(number),))


def at_home(number: int, roles: Role, *holders: Descriptor, operator: bytes = b"") -> Descriptor:
    via = tuple(Hold(relay.peer, NOW, b"") for relay in holders)
    return replace(plain(number, roles, ()), via=via, operator=operator)


def paths(
    peers: Sequence[Descriptor], hops: int, *, diversity: bool = True, count: int = 40
) -> list[tuple[Descriptor, ...]]:
    """Paths of a client that holds on to its first hops, drawn anew each time."""
    rules = PathRules(hops, anywhere, diversity)
    return [choose_pinned_path(View(*peers), rules, random.Random(seed), PinnedHops(), NOW) for seed in range(count)]


def none(peers: Sequence[Descriptor], hops: int, *, diversity: bool = True) -> None:
    rules = PathRules(hops, anywhere, diversity)
    with pytest.raises(CircuitError):
        choose_path(View(*peers), rules, random.Random(0))
    with pytest.raises(CircuitError):
        choose_pinned_path(View(*peers), rules, random.Random(0), PinnedHops(), NOW)


RELAYS = [public(number) for number in range(1, 7)]


def test_an_exit_at_home_stands_behind_one_that_holds_a_link_and_costs_a_hop() -> None:
    end = at_home(9, EXIT, *RELAYS[:3])
    before: set[Descriptor] = set()
    for path in paths([*RELAYS, end], 3):
        assert len(path) == 4
        assert path[-1] is end
        assert path[2] in RELAYS[:3]
        assert not {path[0], path[1]} & set(RELAYS[:3])
        before.add(path[2])
    assert len(before) == 3


@pytest.mark.parametrize("hops", [1, 2, 5])
def test_it_is_not_offered_where_it_would_choose_the_first_hops_or_there_is_no_room(hops: int) -> None:
    none([*RELAYS, at_home(9, EXIT, RELAYS[0])], hops)


def test_nobody_without_an_address_stands_on_the_first_two_places() -> None:
    homes = [at_home(20 + number, BOTH, RELAYS[number], RELAYS[number + 1]) for number in range(4)]
    places = Counter[int]()
    for hops in (3, 4):
        for path in paths([*RELAYS, *homes], hops):
            places.update(place for place, found in enumerate(path) if found in homes)
            assert len(set(path)) == len(path) <= MAX_HOPS
    assert set(places) == {3, 4}


def test_a_relay_at_home_stands_in_the_middle() -> None:
    end, relay = public(8, EXIT), at_home(9, RELAY, RELAYS[0])
    with_it = [path for path in paths([*RELAYS[:3], end, relay], 4) if relay in path]
    assert with_it
    assert all(path[2:] == (RELAYS[0], relay, end) for path in with_it)


def test_there_is_room_for_one() -> None:
    relay, end = at_home(8, RELAY, RELAYS[0]), at_home(9, EXIT, RELAYS[1])
    assert all(relay not in path for path in paths([*RELAYS[:4], relay, end], 4))
    for seed in range(40):
        pins = PinnedHops()
        choose_pinned_path(View(*RELAYS[:4], relay, end), PathRules(4, anywhere), random.Random(seed), pins, NOW)
        assert not pins.counters["second hop drawn beyond"]
    assert any(relay in path for path in paths([*RELAYS[:4], relay, public(9, EXIT)], 4))


def test_a_peer_and_those_that_hold_links_to_it_count_as_one_operator() -> None:
    holder = replace(public(1), operator=b"one")
    end = at_home(9, EXIT, holder, operator=b"two")
    others = [public(2), public(3)]
    assert paths([holder, *others, end], 3)
    same_network = public(4, RELAY, "20.1.0.9")
    assert network_of("20.1.0.9") == network_of(host(1))
    same_operator, own_operator = replace(public(5), operator=b"one"), replace(public(6), operator=b"two")
    for near in (same_network, same_operator, own_operator):
        none([holder, others[0], near, end], 3)


def test_only_relays_that_are_known_and_usable_count() -> None:
    stranger, exit_only, costly = public(1), public(2, EXIT), replace(public(3), tariff_step=7)
    inside, good = public(4, RELAY, "192.168.0.1"), public(5)
    end = at_home(9, EXIT, stranger, exit_only, costly)
    rules = PathRules(3, lambda name: not name.startswith("192.168."), max_tariff=3)
    others = [exit_only, costly, inside, good, public(6), public(7), public(8)]
    rng = random.Random(0)
    only = [found for found in others if found is not exit_only]
    with pytest.raises(CircuitError):
        choose_path(View(*only, end), rules, rng)
    with pytest.raises(CircuitError):
        choose_path(View(*only, at_home(9, EXIT, inside)), rules, rng)
    with pytest.raises(CircuitError):
        choose_path(View(*only, at_home(9, EXIT, good)), rules, rng, avoid=[good.peer])
    assert choose_path(View(*only, at_home(9, EXIT, inside, good)), rules, rng)[2] is good


def test_in_a_network_of_friends_the_first_hop_may_hold_the_link() -> None:
    gate, end = public(1), at_home(9, EXIT, public(1))
    for hops in (1, 2):
        for path in paths([gate, end], hops, diversity=False):
            assert path == (gate, end)


def test_there_several_may_be_at_home() -> None:
    gates = [public(number) for number in range(1, 4)]
    relay, end = at_home(8, RELAY, *gates), at_home(9, EXIT, *gates)
    with_both = [path for path in paths([*gates, relay, end], 4, diversity=False) if relay in path]
    assert with_both
    for path in with_both:
        assert (path[2], path[4]) == (relay, end)
        assert set(path) == {*gates, relay, end}
    none([*gates, end], 5, diversity=False)


def test_there_is_room_for_so_many_hops() -> None:
    gates = [public(number) for number in range(1, 6)]
    relay, end = at_home(8, RELAY, gates[0]), at_home(9, EXIT, gates[1])
    with_both = [path for path in paths([*gates, relay, end], 4, diversity=False, count=100) if relay in path]
    assert with_both
    for path in with_both:
        assert path[1:] == (gates[0], relay, gates[1], end)


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_every_hop_without_an_address_follows_one_that_holds_a_link(data: st.DataObject) -> None:
    publics = [
        public(number, data.draw(st.sampled_from([RELAY, EXIT, BOTH])), f"20.{data.draw(st.integers(1, 6))}.0.{number}")
        for number in range(1, data.draw(st.integers(2, 7)))
    ]
    homes = [
        at_home(
            20 + number,
            data.draw(st.sampled_from([RELAY, EXIT, BOTH])),
            *data.draw(st.lists(st.sampled_from(publics), min_size=1, max_size=3, unique_by=lambda found: found.peer)),
        )
        for number in range(data.draw(st.integers(0, 4)))
    ]
    rules = PathRules(data.draw(st.integers(1, 5)), anywhere, data.draw(st.booleans()))
    rng = random.Random(data.draw(st.integers(0, 2**32)))
    try:
        path = choose_pinned_path(View(*publics, *homes), rules, rng, PinnedHops(), NOW)
    except CircuitError:
        return
    assert len({found.peer for found in path}) == len(path) <= MAX_HOPS
    assert path[-1].roles & EXIT
    assert all(found.roles & RELAY for found in path[:-1])
    over_links = [place for place, found in enumerate(path) if not found.addresses]
    for place in over_links:
        assert path[place - 1].peer in {hold.relay for hold in path[place].via}
    assert 0 not in over_links
    assert len(path) <= rules.hops + len(over_links)
    if rules.diversity:
        networks = [network_of(name) for found in path for name, _ in found.addresses]
        assert len(set(networks)) == len(networks)
        assert len(over_links) <= 1
        assert all(place >= 3 for place in over_links)
        assert len(path) == rules.hops + len(over_links)


def test_it_is_explained() -> None:
    end = at_home(9, EXIT, *RELAYS[:3])
    peers, rules, pins = [*RELAYS, end], PathRules(3, anywhere), PinnedHops()
    path = [found.peer for found in choose_pinned_path(View(*peers), rules, random.Random(1), pins, NOW)]
    weighing = Weighing(Measurements(), LEANS["balanced"], 0.0)
    reasons = explain(path, peers, rules, weighing, pins)
    assert [each.chosen is not None for each in reasons] == [True] * 4
    assert reasons[2].why == "holds a link to the hop after it"
    assert (reasons[2].candidates, reasons[3].candidates) == (3, 1)
    assert {rival.found for rival in reasons[2].rivals} <= set(RELAYS[:3])
