"""Whom a client holds on to: for how long, when more are drawn, and what an attacker can make of it."""

from __future__ import annotations

import random
from collections import Counter
from typing import TYPE_CHECKING, Final

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.errors import CircuitError
from core.ids import PeerKey
from peers.descriptor import Role
from peers.guards import (
    APART_S,
    DAY_S,
    FAILURES,
    FIRST_REST_S,
    GUARDS,
    PATIENCE_S,
    REST_S,
    SECOND_HOPS,
    Pin,
    PinList,
    PinnedHops,
    day_of,
)
from peers.path_search import PathRules
from peers.paths import choose_pinned_path
from tests.peers.build import NOW, host, plain

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from peers.descriptor import Descriptor

RELAY, EXIT, BOTH = Role.RELAY, Role.EXIT, Role.RELAY | Role.EXIT
TODAY: Final = NOW // DAY_S


def key(number: int) -> PeerKey:
    return PeerKey(number.to_bytes(32))


def pins_of(*numbers: int, until_day: int = TODAY + 10, proved: bool = True) -> list[Pin]:
    return [Pin(key(number), until_day, proved) for number in numbers]


def relays(count: int) -> list[Descriptor]:
    return [plain(number, RELAY, (host(number),)) for number in range(1, count + 1)]


def exits(count: int) -> list[Descriptor]:
    return [plain(number, EXIT, (host(number),)) for number in range(1001, 1001 + count)]


class Client:
    """Chooses as a node does. Whoever is avoided is forgiven one by one, the first first, until there is a path."""

    def __init__(self, peers: Sequence[Descriptor], hops: int = 3, seed: int = 0) -> None:
        self.known = list(peers)
        self.rules = PathRules(hops, lambda _: True)
        self.rng = random.Random(seed)
        self.pins = PinnedHops()
        self.now = float(NOW)

    def peers(self) -> Sequence[Descriptor]:
        return self.known

    def choose(self, avoid: Collection[PeerKey] = (), last: PeerKey | None = None) -> list[PeerKey]:
        path = choose_pinned_path(self, self.rules, self.rng, self.pins, self.now, avoid, last)
        assert len(path) == self.rules.hops
        assert len({hop.addresses for hop in path}) == len(path)
        return [hop.peer for hop in path]

    def path(self, avoid: Sequence[PeerKey] = (), last: PeerKey | None = None) -> list[PeerKey]:
        for forgiven in range(len(avoid)):
            try:
                return self.choose(avoid[forgiven:], last)
            except CircuitError:
                continue
        return self.choose((), last)

    def tried(self, path: Sequence[PeerKey], served: int, at_fault: bool = False, online: bool = True) -> None:
        self.pins.tried(path, served, at_fault, self.now, online)

    def built(self, avoid: Sequence[PeerKey] = (), last: PeerKey | None = None) -> list[PeerKey]:
        path = self.path(avoid, last)
        self.tried(path, len(path))
        return path

    def dead(self, place: int, peer: PeerKey) -> None:
        """Dial or create in vain until this hop is left out."""
        path = [key(0)] * self.rules.hops
        path[place] = peer
        self.tried_again_and_again(path, place)

    def tried_again_and_again(self, path: Sequence[PeerKey], served: int) -> None:
        for before in reversed(range(FAILURES)):
            self.pins.tried(path, served, True, self.now - before * APART_S, True)


# -- lives


def test_lives_are_drawn_in_their_bounds_and_end() -> None:
    rng = random.Random(1)
    for terms in (GUARDS, SECOND_HOPS):
        lives = []
        for _ in range(4000):
            pins = PinList(terms)
            pins.add(key(1), NOW, rng)
            pins.served(key(1))
            lives.append(pins.proved[0].until_day - TODAY)
        assert (min(lives), max(lives)) == (terms.shortest_days, terms.longest_days)
        mean = sum(lives) / len(lives)
        # The longer of two drawn between 1 and 22: 15.2 in the mean, standard deviation of the mean 0.08.
        assert mean == pytest.approx(60 if terms is GUARDS else 15.2, abs=0.5)


def test_a_peer_is_kept_through_its_last_day() -> None:
    pins = PinList(GUARDS, pins_of(1, until_day=TODAY) + pins_of(2, until_day=TODAY + 1))
    end_of_today = (TODAY + 1) * DAY_S
    assert not pins.expire(end_of_today - 1)
    assert pins.expire(end_of_today)
    assert pins.peers == (key(2),)


def test_a_life_that_a_wrong_clock_gave_is_shortened() -> None:
    pins = PinList(SECOND_HOPS, pins_of(1, until_day=TODAY + 5000))
    assert pins.expire(NOW)
    assert pins.proved[0].until_day == TODAY + SECOND_HOPS.longest_days


def test_what_expired_is_replaced() -> None:
    client = Client([*relays(30), *exits(3)])
    before = [client.built(), client.pins.guards.peers, client.pins.seconds.peers]
    client.now += 23 * DAY_S
    assert client.built()[0] == before[0][0]
    assert client.pins.guards.peers == before[1]
    assert not {*client.pins.seconds.peers} & {*before[2]} or client.pins.seconds.peers != before[2]
    client.now += 60 * DAY_S
    client.built()
    assert len(client.pins.guards) == GUARDS.usual
    assert all(day_of(client.now) <= pin.until_day for pin in client.pins.guards.proved)


# -- what paths are made of


def test_a_path_begins_with_the_first_guard_and_one_of_four() -> None:
    client = Client([*relays(30), *exits(5)])
    paths = [client.built() for _ in range(400)]
    assert {path[0] for path in paths} == {client.pins.guards.peers[0]}
    assert len(client.pins.guards) == 2
    seconds = Counter(path[1] for path in paths)
    assert {*seconds} == {*client.pins.seconds.peers}
    assert len(seconds) == 4
    assert all(60 < count < 140 for count in seconds.values())
    assert len({path[2] for path in paths}) == 5
    assert client.pins.counters == {"guard drawn": 2, "second hop drawn": 4}


@pytest.mark.parametrize("hops", [1, 2, 3, 4, 5])
def test_every_length(hops: int) -> None:
    client = Client([*relays(30), *exits(5)], hops)
    paths = [client.built() for _ in range(300)]
    assert len({path[0] for path in paths}) == (5 if hops == 1 else 1)
    assert len(client.pins.seconds) == (4 if hops > 2 else 0)
    if hops > 3:
        assert len({path[2] for path in paths}) > 20


def test_the_other_guard_is_used_while_the_first_is_avoided() -> None:
    client = Client([*relays(30), *exits(5)])
    client.built()
    first, second = client.pins.guards.peers
    assert client.choose([first])[0] == second
    assert client.choose()[0] == first
    with pytest.raises(CircuitError):
        client.choose([first, second])
    with pytest.raises(CircuitError):
        client.choose(client.pins.seconds.peers)
    assert len(client.pins.guards) == 2
    assert len(client.pins.seconds) == 4


def test_guards_and_second_hops_are_different_peers_where_there_are_enough() -> None:
    for seed in range(20):
        client = Client([*relays(6), *exits(1)], seed=seed)
        client.built()
        assert not {*client.pins.guards.peers} & {*client.pins.seconds.peers}


def test_guards_are_in_different_networks_where_there_are_some() -> None:
    crowd = [plain(number, RELAY, (f"20.1.{number}.1",)) for number in range(1, 20)]
    for seed in range(20):
        client = Client([*crowd, *relays(50)[40:42], *exits(1)], hops=2, seed=seed)
        client.built()
        networks = {peer for peer in client.pins.guards.peers if int.from_bytes(peer) < 20}
        assert len(networks) <= 1


# -- when more are drawn


def test_a_dead_guard_is_passed_over_and_comes_back() -> None:
    client = Client([*relays(30), *exits(5)])
    client.built()
    first, second = client.pins.guards.peers
    client.dead(0, first)
    assert client.built()[0] == second
    assert len(client.pins.guards) == 2
    client.now += REST_S + 1
    assert client.built()[0] == first


def test_many_circuits_that_fail_at_once_are_one_failure() -> None:
    client = Client([*relays(30), *exits(5)])
    client.built()
    first, second = client.pins.guards.peers
    for guard in (first, second):
        for _ in range(20):
            client.tried([guard, key(0), key(0)], 0, at_fault=True)
            client.now += APART_S / 20 - 0.001
    assert client.built()[0] == first
    assert client.pins.guards.peers == (first, second)


def test_who_fails_on_and_on_rests_for_longer_each_time_and_who_serves_begins_anew() -> None:
    client = Client([*relays(30), *exits(5)])
    client.built()
    first, second = client.pins.guards.peers

    def rest_s() -> float:
        began = client.now
        while client.path()[0] == second:
            client.now += 0.5
        return client.now - began

    client.dead(0, first)
    rests = [rest_s()]
    for _ in range(5):
        client.tried([first, key(0), key(0)], 0, at_fault=True)
        rests.append(rest_s())
    assert rests == [FIRST_REST_S * 2**count for count in range(5)] + [REST_S]
    assert client.built()[0] == first
    client.tried([first, key(0), key(0)], 0, at_fault=True)
    assert client.path()[0] == first, "once is not enough"
    client.now += APART_S
    client.tried([first, key(0), key(0)], 0, at_fault=True)
    assert rest_s() == FIRST_REST_S


def test_another_guard_is_drawn_when_all_are_dead_and_the_first_is_taken_again() -> None:
    client = Client([*relays(30), *exits(5)])
    client.built()
    first, second = client.pins.guards.peers
    client.built([first])
    client.dead(0, first)
    client.dead(0, second)
    third = client.built()[0]
    assert third not in (first, second)
    assert client.pins.counters["guard drawn beyond"] == 1
    assert client.path()[0] == third
    client.now += REST_S + 1
    assert client.built()[0] == first
    # The third has served, so it knows of this client, and is the next choice from now on.
    assert client.pins.guards.peers == (first, second, third)


def test_a_guard_that_never_served_is_let_go_of() -> None:
    client = Client([*relays(30), *exits(5)])
    client.built()
    first, second = client.pins.guards.peers
    client.dead(0, first)
    client.dead(0, second)
    client.path()
    assert len(client.pins.guards) == 3
    client.now += REST_S + 1
    client.built()
    assert client.pins.guards.peers == (first, second)


def test_without_any_link_no_guard_is_at_fault() -> None:
    client = Client([*relays(30), *exits(5)])
    client.built()
    first, second = client.pins.guards.peers
    for _ in range(50):
        for guard in (first, second):
            client.tried([guard, key(0), key(0)], 0, at_fault=True, online=False)
        assert client.path()[0] == first
    assert len(client.pins.guards) == 2


def test_dead_second_hops_are_replaced_when_none_is_left() -> None:
    client = Client([*relays(30), *exits(5)])
    guard = client.built()[0]
    four = client.pins.seconds.peers
    for second in four:
        assert len(client.pins.seconds) == 4
        client.tried_again_and_again([guard, second, key(0)], 1)
    assert client.built()[1] not in four
    assert client.pins.counters["second hop drawn beyond"] == 1


def test_more_than_the_usual_number_are_used_only_if_it_must_be() -> None:
    client = Client([*relays(30), *exits(5)])
    client.built()
    first, second = client.pins.guards.peers
    client.built([first])
    for guard in (first, second):
        client.dead(0, guard)
    third = client.built()[0]
    client.now += REST_S + 1
    with pytest.raises(CircuitError):
        client.choose([first, second])
    # Who stands in the network of a guard cannot be reached through it.
    near = [plain(2000 + at, EXIT, (name,)) for at, name in enumerate(_hosts(client, first, second))]
    both = plain(3000, EXIT, _hosts(client, first, second))
    client.known += [*near, both]
    assert client.built(last=near[0].peer)[0] == second
    assert client.built(last=near[1].peer)[0] == first
    for _ in range(20):
        assert client.built([third, first, second], last=both.peer)[0] == third
    assert len(client.pins.guards) == 3


def _hosts(client: Client, *peers: PeerKey) -> tuple[str, ...]:
    return tuple(found.addresses[0][0][:-1] + "9" for peer in peers for found in client.known if found.peer == peer)


def test_there_is_a_bound() -> None:
    client = Client([*relays(60), *exits(5)])
    for _ in range(GUARDS.most - GUARDS.usual):
        client.built()
        for guard in client.pins.guards.peers:
            client.dead(0, guard)
    client.built()
    for guard in client.pins.guards.peers:
        client.dead(0, guard)
    # There is nothing better than to try one of them again.
    assert client.path()[0] in client.pins.guards.peers
    assert len(client.pins.guards) == GUARDS.most
    assert client.pins.counters["bound reached"]
    client.now += REST_S + 1
    assert client.path()[0] == client.pins.guards.peers[0]


def test_a_client_that_starts_waits_for_its_guards_to_become_known() -> None:
    everybody = [*relays(30), *exits(5)]
    client = Client(everybody)
    client.built()
    first = client.pins.guards.peers[0]
    client.pins = PinnedHops(pins_of(int.from_bytes(first)), pins_of(1001))
    client.known = [found for found in everybody if found.peer != first]
    client.pins.guards.add(key(777), client.now, client.rng)
    with pytest.raises(CircuitError):
        client.path()
    assert len(client.pins.guards) == 2
    client.now += PATIENCE_S / 2
    client.known = everybody
    assert client.path()[0] == first
    client.known = [found for found in everybody if found.peer != first]
    client.now += PATIENCE_S
    assert client.path()[0] not in (first, key(777))


# -- small networks


@st.composite
def networks(draw: st.DrawFn) -> list[Descriptor]:
    names = st.sampled_from([f"20.{number}.0.1" for number in range(5)])
    roles = st.sampled_from([RELAY, EXIT, BOTH])
    drawn = draw(st.lists(st.tuples(roles, st.lists(names, min_size=1, max_size=2, unique=True)), max_size=7))
    return [plain(number + 1, role, tuple(hosts)) for number, (role, hosts) in enumerate(drawn)]


@settings(max_examples=300, deadline=None)
@given(
    networks(), st.integers(1, 4), st.lists(st.lists(st.integers(1, 7), max_size=4), min_size=1, max_size=6), st.data()
)
def test_whenever_there_is_a_path_one_is_found(
    peers: list[Descriptor], hops: int, avoided: list[list[int]], data: st.DataObject
) -> None:
    client = Client(peers, hops, data.draw(st.integers(0, 99)))
    for numbers in avoided:
        last = data.draw(st.sampled_from([None, *(found.peer for found in peers)]))
        avoid = [key(number) for number in numbers if key(number) != last]
        if _possible(client, last):
            path = client.path(avoid, last)
            assert last in (None, path[-1])
            client.tried(path, data.draw(st.integers(0, hops)), data.draw(st.booleans()))
        else:
            with pytest.raises(CircuitError):
                client.path(avoid, last)


def _possible(client: Client, last: PeerKey | None) -> bool:
    """Whether there is a path for somebody who holds on to nobody."""
    other = Client(client.known, client.rules.hops)
    try:
        other.choose((), last)
    except CircuitError:
        return False
    return True


# -- attacks


@pytest.mark.parametrize("seed", [0, 1, *(pytest.param(seed, marks=pytest.mark.long) for seed in (2, 3, 4))])
@pytest.mark.parametrize("alone", [True, False])
def test_an_exit_that_ends_every_circuit_learns_no_more_guards(seed: int, alone: bool) -> None:
    """After each end all hops are avoided for a while, as if anyone might be to blame."""
    hostile = exits(1)[0].peer
    client = Client([*relays(60), *exits(1 if alone else 8)], seed=seed)
    guards, seconds, thirds = set(), set(), set()
    avoid: dict[PeerKey, float] = {}
    for _ in range(1000):
        client.now += client.rng.uniform(0.0, 3.0)
        avoid = {peer: until for peer, until in avoid.items() if until > client.now}
        blamed = [peer for peer in sorted(avoid, key=avoid.__getitem__) if peer != hostile]
        guard, second, third = client.built(blamed, hostile)
        guards.add(guard)
        seconds.add(second)
        thirds.add(third)
        for peer in (third, guard, second):
            avoid[peer] = client.now + client.rng.choice([20.0, 40.0, 60.0])
    assert thirds == {hostile}
    assert len(guards) <= 2
    assert len(seconds) <= 4
    assert not client.pins.counters["guard drawn beyond"]
    assert not client.pins.counters["second hop drawn beyond"]


def test_an_exit_in_the_networks_of_the_guards_gets_to_see_one_more() -> None:
    client = Client([*relays(60), *exits(3)])
    client.built()
    hostile = plain(3000, EXIT, _hosts(client, *client.pins.guards.peers))
    client.known.append(hostile)
    guards = set()
    avoid: list[PeerKey] = []
    for _ in range(300):
        path = client.built(avoid, hostile.peer)
        guards.add(path[0])
        avoid = [*avoid, *path[:2]][-client.rng.randint(2, 30) :]
    assert len(guards) == 1
    assert len(client.pins.guards) == 3


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_no_list_of_avoided_peers_makes_a_client_draw(data: st.DataObject) -> None:
    client = Client([*relays(12), *exits(4)], seed=data.draw(st.integers(0, 99)))
    everybody = st.lists(st.sampled_from([found.peer for found in client.known]), unique=True)
    for _ in range(20):
        client.built(data.draw(everybody))
    assert len(client.pins.guards) <= 2
    assert len(client.pins.seconds) <= 4


@pytest.mark.parametrize("served", [2, 3])
def test_what_an_exit_can_bring_about_is_held_against_nobody_before_it(served: int) -> None:
    client = Client([*relays(12), *exits(4)])
    for _ in range(100):
        client.tried(client.path(), served, at_fault=served < 3)
    assert len(client.pins.guards) == 2
    assert len(client.pins.seconds) == 4
