"""The connections of the local port: how many may be there, and which make room when there are too many.

Each stands in one place: it is *silent* until it has said what it wants, *waits* for it, is joined to a *flow*, and
when that is over *flushes* what the client has still to read, or is silent again until its next request. When all seats
are taken, the oldest silent connection goes. If there is none, the flow goes on which nothing has moved for longest,
but only one in a while: a flood ends few flows. So whoever opens connections and holds them locks nobody out. Where
neither is to be had, the new connection is heard out on a *spare* seat, so that it can be told no in its own language.
"""

from __future__ import annotations

import asyncio
import resource
import sys
from collections import Counter
from contextlib import contextmanager
from ipaddress import ip_network
from typing import TYPE_CHECKING, Final

from core.ends import cut
from proxy.answers import http_complaint

if TYPE_CHECKING:
    from collections.abc import Iterator

    from proxy.client_pump import ClientPump
    from proxy.intake import Intake

FLUSH_S: Final = 30.0
"""How long a client may take to read what is left of a flow that is over."""

SPARE: Final = 512
"""Connections beside the seats that are heard only to be refused; each takes two or three trips on this machine."""

IDLE_S: Final = 1.0
"""A flow on which something moved within this time makes room for nobody."""

ROOM_EVERY_S: Final = 0.1
"""At most one flow in this time makes room: a person's next request finds it, most of a flood do not."""

FILES_SHARE: Final = 2
"""At most one in so many of the descriptors that the process may have is a client's: the node needs others."""

SPARE_FILES_SHARE: Final = 8
"""The same for those that are heard only to be refused."""

MACHINE_SHARE: Final = 4
"""Another machine gets at most one in so many of the seats and of the associations."""

_HOST_BITS: Final = 64
"""Bits of an IPv6 address that its machine chooses (RFC 7421, section 1)."""


def full_answer(first: bytes) -> bytes:
    """What a connection that began with `first` is told when it has to go: HTTP has words for it, SOCKS5 only later."""
    return http_complaint(503, "full").data if first.isalpha() else b""


class Seats:
    """Who is connected.

    Args:
        limit: connections at once.
        associations: of those, for UDP.
        counters: gets `full` for every connection that had to go.
    """

    def __init__(self, limit: int, associations: int, counters: Counter[str]) -> None:
        files = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
        if files == resource.RLIM_INFINITY:
            files = sys.maxsize
        self._limit = min(limit, files // FILES_SHARE)
        self._spare_limit = min(SPARE, files // SPARE_FILES_SHARE)
        self._counters = counters
        self._spare: dict[Intake, None] = {}
        self._silent: dict[Intake, None] = {}
        self._waiting: dict[Intake, None] = {}
        self._flows: dict[asyncio.Transport, ClientPump] = {}
        self._flushing: dict[asyncio.Transport, asyncio.TimerHandle] = {}
        self._machines: dict[asyncio.Transport, str] = {}
        self._by_machine: Counter[str] = Counter()
        self._next_room_at = 0.0
        self._association_limit = associations
        self._associations: Counter[str] = Counter()

    @property
    def flows(self) -> int:
        """How many connections are joined to a flow."""
        return len(self._flows)

    @property
    def intakes(self) -> list[Intake]:
        """The connections that have no flow yet."""
        return [*self._spare, *self._silent, *self._waiting]

    @property
    def flushing(self) -> int:
        """How many connections have something to read, and no flow any more."""
        return len(self._flushing)

    def come(self, intake: Intake) -> None:
        """Give a new connection a seat."""
        if self._seat_machine(intake) and (self._taken < self._limit or self._make_room()):
            self._silent[intake] = None
            return
        if len(self._spare) >= self._spare_limit:
            self._send_off(self._spare, b"")
        self._spare[intake] = None

    def has(self, intake: Intake) -> bool:
        """Whether a connection has a seat; else it shall be refused."""
        return intake in self._silent or intake in self._waiting

    def wants(self, intake: Intake) -> None:
        """A connection has said what it wants."""
        if intake in self._silent:
            del self._silent[intake]
            self._waiting[intake] = None

    def refused(self, intake: Intake) -> None:
        """A connection has got its last words."""
        if intake in self._waiting:
            del self._waiting[intake]
            self._silent[intake] = None

    def lost(self, intake: Intake) -> None:
        """A connection is gone that never had a flow."""
        self._leave(intake)
        self._free_machine(intake.transport)

    def joined(self, intake: Intake, pump: ClientPump) -> None:
        """A connection has got its flow."""
        self._leave(intake)
        self._flows[intake.transport] = pump

    def kept(self, intake: Intake) -> None:
        """The flow of a connection is over, and the connection is silent again, until its next request."""
        self._flows.pop(intake.transport, None)
        self._silent[intake] = None

    def ended(self, transport: asyncio.Transport) -> None:
        """The flow of a connection is over. Call `gone` as well, when the connection is."""
        self._flows.pop(transport, None)
        if transport.get_write_buffer_size():
            loop = asyncio.get_running_loop()
            self._flushing[transport] = loop.call_later(FLUSH_S, cut, transport)

    def gone(self, transport: asyncio.Transport) -> None:
        """A connection is gone that had a flow."""
        timer = self._flushing.pop(transport, None)
        if timer is not None:
            timer.cancel()
        self._free_machine(transport)

    @contextmanager
    def associated(self, intake: Intake) -> Iterator[bool]:
        """Count a UDP association as long as the context lasts; gives whether there may be one more."""
        machine = _machine_of(intake)
        self._associations[machine] += 1
        limit = self._association_limit
        share = max(1, limit // MACHINE_SHARE) if machine else limit
        try:
            yield self._associations[machine] <= share and self._associations.total() <= limit
        finally:
            self._associations[machine] -= 1

    def clear(self) -> None:
        """End all connections."""
        for intake in self.intakes:
            intake.transport.abort()
        for transport in [*self._flows, *self._flushing]:
            cut(transport)

    @property
    def _taken(self) -> int:
        return len(self._silent) + len(self._waiting) + len(self._flows) + len(self._flushing)

    def _leave(self, intake: Intake) -> None:
        for place in (self._spare, self._silent, self._waiting):
            place.pop(intake, None)

    def _make_room(self) -> bool:
        """Let a connection go; returns whether one could."""
        if self._silent:
            self._send_off(self._silent, full_answer(next(iter(self._silent)).first))
            return True
        now = asyncio.get_running_loop().time()
        if now < self._next_room_at or not self._flows:
            return False
        self._next_room_at = now + ROOM_EVERY_S
        transport, pump = min(self._flows.items(), key=lambda flow: flow[1].busy_at)
        if now - pump.busy_at < IDLE_S:
            return False
        del self._flows[transport]
        transport.abort()
        self._counters["full"] += 1
        return True

    def _send_off(self, place: dict[Intake, None], words: bytes) -> None:
        """Let the oldest connection of a place go."""
        oldest = next(iter(place))
        del place[oldest]
        oldest.hang_up(words)
        self._counters["full"] += 1

    def _seat_machine(self, intake: Intake) -> bool:
        """Count a client of another machine; returns False if that machine has enough seats."""
        machine = _machine_of(intake)
        if not machine:
            return True
        self._machines[intake.transport] = machine
        self._by_machine[machine] += 1
        return self._by_machine[machine] <= max(1, self._limit // MACHINE_SHARE)

    def _free_machine(self, transport: asyncio.Transport) -> None:
        machine = self._machines.pop(transport, None)
        if machine is not None:
            self._by_machine[machine] -= 1
            if not self._by_machine[machine]:
                del self._by_machine[machine]


def _machine_of(intake: Intake) -> str:
    """Name the other machine that a client is on: its address, or what it cannot choose of it. Empty for this one."""
    if intake.is_from_this_machine():
        return ""
    host = intake.client_host.partition("%")[0]
    if ":" not in host:
        return host or "gone"
    return str(ip_network((host, 128 - _HOST_BITS), strict=False))
