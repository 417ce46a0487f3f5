"""Bring the directories of two neighbours together, over one link, in bounded amounts.

Each side says what it has by digest, asks for what it lacks, and gets it. Nothing is pushed. Messages of at most
8,192 bytes, the first byte is the kind:

| kind | then |
|---|---|
| 1 `HAVE` | 1 to 1,000 digests of 8 bytes, none twice |
| 2 `WANT` | 1 to 32 digests of 8 bytes, none twice |
| 3 `DESCRIPTORS` | 1 to 32 times a length (2 bytes, big-endian) and a descriptor |

At most 32 digests are asked for at a time, so a reply is at most 32 KB. A `WANT` is answered with as many messages
as it takes; what is no longer there is left out.

A neighbour that says it has what is known here already vouches for it, unless it got it from here. Who serves nobody
tells of itself alone, which is nothing at a client: what it has heard would mark it, and would come back to it as if
others knew it too.
"""

from __future__ import annotations

from collections import Counter
from enum import IntEnum
from typing import TYPE_CHECKING, Final

from core.errors import DecodeError
from peers.descriptor import DIGEST_BYTES, MAX_DESCRIPTOR_BYTES, MIN_DESCRIPTOR_BYTES, ExpiryError, digest
from peers.directory import MAX_PEERS

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Iterable

    from peers.directory import Directory

# Wire format
MAX_MESSAGE_BYTES: Final = 8192
MAX_HAVE: Final = 1000
MAX_WANT: Final = 32
MAX_DESCRIPTORS: Final = 32

# Limits of one link
ANSWER_LIMIT_S: Final = 60.0
"""What was asked for and has not come after this time may be asked for again."""
MIN_LIFE_S: Final = 600.0
"""Descriptors closer to their end than this are not passed on: clocks differ, and there will be a newer one."""
MAX_OFFERED: Final = MAX_PEERS + 1
TRANSFER_BURST: Final = MAX_PEERS + 512
TRANSFERS_PER_S: Final = 64.0
"""Descriptors asked for, once the burst that fills an empty directory is used up."""
STRIKES: Final = 8
STRIKES_FORGIVEN_PER_S: Final = 1 / 600


class _Kind(IntEnum):
    HAVE = 1
    WANT = 2
    DESCRIPTORS = 3


class _Allowance:
    """So many at once, and so many per second after that."""

    def __init__(self, burst: float, per_s: float) -> None:
        self._burst = burst
        self._per_s = per_s
        self._left = burst
        self._since: float | None = None

    def left(self, now: float) -> int:
        """Return how many may be taken now."""
        if self._since is not None:  # wall clocks can go backwards
            self._left = min(self._burst, self._left + max(0.0, now - self._since) * self._per_s)
        self._since = now
        return int(self._left)

    def take(self, now: float, count: int) -> bool:
        """Take `count` if there are as many."""
        if self.left(now) < count:
            return False
        self._left -= count
        return True


class Gossip:
    """One link's end of the exchange.

    Send what the methods return, in order, and call `announce` every minute or so.

    Args:
        directory: read from and added to.
        own: this node's present descriptor, or None if it publishes none.
        tells: whether the neighbour is told of others.

    Attributes:
        counts: what happened, by word; the bad ones are `unasked`, `bad`, `greedy` and `noisy`.
    """

    def __init__(self, directory: Directory, own: Callable[[], bytes | None], *, tells: bool = True) -> None:
        self._directory = directory
        self._own = own
        self._tells = tells
        self._source: Hashable = None
        self._given: dict[bytes, None] = {}
        self._own_told: bytes | None = None
        self._told = 0
        self._offered: dict[bytes, None] = {}
        self._asked: dict[bytes, float] = {}
        self._receiving = _Allowance(TRANSFER_BURST, TRANSFERS_PER_S)
        # Twice what an honest neighbour takes: its clock is another one, and messages come in bursts.
        self._sending = _Allowance(2 * TRANSFER_BURST, 2 * TRANSFERS_PER_S)
        self._hearing = _Allowance(2 * TRANSFER_BURST, 2 * TRANSFERS_PER_S)
        self._strikes = _Allowance(STRIKES, STRIKES_FORGIVEN_PER_S)
        self.counts: Counter[str] = Counter()

    def start(self, now: float) -> list[bytes]:
        """Say all that this node has: the link is up.

        Args:
            now: Unix seconds.

        Returns:
            Messages for the neighbour.
        """
        self._own_told, self._told = None, 0
        return self.announce(now)

    def announce(self, now: float) -> list[bytes]:
        """Say what is new since the last time, and ask again for what did not come.

        Args:
            now: Unix seconds.

        Returns:
            Messages for the neighbour.
        """
        changed = self._directory.changes(self._told) if self._tells else []
        news = [name for name, found in changed if found.expiry > now + MIN_LIFE_S]
        self._told = self._directory.revision
        own = self._own()
        if own is not None and (name := digest(own)) != self._own_told:
            self._own_told = name
            news.insert(0, name)
        said = [_encode_digests(_Kind.HAVE, news[i : i + MAX_HAVE]) for i in range(0, len(news), MAX_HAVE)]
        return said + self._pull(now)

    def receive(self, body: bytes, now: float, source: Hashable) -> list[bytes]:
        """Take a message from the neighbour.

        Args:
            body: one message.
            now: Unix seconds.
            source: the link, as the directory shall know it.

        Returns:
            Messages for the neighbour, at most 33 KB.

        Raises:
            DecodeError: it is no message, or the neighbour has misbehaved too often. Drop the link.
        """
        body = bytes(body)
        self._source = source
        if not 1 < len(body) <= MAX_MESSAGE_BYTES:
            raise _wrong("wrong size")
        if body[0] == _Kind.HAVE:
            return self._have(_decode_digests(body, MAX_HAVE), now)
        if body[0] == _Kind.WANT:
            return self._want(_decode_digests(body, MAX_WANT), now)
        if body[0] == _Kind.DESCRIPTORS:
            return self._descriptors(_decode_descriptors(body), now)
        raise _wrong("unknown kind")

    def _have(self, names: list[bytes], now: float) -> list[bytes]:
        if not self._hearing.take(now, len(names)):
            self._strike("noisy", now)
            return []
        for name in names:
            if self._lacks(name) and len(self._offered) < MAX_OFFERED and name not in self._asked:
                self._offered[name] = None
        return self._pull(now)

    def _want(self, names: list[bytes], now: float) -> list[bytes]:
        if not self._sending.take(now, len(names)):
            self._strike("greedy", now)
            return []
        found = [raw for raw in map(self._serve, names) if raw is not None]
        self.counts["sent"] += len(found)
        return _encode_descriptors(found)

    def _descriptors(self, raws: list[bytes], now: float) -> list[bytes]:
        for raw in raws:
            if self._asked.pop(digest(raw), None) is None:
                self._strike("unasked", now)
                continue
            try:
                kept = self._directory.add(raw, now, self._source)
            except ExpiryError:
                self.counts["expired"] += 1
            except DecodeError:
                self._strike("bad", now)
            else:
                self.counts["kept" if kept else "not_kept"] += 1
        return self._pull(now)

    def _pull(self, now: float) -> list[bytes]:
        """Ask for what was offered, as far as the bounds allow."""
        self._asked = {name: at for name, at in self._asked.items() if abs(now - at) < ANSWER_LIMIT_S}
        room = min(MAX_WANT - len(self._asked), self._receiving.left(now))
        names: list[bytes] = []
        while self._offered and len(names) < room:
            name = next(iter(self._offered))
            del self._offered[name]
            if self._lacks(name):  # another link may have brought it since
                names.append(name)
        if not names:
            return []
        self._receiving.take(now, len(names))
        self._asked.update(dict.fromkeys(names, now))
        return [_encode_digests(_Kind.WANT, names)]

    def _lacks(self, name: bytes) -> bool:
        """Whether what the neighbour says it has is not known here. If it is, the neighbour is heard to name it."""
        if name == self._own_told:
            return False
        return not self._directory.named(name, None if name in self._given else self._source)

    def _serve(self, name: bytes) -> bytes | None:
        own = self._own()
        if own is not None and digest(own) == name:
            return own
        found = self._directory.find(name) if self._tells else None
        if found is None:
            return None
        if len(self._given) >= MAX_OFFERED:
            del self._given[next(iter(self._given))]
        self._given[name] = None
        return found.raw

    def _strike(self, word: str, now: float) -> None:
        self.counts[word] += 1
        if not self._strikes.take(now, 1):
            raise _wrong("the neighbour misbehaves")


def _wrong(problem: str) -> DecodeError:
    return DecodeError("gossip", problem)


def _encode_digests(kind: _Kind, names: Iterable[bytes]) -> bytes:
    return bytes([kind]) + b"".join(names)


def _decode_digests(body: bytes, highest: int) -> list[bytes]:
    count, rest = divmod(len(body) - 1, DIGEST_BYTES)
    names = [body[i : i + DIGEST_BYTES] for i in range(1, len(body), DIGEST_BYTES)]
    if rest or count > highest or len(set(names)) != count:
        raise _wrong("not a list of digests")
    return names


def _encode_descriptors(raws: Iterable[bytes]) -> list[bytes]:
    """Fill as few messages as needed; none for none."""
    messages: list[bytearray] = []
    for raw in raws:
        if not messages or len(messages[-1]) + 2 + len(raw) > MAX_MESSAGE_BYTES:
            messages.append(bytearray([_Kind.DESCRIPTORS]))
        messages[-1] += len(raw).to_bytes(2) + raw
    return [bytes(message) for message in messages]


def _decode_descriptors(body: bytes) -> list[bytes]:
    raws: list[bytes] = []
    at = 1
    while at < len(body):
        size = int.from_bytes(body[at : at + 2])
        end = at + 2 + size
        if end > len(body) or not MIN_DESCRIPTOR_BYTES <= size <= MAX_DESCRIPTOR_BYTES:
            raise _wrong("a descriptor is cut off or has a wrong size")
        raws.append(body[at + 2 : end])
        at = end
    if len(raws) > MAX_DESCRIPTORS:
        raise _wrong("too many descriptors")
    return raws
