"""The own connections' last second, by a clock of the test's."""

from __future__ import annotations

from typing import TYPE_CHECKING

from node.own_traffic import NO_SPEED, OwnTraffic, second
from tests.harness.waiting import until

if TYPE_CHECKING:
    import pytest


class Counted:
    """Implements what is asked of `proxy.traffic.Traffic`."""

    def __init__(self) -> None:
        self.carried_bytes = (1000, 5000)
        self.times: list[float] = []

    def take_times(self) -> list[float]:
        times, self.times = self.times, []
        return times


class Clock:
    """Seconds that pass when the test says so."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def test_rates_are_of_the_time_between_two_looks() -> None:
    counted, clock = Counted(), Clock()
    own = OwnTraffic(counted, clock)
    assert second(own, 2, 0.0123) == NO_SPEED | {"flows": 2, "first_byte_ms": None, "rtt_ms": 12.3}
    counted.carried_bytes, clock.now, counted.times = (3000, 15000), 102.0, [0.001, 0.5, 0.004]
    own.look()
    assert second(own, 2, None) == {
        "forth_bytes_s": 1000,
        "back_bytes_s": 5000,
        "flows": 2,
        "first_byte_ms": 4.0,
        "rtt_ms": None,
    }
    clock.now = 103.0
    own.look()
    assert (own.speed, own.first_byte_ms) == (NO_SPEED, None)


async def test_it_looks_by_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("node.own_traffic.LOOK_S", 0.01)
    counted = Counted()
    own = OwnTraffic(counted)
    own.start()
    counted.carried_bytes = (1000, 1 << 40)
    await until(lambda: own.speed["back_bytes_s"] > 0)
    await until(lambda: own.speed["back_bytes_s"] == 0)
    await own.close()


def test_without_a_port_nothing_moves() -> None:
    assert second(None, 0, None) == NO_SPEED | {"flows": 0, "first_byte_ms": None, "rtt_ms": None}
