"""The peers that a client holds on to: its guards, and the hops after them.

A guard knows the client's address, so a client keeps two of them, for about 60 days. Who ends circuits makes their
client draw again; if the hop after the guard were drawn each time, the attacker's peer would soon be drawn, and would
see the guard. So that hop comes from a set of four, each kept for days.

A list grows beyond its usual length only when nobody on it can be used, and never beyond its bound. Who comes earlier
on it is preferred again as soon as it works. That a hop does not work is believed of this node's own dials, and of what
a guard answers; how circuits end later is nobody's evidence here, since an exit can end them.

Source: Tor's vanguards-lite (proposal 333; Tor Vanguards Specification, "Vanguards-Lite"): four, and the longer of two
lives drawn between 1 and 22 days. Unlike there, they are kept on disk: a client that is started again and again would
draw again and again.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from math import inf
from typing import TYPE_CHECKING, Final, Protocol

from peers.accusers import Accusers

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Sequence

    from core.ids import PeerKey

DAY_S: Final = 86_400
FAILURES: Final = 2
"""In a row, after which a hop is left out for a while."""

APART_S: Final = 1.0
"""What fails so soon after a failure is the same one: many circuits are begun at once, and a hop, or this node, may be
without a line for a moment."""

FIRST_REST_S: Final = 2.0
REST_S: Final = 60.0
"""How long a hop is left out at first and at most: with each further failure twice as long. While all rest, others are
drawn, which nothing is paid to yet, and which hear of this client."""

PATIENCE_S: Final = 15.0
"""From the first choice on: so long a client waits for the peers it has kept to become known again."""


class LifeRng(Protocol):
    """What is needed of `random.Random` to draw lives."""

    def randint(self, a: int, b: int, /) -> int:
        """Return a whole number from `a` to `b`, both included."""


@dataclass(frozen=True, slots=True)
class Terms:
    """How many peers are kept, and for how long.

    Args:
        usual: how many there shall be.
        most: how many there may be.
        shortest_days: the shortest life.
        longest_days: the longest life.
        draws: of so many lives drawn between the two, the longest counts.
    """

    usual: int
    most: int
    shortest_days: int
    longest_days: int
    draws: int = 1


GUARDS: Final = Terms(usual=2, most=10, shortest_days=48, longest_days=72)
SECOND_HOPS: Final = Terms(usual=4, most=12, shortest_days=1, longest_days=22, draws=2)


@dataclass(slots=True)
class Pin:
    """A peer that is kept.

    Args:
        peer: its key.
        until_day: the last day on which it is kept, counted from 1970-01-01 UTC.
        proved: whether it has ever served; one that has not is not written down.
    """

    peer: PeerKey
    until_day: int
    proved: bool = False
    failures: int = 0
    failed_at: float = -inf
    rests_until: float = -inf
    rest_s: float = FIRST_REST_S

    def failed(self, now: float) -> None:
        """It has not done its part."""
        if 0 <= now - self.failed_at < APART_S:
            return
        self.failed_at = now
        self.failures += 1
        if self.failures >= FAILURES:
            self.rests_until = now + self.rest_s
            self.rest_s = min(REST_S, 2 * self.rest_s)

    def forgive(self) -> None:
        """Forget all failures."""
        self.failures, self.failed_at, self.rests_until, self.rest_s = 0, -inf, -inf, FIRST_REST_S


def day_of(now: float) -> int:
    """The day of a Unix time, counted from 1970-01-01 UTC."""
    return int(now // DAY_S)


class PinList:
    """Peers kept for one place of a path, the preferred first.

    Args:
        terms: how many, for how long.
        pins: those kept from before.
    """

    def __init__(self, terms: Terms, pins: Iterable[Pin] = ()) -> None:
        self._terms = terms
        self._pins = list(pins)[: terms.most]

    def __len__(self) -> int:
        return len(self._pins)

    @property
    def peers(self) -> tuple[PeerKey, ...]:
        """All of them, the preferred first."""
        return tuple(pin.peer for pin in self._pins)

    @property
    def proved(self) -> tuple[Pin, ...]:
        """Those that have served, to be written down."""
        return tuple(pin for pin in self._pins if pin.proved)

    @property
    def missing(self) -> int:
        """How many there are too few."""
        return max(0, self._terms.usual - len(self._pins))

    @property
    def full(self) -> bool:
        """Whether no more may be added."""
        return len(self._pins) >= self._terms.most

    def awake(self, now: float) -> list[PeerKey]:
        """Those that did not fail lately, the preferred first.

        Args:
            now: Unix seconds.
        """
        return [pin.peer for pin in self._pins if not 0 < pin.rests_until - now <= REST_S]

    def usable(self, now: float, known: Collection[PeerKey], usual: bool) -> list[PeerKey]:
        """Those to choose from now, the preferred first.

        Args:
            now: Unix seconds.
            known: peers in the directory.
            usual: no more than the usual number, although more may be kept.
        """
        found = [peer for peer in self.awake(now) if peer in known]
        return found[: self._terms.usual] if usual else found

    def add(self, peer: PeerKey, now: float, rng: LifeRng) -> None:
        """Keep another peer, the least preferred; it must not be there, and the list not full."""
        assert not self.full
        assert peer not in self.peers
        terms = self._terms
        life = max(rng.randint(terms.shortest_days, terms.longest_days) for _ in range(terms.draws))
        self._pins.append(Pin(peer, day_of(now) + life))

    def expire(self, now: float) -> bool:
        """Let go of those whose time is over, and shorten what only a wrong clock can have given.

        Returns:
            Whether there is something new to write down.
        """
        today, before = day_of(now), self.proved
        longest = today + self._terms.longest_days
        self._pins = [pin for pin in self._pins if pin.until_day >= today]
        shortened = [pin for pin in self._pins if pin.until_day > longest]
        for pin in shortened:
            pin.until_day = longest
        return bool(shortened) or self.proved != before

    def served(self, peer: PeerKey) -> bool:
        """A peer has done its part.

        What was added after it and never served is let go of again, beyond the usual number: nobody knows of it.

        Returns:
            Whether there is something new to write down.
        """
        place = next((place for place, pin in enumerate(self._pins) if pin.peer == peer), None)
        if place is None:
            return False
        pin = self._pins[place]
        news = not pin.proved
        pin.proved = True
        pin.forgive()
        first = max(place + 1, self._terms.usual)
        self._pins[first:] = [later for later in self._pins[first:] if later.proved]
        return news

    def failed(self, peer: PeerKey, now: float) -> None:
        """A peer has not done its part; after some times in a row it is left out for a while."""
        for pin in self._pins:
            if pin.peer == peer:
                pin.failed(now)

    def forgive(self) -> None:
        """Forget all failures."""
        for pin in self._pins:
            pin.forgive()


class PinnedHops:
    """A client's guards and second hops.

    Args:
        guards: guards kept from before.
        seconds: second hops kept from before.

    Attributes:
        guards: who may stand first on a path.
        seconds: who may stand second, on paths of three hops or more.
        counters: what happened, by word: `guard drawn`, `second hop drawn`, the same with `beyond` for those beyond
            the usual number, and `bound reached`.
        unsaved: whether something has changed that is written down.
    """

    def __init__(self, guards: Iterable[Pin] = (), seconds: Iterable[Pin] = ()) -> None:
        self.guards = PinList(GUARDS, guards)
        self.seconds = PinList(SECOND_HOPS, seconds)
        self.counters: Counter[str] = Counter()
        self.unsaved = False
        self._accusers = Accusers()
        self._waits_until: float | None = None

    def begin(self, now: float) -> None:
        """A path is to be chosen.

        Args:
            now: Unix seconds.
        """
        if self._waits_until is None:
            self._waits_until = now + PATIENCE_S
        self.unsaved |= self.guards.expire(now) | self.seconds.expire(now)
        self._accusers.keep({*self.guards.peers, *self.seconds.peers})

    def waits_for(self, known: Collection[PeerKey], now: float) -> bool:
        """Whether it is too early to replace peers that are not known, because little is known yet."""
        early = self._waits_until is not None and 0 < self._waits_until - now <= PATIENCE_S
        return early and not {*self.guards.peers, *self.seconds.peers} <= {*known}

    def awake(self, now: float) -> tuple[list[PeerKey], list[PeerKey]]:
        """Guards and second hops that did not fail lately."""
        return self.guards.awake(now), self.seconds.awake(now)

    def resting(self, now: float) -> set[PeerKey]:
        """Guards and second hops that did."""
        return {*self.guards.peers, *self.seconds.peers}.difference(*self.awake(now))

    def trusted_first(self, peers: list[PeerKey], now: float) -> None:
        """Put those behind the others that accuse most of the hops after them; else the order stays."""
        peers.sort(key=lambda peer: self._accusers.doubted(peer, now))

    def pin_guard(self, peer: PeerKey, now: float, rng: LifeRng) -> None:
        """Keep another guard."""
        self.counters["guard drawn" if self.guards.missing else "guard drawn beyond"] += 1
        self.guards.add(peer, now, rng)

    def pin_second(self, peer: PeerKey, now: float, rng: LifeRng) -> None:
        """Keep another second hop."""
        self.counters["second hop drawn" if self.seconds.missing else "second hop drawn beyond"] += 1
        self.seconds.add(peer, now, rng)

    def tried(self, path: Sequence[PeerKey], served: int, at_fault: bool, now: float, online: bool) -> None:
        """A circuit was to be created.

        Args:
            path: the guard first, the exit last.
            served: how many hops, from the guard on, did their part.
            at_fault: whether it is the next one's fault that it failed.
            now: Unix seconds.
            online: whether this node has a link to anyone. Without one it is not the guard's fault.
        """
        for place, pins in enumerate((self.guards, self.seconds)[: len(path) - 1]):
            if served > place:
                self.unsaved |= pins.served(path[place])
            elif served == place and at_fault and online:
                pins.failed(path[place], now)
        self._heed(path, served, at_fault, now)
        if not online:
            self.guards.forgive()

    def _heed(self, path: Sequence[PeerKey], served: int, at_fault: bool, now: float) -> None:
        """Note what the first two hops say of the hops after them."""
        for place in range(min(2, len(path) - 1)):
            if served >= place + 2:
                self._accusers.served(path[place], path[place + 1])
            elif served == place + 1 and at_fault:
                self._accusers.accused(path[place], path[place + 1], now)
