from __future__ import annotations

import pytest

from core.ids import PeerKey
from peers.accusers import MAX_NEXT, REMEMBERED_S, Accusers
from peers.guards import PinnedHops
from tests.peers.build import NOW


def key(number: int) -> PeerKey:
    return PeerKey(number.to_bytes(32))


GUARD, OTHER = key(1), key(2)


@pytest.mark.parametrize(
    ("accused", "served", "doubted"),
    [(0, 0, False), (1, 0, False), (2, 0, True), (2, 2, True), (2, 3, False), (3, 3, True)],
)
def test_who_accuses_half_of_the_next_hops_is_doubted(accused: int, served: int, doubted: bool) -> None:
    accusers = Accusers()
    for number in range(served):
        accusers.served(GUARD, key(100 + number))
    for number in range(accused):
        accusers.accused(GUARD, key(200 + number), NOW)
    assert accusers.doubted(GUARD, NOW) is doubted
    assert not accusers.doubted(OTHER, NOW)


def test_one_dead_hop_makes_nobody_doubted_however_often_it_is_reported() -> None:
    accusers = Accusers()
    for _ in range(20):
        accusers.accused(GUARD, key(100), NOW)
    assert not accusers.doubted(GUARD, NOW)


def test_a_hop_that_serves_again_is_no_accusation_any_more() -> None:
    accusers = Accusers()
    for number in (100, 101):
        accusers.accused(GUARD, key(number), NOW)
    accusers.served(GUARD, key(100))
    assert not accusers.doubted(GUARD, NOW)


def test_doubt_ends_after_a_while_and_with_a_wrong_clock() -> None:
    accusers = Accusers()
    for number in (100, 101):
        accusers.accused(GUARD, key(number), NOW)
    assert accusers.doubted(GUARD, NOW + REMEMBERED_S - 1)
    assert not accusers.doubted(GUARD, NOW + REMEMBERED_S)
    assert not accusers.doubted(GUARD, NOW - 1)


def test_only_so_much_is_remembered() -> None:
    accusers = Accusers()
    for number in range(100):
        accusers.accused(GUARD, key(number), NOW)
    for number in range(MAX_NEXT // 2 + 1):
        accusers.served(GUARD, key(200 + number))
    assert not accusers.doubted(GUARD, NOW)
    accusers.keep({OTHER})
    assert not accusers._said
    assert not accusers._accused_at


def test_only_the_order_of_those_that_are_kept_changes() -> None:
    pins = PinnedHops()
    for number in (10, 11):
        pins.tried([GUARD, key(number), key(50)], 1, True, NOW, True)
    guards = [GUARD, OTHER]
    pins.trusted_first(guards, NOW)
    assert guards == [OTHER, GUARD]
    pins.tried([OTHER, key(10), key(50)], 1, True, NOW, True)
    pins.tried([OTHER, key(11), key(50)], 1, True, NOW, True)
    guards = [GUARD, OTHER]
    pins.trusted_first(guards, NOW)
    assert guards == [GUARD, OTHER], "when all accuse, they may be right"


@pytest.mark.parametrize("served", [0, 2, 3])
def test_a_guard_is_heard_only_about_the_hop_after_it(served: int) -> None:
    pins = PinnedHops()
    for number in (10, 11, 12):
        pins.tried([GUARD, key(number), key(50 + number)], served, True, NOW, True)
    guards = [GUARD, OTHER]
    pins.trusted_first(guards, NOW)
    assert guards == [GUARD, OTHER]
