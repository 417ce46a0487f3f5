"""What each hop of a path is paid, and what it keeps."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.tariffs import MAX_STEP, RATES, rate_at

LAYER_BYTES = 32
"""What each hop's layer adds to a message (docs/protocol.md)."""

PATHS = st.lists(st.integers(0, MAX_STEP), min_size=1, max_size=5).map(tuple)


def test_the_steps() -> None:
    assert len(RATES) == 8
    assert RATES[0] == 0
    assert list(RATES) == sorted(set(RATES))


@pytest.mark.parametrize(
    ("steps", "rates"),
    [
        ((0,), [0, 0]),
        ((7,), [100, 0]),
        ((1, 1, 1), [3, 2, 1, 0]),
        ((0, 3, 1), [15, 10, 5, 0]),
        ((0, 0, 0, 0, 0), [0, 0, 0, 0, 0, 0]),
        ((7, 7, 7, 7, 7), [500, 400, 300, 200, 100, 0]),
    ],
)
def test_rates(steps: tuple[int, ...], rates: list[int]) -> None:
    assert [rate_at(steps, place) for place in range(len(steps) + 1)] == rates


@given(PATHS, st.integers(0, 33_000))
def test_every_hop_keeps_its_own_share(steps: tuple[int, ...], size: int) -> None:
    """Of every message, whatever its size: what it carries on has a layer less and is paid at a lower rate."""
    for place, step in enumerate(steps):
        layers = len(steps) - place
        comes, goes = size + LAYER_BYTES * layers, size + LAYER_BYTES * (layers - 1)
        kept = rate_at(steps, place) * comes - rate_at(steps, place + 1) * goes
        assert kept >= RATES[step] * comes


@given(PATHS, st.data())
def test_a_rate_says_nothing_of_who_asks_how_much(steps: tuple[int, ...], data: st.DataObject) -> None:
    shuffled = tuple(data.draw(st.permutations(steps)))
    for place in range(len(steps) + 1):
        assert rate_at(shuffled, place) == rate_at(steps, place)
