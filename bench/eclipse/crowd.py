"""The peers of the experiment: those that everybody knows, some of them hostile, and those that only the hostile tell
of."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Final

from core.ids import PeerKey
from peers.descriptor import MAX_LIFE_S, Descriptor, Role

if TYPE_CHECKING:
    import random
    from collections.abc import Iterator

HOUR_S: Final = 3600
RENEW_H: Final = 6
LIFE_S: Final = 20 * HOUR_S
"""As nodes do. The hostile sign theirs for as long as is allowed."""
EXITS: Final = 3
"""One of so many peers is an exit."""
KNOWN: Final = 0.95
"""Part of the peers that an honest one tells of."""


class Crowd:
    """All peers.

    Args:
        public: how many everybody knows.
        hostile: the part of these that is hostile.
        hidden: how many only the hostile tell of; all are relays and exits.
        junk: the part of the peers met through the DHT that is hostile.
    """

    def __init__(self, public: int, hostile: float, hidden: int, junk: float) -> None:
        self._junk = junk
        bad = round(hostile * public)
        self.honest = [_peer(number, number % EXITS == 0) for number in range(bad, public)]
        self._public_bad = [_peer(number, number % EXITS == 0) for number in range(bad)]
        self._hidden = [_peer(number, True) for number in range(public, public + hidden)]
        self.hostile = {found.peer for found in (*self._public_bad, *self._hidden)}

    def guards(self, hostile: int, rng: random.Random) -> list[Descriptor]:
        """Two guards, the first so many of them hostile."""
        return [*rng.sample(self._public_bad, hostile), *rng.sample(self.honest, 2 - hostile)]

    def met(self, rng: random.Random) -> Descriptor:
        """A relay that is met through the DHT."""
        return rng.choice(self._public_bad if rng.random() < self._junk else self.honest)

    def told_by(self, neighbour: Descriptor, hour: int, rng: random.Random) -> Iterator[Descriptor]:
        """What a neighbour tells of: an honest one of nearly all, a hostile one of its friends."""
        if neighbour.peer in self.hostile:
            yield from (_signed(found, hour, MAX_LIFE_S) for found in (*self._public_bad, *self._hidden))
            return
        for found in self.honest:
            if rng.random() < KNOWN:
                yield _signed(found, hour, LIFE_S)
        yield from (_signed(found, hour, MAX_LIFE_S) for found in self._public_bad)

    def signed(self, found: Descriptor, hour: int) -> Descriptor:
        """A peer's descriptor at an hour."""
        return _signed(found, hour, MAX_LIFE_S if found.peer in self.hostile else LIFE_S)


def _signed(found: Descriptor, hour: int, life_s: int) -> Descriptor:
    sequence = 1 + hour // RENEW_H
    raw = found.peer + sequence.to_bytes(2)
    return replace(found, sequence=sequence, expiry=sequence * RENEW_H * HOUR_S - RENEW_H * HOUR_S + life_s, raw=raw)


def _peer(number: int, ends: bool) -> Descriptor:
    """A peer in a network of its own."""
    key = number.to_bytes(32)
    roles = Role.RELAY | Role.EXIT if ends else Role.RELAY
    host = f"{20 + number // 256}.{number % 256}.0.1"
    return Descriptor(PeerKey(key), 1, 1, key, (key,), roles, ((host, 4433),))
