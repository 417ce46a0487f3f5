"""Listen on the local port, find out what each connection wants, and join it to a flow."""

from __future__ import annotations

import asyncio
import secrets
import socket
from collections import Counter
from dataclasses import dataclass, replace
from functools import partial
from ipaddress import ip_address
from typing import TYPE_CHECKING, Final

from core.errors import ConfigError, FlowError, Reason
from core.flow import NO_OPTIONS, SiteOptions
from core.tasks import Tasks
from pac.hosts import read_host
from pac.pac import build_pac
from pac.rules import Action, RuleSet
from proxy import http, socks
from proxy.answers import http_complaint, socks_granted, socks_refusal, word_of
from proxy.ask import Answer, Ask, Associate, Place, Wrapped
from proxy.client_pump import ClientPump
from proxy.direct import connect_direct, reaches_this_machine
from proxy.early import Earliness, EarlyMode
from proxy.intake import Intake
from proxy.pac_server import PacSite
from proxy.probes import Probes
from proxy.seats import Seats, full_answer
from proxy.target import is_localhost
from proxy.traffic import Traffic
from proxy.trusted import TrustedWay
from proxy.udp import Association, open_socket

if TYPE_CHECKING:
    from collections.abc import Iterable
    from ipaddress import IPv4Address, IPv6Address

    from core.flow import DatagramFlow, Flow, FlowRequest
    from proxy.dialer import Dialer

BACKLOG: Final = 4096
"""Connections that may wait to be accepted; beyond, a client tries again a second later. The system may allow fewer."""

SEND_BUFFER_BYTES: Final = 1 << 16
"""The system's buffer of a connection to a client. Clients are near; more would only hide that one does not read."""

SCRATCH_BYTES: Final = 1 << 14
STOP_S: Final = 5.0


@dataclass(frozen=True, slots=True)
class FrontLimits:
    """Bounds of the local port.

    Args:
        connections: at once, in any state.
        handshake_s: until a connection has said what it wants.
        idle_s: until a connection whose HTTP request was answered begins another. Browsers keep one for minutes.
        head_bytes: the longest head of an HTTP request.
        dial_s: until a flow is open, whatever the dialer does.
        associations: for UDP, at once. Browsers hold none, and other programs few; each is a socket more here, and a
            port at an exit.
    """

    connections: int = 4096
    handshake_s: float = 10.0
    idle_s: float = 60.0
    head_bytes: int = 1 << 14
    dial_s: float = 60.0
    associations: int = 64


class Front:
    """The local port. Fails closed: what no bypass rule names leaves through the dialer or not at all.

    Args:
        dialer: opens flows through the tunnel.
        rules: what goes past the tunnel, or nowhere, or through it in a way of its own. May be replaced at any time,
            and is obeyed from the next connection on.
        limits: bounds of time and memory.
        password: what every client must know; None when anyone on this machine may come.
        pac_token: the random part of the PAC script's address; None for a new one.
        own_ports: further ports of this node on this machine, which are refused as this one is.
        early: whether to tell clients "granted" before the exit has connected; see `proxy.early`.

    Attributes:
        counters: how often a connection ended with which word: a `Reason`'s for requests and flows; `blocked` for what
            a rule blocks; `off` for what came while it was switched off; `full`, `slow`, `gone`, `malformed`,
            `unauthorized`, `forbidden`, `not_found`, `pac` and `last_hop` for what never became one. Beside them how
            many datagrams were dropped; see `proxy.udp`.
        address: where it listens.
        trusted: while it is open, what no rule names goes that way and not through the tunnel.
        traffic: how much went through the tunnel.
        probes: names by which the node's own page asks whether its browser comes here.
    """

    def __init__(
        self,
        dialer: Dialer,
        rules: RuleSet | None = None,
        limits: FrontLimits | None = None,
        *,
        password: str | None = None,
        pac_token: str | None = None,
        own_ports: Iterable[int] = (),
        early: EarlyMode = "auto",
    ) -> None:
        self.rules = RuleSet() if rules is None else rules
        self.own_ports: Final = set(own_ports)
        self.counters: Final[Counter[str]] = Counter()
        self.scratch: Final = memoryview(bytearray(SCRATCH_BYTES))
        self.address: tuple[str, int] = ("", 0)
        self.trusted: Final = TrustedWay()
        self.traffic: Final = Traffic()
        self.probes: Final = Probes()
        self._dialer = dialer
        self._limits = limits or FrontLimits()
        self._password = password
        self._early = Earliness(early, secrets.token_bytes(16))
        self._token = pac_token or secrets.token_urlsafe(16)
        self._pac: tuple[RuleSet, str] | None = None
        self._off = False
        self._server: asyncio.Server | None = None
        self._site: PacSite | None = None
        self._seats = Seats(self._limits.connections, self._limits.associations, self.counters)
        self._tasks = Tasks()

    # -- its owner's calls

    async def start(self, host: str = "127.0.0.1", port: int = 1080) -> None:
        """Listen. Afterwards `address`, `pac_url` and `pac_text` are valid.

        Args:
            host: an IP literal; one that is not loopback needs a password.
            port: 0 for any free one.

        Raises:
            ConfigError: the address may not be listened on.
            OSError: the port is taken.
        """
        address = read_host(host)
        if address is None or isinstance(address, str):
            raise ConfigError("listen address", "it must be an IP address such as 127.0.0.1")
        if not address.is_loopback and not self._password:
            raise ConfigError("listen address", "one that other machines can reach needs a password")
        loop = asyncio.get_running_loop()
        make = partial(Intake, self, self._limits.head_bytes)
        self._server = await loop.create_server(make, sock=_listening(address, port), backlog=BACKLOG)
        name = self._server.sockets[0].getsockname()
        self.address = (str(name[0]), int(name[1]))
        self.own_ports.add(self.address[1])
        self._site = PacSite(self.address[1], f"/{self._token}/proxy.pac", lambda: self.pac_text)

    async def obey(self, rules: RuleSet) -> None:
        """Replace the rules. Their script, which may take half a second to write, is written in a thread before."""
        script = await asyncio.to_thread(build_pac, rules, self._reachable)
        self.rules, self._pac = rules, (rules, script)

    def switch(self, *, on: bool) -> None:
        """Serve, or end what runs and refuse all that comes: also what a rule sends past the tunnel.

        The port stays open and gives out the PAC in either case: a browser that cannot load it goes direct.
        """
        self._off = not on
        if self._off:
            self._seats.clear()

    async def stop(self) -> None:
        """Close the port and every connection. Returns when all are gone."""
        server, self._server = self._server, None
        if server is None:
            return
        server.close()
        self._seats.clear()
        await self._tasks.cancel()
        async with asyncio.timeout(STOP_S):
            await server.wait_closed()

    @property
    def open_flows(self) -> int:
        """How many connections are joined to a flow now."""
        return self._seats.flows

    @property
    def pac_url(self) -> str:
        """Where a browser can load the PAC script. The address is a secret of the user's."""
        return f"http://{self._reachable}/{self._token}/proxy.pac"

    @property
    def pac_text(self) -> str:
        """The PAC script of the present rules."""
        if self._pac is None or self._pac[0] is not self.rules:
            self._pac = self.rules, build_pac(self.rules, self._reachable)
        return self._pac[1]

    @property
    def _reachable(self) -> str:
        """The host and port under which programs on this machine reach the front."""
        address = ip_address(self.address[0])
        if address.is_unspecified:
            address = ip_address("127.0.0.1" if address.version == 4 else "::1")
        host = str(address) if address.version == 4 else f"[{address}]"
        return f"{host}:{self.address[1]}"

    # -- from connection to request

    def intake_opened(self, intake: Intake) -> None:
        """Begin to hear a new connection."""
        if self._server is None:
            intake.transport.abort()
            return
        self._seats.come(intake)
        intake.task = self._tasks.spawn(self._serve(intake), "proxy connection")

    def intake_lost(self, intake: Intake) -> None:
        """Forget a connection that went away before it got a flow."""
        self._seats.lost(intake)

    async def _serve(self, intake: Intake) -> None:
        try:
            answer = await self._serve_wish(intake, await self._hear(intake))
            if answer is not None:
                if answer.word:
                    self.counters[answer.word] += 1
                self._seats.refused(intake)
                intake.leave(answer.data)
        except BaseException:
            intake.transport.abort()
            raise

    async def _serve_wish(self, intake: Intake, wish: socks.Heard) -> Answer | None:
        if isinstance(wish, Answer):
            return wish
        if not self._seats.has(intake):
            return Answer(full_answer(intake.first) or socks_refusal(Reason.BUSY), "full")
        self._seats.wants(intake)
        if isinstance(wish, Associate):
            return await self._associate(intake, wish)
        return await self._open(intake, wish)

    async def _hear(self, intake: Intake) -> socks.Heard:
        """Find out what a client wants: SOCKS5 begins with its version, HTTP with the letters of a method. One that has
        been answered before may also say nothing more, which is no failure."""
        reader, limits = intake.reader, self._limits
        try:
            async with asyncio.timeout(limits.idle_s if intake.kept else limits.handshake_s) as limit:
                await intake.drained()
                intake.first = first = await http.first_byte(reader)
                if intake.kept:
                    limit.reschedule(asyncio.get_running_loop().time() + limits.handshake_s)
                if first[0] == socks.VERSION and not intake.kept:
                    return await socks.hear(reader, intake.write, self._password)
                if first.isalpha() and self._site is not None:
                    return await http.hear(reader, first, limits.head_bytes, self._site, self._password)
        except TimeoutError:
            return http_complaint(408, "slow") if intake.first.isalpha() else Answer(b"", "" if intake.kept else "slow")
        except asyncio.IncompleteReadError:
            return Answer(b"", "gone" if intake.first or not intake.kept else "")
        return Answer(b"", "malformed")

    # -- from request to flow

    async def _open(self, intake: Intake, ask: Ask) -> Answer | None:
        """Open a flow and hand the connection over to it; or return the words of the refusal."""
        place, options = self._place(intake, ask.request.host, ask.request.port, ask.scheme)
        ask.request = replace(ask.request, options=options)
        now = asyncio.get_running_loop().time
        began_at = now()
        try:
            while (flow := await self._connect(ask, place)) is None:
                place = Place.TUNNEL  # the trusted network was left before anything was sent
        except FlowError as error:
            if place is Place.TUNNEL:
                self._early.refused(ask.request, now())
            return Answer(ask.refusal(error.reason, place), word_of(error.reason, place))
        try:
            await self._join(intake, ask, flow, now() - began_at if place is Place.TUNNEL else None)
        except BaseException:
            flow.reset(Reason.LOCAL)
            raise
        return None

    async def _connect(self, ask: Ask, place: Place) -> Flow | None:
        """Open a flow, one way or the other.

        Returns:
            None if its way is closed: only that of a trusted network can be.

        Raises:
            FlowError: it could not be opened in time.
        """
        request = ask.request
        try:
            async with asyncio.timeout(self._limits.dial_s):
                if place in (Place.NODE, Place.BLOCKED):
                    raise FlowError(Reason.NOT_ALLOWED)
                if place is Place.OFF:
                    raise FlowError(Reason.CLOSED)
                if place is Place.DIRECT:
                    return await connect_direct(request.host, request.port, self.own_ports)
                if place is Place.TRUSTED:
                    return await self.trusted.reach(request.host, request.port, self.own_ports)
                return await self._dial(request, promises=bool(ask.granted))
        except TimeoutError as error:
            raise FlowError(Reason.TIMED_OUT) from error

    async def _dial(self, request: FlowRequest, *, promises: bool) -> Flow:
        """Open a flow through the tunnel."""
        if self.probes.hear(request.host):
            raise FlowError(Reason.INSIDE)
        early = self._early.allows(request, asyncio.get_running_loop().time(), promises=promises)
        flow = await self._dialer.dial(request, early=early)
        if not early:
            self._early.opened(request)
        return flow

    def _place(self, intake: Intake, host: str, port: int, scheme: str | None) -> tuple[Place, SiteOptions]:
        """Decide which way a request goes, and how. Other machines get no bypass: it would lend them this one."""
        is_probe = self.probes.hear(host)
        if self._off:
            return Place.OFF, NO_OPTIONS
        if is_probe:
            return Place.TUNNEL, NO_OPTIONS
        address = read_host(host)
        if port in self.own_ports:
            if isinstance(address, str) and is_localhost(address):
                return Place.NODE, NO_OPTIONS
            if address is not None and not isinstance(address, str) and reaches_this_machine(address):
                return Place.NODE, NO_OPTIONS
        decision = self.rules.decide(host, port, scheme)
        if decision.action is Action.BLOCK:
            return Place.BLOCKED, NO_OPTIONS
        if intake.is_from_this_machine():
            if decision.action is Action.BYPASS:
                return Place.DIRECT, NO_OPTIONS
            if decision.rule is None and self.trusted.is_open:
                return Place.TRUSTED, NO_OPTIONS
        return Place.TUNNEL, decision.options

    async def _join(self, intake: Intake, ask: Ask, flow: Flow, dial_s: float | None) -> None:
        """Hand the connection over.

        Args:
            intake: the connection.
            ask: what it asked for.
            flow: its flow.
            dial_s: how long it took to open that through the tunnel; None if it goes another way.
        """
        transport = intake.transport
        early = ask.early + await intake.take_rest()
        if transport.is_closing():
            flow.reset(Reason.LOCAL)
            return
        intake.write(ask.granted)
        wrapped = ask.wrap(flow) if ask.wrap else None
        ended = partial(self._ended, transport, ask.request, wrapped)
        gone = partial(self._seats.gone, transport)
        traffic = self.traffic if dial_s is not None else None
        pump = ClientPump(flow, ended, gone, wrapped, traffic, dial_s or 0.0)
        self._seats.joined(intake, pump)
        pump.join(transport, early, intake.eof)

    def _ended(
        self,
        transport: asyncio.Transport,
        request: FlowRequest,
        wrapped: Wrapped | None,
        reason: Reason,
        sent_bytes: int,
        received_bytes: int,
    ) -> None:
        if wrapped is not None:
            reason = wrapped.failure or reason
        elif not received_bytes:
            self._early.ended(request, reason, asyncio.get_running_loop().time())
        self.counters[reason.word] += 1
        if wrapped is not None and wrapped.rest is not None:
            self._hear_again(transport, wrapped.rest, eof=wrapped.eof)
        else:
            self._seats.ended(transport)

    def _hear_again(self, transport: asyncio.Transport, rest: bytes, *, eof: bool) -> None:
        """Wait for the next request on a connection."""
        if self._server is None or transport.is_closing():
            self._seats.ended(transport)
            transport.abort()
            return
        intake = Intake(self, self._limits.head_bytes)
        intake.take_over(transport, rest, eof=eof)
        self._seats.kept(intake)
        intake.task = self._tasks.spawn(self._serve(intake), "proxy connection")

    # -- from request to association

    async def _associate(self, intake: Intake, wish: Associate) -> Answer:
        """Open a UDP association and keep it until it, or the client's connection, is over.

        Returns:
            What is said last: the words of a refusal, or nothing.
        """
        try:
            with self._seats.associated(intake) as allowed:
                if self._off or not allowed:
                    raise FlowError(Reason.CLOSED if self._off else Reason.BUSY)
                async with asyncio.timeout(self._limits.dial_s):
                    flow = await self._dialer.dial_datagrams(wish.isolation)
                return Answer(b"", (await self._keep(intake, wish, flow)).word)
        except TimeoutError:
            return Answer(socks_refusal(Reason.TIMED_OUT), Reason.TIMED_OUT.word)
        except FlowError as error:
            return Answer(socks_refusal(error.reason), error.reason.word)

    async def _keep(self, intake: Intake, wish: Associate, flow: DatagramFlow) -> Reason:
        """Tell the client where to send its datagrams, and wait for the end.

        Raises:
            FlowError: this machine has no socket left, or the client is gone.
        """
        try:
            sock = open_socket(intake.transport)
        except OSError as error:
            flow.close(Reason.LOCAL)
            raise FlowError(Reason.BUSY) from error

        def allows(host: str, port: int) -> bool:
            # An association has one circuit, which keeps no site's options; see `proxy.udp`.
            place, options = self._place(intake, host, port, None)
            return place in (Place.TUNNEL, Place.TRUSTED) and options == NO_OPTIONS

        association = Association(sock, flow, (intake.client_host, wish.port), allows, self.counters)
        hanging_up = self._tasks.spawn(intake.reader.read(1), "association")
        try:
            intake.write(socks_granted(*sock.getsockname()[:2]))
            await asyncio.wait([hanging_up, association.over], return_when=asyncio.FIRST_COMPLETED)
            return association.over.result() if association.over.done() else Reason.LOCAL
        finally:
            hanging_up.cancel()
            association.close()


def _listening(address: IPv4Address | IPv6Address, port: int) -> socket.socket:
    """Bind a TCP socket whose connections have small send buffers.

    Raises:
        OSError: the port is taken.
    """
    sock = socket.socket(socket.AF_INET6 if address.version == 6 else socket.AF_INET)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER_BYTES)
        if address.version == 6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        sock.bind((str(address), port))
    except BaseException:
        sock.close()
        raise
    return sock
