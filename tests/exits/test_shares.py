"""Places that are shared out."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from exits.shares import Shares


def fill(shares: Shares, holder: str) -> int:
    count = 0
    while shares.may_take(holder):
        shares.take(holder)
        count += 1
    return count


def test_nobody_holds_more_than_are_free() -> None:
    shares = Shares(1000)
    assert fill(shares, "first") == 500
    assert fill(shares, "second") == 250
    assert fill(shares, "third") == 125
    assert len(shares) == 875
    assert not shares.may_take("first")
    for _ in range(400):
        shares.give("first")
    assert fill(shares, "third") > 125


def test_the_last_place() -> None:
    shares = Shares(1)
    assert shares.may_take("one")
    shares.take("one")
    assert not shares.may_take("one")
    assert not shares.may_take("another")
    shares.give("one")
    assert shares.may_take("another")


@given(st.integers(1, 30), st.lists(st.tuples(st.integers(0, 4), st.booleans())))
def test_what_is_given_back_can_be_taken_again(places: int, steps: list[tuple[int, bool]]) -> None:
    shares, held = Shares(places), [0] * 5
    for holder, taking in steps:
        if taking and shares.may_take(holder):
            shares.take(holder)
            held[holder] += 1
        elif not taking and held[holder]:
            shares.give(holder)
            held[holder] -= 1
        assert len(shares) == sum(held) <= places
        assert shares.may_take("newcomer") == (sum(held) < places)
    for holder, count in enumerate(held):
        for _ in range(count):
            shares.give(holder)
    assert len(shares) == 0
    assert shares.may_take("newcomer")
