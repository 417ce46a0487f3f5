"""Connect each flow that a client asks for to its destination, if this exit allows it.

A request is read, checked against the policy, resolved, dialled with a check of each address, and joined. Until
then nobody listens to the flow, so a client that sends early fills no more than its credit; a client that resets it
early is noticed when the flow is joined, and the one time limit for all steps bounds that.
"""

from __future__ import annotations

import asyncio
import contextlib
import secrets
from collections import Counter
from functools import partial
from ipaddress import ip_address
from typing import TYPE_CHECKING, Final

from core.errors import ConfigError, FlowError, Reason
from core.tasks import Tasks
from exits.accounts import Accounts
from exits.addresses import normalise
from exits.destinations import Attempt, Destinations
from exits.dial import dial, reason_for
from exits.families import Families, interleave
from exits.limits import EgressLimits
from exits.names import parse_destination
from exits.outlet import EgressPump, FirstBytes
from exits.scans import KEY_BYTES
from exits.shaped_outlet import ShapedPump
from exits.shares import Shares
from exits.udp import Association
from tunnel.rate import Rate

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable

    from core.flow import IncomingDatagrams, IncomingFlow
    from exits.accounts import Account
    from exits.addresses import Address, AddressFilter
    from exits.destinations import Place
    from exits.policy import Policy
    from exits.resolver import Resolver
    from exits.shaping import Shaper

_STOP_LIMIT_S: Final = 2.0
"""How long `Egress.stop` waits for aborted connections to be gone, in seconds."""

_WATCH_S: Final = 30.0
"""Between two looks for idle connections, in seconds, or a quarter of the time limits, if that is less."""


class Egress:
    """Where flows leave the network. Needs a running event loop.

    Args:
        resolver: looks names up; it stays the caller's to close.
        address_filter: what is never dialled; asked when an address is dialled. What it refuses for ever, it is asked
            of an address in a request at once.
        policy: what the operator serves.
        source_address: local address to connect from, for destinations of its family.
        limits: how much at once.
        allow_special_names: see `parse_destination`.
        admits: why no flow is taken now; None when one is.
        shaper: what is carried passes here; None where there is no limit. Another one counts for what begins later.

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
        self.shaper = shaper
        self._sent_bytes = self._received_bytes = 0
        self.counters: Counter[str] = Counter()
        self._clock = asyncio.get_running_loop().time
        self._accounts = Accounts(self._limits)
        self._attempts = Rate(self._limits.all_attempts, self._limits.all_attempts_per_s, self._clock())
        self._watch_s = min(_WATCH_S, self._limits.idle_s / 4, self._limits.half_closed_s / 4)
        self._watch: asyncio.TimerHandle | None = None
        self._families = Families()
        self._tasks = Tasks()
        self._destinations = Destinations(
            self._limits.destination, self._limits.scans, secrets.token_bytes(KEY_BYTES), self.counters
        )
        self._connecting: dict[asyncio.Task[None], Account] = {}
        self._connecting_shares = Shares(self._limits.connecting)
        self._pumps: dict[EgressPump, tuple[Account, Place]] = {}
        self._flow_shares = Shares(self._limits.flows)
        self._associations: dict[Association, Account] = {}
        self._association_shares = Shares(self._limits.datagrams.associations)
        self._all_gone = asyncio.Event()
        self._stopped = False

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
        now = self._clock()
        account = self._accounts.of(flow.circuit, now)
        try:
            self._check_open()
            self._check_room(account, now)
            destination = self.check_request(host, port)
        except FlowError as error:
            self._refuse(flow, error.reason)
            return
        task = self._tasks.spawn(self._serve(flow, account, destination, port), "egress")
        self._connecting[task] = account
        self._connecting_shares.take(account)
        self._flow_shares.take(account)
        task.add_done_callback(partial(self._served, flow))

    @property
    def circuits(self) -> int:
        """Circuits of which something is counted."""
        return len(self._accounts)

    @property
    def open_associations(self) -> int:
        """UDP associations."""
        return len(self._associations)

    def datagrams_requested(self, flow: IncomingDatagrams) -> None:
        """Serve a UDP association: it is accepted once it has a socket, or closed with the reason.

        Args:
            flow: an association that nobody is attached to.
        """
        account = self._accounts.of(flow.circuit, self._clock())
        try:
            self._check_open()
            if not self._association_shares.may_take(account):
                raise FlowError(Reason.BUSY)
            association = Association(
                flow,
                self,
                self._limits.datagrams,
                account.silent,
                self._source,
                self._tasks,
                self.counters,
                self._may_carry,
                self._association_ended,
            )
        except (FlowError, OSError) as error:
            reason = error.reason if isinstance(error, FlowError) else reason_for(error)
            self.counters[reason.word] += 1
            flow.close(reason)
            return
        self._association_shares.take(account)
        self._associations[association] = account
        association.start()

    def _may_carry(self, circuit: object, count: int, *, back: bool) -> bool:
        """See `exits.udp.Association`."""
        if self.shaper is not None and not self.shaper.admits(circuit, count):
            return False
        if back:
            self._sent_bytes += count
        else:
            self._received_bytes += count
        return True

    def _association_ended(self, association: Association, reason: Reason) -> None:
        self.counters[reason.word] += 1
        self._association_shares.give(self._associations.pop(association))

    def end_flows(self, reason: Reason) -> None:
        """End the flows and associations that run; what is being connected goes on."""
        for association in list(self._associations):
            association.end(reason)
        for pump in list(self._pumps):
            pump.end(reason)

    async def stop(self) -> None:
        """Refuse new flows, reset those that run, and wait until their sockets are closed."""
        self._stopped = True
        if self._watch is not None:
            self._watch.cancel()
        await self._tasks.cancel()
        self.end_flows(Reason.CLOSED)
        if self._pumps:
            self._all_gone.clear()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._all_gone.wait(), _STOP_LIMIT_S)

    # -- before the connection

    def _check_open(self) -> None:
        if self._stopped:
            raise FlowError(Reason.CLOSED)
        if (refused := self._admits()) is not None:
            raise FlowError(refused)

    def _check_room(self, account: Account, now: float) -> None:
        if not (
            self._flow_shares.may_take(account)
            and self._connecting_shares.may_take(account)
            and account.attempts.take(now)
            and self._attempts.take(now)
        ):
            raise FlowError(Reason.BUSY)

    def check_request(self, host: str, port: int) -> Address | str:
        """Refuse what can be refused without asking anybody. See `exits.udp.Rules`."""
        if not 1 <= port <= 65535:
            raise FlowError(Reason.PROTOCOL)
        destination = parse_destination(host, allow_special=self._allow_special_names)
        if not isinstance(destination, str):
            allowed = self._filter.may_allow(destination, port) and self._policy.allows(destination, port)
        else:
            allowed = self._policy.may_allow(destination, port)
        if not allowed:
            raise FlowError(Reason.NOT_ALLOWED)
        return destination

    def may_dial(self, address: Address, port: int, name: str | None) -> bool:
        """See `exits.udp.Rules`."""
        return self._filter.allows(address, port) and self._policy.allows(address, port, name)

    async def _serve(self, flow: IncomingFlow, account: Account, destination: Address | str, port: int) -> None:
        """Resolve, check, dial and join."""
        attempt = Attempt(self._destinations, account, port, self._clock)
        try:
            async with asyncio.timeout(self._limits.setup_s):
                addresses, late = await self._find(flow.circuit, destination)
                sock = await dial(
                    addresses,
                    port,
                    self._source,
                    self._tasks,
                    allowed=partial(self._may_begin, attempt, port, destination),
                    late=late,
                    families=self._families,
                )
        except TimeoutError:
            self._refuse(flow, attempt.failed(Reason.TIMED_OUT))
        except FlowError as error:
            self._refuse(flow, attempt.failed(error.reason))
        else:
            await self._join(flow, sock, account, attempt.won(sock))
        finally:
            attempt.end()

    def _may_begin(self, attempt: Attempt, port: int, destination: Address | str, address: Address) -> bool:
        if isinstance(destination, str):
            allowed = self.may_dial(address, port, destination)
        else:  # `check_request` has seen to the rest
            allowed = self._filter.leads_out(address)
        return allowed and attempt.may_begin(address)

    async def _find(
        self, circuit: object, destination: Address | str
    ) -> tuple[list[Address], asyncio.Future[list[Address]] | None]:
        """List the addresses of a destination, unchecked; of a name some may come later."""
        if not isinstance(destination, str):
            return [destination], None
        late: asyncio.Future[list[Address]] = asyncio.get_running_loop().create_future()
        return await self._resolver.resolve(destination, circuit, late), late

    async def find(self, circuit: object, name: str) -> list[Address]:
        """See `exits.udp.Rules`."""
        return interleave(list(dict.fromkeys(map(normalise, await self._resolver.resolve(name, circuit)))))

    def _served(self, flow: IncomingFlow, task: asyncio.Task[None]) -> None:
        if (account := self._connected(task)) is not None:
            self._flow_shares.give(account)
        if task.cancelled():
            self._refuse(flow, Reason.CLOSED)
        elif task.exception() is not None:  # a defect, which `Tasks` reports
            self._refuse(flow, Reason.HOST_UNREACHABLE)

    def _connected(self, task: asyncio.Task[None] | None) -> Account | None:
        """Give the place of a connection that is being made back; returns whose it was, None if it was before."""
        account = None if task is None else self._connecting.pop(task, None)
        if account is not None:
            self._connecting_shares.give(account)
        return account

    def _refuse(self, flow: IncomingFlow, reason: Reason) -> None:
        self.counters[reason.word] += 1
        flow.reset(reason)

    # -- the connection

    async def _join(self, flow: IncomingFlow, sock: socket.socket, account: Account, place: Place) -> None:
        """Make the connected socket and the flow one pump."""
        try:
            transport, first = await asyncio.get_running_loop().create_connection(FirstBytes, sock=sock)
        except BaseException:
            place.leave()
            with contextlib.suppress(OSError):  # the event loop may have closed it already
                sock.close()
            raise
        if first.lost:
            place.leave()
            self._refuse(flow, Reason.RESET)
            return
        self._connected(asyncio.current_task())
        pump = self._pump(flow)
        self._pumps[pump] = account, place
        flow.accept()
        pump.join(transport, bytes(first.data), first.eof)
        if self._watch is None:
            self._watch = asyncio.get_running_loop().call_later(self._watch_s, self._check_idle)

    @property
    def runs_past_shaper(self) -> bool:
        """Whether a connection goes on past a shaper that came later than it."""
        return self.shaper is not None and not all(isinstance(pump, ShapedPump) for pump in self._pumps)

    def _check_idle(self) -> None:
        now = self._clock()
        for pump in list(self._pumps):
            pump.check_idle(now, self._limits.idle_s, self._limits.half_closed_s)
        self._watch = None
        if self._pumps:
            self._watch = asyncio.get_running_loop().call_later(self._watch_s, self._check_idle)

    def _pump(self, flow: IncomingFlow) -> EgressPump:
        if self.shaper is None:
            return EgressPump(flow, self._count, self._gone, self._limits.linger_s)
        return ShapedPump(flow, self._count, self._gone, self._limits.linger_s, self.shaper)

    def _count(self, reason: Reason, sent_bytes: int, received_bytes: int) -> None:
        self.counters[reason.word] += 1
        self._sent_bytes += sent_bytes
        self._received_bytes += received_bytes

    def _gone(self, pump: EgressPump) -> None:
        account, place = self._pumps.pop(pump)
        self._flow_shares.give(account)
        place.leave()
        if not self._pumps:
            self._all_gone.set()


def _read_source(text: str | None) -> Address | None:
    try:
        return None if text is None else ip_address(text)
    except ValueError:
        raise ConfigError("source address", "give an IP address of this machine") from None
