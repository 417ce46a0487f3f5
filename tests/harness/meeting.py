"""Peers in memory that know each other, some of them without an address: who is met, by whose help."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from core.ids import PeerKey
from tests.harness.entropy import seeded
from tests.harness.wire import Board, WireConnection, WireEngine
from tunnel.path import Hop
from tunnel.service import Tunnel, TunnelParts
from tunnel.wireguard.primitives import private_key, public_bytes

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from tunnel.engines.seam import Address
    from tunnel.link import Link


class Member:
    """One peer.

    Attributes:
        hop: its keys and address.
        helpers: of whom others think that they hold a link to it.
        refuses: addresses that it would not dial.
        told: where neighbours see it.
    """

    def __init__(self, board: Board, name: str, locate: Callable[[PeerKey], Hop | None], *, serves: bool) -> None:
        key = private_key(seeded(name)(32))
        self.hop = Hop(PeerKey(seeded(f"peer {name}")(32)), public_bytes(key), bytes(32), ())
        self.engine: WireEngine = board.engine()
        self.helpers: list[Member] = []
        self.refuses: set[str] = set()
        self.told: list[tuple[Link, Address]] = []
        self.port = 0
        self.members: dict[PeerKey, Member] = {}
        self.tunnel = Tunnel(
            self.engine,
            TunnelParts(
                address_ok=lambda host: host not in self.refuses,
                link_key=key if serves else None,
                descriptor=lambda: b"descriptor" if serves else None,
                locate=locate,
                relays=serves,
                seen_at=lambda link, address: self.told.append((link, address)),
                held_by=lambda peer: [helper.hop.peer for helper in self.members[peer].helpers],
                helps=lambda peer: self in self.members[peer].helpers,
                calls=self._is_helper,
            ),
        )

    def _is_helper(self, link: Link) -> bool:
        return link.peer in [helper.hop.peer for helper in self.helpers]

    @property
    def address(self) -> Address:
        return "127.0.0.1", self.port

    async def link(self, other: Member) -> Link:
        """Dial another one, whose address is known."""
        return await self.tunnel.links.to(
            Hop(other.hop.peer, other.hop.link_key, other.hop.onion_key, (other.address,))
        )

    def link_with(self, other: Member) -> Link:
        """The link that stands."""
        link = self.tunnel.links.of_key(other.hop.link_key)
        assert link is not None
        return link

    def wire_to(self, other: Member) -> WireConnection:
        """This end of the connection that the link goes over."""
        wire = self.link_with(other).connection
        assert isinstance(wire, WireConnection)
        return wire


class Meeting:
    """All members. `unknown`: peers that nobody can locate."""

    def __init__(self) -> None:
        self._board = Board()
        self.members: dict[PeerKey, Member] = {}
        self.unknown: set[PeerKey] = set()

    def _locate(self, peer: PeerKey) -> Hop | None:
        member = self.members.get(peer)
        return None if member is None or peer in self.unknown else member.hop

    async def add(self, name: str, *, serves: bool = True) -> Member:
        member = Member(self._board, name, self._locate, serves=serves)
        member.port = await member.tunnel.start(0, client=False)
        member.members = self.members
        self.members[member.hop.peer] = member
        return member


@asynccontextmanager
async def meeting() -> AsyncIterator[Meeting]:
    """Members come with `add`, and all go at the end."""
    made = Meeting()
    try:
        yield made
    finally:
        for member in made.members.values():
            await member.tunnel.close()
