"""Under which keys a peer leaves its address, and where others look for it."""

from __future__ import annotations

import random
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.ids import PeerKey
from peers.descriptor import Role
from peers.networks import Network
from peers.rendezvous import SHARDS, days, keys_to_ask, own_keys, shard_of

NETWORK, OTHER = Network("main"), Network("main", bytes(32))
NOON = 20_000 * 86_400 + 43_200
BOTH = Role.RELAY | Role.EXIT

moments = st.floats(86_400, 2**32)
peers = st.binary(min_size=32, max_size=32).map(PeerKey)


@given(peers, st.sampled_from([Role.RELAY, Role.EXIT, BOTH]), moments, st.integers())
def test_who_looks_comes_to_every_key_of_every_peer(peer: PeerKey, roles: Role, now: float, seed: int) -> None:
    own = own_keys(NETWORK, peer, roles, now)
    asked = keys_to_ask(NETWORK, BOTH, now, random.Random(seed))
    assert set(own) <= set(asked)
    assert len(own) == len(roles) * len(days(now))
    assert len(asked) == len(set(asked)) == 2 * SHARDS * len(days(now))
    assert not set(asked) & set(keys_to_ask(OTHER, BOTH, now, random.Random(seed)))


@given(peers, moments, st.floats(-3600, 3600))
def test_clocks_may_be_an_hour_apart(peer: PeerKey, now: float, apart_s: float) -> None:
    theirs = now + apart_s
    assert set(own_keys(NETWORK, peer, BOTH, theirs)) & set(keys_to_ask(NETWORK, BOTH, now, random.Random(1)))


@pytest.mark.parametrize(
    ("past_midnight_s", "expected"),
    [(0, [0, -1]), (3599, [0, -1]), (3600, [0]), (43_200, [0]), (82_799, [0]), (82_800, [0, 1]), (86_399, [0, 1])],
)
def test_days(past_midnight_s: int, expected: list[int]) -> None:
    assert [day - 20_000 for day in days(20_000 * 86_400 + past_midnight_s)] == expected


def test_one_role_alone() -> None:
    asked = keys_to_ask(NETWORK, Role.RELAY, NOON, random.Random(1))
    assert set(asked) == {NETWORK.rendezvous(Role.RELAY, shard, NOON // 86_400) for shard in range(SHARDS)}


def test_shards_are_filled_evenly() -> None:
    rng = random.Random(1)
    shares = Counter(shard_of(PeerKey(rng.randbytes(32))) for _ in range(4000))
    assert set(shares) == set(range(SHARDS))
    assert min(shares.values()) > 900


def test_exits_and_relays_are_asked_for_by_turns_in_no_fixed_order() -> None:
    orders = {tuple(keys_to_ask(NETWORK, BOTH, NOON, random.Random(seed))) for seed in range(20)}
    assert len(orders) > 15
    exits = {NETWORK.rendezvous(Role.EXIT, shard, NOON // 86_400) for shard in range(SHARDS)}
    assert all([key in exits for key in order] == [True, False] * SHARDS for order in orders)
