"""The UDP side of an association at the exit: one socket for each family, any number of destinations.

The mapping is endpoint-independent: each destination sees the association at the same port. Filtering is
address-dependent: datagrams come in only from addresses that the client has sent to. Filtering by endpoint alone would
let everybody send to a port of the operator's line, and the client pay for it; only programs that wait for strangers
would gain by it. ICMP errors end nothing: whoever can forge them could end associations.

An exit cannot be made to flood somebody with answers, since it sends from its own address alone. A client could turn
answers against the exit's own line, so ports of services that answer with far more than they are asked are closed.

Source: RFC 4787, sections 4.1 (REQ-1), 4.3 (REQ-5, REQ-6), 5 (REQ-8) and 10 (REQ-12).
"""

from __future__ import annotations

import asyncio
import errno
import socket
from typing import TYPE_CHECKING, Final, Protocol

from core.errors import FlowError, Reason
from core.flow import MAX_DATAGRAM_BYTES
from exits.descriptors import check_reserve

if TYPE_CHECKING:
    from collections import Counter
    from collections.abc import Callable

    from core.flow import Buffer, IncomingDatagrams
    from core.tasks import Tasks
    from exits.addresses import Address
    from exits.limits import DatagramLimits
    from tunnel.rate import Rate

AMPLIFIERS: Final = frozenset({17, 19, 69, 111, 161, 389, 520, 1900, 3702, 5353, 11211})
"""Ports to which nothing is sent, whatever the policy: quote of the day, chargen, TFTP, portmap, SNMP, CLDAP, RIP,
SSDP, WS-Discovery, mDNS, memcached. DNS and NTP stay open: they are used, and most servers answer with little.
Source: US-CERT, alert TA14-017A (UDP-based amplification attacks)."""

_READS: Final = 64
"""Datagrams read from a socket before others have their turn."""

_NO_ROUTE: Final = frozenset({errno.ENETUNREACH, errno.EHOSTUNREACH, errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT})
"""Errors of sending that say something about the address and nothing about the datagram."""

_BUFFER: Final = memoryview(bytearray(MAX_DATAGRAM_BYTES + 1))
"""What every association reads into; one that fills it is too large to travel."""


class Passes(Protocol):
    """Whether a circuit may have so many bytes carried now."""

    def __call__(self, circuit: object, count: int, *, back: bool) -> bool:
        """Count bytes of one datagram, which is dropped if this is False.

        Args:
            circuit: whose.
            count: bytes.
            back: whether they come from the destination.
        """


type Where = tuple[str, int]
"""An address as text, as the system writes it, and a port."""


class Rules(Protocol):
    """Which destinations are served: the same for UDP as for TCP."""

    def check_request(self, host: str, port: int) -> Address | str:
        """Read what a client asks for, and refuse what can be refused at once.

        Raises:
            FlowError: with the reason.
        """

    async def find(self, circuit: object, name: str) -> list[Address]:
        """List the addresses of a name, unchecked, the preferred first.

        Raises:
            FlowError: with the reason.
        """

    def may_dial(self, address: Address, port: int, name: str | None) -> bool:
        """Tell whether an address may be sent to now."""


class Destination:
    """What an association knows of one pair of host and port.

    Args:
        now: loop time.

    Attributes:
        name: the name that was resolved; None for an address.
        addresses: those that may be used; the first is.
        refused: why nothing is sent there; None while that is unknown or something is.
        waiting: datagrams that wait until the name is resolved.
        where: the first address and the port; None before it is known.
    """

    __slots__ = ("addresses", "answered", "checked_at", "name", "refused", "used_at", "waiting", "where")

    def __init__(self, now: float) -> None:
        self.name: str | None = None
        self.addresses: list[Address] = []
        self.refused: Reason | None = None
        self.waiting: list[bytes] = []
        self.where: Where | None = None
        self.answered = False
        self.used_at = self.checked_at = now


class Association:
    """A `core.flow.DatagramListener` with its sockets. Needs a running event loop.

    Args:
        flow: whose datagrams these are. Call `start` before anything else.
        rules: which destinations are served.
        limits: see there.
        silent: of the circuit: permits for destinations that have not answered.
        source: local address to send from, for destinations of its family.
        tasks: keeper of the look-ups.
        counters: where drops are counted, as `datagram` and a reason word.
        passes: asked for every datagram.
        on_end: called once, with the reason, when the association is over.

    Raises:
        OSError: there is no socket left.
    """

    def __init__(
        self,
        flow: IncomingDatagrams,
        rules: Rules,
        limits: DatagramLimits,
        silent: Rate,
        source: Address | None,
        tasks: Tasks,
        counters: Counter[str],
        passes: Passes,
        on_end: Callable[[Association, Reason], None],
    ) -> None:
        self._flow = flow
        self._rules = rules
        self._limits = limits
        self._silent = silent
        self._source = source
        self._tasks = tasks
        self._counters = counters
        self._passes = passes
        self._on_end = on_end
        self._loop = asyncio.get_running_loop()
        self._sockets: dict[int, socket.socket] = {}
        self._destinations: dict[tuple[str, int], Destination] = {}
        self._by_place: dict[Where, Destination] = {}
        self._addresses: dict[str, int] = {}
        self._lookups: set[asyncio.Task[None]] = set()
        self._waiting = 0
        self._waiting_bytes = 0
        self._over = False
        self._sent_at = self._loop.time()
        self._open(4)
        self._timer = self._loop.call_later(limits.idle_s, self._check_idle)

    def start(self) -> None:
        """Take what the client sends from now on."""
        self._flow.attach(self)
        self._flow.accept()

    # -- from the client

    def datagram_came(self, host: str, port: int, data: Buffer) -> None:
        """Send a datagram on, or keep it until its destination's name is resolved, or drop it."""
        if self._over:
            return
        now = self._sent_at = self._loop.time()
        destination = self._destinations.get((host, port)) or self._begin(host, port, now)
        if destination is None:
            self._drop(Reason.BUSY)
            return
        destination.used_at = now
        if destination.where is not None and now - destination.checked_at < self._limits.checked_s:
            self._send(destination, data)
        else:
            self._look_again(destination, host, port, data, now)

    def flow_closed(self, reason: Reason) -> None:
        self._end(reason)

    def _begin(self, host: str, port: int, now: float) -> Destination | None:
        """Take in a new destination; None when there are too many."""
        if len(self._destinations) >= self._limits.destinations:
            self._forget_idle(now)
        if len(self._destinations) >= self._limits.destinations or not self._silent.take(now):
            return None
        destination = self._destinations[host, port] = Destination(now)
        self._look_up(destination, host, port)
        return destination

    def _look_up(self, destination: Destination, host: str, port: int) -> None:
        try:
            if port in AMPLIFIERS:
                raise FlowError(Reason.NOT_ALLOWED)
            found = self._rules.check_request(host, port)
        except FlowError as error:
            destination.refused = error.reason
            return
        if not isinstance(found, str):
            self._found(destination, [found], port)
        elif len(self._lookups) >= self._limits.lookups:
            destination.refused = Reason.BUSY
        else:
            destination.name = found
            task = self._tasks.spawn(self._resolve(destination, found, port), "look-up for datagrams")
            self._lookups.add(task)
            task.add_done_callback(self._lookups.discard)

    async def _resolve(self, destination: Destination, name: str, port: int) -> None:
        refused = Reason.HOST_UNREACHABLE  # unless it ends in a way that is known
        addresses: list[Address] = []
        try:
            addresses = await self._rules.find(self._flow.circuit, name)
        except FlowError as error:
            refused = error.reason
        finally:
            if not self._over:
                destination.refused = None if addresses else refused
                destination.checked_at = self._loop.time()
                if addresses:
                    self._found(destination, addresses, port)
                self._send_waiting(destination)

    def _send_waiting(self, destination: Destination) -> None:
        waiting, destination.waiting = destination.waiting, []
        for data in waiting:
            self._waiting -= 1
            self._waiting_bytes -= len(data)
            self._send(destination, data)

    def _look_again(self, destination: Destination, host: str, port: int, data: Buffer, now: float) -> None:
        """Deal with a destination that is not known, refused, or has not been checked for a while."""
        if destination.where is not None:
            destination.checked_at = now
            if not self._rules.may_dial(destination.addresses[0], port, destination.name):
                self._next_address(destination, port)
        elif destination.refused is not None and now - destination.checked_at >= self._limits.refused_s:
            destination.refused, destination.checked_at = None, now
            self._look_up(destination, host, port)
        if destination.where is not None or destination.refused is not None:
            self._send(destination, data)
        elif self._waiting >= self._limits.waiting or self._waiting_bytes + len(data) > self._limits.waiting_bytes:
            self._drop(Reason.BUSY)
        else:
            self._waiting += 1
            self._waiting_bytes += len(data)
            destination.waiting.append(bytes(data))

    # -- where a destination is

    def _next_address(self, destination: Destination, port: int) -> None:
        """Give up the first address of a destination."""
        self._displace(destination)
        self._found(destination, destination.addresses[1:], port)

    def _found(self, destination: Destination, addresses: list[Address], port: int) -> None:
        """Take the first address that may be sent to now."""
        while addresses and not self._rules.may_dial(addresses[0], port, destination.name):
            addresses = addresses[1:]
        destination.addresses = addresses
        if not addresses:
            destination.refused = Reason.NOT_ALLOWED
            return
        family = socket.AF_INET if addresses[0].version == 4 else socket.AF_INET6
        text = socket.inet_ntop(family, addresses[0].packed)  # as `recvfrom` will write it
        destination.where = text, port
        self._by_place[destination.where] = destination
        self._addresses[text] = self._addresses.get(text, 0) + 1

    def _displace(self, destination: Destination) -> None:
        if destination.where is None:
            return
        text, _ = destination.where
        if self._by_place.get(destination.where) is destination:
            del self._by_place[destination.where]
        self._addresses[text] -= 1
        if not self._addresses[text]:
            del self._addresses[text]
        destination.where = None

    def _forget_idle(self, now: float) -> None:
        for key, destination in list(self._destinations.items()):
            kept_s = self._limits.idle_s if destination.refused is None else self._limits.refused_s
            if now - destination.used_at >= kept_s and not destination.waiting:
                self._displace(destination)
                del self._destinations[key]

    # -- the sockets

    def _send(self, destination: Destination, data: Buffer) -> None:
        """Send a datagram to a destination that is known, or drop it if that was refused."""
        if destination.where is not None and not self._passes(self._flow.circuit, len(data), back=False):
            self._drop(Reason.LIMIT)
            return
        while destination.where is not None:
            version = destination.addresses[0].version
            try:
                (self._sockets.get(version) or self._open(version)).sendto(data, destination.where)
            except OSError as error:
                if error.errno in _NO_ROUTE and len(destination.addresses) > 1:
                    self._next_address(destination, destination.where[1])
                    continue  # the last one stays, in case a route comes back
                self._drop(_reason_for(error))
            return
        self._drop(destination.refused or Reason.NOT_ALLOWED)

    def _open(self, version: int) -> socket.socket:
        """Open the socket of a family.

        Raises:
            OSError: there is none left, or the source address is not the machine's own.
        """
        sock = socket.socket(socket.AF_INET if version == 4 else socket.AF_INET6, socket.SOCK_DGRAM)
        try:
            check_reserve(sock)
            sock.setblocking(False)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, self._limits.receive_buffer_bytes)
            if version == 6:
                sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            own = self._source
            sock.bind((str(own) if own is not None and own.version == version else "", 0))
            self._loop.add_reader(sock, self._readable, sock)
        except OSError:
            sock.close()
            raise
        self._sockets[version] = sock
        return sock

    def _readable(self, sock: socket.socket) -> None:
        """Pass on what came from addresses that the client has sent to."""
        for _ in range(_READS):
            if self._over:
                return
            try:
                size, sender = sock.recvfrom_into(_BUFFER)
            except (BlockingIOError, InterruptedError):
                return
            except OSError:  # an ICMP error, on systems that tell it
                self._drop(Reason.HOST_UNREACHABLE)
                continue
            if sender[0] not in self._addresses:
                self._drop(Reason.NOT_ALLOWED)
                continue
            destination = self._by_place.get(sender[:2])
            if destination is not None and not destination.answered:
                destination.answered = True
                self._silent.give_back()
            if size > MAX_DATAGRAM_BYTES or not sender[1]:
                self._drop(Reason.PROTOCOL)
            elif not self._passes(self._flow.circuit, size, back=True):
                self._drop(Reason.LIMIT)
            elif not self._flow.send(sender[0], sender[1], _BUFFER[:size]):
                self._drop(Reason.BUSY)

    def _drop(self, reason: Reason) -> None:
        self._counters[f"datagram {reason.word}"] += 1

    # -- the end

    def _check_idle(self) -> None:
        now = self._loop.time()
        left_s = self._sent_at + self._limits.idle_s - now
        if left_s <= 0:
            self.end(Reason.TIMED_OUT)
        else:
            self._forget_idle(now)
            self._timer = self._loop.call_later(left_s, self._check_idle)

    def end(self, reason: Reason) -> None:
        """Close both sides now."""
        if not self._over:
            self._flow.close(reason)
            self._end(reason)

    def _end(self, reason: Reason) -> None:
        if self._over:
            return
        self._over = True
        self._timer.cancel()
        for task in self._lookups:
            task.cancel()
        for sock in self._sockets.values():
            self._loop.remove_reader(sock)
            sock.close()
        self._on_end(self, reason)


def _reason_for(error: OSError) -> Reason:
    """Say in a reason why a datagram could not be sent."""
    match error.errno:
        case errno.EAGAIN | errno.ENOBUFS | errno.EMFILE | errno.ENFILE | errno.ENOMEM:
            return Reason.BUSY
        case errno.EMSGSIZE:
            return Reason.PROTOCOL
        case errno.EPERM | errno.EACCES:
            return Reason.NOT_ALLOWED
        case errno.ENETUNREACH:
            return Reason.NETWORK_UNREACHABLE
    return Reason.HOST_UNREACHABLE
