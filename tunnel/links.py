"""All links of a node: one port to listen on, one link per neighbour to dial."""

from __future__ import annotations

import asyncio
import math
import secrets
import time
from collections import Counter
from typing import TYPE_CHECKING, Any

from core.errors import DecodeError, LinkError, Reason
from core.tasks import Tasks
from tunnel.begun import Begun
from tunnel.control import ControlMachine
from tunnel.hosts import Rates, host_of, network_around
from tunnel.limits import (
    DIAL_S,
    FIRST_DIAL_S,
    LINK_HANDSHAKE_S,
    MAX_INITIATIONS,
    MAX_LINKS_PER_HOST,
    MAX_UNANSWERED,
    NEEDLESS_LINKS,
    NEEDLESS_LOOK_S,
    NEEDLESS_S,
    NEIGHBOUR_S,
    UNANSWERED_BURST,
    UNANSWERED_PER_MINUTE,
)
from tunnel.link import Link
from tunnel.repeats import Repeats
from tunnel.unread import Unread
from tunnel.wireguard.handshake import tai64n
from tunnel.wireguard.noise import NO_PSK
from tunnel.wireguard.primitives import private_key

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterator

    from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

    from core.ids import PeerKey
    from tunnel.engines.seam import Address, Connection, Engine
    from tunnel.link_events import LinkEvents
    from tunnel.path import Hop, PathWitness

    type Verify = Callable[[bytes], tuple[bytes, bytes]]
    """Reads a descriptor; returns its link key and the time as TAI64N."""


async def _nowhere(hop: Hop) -> Address | None:
    """Where a peer without an address is met, if nobody arranges meetings."""
    return None


class Links:
    """Listens, dials and remembers.

    Args:
        engine: the QUIC engine.
        link_key: own static key; None at a client, which then uses a fresh key for every link.
        descriptor: returns the own signed descriptor, None at a client.
        events: whom every link tells.
        address_ok: whether a peer may be dialled at an IP literal, asked right before it is.
        preshared: as the attribute.
        tell: what to tell whoever asks, before a link is up, with a proof; None for nothing.

    Attributes:
        preshared: the network's preshared key, 32 bytes, for links and for the hops of circuits.
        tried: told how each creation of this node's own circuits went.
        arrange: arranges a meeting with a peer that has no address to dial, and returns the one at which it waits.
    """

    def __init__(
        self,
        engine: Engine,
        link_key: X25519PrivateKey | None,
        descriptor: Callable[[], bytes | None],
        events: LinkEvents,
        address_ok: Callable[[str], bool],
        preshared: bytes = NO_PSK,
        tell: Callable[[bytes], bytes | None] = lambda proof: None,
    ) -> None:
        self._engine = engine
        self._link_key = link_key
        self._descriptor = descriptor
        self._events = events
        self._address_ok = address_ok
        self.preshared = preshared
        self._tell = tell
        self._initiations = Repeats(MAX_INITIATIONS)
        self._by_peer: dict[PeerKey, Link] = {}
        self._dialling: dict[PeerKey, asyncio.Task[Link | LinkError]] = {}
        self._all: set[Link] = set()
        self._hosts: dict[Link, bytes] = {}
        self._per_host: Counter[bytes] = Counter()
        self._begun = Begun()
        self._unread = Unread(self._all)
        self._time = asyncio.get_running_loop().time
        self._unanswered = Rates(UNANSWERED_BURST, UNANSWERED_PER_MINUTE / 60, MAX_UNANSWERED, self._time)
        self._tasks = Tasks()
        self.counters: Counter[str] = Counter()
        self.tried: PathWitness = lambda path, served, at_fault: None
        self.arrange: Callable[[Hop], Coroutine[Any, Any, Address | None]] = _nowhere

    async def listen(self, port: int) -> int:
        """Open the UDP port, 0 for any, and return it."""
        self._tasks.spawn(self._tidy(), "needless links")
        return await self._engine.listen(port, self._accepted)

    def _machine(self) -> ControlMachine:
        static = self._link_key or private_key(secrets.token_bytes(32))
        return ControlMachine(
            static, secrets.randbits(32), secrets.token_bytes, self._tell, self.preshared, self._initiations.is_new
        )

    def _link(self, connection: Connection, *, dialled: bool, verify: Verify | None = None) -> Link:
        link = Link(
            connection,
            self._machine(),
            self._events,
            self._closed,
            dialled=dialled,
            verify=verify,
            begun=self._begun,
            unread=self._unread,
        )
        self._all.add(link)
        return link

    def _accepted(self, connection: Connection) -> Link:
        link = self._link(connection, dialled=False)
        host = self._hosts[link] = host_of(connection)
        self._per_host[host] += 1
        crowded = self._per_host[host] > MAX_LINKS_PER_HOST
        if crowded:
            self.counters["too many links of one host"] += 1
        if crowded or self._descriptor() is None:
            # A client serves nobody. The handler exists by now, so the connection can be closed right away.
            asyncio.get_running_loop().call_soon(link.close)
        self._tasks.spawn(self._hurry(link), "link handshake")
        return link

    async def _hurry(self, link: Link) -> None:
        """Close an accepted link that does not finish its handshake in time."""
        try:
            async with asyncio.timeout(LINK_HANDSHAKE_S):
                await asyncio.shield(link.up)
        except (TimeoutError, LinkError):
            self.counters["handshake not finished"] += 1
            link.close()

    async def to(self, hop: Hop, *, for_others: bool = False, stays: bool = True) -> Link:
        """A link to a peer whose keys are known: the one that stands, or a new one.

        If there is no address to dial, the one that stands may be one that the peer has dialled.

        Args:
            for_others: whether somebody else wants it. A descriptor names whatever addresses its peer likes, and who
                makes a circuit says over whom it goes. So dials that nobody answers are counted, by network, lest this
                node be had to send packets to third parties. And a link that nobody but others ever wanted does not
                stay when it carries no circuits any more.
            stays: whether this node wants it for longer than for a question. Whoever finds out later that it does calls
                `Link.keep`.

        Raises:
            LinkError: it cannot be reached at any of its addresses, or there is a link and it is silent.
        """
        stays = stays and not for_others
        link = await self._shared(hop.peer, lambda: self._dial(hop, for_others, stays))
        link.needed_at = max(link.needed_at, math.inf if stays else self._time())
        return link

    async def bootstrap(self, address: Address, peer: PeerKey, verify: Callable[[bytes], Hop]) -> Link:
        """A link to a peer of whom only id and address are known.

        Args:
            verify: reads its descriptor; raises DecodeError when it is not this peer's.

        Raises:
            LinkError: no answer, or the answer is not this peer's.
        """

        async def dial() -> Link:
            link = await self._connect(
                address,
                lambda link: link.want_descriptor(),
                lambda raw: (verify(raw).link_key, tai64n(time.time())),
                (FIRST_DIAL_S, LINK_HANDSHAKE_S),
            )
            link.peer = peer
            return link

        link = await self._shared(peer, dial)
        link.needed_at = math.inf
        return link

    async def meet(
        self, address: Address, proof: bytes, verify: Callable[[bytes], Hop], keep: Callable[[], bool]
    ) -> None:
        """Make a link to whoever is at an address.

        Args:
            address: where somebody is said to be.
            proof: shows the right to ask for the descriptor; at most 32 bytes.
            verify: reads the descriptor; raises DecodeError when it is not what should be there.
            keep: whether the new link stays; asked when it is up. It never does if there is one to this peer.

        Raises:
            LinkError: no answer, or a wrong one.
        """
        met: list[Hop] = []

        def learn(raw: bytes) -> tuple[bytes, bytes]:
            met.append(verify(raw))
            return met[0].link_key, tai64n(time.time())

        patience = (FIRST_DIAL_S, LINK_HANDSHAKE_S)
        link = await self._connect(address, lambda link: link.want_descriptor(proof), learn, patience)
        peer = met[0].peer
        standing = self._by_peer.get(peer)
        if (standing is not None and standing.is_up) or not keep():
            link.close()
            return
        link.peer = peer
        self._by_peer[peer] = link

    async def _shared(self, peer: PeerKey, dial: Callable[[], Coroutine[Any, Any, Link]]) -> Link:
        """One dial per peer at a time; all who ask meanwhile wait for the same one."""
        if (link := self._by_peer.get(peer)) is not None and link.is_up:
            if link.watch.silent:
                raise LinkError(Reason.NEXT_HOP)
            return link

        async def attempt() -> Link | LinkError:
            try:
                link = self._by_peer[peer] = await dial()
            except LinkError as error:
                return error
            return link

        task = self._dialling.get(peer)
        if task is None:
            task = self._dialling[peer] = self._tasks.spawn(attempt(), "dial")
            task.add_done_callback(lambda _: self._dialling.pop(peer, None))
        result = await asyncio.shield(task)
        if isinstance(result, LinkError):
            raise LinkError(result.reason) from result
        return result

    async def _dial(self, hop: Hop, for_others: bool, stays: bool) -> Link:
        addresses = [address for address in hop.addresses if self._address_ok(address[0])]
        if not addresses:
            if (standing := self.of_key(hop.link_key)) is not None:
                standing.peer = hop.peer
                return standing
            if (meeting := await self.arrange(hop)) is not None:
                addresses = [meeting]

        def begin(link: Link) -> None:
            if not stays:
                link.needed_at = self._time()
            link.initiate(hop.link_key, tai64n(time.time()))

        for address in addresses:
            if for_others and not self._unanswered.take(network_around(address[0])):
                self.counters["not dialled for others"] += 1
                continue
            try:
                link = await self._connect(
                    address,
                    begin,
                    None,
                    (DIAL_S, NEIGHBOUR_S),
                )
            except LinkError:
                continue
            if for_others:
                self._unanswered.give_back(network_around(address[0]))
            link.peer = hop.peer
            return link
        raise LinkError(Reason.NEXT_HOP)

    async def _connect(
        self,
        address: Address,
        begin: Callable[[Link], None],
        verify: Verify | None,
        limits_s: tuple[float, float],
    ) -> Link:
        """Dial one address, if that is allowed, and let the link prove itself; each of the two has its limit."""
        if not self._address_ok(address[0]):
            raise LinkError(Reason.NEXT_HOP)
        made: list[Link] = []

        def handle(connection: Connection) -> Link:
            made.append(self._link(connection, dialled=True, verify=verify))
            return made[0]

        await self._engine.dial(address, handle, limits_s[0])
        link = made[0]
        try:
            begin(link)
            async with asyncio.timeout(limits_s[1]):
                await asyncio.shield(link.up)
        except (TimeoutError, DecodeError) as error:
            link.close()
            raise LinkError(Reason.NEXT_HOP) from error
        return link

    def _closed(self, link: Link) -> None:
        self._all.discard(link)
        if (host := self._hosts.pop(link, None)) is not None:
            self._per_host[host] -= 1
            if not self._per_host[host]:
                del self._per_host[host]
        self.counters += link.counters
        if link.peer is not None and self._by_peer.get(link.peer) is link:
            del self._by_peer[link.peer]

    async def _tidy(self) -> None:
        while True:
            await asyncio.sleep(NEEDLESS_LOOK_S)
            self.close_needless()

    def close_needless(self) -> None:
        """Close links that need not stay, and over which no circuit has gone for long, but for a few."""
        now = self._time()
        needless: list[Link] = []
        for link in self:
            if link.carries_circuits:
                link.needed_at = max(link.needed_at, now)
            elif now - link.needed_at > NEEDLESS_S:
                needless.append(link)
        needless.sort(key=lambda link: link.needed_at, reverse=True)
        for link in needless[NEEDLESS_LINKS:]:
            self.counters["link that nobody needs"] += 1
            link.close()

    def of_key(self, link_key: bytes) -> Link | None:
        """The link that stands with whoever proved this static key, 32 bytes; whichever side dialled it."""
        return next((link for link in self if link.static == link_key and not link.watch.silent), None)

    def __iter__(self) -> Iterator[Link]:
        """The links that are up."""
        return iter([link for link in self._all if link.is_up])

    async def close(self) -> None:
        """End every link and give the port back."""
        await self._tasks.cancel()
        for link in list(self._all):
            link.close()
        await self._engine.close()
