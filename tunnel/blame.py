"""Who is to blame when circuits fail, and who has shown signs of life. Time comes in as an argument.

Blame is a weight per peer that halves every `BLAME_HALF_S`. There are two kinds. *Silence* is refuted by a sign of
life that was asked for after it began; *fault* (to refuse, to break the protocol, to accuse others) only fades. Most of
the blame falls on the peer that was named, and a small part on the one that named it, so that who accuses one after
another is left out itself; to say once more of a peer what is held against it already costs nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import inf
from types import MappingProxyType
from typing import TYPE_CHECKING, Final, NamedTuple

from core.errors import Reason
from tunnel.limits import AVOID_FROM, BLAME_HALF_S, MAX_BLAME, MAX_BLAMED, PROVED_S

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from core.ids import PeerKey

REPORTER_SHARE: Final = 0.15
"""Of who names another one. Below `AVOID_FROM`, so one report alone does not cost the reporter its place."""

UNSAID: Final = 0.1
"""For all hops of a circuit together that one of them ended: less than what leaves a peer out, unless it goes on."""

PAYEES_FAULT: Final = frozenset({Reason.COUNTS_DIFFER, Reason.UNPAID})
"""Why somebody could not pay the next hop, where that is the next hop's own doing: it counts what never came, or does
not take the money."""

CANNOT_PAY: Final = frozenset(
    {Reason.NO_CHANNEL, Reason.SPENDING_CAP, Reason.NO_FUNDS, Reason.NOT_OPEN, Reason.SETTLEMENT}
)
"""Why this node could not pay a guard, where that is nobody's fault, or not known to be."""


class Shares(NamedTuple):
    """How one failure is shared out.

    Args:
        silence: blame for not answering.
        fault: blame for anything else.
        telling: blame for having named those who are silent, if that is news.
    """

    silence: Mapping[PeerKey, float]
    fault: Mapping[PeerKey, float]
    telling: Mapping[PeerKey, float] = MappingProxyType({})


def _spread(peers: Sequence[PeerKey], total: float) -> dict[PeerKey, float]:
    return {peer: total / len(peers) for peer in peers}


def shares_of_build(path: Sequence[PeerKey], reporter: int, reason: Reason) -> Shares:
    """Share out a build that failed.

    Args:
        path: the guard first.
        reporter: the place whose verdict it is, -1 for this node itself.
        reason: the verdict.
    """
    named = [path[reporter]] if reporter >= 0 else []
    beyond = path[reporter + 1 :]
    telling = _spread(named, REPORTER_SHARE)
    match reason:
        case Reason.NEXT_HOP if beyond:
            return Shares({beyond[0]: 1.0}, {}, telling)
        case Reason.TIMED_OUT if beyond:
            # The next one lives and waits for somebody in turn.
            return Shares(_spread(beyond, 1.0), {}, telling)
        case Reason.UNKNOWN_PEER if beyond:
            return Shares({}, _spread([*named, beyond[0]], 2 * REPORTER_SHARE))
        case Reason.NO_CHANNEL:
            # Nobody's fault, unless it goes on: who never takes money is of no use.
            return Shares({}, _spread([*named, *beyond[:1]], UNSAID))
        case _ if reason in PAYEES_FAULT and beyond:
            return Shares({}, {beyond[0]: 0.5} | telling)
        case Reason.PROTOCOL if reporter > 0:
            # What does not verify may have been changed on its way.
            return Shares({}, {**_spread(path[:reporter], 0.5), path[reporter]: 0.5})
        case _:
            return Shares({}, _spread(named, 0.5))


def shares_of_silence(path: Sequence[PeerKey], guard_silent: bool, alive: Iterable[PeerKey]) -> Shares:
    """Share out a circuit that fell silent.

    Args:
        path: the guard first.
        guard_silent: whether the link to the guard is silent too, or gone.
        alive: peers that have answered something that was asked after the silence began.
    """
    if guard_silent or len(path) == 1:
        return Shares({path[0]: 1.0}, {})
    known = {path[0], *alive}
    suspects = [peer for peer in path if peer not in known]
    return Shares(_spread(suspects, 1.0), {}) if suspects else shares_of_end(path)


def shares_of_end(path: Sequence[PeerKey]) -> Shares:
    """Share out a circuit that somebody on it ended without saying why."""
    return Shares({}, _spread(path, UNSAID))


@dataclass(slots=True)
class _Record:
    silence: float = 0.0
    fault: float = 0.0
    at: float = 0.0
    silent_since: float = -inf
    proved_at: float = -inf

    def fade(self, now: float) -> None:
        factor = 0.5 ** (max(0.0, now - self.at) / BLAME_HALF_S)
        self.silence *= factor
        self.fault *= factor
        self.at = max(self.at, now)


class Blame:
    """What is held against each peer, and when it last showed a sign of life."""

    def __init__(self) -> None:
        self._records: dict[PeerKey, _Record] = {}

    def __len__(self) -> int:
        return len(self._records)

    def accuse(self, shares: Shares, now: float, silent_since: float | None = None) -> None:
        """Book a failure.

        Args:
            shares: who gets how much.
            now: loop time.
            silent_since: when the silence began; now, if it is not known.
        """
        since = now if silent_since is None else silent_since
        news = any(self._record(peer, now).silence < AVOID_FROM for peer in shares.silence)
        for peer, share in shares.silence.items():
            record = self._record(peer, now)
            if record.proved_at < since:
                record.silence = min(MAX_BLAME, record.silence + share)
                record.silent_since = max(record.silent_since, since)
        for peer, share in (*shares.fault.items(), *(shares.telling.items() if news else ())):
            record = self._record(peer, now)
            record.fault = min(MAX_BLAME, record.fault + share)

    def avoid(self, peer: PeerKey, now: float) -> None:
        """Hold as much against a peer as there can be."""
        self._record(peer, now).fault = MAX_BLAME

    def proved(self, peers: Iterable[PeerKey], asked_at: float, now: float) -> None:
        """These peers have answered what was asked at a loop time: none of them has been silent since."""
        for peer in peers:
            record = self._record(peer, now)
            record.proved_at = max(record.proved_at, asked_at)
            if asked_at > record.silent_since:
                record.silence = 0.0

    def weight(self, peer: PeerKey, now: float) -> float:
        """What is held against a peer now, from 0 to twice `MAX_BLAME`."""
        record = self._records.get(peer)
        if record is None:
            return 0.0
        record.fade(now)
        return record.silence + record.fault

    def alive_since(self, peers: Iterable[PeerKey], moment: float) -> list[PeerKey]:
        """Those of some peers that answered what was asked at or after a loop time."""
        return [peer for peer in peers if (found := self._records.get(peer)) and found.proved_at >= moment]

    def proved_lately(self, peer: PeerKey, now: float) -> bool:
        """Whether a peer has shown a sign of life a short while ago, and nothing is held against it since."""
        record = self._records.get(peer)
        return record is not None and now - record.proved_at < PROVED_S and self.weight(peer, now) < AVOID_FROM

    def avoided(self, now: float) -> list[PeerKey]:
        """Peers to leave out while there are others, the least blamed first."""
        weights = {peer: self.weight(peer, now) for peer in self._records}
        return sorted((peer for peer, weight in weights.items() if weight >= AVOID_FROM), key=weights.__getitem__)

    def _record(self, peer: PeerKey, now: float) -> _Record:
        record = self._records.get(peer)
        if record is None:
            if len(self._records) >= MAX_BLAMED:
                del self._records[min(self._records, key=lambda other: self.weight(other, now))]
            record = self._records[peer] = _Record(at=now)
        record.fade(now)
        return record
