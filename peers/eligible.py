"""Of the peers that are known, those that paths are made of.

As a rule these are the ones that are vouched for (`peers.voices`). While too few neighbours have spoken for that, who
was named by anybody but the guards will do. While there is no path over these either, so that nothing else is known,
everyone will.

Which of the three holds follows from what is known, and never from what fails: whoever makes circuits fail must not
be able to open the door to peers that only it has named.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Final

from peers.paths import has_path
from peers.voices import Voice

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Sequence

    from core.ids import PeerKey
    from peers.descriptor import Descriptor
    from peers.directory import Directory
    from peers.guards import PinnedHops
    from peers.path_draw import Rng
    from peers.path_search import PathRules

PATIENCE_S: Final = 1.0
"""For so long the first path waits for more neighbours to speak, since its guards are kept for weeks, and since a guard
that is kept may be the first to speak. Links to others take some round trips."""


class _Only:
    """A part of a directory."""

    def __init__(self, peers: Sequence[Descriptor]) -> None:
        self._peers = peers

    def peers(self) -> Sequence[Descriptor]:
        return self._peers


class Eligible:
    """The part of a directory that paths are made of. Implements `peers.paths.DirectoryView`.

    Args:
        directory: the peers that are known.
        rules: what every path must be.
        pins: the peers that this client holds on to.
        rng: where chance comes from.
        patience_s: how long the first path waits for more neighbours, once one has spoken.
    """

    def __init__(
        self, directory: Directory, rules: PathRules, pins: PinnedHops, rng: Rng, patience_s: float = PATIENCE_S
    ) -> None:
        self._directory = directory
        self._pins = pins
        self._rng = rng
        self._patience_s = patience_s
        self._waits_until: float | None = None
        self._guards: dict[PeerKey, set[Voice]] = {}
        self._seen: tuple[int, int, tuple[PeerKey, ...]] | None = None
        self._peers: tuple[Descriptor, ...] = ()
        self.use(rules)

    def use(self, rules: PathRules) -> None:
        """Go by other rules from now on."""
        # In which region a path may end does not matter: else who names exits there alone would be believed.
        self._rules = replace(rules, regions=(), excluded=())
        self._seen = None

    def too_early(self, clock: float) -> bool:
        """Whether too few neighbours have spoken, and more may yet speak.

        Args:
            clock: seconds.
        """
        self._note_guards()
        if self._directory.voices.enough or not self._directory.voices.any_neighbour:
            return False
        if self._waits_until is None:
            if not has_path(self._directory, self._rules, self._rng):
                return False
            self._waits_until = clock + self._patience_s
        return clock < self._waits_until

    def peers(self) -> Sequence[Descriptor]:
        """The peers that may stand on a path, the guards that are kept among them."""
        self._note_guards()
        seen = (self._directory.revision, self._directory.voices.revision, self._pins.guards.peers)
        if seen != self._seen:
            self._seen = seen
            self._peers = next(peers for peers in self._groups() if peers is not None)
        return self._peers

    def _groups(self) -> Iterator[tuple[Descriptor, ...] | None]:
        """Those who may do, the strictest rule first; None where there is no path."""
        voices, everyone = self._directory.voices, self._directory.peers()
        if voices.enough:
            yield self._with_guards([found for found in everyone if voices.vouched(found.peer)])
        yield self._with_guards([found for found in everyone if voices.named(found.peer)])
        yield everyone

    def _with_guards(self, peers: Collection[Descriptor]) -> tuple[Descriptor, ...] | None:
        if not has_path(_Only(tuple(peers)), self._rules, self._rng):
            return None
        there = {found.peer for found in peers}
        guards = (self._directory.get(peer) for peer in self._pins.guards.peers if peer not in there)
        return (*peers, *(found for found in guards if found is not None))

    def _note_guards(self) -> None:
        """Tell which voices are the guards'. By the addresses at which they were dialled, not by those they declare:
        a guard that declared those of others would silence them."""
        self._guards = {peer: self._guards.get(peer, set()) for peer in self._pins.guards.peers}
        voices = self._directory.voices
        for peer, own in self._guards.items():
            found = self._directory.get(peer)
            if found is not None:
                own |= voices.of_key(found.link_key)
        voices.guards_are(set[Voice]().union(*self._guards.values()))
