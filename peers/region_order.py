"""Which of the wanted regions exits are taken from: the first that has one, and whether the way leads back."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable


def is_in(region: str, wanted: Iterable[str]) -> bool:
    """Whether a region is one of those wanted, or a part of one: `US-CA` is in `US`.

    Args:
        region: as a descriptor gives it.
        wanted: country codes, some with a part.
    """
    name = region.upper()
    return any(name == each.upper() or name.startswith(f"{each.upper()}-") for each in wanted)


class RegionOrder:
    """The wanted regions in the order in which they are tried.

    Args:
        wanted: the preferred first; empty for anywhere.
        switch_back: go back to a region that comes earlier as soon as it has an exit again. Otherwise stay in a region
            until it has none.
    """

    def __init__(self, wanted: tuple[str, ...], switch_back: bool) -> None:
        self._wanted = wanted
        self._switch_back = switch_back
        self._current = wanted[0] if wanted else ""

    @property
    def order(self) -> tuple[str, ...]:
        """The regions to try now, one after another; empty for anywhere."""
        if self._switch_back:
            return self._wanted
        return tuple(sorted(self._wanted, key=lambda region: region != self._current))

    def entered(self, region: str) -> None:
        """Exits are taken from this one of the wanted regions now."""
        self._current = region

    def working(self, works: Callable[[str], bool]) -> tuple[str, ...]:
        """The regions to try, without those that have no exit which works.

        Args:
            works: whether a region has an exit that nothing is held against.
        """
        return tuple(region for region in self.order if works(region))

    def rank(self, region: str, working: tuple[str, ...]) -> int:
        """How much an exit in a region is preferred, 0 for the most.

        Args:
            region: of the exit.
            working: the regions that have an exit which works; they come before the others.
        """
        order = [*working, *(wanted for wanted in self.order if wanted not in working)]
        return next((place for place, wanted in enumerate(order) if is_in(region, (wanted,))), len(order))
