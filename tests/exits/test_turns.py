"""Whose turn it is, in bytes."""

from __future__ import annotations

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from exits.turns import Turns

SLACK = 100


def serve(turns: Turns[str], sizes: dict[str, int], rounds: int) -> Counter[str]:
    """Serve keys that always have a next piece."""
    got: Counter[str] = Counter()
    for key in sizes:
        turns.add(key)
    for _ in range(rounds):
        key = turns.take()
        turns.had(key, sizes[key])
        got[key] += sizes[key]
        turns.add(key)
    return got


def test_pieces_of_different_sizes_make_no_difference() -> None:
    got = serve(Turns(SLACK), {"small": 10, "large": 1000, "odd": 37}, 10_000)
    assert max(got.values()) - min(got.values()) <= 2000


@given(st.dictionaries(st.text(max_size=3), st.integers(1, 5000), min_size=1, max_size=12))
def test_nobody_is_ever_more_than_one_piece_of_each_ahead(sizes: dict[str, int]) -> None:
    turns: Turns[str] = Turns(SLACK)
    for key in sizes:
        turns.add(key)
    got: Counter[str] = Counter(dict.fromkeys(sizes, 0))
    for _ in range(300):
        key = turns.take()
        turns.had(key, sizes[key])
        got[key] += sizes[key]
        turns.add(key)
        assert max(got.values()) - min(got.values()) <= 2 * max(sizes.values())


def test_who_is_away_for_an_instant_is_made_good() -> None:
    turns: Turns[str] = Turns(SLACK)
    turns.add("here")
    turns.add("away")
    assert turns.take() == "here"
    turns.had("here", 30)
    assert turns.take() == "away"
    turns.had("away", 30)
    for _ in range(3):  # served while the other is away
        turns.add("here")
        assert turns.take() == "here"
        turns.had("here", 30)
    turns.add("away")
    turns.add("here")
    order = []
    for _ in range(4):
        order.append(turns.take())
        turns.had(order[-1], 30)
        turns.add(order[-1])
    assert order == ["away", "away", "away", "here"]


def test_who_is_away_for_long_gets_no_more_than_the_slack() -> None:
    turns: Turns[str] = Turns(SLACK)
    turns.had("away", 1)
    turns.add("here")
    for _ in range(1000):
        assert turns.take() == "here"
        turns.had("here", 30)
        turns.add("here")
    turns.add("away")
    ahead = 0
    while turns.take() == "away":
        turns.had("away", 30)
        turns.add("away")
        ahead += 30
    assert ahead <= SLACK + 2 * 30


def test_ever_new_ones_neither_keep_the_old_one_waiting_nor_are_remembered() -> None:
    turns: Turns[int] = Turns(SLACK)
    turns.add(-1)
    served = 0
    for number in range(10_000):
        turns.add(number)
        key = turns.take()
        turns.had(key, 30)
        if key == -1:
            served += 1
            turns.add(-1)
        assert len(turns._had) < 1000
    assert served > 100


def test_who_had_more_is_ahead() -> None:
    turns: Turns[str] = Turns(SLACK)
    turns.add("waits")
    turns.had("a", 70)
    assert turns.ahead("a") == 35
    assert turns.ahead("b") == 0
