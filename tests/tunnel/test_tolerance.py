"""How much a client puts up with from an exit."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from core.ids import PeerKey
from tunnel.limits import (
    EXIT_REPORTERS,
    EXIT_REPORTS,
    EXIT_REPORTS_WITHIN_S,
    MAX_EXITS,
    MAX_REBUILDS,
    REBUILDS_WITHIN_S,
)
from tunnel.tolerance import Tolerance

EXIT, OTHER = PeerKey(bytes([1]) * 32), PeerKey(bytes([2]) * 32)


def reporter(number: int) -> PeerKey:
    return PeerKey(number.to_bytes(32))


def test_so_many_ends_and_no_more() -> None:
    tolerance = Tolerance()
    for _ in range(MAX_REBUILDS):
        tolerance.ended(EXIT, 0.0)
    assert not tolerance.spent(EXIT, 0.0)
    tolerance.ended(EXIT, 1.0)
    assert (tolerance.spent(EXIT, 1.0), tolerance.spent(OTHER, 1.0)) == (True, False)
    assert tolerance.exhausted(1.0) == [EXIT]
    assert not tolerance.exhausted(REBUILDS_WITHIN_S)


@given(st.lists(st.floats(0, 400), max_size=40))
def test_only_the_last_ten_minutes_count(gaps: list[float]) -> None:
    tolerance, now, ends = Tolerance(), 0.0, []
    for gap in gaps:
        now += gap
        ends.append(now)
        tolerance.ended(EXIT, now)
        recent = sum(now - at < REBUILDS_WITHIN_S for at in ends)
        assert tolerance.spent(EXIT, now) is (recent > MAX_REBUILDS)


def test_different_hops_say_that_it_is_dead() -> None:
    tolerance = Tolerance()
    for number in range(EXIT_REPORTERS):
        assert not tolerance.dead(EXIT, 0.0)
        tolerance.reported(EXIT, reporter(number), 0.0)
    assert tolerance.dead(EXIT, 0.0)
    assert not tolerance.dead(OTHER, 0.0)
    assert not tolerance.dead(EXIT, EXIT_REPORTS_WITHIN_S)


def test_one_hop_says_it_again_and_again() -> None:
    tolerance = Tolerance()
    for _ in range(EXIT_REPORTS):
        assert not tolerance.dead(EXIT, 0.0)
        tolerance.reported(EXIT, reporter(1), 0.0)
    assert tolerance.dead(EXIT, 0.0)


def test_what_this_node_sees_itself_is_enough() -> None:
    tolerance = Tolerance()
    tolerance.reported(EXIT, None, 0.0)
    assert tolerance.dead(EXIT, 0.0)


def test_a_sign_of_life_refutes_them_all() -> None:
    tolerance = Tolerance()
    tolerance.reported(EXIT, None, 0.0)
    tolerance.answered(EXIT)
    assert not tolerance.dead(EXIT, 0.0)


def test_memory_is_bounded() -> None:
    tolerance = Tolerance()
    for number in range(2 * MAX_EXITS):
        tolerance.ended(reporter(number), 0.0)
        tolerance.reported(reporter(number), None, 0.0)
    assert len(tolerance) == MAX_EXITS
