"""The client's part in choosing paths: settings, clocks and the pool's circuits, brought to `peers.choice`."""

from __future__ import annotations

import asyncio
import random
import time
from dataclasses import replace
from functools import lru_cache
from typing import TYPE_CHECKING, Final

from core.flow import NO_OPTIONS
from node.choice_view import CircuitNames
from node.guards import KeptGuards
from node.price_view import price_sentence
from node.settings import MODE_HOPS
from peers.choice import Choice, Moment
from peers.eligible import PATIENCE_S, Eligible
from peers.identity import parse_peer_id
from peers.measurements import Measurements
from peers.nearness import from_nowhere
from peers.networks import PUBLIC_NAME
from peers.path_search import PathRules, declared_region
from peers.paths import path_of
from peers.prices import obstacle
from peers.scores import LEANS
from tunnel.path import ANY_EXIT

if TYPE_CHECKING:
    from collections.abc import Callable, Collection
    from pathlib import Path as Folder

    from core.errors import Reason
    from core.flow import SiteOptions
    from core.ids import PeerKey
    from node.settings import Settings
    from peers.descriptor import Descriptor
    from peers.directory import Directory
    from peers.nearness import SeenFrom
    from tunnel.links import Links
    from tunnel.path import Path, Wish
    from tunnel.pool import CircuitPool

_SYSTEMS_REMEMBERED: Final = 1 << 14
LOOK_EVERY_S: Final = 0.5
"""So often it is looked whether a region that is preferred has an exit again, and whether any serves a port."""
_PORTS_REMEMBERED: Final = 64
_SITES_REMEMBERED: Final = 64
"""Sets of options that it is remembered for by which region their paths go; the one unused for longest gives way."""

_random = random.SystemRandom()


def peers_of(path: Path) -> list[PeerKey]:
    """The peers of a path, the guard first."""
    return [hop.peer for hop in path]


class Choosing:
    """Names paths, and keeps account of how they do. Implements `tunnel.circuit_witness.CircuitWitness`.

    Args:
        settings: checked settings.
        home: the node's folder.
        directory: the peers that are known.
        address_ok: whether a peer may be dialled at an IP literal.
        asn_of: the autonomous system of an IP literal; None when it is not known.
        region_of: a peer's region, as far as it is believed.
        diversity: as for `PathRules`.
        on_answer: told the path of a circuit whose exit has answered, and after how many seconds.

    Attributes:
        clock: the time that measurements go by.
        choice: what is chosen by, for sites for which nothing of its own is wanted.
        measurements: what was measured.
        pins: the peers that this client holds on to.
        names: of circuits, for people.
    """

    def __init__(
        self,
        settings: Settings,
        home: Folder,
        directory: Directory,
        address_ok: Callable[[str], bool],
        asn_of: Callable[[str], int | None] = lambda host: None,
        region_of: Callable[[Descriptor], str] = declared_region,
        *,
        diversity: bool,
        on_answer: Callable[[Path, float], None] = lambda path, rtt_s: None,
        seen_from: SeenFrom = from_nowhere,
    ) -> None:
        chosen = settings.tunnel
        self._pays = settings.payments.settlement != "off"
        rules = PathRules(
            chosen.path_hops,
            address_ok,
            diversity,
            asn_of=lru_cache(maxsize=_SYSTEMS_REMEMBERED)(asn_of),
            region_of=region_of,
            regions=chosen.regions,
            excluded=chosen.excluded_regions,
            min_tariff=chosen.min_tariff,
            max_tariff=self._payable(chosen.max_tariff),
            friends=frozenset(map(parse_peer_id, settings.peers.friends)),
        )
        self._guards = KeptGuards(home)
        self._pool: CircuitPool | None = None
        self._links: Links | None = None
        self._chosen = chosen
        self._sites: dict[SiteOptions, Choice] = {}
        self._served: dict[tuple[int, SiteOptions], tuple[float, bool]] = {}
        self._on_answer = on_answer
        self.clock = asyncio.get_running_loop().time
        self.pins = self._guards.pins
        self.measurements = Measurements()
        self.names = CircuitNames()
        lean = LEANS[chosen.mode]
        eligible = None
        if settings.network.name == PUBLIC_NAME:  # elsewhere members were chosen, and whoever names them is one
            patience_s = PATIENCE_S if settings.peers.gossip else 0.0
            eligible = Eligible(directory, rules, self.pins, _random, patience_s)
        self.choice = Choice(
            directory, rules, lean, chosen.switch_back, self.pins, self.measurements, _random, eligible, seen_from
        )

    def _payable(self, tariff_step: int) -> int:
        """Where nothing is ever paid, only peers that ask nothing will do."""
        return tariff_step if self._pays else 0

    def use(self, settings: Settings) -> None:
        """Choose by other settings of the sections `tunnel` and `peers` from now on."""
        chosen = self._chosen = settings.tunnel
        rules = replace(
            self.choice.rules,
            hops=chosen.path_hops,
            regions=chosen.regions,
            excluded=chosen.excluded_regions,
            min_tariff=chosen.min_tariff,
            max_tariff=self._payable(chosen.max_tariff),
            friends=frozenset(map(parse_peer_id, settings.peers.friends)),
        )
        self.choice.use(rules, LEANS[chosen.mode], chosen.switch_back)
        self._sites.clear()
        self._served.clear()

    def attach(self, links: Links, pool: CircuitPool) -> None:
        """Look at these circuits and links from now on."""
        self._links, self._pool = links, pool

    # -- what the tunnel asks

    def choose(self, avoid: Collection[PeerKey], last: PeerKey | None, wish: Wish = ANY_EXIT) -> Path:
        """Name a path, as `tunnel.path.PathChooser` says."""
        moment = Moment(
            now=time.time(),
            clock=self.clock(),
            avoid=avoid,
            last=last,
            wish=wish,
            out_of_order=self._avoided(),
            in_use=self._in_use() if wish.options == NO_OPTIONS else (),
        )
        try:
            chosen = self.choice_for(wish.options).path(moment)
        finally:
            self._guards.save()
        return path_of(chosen, self.choice.rules.address_ok)

    def rank(self, last: PeerKey, before: PeerKey | None, options: SiteOptions) -> int:
        """Say how much an exit is wanted, as `tunnel.path.ExitRank` says."""
        now, choice = self.clock(), self.choice_for(options)
        if now - choice.looked_at > LOOK_EVERY_S:
            choice.looked_at = now
            choice.look(self._avoided())
        return choice.rank(last, before)

    def choice_for(self, options: SiteOptions) -> Choice:
        """What is chosen by for a site: its options stand in for the settings of the same names."""
        if options.isolated:
            options = replace(options, isolated=False)
        if options == NO_OPTIONS:
            return self.choice
        choice = self._sites.pop(options, None) or self._site_choice(options)
        self._sites[options] = choice
        if len(self._sites) > _SITES_REMEMBERED:
            del self._sites[next(iter(self._sites))]
        return choice

    def _site_choice(self, options: SiteOptions) -> Choice:
        rules, mode = self.choice.rules, options.mode or self._chosen.mode
        most = rules.max_tariff if options.max_tariff is None else self._payable(options.max_tariff)
        rules = replace(
            rules,
            hops=self._chosen.hops or MODE_HOPS[mode],
            regions=rules.regions if options.regions is None else options.regions,
            min_tariff=min(rules.min_tariff, most),
            max_tariff=most,
        )
        return self.choice.for_site(rules, LEANS[mode])

    # -- tunnel.path.ExitOffers

    def serves(self, last: PeerKey, wish: Wish) -> bool:
        return self.choice_for(wish.options).serves(last, wish.port or 0)

    def anyone_serves(self, wish: Wish) -> bool:
        now, asked = self.clock(), (wish.port or 0, wish.options)
        looked_at, found = self._served.pop(asked, (-LOOK_EVERY_S, False))
        if now - looked_at > LOOK_EVERY_S:
            looked_at, found = now, self.choice_for(wish.options).anyone_serves(asked[0])
        self._served[asked] = looked_at, found
        if len(self._served) > _PORTS_REMEMBERED:
            del self._served[next(iter(self._served))]
        return found

    def priced_out(self) -> str:
        """A sentence if it is for the price that there is no path; empty if not."""
        choice = self.choice
        return price_sentence(obstacle(choice.candidates, choice.rules, _random), self._chosen, pays=self._pays)

    # -- what the tunnel tells

    def tried(self, path: Path, served: int, at_fault: bool) -> None:
        """Hear how a creation went, as `tunnel.path.PathWitness` says."""
        online = self._links is not None and any(True for _ in self._links)
        self.pins.tried(peers_of(path), served, at_fault, time.time(), online)
        self._guards.save()

    def _avoided(self) -> Collection[PeerKey]:
        return frozenset(self._pool.builder.avoided()) if self._pool is not None else ()

    def _in_use(self) -> set[PeerKey]:
        """Exits of circuits that flows were given to, as long as none stands ready to another exit of their region."""
        circuits = self._pool.circuits if self._pool is not None else []
        circuits = [circuit for circuit in circuits if circuit.options == NO_OPTIONS]
        ready = {circuit.path[-1].peer for circuit in circuits if circuit.isolation is None}
        used = {circuit.path[-1].peer for circuit in circuits if circuit.flows}
        return {end for end in used if not any(self.region(other) == self.region(end) for other in ready - {end})}

    def region(self, peer: PeerKey) -> str:
        """The region of a known peer, as far as it is believed; empty for none."""
        return self.choice.region(peer)

    # -- tunnel.circuit_witness.CircuitWitness

    def built(self, path: Path) -> None:
        self.measurements.built(peers_of(path), self.clock())

    def build_failed(self, path: Path, reporter: int, reason: Reason) -> None:
        self.measurements.build_failed(peers_of(path), reporter, reason, self.clock())

    def answered(self, path: Path, link_rtt_s: float | None, rtt_s: float) -> None:
        now = self.clock()
        if link_rtt_s is not None:
            self.measurements.link_answered(path[0].peer, link_rtt_s, now)
        self.measurements.answered(peers_of(path), rtt_s, now)
        self._on_answer(path, rtt_s)

    def carried(self, path: Path, bytes_per_s: float) -> None:
        self.measurements.carried(peers_of(path), bytes_per_s / 1000, self.clock())

    def ended(self, path: Path, reason: Reason, guard_lost: bool) -> None:
        self.measurements.ended(peers_of(path), reason, guard_lost, self.clock())

    def flow_tried(self, path: Path, reason: Reason | None) -> None:
        self.measurements.flow_tried(peers_of(path), reason, self.clock())
