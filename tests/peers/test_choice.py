"""Regions in their order, and choices that lean on what was measured."""

from __future__ import annotations

import random
from collections import Counter
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.errors import CircuitError, Reason
from peers.choice import Choice, Moment, Weighing
from peers.descriptor import Role
from peers.directory import Directory
from peers.guards import PinnedHops
from peers.measurements import Measurements
from peers.nearness import from_nowhere
from peers.path_draw import Place
from peers.path_search import PathRules
from peers.scores import LEANS
from tests.harness.chance import fit
from tests.peers.build import NOW, host, plain
from tunnel.path import Wish

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from core.ids import PeerKey
    from peers.descriptor import Descriptor
    from peers.nearness import Expect, SeenFrom

RELAYS = [plain(number, Role.RELAY, (host(number),)) for number in range(1, 8)]


def exit_in(number: int, region: str, *, tariff: int = 0) -> Descriptor:
    return replace(plain(number, Role.EXIT, (host(number),)), region=region, tariff_step=tariff)


NL, NL2, DE, US = exit_in(101, "NL"), exit_in(102, "NL"), exit_in(103, "DE"), exit_in(104, "US-CA")


class Client:
    """A client that knows these exits, and seven relays that all ask the same."""

    def __init__(
        self,
        *exits: Descriptor,
        regions: tuple[str, ...] = (),
        excluded: tuple[str, ...] = (),
        switch_back: bool = True,
        mode: str = "balanced",
        hops: int = 3,
        max_tariff: int = 7,
        seen_from: SeenFrom = from_nowhere,
        seed: int = 7,
        tariff: int = 0,
    ) -> None:
        self.directory = Directory()
        for found in (*(replace(relay, tariff_step=tariff) for relay in RELAYS), *exits):
            assert self.directory.insert(found, None)
        rules = PathRules(hops, lambda _: True, regions=regions, excluded=excluded, max_tariff=max_tariff)
        self.measurements, self.pins = Measurements(), PinnedHops()
        self.choice = Choice(
            self.directory,
            rules,
            LEANS[mode],
            switch_back,
            self.pins,
            self.measurements,
            random.Random(seed),
            seen_from=seen_from,
        )

    def site(self, **rules: Any) -> Choice:
        """A choice for a site for which the user wants these rules."""
        return self.choice.for_site(replace(self.choice.rules, **rules), self.choice.lean)

    def end(
        self, *, avoid: Collection[Descriptor] = (), blamed: Collection[Descriptor] = (), last: PeerKey | None = None
    ) -> Descriptor:
        """The exit of a path that avoids some, of whom something is held against those that are blamed."""
        gone = [found.peer for found in (*avoid, *blamed)]
        moment = Moment(NOW, 0.0, gone, last, [found.peer for found in blamed])
        path = self.choice.path(moment)
        assert len({found.peer for found in path}) == self.choice.rules.hops
        return path[-1]

    def ends_for(self, wish: Wish, *, avoid: Collection[Descriptor] = ()) -> set[Descriptor]:
        """Where 30 paths for one flow end."""
        moment = Moment(NOW, 0.0, [found.peer for found in avoid], wish=wish)
        return {self.choice.path(moment)[-1] for _ in range(30)}

    def ends(self, count: int = 40, *, blamed: Collection[Descriptor] = ()) -> set[Descriptor]:
        return {self.end(blamed=blamed) for _ in range(count)}


# -- what one flow wants of its exit


def serving(found: Descriptor, summary: bytes) -> Descriptor:
    return replace(found, exit_policy=summary)


def test_a_path_ends_where_the_port_is_served() -> None:
    web, all_but_mail, broken = serving(NL, b"+80,443"), serving(NL2, b"-25"), serving(DE, b"everything")
    client = Client(web, all_but_mail, broken, US)
    assert client.ends_for(Wish(443)) == {web, all_but_mail, US}
    assert client.ends_for(Wish(22)) == {all_but_mail, US}
    assert client.ends_for(Wish(25)) == {US}, "which does not say what it serves"
    assert client.ends_for(Wish(443, frozenset({web.peer, US.peer}))) == {all_but_mail}
    assert client.ends_for(Wish(0)) == client.ends_for(Wish()) == {web, all_but_mail, broken, US}
    with pytest.raises(CircuitError):
        client.ends_for(Wish(25, frozenset({US.peer})))


def test_what_exits_offer() -> None:
    client = Client(serving(NL, b"+80,443"), serving(DE, b"-1-22,25"), regions=("NL",))
    assert [client.choice.serves(NL.peer, port) for port in (22, 443)] == [False, True]
    assert client.choice.serves(US.peer, 22), "nothing is known of it"
    assert [client.choice.anyone_serves(port) for port in (22, 80, 8000)] == [False, True, False], "in that region"
    assert (client.choice.offer(NL.peer), client.choice.offer(US.peer)) == ("ports 80,443", "")
    assert Client().choice.anyone_serves(22), "there is no exit yet"
    assert Client(DE, regions=("NL",)).choice.anyone_serves(22), "nor in that region"
    dear = exit_in(110, "NL", tariff=5)
    assert not Client(serving(NL, b"+80"), dear, max_tariff=3).choice.anyone_serves(22)


def test_a_port_that_the_first_region_does_not_serve_leads_to_the_next() -> None:
    client = Client(serving(NL, b"+443"), DE, regions=("NL", "DE"), switch_back=False)
    assert client.ends_for(Wish(22)) == {DE}
    assert client.ends_for(Wish(443)) == {serving(NL, b"+443")}
    assert client.choice.rank(NL.peer, None) == 0, "one flow does not move all others"
    assert client.ends_for(Wish(443, frozenset({NL.peer}))) == {DE}


def test_for_what_one_flow_wants_no_other_guard_is_drawn() -> None:
    """An exit that alone serves a port, and stands where both guards do, wants the client to draw a third."""
    client = Client(serving(NL, b"-22"), hops=2)
    client.end()
    guards = client.pins.guards.peers
    assert len(guards) == 2
    places = tuple(address for found in RELAYS if found.peer in guards for address in found.addresses)
    alone = replace(exit_in(105, "NL"), addresses=places, exit_policy=b"+22")
    assert client.directory.insert(alone, None)
    with pytest.raises(CircuitError):
        client.ends_for(Wish(22))
    with pytest.raises(CircuitError):
        client.ends_for(Wish(but=frozenset({NL.peer})))
    assert client.pins.guards.peers == guards


# -- regions in their order


def test_exits_come_from_the_first_region_that_has_one() -> None:
    client = Client(NL, NL2, DE, US, regions=("NL", "DE"))
    assert client.ends() == {NL, NL2}
    assert client.ends(blamed=[NL]) == {NL2}
    assert client.ends(blamed=[NL, NL2]) == {DE}
    assert Client(DE, US, regions=("NL", "DE")).ends() == {DE}


def test_to_avoid_an_exit_for_now_is_no_reason_to_leave_its_region() -> None:
    client = Client(NL, DE, regions=("NL", "DE"))
    with pytest.raises(CircuitError) as caught:
        client.end(avoid=[NL])
    assert caught.value.reason is Reason.NO_PATH


def test_when_all_exits_are_blamed_the_least_blamed_that_the_caller_forgives_is_taken() -> None:
    client = Client(NL, DE, regions=("NL", "DE"))
    with pytest.raises(CircuitError):
        client.end(blamed=[NL, DE])
    moment = Moment(NOW, 0.0, [NL.peer], None, [NL.peer, DE.peer])
    assert client.choice.path(moment)[-1] == DE


def test_back_to_the_first_region_as_soon_as_it_works() -> None:
    client = Client(NL, DE, regions=("NL", "DE"))
    assert client.end(blamed=[NL]) == DE
    assert client.end() == NL


def test_or_to_stay_until_the_region_has_no_exit_any_more() -> None:
    client = Client(NL, DE, regions=("NL", "DE"), switch_back=False)
    assert client.end() == NL
    assert client.end(blamed=[NL]) == DE
    assert client.ends() == {DE}
    assert (client.choice.rank(DE.peer, None), client.choice.rank(NL.peer, None)) == (0, 1)
    assert client.end(blamed=[DE]) == NL
    assert client.ends() == {NL}


def test_a_region_whose_exits_may_not_be_used_is_passed_over() -> None:
    dear = exit_in(110, "NL", tariff=5)
    assert Client(dear, DE, regions=("NL", "DE"), max_tariff=3).ends() == {DE}
    near = replace(plain(111, Role.EXIT, tuple(host(number) for number in range(1, 8))), region="NL")
    assert Client(near, DE, regions=("NL", "DE"), hops=2).ends() == {DE}


def test_there_is_no_other_region_than_those_wanted() -> None:
    with pytest.raises(CircuitError):
        Client(DE, US, exit_in(120, ""), regions=("NL",)).end()
    with pytest.raises(CircuitError):
        Client(US, exit_in(120, ""), excluded=("US",)).end()
    assert Client(NL, DE, US, excluded=("US", "NL")).ends() == {DE}


def test_flows_keep_the_exit_that_they_have() -> None:
    client = Client(NL, DE, regions=("NL", "DE"))
    assert client.end(last=DE.peer) == DE
    with pytest.raises(CircuitError):
        Client(NL, DE, regions=("NL",)).end(last=DE.peer)


@settings(max_examples=100, deadline=None)
@given(
    st.lists(st.sampled_from(["", "NL", "DE", "US-CA", "FR"]), min_size=1, max_size=6),
    st.lists(st.sampled_from(["NL", "DE", "US"]), max_size=3, unique=True),
    st.sampled_from([(), ("DE",), ("US", "FR")]),
    st.booleans(),
    st.lists(st.sets(st.integers(0, 5), max_size=4), min_size=1, max_size=5),
)
def test_never_outside_the_allowed_regions_and_never_worse_than_need_be(
    regions: list[str], wanted: list[str], excluded: tuple[str, ...], switch_back: bool, blamed: list[set[int]]
) -> None:
    exits = [exit_in(100 + number, region) for number, region in enumerate(regions)]
    client = Client(*exits, regions=tuple(wanted), excluded=excluded, switch_back=switch_back)
    countries = {found: found.region[:2] for found in exits}
    limited = bool(wanted or excluded)
    allowed = [
        found
        for found, country in countries.items()
        if not limited or (country and (not wanted or country in wanted) and country not in excluded)
    ]
    for numbers in blamed:
        held = [found for number, found in enumerate(exits) if number in numbers]
        free = [found for found in allowed if found not in held]
        try:
            end = client.end(blamed=held)
        except CircuitError:
            assert not free
            continue
        assert end in free
        if wanted and switch_back:
            best = min(wanted.index(countries[found]) for found in free)
            assert wanted.index(countries[end]) == best


# -- an exit beside one that is in use


def test_a_spare_exit_is_drawn_from_the_region_that_is_in_use() -> None:
    client = Client(NL, NL2, DE, US)
    assert client.ends() == {NL, NL2, DE, US}
    moment = Moment(NOW, 0.0, in_use=[NL.peer])
    assert {client.choice.path(moment)[-1] for _ in range(40)} == {NL2}
    lonely = Moment(NOW, 0.0, in_use=[US.peer])
    assert len({client.choice.path(lonely)[-1] for _ in range(60)}) > 1


def test_a_spare_exit_costs_no_guard() -> None:
    """One that only another guard could reach is not worth showing this client to one more peer."""
    client = Client(NL, DE)
    client.end()
    guards = client.pins.guards.peers
    hosts = tuple(found.addresses[0][0] for found in RELAYS if found.peer in guards)
    client.directory.insert(replace(plain(130, Role.EXIT, hosts), region="NL"), None)
    for _ in range(30):
        assert client.choice.path(Moment(NOW, 0.0, in_use=[NL.peer]))[-1] in (NL, DE)
    assert client.pins.guards.peers == guards


def test_which_exit_new_flows_would_rather_have() -> None:
    anywhere = Client(NL, NL2, DE).choice
    assert [anywhere.rank(found.peer, None) for found in (NL, DE)] == [0, 0]
    assert [anywhere.rank(found.peer, NL.peer) for found in (NL2, DE)] == [0, 1]
    wanted = Client(NL, DE, US, regions=("DE", "NL")).choice
    assert [wanted.rank(found.peer, NL.peer) for found in (DE, NL, US)] == [0, 1, 2]


# -- weights


def measured(client: Client, slow: Descriptor) -> None:
    """Both exits are known well; one of them is slow."""
    for _ in range(40):
        for found in (NL, DE):
            client.measurements.built([found.peer], 0.0)
            client.measurements.answered([found.peer], 0.8 if found is slow else 0.02, 0.0)


@pytest.mark.parametrize(
    ("mode", "low", "high"), [("speed", 0.75, 0.99), ("balanced", 0.6, 0.9), ("privacy", 0.5, 0.65)]
)
def test_speed_prefers_the_faster_exit_and_privacy_hardly(mode: str, low: float, high: float) -> None:
    client = Client(NL, DE, mode=mode)
    measured(client, slow=DE)
    fast, slow = client.choice.weighing(0.0)([NL, DE], Place.EXIT)
    turns = Counter(client.end() for _ in range(1500))
    assert fit([turns[NL], turns[DE]], [fast, slow])
    assert low < fast / (fast + slow) < high


class Map:
    """Says of each of the two exits in use here how far it is, and takes down from where that was asked."""

    def __init__(self) -> None:
        self.before: list[PeerKey] = []

    def seen_from(self, before: Sequence[Descriptor]) -> Expect:
        self.before = [found.peer for found in before]
        return {NL: 0.02, DE: 0.3}.get


@pytest.mark.parametrize(
    ("mode", "low", "high"), [("speed", 0.8, 0.95), ("balanced", 0.65, 0.85), ("privacy", 0.5, 0.6)]
)
def test_before_anything_was_measured_the_nearer_exit_is_preferred(mode: str, low: float, high: float) -> None:
    there = Map()
    client = Client(NL, DE, mode=mode, seen_from=there.seen_from)
    client.end()
    near, far = client.choice.weighing(0.0)([NL, DE], Place.EXIT)
    turns = Counter(client.end() for _ in range(1500))
    assert fit([turns[NL], turns[DE]], [near, far])
    assert low < near / (near + far) < high


def test_what_was_measured_takes_the_place_of_distance() -> None:
    client = Client(NL, DE, mode="speed", seen_from=Map().seen_from)
    client.end()
    measured(client, slow=NL)
    near, far = client.choice.weighing(0.0)([NL, DE], Place.EXIT)
    assert near < far / 2


def test_distance_makes_nobody_a_guard() -> None:
    found = replace(NL, roles=Role.RELAY), replace(DE, roles=Role.RELAY)
    client = Client(NL, DE, seen_from=Map().seen_from)
    client.end()
    assert client.choice.weighing(0.0).figures(NL, Place.EXIT).expected_rtt_s == 0.02
    assert client.choice.weighing(0.0)(found, Place.KEPT) == [1.0, 1.0]
    assert client.choice.weighing(0.0).figures(NL, Place.KEPT).expected_rtt_s is None


@pytest.mark.parametrize("hops", [1, 2, 3, 4])
def test_distance_counts_from_the_kept_hops_before_the_exit(hops: int) -> None:
    there = Map()
    client = Client(NL, DE, hops=hops, seen_from=there.seen_from)
    client.end()
    client.choice.weighing(0.0)
    guards, seconds = client.pins.guards.peers, client.pins.seconds.peers
    assert there.before == [[], [*guards[:1]], [*seconds], [*seconds]][hops - 1]
    assert len(there.before) == [0, 1, 4, 4][hops - 1]


def test_as_long_as_nobody_is_kept_distance_does_not_count() -> None:
    weighing = Client(NL, DE, seen_from=Map().seen_from).choice.weighing(0.0)
    assert weighing([NL, DE], Place.EXIT) == [1.0, 1.0]


def test_nothing_measured_makes_anybody_a_guard() -> None:
    """The most that attackers can do: honest relays fail, and their own shine."""
    known = Measurements()
    for relay in RELAYS[:5]:
        for _ in range(50):
            known.build_failed([relay.peer], -1, Reason.NEXT_HOP, 0.0)
            known.ended([relay.peer], Reason.CLOSED, True, 0.0)
    for friend in RELAYS[5:]:
        for _ in range(50):
            known.built([friend.peer], 0.0)
            known.answered([friend.peer], 0.001, 0.0)
            known.carried([friend.peer], 1e6, 0.0)
    before = Weighing(Measurements(), LEANS["speed"], 0.0)(RELAYS, Place.KEPT)
    assert Weighing(known, LEANS["speed"], 0.0)(RELAYS, Place.KEPT) == before == [1.0] * 7
