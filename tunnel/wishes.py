"""For which exits circuits are kept ready: those that waiting flows want, and those for ports that were lately used."""

from __future__ import annotations

from collections import Counter
from contextlib import contextmanager
from typing import TYPE_CHECKING

from tunnel.limits import LATE_PORTS, LATE_PORTS_S
from tunnel.path import ANY_EXIT, Wish

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator

    from core.ids import PeerKey
    from tunnel.path import ExitOffers


class Wishes:
    """What flows want of exits. The ports stay in memory, and no host is kept with them.

    Args:
        offers: what exits say that they serve.
    """

    def __init__(self, offers: ExitOffers) -> None:
        self._offers = offers
        self._waiting: Counter[Wish] = Counter()
        self._ports: dict[int, float] = {}

    def fit(self, last: PeerKey, wish: Wish) -> bool:
        """Whether an exit will do."""
        return last not in wish.but and (not wish.port or self._offers.serves(last, wish.port))

    def possible(self, wish: Wish) -> bool:
        """Whether there may be an exit for a wish; what exits refused is not looked at."""
        return not wish.port or self._offers.anyone_serves(wish.port)

    @contextmanager
    def waiting(self, wish: Wish) -> Iterator[None]:
        """Hold on to a wish while a flow waits for it."""
        self._waiting[wish] += 1
        try:
            yield
        finally:
            self._waiting[wish] -= 1
            if not self._waiting[wish]:
                del self._waiting[wish]

    def used(self, port: int | None, now: float) -> None:
        """A flow goes to a port; the one unused for longest gives way when there are too many."""
        if port:
            self._ports.pop(port, None)
            self._ports[port] = now
            if len(self._ports) > LATE_PORTS:
                del self._ports[next(iter(self._ports))]

    def unmet(self, ends: Collection[PeerKey]) -> list[Wish]:
        """What flows wait for that no circuit to one of these exits will do for."""
        return [wish for wish in self._waiting if not self._met(wish, ends)]

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
