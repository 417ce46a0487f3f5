"""Weights: which way each figure pulls, how far, and what a single peer or a crowd of them can make of it."""

from __future__ import annotations

from dataclasses import replace
from statistics import median
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from peers.scores import (
    DROPPED_SHARE,
    ENOUGH_KNOWN,
    KEPT_KB_S,
    LEANS,
    Figures,
    dropped,
    factors,
    weight,
    weight_to_keep,
    weights,
)

if TYPE_CHECKING:
    from peers.scores import Lean

USUAL = Figures()
KNOWN = Figures(confidence=0.9)
MODES = sorted(LEANS)

figures = st.builds(
    Figures,
    rtt_s=st.floats(0, 10),
    jitter_s=st.floats(0, 5),
    rate_kb_s=st.floats(0, 1e7),
    failing=st.floats(0, 1),
    tariff_step=st.integers(0, 7),
    confidence=st.floats(0, 1),
)
leans = st.sampled_from([LEANS[mode] for mode in MODES])


def test_a_usual_peer_weighs_one() -> None:
    for mode in MODES:
        assert factors(USUAL, LEANS[mode]) == (1, 1, 1, 1)
        assert weight(USUAL, LEANS[mode]) == 1


@pytest.mark.parametrize(
    "worse",
    [
        replace(USUAL, rtt_s=0.2),
        replace(USUAL, jitter_s=0.1),
        replace(USUAL, rate_kb_s=100),
        replace(USUAL, failing=0.5),
    ],
    ids=["delay", "jitter", "rate", "failing"],
)
@pytest.mark.parametrize("mode", MODES)
def test_each_figure_pulls_the_right_way(mode: str, worse: Figures) -> None:
    assert weight(worse, LEANS[mode]) < 1


def test_speed_leans_on_delay_and_rate_and_privacy_hardly_at_all() -> None:
    slow, narrow = replace(USUAL, rtt_s=0.3), replace(USUAL, rate_kb_s=100)
    for peer in (slow, narrow):
        speed, balanced, privacy = (weight(peer, LEANS[mode]) for mode in ("speed", "balanced", "privacy"))
        assert speed < balanced < privacy
    assert weight(slow, LEANS["speed"]) < 0.25
    assert weight(slow, LEANS["privacy"]) > 0.8


def test_price_counts_but_in_privacy() -> None:
    dear = replace(USUAL, tariff_step=7)
    assert weight(dear, LEANS["speed"]) < 1
    assert weight(dear, LEANS["privacy"]) == 1


@given(st.lists(figures, min_size=1, max_size=30), leans)
def test_nobody_is_drawn_always_and_nobody_never_but_the_few_that_are_dropped(peers: list[Figures], lean: Lean) -> None:
    found = weights(peers, lean)
    raw = [weight(peer, lean) for peer in peers]
    middle = median(raw)
    assert len(found) == len(peers)
    assert all(each <= middle * lean.bound * 1.000001 for each in found)
    known = sum(peer.known for peer in peers)
    assert sum(each == 0 for each in found) <= DROPPED_SHARE * known
    kept = [each for peer, each in zip(peers, found, strict=True) if peer.known and each]
    assert all(each >= middle / lean.bound * 0.999999 for each in kept)


def test_however_good_a_peer_looks_it_gets_no_more_than_its_bound() -> None:
    wonder = replace(KNOWN, rtt_s=0.0, jitter_s=0.0, rate_kb_s=1e9, failing=0.0)
    for mode, most in (("speed", 8), ("balanced", 4), ("privacy", 1.5)):
        found = weights([wonder, *[KNOWN] * 99], LEANS[mode])
        assert found[0] / found[1] == pytest.approx(most)


def test_who_fails_far_more_often_than_others_is_dropped() -> None:
    peers = [*[replace(KNOWN, failing=0.05)] * 9, replace(KNOWN, failing=0.9)]
    assert weights(peers, LEANS["balanced"]) == [1.0] * 9 + [0.0]


def test_a_failure_of_all_drops_nobody() -> None:
    assert dropped([0.9] * 10) == set()
    assert dropped([0.2] * 9 + [0.24]) == set()
    assert dropped([]) == set()
    assert dropped([None, None, 0.99]) == set()


def test_no_more_than_a_share_is_dropped_and_the_worst_go() -> None:
    rates = [0.05] * 12 + [0.5, 0.9, 0.6, 0.7, 0.8, 0.95, 0.55, 0.65]
    assert dropped([*rates, None]) == {13, 16, 17, 15}


@given(st.lists(st.none() | st.floats(0, 1), max_size=60))
def test_whoever_fails_most_are_kept(rates: list[float | None]) -> None:
    gone = dropped(rates)
    measured = [rate for rate in rates if rate is not None]
    assert len(gone) <= DROPPED_SHARE * len(measured)
    if gone:
        left = [rate for place, rate in enumerate(rates) if rate is not None and place not in gone]
        assert min(rates[place] or 0 for place in gone) >= median(left)


# -- those of whom nothing is known


def share_of_unknown(known: int, unknown: int, lean: Lean) -> float:
    found = weights([KNOWN] * known + [USUAL] * unknown, lean)
    return sum(found[known:]) / sum(found)


def test_while_little_is_known_all_are_drawn_alike() -> None:
    for mode in MODES:
        assert share_of_unknown(0, 50, LEANS[mode]) == 1
        assert share_of_unknown(2, 10, LEANS[mode]) == pytest.approx(10 / 12)


def test_unknown_peers_are_explored_at_a_small_rate_once_enough_are_known() -> None:
    for mode in ("speed", "balanced"):
        lean = LEANS[mode]
        for crowd in (100, 10_000):
            assert share_of_unknown(ENOUGH_KNOWN, crowd, lean) == pytest.approx(lean.explored)
        assert share_of_unknown(1000, 1, lean) == pytest.approx(1 / 1001)


def test_privacy_draws_unknown_peers_like_others() -> None:
    assert share_of_unknown(ENOUGH_KNOWN, 84, LEANS["privacy"]) == pytest.approx(0.84)


# -- those who are held on to


@given(st.integers(0, 2**32 - 1))
def test_nobody_is_kept_more_often_by_claiming_more(capacity: int) -> None:
    assert 0 < weight_to_keep(capacity) <= 1
    if capacity >= KEPT_KB_S or not capacity:
        assert weight_to_keep(capacity) == 1


def test_who_says_it_carries_little_is_kept_less_often() -> None:
    assert weight_to_keep(KEPT_KB_S // 4) == 0.25
