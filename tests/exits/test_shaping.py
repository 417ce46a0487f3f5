"""The shaper with a virtual clock: rate, bursts, fairness, what may not wait, and the end of a quota."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.pump import READ_BYTES
from exits.shaping import BURST_S, URGENT_S, Shaper
from tests.exits.virtual import Busy, VirtualTime

MBIT = 125_000
RATES = [1, 5, 20, 100]


def made(rate: float, lag_s: float = 0.0) -> tuple[VirtualTime, Shaper]:
    stage = VirtualTime(lag_s)
    return stage, Shaper(rate, stage.clock, stage.later)


def spread(flows: list[Busy]) -> float:
    mean = sum(flow.carried for flow in flows) / len(flows)
    return max(abs(flow.carried - mean) for flow in flows) / mean


@pytest.mark.parametrize("mbit", RATES)
@pytest.mark.parametrize("count", [1, 20])
@pytest.mark.parametrize("lag_s", [0.0, 0.002, 0.01])
def test_the_rate_holds_over_ten_seconds(mbit: int, count: int, lag_s: float) -> None:
    stage, shaper = made(mbit * MBIT, lag_s)
    flows = [Busy(stage, shaper, "circuit", shaper.piece_bytes) for _ in range(count)]
    for flow in flows:
        flow.ask()
    stage.run(1)  # whoever comes first has the burst
    for flow in flows:
        flow.carried = 0
    stage.run(10)
    carried = sum(flow.carried for flow in flows)
    assert carried == pytest.approx(mbit * MBIT * 10, rel=0.01)
    assert spread(flows) < 0.1


@pytest.mark.parametrize("mbit", RATES)
def test_one_flow_of_a_circuit_gets_as_much_as_nineteen_of_another(mbit: int) -> None:
    """Even though its next piece comes a little later, as a socket's does, and the timer is late."""
    stage, shaper = made(mbit * MBIT, lag_s=0.004)
    alone = Busy(stage, shaper, "one", shaper.piece_bytes, pause_s=0.001)
    many = [Busy(stage, shaper, "other", shaper.piece_bytes, pause_s=0.001) for _ in range(19)]
    for flow in (*many, alone):
        flow.ask()
    stage.run(10)
    others = sum(flow.carried for flow in many)
    assert alone.carried == pytest.approx(others, rel=0.03)
    assert spread(many) < 0.15


def test_sizes_of_pieces_make_no_difference() -> None:
    stage, shaper = made(20 * MBIT)
    flows = [Busy(stage, shaper, "circuit", size) for size in (600, 4000, 32000)]
    for flow in flows:
        flow.ask()
    stage.run(10)
    assert spread(flows) < 0.03


@given(st.lists(st.tuples(st.integers(1, 40_000), st.floats(0, 0.3)), min_size=1, max_size=60))
def test_no_interval_carries_more_than_the_rate_and_a_burst(pieces: list[tuple[int, float]]) -> None:
    rate = 1_000_000
    stage, shaper = made(rate)
    most = BURST_S * rate + 40_000
    started, carried = stage.now, 0

    class Once:
        def __init__(self, size: int) -> None:
            self.size = size

        def go(self) -> bool:
            nonlocal carried
            carried += self.size
            return True

    for number, (size, pause) in enumerate(pieces):
        if shaper.passes(number % 3, Once(size), size):
            carried += size
        stage.run(pause)
        assert carried <= rate * (stage.now - started) + most
    stage.run(10)
    assert carried == sum(size for size, _ in pieces)  # nobody is forgotten


def test_an_idle_bucket_holds_no_more_than_a_burst() -> None:
    stage, shaper = made(MBIT)
    stage.run(3600)
    flow = Busy(stage, shaper, "circuit", shaper.piece_bytes)
    flow.ask()
    assert flow.carried <= BURST_S * MBIT + shaper.piece_bytes


def test_a_new_flow_waits_for_one_round_and_not_behind_what_waits() -> None:
    stage, shaper = made(MBIT)
    bulk = [Busy(stage, shaper, "bulk", shaper.piece_bytes) for _ in range(20)]
    for flow in bulk:
        flow.ask()
    stage.run(5)
    same, other = (Busy(stage, shaper, share, 500, pause_s=0.5) for share in ("bulk", "other"))
    same.ask()
    other.ask()
    stage.run(5)
    assert other.longest_wait_s < 0.1
    assert same.longest_wait_s < 1.0


def test_a_waiter_that_is_over_costs_nothing() -> None:
    stage, shaper = made(MBIT)
    live, dead = (Busy(stage, shaper, "circuit", 2000) for _ in range(2))
    crowd = [Busy(stage, shaper, number, 30_000) for number in range(200)]
    for flow in (live, dead, *crowd):
        flow.ask()
    for flow in crowd:
        flow.over = True
    stage.run(10)
    assert live.carried + dead.carried >= 10 * MBIT - 30_000  # one of the crowd went before the others came


@pytest.mark.parametrize(
    ("rate", "piece"),
    [(0.1 * MBIT, 2036), (MBIT, 2036), (5 * MBIT, 12276), (100 * MBIT, READ_BYTES), (math.inf, READ_BYTES)],
)
def test_pieces_fill_whole_steps(rate: float, piece: int) -> None:
    assert made(rate)[1].piece_bytes == piece


# -- what does not wait


def test_datagrams_are_dropped_when_nothing_is_left() -> None:
    stage, shaper = made(MBIT)
    passed = 0
    for _ in range(10_000):  # 12 Mbit/s for 10 s
        passed += 1500 * shaper.admits("circuit", 1500)
        stage.run(0.001)
    assert passed == pytest.approx(10 * MBIT, rel=0.02)


def test_datagrams_and_streams_of_two_circuits_get_the_same() -> None:
    stage, shaper = made(5 * MBIT)
    bulk = Busy(stage, shaper, "streams", shaper.piece_bytes)
    bulk.ask()
    passed = 0
    for _ in range(10_000):
        passed += 1200 * shaper.admits("datagrams", 1200)
        stage.run(0.001)
    assert passed + bulk.carried == pytest.approx(50 * MBIT, rel=0.02)
    assert passed == pytest.approx(bulk.carried, rel=0.05)


def test_pings_pass_beside_bulk_and_a_flood_of_them_does_not() -> None:
    stage, shaper = made(MBIT)
    bulk = [Busy(stage, shaper, number, 32_000) for number in range(3)]
    for flow in bulk:
        flow.ask()
    for _ in range(100):
        assert shaper.admits(0, 100, urgent=True)
        stage.run(0.1)
    flood = 0
    for _ in range(10_000):
        flood += 1000 * shaper.admits("flood", 1000, urgent=True)
        stage.run(0.001)
    carried = sum(flow.carried for flow in bulk)
    assert flood < 10 * MBIT / 4 + 2 * READ_BYTES + BURST_S * MBIT + 32_000
    assert carried + flood <= 20 * MBIT + URGENT_S * MBIT + 40_000


# -- the quota


def test_nothing_goes_once_the_quota_says_so() -> None:
    stage = VirtualTime()
    left = 1_000_000

    def take(count: int) -> bool:
        nonlocal left
        if count > left:
            return False
        left -= count
        return True

    shaper = Shaper(10 * MBIT, stage.clock, stage.later, take)
    flows = [Busy(stage, shaper, number, 7000) for number in range(3)]
    for flow in flows:
        flow.ask()
    stage.run(10)
    assert sum(flow.carried for flow in flows) == 1_000_000 - left
    assert left < 7000
    assert not shaper.admits("other", 7000)
    left = 1_000_000
    again = Busy(stage, shaper, "again", 7000)
    again.ask()
    stage.run(0.1)
    assert again.carried


def test_what_was_taken_and_not_carried_is_given_back() -> None:
    stage = VirtualTime()
    taken = 0

    def take(size: int) -> bool:
        nonlocal taken
        taken += size
        return True

    def give_back(size: int) -> None:
        nonlocal taken
        taken -= size

    shaper = Shaper(MBIT, stage.clock, stage.later, take, give_back)
    flows = [Busy(stage, shaper, number, 20_000) for number in range(5)]
    for flow in flows:
        flow.ask()
    flows[3].over = True
    stage.run(2)
    assert taken == sum(flow.carried for flow in flows)


def test_without_a_rate_nobody_waits() -> None:
    _, shaper = made(math.inf)

    class Never:
        def go(self) -> bool:
            raise AssertionError

    assert all(shaper.passes(1, Never(), 1 << 20) for _ in range(1000))
    assert not shaper.waits
