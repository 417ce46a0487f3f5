"""What a circuit is built from: the ordered hops, as plain data."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Protocol

from core.ids import PeerKey, short

if TYPE_CHECKING:
    from collections.abc import Callable, Collection


@dataclass(frozen=True, slots=True, repr=False)
class Hop:
    """One peer on a path.

    Args:
        peer: its Ed25519 key, 32 bytes.
        link_key: the X25519 key that its end of a link proves, 32 bytes.
        onion_key: the X25519 key that circuit creation is addressed to, 32 bytes.
        addresses: IP literals with UDP ports (1 to 65535), the preferred one first.
    """

    peer: PeerKey
    link_key: bytes
    onion_key: bytes
    addresses: tuple[tuple[str, int], ...]

    def __repr__(self) -> str:
        return f"Hop({short(self.peer)})"


type Path = tuple[Hop, ...]
"""The guard first, the exit last."""


@dataclass(frozen=True, slots=True, repr=False)
class Wish:
    """What the exit of a path shall be.

    Args:
        port: a TCP port that it must serve, as far as it says; 0 for a UDP association, of which exits say nothing;
            None for no matter what.
        but: exits that will not do.
    """

    port: int | None = None
    but: frozenset[PeerKey] = frozenset()


ANY_EXIT: Final = Wish()


class PathChooser(Protocol):
    """Names paths."""

    def __call__(self, avoid: Collection[PeerKey], last: PeerKey | None, wish: Wish = ANY_EXIT, /) -> Path:
        """Name a path.

        Args:
            avoid: peers not to use.
            last: the exit, None for any.
            wish: what any exit shall be. For it no guard is drawn that a path to another exit does not need.

        Raises:
            core.errors.CircuitError: there is none.
        """


class ExitOffers(Protocol):
    """What exits say that they serve."""

    def serves(self, last: PeerKey, port: int) -> bool:
        """Whether an exit serves a TCP port; True when nothing is known of it, since asking will tell."""

    def anyone_serves(self, port: int) -> bool:
        """Whether a path could end at an exit that does; True while no exit is known at all."""


class EveryPort:
    """Exits of which nothing is known."""

    def serves(self, last: PeerKey, port: int) -> bool:
        return True

    def anyone_serves(self, port: int) -> bool:
        return True


type PathWitness = Callable[[Path, int, bool], None]
"""Told of each creation: how many hops, from the guard on, did their part, and if it failed, whether the next one is at
fault."""

type ExitRank = Callable[[PeerKey, PeerKey | None], int]
"""Says how much an exit is wanted for new flows, 0 for the most, given the exit that was lost before if one was."""
