"""Why a path goes over its hops, as `route --explain` says it."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest

from peers.choice import Weighing
from peers.descriptor import Role
from peers.guards import PinnedHops
from peers.measurements import Measurements
from peers.path_draw import Place
from peers.path_search import PathRules
from peers.paths import choose_pinned_path
from peers.reasons import RIVALS, explain
from peers.scores import LEANS, weight
from tests.peers.build import NOW, host, plain
from tests.peers.test_paths import View

RELAYS = [plain(number, Role.RELAY, (host(number),)) for number in range(1, 9)]
EXITS = [plain(number, Role.EXIT, (host(number),)) for number in range(101, 107)]
RULES = PathRules(4, lambda _: True)


def weighing() -> Weighing:
    known = Measurements()
    for turn, found in enumerate(EXITS):
        for _ in range(20):
            known.built([found.peer], 0.0)
            known.answered([found.peer], 0.02 * (turn + 1), 0.0)
    return Weighing(known, LEANS["speed"], 0.0)


def test_each_hop_has_its_factors_and_its_best_rivals() -> None:
    pins = PinnedHops()
    weigh = weighing()
    path = choose_pinned_path(View(*RELAYS, *EXITS), RULES, random.Random(1), pins, NOW, weigh=weigh)
    guard, second, middle, end = explain([found.peer for found in path], [*RELAYS, *EXITS], RULES, weigh, pins)

    assert "guard" in guard.why
    assert {rival.found.peer for rival in guard.rivals} < {*pins.guards.peers}
    assert guard.candidates == 2
    assert [rival.chance for rival in guard.rivals] == [None], "the first that works is taken"
    assert {rival.chance for rival in second.rivals} == {1 / second.candidates}
    assert "second" in second.why
    assert second.candidates == 4 - (path[2].peer in pins.seconds.peers)
    assert middle.why == end.why == "drawn by weight"
    assert middle.candidates == 8 - 2

    assert end.candidates == 6
    assert [found.chosen.found for found in (guard, second, middle, end) if found.chosen] == list(path)
    others = [found for found in EXITS if found is not path[-1]]
    assert [rival.found for rival in end.rivals] == others[:RIVALS], "the fastest first"
    assert end.chosen is not None
    best = end.rivals[0]
    assert best.weight == pytest.approx(weight(best.figures, LEANS["speed"]))
    latency, throughput, reliability, price = best.factors
    assert best.weight == pytest.approx(latency * throughput * reliability * price)
    total = sum(weigh(EXITS, Place.EXIT))
    assert best.chance == pytest.approx(best.weight / total)


def test_only_those_that_fit_beside_the_other_hops_are_rivals() -> None:
    guard, end = RELAYS[0], EXITS[0]
    near = replace(plain(200, Role.EXIT, (host(1),)))
    same = replace(plain(201, Role.EXIT, (host(201),)), operator=b"x")
    guard = replace(guard, operator=b"x")
    rules = PathRules(2, lambda _: True)
    (_, found) = explain([guard.peer, end.peer], [guard, end, near, same], rules, weighing(), PinnedHops())
    assert (found.candidates, found.rivals) == (1, ())


def test_a_hop_that_may_not_stand_there_any_more_is_not_explained() -> None:
    rules = PathRules(1, lambda _: True, regions=("NL",))
    (found,) = explain([EXITS[0].peer], EXITS, rules, weighing(), PinnedHops())
    assert found.chosen is None
    assert (found.candidates, found.rivals) == (0, ())
