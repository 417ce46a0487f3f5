"""Whether this node does something for others now: one answer out of everything that can stand against it.

The settings say how fast, how much a month, at which hours, how many at once, and for whom. Each limit refuses with a
reason before anything is done; the descriptor offers nothing while one of them holds for a while; and whoever runs the
node is told which limit bites.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final, Protocol

from core.errors import Reason
from exits.hours import Hours
from exits.quota import Quota
from exits.shaping import Shaper
from peers.descriptor import Role
from peers.identity import parse_peer_id

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime
    from pathlib import Path

    from core.ids import PeerKey
    from exits.shaping import Timer
    from node.settings import SharingSettings

type Obstacle = Callable[[], Reason | None]
"""Why nothing new is taken now; None when that is no obstacle."""

BYTES_PER_MBIT: Final = 125_000
BYTES_PER_MB: Final = 1_000_000
BYTES_PER_GB: Final = 1_000_000_000
RATE_STEP: Final = 1000
"""Rates are told in whole kilobytes a second, so that they say nothing about a single flow."""


class Work(Protocol):
    """What is done for others."""

    @property
    def circuit_count(self) -> int:
        """Circuits that pass or end here, with those being made."""

    @property
    def flow_count(self) -> int:
        """Connections to destinations, with those being made."""

    @property
    def carried_bytes(self) -> tuple[int, int]:
        """Bytes of flows since the start, towards destinations and back."""

    def end_flows(self, reason: Reason) -> None:
        """End every connection to a destination."""

    def end_circuits(self, reason: Reason) -> None:
        """End every circuit that passes or ends here."""


class Neighbour(Protocol):
    """A link, as far as it matters here."""

    @property
    def static(self) -> bytes:
        """The link key that the other side has proved to have."""


class Clock:
    """The hours and the month, and what has to end because of them.

    Args:
        settings: the `sharing` section.
        quota: the month's; None where there is no cap.
        clock: gives seconds that only rise.
    """

    def __init__(self, settings: SharingSettings, quota: Quota | None, clock: Callable[[], float]) -> None:
        self.use(settings, quota)
        self._clock = clock
        self._closed_since: float | None = None
        self._ended = 0

    def use(self, settings: SharingSettings, quota: Quota | None) -> None:
        """Go by other hours, and by another month's quota, from the next look on."""
        self._hours = Hours.parse(settings.hours)
        self._drain_s = settings.drain_s
        self._quota = quota

    @property
    def off_hours(self) -> bool:
        return self._closed_since is not None

    @property
    def month_is_full(self) -> bool:
        return self._quota is not None and self._quota.full

    def obstacle(self) -> Reason | None:
        return Reason.LIMIT if self.off_hours or self.month_is_full else None

    def look(self, now: datetime) -> None:
        """Take in the local time."""
        if self._quota is not None:
            self._quota.turn_to((now.year, now.month))
        if self._hours.include(now):
            self._closed_since = None
        elif self._closed_since is None:
            self._closed_since = self._clock()

    def end_what_is_over(self, work: Work) -> None:
        """End what runs when its time is over: first the flows, a call later the circuits that tell their ends so."""
        drained = self._closed_since is not None and self._clock() - self._closed_since >= self._drain_s
        if not drained and not self.month_is_full:
            self._ended = 0
            return
        if self._ended == 0:
            work.end_flows(Reason.LIMIT)
        elif self._ended == 1:
            work.end_circuits(Reason.LIMIT)
        self._ended += 1


class Sharing:
    """Asked for every circuit and every flow before anything is done for it.

    Args:
        settings: the `sharing` section.
        friends: peer ids; with `sharing.only_friends`, circuits come over links from these only.
        roles: what this node does for others as long as nothing stands against it.
        home: the node's folder.
        now: the local time.
        clock: gives seconds that only rise.
        later: calls a function after some seconds, as an event loop's `call_later`.
        offer: told what the descriptor shall offer.
        link_key_of: the link key of a peer by its descriptor; None when it is not known.

    Attributes:
        obstacles: what may stand against circuits and flows alike; the first that does gives the reason.
        for_circuits: what may stand against circuits alone.
        for_flows: the same for flows.
        shaper: what is carried passes here; None where there is no limit to it.

    Raises:
        ConfigError: the file that remembers the month's total is damaged.
    """

    def __init__(
        self,
        settings: SharingSettings,
        friends: tuple[str, ...],
        roles: Role,
        home: Path,
        now: datetime,
        clock: Callable[[], float],
        later: Callable[[float, Callable[[], None]], Timer],
        offer: Callable[[Role], None],
        link_key_of: Callable[[PeerKey], bytes | None],
    ) -> None:
        self._link_key_of = link_key_of
        self._roles = roles
        self._home = home
        self._offer = offer
        self._time = clock
        self._later = later
        self._quota: Quota | None = None
        self.shaper: Shaper | None = None
        self._take_settings(settings, friends, now)
        self._clock = Clock(settings, self._quota, clock)
        self._clock.look(now)
        self.obstacles: list[Obstacle] = [self._clock.obstacle]
        self.for_circuits: list[Obstacle] = []
        self.for_flows: list[Obstacle] = []
        self._work: Work | None = None
        self._seen = (clock(), 0, 0)
        self._refused: set[str] = set()
        self._biting: tuple[str, ...] = ()
        self.rates = (0, 0)
        """Bytes per second since the last look, towards destinations and back, rounded."""

    def use(self, settings: SharingSettings, friends: tuple[str, ...], now: datetime) -> None:
        """Go by other limits from now on. Where there was no `shaper` before, there may be one now.

        Args:
            settings: the `sharing` section.
            friends: peer ids.
            now: the local time.

        Raises:
            ConfigError: the file that remembers the month's total is damaged; then nothing has changed.
        """
        self._take_settings(settings, friends, now)
        self._clock.use(settings, self._quota)
        self.look(now)

    def _take_settings(self, settings: SharingSettings, friends: tuple[str, ...], now: datetime) -> None:
        self._use_quota(round(settings.monthly_gb * BYTES_PER_GB) if self._roles else 0, now)
        self._settings = settings
        self._friends = frozenset(map(parse_peer_id, friends))
        set_rates = [rate for rate in (settings.up_mbit, settings.down_mbit) if rate]
        rate = min(set_rates) * BYTES_PER_MBIT if set_rates else math.inf
        if self.shaper is not None:
            self.shaper.use_rate(rate)
        elif self._roles and (set_rates or self._quota is not None):
            self.shaper = Shaper(rate, self._time, self._later, self._take, self._give_back)

    def _use_quota(self, limit_bytes: int, now: datetime) -> None:
        if not limit_bytes:
            if self._quota is not None:
                self._quota.close()
            self._quota = None
        elif self._quota is None:
            self._quota = Quota(self._home, limit_bytes, (now.year, now.month))
        else:
            self._quota.limit_to(limit_bytes)

    def _take(self, count: int) -> bool:
        return self._quota is None or self._quota.take(count)

    def _give_back(self, count: int) -> None:
        if self._quota is not None:
            self._quota.give_back(count)

    def attach(self, work: Work) -> None:
        """Name what is limited."""
        self._work = work

    # -- before anything is done

    def refuses_circuit(self, link: Neighbour) -> Reason | None:
        """Say why no circuit that comes over a link is taken now; None when it is."""
        if self._settings.only_friends and link.static not in map(self._link_key_of, self._friends):
            self._refused.add("friends")
            return Reason.NOT_ALLOWED
        if (reason := _first([*self.obstacles, *self.for_circuits])) is not None:
            return reason
        most = self._settings.circuits
        if most and self._work is not None and self._work.circuit_count > most:
            self._refused.add("circuits")
            return Reason.BUSY
        return None

    def refuses_flow(self) -> Reason | None:
        """Say why no flow is taken now; None when one is."""
        if (reason := self.refusal) is not None:
            return reason
        most = self._settings.flows
        if most and self._work is not None and self._work.flow_count >= most:
            self._refused.add("flows")
            return Reason.BUSY
        return None

    @property
    def refusal(self) -> Reason | None:
        """Why no flow would be taken now, but for their number; None when one would."""
        return _first([*self.obstacles, *self.for_flows])

    # -- from time to time

    def offered(self) -> Role:
        """What the descriptor offers now."""
        return Role.NONE if _first(self.obstacles) is not None else self._roles

    def settle(self) -> None:
        """Let the descriptor say what is offered; whoever owns an obstacle calls it when that changes."""
        self._offer(self.offered())

    def look(self, now: datetime) -> None:
        """Go by the time, and see what bites. Called every second or so.

        Args:
            now: the local time.
        """
        self._clock.look(now)
        if self._work is not None:
            self._clock.end_what_is_over(self._work)
            self._measure(self._work)
        self._biting = tuple(self._bites())
        self.settle()

    def _measure(self, work: Work) -> None:
        before, forth, back = self._seen
        self._seen = now, forth_now, back_now = self._time(), *work.carried_bytes
        if now > before:
            rates = (forth_now - forth) / (now - before), (back_now - back) / (now - before)
            self.rates = round(rates[0] / RATE_STEP) * RATE_STEP, round(rates[1] / RATE_STEP) * RATE_STEP

    def _bites(self) -> list[str]:
        found = ["hours"] if self._clock.off_hours else []
        found += ["month"] if self._clock.month_is_full else []
        if self.shaper is not None:
            found += ["rate"] if self.shaper.waits else []
            self.shaper.waits = False
        found += sorted(self._refused)
        self._refused.clear()
        return found

    def biting(self) -> tuple[str, ...]:
        """Words for the limits that held something up or refused it between the last two looks: `hours`, `month`,
        `rate`, `circuits`, `flows`, `friends`."""
        return self._biting

    @property
    def month_mb(self) -> int | None:
        """MB that were carried in this month; None where that is not counted."""
        return None if self._quota is None else self._quota.carried_bytes // BYTES_PER_MB

    def close(self) -> None:
        """Write down the month's total."""
        if self.shaper is not None:
            self.shaper.clear()
        if self._quota is not None:
            self._quota.close()


def _first(obstacles: list[Obstacle]) -> Reason | None:
    return next((reason for obstacle in obstacles if (reason := obstacle()) is not None), None)
