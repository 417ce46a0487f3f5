from __future__ import annotations

import random
from collections import Counter
from dataclasses import replace
from itertools import permutations
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.errors import CircuitError, ConfigError, Reason
from peers.addresses import network_of
from peers.descriptor import Role
from peers.path_search import Candidate, PathRules, Steps, disjoint
from peers.paths import choose_path, path_of
from tests.peers.build import host, plain
from tunnel.path import Hop

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from peers.descriptor import Descriptor

RELAY, EXIT, BOTH = Role.RELAY, Role.EXIT, Role.RELAY | Role.EXIT


class View:
    def __init__(self, *descriptors: Descriptor) -> None:
        self.descriptors = descriptors

    def peers(self) -> Sequence[Descriptor]:
        return self.descriptors


def anywhere(_: str) -> bool:
    return True


def choose(
    view: View, hops: int, *, diversity: bool = True, avoid: Collection[Descriptor] = (), seed: int = 0
) -> tuple[Descriptor, ...]:
    rules = PathRules(hops, anywhere, diversity)
    return choose_path(view, rules, random.Random(seed), {found.peer for found in avoid})


def assert_no_path(view: View, hops: int, *, diversity: bool = True, avoid: Collection[Descriptor] = ()) -> None:
    for seed in range(5):
        with pytest.raises(CircuitError) as caught:
            choose(view, hops, diversity=diversity, avoid=avoid, seed=seed)
        assert caught.value.reason is Reason.NO_PATH


def is_path(path: Sequence[Descriptor], rules: PathRules) -> bool:
    """The rules once more, in other words."""
    if len({found.peer for found in path}) != len(path):
        return False
    if not path[-1].roles & EXIT or any(not found.roles & RELAY for found in path[:-1]):
        return False
    hosts = [[name for name, _ in found.addresses if rules.address_ok(name)] for found in path]
    if not all(hosts):
        return False
    networks = [network for names in hosts for network in {network_of(name) for name in names}]
    return not rules.diversity or len(set(networks)) == len(networks)


def test_roles() -> None:
    relay, exit_only, both = plain(1, RELAY, (host(1),)), plain(2, EXIT, (host(2),)), plain(3, BOTH, (host(3),))
    assert choose(View(relay, exit_only), 2) == (relay, exit_only)
    assert_no_path(View(relay), 1)
    assert_no_path(View(exit_only, plain(4, EXIT, (host(4),))), 2)
    for seed in range(20):
        assert choose(View(exit_only, both), 2, seed=seed) == (both, exit_only)
    assert_no_path(View(plain(5, Role.NONE, (host(5),)), exit_only), 2)


def test_no_peer_twice() -> None:
    both = plain(1, BOTH, (host(1),))
    assert choose(View(both), 1) == (both,)
    for diversity in (True, False):
        assert_no_path(View(both), 2, diversity=diversity)


def test_one_hop_per_network() -> None:
    near = plain(1, RELAY, ("20.1.0.1",)), plain(2, EXIT, ("20.1.255.1",))
    assert_no_path(View(*near), 2)
    assert choose(View(*near), 2, diversity=False) == near
    near = plain(1, RELAY, ("2001:db8:1::1",)), plain(2, EXIT, ("2001:db8:2::1",))
    assert_no_path(View(*near), 2)


def test_one_shared_network_among_several_is_one_too_many() -> None:
    relay = plain(1, RELAY, ("20.1.0.1", "2001:db8:1::1"))
    assert_no_path(View(relay, plain(2, EXIT, ("20.2.0.1", "2001:db8:2::1"))), 2)
    assert choose(View(relay, plain(2, EXIT, ("20.2.0.1", "2001:db9::1"))), 2)


def test_a_choice_that_blocks_the_rest_is_taken_back() -> None:
    # The wide relay shares a network with each of the others.
    wide = plain(1, RELAY, tuple(host(number) for number in (10, 11, 12)))
    narrow = [plain(number, RELAY, (host(number),)) for number in (10, 11, 12)]
    exit_only = plain(20, EXIT, (host(20),))
    for seed in range(50):
        path = choose(View(wide, *narrow, exit_only), 4, seed=seed)
        assert set(path[:-1]) == set(narrow)
        assert path[-1] == exit_only


def test_peers_to_avoid() -> None:
    peers = [plain(number, BOTH, (host(number),)) for number in range(4)]
    for seed in range(20):
        assert peers[0] not in choose(View(*peers), 3, avoid=peers[:1], seed=seed)
    assert_no_path(View(*peers), 3, avoid=peers[:2])


def test_only_addresses_that_may_be_dialled_count() -> None:
    inside = plain(1, RELAY, ("192.168.0.1",))
    mixed = plain(2, RELAY, ("192.168.0.2", "20.1.0.1"))
    exit_only = plain(3, EXIT, ("192.168.0.3", "20.2.0.1"))
    rules = PathRules(2, lambda name: not name.startswith("192.168."))
    for seed in range(10):
        path = choose_path(View(inside, mixed, exit_only), rules, random.Random(seed))
        assert path == (mixed, exit_only)
    assert [hop.addresses for hop in path_of(path, rules.address_ok)] == [(("20.1.0.1", 4433),), (("20.2.0.1", 4433),)]
    with pytest.raises(CircuitError):
        choose_path(View(inside, exit_only), rules, random.Random(0))


def test_a_peer_without_an_address_is_no_hop() -> None:
    assert_no_path(View(plain(1, EXIT, ())), 1)


def test_the_hops_of_a_path() -> None:
    relay, exit_only = plain(1, RELAY, (host(1),)), replace(plain(2, EXIT, (host(2), host(3))), tariff_step=5)
    assert path_of((relay, exit_only)) == (
        Hop(relay.peer, relay.link_key, relay.onion_keys[0], relay.addresses),
        Hop(exit_only.peer, exit_only.link_key, exit_only.onion_keys[0], exit_only.addresses, 5),
    )


@pytest.mark.parametrize("hops", [-1, 0, 6])
def test_wrong_numbers_of_hops(hops: int) -> None:
    with pytest.raises(ConfigError, match="1 to 5"):
        PathRules(hops, anywhere)


def test_every_peer_gets_its_turn_at_every_place() -> None:
    peers = [plain(number, BOTH, (host(number),)) for number in range(6)]
    rng = random.Random(1)
    rules = PathRules(3, anywhere)
    places = Counter((at, found) for _ in range(6000) for at, found in enumerate(choose_path(View(*peers), rules, rng)))
    assert len(places) == 18
    # 1,000 expected, standard deviation 29.
    assert all(850 < count < 1150 for count in places.values())


def test_a_peer_that_fits_badly_is_guard_no_more_often() -> None:
    # The wide relay leaves room for one other only, so it takes part when it is drawn before the two it clashes with.
    wide = plain(1, RELAY, (host(10), host(11)))
    others = [plain(number, RELAY, (host(number),)) for number in (10, 11, 12)]
    view = View(wide, *others, plain(20, EXIT, (host(20),)))
    places = Counter(path.index(wide) for seed in range(4000) if wide in (path := choose(view, 3, seed=seed)))
    # About 1,300 paths have it; half of them expected, standard deviation 18.
    assert abs(places[0] - places[1]) < 150


def test_many_peers_in_one_network_are_as_likely_as_any() -> None:
    crowd = [plain(number, EXIT, (f"20.1.{number}.1",)) for number in range(9)]
    alone = plain(100, EXIT, (host(100),))
    turns = Counter(choose(View(*crowd, alone), 1, seed=seed)[0] for seed in range(3000))
    assert len(turns) == 10
    assert all(200 < count < 400 for count in turns.values())


def test_an_impossible_large_network_is_given_up_in_time() -> None:
    # Each relay is in one of two networks and claims seven others: only pairs fit together.
    rng = random.Random(3)
    hosts = [(host(number % 2), *(host(rng.randrange(10, 20_000)) for _ in range(7))) for number in range(4096)]
    assert_no_path(View(*(plain(number, BOTH, names) for number, names in enumerate(hosts))), 4)


def test_a_search_ends_soon_after_its_bound() -> None:
    candidates = [
        Candidate(plain(number, RELAY, ()), frozenset({bytes([number % 2]), number.to_bytes(2)}))
        for number in range(300)
    ]
    steps = Steps(1000)
    assert disjoint(candidates, 3, frozenset(), steps) is None
    assert 1000 < steps.taken <= 1000 + 3 * len(candidates)


@st.composite
def networks(draw: st.DrawFn) -> list[Descriptor]:
    names = st.sampled_from(["20.1.0.1", "20.1.0.2", "20.2.0.1", "20.3.0.1", "20.4.0.1", "20.5.0.1", "10.0.0.1"])
    roles = st.sampled_from([Role.NONE, RELAY, EXIT, BOTH])
    drawn = draw(st.lists(st.tuples(roles, st.lists(names, max_size=3, unique=True)), max_size=7))
    return [plain(number, role, tuple(hosts)) for number, (role, hosts) in enumerate(drawn)]


@settings(max_examples=400, deadline=None)
@given(networks(), st.integers(1, 5), st.booleans(), st.sets(st.integers(0, 6), max_size=2), st.integers(0, 2**32))
def test_a_path_is_found_if_and_only_if_there_is_one(
    peers: list[Descriptor], hops: int, diversity: bool, shunned: set[int], seed: int
) -> None:
    rules = PathRules(hops, lambda name: not name.startswith("10."), diversity)
    allowed = [found for number, found in enumerate(peers) if number not in shunned]
    possible = {path for path in permutations(allowed, hops) if is_path(path, rules)}
    avoid = [peers[number].peer for number in shunned if number < len(peers)]
    if possible:
        assert choose_path(View(*peers), rules, random.Random(seed), avoid) in possible
    else:
        with pytest.raises(CircuitError):
            choose_path(View(*peers), rules, random.Random(seed), avoid)


def test_who_serves_only_those_it_chose_is_left_out_unless_named() -> None:
    view = View(plain(1, RELAY, (host(1),)), replace(plain(2, EXIT, (host(2),)), restricted=True))
    assert_no_path(view, 2)
    named = PathRules(2, anywhere, friends=frozenset({view.descriptors[1].peer}))
    assert choose_path(view, named, random.Random(0)) == view.descriptors
