"""What is remembered of exits that refused, and for which exits circuits are kept ready."""

from __future__ import annotations

import pytest

from core.errors import Reason
from core.ids import PeerKey
from tunnel.limits import (
    BUSY_S,
    FULL_S,
    LATE_PORTS,
    LATE_PORTS_S,
    MAX_EXITS,
    MAX_REFUSED_PORTS,
    PORT_REFUSALS,
    PORT_REFUSED_S,
)
from tunnel.path import ANY_EXIT, Wish
from tunnel.refusals import DECLINES, Refusals
from tunnel.wishes import Wishes

EXIT, OTHER = PeerKey(bytes([1]) * 32), PeerKey(bytes([2]) * 32)
NOBODY: frozenset[PeerKey] = frozenset()


def key(number: int) -> PeerKey:
    return PeerKey(number.to_bytes(32))


@pytest.mark.parametrize(("reason", "for_s"), [(Reason.BUSY, BUSY_S), (Reason.LIMIT, FULL_S), (Reason.LEAVING, FULL_S)])
def test_an_exit_that_takes_nothing_is_left_out_for_a_while(reason: Reason, for_s: float) -> None:
    refusals = Refusals()
    refusals.refused(EXIT, 443, reason, 100.0)
    for port in (443, 22, 0, None):
        assert refusals.of_port(port, 100.0 + for_s - 0.1) == {EXIT}
        assert refusals.of_port(port, 100.0 + for_s) == NOBODY
    assert refusals.full(100.0) == [EXIT]
    refusals.served(EXIT, 80)
    assert refusals.full(100.0) == []


def test_a_port_counts_after_several_refusals_in_a_row() -> None:
    refusals = Refusals()
    for count in range(PORT_REFUSALS):
        assert refusals.of_port(22, 1.0) == NOBODY, count
        refusals.refused(EXIT, 22, Reason.NOT_ALLOWED, 1.0)
    assert refusals.of_port(22, 1.0) == {EXIT}
    assert refusals.of_port(443, 1.0) == refusals.of_port(None, 1.0) == NOBODY
    assert refusals.of_port(22, 1.0 + PORT_REFUSED_S) == NOBODY
    refusals.served(EXIT, 443)
    assert refusals.of_port(22, 1.0) == {EXIT}
    refusals.served(EXIT, 22)
    assert refusals.of_port(22, 1.0) == NOBODY
    assert len(refusals) == 0


def test_old_refusals_do_not_add_up() -> None:
    refusals = Refusals()
    for turn in range(PORT_REFUSALS + 1):
        refusals.refused(EXIT, 22, Reason.NOT_ALLOWED, turn * PORT_REFUSED_S)
    assert refusals.of_port(22, PORT_REFUSALS * PORT_REFUSED_S) == NOBODY


@pytest.mark.parametrize("reason", sorted(set(Reason) - DECLINES))
def test_other_reasons_are_not_the_exits(reason: Reason) -> None:
    refusals = Refusals()
    for _ in range(PORT_REFUSALS):
        refusals.refused(EXIT, 22, reason, 0.0)
    assert len(refusals) == 0


def test_so_much_is_remembered_and_no_more() -> None:
    refusals = Refusals()
    for number in range(MAX_EXITS + 10):
        for port in range(1, MAX_REFUSED_PORTS + 10):
            for _ in range(PORT_REFUSALS):
                refusals.refused(key(number), port, Reason.NOT_ALLOWED, 0.0)
    assert len(refusals) == MAX_EXITS
    assert refusals.of_port(MAX_REFUSED_PORTS + 9, 0.0) == {key(number) for number in range(10, MAX_EXITS + 10)}
    assert refusals.of_port(9, 0.0) == NOBODY


# -- wishes


class Offers:
    """One exit that serves only the web, and another that serves all."""

    def serves(self, last: PeerKey, wish: Wish) -> bool:
        return last == OTHER or wish.port in (443, 0, None)

    def anyone_serves(self, wish: Wish) -> bool:
        return wish.port != 25


def test_which_exit_will_do() -> None:
    wishes = Wishes(Offers())
    assert [wishes.fit(last, Wish(22)) for last in (EXIT, OTHER)] == [False, True]
    assert [wishes.fit(last, Wish(443, frozenset({OTHER}))) for last in (EXIT, OTHER)] == [True, False]
    assert [wishes.fit(EXIT, wish) for wish in (ANY_EXIT, Wish(0))] == [True, True]
    assert [wishes.possible(wish) for wish in (ANY_EXIT, Wish(0), Wish(22), Wish(25))] == [True, True, True, False]


def test_who_waits_is_not_forgotten_before_the_last_one_has_gone() -> None:
    wishes = Wishes(Offers())

    def unmet(*ends: PeerKey) -> list[Wish]:
        return wishes.unmet(lambda options: ends)

    with wishes.waiting(Wish(22), "one"):
        with wishes.waiting(Wish(22), "one"), wishes.waiting(Wish(22), "two"), wishes.waiting(Wish(443), "one"):
            assert unmet() == [Wish(22), Wish(443)]
            assert unmet(EXIT) == [Wish(22)]
        assert unmet(EXIT) == [Wish(22)]
        assert unmet(OTHER) == []
    assert unmet() == []


def test_ports_lately_used_want_a_circuit_ahead() -> None:
    wishes = Wishes(Offers())
    refusing: dict[Wish, set[PeerKey]] = {}

    def late(*ends: PeerKey, now: float = 10.0) -> Wish:
        return wishes.late(ends, now, lambda wish: refusing.get(wish, set()))

    for port in (22, 443, 0, None):
        wishes.used(Wish(port), 10.0)
    assert late() == Wish(443), "the latest"
    assert late(EXIT) == Wish(22)
    assert late(EXIT, OTHER) == late(EXIT, now=10.0 + LATE_PORTS_S) == ANY_EXIT
    refusing[Wish(443)] = {OTHER}
    assert (late(OTHER), late(EXIT, OTHER)) == (Wish(443), ANY_EXIT)
    for port in range(1000, 1000 + LATE_PORTS):
        wishes.used(Wish(port), 10.0)
    assert late(OTHER) == ANY_EXIT
    assert len(wishes._ports) == LATE_PORTS
