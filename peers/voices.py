"""Who has named which peers, so that one who names only friends is not believed alone.

A voice is whatever tells of peers on its own account. The neighbours that this node dialled have voices, and those in
one network (IPv4 /16, IPv6 /32) have one together, because one machine can have many addresses there. Who dialled this
node has none: nobody shall get one by coming. What is met through the DHT is one voice, and so is what was vouched for
in an earlier run. The guards' voices count as one, since they know this client, and gain most by deceiving it.

What is vouched for is that a peer is in the network. Its newer descriptors are its own word and need no new voices.
"""

from __future__ import annotations

from collections import Counter
from enum import Enum
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable, Set

    from core.ids import PeerKey

MAX_VOICES: Final = 8
"""So many are remembered for each peer. Two decide; the others are there because a neighbour may become a guard."""
NEIGHBOURS: Final = 3
"""With fewer, one that lies could decide who is vouched for, by naming none but those it likes."""
MAX_MET: Final = 1024
"""Neighbours whose network is remembered. A client has a few; a relay dials many, and forgets those it met first."""


class Way(Enum):
    """How a voice is heard."""

    LINK = "link"
    DHT = "dht"
    EARLIER = "earlier"


class Voice(NamedTuple):
    """One that names peers.

    Args:
        way: how it is heard.
        network: of a neighbour, that of the address it was dialled at; else empty.
    """

    way: Way
    network: bytes = b""


FROM_DHT: Final = Voice(Way.DHT)
FROM_EARLIER: Final = Voice(Way.EARLIER)


class Voices:
    """Which voices have named which peers.

    Attributes:
        revision: a number that rises with each change.
    """

    def __init__(self) -> None:
        self._of: dict[PeerKey, set[Voice]] = {}
        self._heard: Counter[Voice] = Counter()
        self._guards: frozenset[Voice] = frozenset()
        self._met: dict[bytes, Voice] = {}
        self.revision = 0

    def met(self, link_key: bytes, network: bytes) -> Voice:
        """A neighbour was dialled, and has proved its key.

        Args:
            link_key: that key, 32 bytes.
            network: of the address at which it was dialled.

        Returns:
            Its voice.
        """
        self._met.pop(link_key, None)
        if len(self._met) >= MAX_MET:
            del self._met[next(iter(self._met))]
        voice = self._met[link_key] = Voice(Way.LINK, network)
        return voice

    def of_neighbour(self, link_key: bytes) -> Voice | None:
        """The voice of whoever proved a link key when it was dialled last; None for nobody."""
        return self._met.get(link_key)

    def heard(self, voice: Voice, peer: PeerKey) -> None:
        """A voice has named a peer that is known."""
        voices = self._of.setdefault(peer, set())
        if voice in voices or len(voices) >= MAX_VOICES:
            return
        voices.add(voice)
        self._heard[voice] += 1
        self.revision += 1

    def forget(self, peer: PeerKey) -> None:
        """A peer is not known any more."""
        for voice in self._of.pop(peer, ()):
            self._heard[voice] -= 1
            if not self._heard[voice]:
                del self._heard[voice]
            self.revision += 1

    def guards_are(self, voices: Iterable[Voice]) -> None:
        """Say which voices are those of this node's guards."""
        guards = frozenset(voices)
        if guards != self._guards:
            self._guards = guards
            self.revision += 1

    @property
    def enough(self) -> bool:
        """Whether so many have spoken, now or in an earlier run, that only those who are vouched for need be used."""
        return self.neighbours >= NEIGHBOURS or FROM_EARLIER in self._heard

    @property
    def neighbours(self) -> int:
        """How many neighbours' voices were heard, those of the guards aside."""
        return sum(voice.way is Way.LINK for voice in self._heard.keys() - self._guards)

    def named(self, peer: PeerKey) -> bool:
        """Whether somebody other than the guards has named a peer."""
        return bool(self._of.get(peer, frozenset()) - self._guards)

    def vouched(self, peer: PeerKey) -> bool:
        """Whether two voices have named a peer, one of them not a guard's; or had in an earlier run."""
        voices: Set[Voice] = self._of.get(peer, frozenset())
        others = voices - self._guards
        return FROM_EARLIER in others or (bool(others) and len(others) + (len(others) < len(voices)) >= 2)
