"""A random order whose chances are in proportion to weights."""

from __future__ import annotations

import random
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from peers.path_draw import in_random_order
from tests.harness.chance import chi_square, critical, fit

DRAWS = 6000


def firsts(weights: list[float], seed: int) -> list[int]:
    """How often each place comes first."""
    rng = random.Random(seed)
    turns = Counter(in_random_order(range(len(weights)), weights, rng)[0] for _ in range(DRAWS))
    return [turns[place] for place in range(len(weights))]


@settings(max_examples=30, deadline=None)
@given(st.lists(st.floats(0.1, 5), min_size=2, max_size=8), st.integers(0, 2**32))
def test_the_first_follows_the_weights(weights: list[float], seed: int) -> None:
    assert fit(firsts(weights, seed), weights)


def test_the_second_follows_the_weights_of_those_that_are_left() -> None:
    weights = [1.0, 2.0, 3.0]
    rng = random.Random(1)
    turns = Counter(tuple(in_random_order("abc", weights, rng)[:2]) for _ in range(DRAWS))
    pairs = [(one, other) for one in "abc" for other in "abc" if one != other]
    by_name = dict(zip("abc", weights, strict=True))
    expected = [by_name[one] / 6 * by_name[other] / (6 - by_name[one]) for one, other in pairs]
    assert fit([turns[pair] for pair in pairs], expected)


def test_the_test_can_fail() -> None:
    counts = firsts([1.0, 1.0, 1.0], 5)
    assert fit(counts, [1.0, 1.0, 1.0])
    assert not fit(counts, [1.0, 1.0, 1.3])
    # Published: the upper 5 % of chi-square with 10 degrees of freedom begin at 18.307.
    assert critical(10, 0.05) == pytest.approx(18.307, abs=0.05)
    assert chi_square([10, 20], [1, 1]) == pytest.approx(100 / 30)


def test_those_without_weight_come_last_in_even_order() -> None:
    rng = random.Random(2)
    orders = [in_random_order("abcd", [0, 1, 0, 1], rng) for _ in range(DRAWS)]
    assert all(set(order[:2]) == {"b", "d"} for order in orders)
    thirds = Counter(order[2] for order in orders)
    assert fit([thirds["a"], thirds["c"]], [1, 1])


def test_a_chance_of_one_and_of_nought() -> None:
    class Ends:
        """The smallest and the largest number that there are."""

        def __init__(self) -> None:
            self._numbers = iter([0.0, 1 - 2**-53])

        def random(self) -> float:
            return next(self._numbers)

        def randint(self, a: int, b: int, /) -> int:
            raise NotImplementedError

        def shuffle(self, x: object, /) -> None:
            raise NotImplementedError

    assert in_random_order("ab", [1e-300, 1e-300], Ends()) == ["a", "b"]
