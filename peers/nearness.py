"""What a peer that was never measured probably adds to a round trip, by how far it is from the hops before it.

Distance counts from the peers that a client holds on to and that stand just before the exit: the second hops, or the
guard on a path of two. So exits lean towards hops that were drawn without a look at distance, and tell nothing of where
the client is. Only on a path of one hop the client's own country counts: its exit sees the client anyway.

The database's country of a peer's addresses counts, the farthest of several, since a peer may publish addresses of
others beside its own. Of a peer without one, or whose addresses the database does not know, there is only the region
that it claims. As far as that is believed, it can make the peer look farther than usual and never nearer: whoever says
that it is near gains nothing. In all cases this is only the start, and what is measured takes its place.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache, partial
from statistics import fmean
from typing import TYPE_CHECKING, Final

from peers.descriptor import Descriptor
from peers.regions import country_of
from peers.scores import USUAL_RTT_S

if TYPE_CHECKING:
    from peers.regions import Locator

NEAR_RTT_S: Final = 0.02
"""Added by a peer in the same country or the next: its line, and some hundred km."""
RTT_S_PER_KM: Final = 2 * 1.5 / 200_000
"""There and back at the speed of light in glass, by cables half as long again as the great circle. The farthest two
countries are 19,000 km apart, so nobody is expected to add more than 0.31 s."""

type Expect = Callable[[Descriptor], float | None]
"""What a peer will add to a round trip, in seconds; None where nothing is known of its place."""
type SeenFrom = Callable[[Sequence[Descriptor]], Expect]
"""Makes an `Expect` of the hops from which distance counts, of which each is as likely; none stand for this node."""


def nowhere(_found: Descriptor) -> None:
    """Expect nothing: an `Expect` for those who know no places."""


def from_nowhere(_before: Sequence[Descriptor]) -> Expect:
    """See from nowhere: a `SeenFrom` for those who know no places."""
    return nowhere


class Nearness:
    """Tells what to expect of peers by where they are.

    Args:
        places: where addresses and countries are.
        region_of: the region of a peer, as far as it is believed; empty for none.
        own_country: of this node, two letters; empty if it is not known.
    """

    def __init__(self, places: Locator, region_of: Callable[[Descriptor], str], own_country: str = "") -> None:
        self._places = places
        self._region_of = region_of
        self._own_country = own_country

    def seen_from(self, before: Sequence[Descriptor]) -> Expect:
        """Expect by the mean distance from some peers. Implements `SeenFrom`."""
        origins = [found for peer in before if (found := self._country(peer))] if before else [self._own_country]
        if not any(origins):
            return nowhere
        by_country = cache(partial(self._between, origins))
        lookup = self._places.lookup

        def expect(found: Descriptor) -> float | None:
            farthest = 0.0
            for host, _ in found.addresses:
                rtt_s = by_country(lookup(host).country)
                if rtt_s is not None and rtt_s > farthest:
                    farthest = rtt_s
            if farthest:
                return farthest
            claimed = by_country(country_of(self._region_of(found)))
            return None if claimed is None else max(claimed, USUAL_RTT_S)

        return expect

    def _country(self, found: Descriptor) -> str:
        """The country of a peer's addresses; empty if the database knows none, or several."""
        countries = {self._places.lookup(host).country for host, _ in found.addresses} - {""}
        return countries.pop() if len(countries) == 1 else ""

    def _between(self, origins: Sequence[str], country: str) -> float | None:
        apart_km = self._places.countries.apart_km
        known = [apart for origin in origins if (apart := apart_km(origin, country)) is not None]
        return NEAR_RTT_S + RTT_S_PER_KM * fmean(known) if known else None
