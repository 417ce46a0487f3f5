"""Circuits that a client is building."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
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


@dataclass(frozen=True, slots=True)
class _Build:
    path: Path
    options: SiteOptions
    becomes_slow: asyncio.TimerHandle


class UnderWay:
    """What is being built, and since when.

    Args:
        slow: called when one has become slow for which a flow may wait.
        awaited: whether any flow waits.
    """

    def __init__(self, slow: Callable[[], None], awaited: Callable[[], bool]) -> None:
        self._slow = slow
        self._awaited = awaited
        self._builds: list[_Build] = []

    def __len__(self) -> int:
        return len(self._builds)

    @property
    def for_sites(self) -> int:
        """How many are for sites for which the user wants something of its own."""
        return sum(build.options != NO_OPTIONS for build in self._builds)

    def begin(self, path: Path, options: SiteOptions) -> None:
        """One is begun."""
        self._builds.append(_Build(path, options, asyncio.get_running_loop().call_later(SLOW_S, self._became_slow)))

    def _became_slow(self) -> None:
        if self._awaited():
            self._slow()

    def end(self, path: Path, options: SiteOptions) -> None:
        """The oldest of these is built, or has failed."""
        ended = next(build for build in self._builds if (build.path, build.options) == (path, options))
        ended.becomes_slow.cancel()
        self._builds.remove(ended)

    def paths(self, options: SiteOptions) -> list[Path]:
        """All that are for some options."""
        return [build.path for build in self._builds if build.options == options]

    def hopeful(self, options: SiteOptions) -> list[Path]:
        """Those that a flow may wait for: all while there are many, else those that are not slow."""
        if len(self._builds) >= MAX_RACERS:
            return self.paths(options)
        now = asyncio.get_running_loop().time()
        hopeful = (build for build in self._builds if now < build.becomes_slow.when())
        return [build.path for build in hopeful if build.options == options]

    def doubted(self, options: SiteOptions) -> list[PeerKey]:
        """Who stands between guard and exit of those that are slow."""
        hopeful = self.hopeful(options)
        return [hop.peer for path in self.paths(options) if path not in hopeful for hop in path[1:-1]]
