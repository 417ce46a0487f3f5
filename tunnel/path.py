"""What a circuit is built from: the ordered hops, as plain data."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Protocol

from core.flow import NO_OPTIONS, SiteOptions
from core.ids import PeerKey, short
from core.tariffs import rate_at

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
        tariff: the step that it asks, 0 to 7.
    """

    peer: PeerKey
    link_key: bytes
    onion_key: bytes
    addresses: tuple[tuple[str, int], ...]
    tariff: int = 0

    def __repr__(self) -> str:
        return f"Hop({short(self.peer)})"


type Path = tuple[Hop, ...]
"""The guard first, the exit last."""


def rates_of(path: Path) -> tuple[int, ...]:
    """What each hop is paid, in units per MB, the guard's first; then 0, which is what the exit pays."""
    steps = tuple(hop.tariff for hop in path)
    return tuple(rate_at(steps, place) for place in range(len(path) + 1))


@dataclass(frozen=True, slots=True, repr=False)
class Wish:
    """What a path, and above all its exit, shall be.

    Args:
        port: a TCP port that it must serve, as far as it says; 0 for a UDP association, of which exits say nothing;
            None for no matter what.
        but: exits that will not do.
        options: what the user wants for the site. No other site's circuit will do.
    """

    port: int | None = None
    but: frozenset[PeerKey] = frozenset()
    options: SiteOptions = NO_OPTIONS


ANY_EXIT: Final = Wish()


class PathChooser(Protocol):
    """Names paths."""

    def __call__(self, avoid: Collection[PeerKey], last: PeerKey | None, wish: Wish = ANY_EXIT, /) -> Path:
        """Name a path.

        Args:
            avoid: peers not to use.
            last: the exit, None for any.
            wish: what any exit shall be, and what the path to it. For it no guard is drawn that others do not need.

        Raises:
            core.errors.CircuitError: there is none.
        """


class ExitOffers(Protocol):
    """What exits say that they serve. Which exits a wish leaves out is not looked at."""

    def serves(self, last: PeerKey, wish: Wish) -> bool:
        """Whether an exit serves a TCP port; True when nothing is known of it, since asking will tell.

        With options of a site, whether it is also what these ask for now; then one of which nothing is known is not.
        """

    def anyone_serves(self, wish: Wish) -> bool:
        """Whether a path could end at an exit that does; True while no exit is known at all."""


class EveryPort:
    """Exits of which nothing is known."""

    def serves(self, last: PeerKey, wish: Wish) -> bool:
        return True

    def anyone_serves(self, wish: Wish) -> bool:
        return True


type PathWitness = Callable[[Path, int, bool], None]
"""Told of each creation: how many hops, from the guard on, did their part, and if it failed, whether the next one is at
fault."""

type ExitRank = Callable[[PeerKey, PeerKey | None, SiteOptions], int]
"""Says how much an exit is wanted for new flows, 0 for the most, given the exit that was lost before if one was, and
what the user wants for the site."""
