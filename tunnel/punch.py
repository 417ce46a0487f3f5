"""Links between two peers that are both behind a router, with the help of a neighbour of both.

The one that wants the link asks the neighbour, naming a peer. The neighbour tells each of the two where it sees the
other. The one that asked then dials; the one that was named sends opening packets to the same address meanwhile, from
the port that it listens on, so that both routers take what comes for answers. Who asked is always QUIC's client, so
there is nothing to agree upon; that the right peer answers is proved by the link's own handshake, as at any address.

Whom a node asks learns which peer it wants. So it asks nobody but those that the peer itself names. And nobody tells
whether it holds a link to a peer, except to one that says so itself: else whoever asks could find out the neighbours
of any peer, its guards among them. Who is named sends packets at the word of those that it chose to be found by, and of
nobody else: whoever links to a node could have it send them to third parties.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import TYPE_CHECKING

from core.tasks import Tasks
from tunnel.address_messages import decode_address, decode_meeting, decode_peer, encode_address, encode_meeting
from tunnel.control import Kind
from tunnel.engines.knock import knock
from tunnel.limits import (
    ALL_KNOCKS_PER_MINUTE,
    KNOCK_S,
    MAX_MEETERS,
    MEET_BURST,
    MEETS_PER_MINUTE,
    NEIGHBOUR_S,
)
from tunnel.rate import Rate

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from core.ids import PeerKey
    from tunnel.engines.seam import Address, Engine
    from tunnel.link import Link
    from tunnel.links import Links
    from tunnel.path import Hop


class _Limits:
    """Where one neighbour proved to be, and how often it may still ask for meetings, be called, and call this node."""

    __slots__ = ("address", "asks", "called", "calls")

    def __init__(self, address: Address | None, now: float) -> None:
        self.address = address
        self.asks, self.called, self.calls = (Rate(MEET_BURST, MEETS_PER_MINUTE / 60, now) for _ in range(3))


class Punch:
    """One node's part in meetings: who asks, who is named, and the neighbour of both.

    Args:
        engine: the QUIC engine that listens.
        links: its links.
        locate: verified keys of a peer.
        address_ok: whether a peer may be dialled at an IP literal.
        held_by: peers that hold a link to a peer, as that peer says.
        helps: whether a peer says that this node holds a link to it.
        calls: whether a neighbour may call this node to a meeting: it holds a link to this node, as that has published.
        serves: whether this node takes links, and helps others to some.

    Attributes:
        counters: what was refused, as reason words.
    """

    def __init__(
        self,
        engine: Engine,
        links: Links,
        locate: Callable[[PeerKey], Hop | None],
        address_ok: Callable[[str], bool],
        held_by: Callable[[PeerKey], Collection[PeerKey]],
        helps: Callable[[PeerKey], bool],
        calls: Callable[[Link], bool],
        *,
        serves: bool,
    ) -> None:
        self._engine = engine
        self._links = links
        self._locate = locate
        self._address_ok = address_ok
        self._held_by = held_by
        self._helps = helps
        self._calls = calls
        self._serves = serves
        self._time = asyncio.get_running_loop().time
        self._limits: dict[Link, _Limits] = {}
        self._knocks = Rate(ALL_KNOCKS_PER_MINUTE // 2, ALL_KNOCKS_PER_MINUTE / 60, self._time())
        self._waiting: dict[tuple[Link, PeerKey], asyncio.Future[Address | None]] = {}
        self._tasks = Tasks()
        self.counters: Counter[str] = Counter()

    def link_up(self, link: Link) -> None:
        self._limits[link] = _Limits(link.connection.peer_address, self._time())

    def link_down(self, link: Link) -> None:
        self._limits.pop(link, None)
        for (asked, _), answer in self._waiting.items():
            if asked is link and not answer.done():
                answer.set_result(None)

    def received(self, link: Link, kind: Kind, body: bytes) -> None:
        """Take MEET, KNOCK or MET.

        Raises:
            DecodeError: it is malformed.
        """
        match kind:
            case Kind.MEET:
                peer = decode_peer(body)
                link.tell(Kind.MET, encode_meeting(peer, self._introduce(link, peer)))
            case Kind.KNOCK:
                self._called(link, decode_address(body))
            case _:
                self._met(link, *decode_meeting(body))

    # -- who asks

    async def meet(self, hop: Hop) -> Address | None:
        """Arrange a meeting with a peer.

        Returns:
            Where to dial it, now. None when no neighbour helps.
        """
        for link in self._helpers(hop.peer):
            address = await self._ask(link, hop.peer)
            if address is not None and self._address_ok(address[0]):
                return address
        return None

    def _helpers(self, peer: PeerKey) -> list[Link]:
        hops = [self._locate(helper) for helper in self._held_by(peer)]
        links = [self._links.of_key(hop.link_key) for hop in hops if hop is not None]
        return [link for link in links if link is not None][:MAX_MEETERS]

    async def _ask(self, link: Link, peer: PeerKey) -> Address | None:
        if (link, peer) in self._waiting:
            return None
        answer: asyncio.Future[Address | None] = asyncio.get_running_loop().create_future()
        self._waiting[link, peer] = answer
        try:
            link.tell(Kind.MEET, peer)
            async with asyncio.timeout(NEIGHBOUR_S):
                return await answer
        except TimeoutError:
            return None
        finally:
            del self._waiting[link, peer]

    def _met(self, link: Link, peer: PeerKey, address: Address | None) -> None:
        answer = self._waiting.get((link, peer))
        if answer is None or answer.done():
            self.counters["meeting that nobody asked for"] += 1
            return
        answer.set_result(address)

    # -- the neighbour of both

    def _introduce(self, link: Link, peer: PeerKey) -> Address | None:
        """Call a peer to a meeting with the neighbour that asks, and say where it is; None if that is not done."""
        now = self._time()
        if not self._serves or not self._limits[link].asks.take(now):
            self.counters["meeting refused"] += 1
            return None
        hop = self._locate(peer) if self._helps(peer) else None
        other = self._links.of_key(hop.link_key) if hop is not None else None
        if other is None or other is link or not self._limits[other].called.take(now):
            self.counters["meeting with nobody"] += 1
            return None
        here, there = self._whereabouts(link), self._whereabouts(other)
        if here is None or there is None:
            self.counters["meeting after a move"] += 1
            return None
        other.tell(Kind.KNOCK, encode_address(here))
        return there

    def _whereabouts(self, link: Link) -> Address | None:
        """Where a neighbour is; None after a move, since a packet with a forged sender seems to be one."""
        address = self._limits[link].address
        return address if address == link.connection.peer_address else None

    # -- who is named

    def _called(self, link: Link, address: Address) -> None:
        now = self._time()
        if not self._serves or not self._calls(link) or not self._address_ok(address[0]):
            self.counters["knock refused"] += 1
        elif not self._limits[link].calls.take(now) or not self._knocks.take(now):
            self.counters["knock too often"] += 1
        else:
            self._tasks.spawn(knock(self._engine, address, KNOCK_S), "knock")

    async def close(self) -> None:
        """End what is under way."""
        await self._tasks.cancel()
