"""Keep one UDP port mapped while the node runs: find the gateway, ask, renew, notice changes, delete at the end."""

from __future__ import annotations

import asyncio
import ipaddress
import logging
import time
from contextlib import suppress
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Final

from core.tasks import Tasks
from peers.port_mapping.gateway import find_gateway
from peers.port_mapping.mappers import NatPmpMapper, PcpMapper
from peers.port_mapping.mapping import MappingError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from peers.addresses import Address
    from peers.port_mapping.gateway import Gateway
    from peers.port_mapping.mapping import Mapper, Mapping

UNMAP_LIMIT_S: Final = 0.8
"""Longest wait for the deletion when the node stops."""
SHORTEST_LEASE_S: Final = 30
LONGEST_LEASE_S: Final = 86400
"""A lifetime outside of these is taken for the nearer one. Source: RFC 6887, section 15."""
MAX_FAILURES: Final = 3
"""A mapping is given up when the gateway does not answer so often in a row."""

_log = logging.getLogger(__name__)


class State(StrEnum):
    """What `status` says."""

    OFF = "off"
    SEARCHING = "searching"
    PCP = "pcp"
    NAT_PMP = "nat-pmp"
    UPNP = "upnp"
    NONE = "none"
    BEHIND_ANOTHER_NAT = "behind-another-nat"


@dataclass(frozen=True, slots=True)
class Pace:
    """How often the gateway is bothered, in seconds.

    Args:
        check_s: between two looks whether the mapping stands, and whether there is another gateway.
        retry_s: before the next search after one without success; doubled after each.
        longest_retry_s: the most it becomes.
    """

    check_s: float = 60.0
    retry_s: float = 60.0
    longest_retry_s: float = 3600.0


def _upnp(gateway: Gateway, port: int) -> Mapper:
    from peers.port_mapping.upnp import UpnpMapper  # a library that is needed by few

    return UpnpMapper(gateway, port)


type MakeMapper = Callable[[Gateway, int], Mapper]

MAPPERS: Final[tuple[tuple[State, MakeMapper], ...]] = (
    (State.PCP, PcpMapper),
    (State.NAT_PMP, NatPmpMapper),
    (State.UPNP, _upnp),
)
"""In the order in which they are tried."""


class PortMapping:
    """Have the gateway pass a UDP port on to this machine.

    Args:
        port: the local UDP port, 1 to 65535.
        on_mapped: called with the external address when it becomes known or another one, and with None when there
            is none any more. That somebody can reach it is not yet said.
        is_public: whether an IP literal is one that others on the Internet can send to.
        mappers: protocols, in the order in which they are tried.
        find: how the gateway is found.
        pace: how often.
    """

    def __init__(
        self,
        port: int,
        on_mapped: Callable[[Address | None], None],
        is_public: Callable[[str], bool],
        *,
        mappers: Sequence[tuple[State, MakeMapper]] = MAPPERS,
        find: Callable[[], Awaitable[Gateway | None]] = find_gateway,
        pace: Pace = Pace(),
    ) -> None:
        self._port = port
        self._on_mapped = on_mapped
        self._is_public = is_public
        self._mappers = mappers
        self._find = find
        self._pace = pace
        self._tasks = Tasks()
        self._mapper: Mapper | None = None
        self._told: Address | None = None
        self.state = State.SEARCHING

    def start(self) -> None:
        """Begin to search."""
        self._tasks.spawn(self._run(), "port mapping")

    async def close(self) -> None:
        """Stop, and delete the mapping, within `UNMAP_LIMIT_S`. Nobody is told."""
        await self._tasks.cancel()
        self.state = State.OFF
        if self._mapper is not None:
            with suppress(MappingError, TimeoutError):
                async with asyncio.timeout(UNMAP_LIMIT_S):
                    await self._mapper.unmap()
            self._let_go()

    # -- searching

    async def _run(self) -> None:
        retry_s = self._pace.retry_s
        while True:
            gateway = await self._find()
            found = await self._search(gateway) if gateway is not None else None
            if found is not None and gateway is not None:
                await self._keep(gateway, *found)
                self._tell(State.SEARCHING, None)
                retry_s = self._pace.retry_s
            else:
                self._tell(State.NONE, None)
                await self._wait_for_change(gateway, retry_s)
                retry_s = min(2 * retry_s, self._pace.longest_retry_s)

    async def _search(self, gateway: Gateway) -> tuple[State, Mapping] | None:
        """Try one protocol after the other. With a public address of its own, this machine needs none."""
        if self._is_public(gateway.own_host):
            return None
        for state, make in self._mappers:
            self._mapper = make(gateway, self._port)
            try:
                return state, await self._mapper.map()
            except MappingError as error:
                _log.info("no port mapping by %s", error)
            self._let_go()
        return None

    def _let_go(self) -> None:
        if self._mapper is not None:
            self._mapper.close()
        self._mapper = None

    async def _wait_for_change(self, gateway: Gateway | None, limit_s: float) -> None:
        """Wait for a time, or until there is another gateway."""
        end = time.time() + limit_s
        while time.time() < end:
            await asyncio.sleep(min(self._pace.check_s, max(0.0, end - time.time())))
            if await self._find() != gateway:
                return

    # -- keeping

    async def _keep(self, gateway: Gateway, state: State, mapping: Mapping) -> None:
        """Look after the mapping, and return when it is lost or there is another gateway."""
        assert self._mapper is not None
        renew_at = self._accept(state, mapping)
        failures = 0
        while failures < MAX_FAILURES:
            await asyncio.sleep(min(self._pace.check_s, max(0.0, renew_at - time.time())))
            if await self._find() != gateway:
                break
            try:
                if failures or time.time() >= renew_at or not await self._mapper.stands():
                    renew_at = self._accept(state, await self._mapper.map())
                failures = 0
            except MappingError as error:
                failures += 1
                renew_at = time.time() + self._pace.check_s
                _log.info("the port mapping could not be checked: %s", error)
        self._let_go()

    def _accept(self, state: State, mapping: Mapping) -> float:
        """Take note of a mapping.

        Returns:
            When to renew it, at half of its life, by the time of day: that runs on while the machine sleeps.
        """
        host = mapping.address[0]
        if ipaddress.ip_address(host).is_unspecified:  # the gateway itself has no address at present
            self._tell(State.NONE, None)
        elif self._is_public(host):
            self._tell(state, mapping.address)
        else:
            self._tell(State.BEHIND_ANOTHER_NAT, None)
        return time.time() + min(max(mapping.lifetime_s, SHORTEST_LEASE_S), LONGEST_LEASE_S) / 2

    def _tell(self, state: State, address: Address | None) -> None:
        if state is not self.state:
            _log.info("port mapping: %s", state.value)
        self.state = state
        if address != self._told:
            self._told = address
            self._on_mapped(address)
