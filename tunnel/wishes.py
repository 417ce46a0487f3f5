"""For which exits circuits are built: those that waiting flows want, and those for ports that were lately used.

What the user wants for a site (`core.flow.SiteOptions`) is part of a wish. No circuit is built ahead for it, and one
that is built for it serves one isolation key.
"""

from __future__ import annotations

from collections import Counter
from contextlib import contextmanager
from typing import TYPE_CHECKING

from core.flow import NO_OPTIONS
from tunnel.limits import LATE_PORTS, LATE_PORTS_S
from tunnel.path import ANY_EXIT, Wish

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator

    from core.flow import SiteOptions
    from core.ids import PeerKey
    from tunnel.path import ExitOffers


class Wishes:
    """What flows want of exits. The ports stay in memory, and no host is kept with them.

    Args:
        offers: what exits say that they serve.
    """

    def __init__(self, offers: ExitOffers) -> None:
        self._offers = offers
        self._waiting: Counter[tuple[Wish, str]] = Counter()
        self._ports: dict[int, float] = {}

    def fit(self, last: PeerKey, wish: Wish) -> bool:
        """Whether an exit will do."""
        return last not in wish.but and self._offers.serves(last, wish)

    def possible(self, wish: Wish) -> bool:
        """Whether there may be an exit for a wish; what exits refused is not looked at."""
        return self._offers.anyone_serves(wish)

    @property
    def awaited(self) -> bool:
        """Whether a flow waits for anything."""
        return bool(self._waiting)

    @contextmanager
    def waiting(self, wish: Wish, isolation: str) -> Iterator[None]:
        """Hold on to a wish while a flow of an isolation key waits for it."""
        entry = wish, isolation
        self._waiting[entry] += 1
        try:
            yield
        finally:
            self._waiting[entry] -= 1
            if not self._waiting[entry]:
                del self._waiting[entry]

    def used(self, wish: Wish, now: float) -> None:
        """A flow goes to a port; the one unused for longest gives way when there are too many."""
        if wish.port and wish.options == NO_OPTIONS:
            self._ports.pop(wish.port, None)
            self._ports[wish.port] = now
            if len(self._ports) > LATE_PORTS:
                del self._ports[next(iter(self._ports))]

    def unmet(self, ahead: Callable[[SiteOptions], Collection[PeerKey]]) -> list[Wish]:
        """What flows wait for that no circuit will do for; with options of a site once for each key that waits.

        Args:
            ahead: gives the exits of the circuits for some options that are nobody's, or are being built.
        """
        usual = dict.fromkeys(wish for wish, _ in self._waiting if wish.options == NO_OPTIONS)
        ends = ahead(NO_OPTIONS)
        unmet = [wish for wish in usual if not self._met(wish, ends)]
        for options in dict.fromkeys(wish.options for wish, _ in self._waiting if wish.options != NO_OPTIONS):
            unmet += self._unmet_for(options, list(ahead(options)))
        return unmet

    def _unmet_for(self, options: SiteOptions, ends: list[PeerKey]) -> Iterator[Wish]:
        """Give each key that waits one of these exits, and of those for which none is left a wish."""
        given: dict[str, PeerKey | None] = {}
        for wish, isolation in self._waiting:
            if wish.options != options or isolation in given:
                continue
            given[isolation] = next((end for end in ends if self.fit(end, wish)), None)
            if (end := given[isolation]) is None:
                yield wish
            else:
                ends.remove(end)

    def late(self, ends: Collection[PeerKey], now: float, refusing: Callable[[Wish], Collection[PeerKey]]) -> Wish:
        """What the next circuit ahead shall do for: of the ports lately used the latest that none of these serves.

        Args:
            ends: exits of circuits that are nobody's.
            now: the time, in seconds.
            refusing: names exits that lately refused what is wished for.
        """
        late = (Wish(port) for port, at in reversed(self._ports.items()) if now - at < LATE_PORTS_S)
        return next((wish for wish in late if not self._met(wish, set(ends) - {*refusing(wish)})), ANY_EXIT)

    def _met(self, wish: Wish, ends: Collection[PeerKey]) -> bool:
        return any(self.fit(last, wish) for last in ends)
