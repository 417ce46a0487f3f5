"""Find hops that fit together, within a bound on the work.

Two hops of a path must not share a network, an autonomous system or an operator. So a choice that leaves nothing for
the rest is taken back.

A peer without an address is reached through a relay that holds a link to it, which then stands just before it, beyond
the number of hops that is asked for: else an exit could choose who stands on one of the first two places, and those
learn who the client is, or who its guard. A peer and the relays that it names count as one operator. So whoever fits
beside it fits beside each of them, and none of them stands elsewhere on the path.

All hops ask for money, or none does: who asks for nothing may have no way to be paid, or to pay the next one. Which of
the two it is follows from the exit, which is drawn first.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import TYPE_CHECKING, Final

from core.errors import ConfigError
from core.ports import serves_port
from peers.addresses import network_of
from peers.descriptor import MAX_TARIFF_STEP, Role
from peers.path_draw import Place, in_random_order
from peers.region_order import is_in

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator, Sequence

    from core.ids import PeerKey
    from peers.descriptor import Descriptor
    from peers.path_draw import Rng, Weigh

MAX_HOPS: Final = 5
SECRET_PLACES: Final = 2
"""So many places at the beginning of a path belong to peers with addresses, whom nobody but the client chooses."""
STEPS_PER_EXIT: Final = 100_000
STEPS: Final = 1_000_000
"""Comparisons before the search gives up. Only descriptors that claim many networks each come near it."""


_network_of = lru_cache(maxsize=1 << 14)(network_of)


def _no_asn(_host: str) -> int | None:
    return None


def declared_region(found: Descriptor) -> str:
    """Where a peer says it is; empty when it does not say."""
    return found.region


@dataclass(frozen=True, slots=True)
class PathRules:
    """What a path must be.

    Args:
        hops: 1 to 5.
        address_ok: says whether this node, or a relay, may dial a host; peers without such an address are left out.
        diversity: no two hops have addresses in one network (IPv4 /16, IPv6 /32) or of one autonomous system, and
            no two name the same operator. Without it, peers are trusted to choose who stands before them.
        asn_of: the number of the autonomous system that an IP literal belongs to; None when it is not known.
        region_of: the region of a peer, as far as it is believed; empty for none.
        regions: where the exit may be; empty for anywhere.
        excluded: where it may not be. With either of the two, an exit without a region is left out.
        min_tariff: the lowest tariff step of any hop, 0 to 7.
        max_tariff: the highest.
        port: a TCP port that the exit must serve, by what it says; 0 for any.
        but: where the path may not end.
        friends: peers that may be used although they serve only those that they chose.

    Raises:
        ConfigError: wrong number of hops.
    """

    hops: int
    address_ok: Callable[[str], bool]
    diversity: bool = True
    asn_of: Callable[[str], int | None] = _no_asn
    region_of: Callable[[Descriptor], str] = declared_region
    regions: tuple[str, ...] = ()
    excluded: tuple[str, ...] = ()
    min_tariff: int = 0
    max_tariff: int = MAX_TARIFF_STEP
    port: int = 0
    but: frozenset[PeerKey] = frozenset()
    friends: frozenset[PeerKey] = frozenset()

    def __post_init__(self) -> None:
        if not 1 <= self.hops <= MAX_HOPS:
            raise ConfigError("hops", f"a path has 1 to {MAX_HOPS} hops")

    @property
    def over_links(self) -> bool:
        """Whether peers without an address may be on a path."""
        return (SECRET_PLACES if self.diversity else 0) < self.hops < MAX_HOPS

    @property
    def for_one_flow(self) -> bool:
        """Whether they hold for the path of one flow, and others may end elsewhere."""
        return bool(self.port or self.but)

    def may_cost(self, found: Descriptor) -> bool:
        """Whether a peer asks no more than it may, and no less."""
        return self.min_tariff <= found.tariff_step <= self.max_tariff

    def may_end_at(self, found: Descriptor) -> bool:
        """Whether an exit is where one may be, and serves what it shall."""
        if found.peer in self.but or (self.port and not serves_port(found.exit_policy, self.port)):
            return False
        if not self.regions and not self.excluded:
            return True
        region = self.region_of(found)
        return bool(region) and (not self.regions or is_in(region, self.regions)) and not is_in(region, self.excluded)

    def marks(self, found: Descriptor, hosts: Iterable[str]) -> frozenset[bytes]:
        """What a peer may not share with another hop.

        Args:
            found: the peer.
            hosts: those of its addresses that may be dialled.
        """
        if not self.diversity:
            return frozenset((found.peer,))
        systems = {number for host in hosts if (number := self.asn_of(host)) is not None}
        marks = {*map(_network_of, hosts), *(f"system {number}".encode() for number in systems)}
        return frozenset(marks | ({b"operator " + found.operator} if found.operator else set()))


@dataclass(frozen=True, slots=True)
class Candidate:
    descriptor: Descriptor
    marks: frozenset[bytes]
    """No two hops of a path share a mark: see `PathRules.marks`."""
    via: tuple[Candidate, ...] = ()
    """Relays of its kind that hold a link to it, if it has no address."""

    @property
    def paid(self) -> bool:
        """Of which of the two kinds it is: whether it asks for money."""
        return self.descriptor.tariff_step > 0


class Steps:
    """A bound on the work of one search."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self.taken = 0

    @property
    def over(self) -> bool:
        return self.taken > self._limit

    def share(self, limit: int) -> Steps:
        """A bound on a part of the work."""
        return Steps(min(limit, self._limit - self.taken))


class Search:
    """The peers that a path may be made of, in random order, and what is left of the work.

    Args:
        descriptors: all peers.
        rules: what the path must be.
        rng: where chance comes from.
        weigh: how likely each is for a place.
        avoid: peers not to use.
        last: the exit, None for any.
        steps: the bound on all searches for one path.
    """

    def __init__(
        self,
        descriptors: Iterable[Descriptor],
        rules: PathRules,
        rng: Rng,
        weigh: Weigh,
        avoid: Collection[PeerKey],
        last: PeerKey | None,
        steps: Steps,
    ) -> None:
        candidates = list(candidates_for(descriptors, rules, frozenset(avoid)))
        self._rng = rng
        self._weigh = weigh
        self._before = rules.hops - 1
        self._steps = steps
        self._relays = [found for found in candidates if serves(found, Role.RELAY)]
        self._named = {found.descriptor.peer: found for found in self._relays if not found.via}
        self._anywhere = [found for found in candidates if serves(found, Role.EXIT)]
        exits = [found for found in self._anywhere if rules.may_end_at(found.descriptor)]
        self._exits = exits if last is None else [found for found in exits if found.descriptor.peer == last]

    # Each order is made when it is first needed: it takes a weight and a random number for every peer.

    @cached_property
    def _ends(self) -> list[Candidate]:
        return _one_each(self._in_order(self._exits, Place.EXIT))

    @cached_property
    def _middles(self) -> dict[bool, list[Candidate]]:
        return _by_kind(_one_each(self._in_order(self._relays, Place.MIDDLE)))

    @cached_property
    def _to_keep(self) -> list[Candidate]:
        return self._in_order(self._named.values(), Place.KEPT)

    @cached_property
    def _firsts(self) -> dict[bool, list[Candidate]]:
        return _by_kind(_one_each(self._to_keep))

    def kinds(self, among: Collection[PeerKey] = ()) -> set[bool]:
        """The kinds of relays that make a path, wherever that ends, for somebody who holds on to nobody.

        Args:
            among: if any of these is of one of them, only such kinds.

        Returns:
            One or two of `Candidate.paid`; all that there are if none makes a path.
        """
        whole = self._whole
        return whole & {self._named[peer].paid for peer in among if peer in self._named} or whole

    @cached_property
    def _whole(self) -> set[bool]:
        kinds = {found.paid for found in self._named.values()}
        return kinds if len(kinds) < 2 else {kind for kind in kinds if self._is_whole(kind)} or kinds

    def _is_whole(self, kind: bool) -> bool:
        steps = Steps(STEPS_PER_EXIT)
        for end in self._anywhere:
            if end.paid == kind and self._find_before(end, None, None, steps) is not None:
                return True
            if steps.over:
                break
        return False

    def _in_order(self, candidates: Iterable[Candidate], place: Place) -> list[Candidate]:
        candidates = list(candidates)
        weights = self._weigh([found.descriptor for found in candidates], place)
        return in_random_order(candidates, weights, self._rng)

    def draw(
        self, kinds: Collection[bool], but: Collection[PeerKey], rather_not: Collection[PeerKey] = ()
    ) -> PeerKey | None:
        """Draw a relay to hold on to.

        Args:
            kinds: of which it may be.
            but: those that there are; one that shares no mark with these is preferred.
            rather_not: peers taken only if there are no others.
        """
        used = frozenset[bytes]().union(*(self._named[peer].marks for peer in but if peer in self._named))
        free = [found for found in self._to_keep if found.descriptor.peer not in but and found.paid in kinds]

        def worse(found: Candidate) -> tuple[bool, bool]:
            return found.descriptor.peer in rather_not, not used.isdisjoint(found.marks)

        return min(free, key=worse).descriptor.peer if free else None

    def find(
        self, firsts: Collection[PeerKey] | None, seconds: Collection[PeerKey] | None
    ) -> tuple[Candidate, ...] | None:
        """Find a path.

        Args:
            firsts: who may stand first, the preferred first; None for anyone.
            seconds: the same for the second place, if that is not the exit's.

        Returns:
            The hops, the guard first, without those of `through`; None if there is no path, or the work is used up.
        """
        for end in self._ends:
            steps = self._steps.share(STEPS_PER_EXIT)
            before = self._find_before(end, firsts, seconds, steps)
            self._steps.taken += steps.taken
            if before is not None:
                return (*before, end)
            if self._steps.over:
                break
        return None

    def _find_before(
        self,
        end: Candidate,
        firsts: Collection[PeerKey] | None,
        seconds: Collection[PeerKey] | None,
        steps: Steps,
    ) -> list[Candidate] | None:
        for places in self._places(firsts, seconds, end.paid):
            fixed = [found for found in (*places, end) if found is not None]
            used = frozenset[bytes]().union(*(found.marks for found in fixed))
            steps.taken += 1
            if len(used) == sum(len(found.marks) for found in fixed):
                count = self._before - len(fixed) + 1
                for relays in self._relays_for(places, count, end.paid):
                    rest = disjoint(relays, count, used, steps)
                    if rest is not None:
                        self._rng.shuffle(rest)
                        before = [rest.pop() if found is None else found for found in places] + rest
                        if self.through((*before, end)) is not None:
                            return before
            if steps.over:
                break
        return None

    def _relays_for(self, places: Sequence[Candidate | None], count: int, kind: bool) -> Iterator[list[Candidate]]:
        """Those that `count` hops may be drawn from; if there is no room for one without an address, only the others.

        Who takes one of the first places may be held on to, and so is drawn by the weights for that.
        """
        if None in places or not count:
            yield self._firsts[kind] if count else []
            return
        yield self._middles[kind]
        if any(found.via for found in self._middles[kind]):
            yield [found for found in self._middles[kind] if not found.via]

    def through(self, path: Sequence[Candidate]) -> tuple[Candidate, ...] | None:
        """Put relays before those hops that have no address, unless one that holds a link to them stands there.

        Returns:
            All hops; None if there are too few relays, or too many hops.
        """
        return self._through((), tuple(path), frozenset(found.descriptor.peer for found in path))

    def _through(
        self, done: tuple[Candidate, ...], rest: tuple[Candidate, ...], used: frozenset[PeerKey]
    ) -> tuple[Candidate, ...] | None:
        if len(done) + len(rest) > MAX_HOPS:
            return None
        if not rest:
            return done
        hop = rest[0]
        holders = {found.descriptor.peer for found in hop.via}
        if not holders or (done and done[-1].descriptor.peer in holders):
            return self._through((*done, hop), rest[1:], used)
        for relay in self._in_order(hop.via, Place.MIDDLE):
            if (peer := relay.descriptor.peer) not in used:
                found = self._through((*done, relay, hop), rest[1:], used | {peer})
                if found is not None:
                    return found
        return None

    def _places(
        self, firsts: Collection[PeerKey] | None, seconds: Collection[PeerKey] | None, kind: bool
    ) -> Iterator[tuple[Candidate | None, ...]]:
        """Who of a kind may stand on the first places, the exit's aside; None stands for anyone."""
        if self._before == 0:
            yield ()
            return
        for first in self._those(firsts, kind):
            if self._before == 1:
                yield (first,)
                continue
            for second in self._those(seconds, kind):
                yield (first, second)

    def _those(self, peers: Collection[PeerKey] | None, kind: bool) -> list[Candidate | None]:
        if peers is None:
            return [None]
        return [found for peer in peers if (found := self._named.get(peer)) is not None and found.paid == kind]


def candidates_for(
    descriptors: Iterable[Descriptor], rules: PathRules, avoid: Collection[PeerKey]
) -> Iterator[Candidate]:
    """Give the peers that a path may be made of.

    Args:
        descriptors: all peers.
        rules: what the path must be.
        avoid: peers not to use; a set.
    """
    holders: dict[PeerKey, Candidate] = {}
    without: list[Descriptor] = []
    for found in descriptors:
        if found.peer in avoid or not rules.may_cost(found):
            continue
        if found.restricted and found.peer not in rules.friends:
            continue
        if hosts := [host for host, _ in found.addresses if rules.address_ok(host)]:
            candidate = Candidate(found, rules.marks(found, hosts))
            if serves(candidate, Role.RELAY):
                holders[found.peer] = candidate
            yield candidate
        elif found.via and rules.over_links:
            without.append(found)
    for found in without:
        there = (holders[hold.relay] for hold in found.via if hold.relay in holders)
        if via := tuple(relay for relay in there if relay.paid == (found.tariff_step > 0)):
            shared = [relay.marks for relay in via] if rules.diversity else []
            yield Candidate(found, rules.marks(found, ()).union(*shared), via)


def serves(candidate: Candidate, role: Role) -> bool:
    """Whether a candidate has a role."""
    # As plain numbers: an enum's `&` makes an enum, and takes as long as all the rest of a search.
    return int(candidate.descriptor.roles) & int(role) != 0


def _one_each(candidates: Iterable[Candidate]) -> list[Candidate]:
    """Return the first candidate of its kind for each set of marks.

    Others with the same marks fit and clash wherever it does, so they need not be tried. Since it stands where the
    order has put the first of them, each is as likely to be the first of all as its weight says.
    """
    found: dict[tuple[frozenset[bytes], bool], Candidate] = {}
    for candidate in candidates:
        found.setdefault((candidate.marks, candidate.paid), candidate)
    return list(found.values())


def _by_kind(candidates: Iterable[Candidate]) -> dict[bool, list[Candidate]]:
    """Split candidates into those that ask for nothing and those that ask for money; the order stays."""
    found: dict[bool, list[Candidate]] = {False: [], True: []}
    for candidate in candidates:
        found[candidate.paid].append(candidate)
    return found


def disjoint(candidates: list[Candidate], count: int, used: frozenset[bytes], steps: Steps) -> list[Candidate] | None:
    """Return the first `count` candidates that share no mark with `used` or each other; None if there are none."""
    if count == 0:
        return []
    steps.taken += len(candidates)
    free = [candidate for candidate in candidates if used.isdisjoint(candidate.marks)]
    for at in range(len(free) - count + 1):
        rest = disjoint(free[at + 1 :], count - 1, free[at].marks, steps)
        if rest is not None:
            return [free[at], *rest]
        if steps.over:
            break
    return None
