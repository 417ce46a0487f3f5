"""Circuits that a client is building."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from core.flow import NO_OPTIONS
from tunnel.limits import MAX_RACERS

if TYPE_CHECKING:
    from collections.abc import Callable

    from core.flow import SiteOptions
    from core.ids import PeerKey
    from tunnel.path import Path

SLOW_S: Final = 0.5
"""After so long without an answer others are begun for flows that wait: most take a round trip, and that a hop is
silent is found out after `tunnel.limits.NEIGHBOUR_S`, or later."""


class UnderWay:
    """What is being built, and since when.

    Args:
        slow: called when one has become slow.
    """

    def __init__(self, slow: Callable[[], None]) -> None:
        self._slow = slow
        self._builds: list[tuple[Path, SiteOptions, float]] = []

    def __len__(self) -> int:
        return len(self._builds)

    @property
    def for_sites(self) -> int:
        """How many are for sites for which the user wants something of its own."""
        return sum(options != NO_OPTIONS for _, options, _ in self._builds)

    def begin(self, path: Path, options: SiteOptions) -> None:
        """One is begun."""
        loop = asyncio.get_running_loop()
        self._builds.append((path, options, loop.time() + SLOW_S))
        loop.call_later(SLOW_S, self._slow)

    def end(self, path: Path, options: SiteOptions) -> None:
        """The oldest of these is built, or has failed."""
        self._builds.remove(next(found for found in self._builds if found[:2] == (path, options)))

    def paths(self, options: SiteOptions) -> list[Path]:
        """All that are for some options."""
        return [path for path, wanted, _ in self._builds if wanted == options]

    def hopeful(self, options: SiteOptions) -> list[Path]:
        """Those that a flow may wait for: all while there are many, else those that are not slow."""
        if len(self._builds) >= MAX_RACERS:
            return self.paths(options)
        now = asyncio.get_running_loop().time()
        return [path for path, wanted, slow_at in self._builds if wanted == options and now < slow_at]

    def doubted(self, options: SiteOptions) -> list[PeerKey]:
        """Who stands between guard and exit of those that are slow."""
        hopeful = self.hopeful(options)
        return [hop.peer for path in self.paths(options) if path not in hopeful for hop in path[1:-1]]
