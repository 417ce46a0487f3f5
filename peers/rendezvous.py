"""Where peers of a network leave their addresses in the DHT: keys by role, shard and day.

Shards divide the peers of a role among several keys, so that no few nodes of the DHT hold all of them. A peer's shard
follows from its key. Days change at midnight, UTC; within an hour of it both days count, since clocks differ.
"""

from __future__ import annotations

from hashlib import blake2s
from typing import TYPE_CHECKING, Final, Protocol

from peers.descriptor import Role

if TYPE_CHECKING:
    from collections.abc import Sequence

    from core.ids import PeerKey
    from peers.networks import Network

SHARDS: Final = 4
NEAR_MIDNIGHT_S: Final = 3600
_DAY_S: Final = 86_400
_ROLES: Final = (Role.EXIT, Role.RELAY)


class Shuffler(Protocol):
    """What is needed of `random.Random`."""

    def sample[T](self, population: Sequence[T], k: int) -> list[T]:
        """Return `k` different elements."""


def shard_of(peer: PeerKey) -> int:
    """The shard that a peer announces itself in."""
    return blake2s(peer, digest_size=1).digest()[0] % SHARDS


def days(now: float) -> list[int]:
    """The days that count, today first.

    Args:
        now: Unix seconds.

    Returns:
        Days since 1970.
    """
    today, since = divmod(int(now), _DAY_S)
    if since < NEAR_MIDNIGHT_S:
        return [today, today - 1]
    return [today, today + 1] if since >= _DAY_S - NEAR_MIDNIGHT_S else [today]


def own_keys(network: Network, peer: PeerKey, roles: Role, now: float) -> list[bytes]:
    """The keys under which a peer announces itself.

    Args:
        network: in which it is.
        peer: its name.
        roles: what it does.
        now: Unix seconds.
    """
    shard = shard_of(peer)
    return [network.rendezvous(role, shard, day) for role in _ROLES if role in roles for day in days(now)]


def keys_to_ask(network: Network, roles: Role, now: float, rng: Shuffler) -> list[bytes]:
    """The keys under which peers are looked for: by turns of the roles, each shard once, at random, today first.

    Args:
        network: whose peers.
        roles: who is looked for.
        now: Unix seconds.
        rng: where chance comes from.
    """
    orders = {role: rng.sample(range(SHARDS), SHARDS) for role in _ROLES if role in roles}
    return [
        network.rendezvous(role, order[place], day)
        for day in days(now)
        for place in range(SHARDS)
        for role, order in orders.items()
    ]
