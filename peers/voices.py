"""Who has named which peers, so that one who names only friends is not believed alone.

The neighbours that this node dialled have voices, and those in one network (IPv4 /16, IPv6 /32) have one together,
because one machine can have many addresses there. Who dialled this node has none: nobody shall get one by coming. What
is met through the DHT is one voice, and so is what was vouched for in an earlier run.

A peer is vouched for when most of the neighbours name it, those that are guards aside: these know this client, and gain
most by deceiving it. Three must have spoken. Of two, one that lies could keep every honest peer out by naming
only friends, and if one were enough, it could bring in as many as it likes.

What is vouched for is that a peer is in the network. Its newer descriptors are its own word and need no new voices.
"""

from __future__ import annotations

from collections import Counter
from enum import Enum
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable, Set

    from core.ids import PeerKey

NEIGHBOURS: Final = 3
"""Guards aside, so many have to have spoken."""
MAX_NEIGHBOURS: Final = 10
"""So many have voices: a client's guards and some others. A relay dials many more, whose voices are not needed."""


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
        self._linked: Counter[Voice] = Counter()
        self._keys: dict[Voice, set[bytes]] = {}
        self._guards: frozenset[Voice] = frozenset()
        self._jury: frozenset[Voice] = frozenset()
        self.revision = 0

    # -- neighbours

    def link_up(self, link_key: bytes, network: bytes) -> Voice | None:
        """A neighbour was dialled, and has proved its key.

        Args:
            link_key: that key, 32 bytes.
            network: of the address at which it was dialled.

        Returns:
            Its voice; None if enough others have one.
        """
        voice = Voice(Way.LINK, network)
        if voice not in self._keys and len(self._keys) >= MAX_NEIGHBOURS:
            gone = next((other for other in self._keys if not self._linked[other]), None)
            if gone is None:
                return None
            self._silence(gone)
        self._keys.setdefault(voice, set()).add(link_key)
        self._linked[voice] += 1
        self._changed()
        return voice

    def link_down(self, voice: Voice) -> None:
        """A link has ended. What was heard over it still counts until others need the place."""
        self._linked[voice] -= 1
        self._changed()

    def of_key(self, link_key: bytes) -> set[Voice]:
        """The voices of a neighbour: more than one if it was dialled in more than one network."""
        return {voice for voice, keys in self._keys.items() if link_key in keys}

    def guards_are(self, voices: Iterable[Voice]) -> None:
        """Say which voices are those of this node's guards."""
        guards = frozenset(voices)
        if guards != self._guards:
            self._guards = guards
            self._changed()

    # -- what they say

    def heard(self, voice: Voice, peer: PeerKey) -> None:
        """A voice has named a peer that is known."""
        voices = self._of.setdefault(peer, set())
        if voice not in voices:
            voices.add(voice)
            self._heard[voice] += 1
            self._changed()

    def forget(self, peer: PeerKey) -> None:
        """A peer is not known any more."""
        for voice in self._of.pop(peer, ()):
            self._unheard(voice)

    @property
    def enough(self) -> bool:
        """Whether so many have spoken, now or in an earlier run, that only those who are vouched for need be used."""
        return self.neighbours >= NEIGHBOURS or FROM_EARLIER in self._heard

    @property
    def linked(self) -> int:
        """How many neighbours that have a voice there is a link to, the guards aside."""
        return sum(self._linked[voice] > 0 for voice in self._keys if voice not in self._guards)

    @property
    def any_neighbour(self) -> bool:
        """Whether any neighbour was heard, a guard or not."""
        return any(voice.way is Way.LINK for voice in self._heard)

    @property
    def neighbours(self) -> int:
        """How many neighbours were heard, the guards aside."""
        return sum(voice.way is Way.LINK for voice in self._heard.keys() - self._guards)

    def named(self, peer: PeerKey) -> bool:
        """Whether somebody other than the guards has named a peer."""
        return bool(self._of.get(peer, frozenset()) - self._guards)

    def vouched(self, peer: PeerKey) -> bool:
        """Whether most of the neighbours vouch for a peer; or did in an earlier run."""
        voices: Set[Voice] = self._of.get(peer, frozenset())
        agreeing = len(voices & self._jury)
        return FROM_EARLIER in voices or (len(self._jury) >= NEIGHBOURS and 2 * agreeing > len(self._jury))

    def _silence(self, voice: Voice) -> None:
        del self._keys[voice]
        del self._linked[voice]
        for voices in self._of.values():
            if voice in voices:
                voices.remove(voice)
                self._unheard(voice)

    def _unheard(self, voice: Voice) -> None:
        self._heard[voice] -= 1
        if not self._heard[voice]:
            del self._heard[voice]
        self._changed()

    def _changed(self) -> None:
        """Find out anew who decides: neighbours that were heard and are linked; if these are too few, all that were.

        Of an even number the newest is left out: where halves disagree, either would be believed.
        """
        heard = [voice for voice in self._keys if self._heard[voice] and voice not in self._guards]
        linked = [voice for voice in heard if self._linked[voice]]
        found = linked if len(linked) >= NEIGHBOURS else heard
        self._jury = frozenset(found[: len(found) - (len(found) % 2 == 0)])
        self.revision += 1
