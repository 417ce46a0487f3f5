"""What this node has measured of peers, in memory only and bounded. Time comes in as an argument.

Only sums are kept: no destination, no time of use, no circuit. A failure is booked on two neighbouring hops, more on
the one that reports it than on the one it accuses, since to report costs nothing: who is dead fails with everybody,
and who accuses one after another fails with everybody too. The word of a hop that fails often counts for less.
"""

from __future__ import annotations

from dataclasses import InitVar, dataclass, field
from enum import Enum
from functools import lru_cache
from typing import TYPE_CHECKING, Final

from core.errors import Reason
from peers.averages import Average
from peers.scores import BELIEVED_KB_S, USUAL_FAILING, USUAL_JITTER_S, USUAL_KB_S, USUAL_RTT_S, Figures

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from core.ids import PeerKey
    from peers.descriptor import Descriptor

DELAY_HALF_S: Final = 86_400.0
"""Time in which evidence of delays and rates halves. With less than half a day, what one session has shown is forgotten
by the next; beyond a day nothing is gained (`python -m bench simulation --half-life HOURS`)."""
FAILURE_HALF_S: Final = 2 * 3600.0
"""Time in which evidence of failures halves: who was down, or was made to look so, is soon tried again."""

MAX_MEASURED: Final = 1024
"""Peers of whom something is kept; beyond, the one that was not used for longest gives way."""

REPORTER_SHARE: Final = 2 / 3
"""Of a failure, for the hop that reports it; the rest is for the hop it accuses."""
LAST_TWO_SHARE: Final = 0.8
"""Of a circuit that ended without explanation, for its last two hops together."""
LOWER_RATE_SHARE: Final = 0.05
"""A flow that is slower than a peer can be tells little: most often its other end is slow."""
UNPROVEN_SHARE: Final = 0.25
"""When an exit says that the destination is at fault, it may be so."""


_STRANGERS_REMEMBERED: Final = 1 << 10


class Kind(Enum):
    """What may fail."""

    BUILD = "build"
    """A circuit was to be built."""
    END = "end"
    """A circuit stood until it was not needed any more, or ended before."""
    FLOW = "flow"
    """A flow was to be opened."""


USUAL_BY_KIND: Final = 1 - (1 - USUAL_FAILING) ** (1 / len(Kind))

_EXITS_OWN: Final = frozenset({Reason.BUSY, Reason.LIMIT, Reason.NOT_ALLOWED, Reason.PROTOCOL, Reason.NO_PATH})
_NOBODYS: Final = frozenset({Reason.DONE, Reason.LOCAL, Reason.CLOSED, Reason.LEAVING})


def _usual_rtt_s(expected_rtt_s: float | None) -> float:
    return USUAL_RTT_S if expected_rtt_s is None else expected_rtt_s


@lru_cache(maxsize=_STRANGERS_REMEMBERED)
def _of_a_stranger(rate_kb_s: int, tariff_step: int, expected_rtt_s: float | None) -> Figures:
    """What to expect of a peer that was never used. Most are such, and many are alike."""
    return Figures(
        _usual_rtt_s(expected_rtt_s),
        rate_kb_s=rate_kb_s,
        tariff_step=tariff_step,
        expected_rtt_s=expected_rtt_s,
    )


def _averages() -> dict[Kind, Average]:
    return {kind: Average(FAILURE_HALF_S) for kind in Kind}


@dataclass(slots=True)
class Record:
    """What was measured of one peer.

    Args:
        half_s: time in which evidence of delays and rates halves.

    Attributes:
        link_rtt_s: round trip of the link to it.
        rtt_s: what it adds to the round trip of circuits.
        jitter_s: how far that strays.
        rate_kb_s: about the best rate of circuits over it.
        failing: by kind, the part of what was tried that failed.
    """

    half_s: InitVar[float]
    link_rtt_s: Average = field(init=False)
    rtt_s: Average = field(init=False)
    jitter_s: Average = field(init=False)
    rate_kb_s: Average = field(init=False)
    failing: dict[Kind, Average] = field(default_factory=_averages)

    def __post_init__(self, half_s: float) -> None:
        self.link_rtt_s, self.rtt_s = Average(half_s), Average(half_s)
        self.jitter_s, self.rate_kb_s = Average(half_s), Average(half_s)

    def confidence(self, now: float) -> float:
        """How far the peer was measured, from 0 to 1."""
        return max(self.rtt_s.confidence(now), self.failing[Kind.BUILD].confidence(now))

    def failing_in_all(self, now: float) -> float:
        """The part of what was tried that failed, whatever its kind."""
        works = 1.0
        for average in self.failing.values():
            works *= 1.0 - average.blend(USUAL_BY_KIND, now)
        return 1.0 - works

    def delay(self, rtt_s: float, now: float) -> None:
        """Take in what it added to a round trip."""
        if self.rtt_s.evidence(now):
            self.jitter_s.add(abs(rtt_s - self.rtt_s.value), now)
        self.rtt_s.add(rtt_s, now)

    def carried(self, kb_s: float, now: float) -> None:
        """Take in a rate at which it carried something."""
        best = self.rate_kb_s
        if kb_s >= best.value or not best.evidence(now):
            best.value = kb_s
            best.add(kb_s, now)
        else:
            best.add(kb_s, now, LOWER_RATE_SHARE)


class Measurements:
    """What was measured of peers. Paths are peers, the guard first; `now` is seconds of a clock that only goes on.

    Args:
        delay_half_s: time in which evidence of delays and rates halves.
    """

    def __init__(self, delay_half_s: float = DELAY_HALF_S) -> None:
        self._delay_half_s = delay_half_s
        self._records: dict[PeerKey, Record] = {}

    def __len__(self) -> int:
        return len(self._records)

    def of(self, peer: PeerKey) -> Record | None:
        """What was measured of a peer; None for nothing."""
        return self._records.get(peer)

    def figures(self, found: Descriptor, now: float, expected_rtt_s: float | None = None) -> Figures:
        """What to expect of a peer. A declared capacity is believed up to a bound, until it has shown another.

        Args:
            found: the peer.
            now: the time.
            expected_rtt_s: what it adds to a round trip by its distance, as long as nothing was measured; None for
                unknown.
        """
        declared = min(found.capacity_kb_s or USUAL_KB_S, BELIEVED_KB_S)
        record = self._records.get(found.peer)
        if record is None:
            return _of_a_stranger(declared, found.tariff_step, expected_rtt_s)
        return Figures(
            rtt_s=record.rtt_s.blend(_usual_rtt_s(expected_rtt_s), now),
            jitter_s=record.jitter_s.blend(USUAL_JITTER_S, now),
            rate_kb_s=record.rate_kb_s.blend(declared, now),
            failing=record.failing_in_all(now),
            tariff_step=found.tariff_step,
            confidence=record.confidence(now),
            expected_rtt_s=expected_rtt_s,
        )

    # -- delays and rates

    def link_answered(self, peer: PeerKey, rtt_s: float, now: float) -> None:
        """A neighbour answered."""
        self._record(peer).link_rtt_s.add(rtt_s, now)

    def answered(self, path: Sequence[PeerKey], rtt_s: float, now: float) -> None:
        """The exit of a circuit answered.

        The guard's part is that of its link, where it was measured. What the others add together is shared out by what
        was expected of each; what is left over goes to those of whom least is known.
        """
        records = [self._record(peer) for peer in path]
        link = records[0].link_rtt_s
        if len(path) > 1 and link.evidence(now):
            records[0].delay(link.value, now)
            rtt_s -= link.value
            del records[0]
        expected = [record.rtt_s.blend(USUAL_RTT_S, now) for record in records]
        doubt = [1.05 - record.rtt_s.confidence(now) for record in records]
        left_over = rtt_s - sum(expected)
        for record, part, unsure in zip(records, expected, doubt, strict=True):
            record.delay(max(0.0, part + left_over * unsure / sum(doubt)), now)

    def carried(self, path: Iterable[PeerKey], kb_s: float, now: float) -> None:
        """A circuit carried so many KB per second over a while."""
        for peer in path:
            self._record(peer).carried(kb_s, now)

    # -- successes and failures

    def built(self, path: Iterable[PeerKey], now: float) -> None:
        """A circuit was built."""
        self._well(path, Kind.BUILD, now)

    def build_failed(self, path: Sequence[PeerKey], reporter: int, reason: Reason, now: float) -> None:
        """A circuit was not built.

        Args:
            path: its hops.
            reporter: the place whose verdict it is, -1 for this node itself.
            reason: the verdict.
            now: the time.
        """
        beyond = path[reporter + 1 :]
        self._well(path[: max(reporter, 0)], Kind.BUILD, now)
        if reason in (Reason.NEXT_HOP, Reason.UNKNOWN_PEER) and beyond:
            self._pair(path[reporter] if reporter >= 0 else None, beyond[0], now)
        elif reason is Reason.TIMED_OUT or reporter < 0:
            self._badly({peer: 1.0 for peer in path[max(reporter, 0) :]}, Kind.BUILD, now)
        elif reason is Reason.PROTOCOL and reporter > 0:
            # What does not verify may have been changed on its way.
            self._badly({path[reporter - 1]: 1.0, path[reporter]: 1.0}, Kind.BUILD, now)
        else:
            self._badly({path[reporter]: 1.0}, Kind.BUILD, now)

    def ended(self, path: Sequence[PeerKey], reason: Reason, guard_lost: bool, now: float) -> None:
        """A circuit is over.

        Args:
            path: its hops.
            reason: `DONE` when it was not needed any more.
            guard_lost: whether the link to the guard is gone or silent.
            now: the time.
        """
        if reason is Reason.DONE:
            self._well(path, Kind.END, now)
        elif guard_lost:
            self._badly({path[0]: 1.0}, Kind.END, now)
        else:
            last, others = path[-2:], path[:-2]
            rest = {peer: (1 - LAST_TWO_SHARE) / len(others) for peer in others}
            self._badly(rest | dict.fromkeys(last, LAST_TWO_SHARE / len(last)), Kind.END, now)

    def flow_tried(self, path: Sequence[PeerKey], reason: Reason | None, now: float) -> None:
        """A flow was to be opened.

        Args:
            path: the circuit's hops.
            reason: why it was not; None when it was.
            now: the time.
        """
        if reason is None:
            self._well(path[-1:], Kind.FLOW, now)
        elif reason not in _NOBODYS:
            share = 1.0 if reason in _EXITS_OWN else UNPROVEN_SHARE
            self._record(path[-1]).failing[Kind.FLOW].add(1.0, now, share)

    def _well(self, peers: Iterable[PeerKey], kind: Kind, now: float) -> None:
        for peer in peers:
            self._record(peer).failing[kind].add(0.0, now)

    def _pair(self, reporter: PeerKey | None, accused: PeerKey, now: float) -> None:
        if reporter is None:
            self._record(accused).failing[Kind.BUILD].add(1.0, now)
            return
        # Before it is booked: one report alone does not make the reporter less credible.
        credible = 1.0 - self._record(reporter).failing[Kind.BUILD].blend(USUAL_BY_KIND, now)
        self._record(reporter).failing[Kind.BUILD].add(1.0, now, REPORTER_SHARE)
        self._record(accused).failing[Kind.BUILD].add(1.0, now, (1 - REPORTER_SHARE) * credible)

    def _badly(self, shares: dict[PeerKey, float], kind: Kind, now: float) -> None:
        """Book one failure, shared out in these proportions."""
        total = sum(shares.values())
        for peer, share in shares.items():
            self._record(peer).failing[kind].add(1.0, now, share / total)

    def _record(self, peer: PeerKey) -> Record:
        record = self._records.pop(peer, None) or Record(self._delay_half_s)
        self._records[peer] = record
        if len(self._records) > MAX_MEASURED:
            del self._records[next(iter(self._records))]
        return record
