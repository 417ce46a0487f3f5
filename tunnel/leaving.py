"""Peers that are about to stop, as a client hears of it. Time comes in as an argument.

Who leaves is left out for a while, and nothing is held against it. That must not become a cheap way to steer where
circuits go, so only so many words are heeded: of one peer, and of those on circuits to one exit. An exit speaks for
itself under the circuit's keys, and so does who turns a circuit down; of a guard or a relay a hop before it may speak.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from tunnel.limits import BUILD_S, LEAVING_S, MAX_LEAVERS, MAX_LEAVINGS, REBUILDS_WITHIN_S

if TYPE_CHECKING:
    from core.ids import PeerKey


@dataclass(slots=True)
class _Words:
    """When it was heard, for one peer, that it leaves; or for one exit, that somebody else before it does."""

    at: deque[float] = field(default_factory=lambda: deque(maxlen=MAX_LEAVINGS))

    def room(self, now: float) -> bool:
        return len(self.at) < MAX_LEAVINGS or now - self.at[0] >= REBUILDS_WITHIN_S


class Leavers:
    """Who leaves."""

    def __init__(self) -> None:
        self._peers: dict[PeerKey, _Words] = {}
        self._exits: dict[PeerKey, _Words] = {}

    def __len__(self) -> int:
        return len(self._peers)

    def avoided(self, now: float) -> list[PeerKey]:
        """Peers to leave out while there are others."""
        return [peer for peer in self._peers if self.leaves(peer, now)]

    def leaves(self, peer: PeerKey, now: float) -> bool:
        """Whether it was heard a short while ago that a peer leaves."""
        words = self._peers.get(peer)
        return words is not None and now - words.at[-1] < LEAVING_S

    def said_since(self, peer: PeerKey, moment: float) -> bool:
        """Whether the last such word of a peer came at or after a loop time."""
        words = self._peers.get(peer)
        return words is not None and words.at[-1] >= moment

    def says(self, peer: PeerKey, now: float) -> bool:
        """Hear from a peer itself that it leaves.

        Returns:
            Whether that is believed. It is not of one that has left and come back several times.
        """
        if self.leaves(peer, now):
            return True
        words = self._of(self._peers, peer)
        if words.at and not words.room(now):
            return False
        words.at.append(now)
        return True

    def is_said(self, peer: PeerKey, last: PeerKey, made_at: float, now: float) -> bool:
        """Hear from a hop before a guard or relay, or from itself, that it leaves.

        Args:
            peer: who leaves.
            last: the exit of the circuit.
            made_at: loop time at which the circuit was made.
            now: loop time.

        Returns:
            Whether that is heeded. It is not if the circuit was made after it was known, for want of other peers.
        """
        if self.leaves(peer, now):
            return made_at - self._peers[peer].at[-1] < BUILD_S
        words = self._of(self._exits, last)
        if not words.room(now) or not self.says(peer, now):
            return False
        words.at.append(now)
        return True

    @staticmethod
    def _of(known: dict[PeerKey, _Words], peer: PeerKey) -> _Words:
        words = known.pop(peer, None) or _Words()
        known[peer] = words
        if len(known) > MAX_LEAVERS:
            del known[next(iter(known))]
        return words
