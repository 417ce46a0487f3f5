"""How one client chooses: rules, regions in their order, weights by what was measured, and the peers it holds on to."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from math import inf
from typing import TYPE_CHECKING, Final

from core.errors import CircuitError, NotYetError, Reason
from core.ports import ServedPorts, serves_port
from peers.descriptor import Role
from peers.nearness import from_nowhere, nowhere
from peers.path_draw import Place
from peers.paths import choose_pinned_path, has_path
from peers.region_order import RegionOrder, is_in
from peers.scores import weight_to_keep, weights
from tunnel.path import ANY_EXIT

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Sequence

    from core.ids import PeerKey
    from peers.descriptor import Descriptor
    from peers.directory import Directory
    from peers.eligible import Eligible
    from peers.guards import PinnedHops
    from peers.measurements import Measurements
    from peers.nearness import Expect, SeenFrom
    from peers.path_draw import Rng
    from peers.path_search import PathRules
    from peers.paths import DirectoryView
    from peers.scores import Figures, Lean
    from tunnel.path import Wish

BESIDE: Final = 1e6
"""Times as likely are exits in the region in which one more is wanted: in practice they come first."""


@dataclass(frozen=True, slots=True)
class Weighing:
    """Weighs candidates for a path. Implements `peers.path_draw.Weigh`.

    Args:
        measurements: what is known of peers.
        lean: what the mode looks at.
        clock: the time of the measurements.
        beside: says of an exit that one like it is wanted most.
        expects: what a peer probably adds to a round trip, by its distance.
    """

    measurements: Measurements
    lean: Lean
    clock: float
    beside: Callable[[Descriptor], bool] = lambda found: False
    expects: Expect = nowhere

    def figures(self, found: Descriptor, place: Place) -> Figures:
        """What to expect of a peer. Distance counts only where peers are drawn by what to expect of them."""
        expected_rtt_s = None if place is Place.KEPT else self.expects(found)
        return self.measurements.figures(found, self.clock, expected_rtt_s)

    def __call__(self, candidates: Sequence[Descriptor], place: Place) -> Sequence[float]:
        if place is Place.KEPT:
            return [weight_to_keep(found.capacity_kb_s) for found in candidates]
        weighed = weights([self.figures(found, place) for found in candidates], self.lean)
        if place is Place.EXIT:
            return [
                each * BESIDE if self.beside(found) else each for found, each in zip(candidates, weighed, strict=True)
            ]
        return weighed


@dataclass(frozen=True, slots=True)
class Moment:
    """What counts for one choice.

    Args:
        now: Unix seconds.
        clock: the time of the measurements, in seconds.
        avoid: peers not to use.
        last: the exit that the path shall end at; None for any.
        out_of_order: peers that something is held against.
        in_use: exits that carry flows and have no circuit beside them to another exit of their region.
        wish: what the exit shall be.
    """

    now: float
    clock: float
    avoid: Collection[PeerKey] = ()
    last: PeerKey | None = None
    out_of_order: Collection[PeerKey] = ()
    in_use: Collection[PeerKey] = ()
    wish: Wish = ANY_EXIT


class Choice:
    """Chooses paths for one client.

    Args:
        directory: the peers that are known.
        rules: what every path must be; its regions in the order in which they are preferred.
        lean: what the mode looks at.
        switch_back: whether to go back to a preferred region as soon as that is possible.
        pins: the peers it holds on to.
        measurements: what is known of peers.
        rng: where chance comes from.
        eligible: the part of the directory that paths are made of; None for all of it.
        seen_from: knows distances.
        keep: where the rules are those of one site, the rules of all others; see `peers.paths.choose_pinned_path`.

    Attributes:
        looked_at: when `look` was last called, for whoever calls it.
    """

    def __init__(
        self,
        directory: Directory,
        rules: PathRules,
        lean: Lean,
        switch_back: bool,
        pins: PinnedHops,
        measurements: Measurements,
        rng: Rng,
        eligible: Eligible | None = None,
        seen_from: SeenFrom = from_nowhere,
        keep: PathRules | None = None,
    ) -> None:
        self.rules = rules
        self.directory = directory
        self._eligible = eligible
        self.lean = lean
        self._regions = RegionOrder(rules.regions, switch_back)
        self._pins = pins
        self._measurements = measurements
        self._rng = rng
        self._seen_from = seen_from
        self._keep = keep
        self.looked_at = -inf
        self._working: tuple[str, ...] = ()

    def use(self, rules: PathRules, lean: Lean, switch_back: bool) -> None:
        """Choose by other rules from now on, with what is known and who is held on to."""
        self.rules, self.lean = rules, lean
        self._regions = RegionOrder(rules.regions, switch_back)
        self.looked_at, self._working = -inf, ()
        if self._eligible is not None:
            self._eligible.use(rules)

    def for_site(self, rules: PathRules, lean: Lean) -> Choice:
        """Make a choice by the rules of one site, with what is known and who is held on to here.

        Its regions are always tried in their order, since no path ahead says where it stays.
        """
        return Choice(
            self.directory,
            rules,
            lean,
            True,
            self._pins,
            self._measurements,
            self._rng,
            self._eligible,
            self._seen_from,
            self.rules,
        )

    def path(self, moment: Moment) -> tuple[Descriptor, ...]:
        """Choose a path.

        The first wanted region counts that has an exit which is not out of order. That a peer is avoided for now is no
        reason to go to another region: then there is no path, and the caller must choose whom to forgive.

        Raises:
            CircuitError: `Reason.NO_PATH`, there is none.
            NotYetError: it is too early to draw guards.
        """
        if self._eligible is not None and self._eligible.too_early(moment.clock):
            raise NotYetError
        choose = partial(
            choose_pinned_path,
            self.candidates,
            rng=self._rng,
            pins=self._pins,
            now=moment.now,
            avoid=moment.avoid,
            last=moment.last,
            weigh=self.weighing(moment.clock, moment.in_use),
            keep=self._keep,
        )
        rules = self.rules
        if moment.wish != ANY_EXIT:
            rules = replace(rules, port=moment.wish.port or 0, but=moment.wish.but)
        if moment.last is not None or not rules.regions:
            return choose(rules=rules)
        self.look(moment.out_of_order)
        if not self._working:
            return choose(rules=rules)
        for region in self._working:
            here = replace(rules, regions=(region,))
            try:
                path = choose(rules=here)
            except CircuitError:
                among_kept = self._keep is not None or rules.for_one_flow
                if self._reachable(here, choose) if among_kept else has_path(self.candidates, here, self._rng):
                    raise
            else:
                if not rules.for_one_flow:
                    self._regions.entered(region)
                return path
        raise CircuitError(Reason.NO_PATH)

    @property
    def candidates(self) -> DirectoryView:
        """The peers that paths are made of."""
        return self.directory if self._eligible is None else self._eligible

    def serves(self, last: PeerKey, port: int) -> bool:
        """Whether an exit serves a TCP port, 0 for any, as `tunnel.path.ExitOffers` says."""
        found = self.directory.get(last)
        if self._keep is not None and (found is None or not self._may_be_exit(found)):
            return False
        return not port or found is None or serves_port(found.exit_policy, port)

    def offer(self, last: PeerKey) -> str:
        """Say to a person which ports an exit serves; empty when it is not known."""
        found = self.directory.get(last)
        return ServedPorts.of(found.exit_policy).sentence if found is not None else ""

    def anyone_serves(self, port: int) -> bool:
        """Whether a path could end at an exit that serves a TCP port, 0 for any, as `tunnel.path.ExitOffers` says."""
        exits = [found for found in self.candidates.peers() if int(found.roles) & int(Role.EXIT)]
        allowed = [found for found in exits if self._may_be_exit(found)]
        if not (allowed if self._keep is None else exits):
            return True
        return any(not port or serves_port(found.exit_policy, port) for found in allowed)

    def _may_be_exit(self, found: Descriptor) -> bool:
        return self.rules.may_cost(found) and self.rules.may_end_at(found)

    def look(self, out_of_order: Collection[PeerKey]) -> None:
        """Find out which of the wanted regions have an exit that works.

        Args:
            out_of_order: peers that something is held against.
        """
        self._working = self._regions.working(self._works(out_of_order)) if self.rules.regions else ()

    def rank(self, last: PeerKey, before: PeerKey | None) -> int:
        """How much an exit is wanted for new flows, 0 for the most, as things were when they were last looked at.

        Args:
            last: the exit.
            before: one that was lost, whose region is to be kept if no region is preferred; None for none.
        """
        region = self.region(last)
        if self.rules.regions:
            return self._regions.rank(region, self._working)
        return int(before is not None and region != self.region(before))

    def region(self, peer: PeerKey) -> str:
        """The region of a known peer, as far as it is believed; empty for none."""
        found = self.directory.get(peer)
        return self.rules.region_of(found) if found is not None else ""

    def weighing(self, clock: float, in_use: Collection[PeerKey] = ()) -> Weighing:
        """How candidates are weighed at a time.

        Args:
            clock: the time of the measurements.
            in_use: as in `Moment`.
        """
        wanted = {region for peer in in_use if (region := self.region(peer))}

        def beside(found: Descriptor) -> bool:
            return found.peer not in in_use and self.rules.region_of(found) in wanted

        weighing = Weighing(self._measurements, self.lean, clock, expects=self._expects())
        return replace(weighing, beside=beside) if wanted else weighing

    def _expects(self) -> Expect:
        """Expect by the distance from the kept hops that stand last before those that are weighed."""
        if self.rules.hops == 1:
            return self._seen_from(())
        by_guard = self.rules.hops == 2
        kept = self._pins.guards.peers if by_guard else self._pins.seconds.peers
        before = [found for peer in kept if (found := self.directory.get(peer)) is not None]
        if by_guard:
            del before[1:]  # the first that works is taken, and that is most often the first
        return self._seen_from(before) if before else nowhere

    def _works(self, out_of_order: Collection[PeerKey]) -> Callable[[str], bool]:
        regions = {
            self.rules.region_of(found)
            for found in self.candidates.peers()
            if found.peer not in out_of_order and int(found.roles) & int(Role.EXIT) and self.rules.may_cost(found)
        }
        return lambda wanted: any(is_in(region, (wanted,)) for region in regions)

    @staticmethod
    def _reachable(rules: PathRules, choose: Callable[..., tuple[Descriptor, ...]]) -> bool:
        """Whether there is one over those that are held on to, for somebody who avoids nobody."""
        try:
            choose(rules=rules, avoid=())
        except CircuitError:
            return False
        return True
