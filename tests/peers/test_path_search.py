"""What a path must be, with all rules at once, and how often whom it is made of."""

from __future__ import annotations

import random
from collections import Counter
from dataclasses import replace
from itertools import combinations, permutations
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.errors import CircuitError
from core.ids import PeerKey
from peers.addresses import network_of
from peers.descriptor import Role
from peers.guards import APART_S, FAILURES, PinnedHops
from peers.path_draw import Place
from peers.path_search import PathRules
from peers.paths import choose_path, choose_pinned_path
from peers.region_order import is_in
from tests.harness.chance import fit
from tests.peers.build import NOW, host, plain
from tests.peers.test_paths import View, anywhere

if TYPE_CHECKING:
    from collections.abc import Sequence

    from peers.descriptor import Descriptor
    from peers.path_draw import Weigh

RELAY, EXIT, BOTH = Role.RELAY, Role.EXIT, Role.RELAY | Role.EXIT

SYSTEMS = {"20.1.0.1": 1, "20.2.0.1": 1, "20.3.0.1": 3, "20.4.0.1": 4}
"""The others are not known."""
HOSTS = [f"20.{number}.0.1" for number in range(1, 9)]


def peer(
    number: int, roles: Role = BOTH, *hosts: str, operator: bytes = b"", region: str = "", tariff: int = 0
) -> Descriptor:
    found = plain(number, roles, hosts or (host(number),))
    return replace(found, operator=operator, region=region, tariff_step=tariff)


def weigh_by(weights: dict[int, float]) -> Weigh:
    """Weigh peers by their number, for every place."""

    def weigh(candidates: Sequence[Descriptor], _place: Place) -> list[float]:
        return [weights[int.from_bytes(found.peer)] for found in candidates]

    return weigh


# -- the rules


def marks(found: Descriptor) -> set[object]:
    """What a hop may not share with another one, in other words."""
    hosts = [name for name, _ in found.addresses]
    systems = {("system", SYSTEMS[name]) for name in hosts if name in SYSTEMS}
    return {*map(network_of, hosts), *systems, *([("operator", found.operator)] if found.operator else [])}


def keeps(path: Sequence[Descriptor], rules: PathRules) -> bool:
    """The rules once more, in other words."""
    end = path[-1]
    return (
        end.roles & EXIT != 0
        and all(found.roles & RELAY for found in path[:-1])
        and not any(marks(one) & marks(other) for one, other in combinations(path, 2))
        and all(rules.min_tariff <= found.tariff_step <= rules.max_tariff for found in path)
        and len({found.tariff_step > 0 for found in path}) == 1
        and (not rules.regions or is_in(end.region, rules.regions))
        and not is_in(end.region, rules.excluded)
        and (not rules.excluded or end.region != "")
    )


peers_of_a_network = st.lists(
    st.builds(
        peer,
        st.just(0),
        st.sampled_from([RELAY, EXIT, BOTH, BOTH]),
        st.sampled_from(HOSTS),
        operator=st.sampled_from([b"", b"", b"one", b"two"]),
        region=st.sampled_from(["", "NL", "DE", "US-CA"]),
        tariff=st.sampled_from([0, 0, 1, 3]),
    ),
    min_size=1,
    max_size=7,
).map(lambda found: [replace(each, peer=PeerKey(number.to_bytes(32))) for number, each in enumerate(found)])

rules_of_a_client = st.builds(
    PathRules,
    hops=st.integers(1, 4),
    address_ok=st.just(anywhere),
    asn_of=st.just(SYSTEMS.get),
    regions=st.sampled_from([(), ("NL",), ("US", "DE")]),
    excluded=st.sampled_from([(), ("DE",), ("US",)]),
    min_tariff=st.sampled_from([0, 0, 0, 1]),
    max_tariff=st.sampled_from([0, 1, 2, 7, 7]),
)


@settings(max_examples=400, deadline=None)
@given(
    peers_of_a_network,
    rules_of_a_client,
    st.lists(st.sampled_from([0, 0.1, 1, 9]), min_size=7, max_size=7),
    st.integers(0, 2**32),
)
def test_a_path_keeps_all_rules_and_is_found_if_there_is_one(
    peers: list[Descriptor], rules: PathRules, weights: list[float], seed: int
) -> None:
    weigh = weigh_by(dict(enumerate(weights)))
    rng = random.Random(seed)
    if any(keeps(path, rules) for path in permutations(peers, rules.hops)):
        assert keeps(choose_path(View(*peers), rules, rng, weigh=weigh), rules)
        pinned = choose_pinned_path(View(*peers), rules, rng, PinnedHops(), NOW, weigh=weigh)
        assert keeps(pinned, rules)
    else:
        with pytest.raises(CircuitError):
            choose_path(View(*peers), rules, rng, weigh=weigh)
        with pytest.raises(CircuitError):
            choose_pinned_path(View(*peers), rules, rng, PinnedHops(), NOW, weigh=weigh)


def test_one_hop_per_autonomous_system() -> None:
    near = peer(1, RELAY, "20.1.0.1"), peer(2, EXIT, "20.2.0.1")
    assert choose_path(View(*near), PathRules(2, anywhere), random.Random(0)) == near
    with pytest.raises(CircuitError):
        choose_path(View(*near), PathRules(2, anywhere, asn_of=SYSTEMS.get), random.Random(0))


def test_one_hop_per_operator_and_none_of_it_without_diversity() -> None:
    same = peer(1, RELAY, operator=b"one"), peer(2, EXIT, operator=b"one")
    with pytest.raises(CircuitError):
        choose_path(View(*same), PathRules(2, anywhere), random.Random(0))
    assert choose_path(View(*same), PathRules(2, anywhere, diversity=False), random.Random(0)) == same
    other = peer(3, EXIT, operator=b"One")
    assert choose_path(View(*same, other), PathRules(2, anywhere), random.Random(0)) == (same[0], other)


def test_the_region_that_counts_is_the_one_that_is_believed() -> None:
    liar, honest = peer(1, EXIT, region="NL"), peer(2, EXIT, region="NL")

    def believed(found: Descriptor) -> str:
        return "" if found is liar else found.region

    rules = PathRules(1, anywhere, region_of=believed, regions=("NL",))
    for seed in range(20):
        assert choose_path(View(liar, honest), rules, random.Random(seed)) == (honest,)


# -- frequencies


@settings(max_examples=15, deadline=None)
@given(st.lists(st.floats(0.2, 4), min_size=2, max_size=7), st.integers(1, 3), st.integers(0, 2**32))
def test_exits_are_drawn_by_their_weights(weights: list[float], hops: int, seed: int) -> None:
    exits = [peer(number, EXIT) for number in range(len(weights))]
    relays = [peer(100 + number, RELAY) for number in range(4)]
    by_number = dict(enumerate(weights)) | {100 + number: 1.0 for number in range(4)}
    rng, rules = random.Random(seed), PathRules(hops, anywhere)
    pins = PinnedHops()
    turns = Counter(
        choose_pinned_path(View(*exits, *relays), rules, rng, pins, NOW, weigh=weigh_by(by_number))[-1]
        for _ in range(1500)
    )
    assert fit([turns[found] for found in exits], weights)


def test_weights_survive_that_only_one_of_each_network_is_tried() -> None:
    """Peers with the same marks stand in for each other in the search, not in the draw."""
    weights = {1: 1.0, 2: 5.0, 3: 2.0, 4: 3.0, 5: 1.0}
    crowd = [peer(number, EXIT, f"20.1.{number}.1") for number in (1, 2, 3)]
    alone = [peer(number, EXIT) for number in (4, 5)]
    rng = random.Random(4)
    view = View(*crowd, *alone)
    turns = Counter(
        choose_path(view, PathRules(1, anywhere), rng, weigh=weigh_by(weights))[0].peer for _ in range(8000)
    )
    assert fit([turns[found.peer] for found in (*crowd, *alone)], list(weights.values()))


def test_middle_hops_are_drawn_by_their_weights() -> None:
    weights = {number: float(number) for number in range(1, 6)} | {100: 1.0, 101: 1.0, 200: 1.0}
    middles = [peer(number, RELAY) for number in range(1, 6)]
    pins = PinnedHops()
    kept = [peer(100, RELAY), peer(101, RELAY)]
    rng, rules = random.Random(5), PathRules(4, anywhere)
    pins.pin_guard(kept[0].peer, NOW, rng)
    pins.pin_second(kept[1].peer, NOW, rng)
    for filler in range(3):
        (pins.pin_guard if filler == 0 else pins.pin_second)(peer(300 + filler).peer, NOW, rng)
    pins.pin_second(peer(303).peer, NOW, rng)
    view = View(*middles, *kept, peer(200, EXIT))
    turns = Counter(
        choose_pinned_path(view, rules, rng, pins, NOW, weigh=weigh_by(weights))[2].peer for _ in range(6000)
    )
    assert fit([turns[found.peer] for found in middles], [1, 2, 3, 4, 5])


def test_whom_nobody_should_draw_is_drawn_when_nobody_else_fits() -> None:
    weights = {1: 0.0, 2: 1.0, 3: 1.0}
    dropped, good = peer(1, EXIT), peer(2, EXIT, "20.9.0.1")
    relay = peer(3, RELAY, "20.9.0.2")
    rules = PathRules(1, anywhere)
    assert {
        choose_path(View(dropped, good), rules, random.Random(seed), weigh=weigh_by(weights)) for seed in range(50)
    } == {(good,)}
    path = choose_path(View(dropped, good, relay), PathRules(2, anywhere), random.Random(1), weigh=weigh_by(weights))
    assert path == (relay, dropped)


@pytest.mark.parametrize("hops", [2, 3])
def test_guards_beyond_the_usual_number_are_drawn_by_the_weights_to_keep(hops: int) -> None:
    relays = [peer(number, RELAY) for number in range(1, 9)]

    def weigh(candidates: Sequence[Descriptor], place: Place) -> list[float]:
        return [1e6 if place is Place.MIDDLE and found.peer == relays[-1].peer else 1.0 for found in candidates]

    view = View(*relays, peer(100, EXIT))
    thirds: Counter[bytes] = Counter()
    for seed in range(2000):
        rng, pins = random.Random(seed), PinnedHops()
        for kept in (0, 1):
            pins.pin_guard(relays[kept].peer, NOW, rng)
            for before in reversed(range(FAILURES)):
                pins.guards.failed(relays[kept].peer, NOW - before * APART_S)
        path = choose_pinned_path(view, PathRules(hops, anywhere), rng, pins, NOW, weigh=weigh)
        assert pins.guards.peers[2] == path[0].peer
        thirds[path[0].peer] += 1
    assert fit([thirds[found.peer] for found in relays[2:]], [1.0] * 6)


def test_guards_are_drawn_by_the_weights_to_keep_and_stay_for_a_thousand_paths() -> None:
    relays = [peer(number, RELAY) for number in range(6)]
    exits = [peer(100 + number, EXIT) for number in range(3)]
    asked: Counter[Place] = Counter()

    def weigh(candidates: Sequence[Descriptor], place: Place) -> list[float]:
        asked[place] += 1
        return [float(1 + int.from_bytes(found.peer)) if place is Place.KEPT else 1.0 for found in candidates]

    firsts: Counter[bytes] = Counter()
    for seed in range(2000):
        rng, pins = random.Random(seed), PinnedHops()
        path = choose_pinned_path(View(*relays, *exits), PathRules(2, anywhere), rng, pins, NOW, weigh=weigh)
        firsts[path[0].peer] += 1
    assert fit([firsts[found.peer] for found in relays], [1, 2, 3, 4, 5, 6])
    asked.clear()
    guards = {
        choose_pinned_path(View(*relays, *exits), PathRules(2, anywhere), rng, pins, NOW, weigh=weigh)[0].peer
        for _ in range(1000)
    }
    assert len(guards) == 1
    assert asked == {Place.EXIT: 1000}
