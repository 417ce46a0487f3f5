"""Connect each flow that a client asks for to its destination, if this exit allows it.

A request is read, checked against the policy, resolved, checked again address by address, dialled and joined. Until
then nobody listens to the flow, so a client that sends early fills no more than its credit; a client that resets it
early is noticed when the flow is joined, and the one time limit for all steps bounds that.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from dataclasses import dataclass
from functools import partial
from ipaddress import ip_address
from typing import TYPE_CHECKING, Final

from core.errors import ConfigError, FlowError, Reason
from core.tasks import Tasks
from exits.addresses import normalise
from exits.dial import dial, interleave
from exits.names import parse_destination
from exits.outlet import EgressPump, FirstBytes
from exits.shaped_outlet import ShapedPump

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable

    from core.flow import IncomingDatagrams, IncomingFlow
    from exits.addresses import Address, AddressFilter
    from exits.policy import Policy
    from exits.resolver import Resolver
    from exits.shaping import Shaper

_STOP_LIMIT_S: Final = 2.0
"""How long `Egress.stop` waits for aborted connections to be gone, in seconds."""


@dataclass(frozen=True, slots=True)
class EgressLimits:
    """What an exit takes on at once.

    Args:
        flows: connections at once, with those being made.
        connecting: connections being made at once, with their look-ups.
        setup_s: time for look-up and connecting together, in seconds.
        linger_s: time that a destination has to take the last bytes of a flow that has ended, in seconds.
    """

    flows: int = 4096
    connecting: int = 512
    setup_s: float = 10.0
    linger_s: float = 60.0


class Egress:
    """Where flows leave the network. Needs a running event loop.

    Args:
        resolver: looks names up; it stays the caller's to close.
        address_filter: what is never dialled; checked after names are resolved.
        policy: what the operator serves.
        source_address: local address to connect from, for destinations of its family.
        limits: how much at once.
        allow_special_names: see `parse_destination`.
        admits: why no flow is taken now; None when one is.
        shaper: what is carried passes here; None where there is no limit.

    Raises:
        ConfigError: `source_address` is no IP address.
    """

    def __init__(
        self,
        *,
        resolver: Resolver,
        address_filter: AddressFilter,
        policy: Policy,
        source_address: str | None = None,
        limits: EgressLimits | None = None,
        allow_special_names: bool = False,
        admits: Callable[[], Reason | None] = lambda: None,
        shaper: Shaper | None = None,
    ) -> None:
        self._resolver = resolver
        self._filter = address_filter
        self._policy = policy
        self._source = _read_source(source_address)
        self._limits = limits or EgressLimits()
        self._allow_special_names = allow_special_names
        self._admits = admits
        self._shaper = shaper
        self._sent_bytes = self._received_bytes = 0
        self._tasks = Tasks()
        self._connecting: set[asyncio.Task[None]] = set()
        self._pumps: set[EgressPump] = set()
        self._all_gone = asyncio.Event()
        self._stopped = False
        self.counters: Counter[str] = Counter()

    @property
    def open_flows(self) -> int:
        """Connections to destinations, from the first step until the socket is closed."""
        return len(self._connecting) + len(self._pumps)

    @property
    def carried_bytes(self) -> tuple[int, int]:
        """Bytes of flows since the start, to destinations and from them."""
        to = sum((pump.received_bytes for pump in self._pumps if not pump.over), self._received_bytes)
        return to, sum((pump.sent_bytes for pump in self._pumps if not pump.over), self._sent_bytes)

    def flow_requested(self, flow: IncomingFlow, host: str, port: int) -> None:
        """Serve a flow: it is accepted once its destination is connected, or reset with the reason.

        Args:
            flow: a flow that nobody is attached to.
            host: what the client sent, unchecked.
            port: what the client sent, unchecked.
        """
        try:
            self._check_limits()
            destination = self._check_request(host, port)
        except FlowError as error:
            self._refuse(flow, error.reason)
            return
        task = self._tasks.spawn(self._serve(flow, destination, port), "egress")
        self._connecting.add(task)
        task.add_done_callback(partial(self._served, flow))

    def datagrams_requested(self, flow: IncomingDatagrams) -> None:
        """Refuse a UDP association: this exit connects TCP only."""
        self.counters[Reason.NOT_ALLOWED.word] += 1
        flow.close(Reason.NOT_ALLOWED)

    def end_flows(self, reason: Reason) -> None:
        """Reset the flows that run; what is being connected goes on."""
        for pump in list(self._pumps):
            pump.end(reason)

    async def stop(self) -> None:
        """Refuse new flows, reset those that run, and wait until their sockets are closed."""
        self._stopped = True
        await self._tasks.cancel()
        self.end_flows(Reason.CLOSED)
        if self._pumps:
            self._all_gone.clear()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._all_gone.wait(), _STOP_LIMIT_S)

    # -- before the connection

    def _check_limits(self) -> None:
        if self._stopped:
            raise FlowError(Reason.CLOSED)
        if (refused := self._admits()) is not None:
            raise FlowError(refused)
        if self.open_flows >= self._limits.flows or len(self._connecting) >= self._limits.connecting:
            raise FlowError(Reason.BUSY)

    def _check_request(self, host: str, port: int) -> Address | str:
        """Refuse what can be refused without asking anybody."""
        if not 1 <= port <= 65535:
            raise FlowError(Reason.PROTOCOL)
        destination = parse_destination(host, allow_special=self._allow_special_names)
        if not isinstance(destination, str):
            self._choose([destination], port, None)
        elif not self._policy.may_allow(destination, port):
            raise FlowError(Reason.NOT_ALLOWED)
        return destination

    def _choose(self, found: list[Address], port: int, name: str | None) -> list[Address]:
        """Keep the addresses that may be dialled, in the order of dialling.

        Raises:
            FlowError: `NOT_ALLOWED` if none may.
        """
        allowed = [
            address
            for address in dict.fromkeys(map(normalise, found))
            if self._filter.allows(address, port) and self._policy.allows(address, port, name)
        ]
        if not allowed:
            raise FlowError(Reason.NOT_ALLOWED)
        return interleave(allowed)

    async def _serve(self, flow: IncomingFlow, destination: Address | str, port: int) -> None:
        """Resolve, check, dial and join."""
        try:
            async with asyncio.timeout(self._limits.setup_s):
                addresses = await self._find(destination, port)
                sock = await dial(addresses, port, self._source, self._tasks)
        except TimeoutError:
            self._refuse(flow, Reason.TIMED_OUT)
        except FlowError as error:
            self._refuse(flow, error.reason)
        else:
            await self._join(flow, sock)

    async def _find(self, destination: Address | str, port: int) -> list[Address]:
        """List the addresses of a destination that may be dialled; a literal is checked already."""
        if not isinstance(destination, str):
            return [destination]
        return self._choose(await self._resolver.resolve(destination), port, destination)

    def _served(self, flow: IncomingFlow, task: asyncio.Task[None]) -> None:
        self._connecting.discard(task)
        if task.cancelled():
            self._refuse(flow, Reason.CLOSED)
        elif task.exception() is not None:  # a defect, which `Tasks` reports
            self._refuse(flow, Reason.HOST_UNREACHABLE)

    def _refuse(self, flow: IncomingFlow, reason: Reason) -> None:
        self.counters[reason.word] += 1
        flow.reset(reason)

    # -- the connection

    async def _join(self, flow: IncomingFlow, sock: socket.socket) -> None:
        """Make the connected socket and the flow one pump."""
        try:
            transport, first = await asyncio.get_running_loop().create_connection(FirstBytes, sock=sock)
        except BaseException:
            with contextlib.suppress(OSError):  # the event loop may have closed it already
                sock.close()
            raise
        if (task := asyncio.current_task()) is not None:
            self._connecting.discard(task)
        if first.lost:
            self._refuse(flow, Reason.RESET)
            return
        pump = self._pump(flow)
        self._pumps.add(pump)
        flow.accept()
        pump.join(transport, bytes(first.data), first.eof)

    def _pump(self, flow: IncomingFlow) -> EgressPump:
        if self._shaper is None:
            return EgressPump(flow, self._count, self._gone, self._limits.linger_s)
        return ShapedPump(flow, self._count, self._gone, self._limits.linger_s, self._shaper)

    def _count(self, reason: Reason, sent_bytes: int, received_bytes: int) -> None:
        self.counters[reason.word] += 1
        self._sent_bytes += sent_bytes
        self._received_bytes += received_bytes

    def _gone(self, pump: EgressPump) -> None:
        self._pumps.discard(pump)
        if not self._pumps:
            self._all_gone.set()


def _read_source(text: str | None) -> Address | None:
    try:
        return None if text is None else ip_address(text)
    except ValueError:
        raise ConfigError("source address", "give an IP address of this machine") from None
