"""Hops that say of one next hop after another that it does not answer. Time comes in as an argument.

Such a hop may be right once. One that says so of most is itself in the way, or lets only its friends through. It is not
replaced for that, since who is accused can bring it about: others that are kept already are preferred to it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Collection

    from core.ids import PeerKey

LEAST_ACCUSED: Final = 2
"""So few next hops at least, and no less than half of those remembered, make their accuser doubted."""

MAX_NEXT: Final = 16
"""Next hops remembered for each accuser, those that it was last asked for."""

REMEMBERED_S: Final = 3600.0
"""For so long after its last accusation an accuser stays doubted."""


class Accusers:
    """What kept hops say of those after them."""

    def __init__(self) -> None:
        self._said: dict[PeerKey, dict[PeerKey, bool]] = {}
        self._accused_at: dict[PeerKey, float] = {}

    def keep(self, peers: Collection[PeerKey]) -> None:
        """Forget all accusers but these."""
        for gone in self._said.keys() - peers:
            del self._said[gone]
            self._accused_at.pop(gone, None)

    def served(self, peer: PeerKey, following: PeerKey) -> None:
        """A hop reached the next one."""
        self._note(peer, following, accused=False)

    def accused(self, peer: PeerKey, following: PeerKey, now: float) -> None:
        """A hop says that the next one does not answer.

        Args:
            peer: who says so.
            following: of whom.
            now: Unix seconds.
        """
        self._note(peer, following, accused=True)
        self._accused_at[peer] = now

    def doubted(self, peer: PeerKey, now: float) -> bool:
        """Whether a hop is better not used while there are others.

        Args:
            peer: the hop.
            now: Unix seconds.
        """
        at = self._accused_at.get(peer)
        if at is None or not 0 <= now - at < REMEMBERED_S:
            return False
        said = self._said[peer]
        count = sum(said.values())
        return count >= LEAST_ACCUSED and 2 * count >= len(said)

    def _note(self, peer: PeerKey, following: PeerKey, *, accused: bool) -> None:
        said = self._said.setdefault(peer, {})
        said.pop(following, None)
        said[following] = accused
        if len(said) > MAX_NEXT:
            del said[next(iter(said))]
