"""Neighbours tell each other where they are seen, and whether they are reached there.

A node cannot know the address that a router gives it. The side of a link that answered knows where the packets of the
other come from, and says so. To find out whether strangers reach a port there, the side that dialled asks for a
dial-back. It comes from another port, since a router lets in what comes from the one that was dialled. It goes to
no host but the one that has proved, by QUIC's handshake, that it wants packets: whoever moves has to link anew.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import TYPE_CHECKING

from core.tasks import Tasks
from tunnel.address_messages import (
    decode_address,
    decode_outcome,
    decode_port,
    encode_address,
    encode_outcome,
    encode_port,
)
from tunnel.control import Kind
from tunnel.engines.knock import knock_from_elsewhere
from tunnel.limits import (
    ALL_DIAL_BACKS_PER_MINUTE,
    CHECKED_S,
    DIAL_BACK_BURST,
    DIAL_BACK_S,
    DIAL_BACKS_PER_MINUTE,
)
from tunnel.rate import Rate

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from tunnel.engines.seam import Address
    from tunnel.link import Link


class _Seen:
    """A neighbour that dialled this node: where it came from, and how often it may still ask."""

    __slots__ = ("address", "busy", "rate")

    def __init__(self, address: Address, now: float) -> None:
        self.address = address
        self.busy = False
        self.rate = Rate(DIAL_BACK_BURST, DIAL_BACKS_PER_MINUTE / 60, now)


class Observing:
    """One node's part in it.

    Args:
        told: called when a neighbour that this node dialled says where it sees this node.
        address_ok: whether a peer may be dialled at an IP literal.
        knock: dials an address from another port, within a number of seconds; whether somebody answered.

    Attributes:
        counters: what was refused, as reason words.
    """

    def __init__(
        self,
        told: Callable[[Link, Address], None],
        address_ok: Callable[[str], bool],
        knock: Callable[[Address, float], Awaitable[bool]] = knock_from_elsewhere,
    ) -> None:
        self._told = told
        self._address_ok = address_ok
        self._knock = knock
        self._time = asyncio.get_running_loop().time
        self._seen: dict[Link, _Seen] = {}
        self._asked: dict[Link, asyncio.Future[bool]] = {}
        self._all = Rate(ALL_DIAL_BACKS_PER_MINUTE, ALL_DIAL_BACKS_PER_MINUTE / 60, self._time())
        self._tasks = Tasks()
        self.counters: Counter[str] = Counter()

    def link_up(self, link: Link) -> None:
        """Tell a neighbour that dialled where it is seen."""
        address = link.connection.peer_address
        if link.dialled or address is None:
            return
        self._seen[link] = _Seen(address, self._time())
        link.tell(Kind.OBSERVED, encode_address(address))

    def link_down(self, link: Link) -> None:
        self._seen.pop(link, None)
        answer = self._asked.get(link)
        if answer is not None and not answer.done():
            answer.set_result(False)

    def received(self, link: Link, kind: Kind, body: bytes) -> None:
        """Take OBSERVED, CHECK or CHECKED.

        Raises:
            DecodeError: it is malformed.
        """
        match kind:
            case Kind.OBSERVED:
                address = decode_address(body)
                if link.dialled:
                    self._told(link, address)
                else:
                    self.counters["address told by who dialled"] += 1
            case Kind.CHECK:
                self._check(link, decode_port(body))
            case _:
                self._checked(link, decode_outcome(body))

    async def reached(self, link: Link, port: int) -> bool:
        """Ask a neighbour whether it reaches this node at a port of the host as which it sees it.

        Returns:
            False also when it does not answer in time, and while it is being asked already.
        """
        if link in self._asked or not link.dialled:
            return False
        answer: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        self._asked[link] = answer
        try:
            link.tell(Kind.CHECK, encode_port(port))
            async with asyncio.timeout(CHECKED_S):
                return await answer
        except TimeoutError:
            return False
        finally:
            del self._asked[link]

    def _checked(self, link: Link, reached: bool) -> None:
        answer = self._asked.get(link)
        if answer is None or answer.done():
            self.counters["outcome of no check"] += 1
            return
        answer.set_result(reached)

    def _check(self, link: Link, port: int) -> None:
        seen, now = self._seen.get(link), self._time()
        if seen is None or seen.busy:
            self._refuse(link, "dial-back not due")
        elif link.connection.peer_address != seen.address:
            self._refuse(link, "dial-back after a move")
        elif not self._address_ok(seen.address[0]):
            self._refuse(link, "dial-back not allowed")
        elif not seen.rate.take(now) or not self._all.take(now):
            self._refuse(link, "dial-back too often")
        else:
            seen.busy = True
            self._tasks.spawn(self._dial_back(link, seen, port), "dial-back")

    def _refuse(self, link: Link, reason: str) -> None:
        self.counters[reason] += 1
        link.tell(Kind.CHECKED, encode_outcome(False))

    async def _dial_back(self, link: Link, seen: _Seen, port: int) -> None:
        try:
            reached = await self._knock((seen.address[0], port), DIAL_BACK_S)
        finally:
            seen.busy = False
        link.tell(Kind.CHECKED, encode_outcome(reached))

    async def close(self) -> None:
        """End what is under way."""
        await self._tasks.cancel()
