"""The replay window: each counter once, in nearly any order."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tunnel.wireguard.constants import MAX_COUNTER, WINDOW_COUNTERS
from tunnel.wireguard.replay import ReplayWindow


def take(window: ReplayWindow, counter: int) -> bool:
    if not window.fresh(counter):
        return False
    window.commit(counter)
    return True


def test_asking_changes_nothing() -> None:
    window = ReplayWindow()
    assert window.fresh(5)
    assert window.fresh(5)
    window.commit(5)
    assert not window.fresh(5)


def test_the_window_has_an_edge() -> None:
    window = ReplayWindow()
    assert take(window, 20_000)
    assert take(window, 20_000 - WINDOW_COUNTERS + 1)
    assert not take(window, 20_000 - WINDOW_COUNTERS)


@pytest.mark.parametrize("jump", [1, WINDOW_COUNTERS - 1, WINDOW_COUNTERS, WINDOW_COUNTERS + 1, MAX_COUNTER - 1])
def test_jumps_keep_what_is_in_the_window(jump: int) -> None:
    window = ReplayWindow()
    assert take(window, 0)
    assert take(window, jump)
    assert not take(window, 0)
    assert not take(window, jump)
    assert take(window, jump - 1) == (jump > 1)


@pytest.mark.parametrize("counter", [-1, MAX_COUNTER, MAX_COUNTER + 1, (1 << 64) - 1, 1 << 64])
def test_counters_beyond_the_limit_are_refused(counter: int) -> None:
    assert not ReplayWindow().fresh(counter)


@given(st.lists(st.integers(0, 3 * WINDOW_COUNTERS) | st.integers(0, MAX_COUNTER - 1) | st.integers(0, 40)))
def test_as_a_set_would(counters: list[int]) -> None:
    window, seen, highest = ReplayWindow(), set[int](), -1
    for counter in counters:
        expected = counter not in seen and counter > highest - WINDOW_COUNTERS
        assert take(window, counter) == expected
        seen.add(counter)
        highest = max(highest, counter) if expected else highest
