"""Draw a path at random among those that the rules allow.

First comes the exit, the scarcest, then the others; a choice that leaves nothing for the rest is taken back. Every
exit that can be had is as likely as any other, and where the others stand on the path is drawn last.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Protocol

from core.errors import CircuitError, ConfigError, Reason
from peers.addresses import network_of
from peers.descriptor import Role
from tunnel.path import Hop

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, MutableSequence

    from core.ids import PeerKey
    from peers.descriptor import Descriptor
    from tunnel.path import Path

MAX_HOPS: Final = 5
STEPS_PER_EXIT: Final = 100_000
STEPS: Final = 1_000_000
"""Comparisons before the search gives up. Only descriptors that claim many networks each come near it."""


class Rng(Protocol):
    """What is needed of `random.Random`. A node passes `random.SystemRandom`."""

    def shuffle(self, x: MutableSequence[Any], /) -> None:
        """Put a list into random order."""


class DirectoryView(Protocol):
    """What is needed of a directory."""

    def peers(self) -> Iterable[Descriptor]:
        """Return the descriptors to choose from."""


@dataclass(frozen=True, slots=True)
class PathRules:
    """What a path must be.

    Args:
        hops: 1 to 5.
        address_ok: says whether this node, or a relay, may dial a host; peers without such an address are left out.
        diversity: no two hops have addresses in one network (IPv4 /16, IPv6 /32).

    Raises:
        ConfigError: wrong number of hops.
    """

    hops: int
    address_ok: Callable[[str], bool]
    diversity: bool = True

    def __post_init__(self) -> None:
        if not 1 <= self.hops <= MAX_HOPS:
            raise ConfigError("hops", f"a path has 1 to {MAX_HOPS} hops")


@dataclass(frozen=True, slots=True)
class _Candidate:
    descriptor: Descriptor
    marks: frozenset[bytes]
    """No two hops of a path share a mark: their networks, or without diversity their own key."""


def choose_path(
    directory_view: DirectoryView,
    rules: PathRules,
    rng: Rng,
    avoid: Collection[PeerKey] = (),
    last: PeerKey | None = None,
) -> tuple[Descriptor, ...]:
    """Draw a path. Purge the directory before: expiry is not looked at here.

    Args:
        directory_view: the peers to choose from.
        rules: what the path must be.
        rng: where chance comes from.
        avoid: peers not to use, this node's own key among them.
        last: the exit that the path shall end at; None for any.

    Returns:
        `rules.hops` descriptors. The last has the role exit, all others have the role relay.

    Raises:
        CircuitError: `Reason.NO_PATH`, no such path exists.
    """
    candidates = list(_candidates(directory_view.peers(), rules, frozenset(avoid)))
    rng.shuffle(candidates)
    relays = _one_each(candidates, Role.RELAY)
    steps_left = STEPS
    exits = candidates if last is None else [found for found in candidates if found.descriptor.peer == last]
    for end in _one_each(exits, Role.EXIT):
        steps = _Steps(min(STEPS_PER_EXIT, steps_left))
        before = _disjoint(relays, rules.hops - 1, end.marks, steps)
        if before is not None:
            rng.shuffle(before)
            return (*(relay.descriptor for relay in before), end.descriptor)
        steps_left -= steps.taken
        if steps_left <= 0:
            break
    raise CircuitError(Reason.NO_PATH)


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
        )
        for found in descriptors
    )


class _Steps:
    """A bound on the work of one search."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self.taken = 0

    @property
    def over(self) -> bool:
        return self.taken > self._limit


def _candidates(descriptors: Iterable[Descriptor], rules: PathRules, avoid: frozenset[PeerKey]) -> Iterable[_Candidate]:
    for found in descriptors:
        hosts = [host for host, _ in found.addresses if rules.address_ok(host)]
        if hosts and found.peer not in avoid:
            yield _Candidate(found, frozenset(map(network_of, hosts) if rules.diversity else (found.peer,)))


def _one_each(candidates: Iterable[_Candidate], role: Role) -> list[_Candidate]:
    """Return the first candidate with the role for each set of marks.

    Others with the same marks fit and clash wherever it does, so they need not be tried. Since the order is random,
    no peer is preferred.
    """
    found: dict[frozenset[bytes], _Candidate] = {}
    for candidate in candidates:
        if candidate.descriptor.roles & role:
            found.setdefault(candidate.marks, candidate)
    return list(found.values())


def _disjoint(
    candidates: list[_Candidate], count: int, used: frozenset[bytes], steps: _Steps
) -> list[_Candidate] | None:
    """Return the first `count` candidates that share no mark with `used` or each other; None if there are none."""
    if count == 0:
        return []
    steps.taken += len(candidates)
    free = [candidate for candidate in candidates if used.isdisjoint(candidate.marks)]
    for at in range(len(free) - count + 1):
        rest = _disjoint(free[at + 1 :], count - 1, free[at].marks, steps)
        if rest is not None:
            return [free[at], *rest]
        if steps.over:
            break
    return None
