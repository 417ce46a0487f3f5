"""Networks where some ask for money and some do not: no path goes over both, and the guards say which it can be."""

from __future__ import annotations

import random
from collections import Counter
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.errors import CircuitError
from core.ids import PeerKey
from peers.choice import Choice, Moment, Weighing
from peers.descriptor import Role
from peers.guards import PinnedHops
from peers.holds import Hold
from peers.measurements import Measurements
from peers.path_search import PathRules
from peers.paths import choose_path, choose_pinned_path, has_path
from peers.prices import Obstacle, obstacle
from peers.reasons import explain
from peers.scores import LEANS
from tests.harness.chance import fit
from tests.peers.build import NOW, host, plain
from tests.peers.test_choice import DE, NL, NL2, RELAYS, Client, exit_in
from tests.peers.test_paths import View, anywhere
from tunnel.path import Wish

if TYPE_CHECKING:
    from collections.abc import Sequence

    from peers.descriptor import Descriptor

RELAY, EXIT, BOTH = Role.RELAY, Role.EXIT, Role.RELAY | Role.EXIT


def peer(number: int, roles: Role, tariff: int) -> Descriptor:
    return replace(plain(number, roles, (host(number),)), tariff_step=tariff)


def relays(free: int, paid: int) -> list[Descriptor]:
    return [peer(number, RELAY, int(number > free)) for number in range(1, free + paid + 1)]


def exits(free: int, paid: int) -> list[Descriptor]:
    return [peer(100 + number, EXIT, int(number > free)) for number in range(1, free + paid + 1)]


def kinds(path: Sequence[Descriptor]) -> set[bool]:
    return {found.tariff_step > 0 for found in path}


def asking(found: Descriptor, step: int, sequence: int) -> Descriptor:
    return replace(found, sequence=sequence, tariff_step=step)


def allows(rules: PathRules, found: Descriptor) -> bool:
    return rules.min_tariff <= found.tariff_step <= rules.max_tariff


# -- random networks


@st.composite
def networks_and_rules(draw: st.DrawFn) -> tuple[list[Descriptor], PathRules]:
    """Peers of both kinds that stand close together, some of them reached through others of either kind."""
    names = st.sampled_from([f"20.{number}.0.1" for number in range(6)])
    roles, steps = st.sampled_from([RELAY, EXIT, BOTH]), st.sampled_from([0, 0, 1, 2, 5])
    public = st.tuples(roles, names, steps)
    peers = [
        replace(plain(number, role, (name,)), tariff_step=step)
        for number, (role, name, step) in enumerate(draw(st.lists(public, min_size=1, max_size=7)), 1)
    ]
    rules = PathRules(
        draw(st.integers(1, 4)),
        anywhere,
        draw(st.booleans()),
        min_tariff=draw(st.sampled_from([0, 0, 1])),
        max_tariff=draw(st.sampled_from([0, 1, 2, 7])),
    )
    if rules.diversity and draw(st.booleans()):  # without it, who is reached through others is found by chance
        via = tuple(
            Hold(found.peer, NOW, b"") for found in draw(st.lists(st.sampled_from(peers), min_size=1, max_size=3))
        )
        peers.append(replace(plain(20, draw(roles), ()), tariff_step=draw(steps), via=via))
    return peers, rules


@settings(max_examples=200, deadline=None)
@given(networks_and_rules(), st.integers(0, 2**32))
def test_a_path_is_of_one_kind_and_is_found_if_either_kind_has_one(
    given: tuple[list[Descriptor], PathRules], seed: int
) -> None:
    """A network of one kind alone is the measure: there a path is found or not, whatever is asked."""
    peers, rules = given
    rng, allowed = random.Random(seed), [found for found in peers if allows(rules, found)]
    alone = [View(*(found for found in allowed if kinds([found]) == {paid})) for paid in (False, True)]
    if any(has_path(view, rules, rng) for view in alone):
        for path in (
            choose_path(View(*peers), rules, rng),
            choose_pinned_path(View(*peers), rules, rng, PinnedHops(), NOW),
        ):
            assert len(kinds(path)) == 1
            assert all(allows(rules, found) for found in path)
    else:
        with pytest.raises(CircuitError):
            choose_path(View(*peers), rules, rng)
        with pytest.raises(CircuitError):
            choose_pinned_path(View(*peers), rules, rng, PinnedHops(), NOW)


@settings(max_examples=80, deadline=None)
@given(networks_and_rules(), st.lists(st.lists(st.integers(1, 8), max_size=4), max_size=5), st.data())
def test_a_client_finds_one_over_whomever_it_holds_on_to(
    given: tuple[list[Descriptor], PathRules], avoided: list[list[int]], data: st.DataObject
) -> None:
    """Whom it avoids comes and goes, and so does what anybody asks."""
    (peers, rules), pins, rng = given, PinnedHops(), random.Random(data.draw(st.integers(0, 99)))
    for numbers in (*avoided, []):
        peers = [replace(found, tariff_step=data.draw(st.sampled_from([found.tariff_step, 0, 2]))) for found in peers]
        avoid = [PeerKey(number.to_bytes(32)) for number in numbers]
        try:
            path = choose_pinned_path(View(*peers), rules, rng, pins, NOW, avoid)
        except CircuitError:
            if not has_path(View(*peers), rules, rng):
                continue
            path = choose_pinned_path(View(*peers), rules, rng, pins, NOW)
        assert len(kinds(path)) == 1
        assert all(allows(rules, found) for found in path)


@settings(max_examples=60, deadline=None)
@given(networks_and_rules(), st.integers(0, 2**32))
def test_the_price_is_named_when_it_is_what_stands_in_the_way(
    given: tuple[list[Descriptor], PathRules], seed: int
) -> None:
    (peers, rules), rng = given, random.Random(seed)
    found = obstacle(View(*peers), rules, rng)
    ends = [end for end in peers if end.roles & EXIT]
    if ends and not any(allows(rules, end) for end in ends):
        assert found is Obstacle.EXITS
    else:
        unpriced = View(*(replace(each, tariff_step=0) for each in peers))
        if_free = has_path(unpriced, replace(rules, min_tariff=0, max_tariff=7), rng)
        assert found is (Obstacle.HOPS if if_free and not has_path(View(*peers), rules, rng) else Obstacle.NONE)


# -- how often, and whom it shows


def test_every_exit_is_as_likely_as_its_weight_whatever_it_asks() -> None:
    view, rules, rng = View(*relays(3, 3), *exits(4, 2)), PathRules(3, anywhere), random.Random(5)
    counts = Counter(choose_path(view, rules, rng)[-1].peer for _ in range(3000))
    fit([counts[found.peer] for found in exits(4, 2)], [500.0] * 6)


@pytest.mark.parametrize(("part", "most"), [(0.1, 0.05), (0.5, 0.6)])
def test_who_asks_for_money_gets_no_more_guards_than_its_part(part: float, most: float) -> None:
    """Else some machines that ask for money would be the whole paths of all who would pay."""
    view = View(*relays(round(40 - 40 * part), round(40 * part)), *exits(round(20 - 20 * part), round(20 * part)))
    paid = {found.peer for found in view.peers() if found.tariff_step}
    guards = whole = 0
    for seed in range(200):
        pins, rng = PinnedHops(), random.Random(seed)
        paths = [choose_pinned_path(view, PathRules(3, anywhere), rng, pins, NOW) for _ in range(5)]
        guards += len(paid.intersection(pins.guards.peers))
        whole += sum(kinds(path) == {True} for path in paths)
    print(f"{part:.0%} ask for money: {guards / 400:.1%} of the guards, and {whole / 1000:.1%} of the paths are paid")
    assert guards / 400 == pytest.approx(part, rel=0.35)
    assert whole / 1000 < most


def test_hops_to_hold_on_to_are_drawn_of_a_kind_that_makes_a_path() -> None:
    """Where all exits ask for money, a guard that asks for none is of no use; nor is a second hop of the other kind."""
    for seed in range(20):
        pins, rng = PinnedHops(), random.Random(seed)
        paid = relays(12, 6)[12:]
        choose_pinned_path(View(*relays(12, 6), *exits(0, 3)), PathRules(3, anywhere), rng, pins, NOW)
        assert {*pins.guards.peers, *pins.seconds.peers} <= {found.peer for found in paid}
        assert (len(pins.guards), len(pins.seconds)) == (2, 4)

        both = PinnedHops()
        peers = {found.peer: found for found in relays(9, 9)}
        choose_pinned_path(View(*peers.values(), *exits(2, 2)), PathRules(3, anywhere), rng, both, NOW)
        of_guards = kinds([peers[guard] for guard in both.guards.peers])
        assert kinds([peers[second] for second in both.seconds.peers]) <= of_guards
        assert (len(both.guards), len(both.seconds)) == (2, 4)


def test_whom_a_client_avoids_does_not_say_of_which_kind_guards_are() -> None:
    """Else who has the few exits of one kind blamed, or is one that is in use, decides it."""
    seen: set[bool] = set()
    peers = {found.peer: found for found in (*relays(9, 9), *exits(3, 1))}
    for seed in range(20):
        pins = PinnedHops()
        avoid = [exits(3, 1)[-1].peer]
        with suppress(CircuitError):
            choose_pinned_path(View(*peers.values()), PathRules(3, anywhere), random.Random(seed), pins, NOW, avoid)
        seen |= kinds([peers[guard] for guard in pins.guards.peers])
    assert seen == {False, True}


def test_guards_are_drawn_before_any_exit_is_known_as_ever() -> None:
    pins = PinnedHops()
    with pytest.raises(CircuitError):
        choose_pinned_path(View(*relays(5, 5)), PathRules(3, anywhere), random.Random(1), pins, NOW)
    assert (len(pins.guards), len(pins.seconds)) == (2, 4)


def test_what_a_page_wants_of_its_exit_does_not_say_of_which_kind_guards_are() -> None:
    guards: set[bool] = set()
    peers = {found.peer: found for found in relays(9, 9)}
    mail = replace(exits(0, 1)[0], exit_policy=b"+25")
    for seed in range(20):
        pins, rng = PinnedHops(), random.Random(seed)
        rules = PathRules(3, anywhere, port=25)
        view = View(*peers.values(), *(replace(found, exit_policy=b"+443") for found in exits(3, 0)[1:]), mail)
        with suppress(CircuitError):
            choose_pinned_path(view, rules, rng, pins, NOW)
        assert len(pins.guards) == 2
        guards |= kinds([peers[guard] for guard in pins.guards.peers])
    assert guards == {False, True}


# -- what is held on to, and what changes


def test_who_holds_on_to_one_kind_stays_with_it_as_long_as_it_leads_where_it_shall() -> None:
    client = Client(NL, exit_in(110, "DE", tariff=2), regions=("NL", "DE"))
    others = [replace(peer(number, RELAY, 2), region="DE") for number in range(50, 56)]
    assert client.ends() == {NL}
    guards = client.pins.guards.peers
    for found in others:
        client.directory.insert(found, None)
    assert client.ends() == {NL}
    assert client.pins.guards.peers == guards
    assert client.ends(blamed=[NL]) == {exit_in(110, "DE", tariff=2)}, "no exit of its kind is left in any region"
    assert client.pins.guards.peers[:2] == guards
    assert len(client.pins.guards) == 3
    assert client.ends() == {NL}, "and back"
    assert len(client.pins.guards) == 3


def test_an_exit_that_begins_to_ask_has_no_guard_drawn() -> None:
    """Its flows were to be moved to another circuit; of relays that ask for money all may be its own."""
    client = Client(NL, NL2)
    client.end()
    for number in range(50, 56):
        client.directory.insert(peer(number, RELAY, 1), None)
    client.directory.insert(asking(NL, 1, 2), None)
    with pytest.raises(CircuitError):
        client.end(last=NL.peer)
    assert client.end(last=NL2.peer) == NL2
    assert client.ends() == {NL2}
    assert len(client.pins.guards) == 2


def test_a_guard_that_begins_to_ask_is_passed_over_and_comes_back() -> None:
    client = Client(NL)
    client.end()
    first, second = client.pins.guards.peers
    found = next(each for each in RELAYS if each.peer == first)
    for step, guard, sequence in ((3, second, 2), (0, first, 3)):
        client.directory.insert(asking(found, step, sequence), None)
        assert {client.choice.path(Moment(NOW, 0.0))[0].peer for _ in range(20)} == {guard}
    assert len(client.pins.guards) == 2


def test_a_region_that_is_too_dear_is_not_wanted_any_more_for_new_flows() -> None:
    client = Client(exit_in(110, "NL", tariff=5), DE, regions=("NL", "DE"), max_tariff=3)
    assert client.ends() == {DE}
    client.choice.look(())
    assert client.choice.rank(DE.peer, None) == 0


def test_a_region_that_one_flow_cannot_reach_over_the_kept_hops_leads_to_the_next() -> None:
    """For one flow no other guard is drawn, so it would wait in vain."""
    client = Client(NL, DE, hops=2)
    client.end()
    client.directory.insert(asking(NL, 2, 2), None)
    for number in range(50, 53):
        client.directory.insert(peer(number, RELAY, 2), None)
    wish = Wish(443)
    choice = Choice(
        client.directory,
        replace(client.choice.rules, regions=("NL", "DE")),
        client.choice.lean,
        True,
        client.pins,
        client.measurements,
        random.Random(3),
    )
    assert {choice.path(Moment(NOW, 0.0, wish=wish))[-1] for _ in range(20)} == {DE}
    assert len(client.pins.guards) == 2
    with pytest.raises(CircuitError):
        choice.path(Moment(NOW, 0.0, [DE.peer], wish=wish))
    assert choice.path(Moment(NOW, 0.0))[-1].region == "NL", "for all flows one is drawn"


# -- who could stand there instead


def test_of_the_other_kind_nobody_could_stand_there_instead() -> None:
    peers, rules, rng = [*relays(6, 6), *exits(3, 2)], PathRules(4, anywhere), random.Random(2)
    seen: set[bool] = set()
    for _ in range(20):
        pins = PinnedHops()
        path = choose_pinned_path(View(*peers), rules, rng, pins, NOW)
        weighing = Weighing(Measurements(), LEANS["balanced"], 0.0)
        *_, middle, end = explain([found.peer for found in path], peers, rules, weighing, pins)
        [kind] = kinds(path)
        seen.add(kind)
        assert (middle.candidates, end.candidates) == (4, 2 if kind else 3)
        assert kinds([each.found for hop in (middle, end) for each in hop.rivals]) == {kind}
    assert seen == {False, True}


def test_who_holds_a_link_stands_before_it_only_if_it_is_of_its_kind() -> None:
    free, paid = relays(3, 3)[:3], relays(3, 3)[3:]
    via = tuple(Hold(found.peer, NOW, b"") for found in (free[0], paid[0]))
    end = replace(plain(90, EXIT, ()), via=via, tariff_step=2)
    path = choose_path(View(*free, *paid, end), PathRules(3, anywhere), random.Random(1))
    assert path[2:] == (paid[0], end)
    assert {*path[:2]} == {*paid[1:]}
    with pytest.raises(CircuitError):
        choose_path(View(*free, *paid[1:], end), PathRules(3, anywhere), random.Random(1))


def test_peers_that_stand_together_do_not_stand_for_each_other_if_they_are_of_two_kinds() -> None:
    """Of peers with the same marks one is tried."""
    free, paid = relays(3, 3)[:3], relays(3, 3)[3:]
    beside = [replace(found, peer=plain(60 + place, RELAY, ()).peer, tariff_step=1) for place, found in enumerate(free)]
    ends = exits(1, 0)[0], replace(exits(1, 0)[0], peer=plain(90, EXIT, ()).peer, tariff_step=1)
    for seed in range(20):
        assert kinds(choose_path(View(*free, *beside, ends[0]), PathRules(4, anywhere), random.Random(seed))) == {False}
        assert kinds(choose_path(View(*paid, *ends), PathRules(3, anywhere), random.Random(seed))) == {True}
