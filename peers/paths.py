"""Draw a path at random among those that the rules allow.

First comes the exit, the scarcest, then the others. Every exit that can be had is as likely as its weight says, and
where the others stand on the path is drawn last. If it asks for money they do too, and else none does. A client's first
two hops, though, come from the peers that it holds on to (`peers.guards`).
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Protocol

from core.errors import CircuitError, Reason
from peers.path_draw import evenly
from peers.path_search import STEPS, Search, Steps
from tunnel.path import Hop

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Sequence

    from core.ids import PeerKey
    from peers.descriptor import Descriptor
    from peers.guards import PinnedHops
    from peers.path_draw import Rng, Weigh
    from peers.path_search import Candidate, PathRules
    from tunnel.path import Path


class DirectoryView(Protocol):
    """What is needed of a directory."""

    def peers(self) -> Iterable[Descriptor]:
        """Return the descriptors to choose from."""


def choose_path(
    directory_view: DirectoryView,
    rules: PathRules,
    rng: Rng,
    avoid: Collection[PeerKey] = (),
    last: PeerKey | None = None,
    weigh: Weigh = evenly,
) -> tuple[Descriptor, ...]:
    """Draw a path. Purge the directory before: expiry is not looked at here.

    Args:
        directory_view: the peers to choose from.
        rules: what the path must be.
        rng: where chance comes from.
        avoid: peers not to use, this node's own key among them.
        last: the exit that the path shall end at; None for any.
        weigh: how likely each peer is for a place.

    Returns:
        `rules.hops` descriptors, and a relay more before each that has no address. The last has the role exit, all
        others have the role relay.

    Raises:
        CircuitError: `Reason.NO_PATH`, no such path exists.
    """
    search = Search(directory_view.peers(), rules, rng, weigh, avoid, last, Steps(STEPS))
    return _all_hops(search, search.find(None, None))


def has_path(directory_view: DirectoryView, rules: PathRules, rng: Rng) -> bool:
    """Whether there is a path for somebody who avoids nobody and holds on to nobody."""
    try:
        choose_path(directory_view, rules, rng)
    except CircuitError:
        return False
    return True


def choose_pinned_path(
    directory_view: DirectoryView,
    rules: PathRules,
    rng: Rng,
    pins: PinnedHops,
    now: float,
    avoid: Collection[PeerKey] = (),
    last: PeerKey | None = None,
    weigh: Weigh = evenly,
    keep: PathRules | None = None,
) -> tuple[Descriptor, ...]:
    """Draw a path whose first two hops are held on to. Without any to hold on to (one hop), it is `choose_path`.

    To avoid a guard or a second hop is no reason to draw another one: as long as there is a path over those that can
    be used, by whomever it goes, the answer is `NO_PATH`, and the caller must choose whom to forgive. What one flow
    wants of its exit is no reason either: a web page chooses ports, and an exit which it serves. Nor is what the user
    wants for one site, since pages choose sites, nor what an exit asks that is wanted by name.

    Args:
        directory_view: as for `choose_path`.
        rules: the same.
        rng: the same.
        pins: who is held on to; grows when needed.
        now: Unix seconds.
        avoid: as for `choose_path`.
        last: the same.
        weigh: the same. Who stands first is not drawn by it but among those held on to.
        keep: where the rules are those of one site, by which rules hops to hold on to are drawn up to the usual number,
            and then no others are; None where they are for all sites.

    Raises:
        CircuitError: `Reason.NO_PATH`, no such path exists.
    """
    if rules.hops == 1:
        return choose_path(directory_view, rules, rng, avoid, last, weigh)
    peers = tuple(directory_view.peers())
    known = {found.peer for found in peers}
    searching = partial(Search, peers, rng=rng, weigh=weigh, last=last, steps=Steps(STEPS))
    search = searching(rules, avoid=avoid)
    pins.begin(now)
    for_all = rules if keep is None else keep
    drawing = search if keep is None else searching(keep, avoid=avoid)
    _fill(pins, drawing, lambda: searching(for_all, avoid=()), rules, now, rng)
    found = _among_kept(pins, search, lambda: searching(rules, avoid=()), known, now, rng)
    may_draw = found is None and keep is None and not rules.for_one_flow and not pins.waits_for(known, now)
    if may_draw and not _is_of_another_kind(last, pins, peers):
        found = _beyond(pins, searching(rules, avoid={*avoid, *pins.resting(now)}), *pins.awake(now))
        found = found or _beyond(pins, search, pins.guards.peers, pins.seconds.peers)
    hops = _all_hops(search, found)
    if found is not None:
        _pin(pins, found, now, rng)
    return hops


def _among_kept(
    pins: PinnedHops,
    search: Search,
    of_anyone: Callable[[], Search],
    known: Collection[PeerKey],
    now: float,
    rng: Rng,
) -> tuple[Candidate, ...] | None:
    """Find a path over those that are held on to: the usual number of them if possible, else all.

    Args:
        pins: who is held on to.
        search: leaves out whom the caller avoids.
        of_anyone: makes a search that leaves out nobody.
        known: peers in the directory.
        now: Unix seconds.
        rng: where chance comes from.

    Returns:
        A path; None if there is none, whoever is avoided.

    Raises:
        CircuitError: there is one, but none without a peer that the caller avoids.
    """
    for usual in (True, False):
        guards, seconds = (kept.usable(now, known, usual) for kept in (pins.guards, pins.seconds))
        rng.shuffle(seconds)
        pins.trusted_first(guards, now)
        pins.trusted_first(seconds, now)
        if (found := search.find(guards, seconds)) is not None:
            return found
        if of_anyone().find(guards, seconds) is not None:
            raise CircuitError(Reason.NO_PATH)
    return None


def _fill(
    pins: PinnedHops, search: Search, of_anyone: Callable[[], Search], rules: PathRules, now: float, rng: Rng
) -> None:
    """Draw those that are missing at the usual number, of kinds that are of use; second hops of the guards' kinds."""
    if not pins.guards.missing and (rules.hops == 2 or not pins.seconds.missing):
        return
    anyone = of_anyone()
    kinds = anyone.kinds()
    while pins.guards.missing and (guard := search.draw(kinds, pins.guards.peers)) is not None:
        pins.pin_guard(guard, now, rng)
    if rules.hops == 2:
        return
    kinds, guards = anyone.kinds(pins.guards.peers), pins.guards.peers
    while pins.seconds.missing and (second := search.draw(kinds, pins.seconds.peers, guards)) is not None:
        pins.pin_second(second, now, rng)


def _is_of_another_kind(last: PeerKey | None, pins: PinnedHops, peers: Sequence[Descriptor]) -> bool:
    """Whether an exit that is wanted asks for money and no guard does, or the other way round.

    It may have changed that to have a guard drawn, and of one kind there may be few.
    """
    paid = {found.peer: found.tariff_step > 0 for found in peers}
    kinds = {paid[guard] for guard in pins.guards.peers if guard in paid}
    return last in paid and bool(kinds) and paid[last] not in kinds


def _beyond(
    pins: PinnedHops, search: Search, guards: Collection[PeerKey], seconds: Collection[PeerKey]
) -> tuple[Candidate, ...] | None:
    """Find a path over peers that are not held on to yet, over as few of them as possible and as many as may be."""
    for firsts, nexts in ((guards, seconds), (guards, None), (None, seconds), (None, None)):
        if (firsts is None and pins.guards.full) or (nexts is None and pins.seconds.full):
            pins.counters["bound reached"] += 1
        elif (found := search.find(firsts, nexts)) is not None:
            return found
    return None


def _pin(pins: PinnedHops, path: tuple[Candidate, ...], now: float, rng: Rng) -> None:
    """Hold on to the first two hops of a path."""
    guard, *rest = (found.descriptor.peer for found in path[:-1])
    if guard not in pins.guards.peers:
        pins.pin_guard(guard, now, rng)
    if rest and rest[0] not in pins.seconds.peers:
        pins.pin_second(rest[0], now, rng)


def path_of(descriptors: Iterable[Descriptor], address_ok: Callable[[str], bool] | None = None) -> Path:
    """Turn chosen descriptors into what a circuit is built from.

    Args:
        descriptors: the guard first.
        address_ok: as in `PathRules`; None leaves all addresses in.
    """
    return tuple(
        Hop(
            found.peer,
            found.link_key,
            found.onion_keys[0],
            tuple(pair for pair in found.addresses if address_ok is None or address_ok(pair[0])),
            found.tariff_step,
        )
        for found in descriptors
    )


def _all_hops(search: Search, path: Sequence[Candidate] | None) -> tuple[Descriptor, ...]:
    """Return a path with those hops that others are reached through.

    Raises:
        CircuitError: `Reason.NO_PATH`, there is none.
    """
    hops = search.through(path) if path is not None else None
    if hops is None:
        raise CircuitError(Reason.NO_PATH)
    return tuple(found.descriptor for found in hops)
