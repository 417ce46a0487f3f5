"""Addresses by strangers."""

from __future__ import annotations

import random
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from peers.hints import MAX_PER_HOST, MAX_PER_NETWORK, MAX_TRIED, MAX_WAITING, TRIED_AGAIN_S, Hints

HONEST = ("203.0.113.7", 4433)


def hints() -> Hints:
    return Hints(lambda host: not host.startswith("10."), random.Random(7))


@pytest.mark.parametrize(
    "address",
    [
        *[("10.0.0.1", 4433), ("203.0.113.7", 0), ("203.0.113.7", 65536), ("0.0.0.0", 1), ("224.0.0.1", 1), ("", 1)],
        *[("203.0.113.07", 1), ("example.org", 1), ("::ffff:203.0.113.7", 1), ("2001:DB8::1", 1)],
    ],
)
def test_what_is_no_address_to_dial_is_left_out(address: tuple[str, int]) -> None:
    found = hints()
    assert found.add([address], 0.0) == 0
    assert found.take(0.0) is None


def test_each_is_taken_once_and_again_only_after_a_while() -> None:
    found = hints()
    assert found.add([HONEST, HONEST], 0.0) == 1
    assert found.take(1.0) == HONEST
    assert found.take(1.0) is None
    assert found.add([HONEST], TRIED_AGAIN_S) == 0
    assert found.add([HONEST], TRIED_AGAIN_S + 1.0) == 1


def test_a_thousand_ports_of_one_host_count_for_two() -> None:
    found = hints()
    assert found.add([("198.51.100.1", port) for port in range(1, 1001)], 0.0) == MAX_PER_HOST
    assert found.add([HONEST], 0.0) == 1


def test_a_network_full_of_hosts_does_not_crowd_out_another() -> None:
    first = 0
    for seed in range(200):
        found = Hints(lambda host: True, random.Random(seed))
        assert found.add([(f"198.51.{i}.1", 1) for i in range(250)], 0.0) == MAX_PER_NETWORK
        found.add([HONEST], 0.0)
        first += found.take(0.0) == HONEST
    assert 70 < first < 130  # half, and not one in seventeen


def test_what_was_tried_is_remembered_within_a_bound() -> None:
    found = hints()
    for i in range(MAX_TRIED + 10):
        assert found.add([(f"{11 + i // 60000}.{i // 250 % 250}.{i % 250}.1", 1)], 0.0) == 1
        assert found.take(0.0) is not None
    assert len(found._tried) == MAX_TRIED


@given(st.lists(st.tuples(st.integers(0, 40), st.integers(0, 3), st.integers(0, 3), st.booleans()), max_size=300))
def test_bounds_hold_whatever_comes(steps: list[tuple[int, int, int, bool]]) -> None:
    found, waiting = hints(), set[tuple[str, int]]()
    for network, host, port, take in steps:
        address = (f"11.{network}.{host}.1", port + 1)
        if found.add([address], 0.0):
            assert address not in waiting
            waiting.add(address)
        if take and (taken := found.take(0.0)) is not None:
            waiting.remove(taken)
        assert len(found) == len(waiting) <= MAX_WAITING
        assert max(Counter(name for name, _ in waiting).values(), default=0) <= MAX_PER_HOST
        networks = Counter(name.split(".")[1] for name, _ in waiting)
        assert max(networks.values(), default=0) <= MAX_PER_NETWORK


def test_all_that_wait_are_bounded() -> None:
    found = hints()
    assert found.add([(f"11.{i}.{j}.1", 1) for i in range(100) for j in range(16)], 0.0) == MAX_WAITING
