"""What a circuit is built from: the ordered hops, as plain data."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from core.ids import short

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from core.ids import PeerKey


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

type PathChooser = Callable[[Collection[PeerKey], PeerKey | None], Path]
"""Names a path that avoids some peers and, if an exit is named, ends there; raises CircuitError when there is none."""

type PathWitness = Callable[[Path, int, bool], None]
"""Told of each creation: how many hops, from the guard on, did their part, and if it failed, whether the next one is at
fault."""

type ExitRank = Callable[[PeerKey, PeerKey | None], int]
"""Says how much an exit is wanted for new flows, 0 for the most, given the exit that was lost before if one was."""
