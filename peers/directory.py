"""The descriptors that this node knows: verified, the newest of each peer, bounded in every direction.

Who brought a descriptor is its source: the name of a link, or None for this node's own file. Peers are in groups: with
those of their networks (IPv4 /16, IPv6 /32), of their autonomous systems, of their operator; those without an address
with others that the same relay holds a link to. When the whole directory or one group is full, the source that holds
most of it gives way to one that holds less, so that no source can crowd out the others, neither by coming first nor by
sending most.

Who of a source's peers gives way is decided by a secret order of all keys. So what is kept of a source is an even
sample of all peers that it named, whichever it named first, last or most often.

Some sources are voices (`peers.voices`): of these it is remembered whom they have named.

Source of the sampling: Bortnikov et al., "Brahms: Byzantine resilient random membership sampling" (2009), section 3:
the peer whose key is the least under a random hash.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, Final, NamedTuple

from peers.addresses import network_of
from peers.descriptor import Descriptor, digest
from peers.voices import Voice, Voices
from tunnel.path import Hop

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sized

    from core.ids import PeerKey

MAX_PEERS: Final = 4096
MAX_PER_SOURCE: Final = 1024
"""How many peers one link may bring. The node's own file is not bound by it."""
MAX_PER_NETWORK: Final = 64
MAX_PER_SYSTEM: Final = 256
"""More than for a network: a provider that many rent machines from has one number for all of them."""
MAX_PER_OPERATOR: Final = 64
MAX_PER_HOLDER: Final = 64
"""No honest relay holds links to more: see `node.holding`."""


class Kind(Enum):
    """What peers of one group have in common."""

    NETWORK = "network"
    SYSTEM = "system"
    OPERATOR = "operator"
    HOLDER = "holder"


class Group(NamedTuple):
    """Peers with something in common, of whom only so many are kept."""

    kind: Kind
    name: bytes | int


@dataclass(frozen=True, slots=True)
class _Entry:
    descriptor: Descriptor
    digest: bytes
    source: Hashable | None
    revision: int
    groups: tuple[Group, ...]
    rank: bytes


class Directory:
    """Verified descriptors by peer.

    Args:
        own: this node's key; its descriptor is never kept here.
        max_peers: bound on all.
        max_per_source: bound on what one source brings.
        max_per_network: bound on the peers with an address in one network.
        max_per_system: the same for an autonomous system.
        max_per_operator: bound on the peers that name one operator.
        max_per_holder: bound on the peers that name one relay that holds a link to them.
        asn_of: the number of the autonomous system that an IP literal belongs to; None when it is not known.
        secret: decides the order in which peers give way; at most 64 bytes that nobody else knows.

    Attributes:
        counts: how often each outcome of `add` occurred, by word.
        voices: who has named which of the peers.
    """

    def __init__(
        self,
        own: PeerKey | None = None,
        *,
        max_peers: int = MAX_PEERS,
        max_per_source: int = MAX_PER_SOURCE,
        max_per_network: int = MAX_PER_NETWORK,
        max_per_system: int = MAX_PER_SYSTEM,
        max_per_operator: int = MAX_PER_OPERATOR,
        max_per_holder: int = MAX_PER_HOLDER,
        asn_of: Callable[[str], int | None] = lambda host: None,
        secret: bytes = b"",
    ) -> None:
        self._own = own
        self._max_peers = max_peers
        self._max_per_source = max_per_source
        self._max_in_group = {
            Kind.NETWORK: max_per_network,
            Kind.SYSTEM: max_per_system,
            Kind.OPERATOR: max_per_operator,
            Kind.HOLDER: max_per_holder,
        }
        self._asn_of = asn_of
        self._secret = secret
        self._entries: dict[PeerKey, _Entry] = {}  # by rising revision
        self._digests: dict[bytes, PeerKey] = {}
        self._groups: dict[Group, dict[PeerKey, None]] = {}
        self._brought: dict[Hashable | None, dict[PeerKey, bytes]] = {}  # with their ranks
        self._last: dict[Hashable | None, PeerKey] = {}  # of what a source brought; only while it is known
        self._revision = 0
        self.counts: Counter[str] = Counter()
        self.voices = Voices()

    def __len__(self) -> int:
        return len(self._entries)

    def add(self, raw: bytes, now: float, source: Hashable | None) -> bool:
        """Verify a descriptor and keep it if it is news and there is room.

        Args:
            raw: bytes from anywhere.
            now: Unix seconds.
            source: which link brought it; None for this node's own file.

        Returns:
            True if it was kept.

        Raises:
            ExpiryError: it is not valid now.
            DecodeError: it is broken. The directory is as it was.
        """
        if self.named(digest(raw), source):
            return self._refuse("known")
        return self.insert(Descriptor.decode(raw, now), source)

    def insert(self, descriptor: Descriptor, source: Hashable | None) -> bool:
        """Keep a descriptor that is verified already, as `add` does."""
        if descriptor.peer == self._own:
            return self._refuse("own")
        known = self._entries.get(descriptor.peer)
        if known is not None:
            self._note(source, descriptor.peer)
        if known is not None and descriptor.sequence <= known.descriptor.sequence:
            if descriptor.sequence < known.descriptor.sequence:
                return self._refuse("older")
            return self._refuse("known" if descriptor.raw == known.descriptor.raw else "conflict")
        rank = hashlib.blake2b(descriptor.peer, digest_size=16, key=self._secret).digest()
        going: set[PeerKey] = set()
        if known is None and source is not None and len(self._brought.get(source, ())) >= self._max_per_source:
            last = self._last_of(source)
            if self._rank(last) < rank:
                return self._refuse("source_full")
            going.add(last)
        groups = tuple(dict.fromkeys(self._groups_of(descriptor)))
        giving_way = self._room(descriptor.peer, groups, source, rank, going)
        if giving_way is None:
            return self._refuse("full")
        for peer in giving_way:
            self._forget(peer)
        if known is not None:
            self._drop(descriptor.peer)
        self._keep(descriptor, known.source if known else source, groups, rank)
        self._note(source, descriptor.peer)
        self.counts["updated" if known else "added"] += 1
        return True

    def named(self, name: bytes, source: Hashable | None) -> bool:
        """Hear that a source has the descriptor with a digest (8 bytes).

        Returns:
            Whether it is known here too.
        """
        peer = self._digests.get(name)
        if peer is not None:
            self._note(source, peer)
        return peer is not None

    def get(self, peer: PeerKey) -> Descriptor | None:
        """Return what is known of a peer."""
        entry = self._entries.get(peer)
        return entry.descriptor if entry else None

    def hop(self, peer: PeerKey) -> Hop | None:
        """Return a known peer as a hop, with all addresses it declares: filter them before dialling."""
        descriptor = self.get(peer)
        if descriptor is None:
            return None
        return Hop(peer, descriptor.link_key, descriptor.onion_keys[0], descriptor.addresses, descriptor.tariff_step)

    def peers(self) -> tuple[Descriptor, ...]:
        """Return all descriptors, those that changed longest ago first."""
        return tuple(entry.descriptor for entry in self._entries.values())

    def find(self, name: bytes) -> Descriptor | None:
        """Return the descriptor with this digest (8 bytes)."""
        peer = self._digests.get(name)
        return None if peer is None else self.get(peer)

    @property
    def revision(self) -> int:
        """A number that rises with each change; see `changes`."""
        return self._revision

    def changes(self, since: int) -> list[tuple[bytes, Descriptor]]:
        """Return digests and descriptors that were kept after the directory had the revision `since`, newest first."""
        return list(self._newer(since))

    def purge(self, now: float) -> int:
        """Forget what has expired.

        Args:
            now: Unix seconds.

        Returns:
            How many were forgotten.
        """
        expired = [peer for peer, entry in self._entries.items() if entry.descriptor.expiry <= now]
        for peer in expired:
            self._forget(peer)
        return len(expired)

    def _newer(self, since: int) -> Iterator[tuple[bytes, Descriptor]]:
        for entry in reversed(self._entries.values()):
            if entry.revision <= since:
                return
            yield entry.digest, entry.descriptor

    def _refuse(self, word: str) -> bool:
        self.counts[word] += 1
        return False

    def _groups_of(self, descriptor: Descriptor) -> Iterator[Group]:
        for host, _ in descriptor.addresses:
            yield Group(Kind.NETWORK, network_of(host))
            if (number := self._asn_of(host)) is not None:
                yield Group(Kind.SYSTEM, number)
        if descriptor.operator:
            yield Group(Kind.OPERATOR, descriptor.operator)
        for hold in descriptor.via:
            yield Group(Kind.HOLDER, hold.relay)

    def _room(
        self, peer: PeerKey, groups: tuple[Group, ...], source: Hashable | None, rank: bytes, going: set[PeerKey]
    ) -> set[PeerKey] | None:
        """Return who must go so that `peer` fits, besides those who go anyway; None if it does not fit."""
        for group in groups:
            there = self._groups.get(group, {})
            if peer not in there and len(there.keys() - going) >= self._max_in_group[group.kind]:
                victim = self._victim_of(there.keys() - going, source, rank)
                if victim is None:
                    return None
                going.add(victim)
        if peer not in self._entries and len(self._entries) - len(going) >= self._max_peers:
            victim = self._victim(self._brought, self._last_of, source, rank)
            if victim is None:
                return None
            going.add(victim)
        return going

    def _victim_of(self, group: Iterable[PeerKey], source: Hashable | None, rank: bytes) -> PeerKey | None:
        """Say who goes from a group, as `_victim`."""
        brought: dict[Hashable | None, dict[PeerKey, bytes]] = {}
        for peer in group:
            entry = self._entries[peer]
            brought.setdefault(entry.source, {})[peer] = entry.rank
        return self._victim(brought, lambda of: _last(brought[of]), source, rank)

    def _victim(
        self,
        brought: Mapping[Hashable | None, Sized],
        last_of: Callable[[Hashable | None], PeerKey],
        source: Hashable | None,
        rank: bytes,
    ) -> PeerKey | None:
        """Say who goes from a pool of peers.

        Args:
            brought: the pool, by the sources that brought it.
            last_of: the last of a source's peers in it.
            source: who brings another one.
            rank: that one's.

        Returns:
            The last of the source that brought most; or one of `source`, if it has brought as much itself, and then
            None unless its last one comes after `rank`.
        """
        heaviest = max(brought, key=lambda of: len(brought[of]))
        own = len(brought.get(source, ()))
        if own + 1 < len(brought[heaviest]):
            return last_of(heaviest)
        last = last_of(source) if own else None
        return last if last is not None and self._rank(last) > rank else None

    def _last_of(self, source: Hashable | None) -> PeerKey:
        """Return the last of what a source brought."""
        if source not in self._last:
            self._last[source] = _last(self._brought[source])
        return self._last[source]

    def _rank(self, peer: PeerKey) -> bytes:
        return self._entries[peer].rank

    def _note(self, source: Hashable | None, peer: PeerKey) -> None:
        if isinstance(source, Voice):
            self.voices.heard(source, peer)

    def _keep(self, descriptor: Descriptor, source: Hashable | None, groups: tuple[Group, ...], rank: bytes) -> None:
        self._revision += 1
        entry = _Entry(descriptor, digest(descriptor.raw), source, self._revision, groups, rank)
        self._entries[descriptor.peer] = entry
        self._digests[entry.digest] = descriptor.peer
        self._brought.setdefault(source, {})[descriptor.peer] = rank
        if (last := self._last.get(source)) is not None and rank > self._rank(last):
            self._last[source] = descriptor.peer
        for group in groups:
            self._groups.setdefault(group, {})[descriptor.peer] = None

    def _forget(self, peer: PeerKey) -> None:
        self._drop(peer)
        self.voices.forget(peer)

    def _drop(self, peer: PeerKey) -> None:
        entry = self._entries.pop(peer)
        if self._digests.get(entry.digest) == peer:
            del self._digests[entry.digest]
        del self._brought[entry.source][peer]
        if not self._brought[entry.source]:
            del self._brought[entry.source]
        self._last.pop(entry.source, None)
        for group in entry.groups:
            there = self._groups[group]
            del there[peer]
            if not there:
                del self._groups[group]


def _last(ranks: Mapping[PeerKey, bytes]) -> PeerKey:
    """Return whose rank is the highest."""
    return max(ranks, key=ranks.__getitem__)
